// Bytes that Grain's objects take, here and with Grain's own allocator, as a table on standard output.
//
//  - Knoll: what 10,000 objects add to the used blocks of the heap, divided; headers, pages and rounding included.
//  - Grain: units of 64 bytes, with 16 bytes of the allocator's own and 8 of the counter (`stdlib/runtime/malloc.gr`, `gc.gr`).

import { load, simple } from "./module.mjs";

const COUNT = 10000;
const OBJECTS = {
  box: (grain) => grain.tuple(simple(1)),
  pair: (grain) => grain.tuple(simple(1), simple(2)),
  "string of 10 bytes": (grain) => grain.string("0123456789"),
  "list element": (grain) => grain.cons(simple(1), simple(2)),
  "record of 4": (grain) => grain.record(simple(1), simple(2), simple(3), simple(4)),
  "closure over 3": (grain) => grain.lambda(simple(1), simple(2), simple(3)),
  "array of 8": (grain) => grain.array(...Array(8).fill(simple(1))),
  "array of 12": (grain) => grain.array(...Array(12).fill(simple(1))),
  "string of 60 bytes": (grain) => grain.string("0123456789".repeat(6)),
  "array of 50": (grain) => grain.array(...Array(50).fill(simple(1))),
  "string of 1000 bytes": (grain) => grain.string("0123456789".repeat(100)),
};
const PAYLOADS = [12, 16, 18, 28, 32, 28, 40, 56, 68, 208, 1008];

const rows = Object.entries(OBJECTS).map(([name, make], index) => {
  const grain = load();
  make(grain);
  const before = grain.heapUsed();
  for (let i = 0; i < COUNT; i++) make(grain);
  const knoll = (grain.heapUsed() - before) / COUNT;
  const theirs = Math.ceil((PAYLOADS[index] + 24) / 64) * 64;
  return [name, `${PAYLOADS[index]}`, knoll.toFixed(1), `${theirs}`, (theirs / knoll).toFixed(2)];
});
const lines = [["object", "payload", "Knoll", "Grain", "ratio"], ...rows];
const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
const show = (line) => `| ${line.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join(" | ")} |`;
console.log(show(lines[0]));
console.log(`|${widths.map((width, i) => (i ? `${"-".repeat(width + 1)}:` : "-".repeat(width + 2))).join("|")}|`);
for (const line of lines.slice(1)) console.log(show(line));
