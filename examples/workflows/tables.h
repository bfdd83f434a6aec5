/* The always-active tables of a device: what its workflows have learned and the next ones will need.
 *
 * A table maps names to values, both of them text. It grows while workflows run: an entry is one block, its
 * value another, and the array of buckets doubles when it is full. All of it is memory of always_allocate,
 * so nothing in a table refers to what a workflow holds: names and values are copied.
 *
 * Costs: O(1) on average; an insertion that doubles the array O(entries). */
#ifndef TABLES_H
#define TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An entry, with references first: to the next in its bucket, and to its value, a text. Its name follows. */
typedef struct Entry {
    void *next, *value;
    uint16_t value_length, name_length;
    char name[];
} Entry;

/* Makes the tables, all empty. False: there is no memory. */
bool tables_open(void);

/* Keeps a copy of `value` under a copy of `name`, in place of the value before. The table must be one of those
 * that there are. False: it is none, a text is longer than 1000 bytes, or there is no memory; then nothing has
 * changed. */
bool remember(const char *table, const char *name, size_t name_length, const char *value, size_t value_length);

/* The value under a name, and its length; NULL: there is none. Valid until the name is given another one. */
const char *recall(const char *table, const char *name, size_t name_length, size_t *value_length);

typedef struct TableFigures {
    size_t entries, blocks, bytes; /* bytes as they were asked for */
    uint32_t sum;                  /* of all names and values, in any order */
} TableFigures;

void tables_figures(TableFigures *out);

#endif
