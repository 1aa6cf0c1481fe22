// Record a file of JSON lines as one experiment: a port of the recorder to JavaScript, for Node 20 and newer.
// Run:        LANGSMITH_ENDPOINT=... LANGSMITH_API_KEY=... node record.mjs FILE DATASET [EXPERIMENT]
// Level:      2 of PORTING.md, with Node's own modules alone
// Leaves out: attachments, requests that overlap, streams, CSV, the spellings of other tools (level 3, or the command line's)
// Exit code:  0 done, 1 something was refused or missing, 2 bad input or no connection settings
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename, extname } from "node:path";
import { pathToFileURL } from "node:url";

const MICROS = 1_000_000n, MINUTE = 60n * MICROS, HOUR = 60n * MINUTE;
const MAX_BYTES = 20_000_000, MAX_DEPTH = 64, LONGEST = 36_525 * 86_400; // a hundred years

class Problem extends Error {} // a result that is not what it should be
class Refused extends Error {
  constructor(status, words) { super(words); this.status = status; }
}

// ---------------------------------------------------------------- JSON

// Parse JSON: integers keep all digits (a BigInt beyond 2**53), and a field given twice is refused.
export function parse(text) {
  JSON.parse(text); // refuses what is no JSON
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[a-z]+|[{}[\],:]/g);
  let at = 0;
  const value = () => {
    const token = tokens[at++];
    if (token === "{") {
      const found = Object.create(null);
      while (tokens[at] !== "}") {
        const name = JSON.parse(tokens[at]);
        at += 2;
        if (name in found) throw new Problem(`the field '${name}' is given twice`);
        found[name] = value();
        if (tokens[at] === ",") at++;
      }
      at++;
      return found;
    }
    if (token === "[") {
      const found = [];
      while (tokens[at] !== "]") {
        found.push(value());
        if (tokens[at] === ",") at++;
      }
      at++;
      return found;
    }
    if (!/^-?\d+$/.test(token)) return JSON.parse(token);
    const whole = BigInt(token);
    return Number.isSafeInteger(Number(whole)) ? Number(whole) : whole;
  };
  return value();
}

// RFC 8785 canonical JSON, but integers beyond 2**53 are written as their plain digits.
export function jcs(x) {
  if (Array.isArray(x)) return `[${x.map(jcs).join(",")}]`;
  const field = (name) => `${JSON.stringify(name)}:${jcs(x[name])}`;
  if (isObject(x)) return `{${Object.keys(x).sort().map(field).join(",")}}`;
  return typeof x === "bigint" ? String(x) : JSON.stringify(x);
}

const isObject = (x) => typeof x === "object" && x !== null && !Array.isArray(x);
const isNumber = (x) => typeof x === "number" || typeof x === "bigint";
const isBoolean = (x) => typeof x === "boolean";
const isText = (x) => typeof x === "string";
const isAbsent = (x) => x === null || x === undefined;
const present = (x) => Object.fromEntries(Object.entries(x).filter(([, value]) => !isAbsent(value)));

// ---------------------------------------------------------------- ids

const hyphens = (hex) => hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, "$1-$2-$3-$4-$5");

export function uuid5(text) {
  const bytes = createHash("sha1").update(Buffer.from("6ba7b8109dad11d180b400c04fd430c8", "hex")).update(text).digest();
  bytes[6] = (bytes[6] & 0x0f) | 0x50;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return hyphens(bytes.toString("hex"));
}

export const exampleId = (datasetId, result) =>
  uuid5(`${datasetId}-${jcs(result.inputs)}-${jcs(result.reference_outputs ?? {})}`);

// The text that a run's id is made of: without nulls, without feedback, and without what belongs to the example.
export function runText(result) {
  const { split, example_metadata, ...rest } = result;
  return jcs(bare(rest));
}

function bare(run) {
  const { feedback, ...rest } = present(run);
  return rest.child_runs ? { ...rest, child_runs: rest.child_runs.map(bare) } : rest;
}

export const shortHash = (text) => createHash("sha256").update(text).digest().readUInt32BE(0);

export function defaultName(prefix, datasetName, texts) {
  const sum = [datasetName, ...texts].reduce((sum, text) => (sum + shortHash(text)) % 2 ** 32, 0);
  return `${prefix}-${sum.toString(16).padStart(8, "0")}`;
}

// ---------------------------------------------------------------- times: microseconds since 1970, as BigInt

const DATE = String.raw`(\d{4})-(\d\d)-(\d\d)`;
const CLOCK = String.raw`([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:[.,](\d+))?)?`;
const TIME = new RegExp(`^${DATE}(?:[Tt ]${CLOCK}(?:[Zz]|([+-])([01]\\d|2[0-3])(?::?([0-5]\\d))?)?)?$`);

export function micros(text) {
  const found = TIME.exec(text);
  if (!found) return null;
  const [year, month, day, hours, minutes, seconds] = found.slice(1, 7).map((digits) => Number(digits ?? 0));
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (year < 1 || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return null;
  date.setUTCHours(hours, minutes, seconds);
  const [fraction, sign, offsetHours, offsetMinutes] = found.slice(7);
  const offset = (Number(offsetHours ?? 0) * 60 + Number(offsetMinutes ?? 0)) * (sign === "-" ? -60 : 60);
  const time = BigInt(date.getTime() / 1000 - offset) * MICROS + BigInt((fraction ?? "").padEnd(6, "0").slice(0, 6));
  return time >= -62135596800n * MICROS && time < 253402300800n * MICROS ? time : null; // the years 1 to 9999
}

const floor = (a, b) => a / b - (a % b < 0n ? 1n : 0n);

export function timestamp(time) {
  const seconds = floor(time, MICROS);
  const text = new Date(Number(seconds) * 1000).toISOString().replace(/^[+-]\d\d(\d{4})/, "$1").slice(0, 19);
  return `${text}.${String(time - seconds * MICROS).padStart(6, "0")}+00:00`;
}

// A number of seconds in whole microseconds, ties to even.
function inMicros(seconds) {
  const whole = Math.trunc(seconds), part = (seconds - whole) * 1e6, low = Math.floor(part);
  const up = part - low > 0.5 || (part - low === 0.5 && low % 2 !== 0);
  return BigInt(whole) * MICROS + BigInt(low + (up ? 1 : 0));
}

// How long a run took: by its end, or by its latency.
function duration(run, start) {
  return isAbsent(run.end_time) ? inMicros(Number(run.latency ?? 0)) : micros(run.end_time) - start;
}

export function sessionStart(earliest, longest, now) {
  const window = 20n * HOUR;
  const start = earliest !== null && earliest > now - window ? earliest : now - (longest < window ? longest : window);
  return floor(start, MICROS) * MICROS;
}

const now = () => BigInt(Date.now()) * 1000n;

// ---------------------------------------------------------------- bodies

export function exampleBody(datasetId, id, result) {
  const { inputs, reference_outputs: outputs, example_metadata: metadata, split } = result;
  return present({ id, dataset_id: datasetId, inputs, outputs, metadata, split });
}

// The runs of a result, the root last, and their feedback.
export function trace(result, name, session, exampleId) {
  const runs = [], feedback = [];
  const own = isAbsent(result.start_time) ? session.start : micros(result.start_time);
  const shift = own < session.start ? session.start - own : 0n;
  const add = (run, name, parentStart, parent) => {
    const given = isAbsent(run.start_time) ? null : micros(run.start_time);
    const start = given === null ? parentStart : given + shift;
    const took = duration(run, given), children = run.child_runs ?? [];
    const metadata = { ...run.metadata };
    if (shift && given !== null) {
      metadata.original_start_time = run.start_time;
      metadata.original_end_time = run.end_time ?? (isAbsent(run.latency) ? run.start_time : timestamp(given + took));
    }
    const digits = floor(start, 1000n).toString(16).padStart(12, "0");
    const id = `${digits.slice(0, 8)}-${digits.slice(8)}-7${uuid5(name).slice(15)}`;
    const above = parent ? `${parent.dotted_order}.` : "";
    const order = `${above}${timestamp(start).slice(0, 26).replace(/[-:.]/g, "")}Z${id}`;
    const runType = run.run_type ?? (children.length ? "chain" : "llm");
    const ties = { trace_id: parent?.trace_id ?? id, session_id: session.id, start_time: timestamp(start) };
    const made = present({
      id, ...ties, dotted_order: order, parent_run_id: parent?.id, reference_example_id: parent ? null : exampleId,
      name: run.name ?? runType, run_type: runType, end_time: timestamp(start + took),
      inputs: run.inputs, outputs: run.outputs, error: run.error, tags: run.tags,
      extra: Object.keys(metadata).length ? { metadata } : null,
    });
    children.forEach((child, index) => add(child, `${id}-${index}`, start, made));
    runs.push(made);
    const counts = new Map();
    for (const item of feedbackOf(run)) {
      const key = item.error ? `${item.key}-error` : item.key;
      const n = counts.get(key) ?? 0;
      counts.set(key, n + 1);
      const source = { feedback_source: { type: "api" } };
      feedback.push({ id: uuid5(`${id}-${key}-${n}`), run_id: id, ...ties, ...source, ...present(item) });
    }
  };
  add(result, name, session.start, null);
  return { runs, feedback };
}

function feedbackOf(run) {
  const given = run.feedback ?? [];
  const items = Array.isArray(given) ? given : longForm(given);
  return items
    .filter((item) => item.error || [item.score, item.value, item.comment].some((mark) => !isAbsent(mark)))
    .map((item) => (typeof item.score === "number" ? { ...item, score: rounded(item.score) } : item));
}

const longForm = (scores) =>
  Object.entries(scores).map(([key, mark]) => ({ key, [isText(mark) ? "value" : "score"]: mark }));

// A score with at most 4 decimals, ties to even: a tie is an odd number of 32nds.
export function rounded(score) {
  const low = Math.floor(score * 10_000);
  if (Math.abs((score * 32) % 2) === 1) return (low % 2 ? low + 1 : low) / 10_000;
  return Number(score.toFixed(4)) + 0; // no minus zero
}

// ---------------------------------------------------------------- checks

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const RUN_TYPES = ["chain", "embedding", "llm", "parser", "prompt", "retriever", "tool"];
const SOURCES = ["api", "model", "app", "auto_eval"];
const isNamed = (x, most) => isText(x) && x !== "" && [...x].length <= most;
const areTexts = (x) => Array.isArray(x) && x.every(isText);
const isTime = (x) => isText(x) && micros(x) !== null;
const FIELDS = {
  inputs: isObject, outputs: isObject, reference_outputs: isObject, metadata: isObject, example_metadata: isObject,
  start_time: isTime, end_time: isTime, error: isText, tags: areTexts, child_runs: Array.isArray,
  latency: (x) => isNumber(x) && x >= 0 && x <= LONGEST,
  feedback: (x) => Array.isArray(x) || isObject(x),
  name: (x) => isNamed(x, 128),
  run_type: (x) => RUN_TYPES.includes(x),
  example_id: (x) => isText(x) && UUID.test(x),
  split: (x) => isText(x) || areTexts(x),
};
const OF_ROOTS = ["reference_outputs", "example_id", "split", "example_metadata"];
const FEEDBACK_FIELDS = {
  key: (x) => isNamed(x, 180),
  score: (x) => isNumber(x) || isBoolean(x),
  value: (x) => !Array.isArray(x),
  comment: isText,
  error: isBoolean,
  correction: (x) => isObject(x) || isText(x),
  feedback_source: (x) => isObject(x) && SOURCES.includes(x.type),
};

export function check(run, where = "", parent = null, depth = 0) {
  const need = (holds, words) => {
    if (!holds) throw new Problem(words);
  };
  need(isObject(run), `'${where}' is no object`);
  need(depth <= 32, `'${where.slice(0, 40)}...' is nested deeper than 32 levels`);
  for (const [name, value] of Object.entries(run)) {
    if (isAbsent(value)) continue; // as if it were left out
    need(name in FIELDS && !(parent && OF_ROOTS.includes(name)), `unknown field '${where}${name}'`);
    need(FIELDS[name](value), `'${where}${name}' is ${jcs(value).slice(0, 60)}, which it may not be`);
    if (name !== "child_runs" && name !== "feedback") checkJson(value, `${where}${name}`);
  }
  need(!isAbsent(run.inputs), `'${where}inputs' is missing`);
  need(!isAbsent(run.outputs) || !isAbsent(run.error), `'${where}outputs' is missing, and so is 'error'`);
  const start = isAbsent(run.start_time) ? null : micros(run.start_time);
  const end = isAbsent(run.end_time) ? null : micros(run.end_time);
  need(end === null || start !== null, `'${where}end_time' needs a 'start_time'`);
  need(end === null || isAbsent(run.latency), `'${where}latency' and 'end_time' are both given`);
  need(end === null || end >= start, `'${where}end_time' is earlier than 'start_time'`);
  need(end === null || end - start <= BigInt(LONGEST) * MICROS, `'${where}end_time' is more than 100 years later`);
  const finish = end ?? (start === null ? null : start + duration(run, start));
  need(finish === null || finish <= now() + 5n * MINUTE, `'${where}' is in the future`);
  need(start === null || !parent || parent.start !== null, `'${where}start_time' needs one on its parent`);
  need(start === null || !parent || start >= parent.start, `'${where}start_time' is earlier than its parent's`);
  checkFeedback(run.feedback ?? [], where, need);
  (run.child_runs ?? []).forEach((child, n) => check(child, `${where}child_runs[${n}].`, { start }, depth + 1));
  const { feedback, child_runs, ...own } = run;
  need(Buffer.byteLength(jcs(own)) <= MAX_BYTES, `'${where}' has more than 20 MB`);
}

function checkFeedback(given, where, need) {
  for (const item of Array.isArray(given) ? given : longForm(given)) {
    need(isObject(item), `'${where}feedback' holds ${jcs(item).slice(0, 60)}, expected objects`);
    need(!isAbsent(item.key), `'${where}feedback' holds an item without a key`);
    for (const [name, value] of Object.entries(item)) {
      if (isAbsent(value)) continue;
      need(name in FEEDBACK_FIELDS, `unknown field '${where}feedback.${name}'`);
      need(FEEDBACK_FIELDS[name](value), `'${where}feedback.${name}' may not be ${jcs(value).slice(0, 60)}`);
      checkJson(value, `${where}feedback.${name}`, 2);
    }
  }
}

// What JSON, or LangSmith, cannot hold: numbers beyond 64 bits, lone surrogates, deep nesting.
function checkJson(value, where, depth = 1) {
  const refuse = (words) => {
    throw new Problem(`'${where}' ${words}`);
  };
  if (isText(value) && !value.isWellFormed()) refuse("has a lone surrogate");
  if (typeof value === "bigint" && BigInt.asIntN(64, value) !== value) refuse("is a number beyond 64 bits");
  if (typeof value === "number") {
    if (!Number.isFinite(value)) refuse("is a number that JSON cannot hold");
    if (Math.abs(value) >= 2 ** 63 && Math.abs(value) < 1e21) refuse("is a number beyond 64 bits");
  }
  if (typeof value !== "object" || value === null) return;
  if (depth > MAX_DEPTH) refuse(`is nested deeper than ${MAX_DEPTH} levels`);
  for (const [name, item] of Object.entries(value)) {
    if (!name.isWellFormed()) refuse("has a key with a lone surrogate");
    checkJson(item, where, depth + 1);
  }
}

// ---------------------------------------------------------------- HTTP

const API = (process.env.LANGSMITH_ENDPOINT ?? "https://api.smith.langchain.com").trim().replace(/\/+$/, "");
const ROOT = API.replace(/\/api(\/v1)?$/, "");
const KEY = process.env.LANGSMITH_API_KEY ?? "no-key";
const WORKSPACE = process.env.LANGSMITH_WORKSPACE_ID && { "X-Tenant-Id": process.env.LANGSMITH_WORKSPACE_ID };
const PATIENCE = Number(process.env.LANGSMITH_PATIENCE_SECONDS ?? 120) * 1000;
const JSON_TYPE = { "Content-Type": "application/json" };
const MAY_PASS = [408, 425, 429, 500, 502, 503, 504], GONE = [404, 405, 410, 501];
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The status and the JSON of an answer: of a 2xx, or of a status in `fine`. What may pass is sent again.
async function send(method, path, { json, body, headers, fine = [], pages = false } = {}) {
  const url = (path.startsWith("/api/v2/") ? ROOT : API) + path;
  const given = { "x-api-key": KEY, Accept: "application/json", ...WORKSPACE, ...(json && JSON_TYPE), ...headers };
  const until = Date.now() + PATIENCE;
  for (let pause = 250; ; pause = Math.min(2 * pause, 15_000)) {
    let wait = pause * (0.5 + Math.random() / 2), why;
    try {
      const signal = AbortSignal.timeout(60_000);
      const answer = await fetch(url, { method, headers: given, body: json ? jcs(json) : body, redirect: "manual", signal });
      const text = await answer.text(), found = readJson(text);
      if (fine.includes(answer.status)) return { status: answer.status, found };
      why = `${answer.status}: ${words(found) ?? text.slice(0, 500)}`;
      const isPage = !/^\s*[{[]/.test(text); // and no JSON that was cut short
      if (answer.ok && (found !== undefined || (pages && isPage))) return { status: answer.status, found };
      if (answer.ok) why = `${answer.status}, but no JSON: is ${API} the address of the API?`;
      else if (!MAY_PASS.includes(answer.status) || text.includes("usage limit"))
        throw new Refused(answer.status, `${method} ${path.split("?")[0]} answered ${why}`.replaceAll(KEY, "<key>"));
      wait = retryAfter(answer.headers.get("Retry-After")) ?? wait;
    } catch (error) {
      if (error instanceof Refused || /CERT|SIGNED/.test(error.cause?.code)) throw error;
      why = `no answer (${error.cause?.message ?? error.message})`;
    }
    if (Date.now() + wait > until) throw new Error(`${method} ${path.split("?")[0]}: ${why}`.replaceAll(KEY, "<key>"));
    await sleep(wait);
  }
}

function readJson(text) {
  try {
    return text ? parse(text) : null;
  } catch {
    return undefined; // a page of some proxy
  }
}

function words(found) {
  const said = isObject(found) ? (found.detail ?? found.error) : undefined;
  return said === undefined || isText(said) ? said : jcs(said);
}

function retryAfter(text) {
  if (!text) return null;
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isNaN(wait) ? null : Math.max(wait, 0);
}

const query = (values) => `?${new URLSearchParams(values)}`;

// The calls for experiments: v1, or v2 where v1 is gone.
async function sessionCall(method, tail, json, fine = []) {
  const v1 = await send(method, `/sessions${tail}`, { json, fine: [...fine, ...GONE] });
  if (!GONE.includes(v1.status)) return v1;
  const body = method === "POST" ? { ...json, type: "EXPERIMENT" } : json;
  return send(method, `/api/v2/sessions${tail}`, { json: body, fine });
}

async function findSession(wanted) {
  const { found } = await sessionCall("GET", query(wanted));
  return (found.items ?? found)[0];
}

// ---------------------------------------------------------------- recording

async function findOrCreateDataset(name) {
  for (let isLast = false; ; isLast = true) {
    const { found } = await send("GET", `/datasets${query({ name })}`);
    const dataset = found.find((one) => one.name === name);
    if (dataset) return dataset.id;
    const made = await send("POST", "/datasets", { json: { name, data_type: "kv" }, fine: isLast ? [] : [409] });
    if (made.status !== 409) return made.found.id;
  }
}

async function openSession(body) {
  const made = await sessionCall("POST", "", body, [409]);
  if (made.status !== 409) return { ...made.found, known: new Set() };
  const session = (await findSession({ name: body.name })) ?? (await findSession({ id: body.id }));
  if (session?.reference_dataset_id !== body.reference_dataset_id)
    throw new Error(`The experiment name '${body.name}' is taken by another dataset or project: choose another.`);
  return { ...session, known: await listRunIds(session) };
}

async function listRunIds(session) {
  const min = timestamp(micros(session.start_time) - 5n * MINUTE), max = timestamp(now() + 5n * MINUTE);
  const window = { min_start_time: min, max_start_time: max };
  const v2 = { project_ids: [session.id], is_root: true, page_size: 1000, selects: ["ID"], ...window };
  const v1 = { session: [session.id], is_root: true, limit: 100, select: ["id"] };
  const ids = new Set();
  let cursor = {}, path = "/api/v2/runs/query";
  for (;;) {
    const json = { ...(path === "/runs/query" ? v1 : v2), ...cursor };
    const { found } = await send("POST", path, { json, fine: GONE, pages: true });
    if (!found?.items && !found?.runs) {
      if (path === "/runs/query") throw new Error("The runs cannot be listed: neither v2 nor v1 answers.");
      path = "/runs/query"; // a server without v2 of this call
      continue;
    }
    for (const run of found.items ?? found.runs) ids.add(run.id);
    const next = found.next_cursor ?? found.cursors?.next;
    if (!next || !(found.items ?? found.runs).length) return ids;
    cursor = { cursor: next };
  }
}

// Send units (each all of one result) at once; what is refused in halves, until the guilty one stands alone.
async function sendOrHalve(units, post, refuse) {
  try {
    if (units.length) await post(units);
  } catch (error) {
    if (![400, 413, 422].includes(error.status)) throw error;
    if (units.length === 1) return refuse(units[0], error.message);
    const half = units.length >> 1;
    await sendOrHalve(units.slice(0, half), post, refuse);
    await sendOrHalve(units.slice(half), post, refuse);
  }
}

// Bodies of units in requests of at most 100 and so many bytes; only a unit that fits in none is torn apart.
function* requestsOf(units, maxBytes) {
  let packed = [], size = 0;
  for (const unit of units) {
    const texts = unit.bodies.map(jcs), bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
    const fits = texts.length <= 100 && bytes <= maxBytes;
    for (const part of fits ? [texts] : texts.map((text) => [text])) {
      const weight = part.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
      if (packed.length && (packed.length + part.length > 100 || size + weight > maxBytes)) {
        yield packed;
        [packed, size] = [[], 0];
      }
      packed.push(...part);
      size += weight;
    }
  }
  if (packed.length) yield packed;
}

const hundreds = (items) =>
  Array.from({ length: Math.ceil(items.length / 100) }, (_, n) => items.slice(100 * n, 100 * n + 100));

async function knownExamples(datasetId, ids) {
  const known = new Map();
  for (const some of hundreds(ids)) {
    const params = [["dataset", datasetId], ["limit", "100"], ...some.map((id) => ["id", id])];
    for (const example of (await send("GET", `/examples${query(params)}`)).found) known.set(example.id, example);
  }
  return known;
}

// The change that gives an example the split and the metadata of a result; null when it has them.
export function changedExample(example, result) {
  const { dataset_split: splits = ["base"], ...metadata } = example.metadata ?? {};
  const split = [result.split ?? splits].flat(), wanted = result.example_metadata ?? metadata;
  const isSame = jcs([...split].sort()) === jcs([...splits].sort()) && jcs(wanted) === jcs(metadata);
  return isSame ? null : { id: example.id, metadata: wanted, split };
}

async function sendExamples(items, datasetId, refused, reject) {
  const makers = new Map(items.filter((item) => item.isMaker).map((item) => [item.exampleId, item]));
  const known = await knownExamples(datasetId, [...new Set(items.map((item) => item.exampleId))]);
  for (const { result, exampleId } of items)
    if (result.example_id && !known.has(exampleId) && !makers.has(exampleId))
      refused.set(exampleId, `example ${exampleId} is not in the dataset`);
  const changes = [...makers.values()].filter((item) => known.has(item.exampleId))
    .map((item) => ({ item, bodies: [changedExample(known.get(item.exampleId), item.result)] }));
  const patch = (units) => send("PATCH", "/examples/bulk", { json: units.flatMap((unit) => unit.bodies) });
  const refuse = ({ item }, why) => reject(item, `its split or metadata was refused: ${why}`);
  await sendOrHalve(changes.filter((unit) => unit.bodies[0]), patch, refuse);
  const post = async (units) => {
    for (const texts of requestsOf(units, 10_000_000)) {
      const { status } = await send("POST", "/examples/bulk", { body: `[${texts}]`, headers: JSON_TYPE, fine: [409] });
      if (status !== 409) continue;
      const there = await knownExamples(datasetId, units.map((unit) => unit.item.exampleId));
      if (!there.size) throw new Refused(409, "POST /examples/bulk answered 409, but none of the examples is there");
      return post(units.filter((unit) => !there.has(unit.item.exampleId)));
    }
  };
  const units = [...makers.values()].filter((item) => !known.has(item.exampleId))
    .map((item) => ({ item, bodies: [exampleBody(datasetId, item.exampleId, item.result)] }));
  await sendOrHalve(units, post, ({ item }, why) => refused.set(item.exampleId, `its example was refused: ${why}`));
}

async function sendRuns(items, reject) {
  const tooLate = timestamp(now() - 23n * HOUR - 55n * MINUTE);
  if (items.some((item) => item.trace.runs.at(-1).start_time <= tooLate))
    throw new Error("LangSmith takes no runs that started 24 hours ago or earlier: record under a new experiment name.");
  const post = async (units) => {
    for (const texts of requestsOf(units, MAX_BYTES))
      await send("POST", "/runs/batch", { body: `{"post":[${texts}]}`, headers: JSON_TYPE, fine: [409] });
  };
  const units = items.map((item) => ({ item, bodies: item.trace.runs }));
  await sendOrHalve(units, post, ({ item }, why) => reject(item, why));
}

let multipart = true; // until a server turns out to lack it

async function createFeedback(items) {
  if (multipart) {
    const boundary = "ports-javascript-record";
    const parts = items.map((item) => {
      const text = jcs(item), type = `application/json; length=${Buffer.byteLength(text)}`;
      const head = `Content-Disposition: form-data; name="feedback.${item.id}"\r\nContent-Type: ${type}`;
      return `--${boundary}\r\n${head}\r\n\r\n${text}\r\n`;
    });
    const headers = { "Content-Type": `multipart/form-data; boundary=${boundary}` };
    const body = `${parts.join("")}--${boundary}--\r\n`;
    const { status } = await send("POST", "/runs/multipart", { body, headers, fine: [404, 405, 409] });
    if (![404, 405].includes(status)) return;
    multipart = false;
  }
  for (const item of items) {
    for (const pause of [1, 2, 4, 8, 16, 0]) {
      const { status } = await send("POST", "/feedback", { json: item, fine: pause ? [404, 409] : [409] });
      if (status !== 404) break;
      await sleep(pause * 1000); // its run is not stored yet
    }
  }
}

async function sendFeedback(items, known, reject) {
  const there = new Map();
  const runIds = known.size ? items.flatMap((item) => item.trace.runs.map((run) => run.id)) : [];
  for (const some of hundreds(runIds)) {
    for (let offset = 0, page = []; offset === 0 || page.length === 100; offset += 100) {
      const params = [["limit", "100"], ["offset", String(offset)], ...some.map((id) => ["run", id])];
      page = (await send("GET", `/feedback${query(params)}`)).found;
      for (const one of page) there.set(one.id, one);
    }
  }
  const same = (a, b) => jcs(plain(a)) === jcs(plain(b));
  for (const body of items.flatMap((item) => item.trace.feedback).filter((body) => there.has(body.id))) {
    const wanted = marks(body);
    if (!same(wanted, marks(there.get(body.id)))) await send("PATCH", `/feedback/${body.id}`, { json: wanted });
  }
  const post = async (units) => {
    for (const some of hundreds(units.flatMap((unit) => unit.bodies))) await createFeedback(some);
  };
  const units = items.map((item) => ({ item, bodies: item.trace.feedback.filter((body) => !there.has(body.id)) }));
  const refuse = ({ item }, why) => reject(item, `recorded, but its feedback was refused: ${why}`);
  await sendOrHalve(units.filter((unit) => unit.bodies.length), post, refuse);
}

const marks = ({ score = null, value = null, comment = null }) => ({ score, value, comment });
const plain = ({ score, ...rest }) => ({ ...rest, score: isBoolean(score) ? Number(score) : score });

async function readBack(session, expected, sent) {
  const until = Date.now() + 120_000;
  for (let pause = 200; ; pause = Math.min(1.5 * pause, 10_000)) {
    const { found } = await sessionCall("GET", `/${session.id}?include_stats=true`);
    if (found.run_count === expected) return [];
    const isLate = Date.now() + pause > until;
    if (isLate || !(found.run_count < expected)) {
      const there = await listRunIds(session);
      const missing = sent.filter((item) => !there.has(item.trace.runs.at(-1).id));
      if (isLate || !missing.length) return missing;
    }
    await sleep(pause);
  }
}

function read(file) {
  const lines = readFileSync(file, "utf8").replace(/^\uFEFF/, "").split("\n");
  const problems = [], results = [];
  lines.forEach((line, index) => {
    if (!line.trim()) return;
    try {
      results.push(parse(line));
      check(results.at(-1));
    } catch (error) {
      if (!(error instanceof Problem || error instanceof SyntaxError)) throw error;
      problems.push(`line ${index + 1}: ${error.message}`);
    }
  });
  if (!problems.length && results.length) return results;
  console.error(problems.length ? problems.slice(0, 20).join("\n") : `There is nothing to record in ${file}.`);
  console.error("Nothing was sent.");
  process.exit(2);
}

async function record(file, datasetName, name) {
  const results = read(file);
  const datasetId = await findOrCreateDataset(datasetName);
  const starts = results.filter((one) => !isAbsent(one.start_time)).map((one) => micros(one.start_time));
  const earliest = starts.reduce((a, b) => (a === null || b < a ? b : a), null);
  const longest = results.map((one) => duration(one, isAbsent(one.start_time) ? 0n : micros(one.start_time)))
    .reduce((a, b) => (b > a ? b : a), 0n);
  const texts = results.map(runText);
  name ??= defaultName(basename(file, extname(file)), datasetName, texts);
  const session = await openSession({
    id: uuid5(`${datasetId}-${name}`), name, reference_dataset_id: datasetId,
    start_time: timestamp(sessionStart(earliest, longest, now())),
  });
  session.start = micros(session.start_time);

  const rejected = [], sent = [], refused = new Map(), counts = new Map(), made = new Set();
  const reject = (item, why) => {
    item.isRejected = true;
    rejected.push(`result ${item.number}: ${why}`);
  };
  const items = results.map((result, index) => {
    const id = result.example_id ?? exampleId(datasetId, result), text = texts[index], n = counts.get(text) ?? 0;
    counts.set(text, n + 1);
    const isMaker = !result.example_id && !made.has(id); // the first result of an example in this call
    if (isMaker) made.add(id);
    const runs = trace(result, `${session.id}-${id}-${text}-${n}`, session, id);
    return { number: index + 1, result, exampleId: id, isMaker, trace: runs };
  });
  for (const batch of hundreds(items)) {
    await sendExamples(batch, datasetId, refused, reject);
    for (const item of batch) if (refused.has(item.exampleId)) reject(item, refused.get(item.exampleId));
    const missing = batch.filter((item) => !item.isRejected && !session.known.has(item.trace.runs.at(-1).id));
    await sendRuns(missing, reject);
    sent.push(...missing.filter((item) => !item.isRejected));
    await sendFeedback(batch.filter((item) => !item.isRejected), session.known, reject);
  }
  const ends = items.flatMap((item) => item.trace.runs.map((run) => run.end_time));
  const end_time = ends.reduce((a, b) => (b > a ? b : a), timestamp(now()));
  if (sent.length || !session.end_time) await sessionCall("PATCH", `/${session.id}`, { end_time });
  const missing = sent.length ? await readBack(session, session.known.size + sent.length, sent) : [];
  for (const item of missing) reject(item, "accepted, but not to be found");
  console.log(`${name}: ${results.length} results, ${sent.length} recorded now, ${rejected.length} refused`);
  if (rejected.length) console.error(rejected.join("\n"));
  return rejected.length ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv.length < 4) {
    console.error("usage: node record.mjs FILE DATASET [EXPERIMENT]");
    process.exit(2);
  }
  try {
    process.exitCode = await record(...process.argv.slice(2));
  } catch (error) {
    console.error(`${error.message}\nWhat was answered is recorded. Run the same again: it sends what is missing.`);
    process.exitCode = 1;
  }
}
