/*
 * Knoll: Nim's own names for memory, as inline functions over knoll.h.
 *
 * | Nim (system)                                     | here                                                          |
 * | ------------------------------------------------ | ------------------------------------------------------------- |
 * | alloc, alloc0, realloc0, dealloc                 | the same; on the calling thread's default heap                |
 * | realloc                                          | nimRealloc: C has a realloc of its own                        |
 * | allocShared, allocShared0, reallocShared,        | the same; on the heap that all threads share                  |
 * | reallocShared0, deallocShared                    |                                                               |
 * | createU, create, resize, createSharedU,          | nim_create(T, n) and so on: macros that give a T *; Nim's     |
 * | createShared, resizeShared                       | names are too common for macros of C                          |
 * | allocCStringArray, deallocCStringArray           | the same; the first takes the strings and how many there are  |
 * | GC_ref, GC_unref, GC_runOrc, GC_partialCollect,  | in knoll.h, under these names                                 |
 * | GC_prepareOrc, GC_enableOrc, GC_disableOrc,      |                                                               |
 * | GC_getStatistics                                 |                                                               |
 * | GC_fullCollect                                   | the same: GC_runOrc                                           |
 * | getTotalMem, getOccupiedMem, getFreeMem          | the same: the calling thread's counted memory                 |
 * | dumpNumberOfInstances                            | the same, to standard output; dumpNumberOfInstancesTo to any  |
 *
 * Where C asks for other rules than Nim
 *  - No memory: Nim raises, or ends the program; here the answer is NULL, and what there was is as before.
 *  - dealloc, deallocShared and deallocCStringArray of NULL do nothing. A size of 0 gives a block of its own.
 *  - A mistake (a block freed twice, a pointer that is no block) goes to the hook of kn_on_error and changes nothing.
 *  - Manual memory is never looked at by the collector: a counted reference that lies in it counts as one from outside.
 *
 * Shared memory
 *  - On Unix allocShared and its family always use the process heap, even in a thread that has a heap of its own
 *    (kn_heap_use, kn_init): any thread may resize and free the blocks.
 *  - Elsewhere there is one default heap for the program, and they use that. Two threads of an RTOS may share it when
 *    its lock covers both (kn_lock_use).
 *
 * Including this header makes GC_ref, GC_unref and GC_assign obey the switches of knoll/disable.h.
 *
 * Before the include: KN_NIM_WITHOUT_STDIO leaves out dumpNumberOfInstances and <stdio.h> (a freestanding compiler is
 * taken to want that); KN_NIM_PREFIXED gives the short names a prefix, nim_alloc for alloc and so on, for programs that
 * have an `alloc` of their own.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef KNOLL_NIM_H
#define KNOLL_NIM_H

#include "../knoll.h"
#include "disable.h"

#if !defined(KN_NIM_WITHOUT_STDIO) && (!defined(__STDC_HOSTED__) || __STDC_HOSTED__)
#include <stdio.h>
#define KN_NIM_HAS_STDIO_ 1
#endif

/* A short name, as the program wants it. */
#ifdef KN_NIM_PREFIXED
#define NIM_NAME_(name) nim_##name
#else
#define NIM_NAME_(name) name
#endif

/* ---- Manual memory of the calling thread's default heap ---- */

/**
 * Allocates `size` bytes, uninitialised.
 *
 * @return NULL iff there is no memory. Cost, ownership, thread and interrupt rule: as kn_malloc. Free with dealloc.
 */
KN_NODISCARD static inline void *NIM_NAME_(alloc)(size_t size) { return kn_malloc(size); }

/** Allocates `size` bytes, all zero. As alloc otherwise. */
KN_NODISCARD static inline void *NIM_NAME_(alloc0)(size_t size) { return kn_calloc(1, size); }

/** Gives back a block of alloc, alloc0, nimRealloc or realloc0; NULL does nothing. Cost, rules: as kn_free. */
static inline void NIM_NAME_(dealloc)(void *at) { kn_free(at); }

/**
 * Nim's `realloc`: makes a block `size` bytes long; what it gains is uninitialised. NULL `at` allocates; a `size` of 0
 * frees the block and answers NULL, as Nim's does.
 *
 * @return the block, perhaps moved; NULL iff it was freed or there is no memory: then it is as it was.
 */
static inline void *nimRealloc(void *at, size_t size) {
  if (size == 0) {
    kn_free(at);
    return NULL;
  }
  return kn_realloc(at, size);
}

/* Clears what a block has gained. */
static inline void *nim_gained_(void *at, size_t old_size, size_t size) {
  if (at != NULL) {
    unsigned char *bytes = (unsigned char *)at;
    for (size_t i = old_size; i < size; i++) {
      bytes[i] = 0;
    }
  }
  return at;
}

/** As nimRealloc, but what the block gains over `old_size` is zero. */
static inline void *NIM_NAME_(realloc0)(void *at, size_t old_size, size_t size) {
  return nim_gained_(nimRealloc(at, size), at != NULL ? old_size : 0, size);
}

/* ---- Shared memory: of the process, whatever the thread's default heap is ---- */

#if defined(__unix__) || defined(__APPLE__)
/* The process heap becomes the thread's default for one call. */
#define NIM_SHARED_BEGIN_ KnHeap *own = kn_heap_use(NULL)
#define NIM_SHARED_END_ (void)kn_heap_use(own)
#else
#define NIM_SHARED_BEGIN_ (void)0
#define NIM_SHARED_END_ (void)0
#endif

/**
 * Allocates `size` bytes of the shared heap, uninitialised.
 *
 * @return NULL iff there is no memory. Cost: kn_malloc's, and on Unix two changes of the thread's default heap, some ten
 * instructions. Ownership: the caller's, or any thread's that it hands the block to, until deallocShared.
 */
KN_NODISCARD static inline void *NIM_NAME_(allocShared)(size_t size) {
  NIM_SHARED_BEGIN_;
  void *at = kn_malloc(size);
  NIM_SHARED_END_;
  return at;
}

/** Allocates `size` bytes of the shared heap, all zero. As allocShared otherwise. */
KN_NODISCARD static inline void *NIM_NAME_(allocShared0)(size_t size) {
  NIM_SHARED_BEGIN_;
  void *at = kn_calloc(1, size);
  NIM_SHARED_END_;
  return at;
}

/** Gives back a block of the shared heap, in any thread; NULL does nothing. */
static inline void NIM_NAME_(deallocShared)(void *at) {
  NIM_SHARED_BEGIN_;
  kn_free(at);
  NIM_SHARED_END_;
}

/** As nimRealloc, for a block of the shared heap; NULL `at` allocates there. */
static inline void *NIM_NAME_(reallocShared)(void *at, size_t size) {
  NIM_SHARED_BEGIN_;
  void *to = nimRealloc(at, size);
  NIM_SHARED_END_;
  return to;
}

/** As reallocShared, but what the block gains over `old_size` is zero. */
static inline void *NIM_NAME_(reallocShared0)(void *at, size_t old_size, size_t size) {
  return nim_gained_(NIM_NAME_(reallocShared)(at, size), at != NULL ? old_size : 0, size);
}

/* ---- Typed allocation ---- */

/* `count` times `size`, or more than any heap has when the product overflows. */
static inline size_t nim_product_(size_t count, size_t size) {
  return size != 0 && count > SIZE_MAX / size ? SIZE_MAX : count * size;
}

#define NIM_TYPED_(T, count, allocate) ((T *)allocate(nim_product_((count), sizeof(T))))
/** `count` uninitialised objects of type T, as a T *; NULL iff there is no memory or the product overflows. */
#define nim_createU(T, count) NIM_TYPED_(T, count, NIM_NAME_(alloc))
/** The same, all zero. */
#define nim_create(T, count) NIM_TYPED_(T, count, NIM_NAME_(alloc0))
/** The same two of the shared heap. */
#define nim_createSharedU(T, count) NIM_TYPED_(T, count, NIM_NAME_(allocShared))
#define nim_createShared(T, count) NIM_TYPED_(T, count, NIM_NAME_(allocShared0))
/** Makes the array at `at`, of objects of type T, `count` long; rules as nimRealloc and reallocShared. */
#define nim_resize(T, at, count) ((T *)nimRealloc((at), nim_product_((count), sizeof(T))))
#define nim_resizeShared(T, at, count) ((T *)NIM_NAME_(reallocShared)((at), nim_product_((count), sizeof(T))))

/* ---- Arrays of C strings ---- */

/** Gives back an array of allocCStringArray and every string in it; NULL does nothing. */
static inline void NIM_NAME_(deallocCStringArray)(char **array) {
  if (array != NULL) {
    for (size_t i = 0; array[i] != NULL; i++) {
      kn_free(array[i]);
    }
    kn_free(array);
  }
}

/**
 * Copies `count` strings into an array that ends with NULL, as `main` gets one. Each copy is a block of its own, so a
 * string may be replaced by another that alloc gave.
 *
 * @return NULL iff there is no memory: then nothing was allocated. No strings give an array of one NULL; an empty string
 * a copy of one NUL byte; a string that is NULL an empty one.
 *
 * Cost: O(bytes) and `count` + 1 allocations. Ownership: the caller's, until deallocCStringArray.
 */
KN_NODISCARD static inline char **NIM_NAME_(allocCStringArray)(const char *const *strings, size_t count) {
  if (count == SIZE_MAX) {
    return NULL;
  }
  char **array = (char **)kn_calloc(count + 1, sizeof(char *));
  for (size_t i = 0; array != NULL && i < count; i++) {
    const char *text = strings[i] != NULL ? strings[i] : "";
    size_t bytes = 1;
    while (text[bytes - 1] != '\0') {
      bytes++;
    }
    array[i] = (char *)kn_malloc(bytes);
    if (array[i] == NULL) {
      NIM_NAME_(deallocCStringArray)(array);
      return NULL;
    }
    for (size_t at = 0; at < bytes; at++) {
      array[i][at] = text[at];
    }
  }
  return array;
}

/* ---- The collector and the accounts ---- */

/** Nim's name for a full collection, whichever collector there is. */
static inline void GC_fullCollect(void) { GC_runOrc(); }

/** Bytes of the calling thread's counted memory; total = occupied + free at any time. */
static inline size_t NIM_NAME_(getTotalMem)(void) { return GC_getTotalMem(); }
static inline size_t NIM_NAME_(getOccupiedMem)(void) { return GC_getOccupiedMem(); }
static inline size_t NIM_NAME_(getFreeMem)(void) { return GC_getFreeMem(); }

/**
 * Writes how many objects of each type live in all counted heaps of all threads, and their bytes, a line each, the most
 * bytes first, then the total.
 *
 * @return as kn_dump_instances, whose rules hold.
 */
static inline KnStatus NIM_NAME_(dumpNumberOfInstancesTo)(KnWriteFn write, void *context) {
  return kn_dump_instances(write, context);
}

#ifdef KN_NIM_HAS_STDIO_
/* A KnWriteFn over a FILE. */
static inline size_t nim_write_file_(void *file, const char *text, size_t length) {
  return fwrite(text, 1, length, (FILE *)file);
}

/** As dumpNumberOfInstancesTo, to standard output. */
static inline KnStatus NIM_NAME_(dumpNumberOfInstances)(void) {
  return kn_dump_instances(nim_write_file_, stdout);
}
#endif

#endif /* KNOLL_NIM_H */
