// Conveniences only: every page works without this file.
"use strict";

// Experiments that are chosen stay chosen while their list is sorted, filtered or turned over.
for (const button of document.querySelectorAll("button[data-needs]")) {
  const { form } = button;
  const name = button.dataset.needs;
  const key = `chosen ${location.pathname}`;
  const clear = form.querySelector("[type=reset]");
  const elsewhere = form.appendChild(document.createElement("div"));
  const boxes = () => [...form.querySelectorAll(`[type=checkbox][name="${name}"]`)]; // new ones while a run goes on
  let chosen = new Set();
  const show = () => {
    for (const box of boxes()) box.checked = chosen.has(box.value);
    const listed = boxes().map((box) => box.value);
    const others = [...chosen].filter((id) => !listed.includes(id));
    elsewhere.replaceChildren(
      ...others.map((value) => Object.assign(document.createElement("input"), { type: "hidden", name, value })),
    );
    button.disabled = chosen.size === 0 || chosen.size > 6;
    clear.hidden = chosen.size === 0;
    const where = others.length ? ` (${others.length} not listed here)` : "";
    button.textContent = chosen.size ? `Compare ${chosen.size} experiment${chosen.size > 1 ? "s" : ""}${where}` : "Compare selected";
  };
  const keep = () => {
    sessionStorage.setItem(key, JSON.stringify([...chosen]));
    show();
  };
  const restore = () => {
    chosen = new Set(JSON.parse(sessionStorage.getItem(key) ?? "[]"));
    show();
  };
  form.addEventListener("change", ({ target: box }) => {
    if (box.name !== name) return;
    if (box.checked) chosen.add(box.value);
    else chosen.delete(box.value);
    keep();
  });
  form.addEventListener("reset", () => {
    chosen.clear();
    keep();
  });
  addEventListener("pageshow", restore); // after going back, too
  document.addEventListener("updated", show); // by live.js
  restore();
}

// Empty fields stay out of the address, and so do the columns while they are the usual ones.
for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("submit", () => {
    for (const field of form.elements) if (field.name && field.value === "") field.disabled = true;
    const usual = form.querySelector("fieldset[data-usual]");
    if (usual && [...usual.elements].every((box) => box.checked === box.defaultChecked)) usual.disabled = true;
  });
}
window.addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form.filters :disabled")) field.disabled = false;
});

// Every block that is shown in full can be copied as it is stored.
function addCopyButtons(root) {
  for (const block of root.querySelectorAll(".copyable, .markdown pre")) {
    if (block.querySelector(":scope > .copy")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(stored(block));
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    block.append(button);
  }
}

function stored(block) {
  const copy = block.querySelector(":scope > .raw")?.cloneNode(true) ?? block.cloneNode(true);
  copy.querySelectorAll(".copy").forEach((button) => button.remove());
  return block.matches(".tree-of-json") ? JSON.stringify(JSON.parse(copy.textContent), null, 2) : copy.textContent;
}

addCopyButtons(document);

// Tables whose cells have values sort by them: numbers from the largest, names from A; what has no value comes last.
function addSorting(root) {
  for (const table of root.querySelectorAll("table.sortable"))
    for (const [at, head] of [...table.tHead.rows[0].cells].entries()) {
      if (!head.dataset.cells && table.tHead.querySelector("[data-cells]")) continue;
      if (![...table.tBodies].some((body) => [...body.rows].some((row) => valueIn(row, head, at)))) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sortBy(table, head, at));
    }
}

addSorting(document);

// Where cells span rows or columns, the head names its cells by their label.
function valueIn(row, head, at) {
  const cell = head.dataset.cells ? row.querySelector(`[data-label="${head.dataset.cells}"]`) : row.cells[at];
  return cell?.dataset.value ?? "";
}

function sortBy(table, head, at) {
  const isText = "text" in head.dataset;
  const turned = head.getAttribute("aria-sort") === (isText ? "ascending" : "descending");
  const sign = isText === turned ? -1 : 1;
  const value = (row) => valueIn(row, head, at);
  const order = (a, b) => (isText ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  for (const body of table.tBodies) {
    const group = body.querySelector("th[scope=rowgroup]"); // stands in the first row, whichever that is
    const rows = [...body.rows].sort(
      (a, b) => (value(a) === "") - (value(b) === "") || sign * order(value(a), value(b)),
    );
    body.append(...rows);
    if (group) rows[0].prepend(group);
  }
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
}
