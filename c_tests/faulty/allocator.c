/*
 * A reference allocator behind knoll.h, with faults to order: the proof that the C tests can fail.
 *
 * It is as plain as can be: a region is a row of blocks, each with a header, and every call walks the row.
 *
 *     | Region | Header, payload | Header, payload | ... | end Header |
 *
 * Without a fault it keeps Knoll's contract for the manual heap, and the tests that pass on Knoll pass on it. It is
 * not a product: each call is O(blocks), all four layouts are the same, and nothing in it is tuned.
 */
#include "knoll.h"

#include <string.h>

#define FAULTS "faults.h"
#include "choose.h"

enum { ALIGNMENT = 2 * sizeof(void *), LEAST_HEAP = 256, MARK_USED = 0x55AA, MARK_FREE = 0x33CC, MARK_END = 0x0FF0 };

/* Padded to ALIGNMENT, so that payloads are aligned. */
typedef struct Header {
    size_t bytes; /* of the payload */
    size_t mark;  /* MARK_… ^ bytes */
} Header;

typedef struct Region {
    struct Region *next;
    Header *first;
    Header *end;
} Region;

struct KnHeap {
    Region *regions;
    size_t peak;
    size_t ever_allocated;
    size_t calls;
    Region first;
};

static KnHeap *default_heap;
static void (*error_hook)(KnStatus, const void *, const char *);

static void report(KnStatus status, const void *where, const char *what) {
    if (error_hook != NULL) {
        error_hook(has(FAULT_wrong_status) ? KN_E_INVALID : status, where, what);
        if (has(FAULT_reports_twice)) {
            error_hook(status, where, what);
        }
    }
}

/* ---- Blocks ---- */

static uint8_t *payload(Header *block) {
    return (uint8_t *)(block + 1);
}

static Header *after(Header *block) {
    return (Header *)(void *)(payload(block) + block->bytes);
}

/* The first word of a free block's payload repeats its header, so that a write to a free block shows. */
static size_t *echo(Header *block) {
    return (size_t *)(void *)payload(block);
}

static void set(Header *block, size_t bytes, size_t mark) {
    block->bytes = bytes;
    block->mark = mark ^ bytes;
    if (mark == MARK_FREE) {
        *echo(block) = block->mark;
    }
}

static bool has_mark(const Header *block, size_t mark) {
    return block->mark == (mark ^ block->bytes);
}

static bool is_intact(const Header *block) {
    return has_mark(block, MARK_USED) || has_mark(block, MARK_FREE);
}

static bool region_is_intact(const Region *region) {
    Header *block = region->first;
    while (block < region->end) {
        if (!is_intact(block) || block->bytes > (size_t)((uint8_t *)region->end - payload(block))) {
            return false;
        }
        if (has_mark(block, MARK_FREE) && *echo(block) != block->mark) {
            return false;
        }
        block = after(block);
    }
    return block == region->end && has_mark(block, MARK_END);
}

/* Walks only as far as the row of blocks makes sense, so a broken heap does not lead it astray. */
static Header *next_block(const Region *region, Header *block) {
    Header *next = after(block);
    if (block->bytes > (size_t)((uint8_t *)region->end - payload(block)) || next >= region->end || !is_intact(next)) {
        return NULL;
    }
    return next;
}

static Header *first_block(const Region *region) {
    return region->first < region->end && is_intact(region->first) ? region->first : NULL;
}

static void merge(Region *region) {
    Header *block = first_block(region);
    if (has(FAULT_no_merge)) {
        return;
    }
    while (block != NULL) {
        Header *next = next_block(region, block);
        if (next != NULL && has_mark(block, MARK_FREE) && has_mark(next, MARK_FREE)) {
            set(block, block->bytes + sizeof *next + next->bytes, MARK_FREE);
        } else {
            block = next;
        }
    }
}

static Header *find(const KnHeap *heap, const void *at, Region **where) {
    Region *region;
    for (region = heap->regions; region != NULL; region = region->next) {
        Header *block;
        for (block = first_block(region); block != NULL; block = next_block(region, block)) {
            if (payload(block) == (const uint8_t *)at) {
                *where = region;
                return block;
            }
        }
    }
    return NULL;
}

static bool lies_in_free_block(const KnHeap *heap, const void *at) {
    Region *region;
    for (region = heap->regions; region != NULL; region = region->next) {
        Header *block;
        for (block = first_block(region); block != NULL; block = next_block(region, block)) {
            if (has_mark(block, MARK_FREE) && (const uint8_t *)at >= payload(block) &&
                (const uint8_t *)at < payload(block) + block->bytes) {
                return true;
            }
        }
    }
    return false;
}

static size_t rounded(size_t bytes) {
    size_t least = bytes == 0 ? 1 : bytes;
    if (has(FAULT_overlap) && least > 32) {
        least -= 16;
    }
    return (least + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t used_bytes(const KnHeap *heap) {
    size_t used = 0;
    Region *region;
    for (region = heap->regions; region != NULL; region = region->next) {
        Header *block;
        for (block = first_block(region); block != NULL; block = next_block(region, block)) {
            if (has_mark(block, MARK_USED) && !(has(FAULT_used_miscounted) && block->bytes > 256)) {
                used += block->bytes + sizeof *block;
            }
        }
    }
    return used;
}

/* ---- Making heaps ---- */

const char *kn_version(void) {
    return "reference";
}

const char *kn_status_str(KnStatus status) {
    static const char *const names[] = {"ok",           "invalid", "no memory", "double free", "foreign pointer",
                                        "heap corrupt", "order",   "unsupported"};
    size_t index = (size_t)-(ptrdiff_t)status;
    if (has(FAULT_no_names)) {
        return names[0];
    }
    return index < sizeof names / sizeof names[0] ? names[index] : "unknown status";
}

void kn_on_error(void (*hook)(KnStatus, const void *, const char *)) {
    error_hook = hook;
}

static bool layout_is_known(const KnHeapConfig *config) {
    return config == NULL || has(FAULT_bad_layout_taken) ||
           (config->layout >= KN_LAYOUT_AUTO && config->layout <= KN_LAYOUT_WIDE);
}

/* Puts a control structure of `control` bytes and the blocks into the memory; where the structure lies, or NULL. */
static void *lay_out(void *memory, size_t bytes, size_t control, Header **first, Header **end) {
    uint8_t *start = memory;
    uint8_t *stop = start + bytes;
    size_t least = has(FAULT_small_heap_refused) ? 2048 : LEAST_HEAP;
    size_t shift = (ALIGNMENT - (uintptr_t)start % ALIGNMENT) % ALIGNMENT;

    if (memory == NULL || bytes < least + shift) {
        return NULL;
    }
    start += shift;
    stop -= (uintptr_t)stop % ALIGNMENT;
    *first = (Header *)(void *)(start + (control + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (has(FAULT_misaligned_region) && shift != 0) {
        *first = (Header *)(void *)((uint8_t *)*first + 4);
    }
    *end = (Header *)(void *)(stop - sizeof **end);
    if (has(FAULT_misaligned_region) && shift != 0) {
        *end = (Header *)(void *)((uint8_t *)*end - ALIGNMENT + 4);
    }
    set(*end, 0, MARK_END);
    set(*first, (size_t)((uint8_t *)*end - payload(*first)), MARK_FREE);
    if (has(FAULT_writes_past_end)) {
        ((uint8_t *)memory)[bytes] ^= 0xFF;
    }
    if (has(FAULT_writes_before_start)) {
        ((uint8_t *)memory)[-1] ^= 0xFF;
    }
    return start;
}

KnHeap *kn_heap_create_with(void *memory, size_t bytes, const KnHeapConfig *config) {
    Header *first, *end;
    KnHeap *heap;
    if (!layout_is_known(config)) {
        return NULL;
    }
    heap = lay_out(memory, bytes, sizeof *heap, &first, &end);
    if (heap != NULL) {
        memset(heap, 0, sizeof *heap);
        heap->regions = &heap->first;
        heap->first.first = first;
        heap->first.end = end;
    }
    return heap;
}

KnHeap *kn_heap_create(void *memory, size_t bytes) {
    return kn_heap_create_with(memory, bytes, NULL);
}

KnStatus kn_heap_add_region_with(KnHeap *heap, void *memory, size_t bytes, const KnHeapConfig *config) {
    Header *first, *end;
    Region *region;
    if (heap == NULL || memory == NULL || !layout_is_known(config)) {
        return KN_E_INVALID;
    }
    if (has(FAULT_region_ignored)) {
        return KN_OK;
    }
    region = lay_out(memory, bytes, sizeof *region, &first, &end);
    if (region == NULL) {
        return has(FAULT_tiny_region_taken) ? KN_OK : KN_E_INVALID;
    }
    region->first = first;
    region->end = end;
    region->next = heap->regions->next;
    heap->regions->next = region;
    return KN_OK;
}

KnStatus kn_heap_add_region(KnHeap *heap, void *memory, size_t bytes) {
    return kn_heap_add_region_with(heap, memory, bytes, NULL);
}

/* ---- Taking memory ---- */

/* Uses the part of a free block from `at` on, which must have room for a header before it, for `bytes` bytes. */
static void *carve(KnHeap *heap, Header *block, uint8_t *at, size_t bytes) {
    Header *used = (Header *)(void *)at - 1;
    size_t before = (size_t)((uint8_t *)used - (uint8_t *)block);
    size_t rest = block->bytes - before - bytes;
    size_t used_now;

    if (before != 0) {
        set(block, before - sizeof *block, MARK_FREE);
    }
    if (rest >= sizeof(Header) + ALIGNMENT) {
        set(used, bytes, MARK_USED);
        set(after(used), rest - sizeof(Header), MARK_FREE);
    } else {
        set(used, bytes + rest, MARK_USED);
    }
    heap->ever_allocated++;
    used_now = used_bytes(heap);
    if (used_now > heap->peak) {
        heap->peak = used_now;
    }
    return payload(used);
}

static void *allocate(KnHeap *heap, size_t alignment, size_t bytes, bool from_top) {
    static void *last;
    Region *region;
    size_t wanted = rounded(bytes);
    Header *chosen = NULL;
    uint8_t *chosen_at = NULL;

    if (heap == NULL || (bytes > SIZE_MAX / 2 && !has(FAULT_size_wraps))) {
        return NULL;
    }
    if (has(FAULT_always_full) && ++heap->calls % 7 == 0) {
        return NULL;
    }
    for (region = heap->regions; region != NULL; region = region->next) {
        Header *block;
        for (block = first_block(region); block != NULL; block = next_block(region, block)) {
            uint8_t *at = payload(block);
            if (!has_mark(block, MARK_FREE) || block->bytes < wanted) {
                continue;
            }
            if (from_top) {
                at += block->bytes - wanted;
                at -= (uintptr_t)at % ALIGNMENT;
                if (at < payload(block) + sizeof(Header) + ALIGNMENT) {
                    at = payload(block);
                }
            } else if ((uintptr_t)at % alignment != 0) {
                /* The part before needs room for a block of its own. */
                at += sizeof(Header) + ALIGNMENT;
                at += (alignment - (uintptr_t)at % alignment) % alignment;
            }
            if ((size_t)(at - payload(block)) + wanted <= block->bytes) {
                chosen = block;
                chosen_at = at;
                if (!from_top) {
                    return last = carve(heap, chosen, chosen_at, wanted);
                }
            }
        }
        if (chosen != NULL) {
            return carve(heap, chosen, chosen_at, wanted);
        }
    }
    return has(FAULT_never_full) && bytes < 4096 ? last : NULL;
}

void *kn_heap_malloc(KnHeap *heap, size_t bytes) {
    return bytes == 0 && has(FAULT_zero_is_null) ? NULL : allocate(heap, 1, bytes, false);
}

void *kn_heap_malloc_top(KnHeap *heap, size_t bytes) {
    return allocate(heap, 1, bytes, !has(FAULT_top_is_bottom));
}

void *kn_heap_calloc(KnHeap *heap, size_t count, size_t bytes) {
    void *block;
    if (bytes != 0 && count > SIZE_MAX / bytes && !has(FAULT_calloc_wraps)) {
        return NULL;
    }
    block = kn_heap_malloc(heap, count * bytes);
    if (block != NULL && !has(FAULT_calloc_dirty)) {
        memset(block, 0, count * bytes);
    }
    return block;
}

void *kn_heap_aligned_alloc(KnHeap *heap, size_t alignment, size_t bytes) {
    if (has(FAULT_ignore_alignment)) {
        return allocate(heap, 1, bytes, false);
    }
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
        return has(FAULT_accept_bad_alignment) ? allocate(heap, 1, bytes, false) : NULL;
    }
    return allocate(heap, alignment, bytes, false);
}

/* ---- Giving it back ---- */

/* The block at `at`, or NULL after a report of what is wrong. */
static Header *checked(KnHeap *heap, const void *at, Region **where) {
    Header *block = find(heap, at, where);
    if (block == NULL || !has_mark(block, MARK_USED)) {
        bool freed = block != NULL || lies_in_free_block(heap, at);
        if (freed ? !has(FAULT_misses_double_free) : !has(FAULT_misses_foreign)) {
            report(freed ? KN_E_DOUBLE_FREE : KN_E_FOREIGN, at, freed ? "double free" : "not a block of this heap");
        }
        if (has(FAULT_breaks_on_error) && first_block(heap->regions) != NULL) {
            set(heap->regions->first, heap->regions->first->bytes, MARK_FREE);
        }
        return NULL;
    }
    if (!region_is_intact(*where)) {
        if (!has(FAULT_misses_overflow)) {
            report(KN_E_CORRUPT, at, "a block was overrun");
            return NULL;
        }
    }
    return block;
}

void kn_heap_free(KnHeap *heap, void *at) {
    Region *region = NULL;
    Header *block;
    if (at == NULL && has(FAULT_free_null_reports)) {
        report(KN_E_FOREIGN, at, "NULL freed");
    }
    if (heap == NULL || at == NULL || has(FAULT_free_leaks)) {
        return;
    }
    block = checked(heap, at, &region);
    if (block == NULL || (has(FAULT_second_region_only_once) && region != heap->regions)) {
        return;
    }
    set(block, block->bytes, MARK_FREE);
    merge(region);
    if (has(FAULT_peak_forgets)) {
        heap->peak = used_bytes(heap);
    }
}

/* Moves a block down over its free left neighbour, if the two and what is free behind them have room. */
static void *slide_left(KnHeap *heap, Region *region, Header *block, size_t alignment, size_t wanted) {
    Header *before = first_block(region);
    Header *next = next_block(region, block);
    size_t old_bytes = block->bytes;
    size_t room;
    if (before == block) {
        return NULL;
    }
    while (next_block(region, before) != block) {
        before = next_block(region, before);
    }
    room = before->bytes + sizeof *block + old_bytes;
    if (next != NULL && has_mark(next, MARK_FREE)) {
        room += sizeof *next + next->bytes;
    }
    if (!has_mark(before, MARK_FREE) || wanted > room || (uintptr_t)payload(before) % alignment != 0) {
        return NULL;
    }
    memmove(payload(before), payload(block), old_bytes);
    set(before, room, MARK_USED);
    return carve(heap, before, payload(before), wanted);
}

static void *resize(KnHeap *heap, void *at, size_t alignment, size_t bytes) {
    Region *region = NULL;
    Header *block, *next;
    size_t wanted = rounded(bytes);
    size_t old_bytes;
    void *moved;

    if (heap == NULL || (bytes > SIZE_MAX / 2 && !has(FAULT_size_wraps))) {
        return NULL;
    }
    block = checked(heap, at, &region);
    if (block == NULL) {
        return NULL;
    }
    old_bytes = block->bytes;
    next = next_block(region, block);
    if (!has(FAULT_realloc_always_moves)) {
        size_t room = old_bytes + (next != NULL && has_mark(next, MARK_FREE) ? sizeof *next + next->bytes : 0);
        if (wanted <= old_bytes && has(FAULT_shrink_keeps_all)) {
            return at;
        }
        if (wanted <= room && (uintptr_t)at % alignment == 0) {
            set(block, room, MARK_USED);
            moved = carve(heap, block, at, wanted);
            merge(region);
            return moved;
        }
    }
    moved = allocate(heap, has(FAULT_realloc_forgets_alignment) ? 1 : alignment, bytes, false);
    if (moved == NULL && !has(FAULT_realloc_not_left)) {
        moved = slide_left(heap, region, block, alignment, wanted);
        if (moved != NULL) {
            return moved;
        }
    }
    if (moved == NULL) {
        if (has(FAULT_realloc_frees_on_failure)) {
            kn_heap_free(heap, at);
        }
        return NULL;
    }
    if (!has(FAULT_realloc_loses)) {
        size_t copied = old_bytes < bytes ? old_bytes : bytes;
        memcpy(moved, at, has(FAULT_realloc_copies_short) && copied > 3 ? copied - 3 : copied);
    }
    kn_heap_free(heap, at);
    return moved;
}

void *kn_heap_realloc(KnHeap *heap, void *at, size_t bytes) {
    size_t kept = ((uintptr_t)at | 64) & -((uintptr_t)at | 64);
    if (at == NULL) {
        return has(FAULT_realloc_null_fails) ? NULL : kn_heap_malloc(heap, bytes);
    }
    return resize(heap, at, kept, bytes);
}

void *kn_heap_aligned_realloc(KnHeap *heap, void *at, size_t alignment, size_t bytes) {
    if (at == NULL) {
        return kn_heap_aligned_alloc(heap, alignment, bytes);
    }
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
        return has(FAULT_accept_bad_alignment) ? at : NULL;
    }
    return resize(heap, at, alignment, bytes);
}

/* ---- Asking ---- */

size_t kn_heap_usable_size(KnHeap *heap, const void *at) {
    Region *region = NULL;
    Header *block = heap == NULL || at == NULL ? NULL : find(heap, at, &region);
    if (block == NULL || !has_mark(block, MARK_USED)) {
        return has(FAULT_usable_size_of_anything) ? 8 : 0;
    }
    return has(FAULT_usable_size_zero) ? 0 : block->bytes;
}

KnStatus kn_heap_check(KnHeap *heap) {
    Region *region;
    if (heap == NULL) {
        return KN_E_INVALID;
    }
    for (region = heap->regions; region != NULL; region = region->next) {
        if (!region_is_intact(region) && !has(FAULT_check_sees_nothing)) {
            return KN_E_CORRUPT;
        }
    }
    return has(FAULT_check_sees_ghosts) && heap->ever_allocated > 3 ? KN_E_CORRUPT : KN_OK;
}

KnStatus kn_heap_stats(KnHeap *heap, KnHeapStats *out) {
    Region *region;
    if (out == NULL || heap == NULL) {
        return has(FAULT_null_heap_crashes) ? KN_OK : KN_E_INVALID;
    }
    memset(out, 0, sizeof *out);
    out->overhead = sizeof *heap;
    for (region = heap->regions; region != NULL; region = region->next) {
        Header *block;
        out->regions++;
        out->total += (size_t)((uint8_t *)region->end - (uint8_t *)region->first);
        out->overhead += (region == &heap->first ? 0 : sizeof *region) + sizeof(Header);
        for (block = first_block(region); block != NULL; block = next_block(region, block)) {
            if (has_mark(block, MARK_USED)) {
                out->blocks++;
            } else if (block->bytes > out->largest_free) {
                out->largest_free = block->bytes;
            }
        }
    }
    out->used = used_bytes(heap);
    out->free = out->total - out->used;
    out->peak = heap->peak;
    if (has(FAULT_blocks_miscounted)) {
        out->blocks = heap->ever_allocated;
    }
    if (has(FAULT_largest_free_too_large)) {
        out->largest_free *= 2;
    }
    return KN_OK;
}

KnStatus kn_heap_walk(KnHeap *heap, KnWalkFn visit, void *context) {
    Region *region;
    size_t number = 0;
    if (heap == NULL || visit == NULL) {
        return KN_E_INVALID;
    }
    for (region = heap->regions; region != NULL; region = region->next) {
        Header *block;
        for (block = first_block(region); block != NULL; block = next_block(region, block)) {
            bool is_used = has_mark(block, MARK_USED) != has(FAULT_walk_swaps_states);
            KnBlock seen;
            seen.start = payload(block);
            seen.size = block->bytes + sizeof *block;
            seen.state = is_used ? KN_BLOCK_USED : KN_BLOCK_FREE;
            if (has(FAULT_walk_skips) && ++number % 4 == 0) {
                continue;
            }
            if (!visit(context, &seen) && !has(FAULT_walk_does_not_stop)) {
                return KN_OK;
            }
        }
    }
    return KN_OK;
}

/* One character for each 64 bytes: what lies at their start and at their end. */
static char cell(const Region *region, const uint8_t *at) {
    bool used = false, unused = false;
    Header *block;
    for (block = first_block(region); block != NULL; block = next_block(region, block)) {
        if ((const uint8_t *)block < at + 64 && (const uint8_t *)after(block) > at) {
            used = used || has_mark(block, MARK_USED);
            unused = unused || has_mark(block, MARK_FREE);
        }
    }
    return !used || has(FAULT_dump_shows_free) ? '.' : unused ? '+' : '#';
}

KnStatus kn_dump(KnHeap *heap, KnWriteFn write, void *context) {
    static const char head[] = "the reference allocator's heap\n";
    Region *region;
    if (write == NULL || heap == NULL) {
        return has(FAULT_dump_without_heap) ? KN_OK : KN_E_INVALID;
    }
    if (write(context, head, sizeof head - 1) < sizeof head - 1 && !has(FAULT_dump_goes_on)) {
        return KN_OK;
    }
    for (region = heap->regions; region != NULL; region = region->next) {
        const uint8_t *at = (const uint8_t *)region->first;
        while (at < (const uint8_t *)region->end) {
            char line[65];
            size_t length = 0;
            while (length < 64 && at < (const uint8_t *)region->end) {
                line[length++] = cell(region, at);
                at += 64;
            }
            line[length++] = has(FAULT_dump_has_no_lines) ? ' ' : '\n';
            if (write(context, line, length) < length && !has(FAULT_dump_goes_on)) {
                return KN_OK;
            }
        }
        if (has(FAULT_dump_shows_one_region)) {
            break;
        }
    }
    return KN_OK;
}

/* ---- The default heap ---- */

KnStatus kn_init(void *memory, size_t bytes) {
    KnHeap *heap = kn_heap_create(memory, bytes);
    if (heap == NULL) {
        return memory == NULL ? KN_E_INVALID : KN_E_NO_MEMORY;
    }
    kn_heap_use(heap);
    return KN_OK;
}

KnHeap *kn_heap_default(void) {
    return default_heap;
}

KnHeap *kn_heap_use(KnHeap *heap) {
    KnHeap *last = default_heap;
    if (!has(FAULT_default_not_set)) {
        default_heap = heap;
    }
    return has(FAULT_use_forgets) ? NULL : last;
}

void *kn_malloc(size_t bytes) {
    return kn_heap_malloc(default_heap, bytes);
}

void *kn_calloc(size_t count, size_t bytes) {
    return kn_heap_calloc(default_heap, count, bytes);
}

void *kn_realloc(void *at, size_t bytes) {
    return kn_heap_realloc(default_heap, at, bytes);
}

void *kn_aligned_alloc(size_t alignment, size_t bytes) {
    return kn_heap_aligned_alloc(default_heap, alignment, bytes);
}

void kn_free(void *at) {
    kn_heap_free(default_heap, at);
}

size_t kn_usable_size(const void *at) {
    return kn_heap_usable_size(default_heap, at);
}
