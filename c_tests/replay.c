/*
 * The replayer: plays recorded traces of real programs, and knows every byte of every live block.
 *
 *     replay [--smallest] [--check-every N] [--heap BYTES] FILE...
 *
 * Each trace is a test that runs for each layout, in a heap of two regions with room to spare, or, with --heap, of one
 * region of so many bytes. Every block is filled
 * with a pattern that follows from its number, compared when it is resized, when it is freed and at the end; the whole
 * heap is checked after every N operations (default 1000).
 *
 * With --smallest it also looks, by halving, for the smallest heap of one region in which the trace completes, prints
 *
 *     smallest NAME LAYOUT BYTES bytes = RATIO of the peak
 *
 * where the bytes are all that Knoll was given, its own records included, and the peak is the most bytes that were
 * alive, as asked for; and plays the trace there once more, comparing every byte.
 *
 * A trace file is the compact form that `cargo xtask c-tests` makes from traces/NAME.trace.gz. All numbers are
 * variable in length: 7 bits a byte, least significant first, the high bit set in all bytes but the last.
 *
 *     "KNT1"  slots  operations  peak live bytes
 *     each operation:  slot * 4 + kind,  and, except for a free, the size
 *     kind: 0 free, 1 allocate, 2 resize
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SLOTS = 6000, MOST_NAME = 64 };

typedef struct Slot {
    uint8_t *at; /* NULL: nothing is there */
    size_t bytes;
    uint32_t seed;
} Slot;

static Slot slots[MOST_SLOTS];

/* The trace that is played: harness tests take no arguments. */
static struct {
    const char *path;
    FILE *file;
    size_t slot_count, operations, peak;
    bool broken;
} trace;

static size_t check_every = 1000;
static bool look_for_smallest = false;
static size_t heap_bytes = 0; /* 0: two regions with room to spare */

/* ---- Reading ---- */

static size_t read_number(void) {
    size_t number = 0;
    unsigned shift = 0;
    int byte;
    do {
        byte = getc(trace.file);
        if (byte == EOF || shift > 28) {
            trace.broken = true;
            return 0;
        }
        number |= (size_t)(byte & 0x7F) << shift;
        shift += 7;
    } while ((byte & 0x80) != 0);
    return number;
}

/* Goes to the first operation. */
static bool rewind_trace(void) {
    char magic[4];
    rewind(trace.file);
    trace.broken = fread(magic, 1, sizeof magic, trace.file) != sizeof magic || memcmp(magic, "KNT1", 4) != 0;
    trace.slot_count = read_number();
    trace.operations = read_number();
    trace.peak = read_number();
    return !trace.broken && trace.slot_count <= MOST_SLOTS;
}

/* ---- Playing ---- */

typedef enum Outcome { COMPLETED, OUT_OF_MEMORY, BROKEN } Outcome;

/* Plays the trace; with `verify` fills and compares every byte, and checks the heap now and then. */
static Outcome play(KnHeap *heap, bool verify) {
    size_t i, live = 0;
    if (!rewind_trace()) {
        return BROKEN;
    }
    memset(slots, 0, trace.slot_count * sizeof slots[0]);
    for (i = 0; i < trace.operations; i++) {
        size_t code = read_number();
        size_t kind = code & 3;
        size_t bytes = kind == 0 ? 0 : read_number();
        Slot *slot = &slots[code / 4];
        uint8_t *at;
        if (trace.broken || kind == 3 || code / 4 >= trace.slot_count || (slot->at == NULL) != (kind == 1)) {
            return BROKEN;
        }
        if (verify && kind != 1) {
            (void)CHECK_PATTERN(slot->at, slot->bytes, slot->seed);
        }
        if (kind == 0) {
            kn_heap_free(heap, slot->at);
            slot->at = NULL;
            live--;
        } else {
            at = kind == 1 ? kn_heap_malloc(heap, bytes) : kn_heap_realloc(heap, slot->at, bytes);
            if (at == NULL) {
                return OUT_OF_MEMORY;
            }
            if (verify) {
                (void)CHECK(is_aligned(at, BLOCK_ALIGNMENT));
                (void)CHECK(lies_in_memory(at, bytes));
                if (kind == 2) {
                    (void)CHECK_PATTERN(at, bytes < slot->bytes ? bytes : slot->bytes, slot->seed);
                }
                fill_pattern(at, bytes, (uint32_t)i);
            }
            live += kind == 1;
            slot->at = at;
            slot->bytes = bytes;
            slot->seed = (uint32_t)i;
        }
        if (verify && i % check_every == 0) {
            (void)CHECK_STATUS(kn_heap_check(heap), KN_OK);
            (void)CHECK_EQ(used_blocks(heap), live);
        }
    }
    return COMPLETED;
}

/* What the trace leaves: compared, freed, and then the heap is whole. */
static void clear(KnHeap *heap) {
    size_t i;
    for (i = 0; i < trace.slot_count; i++) {
        if (slots[i].at != NULL) {
            (void)CHECK_PATTERN(slots[i].at, slots[i].bytes, slots[i].seed);
            kn_heap_free(heap, slots[i].at);
        }
    }
    (void)CHECK(is_empty_and_whole(heap));
}

static const char *trace_name(void) {
    static char name[MOST_NAME];
    const char *base = strrchr(trace.path, '/');
    size_t length;
    base = base == NULL ? trace.path : base + 1;
    length = strcspn(base, ".");
    if (length >= sizeof name) {
        length = sizeof name - 1;
    }
    memcpy(name, base, length);
    name[length] = '\0';
    return name;
}

/* ---- The smallest heap ---- */

static uint8_t *search_memory;

static bool completes_in(size_t bytes) {
    KnHeap *heap = kn_heap_create_with(search_memory, bytes, current_config());
    return heap != NULL && play(heap, false) == COMPLETED;
}

static void find_smallest(size_t memory_bytes) {
    size_t fails = trace.peak, works = memory_bytes, thousandths;
    KnHeap *heap;
    REQUIRE(search_memory != NULL);
    if (!completes_in(works)) {
        printf("\n    smallest %s %s: none up to %lu bytes ", trace_name(), layout_name(current_layout()),
               (unsigned long)works);
        return;
    }
    while (works - fails > 8) {
        size_t middle = fails + (works - fails) / 16 * 8;
        if (middle == fails) {
            middle += 8;
        }
        if (completes_in(middle)) {
            works = middle;
        } else {
            fails = middle;
        }
    }
    thousandths = (works * 1000 + trace.peak / 2) / trace.peak;
    printf("\n    smallest %s %s %lu bytes = %lu.%03lu of the peak ", trace_name(), layout_name(current_layout()),
           (unsigned long)works, (unsigned long)(thousandths / 1000), (unsigned long)(thousandths % 1000));
    heap = kn_heap_create_with(search_memory, works, current_config());
    REQUIRE(heap != NULL);
    (void)CHECK_EQ(play(heap, true), COMPLETED);
    clear(heap);
}

/* ---- The tests ---- */

static void replay(void) {
    KnHeap *heap;
    REQUIRE(trace.file != NULL);
    REQUIRE(rewind_trace());
    if (heap_bytes != 0) {
        heap = new_heap(heap_bytes);
        REQUIRE(heap != NULL);
    } else {
        /* Neither region is larger than the smallest layout can address. */
        size_t bytes = trace.peak * 3 / 4 + 12 * 1024;
        uint8_t *more = take_memory(bytes, 40);
        heap = new_heap(bytes);
        REQUIRE(heap != NULL && more != NULL);
        REQUIRE(kn_heap_add_region_with(heap, more, bytes, current_config()) == KN_OK);
    }
    if (CHECK_EQ(play(heap, true), COMPLETED)) {
        clear(heap);
    }
}

static void smallest(void) {
    size_t bytes;
    REQUIRE(trace.file != NULL);
    REQUIRE(rewind_trace());
    bytes = trace.peak * 2 + 4096 < TEST_MEMORY_BYTES ? trace.peak * 2 + 4096 : TEST_MEMORY_BYTES;
    search_memory = take_memory(bytes, 0);
    find_smallest(bytes);
}

int main(int argc, char **argv) {
    int i;
    harness_start("replay");
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--smallest") == 0) {
            look_for_smallest = true;
        } else if (strcmp(argv[i], "--check-every") == 0 && i + 1 < argc) {
            check_every = (size_t)atol(argv[++i]);
            check_every = check_every == 0 ? 1 : check_every;
        } else if (strcmp(argv[i], "--heap") == 0 && i + 1 < argc) {
            heap_bytes = (size_t)atol(argv[++i]);
        } else {
            TestCase play_it = EACH_LAYOUT(replay);
            TestCase shrink_it = EACH_LAYOUT(smallest);
            /* What AUTO means is one of the others. */
            shrink_it.layouts &= ~LAYOUT_BIT(KN_LAYOUT_AUTO);
            trace.path = argv[i];
            trace.file = fopen(trace.path, "rb");
            play_it.name = trace_name();
            shrink_it.name = "smallest_heap";
            harness_run(&play_it);
            if (look_for_smallest) {
                harness_run(&shrink_it);
            }
            if (trace.file != NULL) {
                fclose(trace.file);
            }
        }
    }
    return harness_finish();
}
