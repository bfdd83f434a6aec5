/*
 * Knoll: switching counting off for a function, a part of a file, or a file.
 *
 * What it promises
 *  - Where counting is off, these calls count nothing and free nothing, whatever they are given:
 *      GC_ref, GC_refInline                      give their argument back
 *      GC_unref, GC_unrefInline                  do nothing
 *      GC_assign, GC_assignInline                store, as `*slot = obj` does
 *      GC_decRef, GC_decRefIgnoreZeros           give their argument back
 *    and so do the names that knoll/nim.h and knoll/grain.h build on them (incRef, decRef, grain_set, ...).
 *    GC_move changes no count and is as it always is.
 *  - Where counting is off, the same name in parentheses still counts: `(GC_ref)(obj)`, `(grain_incRef)(obj)`. That is how
 *    code without counting makes the few calls that it needs, as Grain's runtime does under `@disableGC`.
 *  - It is decided at compile time and by place in the text: a function called from such code counts as it did, and an
 *    optimising compiler leaves no trace of the switch.
 *  - C99 and C++11, no compiler extension.
 *
 * Three ways, which may be mixed
 *
 *    1. A function, or a block in one (Grain's `@disableGC`): the pair stands in place of its braces.
 *
 *         void swap(void **a, void **b)
 *         KN_DISABLE_GC_BEGIN
 *           void *kept = *a;
 *           GC_assign(a, *b);        // a plain store here
 *           GC_assign(b, kept);
 *         KN_DISABLE_GC_END
 *
 *    2. Functions of a file: KN_DISABLE_GC is defined before them and undefined behind them.
 *
 *         #define KN_DISABLE_GC 1
 *         ...
 *         #undef KN_DISABLE_GC
 *
 *    3. A file (Grain's `--compilation-mode=runtime`): the compiler is called with -DKN_DISABLE_GC. With
 *       -DKN_DISABLE_GC=0 the file counts, as without.
 *
 * Whoever disables counting makes the calls that keep the counts right: a reference that is kept too little is freed too
 * soon, one that is kept too much is never freed. With a collector that works in slices (`GC_step`, `slice`) a reference
 * must leave a field of a cell by a counted call, so code without counting must not take references out of cells that
 * others can reach.
 *
 * How it works: each name becomes a macro that asks two things, an enumerator that the pair hides by another in its
 * block, and whether KN_DISABLE_GC is defined where the macro is used.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef KNOLL_DISABLE_H
#define KNOLL_DISABLE_H

#include "../knoll.h"

/* ---- Is counting on at this place in the text? ---- */

/* What KN_DISABLE_GC_BEGIN hides by an enumerator of its block. */
enum { kn_counting_here_ = 1 };

/* 1 iff the macro is defined, as nothing or as 1: an argument that is not defined makes no further comma. */
#define KN_IS_SET_(value) KN_IS_SET_WITH_(value)
#define KN_IS_SET_WITH_(value) KN_IS_SET_PICK_(KN_IS_SET_COMMA_##value 1, 0, 0)
#define KN_IS_SET_PICK_(...) KN_IS_SET_SECOND_(__VA_ARGS__)
#define KN_IS_SET_SECOND_(first, second, ...) second
#define KN_IS_SET_COMMA_ 0,
#define KN_IS_SET_COMMA_1 0,

/** True where counting is on: an integer constant. */
#define KN_COUNTING (kn_counting_here_ > KN_IS_SET_(KN_DISABLE_GC))

/* A program that asks for -Wshadow is not warned of what is meant. */
#if defined(__GNUC__)
#define KN_HIDES_BEGIN_ _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wshadow\"")
#define KN_HIDES_END_ _Pragma("GCC diagnostic pop")
#else
#define KN_HIDES_BEGIN_
#define KN_HIDES_END_
#endif

/** In place of `{`: counting is off up to KN_DISABLE_GC_END. */
#define KN_DISABLE_GC_BEGIN                                                                                            \
  {                                                                                                                    \
    KN_HIDES_BEGIN_ enum { kn_counting_here_ = 0 };                                                                    \
    KN_HIDES_END_

/** In place of `}`. */
#define KN_DISABLE_GC_END }

/* ---- The calls, with the answer as their first argument ---- */

static inline void *kn_ref_if(bool counting, void *obj) { return counting ? (GC_ref)(obj) : obj; }

static inline void kn_unref_if(bool counting, void *obj) {
  if (counting) {
    (GC_unref)(obj);
  }
}

static inline void kn_assign_if(bool counting, void **slot, void *obj) {
  if (counting) {
    (GC_assign)(slot, obj);
  } else {
    *slot = obj;
  }
}

static inline void *kn_dec_ref_if(bool counting, void *obj) { return counting ? (GC_decRef)(obj) : obj; }

static inline void *kn_dec_ref_ignore_zeros_if(bool counting, void *obj) {
  return counting ? (GC_decRefIgnoreZeros)(obj) : obj;
}

static inline void *kn_ref_inline_if(bool counting, void *obj) { return counting ? (GC_refInline)(obj) : obj; }

static inline void kn_unref_inline_if(bool counting, void *obj) {
  if (counting) {
    (GC_unrefInline)(obj);
  }
}

static inline void kn_assign_inline_if(bool counting, void **slot, void *obj) {
  if (counting) {
    (GC_assignInline)(slot, obj);
  } else {
    *slot = obj;
  }
}

/* A function's name with arguments becomes these; the name alone, or in parentheses, stays the function. */
#define GC_ref(obj) kn_ref_if(KN_COUNTING, (obj))
#define GC_unref(obj) kn_unref_if(KN_COUNTING, (obj))
#define GC_assign(slot, obj) kn_assign_if(KN_COUNTING, (slot), (obj))
#define GC_decRef(obj) kn_dec_ref_if(KN_COUNTING, (obj))
#define GC_decRefIgnoreZeros(obj) kn_dec_ref_ignore_zeros_if(KN_COUNTING, (obj))
#define GC_refInline(obj) kn_ref_inline_if(KN_COUNTING, (obj))
#define GC_unrefInline(obj) kn_unref_inline_if(KN_COUNTING, (obj))
#define GC_assignInline(slot, obj) kn_assign_inline_if(KN_COUNTING, (slot), (obj))

#endif /* KNOLL_DISABLE_H */
