/* See tables.h.
 *
 *   table ──▶ buckets ──▶ entry ──▶ entry      an entry: next, value, lengths, the name
 *                           │         │
 *                         value     value      a value: its bytes
 */
#include "tables.h"

#include "memory.h"

#include <string.h>

enum { FEWEST_BUCKETS = 4, LONGEST = 1000 };

typedef struct Table {
    const char *name;
    Entry **buckets;
    size_t count, capacity; /* entries; buckets, a power of two */
} Table;

static Table tables[] = {
    { .name = "settings" }, { .name = "labels" }, { .name = "sessions" },
    { .name = "devices" },  { .name = "cache" },  { .name = "journal" },
};
enum { TABLES = sizeof tables / sizeof tables[0] };

static uint32_t hash(const char *text, size_t length)
{
    uint32_t sum = 2166136261u;
    size_t i;
    for (i = 0; i < length; i++) {
        sum = (sum ^ (unsigned char)text[i]) * 16777619u;
    }
    return sum;
}

static size_t entry_bytes(size_t name_length)
{
    return offsetof(Entry, name) + name_length;
}

static size_t value_bytes(size_t length)
{
    return length > 0 ? length : 1;
}

static Entry **bucket_of(const Table *table, const char *name, size_t length)
{
    return &table->buckets[hash(name, length) & (table->capacity - 1)];
}

static Table *find_table(const char *name)
{
    size_t i;
    for (i = 0; i < TABLES; i++) {
        if (strcmp(tables[i].name, name) == 0) {
            return &tables[i];
        }
    }
    return NULL;
}

static Entry *find_entry(const Table *table, const char *name, size_t length)
{
    Entry *entry;
    for (entry = *bucket_of(table, name, length); entry != NULL; entry = entry->next) {
        if (entry->name_length == length && memcmp(entry->name, name, length) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* Twice the buckets. False: no memory, nothing has changed. */
static bool grow(Table *table)
{
    Table wider = *table;
    size_t i;
    wider.capacity = table->capacity * 2;
    wider.buckets = always_allocate(ALWAYS_ARRAY, wider.capacity * sizeof *wider.buckets);
    if (wider.buckets == NULL) {
        return false;
    }
    memset(wider.buckets, 0, wider.capacity * sizeof *wider.buckets);
    for (i = 0; i < table->capacity; i++) {
        Entry *entry = table->buckets[i];
        while (entry != NULL) {
            Entry *next = entry->next, **bucket = bucket_of(&wider, entry->name, entry->name_length);
            entry->next = *bucket;
            *bucket = entry;
            entry = next;
        }
    }
    always_release(ALWAYS_ARRAY, table->buckets, table->capacity * sizeof *table->buckets);
    *table = wider;
    return true;
}

bool tables_open(void)
{
    size_t i;
    for (i = 0; i < TABLES; i++) {
        Table *table = &tables[i];
        table->capacity = FEWEST_BUCKETS;
        table->buckets = always_allocate(ALWAYS_ARRAY, FEWEST_BUCKETS * sizeof *table->buckets);
        if (table->buckets == NULL) {
            return false;
        }
        memset(table->buckets, 0, FEWEST_BUCKETS * sizeof *table->buckets);
    }
    return true;
}

/* A copy of a value in a block of its own. */
static char *copy_value(const char *value, size_t length)
{
    char *copy = always_allocate(ALWAYS_TEXT, value_bytes(length));
    if (copy != NULL) {
        memcpy(copy, value, length);
    }
    return copy;
}

bool remember(const char *in, const char *name, size_t name_length, const char *value, size_t value_length)
{
    Table *table = find_table(in);
    Entry *entry, **bucket;
    char *copy;
    if (table == NULL || name_length > LONGEST || value_length > LONGEST) {
        return false;
    }
    entry = find_entry(table, name, name_length);
    if (entry != NULL && value_bytes(entry->value_length) == value_bytes(value_length)) {
        memcpy(entry->value, value, value_length);
        entry->value_length = (uint16_t)value_length;
        return true;
    }
    copy = copy_value(value, value_length);
    if (copy == NULL) {
        return false;
    }
    if (entry != NULL) {
        always_release(ALWAYS_TEXT, entry->value, value_bytes(entry->value_length));
        always_set(&entry->value, copy);
        entry->value_length = (uint16_t)value_length;
        return true;
    }
    entry = NULL;
    if (table->count < table->capacity || grow(table)) {
        entry = always_allocate(ALWAYS_ENTRY, entry_bytes(name_length));
    }
    if (entry == NULL) {
        always_release(ALWAYS_TEXT, copy, value_bytes(value_length));
        return false;
    }
    bucket = bucket_of(table, name, name_length);
    entry->next = *bucket;
    always_set(&entry->value, copy);
    entry->value_length = (uint16_t)value_length;
    entry->name_length = (uint16_t)name_length;
    memcpy(entry->name, name, name_length);
    *bucket = entry;
    table->count++;
    return true;
}

const char *recall(const char *in, const char *name, size_t name_length, size_t *value_length)
{
    const Table *table = find_table(in);
    const Entry *entry = table != NULL ? find_entry(table, name, name_length) : NULL;
    if (entry == NULL) {
        return NULL;
    }
    *value_length = entry->value_length;
    return entry->value;
}

void tables_figures(TableFigures *out)
{
    size_t i, at;
    memset(out, 0, sizeof *out);
    for (i = 0; i < TABLES; i++) {
        const Table *table = &tables[i];
        out->entries += table->count;
        out->blocks += 1 + 2 * table->count;
        out->bytes += table->capacity * sizeof *table->buckets;
        for (at = 0; at < table->capacity; at++) {
            const Entry *entry;
            for (entry = table->buckets[at]; entry != NULL; entry = entry->next) {
                out->bytes += entry_bytes(entry->name_length) + value_bytes(entry->value_length);
                out->sum += hash(entry->name, entry->name_length) * 31 + hash(entry->value, entry->value_length);
            }
        }
    }
}
