// Holds the JavaScript port against the golden vectors: node tests/ports/vectors.mjs fixtures/vectors.json
import { readFileSync } from "node:fs";
import * as port from "../../ports/javascript/record.mjs";

const golden = port.parse(readFileSync(process.argv[2], "utf8"));
const wrong = [];
let checked = 0;

function expect(what, made, wanted) {
  checked += 1;
  if (port.jcs(made) !== port.jcs(wanted)) wrong.push(`${what}: made ${port.jcs(made)}, expected ${port.jcs(wanted)}`);
}

for (const one of golden.canonical) {
  expect(one.name, port.jcs(port.parse(one.json)), one.canonical);
  expect(one.name, Buffer.from(port.jcs(port.parse(one.json))).toString("hex"), one.utf8);
}
for (const one of golden.uuid5) expect(one.name, port.uuid5(one.name), one.id);
for (const one of golden.scores) expect(`score ${one.given}`, port.rounded(one.given), one.sent);
for (const one of golden.times) {
  const micros = port.micros(one.text);
  expect(one.text, micros === null ? null : port.timestamp(micros), one.sent ?? null);
}

const { dataset_id: datasetId, experiment_name: name, id, start_time } = golden.experiment;
expect("experiment", port.uuid5(`${datasetId}-${name}`), id);
const session = { id, start: port.micros(start_time) };
for (const one of golden.results) {
  const text = port.runText(one.result), example = one.result.example_id ?? port.exampleId(datasetId, one.result);
  expect(one.name, [text, example], [one.canonical, one.example_id]);
  if (one.example) expect(one.name, port.exampleBody(datasetId, example, one.result), one.example);
  const { runs, feedback } = port.trace(one.result, `${id}-${example}-${text}-0`, session, example);
  expect(one.name, runs, one.runs);
  expect(one.name, feedback, one.feedback);
  const again = port.trace(one.result, `${id}-${example}-${text}-1`, session, example);
  expect(one.name, again.runs.at(-1).id, one.second_time);
}

const { prefix, dataset_name, name: given } = golden.default_name;
expect("default name", port.defaultName(prefix, dataset_name, golden.results.map((one) => one.canonical)), given);
for (const one of golden.session_starts) {
  const earliest = one.earliest === null ? null : port.micros(one.earliest);
  const start = port.sessionStart(earliest, BigInt(Math.round(one.longest_s * 1e6)), port.micros(one.now));
  expect(one.name, port.timestamp(start), one.start_time);
}

console.log(wrong.join("\n") || `${checked} vectors agree`);
process.exit(wrong.length ? 1 : 0);
