/*
 * What the traced heap of traced.c tells of itself: walks, numbers, whether it is sound, who holds a block. For traced.c
 * alone.
 */
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
