// The steps of a trace: choosing one changes only what is beside the tree, which folds and filters in place. Keys go
// through the steps, and to the next example; where there are no steps, `j` and `k` do that, too.
"use strict";

const tree = document.querySelector(".tree");
const steps = tree ? [...tree.querySelectorAll("li")] : [];
const depth = (step) => Number(step.dataset.depth);
const link = (step) => step.querySelector("a");
const folded = new Set();
let asked = null; // the answer that is wanted: earlier ones that arrive later are not shown

async function show(href, { way = "pushState" } = {}) {
  const address = new URL(href, location.href);
  choose(address.pathname); // at once, so that the next key starts from here
  const answer = (asked = partOf(address));
  const fresh = await answer;
  if (answer !== asked) return;
  if (!fresh) return location.assign(address);
  document.querySelector(".step-body").replaceWith(fresh);
  addCopyButtons(fresh);
  document.title = document.title.replace(/^.*(?= · )/, fresh.dataset.title);
  document.querySelector(".crumbs [aria-current]").textContent = fresh.dataset.title;
  if (way) history[way]({}, "", address);
  if (fresh.getBoundingClientRect().top < 0) scrollTo(0, 0);
}

async function partOf(address) {
  const part = new URL(address);
  part.searchParams.set("part", "step");
  const response = await fetch(part).catch(() => null); // without a server, the browser's own page says so
  return response && new DOMParser().parseFromString(await response.text(), "text/html").querySelector(".step-body");
}

// Mark the step of this address, and bring it into the sight of the tree.
function choose(path) {
  tree.querySelector("[aria-current]")?.removeAttribute("aria-current");
  const step = steps.find((item) => link(item).pathname === path);
  if (!step) return;
  link(step).setAttribute("aria-current", "page");
  if (step.hidden) reveal(step);
  const [box, mine] = [tree.getBoundingClientRect(), step.getBoundingClientRect()];
  const head = tree.querySelector(".tree-top").offsetHeight;
  if (mine.top < box.top + head || mine.bottom > box.bottom) tree.scrollTop += mine.top - box.top - head - box.height / 3;
}

const current = () => steps.findIndex((step) => link(step).hasAttribute("aria-current"));

function step(by, condition = () => true) {
  const at = current();
  const rest = by > 0 ? steps.slice(at + 1) : steps.slice(0, Math.max(at, 0)).reverse();
  const next = rest.find((item) => condition(item));
  if (next) show(link(next).href, { way: "replaceState" }); // or going back would take as many keys
}

// Folding and filtering

function parents(step) {
  const found = [];
  let above = depth(step);
  for (let at = steps.indexOf(step) - 1; at >= 0 && above > 0; at--)
    if (depth(steps[at]) < above) {
      above = depth(steps[at]);
      found.push(steps[at]);
    }
  return found;
}

function reveal(step) {
  parents(step).forEach((item) => folded.delete(item));
  if (step.dataset.out) for (const field of form.elements) field.type === "checkbox" ? (field.checked = true) : (field.value = "");
  refresh();
}

function refresh() {
  const name = form.querySelector("[type=search]").value.trim().toLowerCase();
  const kinds = new Set([...form.querySelectorAll(":checked")].map((box) => box.value));
  const listed = new Set([...form.querySelectorAll("[type=checkbox]")].map((box) => box.value));
  let under = Infinity; // the depth of the folded step that we are below
  for (const item of steps) {
    const isOut = (listed.has(item.dataset.kind) && !kinds.has(item.dataset.kind)) || (name && !item.textContent.toLowerCase().includes(name));
    if (depth(item) <= under) under = folded.has(item) ? depth(item) : Infinity;
    item.dataset.out = isOut ? "1" : "";
    item.hidden = isOut || depth(item) > under;
    const button = item.querySelector(".fold-step");
    if (button) button.setAttribute("aria-expanded", String(!folded.has(item)));
    if (button) button.textContent = folded.has(item) ? "▸" : "▾";
  }
}

const form = tree?.querySelector(".tree-filter");
const hasSteps = (item, at) => at + 1 < steps.length && depth(steps[at + 1]) > depth(item);

if (tree) {
  form.hidden = steps.length < 8; // a few steps need no filter
  steps.forEach((item, at) => {
    const place = document.createElement(hasSteps(item, at) ? "button" : "span");
    place.className = hasSteps(item, at) ? "fold-step" : "no-fold";
    if (place.tagName === "BUTTON") {
      place.type = "button";
      place.textContent = "▾";
      place.setAttribute("aria-expanded", "true");
      place.setAttribute("aria-label", `Steps below ${link(item).querySelector(".step").textContent.trim()}`);
    }
    link(item).before(place);
  });
  form.addEventListener("input", refresh);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    document.activeElement.blur(); // keys go through the steps again
    const found = steps.find((item) => !item.hidden);
    if (found) show(link(found).href);
  });
  form.querySelector("[data-fold]").addEventListener("click", (event) => {
    if (folded.size) folded.clear();
    else steps.forEach((item, at) => at && hasSteps(item, at) && folded.add(item));
    event.target.textContent = folded.size ? "Unfold all" : "Fold all";
    refresh();
  });
  tree.addEventListener("click", (event) => {
    if (event.target.matches(".fold-step")) {
      const item = event.target.closest("li");
      if (!folded.delete(item)) folded.add(item);
      return refresh();
    }
    const chosen = event.target.closest("a");
    if (!chosen || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(chosen.href);
  });
  addEventListener("popstate", () => show(location.href, { way: null }));
  choose(location.pathname);
}

function example(way) {
  const next = document.querySelector(`[data-way=${way}]`);
  if (next) location.replace(next.href); // as with steps, going back leads to the list
}

const KEYS = {
  j: () => (tree ? step(1, (item) => !item.hidden) : example("J")),
  k: () => (tree ? step(-1, (item) => !item.hidden) : example("K")),
  n: () => step(1, (item) => item.classList.contains("failed")),
  p: () => step(-1, (item) => item.classList.contains("failed")),
  e: () => tree?.querySelector("[data-first-error]")?.click(),
  J: () => example("J"),
  K: () => example("K"),
  "/": () => form?.querySelector("[type=search]").focus(),
  "?": () => document.getElementById("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
  if (event.key === "Escape" && typing) return event.preventDefault(), event.target.blur(); // what was typed stays
  if (event.ctrlKey || event.metaKey || event.altKey || typing || document.querySelector("dialog[open]")) return;
  if (!KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
