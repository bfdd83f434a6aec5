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

#include "traced_areas.h"

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

/* ---- Collections ---- */

#include "traced_collection.h"

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

#include "traced_telling.h"
