// The rules of PORTING.md in another language, held against the golden vectors: node tests/port.mjs fixtures/vectors.json
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const DNS = Buffer.from("6ba7b8109dad11d180b400c04fd430c8", "hex");
const BIG = "\u0000"; // marks an integer that a JavaScript number cannot hold

// JSON.parse, but integers of 16 digits or more keep their digits
function parse(text) {
  return JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (m) => (/^-?\d{16,}$/.test(m) ? `"\\u0000${m}"` : m)));
}

function jcs(x) {
  if (typeof x === "string") return x[0] === BIG ? x.slice(1) : JSON.stringify(x);
  if (Array.isArray(x)) return `[${x.map(jcs).join(",")}]`;
  if (x === null || typeof x !== "object") return JSON.stringify(x);
  return `{${Object.keys(x).sort().map((k) => `${JSON.stringify(k)}:${jcs(x[k])}`).join(",")}}`;
}

function bare(result) {
  const kept = Object.entries(result).filter(([k, v]) => v !== null && k !== "feedback");
  return Object.fromEntries(kept.map(([k, v]) => [k, k === "child_runs" ? v.map(bare) : v]));
}

function hyphens(hex) {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function uuid5(name) {
  const b = createHash("sha1").update(DNS).update(name, "utf8").digest().subarray(0, 16);
  b[6] = (b[6] & 0x0f) | 0x50;
  b[8] = (b[8] & 0x3f) | 0x80;
  return hyphens(b.toString("hex"));
}

// Times are microseconds since 1970, as BigInt
function micros(text) {
  const [, date, time, fraction = "", offset = "Z"] = text.match(/^(\S{10})T([\d:]{8})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?$/);
  return BigInt(Date.parse(`${date}T${time}${offset}`)) * 1000n + BigInt(fraction.padEnd(6, "0").slice(0, 6));
}

function timestamp(t) {
  return `${new Date(Number(t / 1000000n) * 1000).toISOString().slice(0, 19)}.${String(t % 1000000n).padStart(6, "0")}+00:00`;
}

function runId(name, start) {
  const milliseconds = (start / 1000n).toString(16).padStart(12, "0");
  return `${milliseconds.slice(0, 8)}-${milliseconds.slice(8)}-7${uuid5(name).slice(15)}`;
}

function trace(result, name, sessionStart) {
  const runs = [];
  const own = result.start_time ? micros(result.start_time) : sessionStart;
  const shift = own < sessionStart ? sessionStart - own : 0n;
  const walk = (run, name, parentStart, parentOrder) => {
    const start = run.start_time ? micros(run.start_time) + shift : parentStart;
    const end = run.end_time ? micros(run.end_time) + shift : start;
    const id = runId(name, start);
    const order = `${parentOrder}${timestamp(start).slice(0, 26).replace(/[-:.]/g, "")}Z${id}`;
    (run.child_runs ?? []).forEach((child, i) => walk(child, `${id}-${i}`, start, `${order}.`));
    const counts = {};
    const given = run.feedback ?? [];
    const items = Array.isArray(given) ? given : Object.entries(given).map(([key, score]) => ({ key, score }));
    const sent = items.filter((f) => f.error || [f.score, f.value, f.comment].some((x) => x != null));
    const keys = sent.map((f) => (f.error ? `${f.key}-error` : f.key));
    const feedback_ids = keys.map((k) => uuid5(`${id}-${k}-${(counts[k] = (counts[k] ?? -1) + 1)}`));
    runs.push({ id, start_time: timestamp(start), end_time: timestamp(end), dotted_order: order, feedback_ids });
  };
  walk(result, name, own + shift, "");
  return runs;
}

const golden = parse(readFileSync(process.argv[2], "utf8"));
let checked = 0;
const wrong = [];
function expect(what, made, wanted) {
  checked += 1;
  if (JSON.stringify(made) !== JSON.stringify(wanted)) wrong.push(`${what}: made ${JSON.stringify(made)}, not ${JSON.stringify(wanted)}`);
}

for (const c of golden.canonical) {
  expect(c.name, jcs(parse(c.json)), c.canonical);
  expect(c.name, Buffer.from(jcs(parse(c.json))).toString("hex"), c.utf8);
}
for (const c of golden.uuid5) expect(c.name, uuid5(c.name), c.id);
const { dataset_id, experiment_name, id: session, start_time } = golden.experiment;
expect("experiment", uuid5(`${dataset_id}-${experiment_name}`), session);
const shortHash = (text) => createHash("sha256").update(text, "utf8").digest().readUInt32BE(0);
let sum = 0;
for (const c of golden.results) {
  const text = jcs(bare(c.result));
  const example = uuid5(`${dataset_id}-${jcs(c.result.inputs)}-${jcs(c.result.reference_outputs ?? {})}`);
  expect(c.name, [text, example], [c.canonical, c.example_id]);
  expect(c.name, trace(c.result, `${session}-${example}-${text}-0`, micros(start_time)), c.runs);
  expect(c.name, trace(c.result, `${session}-${example}-${text}-1`, micros(start_time)).at(-1).id, c.second_time);
  sum = (sum + shortHash(text)) % 2 ** 32;
}
expect("hash of all", sum.toString(16).padStart(8, "0"), golden.hash_of_all);
const { prefix, dataset_name, name } = golden.default_name;
expect("default name", `${prefix}-${((sum + shortHash(dataset_name)) % 2 ** 32).toString(16).padStart(8, "0")}`, name);
for (const c of golden.session_starts) {
  const [now, longest] = [micros(c.now), BigInt(Math.round(c.longest_s * 1e6))];
  const window = 20n * 3600n * 1000000n;
  const fresh = c.earliest && micros(c.earliest) > now - window;
  const start = fresh ? micros(c.earliest) : now - (longest < window ? longest : window);
  expect(c.name, timestamp((start / 1000000n) * 1000000n), c.start_time);
}

console.log(wrong.join("\n") || `${checked} vectors agree`);
process.exit(wrong.length ? 1 : 0);
