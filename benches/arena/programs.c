/* The programs, over one peer.
 *
 *   programs PROGRAM COUNT ["" [CONFIGURATION]]
 *
 *   fixed      in an arena sized for them, 16384 allocations of 24 bytes, reset             (an allocation)
 *   sizes      the same with allocations of 8 to 256 bytes, multiples of 8                  (an allocation)
 *   bulk       enter an arena sized for 16384 allocations of 24 bytes, all of them, leave   (a workflow)
 *   pair       enter, one allocation of 64 bytes, leave; as the peer comes                  (a pair)
 *   presized   the same, sized for 4 KB                                                     (a pair)
 *   nested     the same, sized for 512 bytes, in an arena with room                         (a pair)
 *   thousand   enter, 1000 allocations of 24 bytes, leave; as the peer comes                (a workflow)
 *   cleanups-N enter, N allocations of 32 bytes with a cleanup each, leave                  (a workflow)
 *   rewind     a mark, 10 allocations of 64 bytes, back to the mark                         (a rewind)
 *   reset      10 allocations of 64 bytes, reset                                            (a reset)
 *   grow       a string from 16 to 1024 bytes, 16 at a time, in an arena sized for it       (a string)
 *   mixed      a workflow with 8 inner ones: random sizes, strings that grow, marks         (a workflow)
 *
 * COUNT says how many; 0 does the set-up alone, and the difference is the work. `fixed-idle` and `sizes-idle` are the loops
 * of these two without an allocation: the difference is the allocations. rivals/src/main.rs are the same
 * programs with the same random numbers. Two programs measure no time:
 *
 *   footprint  64 bytes, a mark, 200 times 128 bytes, back to the mark; and so again, reset: prints what was
 *              held at each point
 *   verify     fills what it allocates, in all the ways above, and looks whether it stays
 */
#define _GNU_SOURCE
#include "peer.h"

enum { BULK = 16384, SIZES = 16384, MOST_SIZE = 256, MIXED_INNER = 8, MIXED_BLOCKS = 40 };

/* xorshift64*, the upper half. */
static uint64_t random_state = 0x9E3779B97F4A7C15u;

static inline uint32_t random_bits(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545F4914F6CDD1Du) >> 32);
}

/* A random multiple of 8, from 8 to most. */
static inline size_t random_size(uint32_t most) { return 8 + ((uint64_t)random_bits() * (most / 8) >> 32) * 8; }

/* The program may use the memory, and change any other: nothing is kept in registers across an allocation. */
static inline void *used(void *pointer) {
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

/* Room for allocations of so many bytes together; a peer may need more for each. */
#ifndef PEER_HEAD
#define PEER_HEAD 0
#endif
static inline size_t room_for(size_t count, size_t bytes) { return bytes + count * PEER_HEAD; }

static inline void *held(void *pointer) {
    if (!pointer) measure_fail("no memory");
    return pointer;
}

#define FOUR(what) what; what; what; what
#define SIXTEEN(what) FOUR(what); FOUR(what); FOUR(what); FOUR(what)

/* ---------------------------------------------------------------- allocating */

static void allocate_bulk(Arena arena) {
    void *last = NULL;
    for (int i = 0; i < BULK; i += 16) {
        SIXTEEN(last = used(peer_alloc(arena, 24)));
    }
    held(last);
}

static void fixed(uint64_t count) {
    Room room;
    Arena arena = peer_enter(&room, room_for(BULK, BULK * 24));
    measure_begin();
    for (uint64_t round = 0; round < count; round += BULK) {
        allocate_bulk(arena);
        peer_reset(arena);
    }
    measure_end(count);
    peer_leave(&room, arena);
}

/* The loop of fixed alone. */
static void fixed_idle(uint64_t count) {
    Room room;
    Arena arena = peer_enter(&room, room_for(BULK, BULK * 24));
    void *last = arena;
    for (uint64_t i = 0; i < count; i += 16) {
        SIXTEEN(last = used(last));
    }
    peer_leave(&room, arena);
}

static void bulk(uint64_t count) {
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        Room room;
        Arena arena = peer_enter(&room, room_for(BULK, BULK * 24));
        allocate_bulk(arena);
        peer_leave(&room, arena);
    }
    measure_end(count);
}

static uint16_t sizes[SIZES];

static size_t choose_sizes(void) {
    size_t sum = 0;
    for (int i = 0; i < SIZES; i++) {
        sizes[i] = (uint16_t)random_size(MOST_SIZE);
        sum += sizes[i];
    }
    return sum;
}

static void sized(uint64_t count) {
    Room room;
    Arena arena = peer_enter(&room, room_for(SIZES, choose_sizes()));
    measure_begin();
    for (uint64_t round = 0; round < count; round += SIZES) {
        void *last = NULL;
        const uint16_t *next = sizes;
        for (int i = 0; i < SIZES; i += 16) {
            SIXTEEN(last = used(peer_alloc(arena, *next++)));
        }
        held(last);
        peer_reset(arena);
    }
    measure_end(count);
    peer_leave(&room, arena);
}

/* The loop alone, which reads each size. */
static void sized_idle(uint64_t count) {
    Room room;
    Arena arena = peer_enter(&room, room_for(SIZES, choose_sizes()));
    for (uint64_t round = 0; round < count; round += SIZES) {
        const uint16_t *next = sizes;
        for (int i = 0; i < SIZES; i += 16) {
            SIXTEEN(used((void *)(uintptr_t)*next++));
        }
    }
    peer_leave(&room, arena);
}

/* ---------------------------------------------------------------- entering and leaving */

static void pair(uint64_t count, size_t presize) {
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        Room room;
        Arena arena = peer_enter(&room, presize);
        used(held(peer_alloc(arena, 64)));
        peer_leave(&room, arena);
    }
    measure_end(count);
}

static void nested(uint64_t count) {
    Room outer_room;
    Arena outer = peer_enter(&outer_room, room_for(16, 8192));
    used(held(peer_alloc(outer, 64)));
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        Room room;
        Arena arena = peer_enter_in(&room, outer, room_for(1, 512));
        used(held(peer_alloc(arena, 64)));
        peer_leave(&room, arena);
    }
    measure_end(count);
    peer_leave(&outer_room, outer);
}

static void thousand(uint64_t count) {
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        Room room;
        Arena arena = peer_enter(&room, 0);
        for (int j = 0; j < 1000; j++) used(held(peer_alloc(arena, 24)));
        peer_leave(&room, arena);
    }
    measure_end(count);
}

/* ---------------------------------------------------------------- cleanups */

static uint64_t cleanups_run;

static void cleanup(void *context) {
    (void)context;
    cleanups_run++;
}

#ifndef PEER_NO_CLEANUPS
/* Memory with a cleanup: 32 bytes for every peer, whatever it keeps there. */
static void *with_cleanup(Arena arena) {
    Cleanup *made = held(peer_alloc(arena, 32));
    cleanup_set(made, cleanup, made);
    peer_on_leave(arena, made);
    return made;
}
#endif

static void cleanups(uint64_t count, uint64_t each) {
#ifdef PEER_NO_CLEANUPS
    (void)count, (void)each;
    (void)cleanup;
    measure_fail("has no cleanups");
#else
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        Room room;
        Arena arena = peer_enter(&room, 0);
        for (uint64_t j = 0; j < each; j++) used(with_cleanup(arena));
        peer_leave(&room, arena);
    }
    measure_end(count);
    if (cleanups_run != count * each) measure_fail("cleanups were not run");
#endif
}

/* ---------------------------------------------------------------- a part of an arena */

static void rewinding(uint64_t count) {
    Room room;
    Arena arena = peer_enter(&room, room_for(16, 8192));
    used(held(peer_alloc(arena, 64)));
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        Tail tail;
        Arena inner = tail_begin(&tail, arena);
        for (int j = 0; j < 10; j++) used(held(peer_alloc(inner, 64)));
        tail_end(&tail, inner);
    }
    measure_end(count);
    peer_leave(&room, arena);
}

static void resetting(uint64_t count) {
    Room room;
    Arena arena = peer_enter(&room, room_for(16, 8192));
    used(held(peer_alloc(arena, 64)));
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        for (int j = 0; j < 10; j++) used(held(peer_alloc(arena, 64)));
        peer_reset(arena);
    }
    measure_end(count);
    peer_leave(&room, arena);
}

static void growing(uint64_t count) {
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        Room room;
        Arena arena = peer_enter(&room, 4096);
        char *text = held(peer_alloc(arena, 16));
        for (size_t length = 16; length < 1024; length += 16) {
            text = used(held(peer_resize(arena, text, length, length + 16)));
        }
        peer_leave(&room, arena);
    }
    measure_end(count);
}

/* ---------------------------------------------------------------- all of it */

/* What the program asked for and still uses, and what the peer holds: the most of each. */
static size_t payload, payload_most, held_at_start, held_most;

static inline void *asked(Arena arena, size_t size) {
    payload += size;
    return used(held(peer_alloc(arena, size)));
}

static void look(void) {
    size_t now = peer_held() - held_at_start;
    if (now > held_most) held_most = now;
    if (payload > payload_most) payload_most = payload;
}

/* A table and results outside; inner workflows with blocks, a string that grows, and work that is taken back. */
static void workflow(bool looking) {
    Room outer_room;
    payload = 0;
    Arena outer = peer_enter(&outer_room, 0);
    asked(outer, 1024);
    for (int i = 0; i < MIXED_INNER; i++) {
        Room room;
        size_t before = payload;
        asked(outer, 32);
        Arena inner = peer_enter_in(&room, outer, 0);
        for (int j = 0; j < MIXED_BLOCKS; j++) asked(inner, random_size(512));
        char *text = held(peer_alloc(inner, 16));
        for (size_t length = 16; length < 400; length += 24) {
            text = used(held(peer_resize(inner, text, length, length + 24)));
        }
        payload += 400;
        Tail tail;
        Arena scratch = tail_begin(&tail, inner);
        for (int j = 0; j < MIXED_BLOCKS; j++) asked(scratch, random_size(128));
        if (looking) look();
        tail_end(&tail, scratch);
        peer_leave(&room, inner);
        payload = before + 32;
    }
    peer_leave(&outer_room, outer);
}

static void mixed(uint64_t count) {
    measure_begin();
    for (uint64_t i = 0; i < count; i++) workflow(false);
    measure_end(count);
}

static void memory(uint64_t count) {
    held_at_start = peer_held();
    for (uint64_t i = 0; i < count; i++) workflow(true);
    measure_number("payload", payload_most);
    measure_number("peak", held_most);
    measure_number("left", peer_held() - held_at_start);
}

static void footprint(void) {
    Room room;
    size_t start = peer_held();
    Arena arena = peer_enter(&room, 1024);
    used(held(peer_alloc(arena, 64)));
    size_t at_mark = peer_held() - start;
    Tail tail;
    Arena inner = tail_begin(&tail, arena);
    for (int i = 0; i < 200; i++) used(held(peer_alloc(inner, 128)));
    size_t most = peer_held() - start;
    tail_end(&tail, inner);
    size_t after = peer_held() - start;
    for (int i = 0; i < 200; i++) used(held(peer_alloc(arena, 128)));
    peer_reset(arena);
    size_t reset = peer_held() - start;
    peer_leave(&room, arena);
    measure_number("mark", at_mark);
    measure_number("most", most);
    measure_number("after", after);
    measure_number("reset", reset);
    measure_number("left", peer_held() - start);
}

/* ---------------------------------------------------------------- proof that it is done */

enum { FILLED = 300 };

typedef struct Filled { unsigned char *at; size_t size; unsigned char with; } Filled;

static void fill(Filled *filled, Arena arena, size_t size, unsigned char with) {
    filled->at = held(peer_alloc(arena, size));
    if ((uintptr_t)filled->at & 7) measure_fail("not aligned to 8");
#ifdef PEER_FILL
    with = PEER_FILL;
#endif
    filled->size = size;
    filled->with = with;
    memset(filled->at, with, size);
}

static void verify_filled(const Filled *filled, int count) {
    for (int i = 0; i < count; i++) {
        for (size_t j = 0; j < filled[i].size; j++) {
            if (filled[i].at[j] != filled[i].with) measure_fail("memory was overwritten");
        }
    }
}

static size_t verify_size(void) {
#ifdef PEER_FIXED_SIZE
    return PEER_FIXED_SIZE;
#else
    return random_size(MOST_SIZE);
#endif
}

static void verify(uint64_t count) {
    static Filled outer[FILLED], inner[FILLED];
    Room outer_room, room;
    for (uint64_t i = 0; i < count; i++) {
        Arena arena = peer_enter(&outer_room, i & 1 ? 4096 : 0);
        for (int j = 0; j < FILLED; j++) fill(&outer[j], arena, verify_size(), (unsigned char)j);
        Arena within = peer_enter_in(&room, arena, i & 2 ? 512 : 0);
        for (int j = 0; j < FILLED; j++) fill(&inner[j], within, verify_size(), (unsigned char)(j + 128));
        verify_filled(inner, FILLED);
        peer_leave(&room, within);
        verify_filled(outer, FILLED);
        Tail tail;
        Arena rest = tail_begin(&tail, arena);
        for (int j = 0; j < FILLED; j++) fill(&inner[j], rest, verify_size(), (unsigned char)(j + 64));
        verify_filled(inner, FILLED);
        tail_end(&tail, rest);
        verify_filled(outer, FILLED);
#ifndef PEER_FIXED_SIZE
        char *text = held(peer_alloc(arena, 16));
        memset(text, 's', 16);
        for (size_t length = 16; length < 1024; length += 16) {
            text = held(peer_resize(arena, text, length, length + 16));
            memset(text + length, 's', 16);
        }
        for (size_t j = 0; j < 1024; j++) {
            if (text[j] != 's') measure_fail("a string was not kept");
        }
#ifndef PEER_NO_CLEANUPS
        uint64_t before = cleanups_run;
        for (int j = 0; j < 10; j++) with_cleanup(arena);
        peer_leave(&outer_room, arena);
        if (cleanups_run != before + 10) measure_fail("cleanups were not run");
        arena = peer_enter(&outer_room, 4096);
#endif
#endif
        peer_reset(arena);
        fill(&outer[0], arena, verify_size(), 7);
        verify_filled(outer, 1);
        peer_leave(&outer_room, arena);
    }
    measure_number("verified", count);
}

/* ---------------------------------------------------------------- which */

int main(int argc, char **argv) {
    if (argc < 3) measure_fail("programs PROGRAM COUNT [\"\" [CONFIGURATION]]");
    const char *program = argv[1];
    uint64_t count = strtoull(argv[2], NULL, 10);
    measure_start(program, NULL);
    peer_start(argc > 4 ? argv[4] : "");
    if (!strcmp(program, "fixed")) fixed(count);
    else if (!strcmp(program, "fixed-idle")) fixed_idle(count);
    else if (!strcmp(program, "sizes")) sized(count);
    else if (!strcmp(program, "sizes-idle")) sized_idle(count);
    else if (!strcmp(program, "bulk")) bulk(count);
    else if (!strcmp(program, "pair")) pair(count, 0);
    else if (!strcmp(program, "presized")) pair(count, room_for(1, 4096));
    else if (!strcmp(program, "nested")) nested(count);
    else if (!strcmp(program, "thousand")) thousand(count);
    else if (!strncmp(program, "cleanups-", 9)) cleanups(count, strtoull(program + 9, NULL, 10));
    else if (!strcmp(program, "rewind")) rewinding(count);
    else if (!strcmp(program, "reset")) resetting(count);
    else if (!strcmp(program, "grow")) growing(count);
    else if (!strcmp(program, "mixed")) mixed(count);
    else if (!strcmp(program, "memory")) memory(count);
    else if (!strcmp(program, "footprint")) footprint();
    else if (!strcmp(program, "verify")) verify(count);
    else measure_fail("no such program");
    return 0;
}
