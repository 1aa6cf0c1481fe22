// The list of a comparison by keyboard: rows open beside it, scores are saved in place. Without this file, the same
// links and forms load whole pages.
"use strict";

const table = document.querySelector("table.compare");
const lines = [...document.querySelectorAll("table.compare tbody tr[id^='e-']")];
let current = null; // the row that keys are about
let column = null; // which of its answers is scored
let last = null; // the score that `u` takes back
let asked = null; // the panel that is on its way

const panel = () => document.getElementById("panel");
const isOpen = () => asked || panel();
const opener = (line) => line.querySelector("a.open");
const lineOf = (example) => document.getElementById(`e-${example}`);
const answers = (line) => [...line.querySelectorAll("td.cell")].filter((cell) => cell.querySelector("[data-run]"));

// Which row, and which answer in it

function go(line, { focus = true } = {}) {
  if (!line) return say("There are no more rows on this page.");
  pick(line);
  if (focus && !panel()) opener(line).focus({ preventScroll: true });
  line.scrollIntoView({ block: "nearest" }); // its scroll margin leaves room for the sticky header
  markAnswer();
}

function pick(line) {
  current?.classList.remove("current");
  current = line;
  line?.classList.add("current");
}

function answer() {
  const cells = current ? answers(current) : [];
  const preferred = cells.findIndex((cell) => "candidate" in cell.dataset);
  return cells[Math.min(column ?? Math.max(preferred, 0), cells.length - 1)];
}

function markAnswer() {
  for (const node of document.querySelectorAll(".chosen")) node.classList.remove("chosen");
  const cell = answer();
  if (!cell || answers(current).length < 2) return;
  const run = cell.querySelector("[data-run]").dataset.run;
  for (const node of document.querySelectorAll(`[data-run="${run}"]`)) node.classList.add("chosen");
}

function turn(by) {
  if (!current) return;
  const cells = answers(current);
  column = Math.min(Math.max(cells.indexOf(answer()) + by, 0), cells.length - 1);
  markAnswer();
}

// The panel beside the list

async function open(href, { push = true } = {}) {
  const address = new URL(href, location.href);
  pick(lineOf(address.searchParams.get("row"))); // at once, so that the next key is about this row
  const wanted = (asked = partOf(address));
  const found = await wanted;
  if (wanted !== asked) return; // by now, another row is wanted or none
  asked = null;
  if (!found) return leave(href);
  const old = panel();
  const place = document.querySelector("main");
  if (old) old.replaceWith(found);
  else place.append(found);
  decorate(found);
  const state = { row: found.dataset.row };
  const isOwn = old || history.state?.closed; // this entry of the history is of a row, open or closed again
  if (push) history[isOwn ? "replaceState" : "pushState"](state, "", address.pathname + address.search);
  document.getElementById("panel-title").focus({ preventScroll: true });
  if (current) go(current, { focus: false });
}

async function partOf(address) {
  const response = await fetch(`${address.pathname}${address.search}&part=row`).catch(() => null);
  return response && new DOMParser().parseFromString(await response.text(), "text/html").getElementById("panel");
}

function close({ push = true } = {}) {
  asked = null;
  const node = panel();
  if (!node) return;
  const address = new URL(node.querySelector("a.close").href);
  node.remove();
  const isOwn = history.state?.row; // below it in the history is the list
  if (push) history[isOwn ? "replaceState" : "pushState"]({ closed: Boolean(isOwn) }, "", address.pathname + address.search);
  const line = lineOf(node.dataset.row) ?? current;
  if (line) go(line);
}

async function step(kind, find) {
  const line = find();
  if (line) return isOpen() ? open(opener(line).href) : go(line);
  await asked;
  if (panel()) {
    const link = panel().querySelector(`[data-way="${kind}"]`);
    return link ? follow(link) : say("There are no more such rows.");
  }
  const beyond = kind === "n" ? table?.dataset.badAfter : kind === "p" ? table?.dataset.badBefore : null;
  return beyond ? leave(beyond) : say("There are no more such rows on this page.");
}

function follow(link) {
  const example = new URL(link.href).searchParams.get("row");
  return lineOf(example) ? open(link.href) : leave(link.href);
}

// Keys are for the page that comes: they must not score a row of this one.
let isLeaving = false;
function leave(href) {
  isLeaving = true;
  location.assign(href);
}
addEventListener("pageshow", (event) => event.persisted && (isLeaving = false));

function neighbour(by, condition = () => true) {
  const rest = by > 0 ? lines.slice(lines.indexOf(current) + 1) : lines.slice(0, Math.max(lines.indexOf(current), 0)).reverse();
  return rest.find(condition);
}

// Scores

const CHOSEN_KEY = `metric ${location.pathname}`; // of this dataset: another one has other metrics
const WHICH_KEY = "Feedback key that digits score";
const metric = () => sessionStorage.getItem(CHOSEN_KEY) || table?.dataset.metric;

async function send(run, fields) {
  const body = new URLSearchParams({ ...fields, part: "scores" });
  const response = await fetch(document.querySelector("main").dataset.scores.replace("RUN", run), { method: "POST", body });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!response.ok) {
    say(page.querySelector("[role=alert] p")?.textContent ?? "The score could not be saved.");
    return false;
  }
  for (const fresh of page.querySelectorAll("[data-patch]"))
    for (const old of document.querySelectorAll(`[data-patch="${fresh.dataset.patch}"]`)) {
      if (fresh.dataset.patch.startsWith("hand-") && !old.closest("#panel")) continue;
      const copy = fresh.cloneNode(true);
      for (const comment of copy.querySelectorAll("details"))
        comment.open = Boolean(old.querySelector(`details[open][data-key="${CSS.escape(comment.dataset.key)}"]`));
      old.replaceWith(copy);
    }
  for (const cell of document.querySelectorAll(`[data-run="${run}"][data-metric]`)) mark(cell, page);
  document.getElementById("stale")?.removeAttribute("hidden");
  return true;
}

function mark(cell, page) {
  const chip = [...page.querySelectorAll(".chip")].find((item) => item.dataset.key === cell.dataset.metric);
  cell.textContent = chip?.querySelector("b").textContent.replace(/^[✓✗] /, "") ?? "–";
  cell.classList.toggle("good", chip?.classList.contains("good") ?? false);
  cell.classList.toggle("bad", chip?.classList.contains("bad") ?? false);
}

// The answer that keys score now, and how to name it.
function chosen() {
  if (!current && !isOpen()) go(lines[0]);
  const cell = answer();
  if (!cell) return say(current ? "There is no answer to score here." : "This row is not in the list: score it in the panel.");
  const where = `${opener(current).textContent.trim()}, ${cell.dataset.label}`;
  return { run: cell.querySelector("[data-run]").dataset.run, where };
}

async function give(fields, to = chosen()) {
  if (!to) return;
  if (!metric()) return ask(WHICH_KEY, (name) => keep(name) && give(fields, to));
  const key = metric();
  await asked; // or it might show the score from before
  if (!(await send(to.run, { key, ...fields }))) return;
  last = { run: to.run, key };
  say(`${key} ${fields.score ?? "comment"} saved for ${to.where}. u takes it back.`);
}

async function takeBack() {
  if (!last) return say("There is no score to take back.");
  const { run, key } = last;
  if (await send(run, { key, take_back: "1" })) say(`${key} was taken back.`);
  last = null;
}

function keep(name) {
  sessionStorage.setItem(CHOSEN_KEY, name);
  say(`Digits now score ${name}.`);
  return true;
}

// One line at the bottom: what happened, or a question

const line = document.createElement("div");
line.className = "status-line";
line.setAttribute("role", "status");
document.body.append(line);

function say(text) {
  line.textContent = text;
}

function ask(label, then, value = "") {
  const before = document.activeElement;
  const form = document.createElement("form");
  form.innerHTML = '<label><span></span> <input autocomplete="off" maxlength="10000"></label> <button class="primary">Save</button>';
  form.querySelector("span").textContent = label;
  const input = form.querySelector("input");
  input.value = value;
  if (label === WHICH_KEY) input.setAttribute("list", "metrics");
  const end = () => {
    line.replaceChildren();
    before.focus({ preventScroll: true });
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    end();
    if (input.value.trim()) then(input.value.trim());
  });
  form.addEventListener("keydown", (event) => event.key === "Escape" && (event.stopPropagation(), end()));
  line.replaceChildren(form);
  input.focus();
}

// Events

const KEYS = {
  j: () => step("j", () => neighbour(1)),
  k: () => step("k", () => neighbour(-1)),
  n: () => step("n", () => neighbour(1, (row) => row.classList.contains("bad-row"))),
  p: () => step("p", () => neighbour(-1, (row) => row.classList.contains("bad-row"))),
  h: () => turn(-1),
  l: () => turn(1),
  c: () => {
    const to = chosen();
    if (to) ask(`Comment on ${metric()} of ${to.where}`, (comment) => give({ comment }, to));
  },
  m: () => ask(WHICH_KEY, keep, metric()),
  u: takeBack,
  d: () => {
    const link = panel()?.querySelector("[data-diff]");
    if (link) leave(link.href);
  },
  y: async () => {
    await asked;
    const href = panel() ? location.href : current && opener(current).href;
    if (!href) return;
    const address = new URL(href);
    const response = await fetch(`${address.pathname}${address.search}&part=json`);
    await navigator.clipboard.writeText(JSON.stringify(await response.json(), null, 2));
    say("The row was copied as JSON.");
  },
  "/": () => document.querySelector("input[type=search][name=q]").focus(),
  "?": () => document.getElementById("keys").showModal(),
  Enter: () => {
    if (!isOpen()) open(opener(current ?? lines[0]).href);
  },
  Escape: () => close(),
};

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (isLeaving || event.ctrlKey || event.metaKey || event.altKey || typing || document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  const action = /^[0-9]$/.test(event.key) ? () => give({ score: event.key }) : KEYS[event.key];
  if (!action || (!lines.length && !panel() && !"/?".includes(event.key))) return;
  event.preventDefault();
  action();
});

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const link = event.target.closest("a");
  if (link?.matches(".open")) return event.preventDefault(), open(link.href);
  if (link?.matches("#panel .close")) return event.preventDefault(), close();
  if (link?.matches("#panel [data-way]")) return event.preventDefault(), follow(link);
  const row = event.target.closest("table.compare tbody tr");
  if (!row || event.target.closest("a, button, summary, input, label, pre") || String(getSelection())) return;
  const cell = event.target.closest("td.cell");
  if (cell) column = answers(row).indexOf(cell);
  open(opener(row).href);
});

document.addEventListener("submit", async (event) => {
  if (!event.target.matches("form.give")) return;
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(event.target, event.submitter));
  const run = event.target.action.split("/").at(-2);
  if (!(await send(run, fields))) return;
  if (!fields.take_back) sessionStorage.setItem(CHOSEN_KEY, fields.key);
  last = fields.take_back ? null : { run, key: fields.key };
  event.target.closest("details")?.removeAttribute("open");
  say(fields.take_back ? `${fields.key} was taken back.` : `${fields.key} was saved.`);
});

addEventListener("popstate", () => {
  const row = new URL(location.href).searchParams.get("row");
  if (row) open(location.href, { push: false });
  else close({ push: false });
});

// A form that opens offers the metric that was used last.
function decorate(root) {
  for (const input of root.querySelectorAll("form.give input[name=key]:not([type=hidden])")) input.value = metric();
  addCopyButtons(root);
}

// After going back, a table that scrolls in its own box scrolls to where it was; browsers do this only for the page.
const box = document.getElementById("rows");
const placeOf = () => `place ${location.pathname}${location.search}`;
addEventListener("pagehide", () => box && sessionStorage.setItem(placeOf(), JSON.stringify([box.scrollLeft, box.scrollTop])));
if (box && performance.getEntriesByType("navigation")[0]?.type !== "navigate")
  box.scrollTo(...JSON.parse(sessionStorage.getItem(placeOf()) ?? "[0, 0]"));

if (panel()) {
  decorate(panel());
  const row = lineOf(panel().dataset.row);
  if (row) go(row, { focus: false });
  document.getElementById("panel-title").focus({ preventScroll: true });
}
