/* See recorder.h. */
#include "recorder.h"

#include "lua_heap.h"

#include <mark.h>
#include <unistd.h>

#define NOWHERE UINT32_MAX
#define WORDS 1024

Recorder recorder;

/* A file of words, written in large pieces. */
typedef struct WordFile {
    int file;
    bool open, failed;
    size_t count;
    uint32_t words[WORDS];
} WordFile;

static WordFile log_file, snapshot_file;
static uint32_t snapshot_event;

static void flush(WordFile *to)
{
    const char *from = (const char *)to->words;
    size_t left = to->count * sizeof to->words[0];
    while (left > 0 && !to->failed) {
        ssize_t written = write(to->file, from, left);
        if (written <= 0) {
            to->failed = true;
        } else {
            from += written;
            left -= (size_t)written;
        }
    }
    to->count = 0;
}

static void put(WordFile *to, uint32_t word)
{
    if (to->count == WORDS) {
        flush(to);
    }
    to->words[to->count++] = word;
}

static uint32_t offset_of(const void *at)
{
    return at == NULL ? NOWHERE : (uint32_t)((const unsigned char *)at - lua_heap_memory);
}

void recorder_log(int file)
{
    log_file.file = file;
    log_file.open = true;
}

void recorder_snapshot(uint32_t event, int file)
{
    snapshot_file.file = file;
    snapshot_file.open = true;
    snapshot_event = event;
}

bool recorder_close(void)
{
    flush(&log_file);
    flush(&snapshot_file);
    return !log_file.failed && !snapshot_file.failed;
}

size_t recorder_largest(void)
{
    size_t most = 0, too_much = LUA_HEAP_CAPACITY + 1;
    while (too_much - most > 1) {
        size_t middle = most + (too_much - most) / 2;
        void *at = lua_heap_allocate(middle);
        if (at != NULL) {
            lua_heap_release(at);
            most = middle;
        } else {
            too_much = middle;
        }
    }
    return most;
}

static void on_block(void *context, const void *start, size_t size, bool used)
{
    (void)context;
    put(&snapshot_file, offset_of(start));
    put(&snapshot_file, (uint32_t)size);
    put(&snapshot_file, used ? 1 : 0);
}

/* After each call: the books, the log, the snapshot when its time has come. */
static void record(uint32_t kind, uint32_t from, const void *to, size_t size)
{
    recorder.events++;
    if (recorder.live > recorder.peak_live) {
        recorder.peak_live = recorder.live;
        recorder.peak_blocks = recorder.blocks;
        recorder.peak_event = recorder.events;
    }
    if (log_file.open) {
        put(&log_file, kind);
        put(&log_file, from);
        put(&log_file, offset_of(to));
        put(&log_file, (uint32_t)size);
    }
    if (snapshot_file.open && recorder.events == snapshot_event) {
        recorder.snapshot_walked = lua_heap_walk(on_block, NULL);
        recorder.snapshot_largest = recorder_largest();
    }
}

void *recorder_hook(void *context, void *at, size_t old_size, size_t new_size)
{
    uint32_t from = offset_of(at);
    void *to = NULL;
    (void)context;
    if (new_size == 0) {
        if (at == NULL) {
            return NULL; /* nothing to free: Lua asks this often, and no allocator is called */
        }
        KNOLL_MARK_CALL(RECORDER_FREE);
        lua_heap_release(at);
        recorder.frees++;
        recorder.blocks--;
        recorder.live -= old_size;
        record(RECORDER_FREE, from, NULL, 0);
        return NULL;
    }
    if (at == NULL) {
        KNOLL_MARK_CALL(RECORDER_MALLOC);
        to = lua_heap_allocate(new_size);
        recorder.mallocs++;
        if (to != NULL) {
            recorder.blocks++;
            recorder.live += new_size;
        } else {
            recorder.refused++;
        }
        record(RECORDER_MALLOC, from, to, new_size);
        return to;
    }
    KNOLL_MARK_CALL(RECORDER_REALLOC);
    to = lua_heap_resize(at, new_size);
    recorder.reallocs++;
    if (to != NULL) {
        recorder.live = recorder.live - old_size + new_size;
    } else {
        recorder.refused++;
    }
    record(RECORDER_REALLOC, from, to, new_size);
    return to;
}
