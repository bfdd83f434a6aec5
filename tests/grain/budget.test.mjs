// Programs inside an exact number of bytes, as Grain's own gc tests do: all memory is taken away but a budget, and the
// program must get along with it, or must not. A program that leaks eight bytes a round cannot pass.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { FAILED, HEADER, PAGE, load, simple } from "./module.mjs";

const PAGES = 24;
let grain;
beforeEach(() => {
  grain = load({ pages: PAGES });
  // Grain's own counting: no roots, so the collector needs no memory of its own.
  assert.equal(grain.configure(ARC, 0, 0, 0), 0);
});

const ARC = 1;

/** Takes all memory that is left, in ever smaller raw blocks; returns how many there were. */
function takeAll() {
  let blocks = 0;
  for (let size = PAGES * PAGE; size >= 1; size = size > 8 ? Math.floor(size / 2) : size - 1) {
    while (grain.rawMalloc(size) !== FAILED) blocks++;
  }
  return blocks;
}

/** Leaves exactly one block of `bytes` bytes of payload free, and nothing else. */
function leave(bytes) {
  const reserved = grain.rawMalloc(bytes);
  assert.notEqual(reserved, FAILED);
  takeAll();
  assert.equal(grain.malloc(8), FAILED, "nothing is left");
  grain.rawFree(reserved);
  return reserved;
}

/** The least budget in which the program does not run out of memory. */
function least(program) {
  let low = 0;
  let high = 64 * 1024;
  while (high - low > 8) {
    const middle = Math.ceil((low + high) / 16) * 8;
    grain = load({ pages: PAGES });
    grain.configure(ARC, 0, 0, 0);
    leave(middle);
    if (program()) high = middle;
    else low = middle;
  }
  return high;
}

/** Makes objects until there is no memory; false then. */
const made = (...objects) => objects.every((at) => at !== FAILED);

test("exhaustion: malloc answers -1, at any size, and nothing has changed", () => {
  const list = [];
  for (let at; (at = grain.malloc(40)) !== FAILED; ) list.push(at);
  assert.ok(list.length > (PAGES - 4) * PAGE / 64, `${list.length} objects`);
  assert.equal(grain.bytes, PAGES * PAGE, "memory grew to its maximum");
  const live = grain.liveCells();
  const used = grain.heapUsed();
  for (const size of [40, 1000, PAGE, 2 ** 31, 2 ** 32 - 1, 2 ** 32 - 8]) assert.equal(grain.malloc(size), FAILED);
  for (const size of [PAGE, 2 ** 31, 2 ** 32 - 1]) assert.equal(grain.rawMalloc(size), FAILED);
  assert.equal(grain.liveCells(), live);
  assert.equal(grain.heapUsed(), used);
  assert.equal(grain.check(), 0);
  // One goes, one fits.
  grain.decRef(list.pop());
  const again = grain.malloc(40);
  assert.notEqual(again, FAILED);
  grain.decRef(again);
  list.forEach(grain.decRef);
  assert.equal(grain.liveCells(), 0);
  // All of it can be used at every size again.
  let large = 0;
  while (grain.malloc(30000) !== FAILED) large++;
  assert.ok(large * 30000 > 0.8 * (PAGES - 2) * PAGE, `${large} objects of 30000 bytes`);
});

test("a size that does not exist is refused while memory is plenty", () => {
  for (const size of [2 ** 32 - 1, 2 ** 32 - 9, 2 ** 31]) assert.equal(grain.malloc(size), FAILED);
  assert.notEqual(grain.malloc(8), FAILED);
});

test("a dropped pair is reused: rounds without end in the bytes of one round", () => {
  const round = () => {
    const inner = grain.tuple(simple(3), simple(4));
    if (!made(inner)) return false;
    const outer = grain.tuple(simple(1), inner);
    if (!made(outer)) return false;
    grain.decRef(outer);
    return true;
  };
  const once = least(round);
  const often = least(() => Array.from({ length: 1000 }, round).every(Boolean));
  assert.equal(often, once);
  // Two objects of 16 bytes with a header of 8 each, and what the allocator adds; Grain's take two units of 64.
  assert.ok(once <= 2 * 64, `${once} bytes`);
});

test("the control: a program that forgets one decRef a round does not pass", () => {
  const round = () => {
    const inner = grain.tuple(simple(3), simple(4));
    return made(inner) && made(grain.tuple(simple(1), inner));
  };
  const once = least(round);
  const often = least(() => Array.from({ length: 10 }, round).every(Boolean));
  assert.ok(often > once + 9 * 2 * 16, `${often} bytes for ten rounds, ${once} for one`);
});

test("fib by pairs needs the same bytes for 3 and for 3000 rounds", () => {
  // let rec help = (n, acc) => { let (cur, next) = acc; if (n == 0) cur else help(n - 1, (next, cur + next)) }
  const fib = (n) => {
    let acc = grain.tuple(simple(0), simple(1));
    for (let i = 0; i < n && made(acc); i++) {
      const cur = grain.get(acc, 2) >> 1;
      const next = grain.get(acc, 3) >> 1;
      const following = grain.tuple(simple(next), simple((cur + next) & 0xffff));
      grain.decRef(acc);
      acc = following;
    }
    return made(acc) && made(grain.decRef(acc));
  };
  assert.equal(least(() => fib(3000)), least(() => fib(3)));
});

test("lists of growing length, each dropped: the bytes of the longest", () => {
  const list = (n) => {
    let at = grain.empty();
    for (let i = 0; i < n && made(at); i++) {
      const longer = grain.cons(simple(i), at);
      if (!made(longer)) {
        grain.decRef(at);
        return false;
      }
      at = longer;
    }
    return made(at) && made(grain.decRef(at));
  };
  const longest = least(() => list(25));
  assert.equal(least(() => Array.from({ length: 25 }, (_, i) => list(i + 1)).every(Boolean)), longest);
  // An element has 28 bytes of payload and 8 of header; Grain takes 64 bytes for it.
  const long = least(() => list(1000));
  assert.ok(long < 1000 * 48, `${long} bytes`);
});

test("rationals in a loop: their numbers are not forgotten", () => {
  const round = () => {
    const numerator = grain.bigInteger(1);
    if (!made(numerator)) return false;
    const denominator = grain.bigInteger(2);
    if (!made(denominator)) return false;
    const at = grain.rational(numerator, denominator);
    return made(at) && made(grain.decRef(at));
  };
  assert.equal(least(() => Array.from({ length: 500 }, round).every(Boolean)), least(round));
});

test("strings of any size in one budget: what is freed at one size serves every size", () => {
  const program = () => {
    for (let size = 0; size <= 2000; size += 9) {
      const at = grain.string("x".repeat(size));
      if (!made(at)) return false;
      grain.decRef(at);
    }
    for (let size = 2000; size >= 0; size -= 9) {
      const at = grain.string("y".repeat(size));
      if (!made(at)) return false;
      grain.decRef(at);
    }
    return true;
  };
  const bytes = least(program);
  assert.ok(bytes <= 2000 + 8 + HEADER + 64, `${bytes} bytes`);
});

test("memory does not grow while a program of cycles and trees runs", () => {
  grain = load();
  const round = () => {
    const knot = grain.record(grain.string("held"), simple(0));
    grain.set(knot, 5, grain.incRef(knot));
    grain.decRef(knot);
    grain.decRef(grain.tuple(grain.array(simple(1), grain.string("leaf")), grain.lambda(grain.empty())));
  };
  for (let i = 0; i < 5000; i++) round();
  grain.runOrc();
  const { bytes } = grain;
  const used = grain.heapUsed();
  const occupied = grain.getOccupiedMem();
  assert.equal(occupied, 0);
  for (let i = 0; i < 100000; i++) round();
  grain.runOrc();
  assert.equal(grain.bytes, bytes);
  assert.equal(grain.heapUsed(), used);
  assert.equal(grain.getOccupiedMem(), 0);
});

test("before malloc answers -1 it collects cycles", () => {
  grain = load({ pages: PAGES });
  const COLLECT_WHEN_FULL = 8;
  assert.equal(grain.configure(COLLECT_WHEN_FULL, 0, 0, 0), 0);
  grain.disableOrc();
  const total = Math.floor((PAGES * PAGE) / 24) * 2;
  for (let i = 0; i < total; i++) {
    const knot = grain.record(simple(0), simple(0));
    assert.notEqual(knot, FAILED, `the ${i}th of ${total}`);
    grain.set(knot, 5, grain.incRef(knot));
    grain.decRef(knot);
  }
  assert.equal(grain.bytes, PAGES * PAGE);
  grain.runOrc();
  assert.equal(grain.liveCells(), 0);
});

test("configure refuses what it does not know", () => {
  assert.ok(grain.configure(1 << 20, 0, 0, 0) < 0);
  assert.equal(grain.configure(0, 0, 0, 0), 0);
});
