/*
 * The harness behind harness.h: running, checking, guarding memory, random numbers, patterns.
 *
 * Memory for heaps is one static array, handed out in pieces with a guard on each side:
 *
 *     | guard | piece: noise, then Knoll's | guard | guard | next piece | guard | ...
 *
 * The guards are compared at the end of each test. Under Valgrind they are also closed to reading and writing, and the
 * noise is undefined, so that a decision that hangs on what a heap finds in its fresh memory is an error too. Under
 * AddressSanitizer they are poisoned. In the emulated firmware Knoll may write to the pieces and nowhere else.
 */
#include "harness.h"

#include <stdio.h>
#include <string.h>

/*
 * What the tool that watches is told:
 *   GUARD      nobody may touch these bytes        UNGUARD    everybody may
 *   LEND       Knoll may write here from now on    TAKE_BACK  no longer
 *   SHARE      as LEND, and what lies there stays
 */
#if defined(KNOLL_UNDER_VALGRIND)
#include <valgrind/memcheck.h>
#define GUARD(at, bytes) ((void)VALGRIND_MAKE_MEM_NOACCESS((at), (bytes)))
#define UNGUARD(at, bytes) ((void)VALGRIND_MAKE_MEM_DEFINED((at), (bytes)))
#define LEND(at, bytes) ((void)VALGRIND_MAKE_MEM_UNDEFINED((at), (bytes)))
#elif defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define GUARD(at, bytes) ASAN_POISON_MEMORY_REGION((at), (bytes))
#define UNGUARD(at, bytes) ASAN_UNPOISON_MEMORY_REGION((at), (bytes))
#elif defined(__arm__) /* emu/firmware: the emulator sees each of Knoll's writes */
#include "mark.h"
#define LEND(at, bytes) knoll_watch_allow((at), (bytes))
#define TAKE_BACK(at, bytes) knoll_watch_forbid((at), (bytes))
#define SHARE(at, bytes) knoll_watch_allow((at), (bytes))
#endif
#if !defined(GUARD)
#define GUARD(at, bytes) ((void)(at), (void)(bytes))
#define UNGUARD(at, bytes) ((void)(at), (void)(bytes))
#endif
#if !defined(LEND)
#define LEND(at, bytes) ((void)(at), (void)(bytes))
#endif
#if !defined(TAKE_BACK)
#define TAKE_BACK(at, bytes) ((void)(at), (void)(bytes))
#endif
#if !defined(SHARE)
#define SHARE(at, bytes) ((void)(at), (void)(bytes))
#endif

enum { GUARD_BYTES = 256, GUARD_VALUE = 0xC3, MOST_PIECES = 64, MOST_FAILURES_PRINTED = 8, SKEW_STEP = 64 };

static const KnLayout all_layouts[] = {KN_LAYOUT_AUTO, KN_LAYOUT_MAP, KN_LAYOUT_COMPACT, KN_LAYOUT_WIDE};

/* The union aligns the array as far as a skew can tell; room for the guards comes on top. */
static union {
    uint8_t bytes[TEST_MEMORY_BYTES + (size_t)MOST_PIECES * (2 * GUARD_BYTES + SKEW_STEP)];
    uint64_t alignment;
} memory;

static struct {
    uint8_t *start;
    size_t bytes;
} pieces[MOST_PIECES];
static size_t piece_count;
static size_t memory_taken;

static struct {
    const char *program;
    size_t runs, failed_runs;
    uintmax_t checks, bytes_compared;
} totals;

static struct {
    const char *name;
    KnHeapConfig config;
    size_t failures;
    uintmax_t checks;
    bool line_open; /* the test's line has been begun and not ended */
} run;

static struct {
    bool expected;
    size_t count;
    KnStatus status;
    const void *where;
    const char *what;
} errors;

/* ---- Failing and checking ---- */

/* Returns whether the details of this failure should be printed. */
static bool fail(const char *file, int line) {
    run.failures++;
    if (run.failures > MOST_FAILURES_PRINTED) {
        return false;
    }
    if (run.line_open) {
        printf("FAILED\n");
        run.line_open = false;
    }
    printf("    %s:%d: [%s] ", file, line, layout_name(run.config.layout));
    return true;
}

bool check_true(bool holds, const char *text, const char *file, int line) {
    run.checks++;
    if (!holds && fail(file, line)) {
        printf("not true: %s\n", text);
    }
    return holds;
}

bool check_compare(uintmax_t actual, const char *relation, uintmax_t expected, const char *actual_text,
                   const char *expected_text, const char *file, int line) {
    bool holds = relation[0] == '<' ? actual <= expected : relation[0] == '>' ? actual >= expected : actual == expected;
    run.checks++;
    if (!holds && fail(file, line)) {
        printf("not true: %s %s %s; they are 0x%lx and 0x%lx\n", actual_text, relation, expected_text,
               (unsigned long)actual, (unsigned long)expected);
    }
    return holds;
}

bool check_status(KnStatus actual, KnStatus expected, const char *text, const char *file, int line) {
    run.checks++;
    if (actual != expected && fail(file, line)) {
        printf("%s answered %ld (%s), expected %ld (%s)\n", text, (long)actual, kn_status_str(actual), (long)expected,
               kn_status_str(expected));
    }
    return actual == expected;
}

/* ---- Errors that Knoll reports ---- */

static void on_error(KnStatus status, const void *where, const char *what) {
    errors.count++;
    errors.status = status;
    errors.where = where;
    errors.what = what;
    if (!errors.expected && fail("error hook", 0)) {
        printf("Knoll reported %ld (%s) at %p: %s\n", (long)status, kn_status_str(status), (void *)(uintptr_t)where,
               what == NULL ? "(no text)" : what);
    }
}

void errors_begin(void) {
    errors.expected = true;
    errors.count = 0;
    errors.status = KN_OK;
    errors.where = NULL;
    errors.what = NULL;
}

void errors_end(unsigned mask, const char *text, const char *file, int line) {
    errors.expected = false;
    run.checks++;
    if (errors.count != 1) {
        if (fail(file, line)) {
            printf("%s: %lu errors were reported, expected one\n", text, (unsigned long)errors.count);
        }
    } else if (errors.status > 0 || errors.status < -31 || (ERROR_BIT(errors.status) & mask) == 0) {
        if (fail(file, line)) {
            printf("%s: reported %ld (%s), expected one of the mask 0x%x\n", text, (long)errors.status,
                   kn_status_str(errors.status), mask);
        }
    } else if (errors.what == NULL || errors.what[0] == '\0') {
        if (fail(file, line)) {
            printf("%s: the error came without a text\n", text);
        }
    }
}

void errors_ignore(void) {
    errors.expected = false;
}

const void *last_error_where(void) {
    return errors.where;
}

const char *last_error_what(void) {
    return errors.what;
}

/* ---- Memory ---- */

uint8_t *take_memory(size_t bytes, size_t skew) {
    uint8_t *boundary = memory.bytes + memory_taken + GUARD_BYTES;
    uint8_t *start;
    uint32_t noise = 0x6B6E6F6Cu;
    size_t i;

    boundary += (SKEW_STEP - (uintptr_t)boundary % SKEW_STEP) % SKEW_STEP;
    start = boundary + skew;
    if (!CHECK(piece_count < MOST_PIECES) || !CHECK(skew < SKEW_STEP) || !CHECK(bytes <= sizeof memory.bytes) ||
        !CHECK((size_t)(start - memory.bytes) + bytes + GUARD_BYTES <= sizeof memory.bytes)) {
        return NULL;
    }
    memset(start - GUARD_BYTES, GUARD_VALUE, GUARD_BYTES);
    for (i = 0; i < bytes; i++) {
        noise = noise * 1664525u + 1013904223u;
        start[i] = (uint8_t)(noise >> 24);
    }
    memset(start + bytes, GUARD_VALUE, GUARD_BYTES);
    GUARD(start - GUARD_BYTES, GUARD_BYTES);
    LEND(start, bytes);
    GUARD(start + bytes, GUARD_BYTES);
    pieces[piece_count].start = start;
    pieces[piece_count].bytes = bytes;
    piece_count++;
    memory_taken = (size_t)(start - memory.bytes) + bytes + GUARD_BYTES;
    return start;
}

/* Compares the guards, opens all memory again and forgets the pieces. */
static void return_memory(void) {
    size_t i;
    UNGUARD(memory.bytes, memory_taken);
    for (i = 0; i < piece_count; i++) {
        bool before = holds_byte(pieces[i].start - GUARD_BYTES, GUARD_BYTES, GUARD_VALUE);
        bool after = holds_byte(pieces[i].start + pieces[i].bytes, GUARD_BYTES, GUARD_VALUE);
        (void)CHECK(before && "the bytes before a heap's memory are as they were");
        (void)CHECK(after && "the bytes after a heap's memory are as they were");
        TAKE_BACK(pieces[i].start, pieces[i].bytes);
    }
    piece_count = 0;
    memory_taken = 0;
}

void let_knoll_look_anywhere(void) {
    size_t i;
    for (i = 0; i < piece_count; i++) {
        UNGUARD(pieces[i].start, pieces[i].bytes);
    }
}

void let_knoll_write(void *at, size_t bytes) {
    SHARE(at, bytes);
}

bool lies_in_memory(const void *at, size_t bytes) {
    const uint8_t *start = at;
    size_t i;
    for (i = 0; i < piece_count; i++) {
        if (start >= pieces[i].start && start <= pieces[i].start + pieces[i].bytes &&
            bytes <= (size_t)(pieces[i].start + pieces[i].bytes - start)) {
            return true;
        }
    }
    return false;
}

const KnHeapConfig *current_config(void) {
    return &run.config;
}

KnHeap *new_heap(size_t bytes) {
    uint8_t *start = take_memory(bytes, 0);
    return start == NULL ? NULL : kn_heap_create_with(start, bytes, current_config());
}

/* ---- Running ---- */

static uint32_t random_state;

void restart_random(void) {
    random_state = 0x2545F491u;
}

KnLayout current_layout(void) {
    return run.config.layout;
}

const char *layout_name(KnLayout layout) {
    switch (layout) {
    case KN_LAYOUT_AUTO:
        return "auto";
    case KN_LAYOUT_MAP:
        return "map";
    case KN_LAYOUT_COMPACT:
        return "compact";
    case KN_LAYOUT_WIDE:
        return "wide";
    default:
        return "?";
    }
}

static void run_once(const TestCase *test, KnLayout layout) {
    size_t failures_before = run.failures;
    uintmax_t checks_before = run.checks;

    run.config.layout = layout;
    run.config.flags = 0;
    restart_random();
    errors_begin();
    errors.expected = false;
    kn_on_error(on_error);
    test->body();
    if (run.checks == checks_before && fail(test->name, 0)) {
        printf("the test made no check\n");
    }
    return_memory();
    kn_on_error(NULL);
    totals.runs++;
    if (run.failures != failures_before) {
        totals.failed_runs++;
    }
}

void harness_start(const char *program) {
    memset(&totals, 0, sizeof totals);
    totals.program = program;
    printf("%s: Knoll %s, %lu-bit\n", program, kn_version(), (unsigned long)(8 * sizeof(void *)));
}

void harness_run(const TestCase *test) {
    size_t i;

    memset(&run, 0, sizeof run);
    run.name = test->name;
    run.line_open = true;
    printf("  %s ", test->name);
    /* Whoever reads the output of a crash must see which test it was. */
    fflush(stdout);
    for (i = 0; i < sizeof all_layouts / sizeof all_layouts[0]; i++) {
        if ((test->layouts & LAYOUT_BIT(all_layouts[i])) != 0) {
            run_once(test, all_layouts[i]);
        }
    }
    totals.checks += run.checks;
    if (run.line_open) {
        printf("ok, %lu checks\n", (unsigned long)run.checks);
    } else {
        printf("    %s: %lu failures\n", test->name, (unsigned long)run.failures);
    }
}

int harness_finish(void) {
    printf("%s: %s: %lu of %lu runs passed, %lu checks, %lu bytes compared\n", totals.program,
           totals.failed_runs == 0 && totals.runs != 0 ? "PASS" : "FAIL",
           (unsigned long)(totals.runs - totals.failed_runs), (unsigned long)totals.runs, (unsigned long)totals.checks,
           (unsigned long)totals.bytes_compared);
    fflush(stdout);
    return totals.failed_runs == 0 && totals.runs != 0 ? 0 : 1;
}

int harness_main(const char *program, const TestCase *cases, size_t count, int argc, char **argv) {
    size_t i;
    int a;

    harness_start(program);
    for (i = 0; i < count; i++) {
        bool wanted = argc <= 1;
        for (a = 1; a < argc; a++) {
            wanted = wanted || strcmp(argv[a], cases[i].name) == 0;
        }
        if (wanted) {
            harness_run(&cases[i]);
        }
    }
    return harness_finish();
}

/* ---- Random numbers: Marsaglia's xorshift32 ---- */

uint32_t random_bits(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

size_t random_below(size_t limit) {
    return (size_t)(((uint64_t)random_bits() * limit) >> 32);
}

size_t random_between(size_t least, size_t most) {
    return least + random_below(most - least + 1);
}

size_t random_size(size_t most) {
    size_t limit = most;
    size_t halvings = random_below(8);
    while (halvings-- > 0 && limit > 16) {
        limit /= 2;
    }
    return random_below(limit + 1);
}

/* ---- Patterns ---- */

/* Byte i is first + i * step: both follow from the seed, and the step is odd, so no two bytes of 256 are equal. */
static void pattern_of(uint32_t seed, uint8_t *first, uint8_t *step) {
    uint32_t mixed = (seed + 1) * 0x9E3779B1u;
    *first = (uint8_t)(mixed >> 24);
    *step = (uint8_t)((mixed >> 15) | 1);
}

void fill_pattern(void *at, size_t bytes, uint32_t seed) {
    uint8_t *next = at;
    uint8_t *end = next + bytes;
    uint8_t value, step;
    pattern_of(seed, &value, &step);
    for (; next != end; next++) {
        *next = value;
        value = (uint8_t)(value + step);
    }
}

bool holds_pattern(const void *at, size_t bytes, uint32_t seed) {
    const uint8_t *next = at;
    const uint8_t *end = next + bytes;
    uint8_t value, step;
    pattern_of(seed, &value, &step);
    totals.bytes_compared += bytes;
    for (; next != end; next++) {
        if (*next != value) {
            return false;
        }
        value = (uint8_t)(value + step);
    }
    return true;
}

bool holds_byte(const void *at, size_t bytes, uint8_t value) {
    const uint8_t *next = at;
    const uint8_t *end = next + bytes;
    totals.bytes_compared += bytes;
    for (; next != end; next++) {
        if (*next != value) {
            return false;
        }
    }
    return true;
}

/* ---- Questions about a heap ---- */

size_t opaque(size_t number) {
    return number;
}

bool is_aligned(const void *at, size_t alignment) {
    return (uintptr_t)at % alignment == 0;
}

bool is_sound(KnHeap *heap) {
    KnHeapStats stats;
    return kn_heap_check(heap) == KN_OK && kn_heap_stats(heap, &stats) == KN_OK &&
           stats.total == stats.used + stats.free && stats.peak >= stats.used && stats.peak <= stats.total &&
           stats.largest_free <= stats.free && stats.regions >= 1;
}

size_t used_blocks(KnHeap *heap) {
    KnHeapStats stats;
    return kn_heap_stats(heap, &stats) == KN_OK ? stats.blocks : SIZE_MAX;
}

size_t largest_allocation(KnHeap *heap) {
    KnHeapStats stats;
    size_t works = 0, fails;
    if (kn_heap_stats(heap, &stats) != KN_OK) {
        return 0;
    }
    fails = stats.free + 1;
    while (fails - works > 1) {
        size_t middle = works + (fails - works) / 2;
        void *block = kn_heap_malloc(heap, middle);
        if (block != NULL) {
            kn_heap_free(heap, block);
            works = middle;
        } else {
            fails = middle;
        }
    }
    return works;
}

static bool count_block(void *context, const KnBlock *block) {
    size_t *count = context;
    (void)block;
    (*count)++;
    return true;
}

bool is_empty_and_whole(KnHeap *heap) {
    KnHeapStats stats;
    size_t walked = 0;
    return is_sound(heap) && kn_heap_stats(heap, &stats) == KN_OK && stats.used == 0 && stats.blocks == 0 &&
           stats.free == stats.total && kn_heap_walk(heap, count_block, &walked) == KN_OK && walked == stats.regions;
}
