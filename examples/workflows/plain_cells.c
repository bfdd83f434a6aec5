/* See plain_cells.h.
 *
 * A cell's place in the memory, in granules of 8 bytes, is its number: bits and scratch memory of the collector are
 * arrays outside the heap, one element for each granule. The collector is the textbook's, in four passes:
 *
 *   1. each count less the references that cells hold: what is left comes from outside
 *   2. cells with something left are reached, and all that they refer to, over and over
 *   3. reached cells' references are counted again
 *   4. what was not reached is garbage, and freed
 */
#include "plain_cells.h"

#include "memory.h"

#include <string.h>

enum { GRANULE = 8, GRANULES = MEMORY_CAPACITY / GRANULE, MOST_TYPES = 16, NONE = UINT32_MAX };

typedef struct Header {
    uint32_t count; /* of a dead cell that waits: the number of the next one */
    uint32_t type_and_bytes;
} Header;

enum { TYPE_BITS = 4 };

static const KnType *types[MOST_TYPES];
static unsigned registered;
static size_t living;
static uint8_t starts[GRANULES / 8 + 1], reached[GRANULES / 8 + 1];
static uint32_t to_visit[GRANULES];

static Header *header_of(const void *cell)
{
    return (Header *)cell - 1;
}

static uint32_t number_of(const Header *header)
{
    return (uint32_t)((size_t)((const unsigned char *)header - memory) / GRANULE);
}

static Header *numbered(uint32_t number)
{
    return (Header *)(void *)(memory + (size_t)number * GRANULE);
}

static bool bit(const uint8_t *bits, uint32_t number)
{
    return (bits[number / 8] >> number % 8 & 1) != 0;
}

static void set_bit(uint8_t *bits, uint32_t number, bool on)
{
    uint8_t mask = (uint8_t)(1u << number % 8);
    bits[number / 8] = (uint8_t)(on ? bits[number / 8] | mask : bits[number / 8] & ~mask);
}

KnTypeId plain_type(const void *cell)
{
    return cell != NULL ? header_of(cell)->type_and_bytes & ((1u << TYPE_BITS) - 1) : 0;
}

size_t plain_size(const void *cell)
{
    return cell != NULL ? header_of(cell)->type_and_bytes >> TYPE_BITS : 0;
}

size_t plain_cells(void)
{
    return living;
}

KnTypeId plain_register(const KnType *type)
{
    unsigned i;
    for (i = 1; i <= registered; i++) {
        if (types[i] == type) {
            return i;
        }
    }
    if (registered + 1 == MOST_TYPES) {
        return 0;
    }
    types[++registered] = type;
    return registered;
}

static Header *place(KnTypeId type, size_t bytes)
{
    Header *header = bytes < (1u << (32 - TYPE_BITS)) ? workflow_allocate(sizeof *header + bytes) : NULL;
    if (header != NULL) {
        memset(header + 1, 0, bytes);
        header->count = 1;
        header->type_and_bytes = (uint32_t)bytes << TYPE_BITS | type;
        set_bit(starts, number_of(header), true);
        living++;
    }
    return header;
}

void *plain_new(KnTypeId type, size_t bytes)
{
    Header *header;
    bytes = bytes > 0 ? bytes : types[type]->size;
    header = place(type, bytes);
    if (header == NULL) {
        plain_collect();
        header = place(type, bytes);
    }
    return header != NULL ? header + 1 : NULL;
}

/* ---------------------------------------------------------------- counting */

/* A cell's references are numbered: the fields, then the elements of an array. NULL: there are no more. */
static void **slot_of(void *cell, uint32_t index)
{
    const KnType *type = types[plain_type(cell)];
    size_t at;
    if (index < type->ref_count) {
        return (void **)(void *)((char *)cell + type->ref_offsets[index]);
    }
    if ((type->flags & KN_TYPE_ARRAY) == 0) {
        return NULL;
    }
    at = type->size + (index - type->ref_count) * sizeof(void *);
    return at + sizeof(void *) <= plain_size(cell) ? (void **)(void *)((char *)cell + at) : NULL;
}

static void give_back(Header *header)
{
    set_bit(starts, number_of(header), false);
    living--;
    workflow_release(header, sizeof *header + plain_size(header + 1));
}

/* Counts one reference less; a cell that was the last of it joins those that wait. */
static uint32_t let_go(void *cell, uint32_t waiting)
{
    Header *header;
    if (cell == NULL || --(header = header_of(cell))->count > 0) {
        return waiting;
    }
    header->count = waiting;
    return number_of(header);
}

static uint32_t let_go_of_contents(void *cell, uint32_t waiting)
{
    uint32_t i;
    void **slot;
    for (i = 0; (slot = slot_of(cell, i)) != NULL; i++) {
        waiting = let_go(*slot, waiting);
    }
    return waiting;
}

static void free_waiting(uint32_t waiting)
{
    while (waiting != NONE) {
        Header *header = numbered(waiting);
        waiting = let_go_of_contents(header + 1, header->count);
        give_back(header);
    }
}

void *plain_ref(void *cell)
{
    if (cell != NULL) {
        header_of(cell)->count++;
    }
    return cell;
}

void plain_unref(void *cell)
{
    free_waiting(let_go(cell, NONE));
}

void plain_assign(void **slot, void *cell)
{
    void *last = *slot;
    *slot = plain_ref(cell);
    plain_unref(last);
}

void *plain_move(void **slot)
{
    void *cell = *slot;
    *slot = NULL;
    return cell;
}

void *plain_drop_reuse(void *cell)
{
    if (cell == NULL || header_of(cell)->count > 1) {
        plain_unref(cell);
        return NULL;
    }
    free_waiting(let_go_of_contents(cell, NONE));
    memset(cell, 0, plain_size(cell));
    return cell;
}

/* ---------------------------------------------------------------- collecting cycles */

/* The next cell behind a place; NONE: there is none. */
static uint32_t next_cell(uint32_t number)
{
    while (number < GRANULES && !bit(starts, number)) {
        number = starts[number / 8] == 0 ? (number / 8 + 1) * 8 : number + 1;
    }
    return number < GRANULES ? number : NONE;
}

static void count_contents(void *cell, uint32_t by)
{
    uint32_t i;
    void **slot;
    for (i = 0; (slot = slot_of(cell, i)) != NULL; i++) {
        if (*slot != NULL) {
            header_of(*slot)->count += by;
        }
    }
}

static size_t reach(Header *header, size_t open)
{
    uint32_t number = number_of(header);
    if (!bit(reached, number)) {
        set_bit(reached, number, true);
        to_visit[open++] = number;
    }
    return open;
}

void plain_collect(void)
{
    uint32_t cell, i;
    size_t open = 0;
    void **slot;
    memset(reached, 0, sizeof reached);
    for (cell = next_cell(0); cell != NONE; cell = next_cell(cell + 1)) {
        count_contents(numbered(cell) + 1, UINT32_MAX);
    }
    for (cell = next_cell(0); cell != NONE; cell = next_cell(cell + 1)) {
        if (numbered(cell)->count > 0) {
            open = reach(numbered(cell), open);
        }
    }
    while (open > 0) {
        Header *header = numbered(to_visit[--open]);
        count_contents(header + 1, 1);
        for (i = 0; (slot = slot_of(header + 1, i)) != NULL; i++) {
            open = *slot != NULL ? reach(header_of(*slot), open) : open;
        }
    }
    for (cell = next_cell(0); cell != NONE; cell = next_cell(cell + 1)) {
        if (!bit(reached, cell)) {
            give_back(numbered(cell));
        }
    }
}
