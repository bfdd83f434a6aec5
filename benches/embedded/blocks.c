/* Live blocks with canaries; see blocks.h. */
#include "blocks.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Block    blocks[MAX_BLOCKS];
uint32_t block_count, live_bytes, failures, calls, resizes, moved;

static unsigned char arena[ARENA_BYTES] __attribute__((aligned(64)));
static uint64_t random_state;

/* Marks are numbered from 3 on, three for each name; 0: nothing is counted. */
enum { MARK_MALLOC, MARK_FREE, MARK_REALLOC, MARK_KINDS };
static uint32_t marks, marks_given;

void say(const char *format, ...) {
    char line[200];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length > 0 && write(1, line, (size_t)length) != length) exit(3);
}

void fail(const char *message) {
    say("error %s: %s\n", h_name, message);
    exit(2);
}

void count_calls(const char *name) {
    static const char *const kinds[MARK_KINDS] = { "malloc", "free", "realloc" };
    marks = name ? marks_given += MARK_KINDS : 0;
    for (uint32_t kind = 0; name && kind < MARK_KINDS; kind++) {
        char text[64];
        snprintf(text, sizeof text, "%s %s", name, kinds[kind]);
        knoll_mark_name(marks + kind, text);
    }
}

/* The harness counts the next call, from its entry to its return, if it is to. */
#define COUNTED(kind) do { if (marks) KNOLL_MARK_CALL(marks + (kind)); } while (0)

uint32_t random_bits(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545F4914F6CDD1Dull) >> 32);
}

uint32_t random_below(uint32_t bound) { return (uint32_t)(((uint64_t)random_bits() * bound) >> 32); }

uint32_t size_uniform(void) { return 8 + random_below(249); }

/* 8 * 2^(9u), u uniform: an octave, then linear inside it to 1/256, close enough to log-uniform. */
uint32_t size_log_uniform(void) {
    static const uint16_t power[17] = { /* 4096 * 2^(i/16) */
        4096, 4277, 4467, 4664, 4871, 5087, 5312, 5547, 5793, 6049, 6317, 6597, 6889, 7194, 7512, 7845, 8192 };
    uint32_t octave = random_below(9), step = random_below(16), within = random_below(256);
    uint32_t mantissa = power[step] + (((uint32_t)(power[step + 1] - power[step]) * within) >> 8);
    return (8u * mantissa << octave) >> 12;
}

void heap_fresh(uint32_t ram, uint64_t seed) {
    if (ram > ARENA_BYTES) fail("the arena is smaller than the heap asked for");
    block_count = live_bytes = failures = calls = resizes = moved = 0;
    random_state = 0x9E3779B97F4A7C15ull ^ (seed * 0xD1342543DE82EF95ull);
    h_init(arena, ram);
}

/* The pattern covers up to four bytes at each end. */
static void stamp(const Block *block) {
    uint32_t pattern = (uint32_t)(uintptr_t)block->at * 2654435761u ^ block->size;
    uint32_t edge = block->size < 4 ? block->size : 4;
    memcpy(block->at + block->size - edge, (char *)&pattern + 4 - edge, edge);
    memcpy(block->at, &pattern, edge);
}

static void verify(const unsigned char *at, const Block *was, uint32_t size) {
    uint32_t pattern = (uint32_t)(uintptr_t)was->at * 2654435761u ^ was->size;
    uint32_t edge = was->size < 4 ? was->size : 4;
    if (memcmp(at, &pattern, edge < size ? edge : size)) fail("a block's first bytes changed");
    if (size >= was->size && was->size >= 8 && memcmp(at + was->size - edge, (char *)&pattern + 4 - edge, edge))
        fail("a block's last bytes changed");
}

static void accept(const Block *block) {
    if ((uintptr_t)block->at % 8) fail("a block is not 8-byte aligned");
    if (block->at < arena || block->size > (uint32_t)(arena + ARENA_BYTES - block->at)) fail("a block lies outside the heap");
    stamp(block);
}

bool block_take(Block *block, uint32_t size) {
    calls++;
    COUNTED(MARK_MALLOC);
    unsigned char *at = h_malloc(size);
    if (!at) return failures++, false;
    block->at = at;
    block->size = size;
    live_bytes += size;
    accept(block);
    return true;
}

void block_release(Block *block) {
    verify(block->at, block, block->size);
    calls++;
    live_bytes -= block->size;
    COUNTED(MARK_FREE);
    h_free(block->at, block->size);
    block->at = NULL;
}

bool block_resize(Block *block, uint32_t size) {
    verify(block->at, block, block->size);
    calls++;
    COUNTED(MARK_REALLOC);
    unsigned char *at = h_realloc(block->at, block->size, size);
    if (!at) return failures++, false;
    verify(at, block, size);
    resizes++;
    moved += at != block->at;
    live_bytes += size - block->size;
    block->at = at;
    block->size = size;
    accept(block);
    return true;
}

bool push_block(uint32_t size) {
    if (block_count == MAX_BLOCKS) fail("the driver's block table is full");
    if (!block_take(&blocks[block_count], size)) return false;
    block_count++;
    return true;
}

void drop_block(uint32_t index) {
    block_release(&blocks[index]);
    blocks[index] = blocks[--block_count];
}

void drop_all(void) {
    while (block_count) drop_block(block_count - 1);
}
