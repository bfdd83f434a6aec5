/*
 * A traced heap in place of Knoll's, so simple that it can be seen to be right, and with faults to choose from: the proof
 * that the tests of traced memory can fail.
 *
 * As in counted.c the linker is told to --wrap each function below. What is known of granules lies outside the heap's
 * memory, a byte for each; searches go from one end to the other; what is to be looked into waits in a list.
 */
#include "knoll.h"

#define FAULTS "traced_faults.h"
#include "choose.h"

/* The declaration of the library's function and of ours. */
#define WRAPPED(type, name, ...)                                                                                       \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

enum { HEADER = 128, MOST_AREAS = 6, MOST_GREY = 1 << 16, WORD = sizeof(void *), MOST_HEAPS = 64 };
enum { FREE, HEAD, TAIL };
enum { MARKED = 16, DEAD = 32, NEW = 64 }; /* beside KN_FINALISE and KN_NO_SCAN */
enum { IDLE, MARKING, ENDING };

typedef struct Area {
    uint8_t *base, *state, *flags;
    size_t count, granule, cursor, floor;
    size_t low; /* no granule below is free */
} Area;

typedef struct Heap {
    Area areas[MOST_AREAS];
    size_t area_count;
    KnTracedConfig config;
    size_t locks, scopes, lasting, since, total_since, collections, freed, ticks;
    int phase;
    uint8_t *resized; /* the block that is being moved */
    bool draining;
    size_t abandoned;
    uintptr_t frame; /* of a call that is inside a hook of a collection; 0: none is */
} Heap;

static KnErrorFn hook;
static struct {
    Area *area;
    size_t granule;
} grey[MOST_GREY];
static size_t grey_count;

WRAPPED(void, kn_on_error, KnErrorFn wanted) {
    hook = wanted;
    __real_kn_on_error(wanted);
}

static void report(KnStatus status, const void *at) {
    if (hook != NULL && !(status == KN_E_ORDER && has(FAULT_order_unnoticed)) &&
        !(status != KN_E_ORDER && has(FAULT_free_silent))) {
        status = status == KN_E_DOUBLE_FREE && has(FAULT_free_foreign) ? KN_E_FOREIGN : status;
        hook(status, at, "the stand-in");
    }
}

static Heap *heap_of(const KnTraced *heap) {
    Heap *found;
    memcpy(&found, heap, sizeof found);
    return found;
}

static bool now(Heap *heap, Fault fault, size_t every) {
    return has(fault) && ++heap->ticks % every == 0;
}

static bool is_inside(const Heap *heap) {
    uint8_t here = 0;
    return heap->frame != 0 && (uintptr_t)&here < heap->frame;
}

/* ---- Areas ---- */

static bool make_area(Area *area, uint8_t *memory, size_t bytes, size_t granule, size_t header) {
    size_t pad;
    memset(area, 0, sizeof *area);
    header = bytes < 2000 && has(FAULT_create_too_small) ? 32 : header;
    if (bytes <= header) {
        return false;
    }
    pad = (granule - (uintptr_t)(memory + header) % granule) % granule;
    if (bytes < header + pad + granule) {
        return false;
    }
    area->base = memory + header + pad + (has(FAULT_unaligned) && granule > 8 ? WORD / 2 : 0);
    area->count = (bytes - header - pad) / granule - (has(FAULT_unaligned) || has(FAULT_last_granule));
    area->count += has(FAULT_create_too_small) && bytes < 1400;
    area->granule = granule;
    area->floor = SIZE_MAX;
    area->state = calloc(2, area->count + 1);
    area->flags = area->state + area->count + 1;
    area->cursor = area->count;
    return area->count > 0;
}

/* The area and granule of an address; false: none. */
static bool place_of(Heap *heap, uintptr_t at, Area **area, size_t *granule) {
    size_t i;
    for (i = 0; i < heap->area_count; i++) {
        *area = &heap->areas[i];
        if (at >= (uintptr_t)(*area)->base && at - (uintptr_t)(*area)->base < (*area)->count * (*area)->granule) {
            *granule = (at - (uintptr_t)(*area)->base) / (*area)->granule;
            return true;
        }
    }
    return false;
}

static uint8_t *address(const Area *area, size_t granule) {
    return area->base + granule * area->granule;
}

static size_t end_of(const Area *area, size_t granule) {
    do {
        granule++;
    } while (granule < area->count && area->state[granule] == TAIL);
    return granule;
}

/* The block that starts at the address, dead or alive. */
static bool head_at(Heap *heap, const void *at, Area **area, size_t *granule) {
    if (!place_of(heap, (uintptr_t)at, area, granule)) {
        return false;
    }
    while (has(FAULT_size_of_inside) && (*area)->state[*granule] == TAIL) {
        --*granule;
        at = address(*area, *granule);
    }
    return (*area)->state[*granule] == HEAD && address(*area, *granule) == at;
}

static bool live_at(Heap *heap, const void *at, Area **area, size_t *granule) {
    return head_at(heap, at, area, granule) &&
           (((*area)->flags[*granule] & DEAD) == 0 || has(FAULT_dead_alive));
}

static void vacate(Area *area, size_t from, size_t to) {
    memset(area->state + from, FREE, to - from);
    memset(area->flags + from, 0, to - from);
    area->low = from < to && from < area->low ? from : area->low;
}

static bool is_free(const Area *area, size_t from, size_t to) {
    for (; from < to; from++) {
        if (from >= area->count || area->state[from] != FREE) {
            return false;
        }
    }
    return true;
}

/* ---- Sweeping ---- */

static bool sweep(Heap *heap, size_t granules) {
    size_t i;
    for (i = 0; i < heap->area_count; i++) {
        Area *area = &heap->areas[i];
        for (; area->cursor < area->count; area->cursor++) {
            size_t at = area->cursor;
            if (granules-- == 0) {
                return false;
            }
            if (area->state[at] == HEAD && ((area->flags[at] & DEAD) != 0 ||
                                            ((area->flags[at] & NEW) != 0 && now(heap, FAULT_slice_loses, 9)))) {
                vacate(area, at, end_of(area, at));
                heap->freed++;
            }
        }
    }
    return true;
}

static void sweep_all(Heap *heap) {
    (void)sweep(heap, SIZE_MAX / 2);
}

/* ---- Making heaps ---- */

WRAPPED(KnTraced *, kn_traced_create, void *memory, size_t bytes, const KnTracedConfig *config) {
    static Heap *ring[MOST_HEAPS];
    static size_t next;
    uint8_t *at = memory;
    Heap *heap = calloc(1, sizeof *heap);
    size_t granule, pad = memory == NULL ? 0 : (16 - (uintptr_t)at % 16) % 16, i;
    if (config != NULL) {
        heap->config = *config;
    }
    granule = heap->config.granule == 0 ? 16 : heap->config.granule;
    if (memory == NULL || (granule != 8 && granule != 16 && granule != 32 && !has(FAULT_create_any_granule)) ||
        (heap->config.flags > 3 && !has(FAULT_create_any_flag)) || bytes < HEADER + 16 ||
        !make_area(&heap->areas[0], at + pad, bytes - pad, granule > 32 ? 16 : granule, HEADER)) {
        free(heap);
        return NULL;
    }
    heap->config.granule = (uint32_t)granule;
    heap->area_count = 1;
    if (has(FAULT_writes_before)) {
        at[-1] = 0;
    }
    memcpy(at + pad, &heap, sizeof(Heap *));
    if (ring[next] != NULL) {
        for (i = 0; i < ring[next]->area_count; i++) {
            free(ring[next]->areas[i].state);
        }
        free(ring[next]);
    }
    ring[next] = heap;
    next = (next + 1) % MOST_HEAPS;
    return (KnTraced *)(void *)(at + pad);
}

WRAPPED(KnStatus, kn_traced_add_area, KnTraced *traced, void *memory, size_t bytes, uint32_t granule) {
    Heap *heap;
    size_t i;
    if (traced == NULL) {
        return has(FAULT_null_heap) ? KN_OK : KN_E_INVALID;
    }
    heap = heap_of(traced);
    granule = granule == 0 || has(FAULT_area_granule) ? heap->config.granule : granule;
    if (memory == NULL || (granule != 8 && granule != 16 && granule != 32 && !has(FAULT_create_any_granule))) {
        return KN_E_INVALID;
    }
    if (heap->phase != IDLE) {
        return KN_E_ORDER;
    }
    granule = granule > 32 ? 16 : granule;
    for (i = 0; i < heap->area_count && !has(FAULT_area_again); i++) {
        const Area *area = &heap->areas[i];
        const uint8_t *from = i == 0 ? (const uint8_t *)traced : area->base, *at = memory;
        if (bytes > SIZE_MAX - (uintptr_t)at || (at < area->base + area->count * area->granule && from < at + bytes)) {
            return KN_E_INVALID;
        }
    }
    if (heap->area_count == MOST_AREAS || !make_area(&heap->areas[heap->area_count], memory, bytes, granule, 64)) {
        return KN_E_NO_MEMORY;
    }
    heap->area_count++;
    return KN_OK;
}

/* ---- Allocating ---- */

static bool is_transient_now(const Heap *heap) {
    return heap->scopes > 0 && heap->lasting == 0 && !has(FAULT_sides_ignored);
}

static uint8_t *place(Heap *heap, size_t size, uint32_t flags, bool top) {
    size_t i, k;
    for (i = 0; i < (has(FAULT_area_ignored) ? 1 : heap->area_count); i++) {
        Area *area = &heap->areas[i];
        size_t count = has(FAULT_huge_wraps) ? (size + area->granule - 1) / area->granule : (size - 1) / area->granule + 1;
        count = (flags & KN_FINALISE) != 0 && count < 2 ? 2 : count == 0 ? 1 : count;
        while (area->low < area->count && area->state[area->low] != FREE) {
            area->low++;
        }
        for (k = top ? 0 : area->low; count <= area->count && k + count <= area->count; k++) {
            size_t at = top ? area->count - count - k : k;
            if (!is_free(area, at, at + count)) {
                continue;
            }
            if (top && has(FAULT_side_full) && at < area->count / 2) {
                break;
            }
            if (at > 0 && area->state[at - 1] == TAIL && now(heap, FAULT_overlap, 20)) {
                at--;
            }
            memset(area->state + at, TAIL, count);
            area->state[at] = HEAD;
            area->flags[at] = (uint8_t)((flags & (KN_FINALISE | KN_NO_SCAN)) | (area->cursor < at ? NEW : 0));
            area->floor = top && at < area->floor ? at : area->floor;
            heap->since += count * area->granule;
            heap->total_since += count * area->granule;
            memset(address(area, at), 0, count * area->granule);
            address(area, at)[count * area->granule - 1] = has(FAULT_dirty);
            return address(area, at);
        }
    }
    return NULL;
}

typedef struct Survey {
    size_t free, largest, last, holes;
    KnTracedPin pins[4];
} Survey;

static void insert_pin(Survey *survey, KnTracedPin pin) {
    size_t i;
    for (i = 0; i < 4; i++) {
        KnTracedPin other = survey->pins[i];
        if (other.size == 0 || (has(FAULT_report_pins) ? pin.harm < other.harm : pin.harm > other.harm)) {
            survey->pins[i] = pin;
            if (other.size == 0) {
                return;
            }
            pin = other;
        }
    }
}

static Survey survey(Heap *heap) {
    Survey found;
    size_t i, at, end;
    memset(&found, 0, sizeof found);
    for (i = 0; i < heap->area_count; i++) {
        Area *area = &heap->areas[i];
        size_t before = 0, last_end = 0;
        for (at = 0; at < area->count; at = end) {
            for (end = at; end < area->count && area->state[end] == FREE; end++) {
            }
            if (end == at) {
                end++;
                continue;
            }
            found.last = (end - at) * area->granule;
            found.free += found.last;
            found.holes++;
            found.largest = found.last > found.largest ? found.last : found.largest;
            if (before > 0) {
                KnTracedPin pin;
                pin.start = address(area, last_end);
                pin.size = (at - last_end) * area->granule;
                pin.harm = before < found.last ? before : found.last;
                insert_pin(&found, pin);
            }
            before = found.last;
            last_end = end;
        }
    }
    return found;
}

static void tell_short(Heap *heap, size_t request, uint32_t flags) {
    KnTracedShort report;
    Survey found = survey(heap);
    memset(&report, 0, sizeof report);
    report.request = has(FAULT_report_request) ? (request + 15) / 16 * 16 : request;
    report.flags = flags;
    report.free = found.free;
    report.largest = has(FAULT_report_largest) ? found.free : found.largest;
    memcpy(report.pins, found.pins, sizeof report.pins);
    report.pin_count = (uint32_t)(found.holes < 2 ? 0 : found.holes > 4 ? 4 : found.holes - 1);
    while (report.pin_count < 4 && report.pins[report.pin_count].size != 0) {
        report.pin_count++;
    }
    while (report.pin_count > 0 && report.pins[report.pin_count - 1].size == 0) {
        report.pin_count--;
    }
    if (heap->config.on_short != NULL && !has(FAULT_tells_nobody)) {
        heap->config.on_short(heap->config.context, &report);
    }
}

static bool ask(Heap *heap) {
    if (heap->config.collect == NULL || has(FAULT_never_asks)) {
        return false;
    }
    heap->since = 0;
    heap->config.collect(heap->config.context);
    if (has(FAULT_asks_twice)) {
        heap->config.collect(heap->config.context);
    }
    return true;
}

static void *allocate(Heap *heap, size_t size, uint32_t flags, bool top) {
    size_t since = has(FAULT_threshold_late) ? heap->total_since : heap->since;
    bool due = heap->config.threshold != 0 && since >= heap->config.threshold && !has(FAULT_threshold_ignored);
    bool asked = false;
    uint8_t *at;
    if (size == 0 && has(FAULT_zero_size)) {
        size = 1;
    }
    if (size == 0 || (heap->locks > 0 && !has(FAULT_lock_allows)) ||
        (heap->phase != IDLE && !(has(FAULT_finaliser_allocates) && heap->phase == ENDING))) {
        return NULL;
    }
    if (now(heap, FAULT_refuses, 50)) {
        return NULL;
    }
    if (due || ((heap->config.flags & KN_TRACED_STRESS) != 0 && !has(FAULT_stress_ignored))) {
        asked = ask(heap);
    }
    for (;;) {
        at = place(heap, size, flags, top);
        if (at == NULL) {
            sweep_all(heap);
            at = place(heap, size, flags, top);
        }
        if (at != NULL || asked || !ask(heap)) {
            break;
        }
        asked = true;
    }
    if (at == NULL) {
        tell_short(heap, size, flags);
    }
    return at;
}

WRAPPED(void *, kn_traced_alloc, KnTraced *traced, size_t size, uint32_t flags) {
    Heap *heap;
    bool lasting = (flags & KN_LONG_LIVED) != 0 && !has(FAULT_sides_lasting);
    if (traced == NULL) {
        return NULL;
    }
    heap = heap_of(traced);
    return allocate(heap, size, flags, is_transient_now(heap) && !lasting);
}

WRAPPED(void, kn_traced_free, KnTraced *traced, void *block) {
    Heap *heap = traced == NULL ? NULL : heap_of(traced);
    Area *area;
    size_t granule;
    if (heap == NULL || block == NULL || (heap->locks > 0 && heap->phase != ENDING && !has(FAULT_lock_frees)) ||
        heap->phase == MARKING || (heap->phase == ENDING && has(FAULT_finaliser_can_not_free))) {
        return;
    }
    if (has(FAULT_free_trusts) && place_of(heap, (uintptr_t)block, &area, &granule)) {
        vacate(area, granule, end_of(area, granule));
        return;
    }
    if (!head_at(heap, block, &area, &granule) || (area->flags[granule] & DEAD) != 0) {
        bool known = place_of(heap, (uintptr_t)block, &area, &granule) && address(area, granule) == block &&
                     area->state[granule] == FREE;
        report(known ? KN_E_DOUBLE_FREE : KN_E_FOREIGN, block);
        return;
    }
    if (has(FAULT_free_finalises) && (area->flags[granule] & KN_FINALISE) != 0) {
        heap->config.finalise(heap->config.context, block);
    }
    if (has(FAULT_free_leaks) && end_of(area, granule) > granule + 1) {
        size_t end = end_of(area, granule);
        vacate(area, granule, end - 1);
        area->state[end - 1] = HEAD;
        return;
    }
    vacate(area, granule, end_of(area, granule));
}

WRAPPED(void *, kn_traced_realloc, KnTraced *traced, void *block, size_t size, bool allow_move) {
    Heap *heap = traced == NULL ? NULL : heap_of(traced);
    Area *area;
    size_t granule, end, had, want, more;
    uint32_t flags;
    uint8_t *moved;
    bool top;
    if (heap == NULL) {
        return NULL;
    }
    if (block == NULL) {
        return allocate(heap, size, 0, is_transient_now(heap));
    }
    if (size == 0) {
        __wrap_kn_traced_free(traced, block);
        return NULL;
    }
    if ((heap->locks > 0 && !has(FAULT_lock_allows)) || (heap->phase != IDLE && !has(FAULT_finaliser_allocates))) {
        return NULL;
    }
    if (!live_at(heap, block, &area, &granule)) {
        report(KN_E_FOREIGN, block);
        return NULL;
    }
    end = end_of(area, granule);
    had = end - granule;
    flags = area->flags[granule] & (KN_FINALISE | KN_NO_SCAN);
    want = (size - 1) / area->granule + 1;
    want = (flags & KN_FINALISE) != 0 && want < 2 ? 2 : want;
    if (want <= had) {
        if (!has(FAULT_shrink_keeps)) {
            vacate(area, granule + want, end);
        }
        return block;
    }
    more = want - had - (has(FAULT_grows_too_far) ? 1 : 0);
    if (want <= area->count && is_free(area, end, end + more) && end + want - had <= area->count &&
        !(allow_move && has(FAULT_moves_always))) {
        memset(area->state + end, TAIL, want - had);
        if (!has(FAULT_dirty_growth)) {
            memset(address(area, end), 0, (want - had) * area->granule);
        } else {
            memset(address(area, end), 0x11, (want - had) * area->granule);
        }
        heap->since += (want - had) * area->granule;
        heap->total_since += (want - had) * area->granule;
        return block;
    }
    if ((!allow_move && !has(FAULT_moves_forbidden)) || has(FAULT_moves_never)) {
        return NULL;
    }
    top = is_transient_now(heap) && (granule >= area->floor || has(FAULT_sides_resize));
    heap->resized = has(FAULT_resize_loses) ? NULL : block;
    moved = allocate(heap, size, has(FAULT_flags_lost_by_resize) ? 0 : flags, top);
    heap->resized = NULL;
    if (moved != NULL) {
        memcpy(moved, block, had * area->granule - (has(FAULT_move_forgets) ? WORD : 0));
        vacate(area, granule, end_of(area, granule));
    }
    return moved;
}

/* ---- Questions ---- */

WRAPPED(size_t, kn_traced_size, KnTraced *traced, const void *block) {
    Area *area;
    size_t granule;
    if (traced == NULL || !live_at(heap_of(traced), block, &area, &granule)) {
        return 0;
    }
    return (end_of(area, granule) - granule - has(FAULT_size_short)) * area->granule;
}

WRAPPED(uint32_t, kn_traced_flags, KnTraced *traced, const void *block) {
    Area *area;
    size_t granule;
    if (traced == NULL || has(FAULT_flags_lost) || !live_at(heap_of(traced), block, &area, &granule)) {
        return 0;
    }
    return area->flags[granule] & (KN_FINALISE | KN_NO_SCAN);
}

WRAPPED(bool, kn_traced_no_scan, KnTraced *traced, const void *block) {
    Area *area;
    size_t granule;
    if (traced == NULL || !live_at(heap_of(traced), block, &area, &granule)) {
        return false;
    }
    if (!has(FAULT_no_scan_ignored)) {
        area->flags[granule] |= KN_NO_SCAN;
    }
    return true;
}

WRAPPED(bool, kn_traced_is_marked, KnTraced *traced, const void *block) {
    Area *area;
    size_t granule;
    Heap *heap = traced == NULL ? NULL : heap_of(traced);
    if (heap == NULL || has(FAULT_none_marked)) {
        return false;
    }
    if (has(FAULT_all_marked)) {
        return place_of(heap, (uintptr_t)block, &area, &granule);
    }
    return live_at(heap, block, &area, &granule) && (heap->phase == IDLE || (area->flags[granule] & MARKED) != 0);
}

/* ---- Marking ---- */

static void look_at(Heap *heap, uintptr_t word) {
    Area *area;
    size_t granule, inside;
    bool interior = (heap->config.flags & KN_TRACED_INTERIOR) != 0;
    bool exact, held;
    if (has(FAULT_near_holds) && word % 8 == 1) {
        word--;
    }
    if (has(FAULT_end_holds) && place_of(heap, word - 1, &area, &granule) && area->state[granule] != FREE &&
        (granule + 1 == area->count || area->state[granule + 1] != TAIL) && word % area->granule == 0) {
        word--;
        interior = true;
    }
    if (!place_of(heap, word, &area, &granule) || area->state[granule] == FREE) {
        return;
    }
    exact = area->state[granule] == HEAD && word == (uintptr_t)address(area, granule);
    for (inside = 0; area->state[granule] == TAIL; inside++) {
        granule--;
    }
    held = exact || (interior && !has(FAULT_interior_never) && !(has(FAULT_interior_second) && inside > 1)) ||
           has(FAULT_interior_always);
    if (!held || ((area->flags[granule] & MARKED) != 0 && !(has(FAULT_marks_again) && heap->ticks++ < 5000))) {
        return;
    }
    area->flags[granule] |= MARKED;
    if ((area->flags[granule] & KN_NO_SCAN) != 0 && !has(FAULT_scans_all)) {
        return;
    }
    if (grey_count < MOST_GREY && !has(FAULT_marks_roots_only) && !(has(FAULT_marks_so_deep) && grey_count >= 60)) {
        grey[grey_count].area = area;
        grey[grey_count].granule = granule;
        grey_count++;
    }
}

static void look_into(Heap *heap, Area *area, size_t granule) {
    uint8_t *at = address(area, granule);
    size_t bytes = (end_of(area, granule) - granule) * area->granule, i, step = WORD;
    if (heap->config.trace != NULL && !has(FAULT_hook_unused)) {
        heap->config.trace(heap->config.context, at, bytes);
        return;
    }
    bytes -= has(FAULT_skips_last_word) ? WORD : 0;
    bytes = has(FAULT_skips_far_words) && bytes > 40 * WORD ? 40 * WORD : bytes;
    step = has(FAULT_skips_odd_words) ? 2 * WORD : has(FAULT_looks_between) ? WORD / 2 : WORD;
    for (i = 0; i + WORD <= bytes; i += step) {
        uintptr_t word;
        memcpy(&word, at + i, WORD);
        look_at(heap, word);
    }
}

WRAPPED(void, kn_traced_collect_start, KnTraced *traced) {
    Heap *heap = traced == NULL ? NULL : heap_of(traced);
    size_t i, k;
    if (heap == NULL) {
        return;
    }
    if (is_inside(heap)) {
        report(KN_E_ORDER, traced);
        return;
    }
    heap->frame = 0;
    heap->draining = false;
    grey_count = 0;
    sweep_all(heap);
    for (i = 0; i < heap->area_count; i++) {
        for (k = 0; k < heap->areas[i].count && !has(FAULT_marks_kept); k++) {
            heap->areas[i].flags[k] &= (uint8_t)~(MARKED | NEW);
        }
    }
    heap->phase = MARKING;
}

WRAPPED(void, kn_traced_mark, KnTraced *traced, void *const *words, size_t count) {
    Heap *heap = traced == NULL ? NULL : heap_of(traced);
    size_t i;
    bool outer;
    if (heap == NULL || words == NULL) {
        return;
    }
    if (heap->phase != MARKING) {
        report(KN_E_ORDER, traced);
        return;
    }
    outer = !heap->draining;
    for (i = has(FAULT_skips_first_root); i < count - (has(FAULT_skips_last_root) && count > 0); i++) {
        look_at(heap, (uintptr_t)words[i]);
        while (outer && grey_count > 0) {
            grey_count--;
            heap->draining = true;
            look_into(heap, grey[grey_count].area, grey[grey_count].granule);
            heap->draining = false;
        }
    }
}

/* ---- The end ---- */

static void finalise(Heap *heap, Area *area, size_t granule) {
    uint8_t here = 0;
    size_t times = has(FAULT_finalised_twice) ? 2 : 1, abandoned = heap->abandoned;
    if (!has(FAULT_finalised_each_time)) {
        area->flags[granule] &= (uint8_t)~KN_FINALISE;
    }
    if (has(FAULT_finalised_late)) {
        memset(address(area, granule), 0x5D, 2 * WORD);
    }
    heap->frame = (uintptr_t)&here;
    if (has(FAULT_jump_ends_it)) {
        heap->phase = IDLE;
    }
    heap->locks += has(FAULT_jump_locks);
    while (times-- > 0 && heap->config.finalise != NULL && !has(FAULT_finalised_never)) {
        heap->config.finalise(heap->config.context, address(area, granule));
    }
    heap->locks -= has(FAULT_jump_locks);
    heap->phase = heap->abandoned != abandoned ? IDLE : ENDING;
    heap->frame = 0;
    area->flags[granule] &= (uint8_t)~KN_FINALISE;
}

WRAPPED(void, kn_traced_collect_abandon, KnTraced *traced) {
    Heap *heap = traced == NULL ? NULL : heap_of(traced);
    size_t i, k;
    if (heap == NULL || has(FAULT_abandon_ignored)) {
        return;
    }
    for (i = 0; i < heap->area_count && heap->phase != IDLE; i++) {
        Area *area = &heap->areas[i];
        for (k = 0; k < area->count; k++) {
            if (has(FAULT_abandon_frees) && area->state[k] == HEAD && (area->flags[k] & MARKED) == 0) {
                vacate(area, k, end_of(area, k));
            }
            area->flags[k] &= (uint8_t)~MARKED;
        }
    }
    heap->abandoned++;
    heap->frame = 0;
    heap->phase = IDLE;
    heap->draining = false;
    heap->resized = NULL;
    grey_count = 0;
}

WRAPPED(void, kn_traced_collect_end, KnTraced *traced) {
    Heap *heap = traced == NULL ? NULL : heap_of(traced);
    size_t i, k;
    if (heap == NULL) {
        return;
    }
    if (is_inside(heap) || (heap->phase == IDLE && !has(FAULT_order_collects)) ||
        (heap->phase == MARKING && heap->draining && !has(FAULT_order_torn))) {
        report(KN_E_ORDER, traced);
        return;
    }
    if (heap->resized != NULL) {
        void *const block = heap->resized;
        heap->phase = MARKING;
        __wrap_kn_traced_mark(traced, &block, 1);
    }
    heap->frame = 0;
    heap->phase = ENDING;
    for (i = 0; i < heap->area_count; i++) {
        Area *area = &heap->areas[i];
        for (k = 0; k < area->count; k++) {
            if (area->state[k] == HEAD && (area->flags[k] & KN_FINALISE) != 0 &&
                ((area->flags[k] & MARKED) == 0 || has(FAULT_finalised_live))) {
                finalise(heap, area, k);
                if (heap->phase != ENDING) {
                    return;
                }
            }
        }
    }
    for (i = 0; i < heap->area_count; i++) {
        Area *area = &heap->areas[i];
        for (k = 0; k < area->count; k++) {
            bool dead = area->state[k] == HEAD && (area->flags[k] & MARKED) == 0 && !now(heap, FAULT_garbage_kept, 20);
            if (dead || (area->state[k] == HEAD && now(heap, FAULT_live_freed, 100))) {
                area->flags[k] |= DEAD;
            }
        }
        area->cursor = 0;
    }
    heap->phase = IDLE;
    heap->since = 0;
    heap->freed = 0;
    heap->collections++;
    if (heap->config.slice == 0 || has(FAULT_slice_ignored)) {
        sweep_all(heap);
    }
}

WRAPPED(bool, kn_traced_step, KnTraced *traced, size_t granules) {
    Heap *heap = traced == NULL ? NULL : heap_of(traced);
    if (heap == NULL) {
        return true;
    }
    if (heap->phase != IDLE) {
        return has(FAULT_order_unnoticed);
    }
    granules = has(FAULT_slice_everything) ? SIZE_MAX / 2 : (granules + 63) / 64 * 64;
    (void)sweep(heap, granules);
    /* The end may just have been reached. */
    return sweep(heap, 0) || has(FAULT_slice_lies);
}

WRAPPED(size_t, kn_traced_freed, KnTraced *traced) {
    return traced == NULL || has(FAULT_count_freed) ? 0 : heap_of(traced)->freed;
}

/* ---- Depths ---- */

static void deeper(KnTraced *traced, size_t *depth) {
    if (traced != NULL) {
        ++*depth;
    }
}

static bool higher(KnTraced *traced, size_t *depth) {
    if (*depth == 0) {
        report(KN_E_ORDER, traced);
        return false;
    }
    --*depth;
    return true;
}

WRAPPED(void, kn_traced_lock, KnTraced *traced) {
    if (traced != NULL) {
        deeper(traced, &heap_of(traced)->locks);
    }
}

WRAPPED(void, kn_traced_unlock, KnTraced *traced) {
    if (traced != NULL && higher(traced, &heap_of(traced)->locks) && has(FAULT_lock_flat)) {
        heap_of(traced)->locks = 0;
    }
}

WRAPPED(bool, kn_traced_is_locked, KnTraced *traced) {
    return traced != NULL && (heap_of(traced)->locks > 0 || heap_of(traced)->phase != IDLE);
}

static void forget_floors(Heap *heap) {
    size_t i;
    for (i = 0; i < heap->area_count && heap->scopes == 0; i++) {
        heap->areas[i].floor = SIZE_MAX;
    }
}

WRAPPED(void, kn_traced_scope_begin, KnTraced *traced) {
    if (traced != NULL) {
        forget_floors(heap_of(traced));
        deeper(traced, &heap_of(traced)->scopes);
    }
}

WRAPPED(void, kn_traced_scope_end, KnTraced *traced) {
    if (traced != NULL && higher(traced, &heap_of(traced)->scopes)) {
        forget_floors(heap_of(traced));
    }
}

WRAPPED(void, kn_traced_lasting_begin, KnTraced *traced) {
    if (traced != NULL) {
        deeper(traced, &heap_of(traced)->lasting);
    }
}

WRAPPED(void, kn_traced_lasting_end, KnTraced *traced) {
    if (traced != NULL && higher(traced, &heap_of(traced)->lasting) && has(FAULT_sides_lasting_flat)) {
        heap_of(traced)->lasting = 0;
    }
}

WRAPPED(bool, kn_traced_in_scope, const KnTraced *traced) {
    return traced != NULL && heap_of(traced)->scopes > 0 && heap_of(traced)->lasting == 0;
}

WRAPPED(bool, kn_traced_is_transient, KnTraced *traced, const void *block) {
    Area *area;
    size_t granule;
    return traced != NULL && !has(FAULT_transient_never) && place_of(heap_of(traced), (uintptr_t)block, &area, &granule) &&
           granule >= area->floor;
}

WRAPPED(KnStatus, kn_traced_set_threshold, KnTraced *traced, size_t bytes) {
    if (traced == NULL) {
        return has(FAULT_null_heap) ? KN_OK : KN_E_INVALID;
    }
    heap_of(traced)->config.threshold = bytes;
    heap_of(traced)->since = 0;
    return KN_OK;
}

/* ---- Telling ---- */

WRAPPED(KnStatus, kn_traced_walk, KnTraced *traced, KnWalkFn visit, void *context) {
    size_t i, at, end;
    Heap *heap;
    if (traced == NULL || visit == NULL) {
        return has(FAULT_null_heap) ? KN_OK : KN_E_INVALID;
    }
    heap = heap_of(traced);
    if (heap->phase == MARKING) {
        return has(FAULT_order_unnoticed) ? KN_OK : KN_E_ORDER;
    }
    for (i = 0; i < heap->area_count; i++) {
        Area *area = &heap->areas[i];
        for (at = 0; at < area->count; at = end) {
            KnBlock block;
            bool used = area->state[at] != FREE;
            end = used ? end_of(area, at) : at + 1;
            while (!used && end < area->count && area->state[end] == FREE && !has(FAULT_walk_pieces)) {
                end++;
            }
            block.start = address(area, at);
            block.size = (end - at) * area->granule;
            block.state = used ? KN_BLOCK_USED : KN_BLOCK_FREE;
            if (!visit(context, &block) && !has(FAULT_walk_goes_on)) {
                return KN_OK;
            }
        }
    }
    return KN_OK;
}

static bool count_block(void *context, const KnBlock *block) {
    KnTracedStats *stats = context;
    stats->total += block->size;
    if (block->state == KN_BLOCK_USED) {
        stats->used += block->size;
        stats->blocks++;
        stats->largest_block = block->size > stats->largest_block ? block->size : stats->largest_block;
    }
    return true;
}

WRAPPED(KnStatus, kn_traced_stats, KnTraced *traced, KnTracedStats *out) {
    Heap *heap = traced == NULL ? NULL : heap_of(traced);
    size_t i, k;
    KnStatus status;
    Survey found;
    if (heap == NULL || out == NULL) {
        return has(FAULT_null_heap) ? KN_OK : KN_E_INVALID;
    }
    memset(out, 0, sizeof *out);
    status = __wrap_kn_traced_walk(traced, count_block, out);
    found = survey(heap);
    out->free = found.free;
    out->largest_free = has(FAULT_count_largest) ? found.last : found.largest;
    out->blocks += has(FAULT_count_blocks);
    for (i = 0; i < heap->area_count; i++) {
        Area *area = &heap->areas[i];
        for (k = 0; k < area->count; k++) {
            size_t granules = area->state[k] == HEAD ? end_of(area, k) - k : 0;
            out->one_granule += granules == 1 || (granules == 2 && has(FAULT_count_small));
            out->two_granules += granules == 2;
            out->finalisers += area->state[k] == HEAD && (area->flags[k] & KN_FINALISE) != 0;
        }
        out->unswept += (area->count - area->cursor) * area->granule;
    }
    out->since_collection = heap->config.threshold == 0 ? 0 : heap->since;
    out->freed = __wrap_kn_traced_freed(traced);
    out->collections = heap->collections;
    out->areas = heap->area_count;
    out->scopes = heap->scopes;
    out->granule = heap->config.granule;
    return status;
}

WRAPPED(KnStatus, kn_traced_check, KnTraced *traced) {
    if (traced == NULL) {
        return has(FAULT_null_heap) ? KN_OK : KN_E_INVALID;
    }
    return heap_of(traced)->phase == MARKING && !has(FAULT_order_unnoticed) ? KN_E_ORDER : KN_OK;
}

WRAPPED(size_t, kn_traced_holders, KnTraced *traced, const void *block, KnHolderFn visit, void *context) {
    Heap *heap = traced == NULL ? NULL : heap_of(traced);
    size_t count = 0, i, k, byte;
    for (i = 0; heap != NULL && block != NULL && i < heap->area_count; i++) {
        Area *area = &heap->areas[i];
        for (k = 0; k < area->count; k++) {
            uint8_t *start = address(area, k);
            size_t bytes;
            if (area->state[k] != HEAD || (area->flags[k] & DEAD) != 0 ||
                ((area->flags[k] & KN_NO_SCAN) != 0 && !has(FAULT_holders_all))) {
                continue;
            }
            bytes = has(FAULT_holders_heads) ? WORD : (end_of(area, k) - k) * area->granule;
            for (byte = 0; byte < bytes; byte += WORD) {
                uintptr_t word;
                memcpy(&word, start + byte, WORD);
                if (word == (uintptr_t)block) {
                    count++;
                    if (visit != NULL && !visit(context, start, start + byte)) {
                        return count;
                    }
                }
            }
        }
    }
    return count;
}

/* Gives a text in lines. */
static KnStatus tell(const char *text, KnWriteFn write, void *context) {
    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        size_t length = end == NULL ? strlen(text) : (size_t)(end - text) + 1;
        if (write(context, text, length) < length && !has(FAULT_witness_goes_on)) {
            break;
        }
        text += length;
    }
    return KN_OK;
}

WRAPPED(KnStatus, kn_traced_dump, KnTraced *traced, KnWriteFn write, void *context) {
    KnTracedStats stats;
    KnStatus status;
    char text[400];
    if (traced == NULL || write == NULL) {
        return has(FAULT_null_heap) ? KN_OK : KN_E_INVALID;
    }
    status = __wrap_kn_traced_stats(traced, &stats);
    if (status != KN_OK) {
        return status;
    }
    snprintf(text, sizeof text, "traced: %lu bytes, %lu used in %lu blocks, %lu free, largest %lu\n|###...|\n",
             (unsigned long)stats.total, (unsigned long)(has(FAULT_map_numbers) ? stats.free : stats.used),
             (unsigned long)stats.blocks, (unsigned long)stats.free, (unsigned long)stats.largest_free);
    return tell(text, write, context);
}

WRAPPED(KnStatus, kn_traced_witness, KnTraced *traced, KnWriteFn write, void *context) {
    KnTracedStats stats;
    KnStatus status;
    Survey found;
    char text[1000];
    if (traced == NULL || write == NULL) {
        return has(FAULT_null_heap) ? KN_OK : KN_E_INVALID;
    }
    status = __wrap_kn_traced_stats(traced, &stats);
    if (status != KN_OK) {
        return status;
    }
    found = survey(heap_of(traced));
    snprintf(text, sizeof text,
             "{\"format\": \"knoll-traced\",\n \"version\": 1, \"granule\": %lu,\n \"total\": %lu,\n \"used\": %lu,\n"
             " \"free\": %lu, \"largest_free\": %lu, \"permille\": %lu,\n \"blocks\": %lu, \"holes\": %lu,\n"
             " \"pins\": [{\"harm\": %lu}]}\n",
             (unsigned long)stats.granule, (unsigned long)stats.total, (unsigned long)stats.used,
             (unsigned long)stats.free, (unsigned long)stats.largest_free,
             (unsigned long)(stats.largest_free * 1000 / (stats.free + (stats.free == 0))), (unsigned long)stats.blocks,
             (unsigned long)(found.holes - has(FAULT_witness_holes)), (unsigned long)found.pins[0].harm);
    return tell(text, write, context);
}
