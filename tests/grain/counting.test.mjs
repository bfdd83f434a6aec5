// Grain's `malloc`, `free`, `incRef`, `decRef`, `decRefIgnoreZeros`, `getFreePtr`: what the seed says of each, one by one.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { FAILED, FALSE, HEADER, TRUE, VOID, binary, character, load, simple } from "./module.mjs";

let grain;
beforeEach(() => (grain = load()));
afterEach(() => assert.equal(grain.check(), 0));

const IMMEDIATES = [0, simple(0), simple(-1), simple(5), TRUE, FALSE, VOID, character(0x1f600), 1, 2, 4, 7, FAILED];

const GC = ["malloc", "free", "incRef", "decRef", "decRefIgnoreZeros"];
const MALLOC = ["rawMalloc", "rawFree", "getFreePtr"];
const CYCLES = ["runOrc", "partialCollect", "prepareOrc", "enableOrc", "disableOrc", "step", "configure"];
const INSIGHT = ["refCount", "getTotalMem", "getOccupiedMem", "getFreeMem", "liveCells", "heapUsed", "check"];
const MISTAKES = ["errorStatus", "errorText", "errorAt", "throwOnError"];

test("the module imports nothing, and exports its memory and the functions that are documented", () => {
  const module = new WebAssembly.Module(binary);
  assert.deepEqual(WebAssembly.Module.imports(module), []);
  const exports = WebAssembly.Module.exports(module).map(({ name, kind }) => `${kind} ${name}`);
  const functions = [...GC, ...MALLOC, ...CYCLES, ...INSIGHT, ...MISTAKES].map((name) => `function ${name}`);
  assert.deepEqual(exports.sort(), ["memory memory", ...functions].sort());
});

test("malloc: multiples of 8, a count of 1, zeroed, apart from each other", () => {
  const objects = [];
  for (let size = 0; size <= 700; size += size < 80 ? 1 : 13) {
    const at = grain.malloc(size);
    assert.notEqual(at, FAILED);
    assert.equal(at % 8, 0);
    assert.equal(grain.refCount(at), 1);
    const payload = new Uint8Array(grain.exports.memory.buffer, at, size);
    assert.ok(payload.every((byte) => byte === 0), `size ${size}`);
    payload.fill(0xee);
    objects.push([at, size]);
  }
  // Whoever holds no reference by its tag must not be followed: the payloads above are noise.
  objects.sort(([a], [b]) => a - b);
  for (let i = 1; i < objects.length; i++) {
    const [before, size] = objects[i - 1];
    assert.ok(before + size <= objects[i][0] - HEADER, "the header of one lies behind the payload of the one before");
  }
  for (const [at] of objects) grain.decRef(at);
  assert.equal(grain.liveCells(), 0);
  assert.equal(grain.getOccupiedMem(), 0);
});

test("the counter word lies 8 bytes before the payload and changes with the count alone", () => {
  const at = grain.tuple(simple(1));
  const one = grain.get(at - HEADER);
  const behind = grain.get(at - 4);
  grain.incRef(at);
  const two = grain.get(at - HEADER);
  assert.notEqual(two, one);
  grain.incRef(at);
  assert.equal(grain.get(at - HEADER) - two, two - one, "each reference adds the same");
  assert.equal(grain.get(at - 4), behind);
  for (let i = 0; i < 3; i++) grain.decRef(at);
  assert.equal(grain.liveCells(), 0);
});

test("incRef and decRef return the pointer they were given", () => {
  const at = grain.string("hello");
  assert.equal(grain.incRef(at), at);
  assert.equal(grain.refCount(at), 2);
  assert.equal(grain.decRef(at), at);
  assert.equal(grain.refCount(at), 1);
  assert.equal(grain.incRef(at), at);
  assert.equal(grain.decRefIgnoreZeros(at), at);
  assert.equal(grain.refCount(at), 1);
  assert.equal(grain.decRef(at), at);
  assert.equal(grain.liveCells(), 0);
});

test("immediates and 0 are not counted, by any of the three", () => {
  for (const value of IMMEDIATES) {
    assert.equal(grain.incRef(value), value);
    assert.equal(grain.decRef(value), value);
    assert.equal(grain.decRefIgnoreZeros(value), value);
    assert.equal(grain.refCount(value), 0);
  }
  assert.equal(grain.errorStatus(), 0);
});

test("immediates inside an object are not counted when it goes", () => {
  const children = IMMEDIATES.filter((value) => value !== 0);
  grain.decRef(grain.tuple(...IMMEDIATES));
  grain.decRef(grain.array(...children));
  grain.decRef(grain.record(...IMMEDIATES));
  grain.decRef(grain.lambda(...children));
  grain.decRef(grain.variant(3, ...IMMEDIATES));
  grain.decRef(grain.rational(simple(1), simple(2)));
  assert.equal(grain.liveCells(), 0);
  assert.equal(grain.errorStatus(), 0);
});

test("decRef of a count of zero is Grain's DecRefError, and traps", () => {
  const at = grain.tuple(simple(1));
  const neighbour = grain.string("stays");
  grain.decRef(at);
  assert.throws(() => grain.decRef(at), WebAssembly.RuntimeError);
  assert.equal(grain.text(grain.errorText()), "DecRefError: Reference count of zero");
  assert.equal(grain.errorAt(), at);
  assert.ok(grain.errorStatus() < 0);
  assert.equal(grain.errorStatus(), 0, "told once");
  assert.equal(grain.liveCells(), 1);
  // A trap is no end: the module works on.
  assert.equal(grain.refCount(neighbour), 1);
  grain.decRef(neighbour);
  assert.equal(grain.liveCells(), 0);
});

test("a program may make mistakes for ever: a trap leaves the stack as it was", () => {
  const at = grain.tuple(simple(1));
  const kept = grain.tuple(simple(2));
  grain.decRef(at);
  for (let i = 0; i < 20000; i++) {
    for (const [call, value] of [["decRef", at], ["free", at], ["incRef", kept + 16], ["refCount", 0xfffffff0]]) {
      assert.throws(() => grain[call](value), WebAssembly.RuntimeError);
    }
  }
  assert.ok(grain.errorStatus() < 0);
  grain.decRef(kept);
  assert.equal(grain.liveCells(), 0);
});

test("throwOnError(0): the mistake changes nothing and leaves its status", () => {
  grain.throwOnError(0);
  const at = grain.tuple(simple(1));
  const neighbour = grain.string("stays");
  grain.decRef(at);
  assert.equal(grain.decRef(at), at);
  assert.ok(grain.errorStatus() < 0);
  assert.equal(grain.liveCells(), 1);
  grain.throwOnError(1);
  assert.throws(() => grain.decRef(at), WebAssembly.RuntimeError);
  grain.decRef(neighbour);
});

test("decRefIgnoreZeros of a count of zero is silent and goes no lower", () => {
  const at = grain.tuple(simple(1));
  const neighbour = grain.string("stays");
  grain.decRefIgnoreZeros(at);
  assert.equal(grain.liveCells(), 1);
  for (let i = 0; i < 3; i++) assert.equal(grain.decRefIgnoreZeros(at), at);
  assert.equal(grain.errorStatus(), 0);
  assert.equal(grain.refCount(at), 0);
  grain.decRef(neighbour);
});

test("pointers that are no objects are mistakes and change nothing", () => {
  grain.throwOnError(0);
  const at = grain.array(simple(1), simple(2), simple(3), simple(4));
  for (const wrong of [at + 8, at + 16, 64, 0x7ffffff8, 0xfffffff8, grain.bytes - 8]) {
    for (const call of ["incRef", "decRef", "decRefIgnoreZeros", "free"]) {
      grain[call](wrong);
      assert.ok(grain.errorStatus() < 0, `${call} of ${wrong.toString(16)}`);
    }
  }
  assert.equal(grain.refCount(at), 1);
  assert.equal(grain.check(), 0);
  grain.decRef(at);
  assert.equal(grain.liveCells(), 0);
});

test("free ends an object whatever its count; its children are not given up", () => {
  const child = grain.string("child");
  const at = grain.tuple(child);
  grain.incRef(at);
  grain.incRef(at);
  grain.free(at);
  assert.equal(grain.liveCells(), 1);
  assert.equal(grain.refCount(child), 1);
  grain.decRef(child);
  assert.equal(grain.getOccupiedMem(), 0);
  grain.free(0);
  assert.equal(grain.errorStatus(), 0);
});

test("rawMalloc and rawFree: blocks without a count, all their bytes the program's", () => {
  grain.rawFree(grain.rawMalloc(1));
  const used = grain.heapUsed();
  const blocks = [];
  for (let size = 0; size < 5000; size += 37) {
    const at = grain.rawMalloc(size);
    assert.notEqual(at, FAILED);
    assert.equal(at % 8, 0);
    new Uint8Array(grain.exports.memory.buffer, at, size).fill(blocks.length & 255);
    blocks.push([at, size]);
  }
  blocks.forEach(([at, size], index) => {
    assert.ok(new Uint8Array(grain.exports.memory.buffer, at, size).every((byte) => byte === (index & 255)));
    grain.rawFree(at);
  });
  assert.equal(grain.heapUsed(), used);
  assert.equal(grain.liveCells(), 0);
  assert.throws(() => grain.rawFree(blocks[0][0]), WebAssembly.RuntimeError);
});

test("getFreePtr: a free block of the heap, a multiple of 8", () => {
  const kept = grain.malloc(8);
  const at = grain.getFreePtr();
  assert.equal(at % 8, 0);
  assert.ok(at > 0 && at < grain.bytes);
  const raw = grain.rawMalloc(24);
  assert.notEqual(grain.getFreePtr(), raw);
  grain.rawFree(raw);
  assert.equal(grain.getFreePtr(), at);
  grain.decRef(kept);
});

test("local0 := val, also when both are the same object", () => {
  let local0 = grain.tuple(simple(1));
  const other = grain.tuple(simple(2));
  local0 = grain.assign(local0, local0);
  assert.equal(grain.refCount(local0), 1);
  local0 = grain.assign(local0, other);
  assert.equal(grain.liveCells(), 1);
  assert.equal(grain.refCount(other), 2);
  local0 = grain.assign(local0, VOID);
  assert.equal(grain.refCount(other), 1);
  grain.decRef(other);
});

test("references are caller-owned: arguments keep their counts, results come with one", () => {
  // let pair = (a) => { let p = (a, a); let q = p; q }
  const pair = (a) => {
    const locals = [0, 0];
    locals[0] = grain.tuple(grain.incRef(a), grain.incRef(a));
    locals[1] = grain.assign(0, locals[0]);
    return grain.leave(locals[1], locals);
  };
  const argument = grain.string("argument");
  const result = pair(argument);
  assert.equal(grain.refCount(result), 1);
  assert.equal(grain.refCount(argument), 3);
  grain.decRef(result);
  assert.equal(grain.refCount(argument), 1);
  grain.decRef(argument);
  assert.equal(grain.liveCells(), 0);
});

test("getTotalMem = getOccupiedMem + getFreeMem at any time", () => {
  const kept = [];
  for (let i = 0; i < 300; i++) {
    kept.push(grain.array(...Array(i % 50).fill(simple(i))));
    if (i % 3 === 0) grain.decRef(kept.splice((i * 7) % kept.length, 1)[0]);
    assert.equal(grain.getTotalMem(), grain.getOccupiedMem() + grain.getFreeMem());
  }
  kept.forEach(grain.decRef);
  assert.equal(grain.getOccupiedMem(), 0);
  assert.equal(grain.getTotalMem(), grain.getFreeMem());
});
