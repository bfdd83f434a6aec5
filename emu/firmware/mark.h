/* What a firmware tells the harness: what to measure, its results, where Knoll may write.
 *
 * Everything here is a store of one word into a page of registers that the harness maps at
 * 0xE0000000 (on a real Cortex-M3 or M4 the stimulus ports of the ITM, where it does no harm).
 * On other machines, as when the same test runs on the host, all of it compiles to nothing.
 *
 *   KNOLL_MARK_BEGIN(id);  work();  KNOLL_MARK_END(id);
 *       the instructions strictly between the two, callees included. The marks' own
 *       instructions are outside, so nothing is left to subtract. Marks nest; END closes
 *       the last BEGIN that is open.
 *   KNOLL_MARK_CALL(id);  p = allocate(size);
 *       the next call after it, from the callee's first instruction to its return, through a
 *       function pointer or not, by a call or, at a function's end, by a jump. Argument
 *       set-up and the call instruction are not counted.
 *       It takes any call: keep nested calls out of the arguments.
 *
 * An id is a number from 0 to 2^32 - 1, possibly computed at run time; knoll_mark_name gives
 * it a name in the report.
 */
#ifndef KNOLL_MARK_H
#define KNOLL_MARK_H

#include <stddef.h>
#include <stdint.h>

#define KNOLL_HARNESS_BASE 0xE0000000u

enum {
    KNOLL_HARNESS_BEGIN = 0x00,        /* id */
    KNOLL_HARNESS_CALL = 0x04,         /* id */
    KNOLL_HARNESS_NAME = 0x08,         /* -> { id, name } */
    KNOLL_HARNESS_RESULT = 0x0C,       /* -> { name, value low, value high } */
    KNOLL_HARNESS_WATCH_ALLOW = 0x10,  /* -> { start, bytes } */
    KNOLL_HARNESS_WATCH_FORBID = 0x14, /* -> { start, bytes } */
    KNOLL_HARNESS_INSTRUCTIONS = 0x18, /* read: low word; it latches the high word, at 0x1C */
    KNOLL_HARNESS_END = 0x20           /* any word: closes the last BEGIN, for interpreters */
};

#if defined(__arm__)

static inline void knoll_harness_store(uint32_t offset, uint32_t value)
{
    __asm__ volatile("str %0, [%1]"
                     :
                     : "l"(value), "l"(KNOLL_HARNESS_BASE + offset)
                     : "memory");
}

/* The branch ends the block that holds the store, so that counting starts right behind it. */
#define KNOLL_MARK_AT(offset, id)                                           \
    __asm__ volatile("str %0, [%1]\n\tb 1f\n1:"                           \
                     :                                                      \
                     : "l"((uint32_t)(id)), "l"(KNOLL_HARNESS_BASE + (offset)) \
                     : "memory")

#define KNOLL_MARK_BEGIN(id) KNOLL_MARK_AT(KNOLL_HARNESS_BEGIN, id)
#define KNOLL_MARK_CALL(id) KNOLL_MARK_AT(KNOLL_HARNESS_CALL, id)

/* One hint instruction that every Cortex-M executes as a no-operation: it needs no register,
 * so nothing of its own can slip into what is measured. */
#define KNOLL_MARK_END(id) ((void)(id), knoll_mark_end())
static inline void knoll_mark_end(void)
{
    __asm__ volatile(".inst.n 0xBF50" ::: "memory");
}

/* Names a mark. The text is read at once. */
static inline void knoll_mark_name(uint32_t id, const char *name)
{
    const struct {
        uint32_t id;
        const char *name;
    } block = {id, name};
    __asm__ volatile("" ::"r"(&block) : "memory");
    knoll_harness_store(KNOLL_HARNESS_NAME, (uint32_t)(uintptr_t)&block);
}

/* Puts a named number into the report and the JSON file; the last one of a name counts. */
static inline void knoll_result(const char *name, int64_t value)
{
    const struct {
        const char *name;
        uint32_t low, high;
    } block = {name, (uint32_t)value, (uint32_t)((uint64_t)value >> 32)};
    __asm__ volatile("" ::"r"(&block) : "memory");
    knoll_harness_store(KNOLL_HARNESS_RESULT, (uint32_t)(uintptr_t)&block);
}

static inline void knoll_watch_range(uint32_t offset, const void *start, size_t bytes)
{
    const struct {
        const void *start;
        size_t bytes;
    } block = {start, bytes};
    __asm__ volatile("" ::"r"(&block) : "memory");
    knoll_harness_store(offset, (uint32_t)(uintptr_t)&block);
}

/* Under --watch Knoll may write here from now on: call it for every heap handed to Knoll, and
 * for every static that Knoll fills in. Its own statics and the stack are always allowed. */
static inline void knoll_watch_allow(const void *start, size_t bytes)
{
    knoll_watch_range(KNOLL_HARNESS_WATCH_ALLOW, start, bytes);
}

/* Takes [start, start + bytes) out of what was allowed. */
static inline void knoll_watch_forbid(const void *start, size_t bytes)
{
    knoll_watch_range(KNOLL_HARNESS_WATCH_FORBID, start, bytes);
}

/* Instructions executed since reset, these few included. A later call gives more. */
static inline uint64_t knoll_instructions(void)
{
    uint32_t low, high;
    __asm__ volatile("b 1f\n1:\tldr %0, [%2]\n\tldr %1, [%2, #4]\n\tb 1f\n1:"
                     : "=&l"(low), "=&l"(high)
                     : "l"(KNOLL_HARNESS_BASE + KNOLL_HARNESS_INSTRUCTIONS)
                     : "memory");
    return (uint64_t)high << 32 | low;
}

#else /* not firmware */

#define KNOLL_MARK_BEGIN(id) ((void)(id))
#define KNOLL_MARK_CALL(id) ((void)(id))
#define KNOLL_MARK_END(id) ((void)(id))
static inline void knoll_mark_name(uint32_t id, const char *name) { (void)id, (void)name; }
static inline void knoll_result(const char *name, int64_t value) { (void)name, (void)value; }
static inline void knoll_watch_allow(const void *start, size_t bytes) { (void)start, (void)bytes; }
static inline void knoll_watch_forbid(const void *start, size_t bytes) { (void)start, (void)bytes; }
static inline uint64_t knoll_instructions(void) { return 0; }

#endif

#endif
