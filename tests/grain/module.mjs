// Grain's heap as JavaScript sees it: the module's exports, and objects laid out as Grain's compiler lays them out.
//
//  - `load({ pages })` instantiates the module afresh; with `pages` its memory may grow to so many 64 KB pages and no
//    further: the maximum is written into the module's memory section, which is all that a limited runtime does.
//  - Pointers are unsigned numbers; a failed allocation is FAILED, Grain's -1.
//  - The functions that make objects take over the references they are given, as a compiler's stores do.
//
// The module's path comes from the environment: KNOLL_GRAIN_WASM.

import { readFileSync } from "node:fs";

export const FAILED = 0xffffffff;
export const PAGE = 65536;
export const HEADER = 8;

/** First words of heap objects, and second words of numbers: Grain's `tags.gr`. */
export const Tag = { STRING: 1, VARIANT: 2, RECORD: 3, ARRAY: 4, NUMBER: 5, LAMBDA: 6, TUPLE: 7, BYTES: 8, INT32: 9 };
export const Kind = { FLOAT64: 1, INT64: 2, RATIONAL: 3, BIG_INTEGER: 4 };

/** A 31-bit integer as an immediate. */
export const simple = (number) => ((number << 1) | 1) >>> 0;
/** The constants true, false and void, and a character. */
export const TRUE = 0xfffffffe;
export const FALSE = 0x7ffffffe;
export const VOID = 0x6ffffffe;
export const character = (code) => ((code << 8) | 2) >>> 0;

const path = process.env.KNOLL_GRAIN_WASM;
if (!path) throw new Error("KNOLL_GRAIN_WASM names no module; run the tests by `cargo xtask grain`");
export const binary = readFileSync(path);
let unlimited;

/** A number of the binary format: value and where it ends. */
function leb(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return [value, at];
  }
}

function toLeb(value) {
  const bytes = [];
  do {
    bytes.push((value % 128) + (value >= 128 ? 128 : 0));
    value = Math.floor(value / 128);
  } while (value > 0);
  return bytes;
}

/** The module with another maximum of its memory. */
function limited(pages) {
  for (let at = 8; at < binary.length; ) {
    const start = at;
    const id = binary[at++];
    let size;
    [size, at] = leb(binary, at);
    const end = at + size;
    if (id === 5) {
      const [count, flagsAt] = leb(binary, at);
      if (count !== 1) throw new Error("not one memory");
      const [least] = leb(binary, flagsAt + 1);
      const body = [1, 1, ...toLeb(least), ...toLeb(pages)];
      return Buffer.concat([binary.subarray(0, start), Buffer.from([5, ...toLeb(body.length), ...body]), binary.subarray(end)]);
    }
    at = end;
  }
  throw new Error("no memory section");
}

/** A fresh instance. */
export function load({ pages } = {}) {
  const module = pages ? new WebAssembly.Module(limited(pages)) : (unlimited ??= new WebAssembly.Module(binary));
  return new Grain(new WebAssembly.Instance(module, {}).exports);
}

export class Grain {
  constructor(exports) {
    this.exports = exports;
    for (const name of ["malloc", "incRef", "decRef", "decRefIgnoreZeros", "rawMalloc", "getFreePtr", "errorAt", "errorText"]) {
      this[name] = (...values) => exports[name](...values) >>> 0;
    }
    const numbers = ["free", "rawFree", "refCount", "runOrc", "partialCollect", "prepareOrc", "enableOrc", "disableOrc", "step"];
    numbers.push("configure", "getTotalMem", "getOccupiedMem", "getFreeMem", "liveCells", "heapUsed", "check");
    for (const name of [...numbers, "errorStatus", "throwOnError"]) this[name] = exports[name];
  }

  get bytes() {
    return this.exports.memory.buffer.byteLength;
  }

  // ---- words

  get(at, index = 0) {
    return new DataView(this.exports.memory.buffer).getUint32(at + 4 * index, true);
  }

  set(at, index, value) {
    new DataView(this.exports.memory.buffer).setUint32(at + 4 * index, value, true);
  }

  // ---- objects

  object(...words) {
    const at = this.malloc(4 * words.length);
    if (at === FAILED) return FAILED;
    words.forEach((word, index) => this.set(at, index, word));
    return at;
  }

  tuple(...values) {
    return this.object(Tag.TUPLE, values.length, ...values);
  }

  array(...values) {
    return this.object(Tag.ARRAY, values.length, ...values);
  }

  record(...values) {
    return this.object(Tag.RECORD, simple(77), simple(1), values.length, ...values);
  }

  variant(variant, ...values) {
    return this.object(Tag.VARIANT, simple(78), simple(2), simple(variant), values.length, ...values);
  }

  /** A list as Grain has it: `[]` or `[head, ...tail]`. */
  empty() {
    return this.variant(1);
  }

  cons(head, tail) {
    return this.variant(0, head, tail);
  }

  lambda(...captured) {
    return this.object(Tag.LAMBDA, 2, 41, captured.length, ...captured);
  }

  string(text) {
    const bytes = Buffer.from(text);
    const at = this.malloc(8 + bytes.length);
    if (at === FAILED) return FAILED;
    this.set(at, 0, Tag.STRING);
    this.set(at, 1, bytes.length);
    new Uint8Array(this.exports.memory.buffer).set(bytes, at + 8);
    return at;
  }

  bigInteger(...limbs) {
    return this.object(Tag.NUMBER, Kind.BIG_INTEGER, limbs.length, 0, ...limbs.flatMap((limb) => [limb >>> 0, 0]));
  }

  rational(numerator, denominator) {
    return this.object(Tag.NUMBER, Kind.RATIONAL, numerator, denominator);
  }

  // ---- what the compiler emits

  /** Grain's local0 rule: incRef of the new value, then decRef of the old. Returns the new. */
  assign(old, value) {
    this.incRef(value);
    this.decRef(old);
    return value;
  }

  /** The end of a function: its result with a count for the caller, its locals given up. */
  leave(result, locals) {
    this.incRef(result);
    for (const local of locals) this.decRefIgnoreZeros(local);
    return result;
  }

  // ---- mistakes

  text(at) {
    const bytes = new Uint8Array(this.exports.memory.buffer);
    return Buffer.from(bytes.subarray(at, bytes.indexOf(0, at))).toString();
  }
}
