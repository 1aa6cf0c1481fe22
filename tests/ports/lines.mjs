// Prints the numbers, from 0, of the lines in a JSON array that the JavaScript port takes: node tests/ports/lines.mjs FILE
import { readFileSync } from "node:fs";
import * as port from "../../ports/javascript/record.mjs";

function isTaken(line) {
  try {
    port.check(port.parse(line));
    return true;
  } catch {
    return false;
  }
}

const lines = JSON.parse(readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify([...lines.keys()].filter((number) => isTaken(lines[number]))));
