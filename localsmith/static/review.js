// Reviewing by keyboard: digits choose, Enter saves. Without this file the form works as any other.
"use strict";

const form = document.getElementById("rubric");
const questions = form ? [...form.querySelectorAll("[data-question]")] : [];

// A digit answers the first question that is open; when all are answered, the last one again.
function choose(key) {
  const asked = questions.filter((question) => question.querySelector("[type=radio], [inputmode]"));
  const open = asked.find((question) => !question.querySelector(":checked") && !question.querySelector("[inputmode]")?.value);
  const question = open ?? asked.at(-1);
  const number = question?.querySelector("[inputmode]");
  if (number) return number.focus(); // where the digit is typed
  question?.querySelector(`[data-key="${key}"]`)?.click();
}

// Once an answer is sent, keys are for the next one: they must not change and send this one again.
let isSent = false;
addEventListener("submit", () => (isSent = true));
addEventListener("pageshow", (event) => event.persisted && (isSent = false));

document.addEventListener("keydown", (event) => {
  if (isSent || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.tagName === "TEXTAREA" || (event.target.tagName === "INPUT" && event.target.type !== "radio");
  if (event.key === "Escape") return event.target.blur();
  if (event.key === "Enter" && form && !event.shiftKey && !event.target.closest("a, button, summary")) {
    event.preventDefault();
    return form.requestSubmit(form.querySelector("[value=save]"));
  }
  if (typing) return;
  if (/^[0-9]$/.test(event.key)) return choose(event.key);
  if (event.key === "c") return event.preventDefault(), form?.elements.note.focus();
  if (event.key === "?") return document.getElementById("keys").showModal();
  if (event.key === "s" || event.key === "u") document.querySelector(`button[data-key="${event.key}"]`)?.click();
});
