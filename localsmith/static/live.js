// The numbers of an experiment that still runs follow it. Nothing is asked while the page is hidden, or once it ended.
"use strict";

const EVERY = 3000; // milliseconds
let timer = null;

const isLive = () => document.querySelector("[data-live]") !== null;
const isBusy = (part) => part.contains(document.activeElement) || part.querySelector("details[open]");

async function update() {
  timer = null;
  if (document.hidden || !isLive()) return;
  try {
    const address = new URL(location.href);
    address.searchParams.set("part", "live");
    const fresh = new DOMParser().parseFromString(await (await fetch(address)).text(), "text/html");
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = document.querySelector(`[data-part="${part.dataset.part}"]`);
      if (!old || isBusy(old)) continue;
      old.replaceWith(part);
      addSorting(part);
    }
    document.dispatchEvent(new Event("updated"));
  } catch {
    // The server may be gone for a moment; the next time may be better.
  }
  wait();
}

function wait() {
  if (!timer && !document.hidden && isLive()) timer = setTimeout(update, EVERY);
}

// New rows are listed when the reader wants them, and the page stays where it is.
document.addEventListener("click", (event) => {
  if (!event.target.matches("[data-reload]")) return;
  event.preventDefault();
  location.reload();
});
document.addEventListener("visibilitychange", wait);
wait();
