/*
 * A collection in the traced heap of traced.c: marking with a list that grows, finalisers, the end, and what gives it up. For
 * traced.c alone.
 */
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
