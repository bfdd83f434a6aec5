// What an object that goes takes along: children by heap tag, without recursion; and cycles, which Grain leaks.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Kind, Tag, load, simple } from "./module.mjs";

let grain;
beforeEach(() => (grain = load()));
afterEach(() => {
  assert.equal(grain.check(), 0);
  assert.equal(grain.errorStatus(), 0);
  assert.equal(grain.liveCells(), 0);
  assert.equal(grain.getOccupiedMem(), 0);
});

const COMPOSITES = {
  array: (...values) => grain.array(...values),
  tuple: (...values) => grain.tuple(...values),
  record: (...values) => grain.record(...values),
  variant: (...values) => grain.variant(2, ...values),
  lambda: (...values) => grain.lambda(...values),
};

for (const name of Object.keys(COMPOSITES)) {
  test(`${name}: every child is given up, as often as it is there`, () => {
    for (let count = 0; count <= 40; count++) {
      const children = Array.from({ length: count }, (_, i) => grain.string(`child ${i}`));
      const twice = grain.string("twice");
      const values = children.flatMap((child, i) => (i % 2 ? [child] : [child, grain.incRef(twice), simple(i)]));
      const at = COMPOSITES[name](...values);
      const kept = children.map((child, i) => (i % 5 === 0 ? grain.incRef(child) : 0));
      grain.decRef(at);
      assert.equal(grain.refCount(twice), 1);
      assert.equal(grain.liveCells(), 1 + kept.filter(Boolean).length);
      kept.forEach(grain.decRef);
      grain.decRef(twice);
    }
  });
}

test("a rational gives up both of its numbers (Grain's own code forgets them)", () => {
  const numerator = grain.bigInteger(1, 2, 3);
  const denominator = grain.bigInteger(7);
  const at = grain.rational(numerator, grain.incRef(denominator));
  assert.equal(grain.liveCells(), 3);
  grain.decRef(at);
  assert.equal(grain.liveCells(), 1);
  assert.equal(grain.refCount(denominator), 1);
  grain.decRef(denominator);
});

test("the limbs of a big integer, the bytes of a string, other numbers are no references", () => {
  const victim = grain.string("must stay");
  grain.decRef(grain.bigInteger(victim, victim, victim));
  grain.decRef(grain.object(Tag.STRING, 8, victim, victim));
  grain.decRef(grain.object(Tag.BYTES, 8, victim, victim));
  grain.decRef(grain.object(Tag.NUMBER, Kind.INT64, victim, victim));
  grain.decRef(grain.object(Tag.NUMBER, Kind.FLOAT64, victim, victim));
  for (const tag of [Tag.INT32, 10, 11, 12, 13, 99]) grain.decRef(grain.object(tag, 2, victim, victim));
  // What comes before the elements is none either: hashes, tags, a function's number and arity.
  grain.decRef(grain.object(Tag.VARIANT, victim, victim, victim, 0));
  grain.decRef(grain.object(Tag.RECORD, victim, victim, 0));
  grain.decRef(grain.object(Tag.LAMBDA, victim, victim, 0));
  assert.equal(grain.refCount(victim), 1);
  grain.decRef(victim);
});

test("an object that is not written yet has no children", () => {
  grain.decRef(grain.malloc(64));
  const half = grain.malloc(64);
  grain.set(half, 0, Tag.ARRAY);
  grain.set(half, 1, 14);
  grain.set(half, 2, grain.string("first"));
  grain.decRef(half);
});

test("a length that claims more than the object has does no harm", () => {
  const at = grain.tuple(grain.string("child"));
  const neighbour = grain.tuple(grain.string("other"));
  grain.set(at, 1, 0x40000000);
  grain.decRef(at);
  assert.equal(grain.liveCells(), 2);
  grain.decRef(neighbour);
});

for (const length of [10 ** 5, 10 ** 6]) {
  test(`a list of ${length} goes without recursion`, () => {
    let list = grain.empty();
    for (let i = 0; i < length; i++) list = grain.cons(simple(i), list);
    assert.equal(grain.liveCells(), length + 1);
    grain.decRef(list);
    assert.equal(grain.liveCells(), 0);
  });
}

test("a list linked by its heads goes too: which child is last does not matter", () => {
  let list = grain.empty();
  for (let i = 0; i < 10 ** 5; i++) list = grain.cons(list, grain.empty());
  grain.decRef(list);
});

test("a tree of 2^16 leaves with strings goes, and what others hold of it stays", () => {
  const tree = (depth) => (depth ? grain.record(tree(depth - 1), tree(depth - 1)) : grain.string("leaf"));
  const root = tree(16);
  assert.equal(grain.liveCells(), 2 ** 17 - 1);
  const left = grain.incRef(grain.get(root, 4));
  grain.decRef(root);
  assert.equal(grain.liveCells(), 2 ** 16 - 1);
  grain.decRef(left);
});

// ---------------------------------------------------------------- cycles

/** A record that holds the value, and itself. */
function knot(value) {
  const at = grain.record(value, simple(0));
  grain.set(at, 5, grain.incRef(at));
  return at;
}

test("a lambda that closes over itself is collected by runOrc, with what it holds", () => {
  const lambda = grain.lambda(grain.string("held"), simple(0));
  grain.set(lambda, 5, grain.incRef(lambda));
  grain.decRef(lambda);
  assert.equal(grain.liveCells(), 2);
  grain.runOrc();
  assert.equal(grain.liveCells(), 0);
});

test("a ring through every kind of object is collected once nobody holds it", () => {
  const array = grain.array(simple(1), 0);
  const ring = grain.variant(1, grain.tuple(grain.record(grain.lambda(array))));
  grain.set(array, 3, grain.incRef(ring));
  const held = grain.incRef(array);
  grain.decRef(ring);
  grain.runOrc();
  assert.equal(grain.liveCells(), 5, "one is held from outside");
  assert.equal(grain.refCount(ring), 1);
  grain.decRef(held);
  grain.runOrc();
  assert.equal(grain.liveCells(), 0);
});

test("a cycle gives up what it refers to outside: the count goes down by exactly one", () => {
  const live = grain.string("live");
  grain.decRef(knot(grain.incRef(live)));
  assert.equal(grain.refCount(live), 2);
  grain.runOrc();
  assert.equal(grain.refCount(live), 1);
  grain.decRef(live);
});

test("a ring of 10^5 is collected", () => {
  const first = grain.record(simple(0), simple(0));
  let last = first;
  for (let i = 1; i < 10 ** 5; i++) last = grain.record(last, simple(i));
  grain.set(first, 4, grain.incRef(last));
  grain.decRef(last);
  assert.equal(grain.liveCells(), 10 ** 5);
  grain.runOrc();
  assert.equal(grain.liveCells(), 0);
});

test("without a call: garbage in small cycles stays bounded", () => {
  let most = 0;
  for (let i = 0; i < 50000; i++) {
    grain.decRef(knot(simple(i)));
    most = Math.max(most, grain.liveCells());
  }
  assert.ok(most < 10000, `${most} objects alive at a time`);
  grain.runOrc();
});

test("disableOrc: cycles wait; enableOrc: they are collected again", () => {
  grain.disableOrc();
  for (let i = 0; i < 5000; i++) grain.decRef(knot(simple(i)));
  assert.equal(grain.liveCells(), 5000);
  assert.equal(grain.prepareOrc(), 5000);
  grain.enableOrc();
  for (let i = 0; i < 200; i++) grain.decRef(knot(simple(i)));
  assert.ok(grain.liveCells() < 5000);
  grain.runOrc();
});

test("partialCollect looks at the roots from its limit on", () => {
  grain.disableOrc();
  grain.decRef(knot(simple(1)));
  const limit = grain.prepareOrc();
  grain.decRef(knot(simple(2)));
  grain.partialCollect(limit);
  assert.equal(grain.liveCells(), 1);
  grain.partialCollect(0);
  assert.equal(grain.liveCells(), 0);
});

test("step: a large ring is collected in slices of 100, while the program goes on", () => {
  grain.configure(0, 0, 100, 0);
  const first = grain.record(simple(0), simple(0));
  let last = first;
  for (let i = 1; i < 5000; i++) last = grain.record(last, simple(i));
  grain.set(first, 4, grain.incRef(last));
  grain.decRef(last);
  let steps = 0;
  for (let done = 0; !done; steps++) {
    assert.ok(steps < 10000);
    done = grain.step(100);
    grain.decRef(grain.tuple(grain.string(`${steps}`)));
  }
  assert.ok(steps > 10, `${steps} steps`);
  assert.equal(grain.liveCells(), 0);
});

/** Collects until nothing waits, whatever the mode. */
function settle() {
  grain.runOrc();
  grain.configure(0, 0, 0, 0);
  grain.runOrc();
}

/** KN_GC_TORTURE: a collection and a check at each allocation. */
const TORTURE = 16;
const MODES = {
  "by default": [60000, 0, 0, 0, 0],
  "in slices of 50": [60000, 0, 0, 50, 0],
  "with at most 3 frees a call": [60000, 0, 0, 0, 3],
  "in slices of 7, with at most 1 free a call": [60000, 0, 10, 7, 1],
  "tortured": [1200, TORTURE, 0, 0, 0],
};

const graph = (steps, ...settings) => {
  assert.equal(grain.configure(...settings), 0);
  let seed = 12345;
  const random = (below) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % 65536 % below;
  const kinds = Object.values(COMPOSITES);
  const first = [2, 2, 4, 5, 4];
  const nodes = [];
  const born = () => {
    const kind = random(kinds.length);
    return { at: kinds[kind](simple(0), simple(0), simple(0)), first: first[kind] };
  };
  for (let i = 0; i < 400; i++) nodes.push(born());
  for (let step = 0; step < steps; step++) {
    const index = random(nodes.length);
    const node = nodes[index];
    if (step % 9 === 0) {
      grain.decRef(node.at);
      nodes[index] = born();
    } else {
      const slot = node.first + random(3);
      const target = random(4) ? nodes[random(nodes.length)].at : simple(step);
      const old = grain.get(node.at, slot);
      grain.set(node.at, slot, grain.incRef(target));
      grain.decRef(old);
    }
    if (step % (steps / 6) === 0) assert.equal(grain.check(), 0);
  }
  settle();
  // What a naive walk reaches from the 400 is what may live.
  const seen = new Set();
  const queue = nodes.map((node) => node.at);
  while (queue.length) {
    const at = queue.pop();
    if (at === 0 || at % 8 || seen.has(at)) continue;
    seen.add(at);
    const start = { [Tag.ARRAY]: 2, [Tag.TUPLE]: 2, [Tag.RECORD]: 4, [Tag.LAMBDA]: 4, [Tag.VARIANT]: 5 }[grain.get(at)];
    for (let i = 0; i < 3; i++) queue.push(grain.get(at, start + i));
  }
  assert.equal(grain.liveCells(), seen.size);
  nodes.forEach((node) => grain.decRef(node.at));
  settle();
};

for (const [mode, settings] of Object.entries(MODES)) {
  test(`a random graph of all kinds, ${mode}: exactly what a naive walk reaches lives; at the end nothing`, () => {
    graph(...settings);
  });
}
