/*
 * Knoll: the names of Grain's runtime, as inline functions over knoll.h.
 *
 * | Grain                               | here                                  | with KN_GRAIN_NAMES          |
 * | ----------------------------------- | ------------------------------------- | ---------------------------- |
 * | GC.malloc, GC.free                  | grain_malloc, grain_free              | malloc, free                 |
 * | GC.incRef, GC.decRef                | grain_incRef, grain_decRef            | incRef, decRef               |
 * | GC.decRefIgnoreZeros                | grain_decRefIgnoreZeros               | decRefIgnoreZeros            |
 * | Malloc.malloc, Malloc.free          | grain_rawMalloc, grain_rawFree        | rawMalloc, rawFree           |
 * | Malloc.getFreePtr                   | grain_getFreePtr                      | getFreePtr                   |
 *
 * Two of Grain's modules have a `malloc`. GC's, with a count, is what programs use, so it has the plain name, here and in
 * the WebAssembly module. libc has a `malloc` and a `free` too, so Grain's are prefixed unless KN_GRAIN_NAMES is defined
 * before the include; then, in that file, `malloc(n)` is a macro for grain_malloc, and libc's is `(malloc)(n)`.
 *
 * Values. A value is a word. It refers to a heap object iff it is not 0 and its lowest three bits are 0; every other
 * value is immediate (numbers, characters, constants) and counting it is a no-op. The answer of a failed allocation,
 * GRAIN_FAILED, is all ones, as in Grain: an immediate, so counting it does no harm either.
 *
 * Objects. grain_malloc gives an object with a count of 1: the payload, zeroed, 8-byte aligned, 8 bytes behind the word
 * with its count. What it refers to is known from its first words, as Grain's compiler writes them; words are as wide
 * as a pointer, so on 32-bit targets this is Grain's own layout:
 *
 *   string, bytes    [1 or 8, size, ...]                            no references
 *   variant (ADT)    [2, type hash, type tag, variant tag, n, v0 ... vn-1]
 *   record           [3, type hash, type tag, n, v0 ... vn-1]
 *   array, tuple     [4 or 7, n, v0 ... vn-1]
 *   number           [5, 3, numerator, denominator]                 a rational; other numbers have no references
 *   lambda           [6, arity, function, n, v0 ... vn-1]
 *   others           no references; so has an object whose first word is still 0
 *
 * When the last reference goes, the object is freed and its references are given up, without recursion: a list of a
 * million elements needs no more stack than one of two. A rational gives up its numbers, which Grain's own code forgets.
 * Cycles, which Grain leaks, are collected as all counted objects are; GC_disableOrc() stops that.
 *
 * References are caller-owned
 *  - Whoever holds a value in a variable holds a count. A function does not decRef its arguments: the caller does, when it
 *    needs them no more. What a function returns has a count for its caller.
 *  - A variable takes a value by incRef of the new and then decRef of the old (Grain's local0 rule), in this order,
 *    because both may be the same object: `grain_set(&local0, value)`.
 *  - A function that ends gives up its variables and keeps its result: incRef of the result, then decRefIgnoreZeros of all
 *    variables: `grain_leave`.
 *
 *      void *second_of(void *pair) {                       // the caller keeps its count of `pair`
 *        void *locals[1] = {NULL};
 *        grain_set(&locals[0], ((void **)pair)[3]);        // local0 := element 1; now counted here too
 *        return grain_leave(locals[0], locals, 1);         // a net count of 0 for local0, 1 for the caller
 *      }
 *      ...
 *      void *value = second_of(pair);
 *      grain_decRef(pair);                                 // `value` lives on
 *      grain_decRef(value);
 *
 * decRef of an object whose count is zero goes to the hook of kn_on_error: KN_E_DOUBLE_FREE, "DecRefError: Reference count
 * of zero"; decRefIgnoreZeros does nothing then, and in silence. As in Grain it is for the end of functions alone.
 *
 * Including this header makes the counting names, and GC_ref, GC_unref and GC_assign, obey the switches of
 * knoll/disable.h: KN_DISABLE_GC_BEGIN ... KN_DISABLE_GC_END for Grain's @disableGC, -DKN_DISABLE_GC for a file.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef KNOLL_GRAIN_H
#define KNOLL_GRAIN_H

#include "../knoll.h"
#include "disable.h"

/** What an allocation answers when it failed: -1. */
#define GRAIN_FAILED ((void *)(intptr_t)-1)

/** Does the value refer to a heap object? Cost: two tests. */
static inline bool grain_isHeapValue(const void *value) { return value != NULL && ((uintptr_t)value & 7) == 0; }

/* ---- Malloc: raw memory ---- */

/**
 * Malloc.malloc: allocates `size` bytes of the thread's default heap, uninitialised, 8-byte aligned.
 *
 * @return GRAIN_FAILED iff there is no memory. Cost, ownership, thread and interrupt rule: as kn_malloc.
 */
KN_NODISCARD static inline void *grain_rawMalloc(size_t size) {
  void *at = kn_malloc(size);
  return at != NULL ? at : GRAIN_FAILED;
}

/** Malloc.free: gives back a block of grain_rawMalloc. A pointer that is no block goes to the error hook. */
static inline void grain_rawFree(void *at) { kn_free(at); }

/* Stops at the first free block. */
static inline bool grain_first_free_(void *found, const KnBlock *block) {
  if (block->state == KN_BLOCK_FREE) {
    *(const void **)found = block->start;
    return false;
  }
  return true;
}

/**
 * Malloc.getFreePtr: the lowest free block of the thread's default heap, for debugging.
 *
 * @return NULL iff there is none. Cost: O(blocks before it). Thread and interrupt rule: as kn_heap_walk.
 */
static inline const void *grain_getFreePtr(void) {
  const void *found = NULL;
  KnHeap *heap = kn_heap_default();
  if (heap != NULL) {
    (void)kn_heap_walk(heap, grain_first_free_, &found);
  }
  return found;
}

/* ---- GC: counted objects ---- */

/**
 * GC.malloc: allocates an object of `size` bytes, zeroed, 8-byte aligned, with a count of 1.
 *
 * @return GRAIN_FAILED iff there is no memory. Cost: as GC_newSized. Ownership: one reference, the caller's. Thread and
 * interrupt rule: the thread's own; not in interrupt handlers.
 */
KN_NODISCARD static inline void *grain_malloc(size_t size) {
  KnTypeId type = GC_grainType();
  void *object = type != 0 ? GC_newSized(type, size) : NULL;
  return object != NULL ? object : GRAIN_FAILED;
}

/** GC.free: ends an object whatever its count; what it refers to is not given up. NULL is ignored. Rules: as GC_freeObject. */
static inline void grain_free(void *object) { GC_freeObject(object); }

/** GC.incRef: one reference more, if the value refers to an object. Returns its argument. Cost: as GC_ref. */
static inline void *grain_incRef(void *value) { return grain_isHeapValue(value) ? (GC_ref)(value) : value; }

/**
 * GC.decRef: one reference less, if the value refers to an object; the last one frees it.
 *
 * @return its argument. A count of zero goes to the error hook. Cost: as GC_unref.
 */
static inline void *grain_decRef(void *value) { return grain_isHeapValue(value) ? (GC_decRef)(value) : value; }

/** GC.decRefIgnoreZeros: as decRef, but a count of zero is ignored. For the variables of a function that ends. */
static inline void *grain_decRefIgnoreZeros(void *value) {
  return grain_isHeapValue(value) ? (GC_decRefIgnoreZeros)(value) : value;
}

/**
 * The local0 rule: the variable takes the value, and what it held is given up. With NULL the variable gives up.
 *
 * Cost: incRef's and decRef's. Also right for a field of a live object, in every mode of the collector.
 */
static inline void grain_set(void **variable, void *value) {
  void *old = *variable;
  *variable = grain_incRef(value);
  (void)grain_decRef(old);
}

/** The end of a function: keeps its result for the caller and gives up its `count` variables. Returns the result. */
static inline void *grain_leave(void *result, void **variables, size_t count) {
  (void)grain_incRef(result);
  for (size_t i = 0; i < count; i++) {
    (void)grain_decRefIgnoreZeros(variables[i]);
  }
  return result;
}

/* ---- The switches of knoll/disable.h ---- */

static inline void *grain_inc_ref_if_(bool counting, void *value) { return counting ? grain_incRef(value) : value; }
static inline void *grain_dec_ref_if_(bool counting, void *value) { return counting ? grain_decRef(value) : value; }
static inline void *grain_dec_ref_ignore_zeros_if_(bool counting, void *value) {
  return counting ? grain_decRefIgnoreZeros(value) : value;
}

static inline void grain_set_if_(bool counting, void **variable, void *value) {
  if (counting) {
    grain_set(variable, value);
  } else {
    *variable = value;
  }
}

static inline void *grain_leave_if_(bool counting, void *result, void **variables, size_t count) {
  return counting ? grain_leave(result, variables, count) : result;
}

#define grain_incRef(value) grain_inc_ref_if_(KN_COUNTING, (value))
#define grain_decRef(value) grain_dec_ref_if_(KN_COUNTING, (value))
#define grain_decRefIgnoreZeros(value) grain_dec_ref_ignore_zeros_if_(KN_COUNTING, (value))
#define grain_set(variable, value) grain_set_if_(KN_COUNTING, (variable), (value))
#define grain_leave(result, variables, count) grain_leave_if_(KN_COUNTING, (result), (variables), (count))

/* ---- The bare names ---- */

#ifdef KN_GRAIN_NAMES
/* First, so that a later include does not declare what the macros have renamed. */
#include <stdlib.h>
#define malloc(size) grain_malloc(size)
#define free(value) grain_free(value)
#define incRef(value) grain_incRef(value)
#define decRef(value) grain_decRef(value)
#define decRefIgnoreZeros(value) grain_decRefIgnoreZeros(value)
#define rawMalloc(size) grain_rawMalloc(size)
#define rawFree(at) grain_rawFree(at)
#define getFreePtr() grain_getFreePtr()
#endif

#endif /* KNOLL_GRAIN_H */
