/*
 * The harness of Knoll's C tests: small enough to run, unchanged, on a host and in a Cortex-M0.
 *
 * A program is a file of TESTs and one SUITE that lists them:
 *
 *     TEST(freed_block_is_reused) {
 *         KnHeap *heap = new_heap(4096);
 *         REQUIRE(heap != NULL);
 *         ...
 *     }
 *     SUITE("basics", EACH_LAYOUT(freed_block_is_reused))
 *
 * What it promises:
 *  - Each EACH_LAYOUT test runs once for every block layout, each HEADER_LAYOUTS test for those with headers, each ONCE
 *    test once; each run starts with fresh memory, the same random numbers, and an error hook that records.
 *  - A test fails when a CHECK fails, when Knoll reports an error that no EXPECT_ERROR asked for, when a byte next to
 *    the memory that Knoll was given has changed, or when it made no check at all.
 *  - The program prints a line for each test and a last line with totals; its exit status is 0 iff all tests passed.
 *  - Arguments name the tests to run; none means all.
 *
 * KNOLL_WITHOUT_CHECKS leaves out what a library built with checks-none does not promise: to notice a mistake.
 *
 * It uses nothing but stdio, string and stdlib's plainest functions, and never allocates.
 */
#ifndef KNOLL_C_TESTS_HARNESS_H
#define KNOLL_C_TESTS_HARNESS_H

#include "knoll.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Tests ---- */

typedef struct TestCase {
    const char *name;
    void (*body)(void);
    unsigned layouts; /* a bit for each KnLayout to run with */
} TestCase;

#define TEST(name) static void name(void)
#define LAYOUT_BIT(layout) (1u << (layout))
#define HEADER_LAYOUTS(test) {#test, test, LAYOUT_BIT(KN_LAYOUT_COMPACT) | LAYOUT_BIT(KN_LAYOUT_WIDE)}
#define EACH_LAYOUT(test)                                                                                              \
    {                                                                                                                  \
        #test, test,                                                                                                   \
            LAYOUT_BIT(KN_LAYOUT_AUTO) | LAYOUT_BIT(KN_LAYOUT_MAP) | LAYOUT_BIT(KN_LAYOUT_COMPACT) |                   \
                LAYOUT_BIT(KN_LAYOUT_WIDE)                                                                             \
    }
#define ONCE(test) {#test, test, LAYOUT_BIT(KN_LAYOUT_AUTO)}

#define SUITE(program, ...)                                                                                            \
    int main(int argc, char **argv) {                                                                                  \
        static const TestCase cases[] = {__VA_ARGS__};                                                                 \
        return harness_main(program, cases, sizeof cases / sizeof cases[0], argc, argv);                               \
    }

int harness_main(const char *program, const TestCase *cases, size_t count, int argc, char **argv);

/* The pieces of harness_main, for a program that makes its list of tests at run time. */
void harness_start(const char *program);
void harness_run(const TestCase *test);
int harness_finish(void); /* prints the totals; returns the exit status */

/* The layout of this run; KN_LAYOUT_AUTO in a ONCE test. */
KnLayout current_layout(void);
const char *layout_name(KnLayout layout);

/* ---- Checks: each is an expression that is true iff the check holds, and counts ---- */

#define CHECK(condition) check_true((condition), #condition, __FILE__, __LINE__)
#define CHECK_EQ(actual, expected)                                                                                     \
    check_compare((uintmax_t)(actual), "==", (uintmax_t)(expected), #actual, #expected, __FILE__, __LINE__)
#define CHECK_LE(actual, limit)                                                                                        \
    check_compare((uintmax_t)(actual), "<=", (uintmax_t)(limit), #actual, #limit, __FILE__, __LINE__)
#define CHECK_GE(actual, limit)                                                                                        \
    check_compare((uintmax_t)(actual), ">=", (uintmax_t)(limit), #actual, #limit, __FILE__, __LINE__)
#define CHECK_STATUS(actual, expected) check_status((actual), (expected), #actual, __FILE__, __LINE__)

/* A check without which the rest of the test makes no sense: leaves the test. Only in a void function. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!CHECK(condition)) {                                                                                       \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)

/* Runs the statement and checks that it made Knoll report exactly one error, and this one. */
#define EXPECT_ERROR(status, statement)                                                                                \
    do {                                                                                                               \
        errors_begin();                                                                                                \
        statement;                                                                                                     \
        errors_end(ERROR_BIT(status), #statement, __FILE__, __LINE__);                                                 \
    } while (0)

/* The same where several statuses are right, because the heap can't tell the cases apart: `mask` is
 * made of ERROR_BITs. */
#define ERROR_BIT(status) (1u << -(status))
#define EXPECT_ERROR_OF(mask, statement)                                                                               \
    do {                                                                                                               \
        errors_begin();                                                                                                \
        statement;                                                                                                     \
        errors_end((mask), #statement, __FILE__, __LINE__);                                                            \
    } while (0)

bool check_true(bool holds, const char *text, const char *file, int line);
bool check_compare(uintmax_t actual, const char *relation, uintmax_t expected, const char *actual_text,
                   const char *expected_text, const char *file, int line);
bool check_status(KnStatus actual, KnStatus expected, const char *text, const char *file, int line);
void errors_begin(void);
void errors_end(unsigned mask, const char *text, const char *file, int line);
void errors_ignore(void); /* whatever was reported since errors_begin was all right */

/* The `where` that came with the last error reported, and its `what`. */
const void *last_error_where(void);
const char *last_error_what(void);

/* ---- Memory for heaps ---- */

#define TEST_MEMORY_BYTES ((size_t)512 * 1024)

/* A block is at least this aligned: 8 on a 32-bit target, 16 on a 64-bit one. */
#define BLOCK_ALIGNMENT (2 * sizeof(void *))

/* `bytes` bytes for a heap, `skew` (0 to 63) bytes past a 64-byte boundary, full of noise. The bytes around it are
 * guarded until the end of the test. Runs out after TEST_MEMORY_BYTES: then the test fails and NULL is returned. */
uint8_t *take_memory(size_t bytes, size_t skew);

/* For Valgrind: Knoll may decide by what it finds anywhere in the test's memory. A heap that is handed a pointer into
 * the middle of a block has to look at what lies there; otherwise such a look is an error. */
void let_knoll_look_anywhere(void);

/* The program's own memory that the library is told to write to: a static variable whose address GC_assign or GC_move
 * gets. On the stack this goes without saying. */
void let_knoll_write(void *at, size_t bytes);

/* Whether all these bytes are memory that the test has taken: a block must lie in its heap's. */
bool lies_in_memory(const void *at, size_t bytes);

/* A heap of the current layout in `bytes` fresh bytes; NULL when Knoll finds them too few. */
KnHeap *new_heap(size_t bytes);

/* The current layout as a configuration. */
const KnHeapConfig *current_config(void);

/* ---- Random numbers, the same in every run ---- */

void restart_random(void);                      /* as at the beginning of the test */
uint32_t random_bits(void);
size_t random_below(size_t limit);              /* 0 .. limit-1 */
size_t random_between(size_t least, size_t most); /* least .. most */
size_t random_size(size_t most);                /* 0 .. most, small sizes as likely as large ones */

/* ---- Contents: a byte pattern that follows from a seed ---- */

void fill_pattern(void *at, size_t bytes, uint32_t seed);
bool holds_pattern(const void *at, size_t bytes, uint32_t seed);
bool holds_byte(const void *at, size_t bytes, uint8_t value);

#define CHECK_PATTERN(at, bytes, seed) CHECK(holds_pattern((at), (bytes), (seed)))

/* ---- Questions about a heap that many tests ask ---- */

/* The number, which the compiler can't see through: for sizes that it would warn of. */
size_t opaque(size_t number);

bool is_aligned(const void *at, size_t alignment);
bool is_sound(KnHeap *heap);               /* kn_heap_check and the statistics agree that all is well */
size_t used_blocks(KnHeap *heap);          /* by statistics */
size_t largest_allocation(KnHeap *heap);   /* the most bytes that one kn_heap_malloc gets now; 0: none */
bool is_empty_and_whole(KnHeap *heap);     /* nothing used, and each region is one free block */

#endif
