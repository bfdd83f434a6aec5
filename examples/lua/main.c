/* Runs one Lua script in a heap of fixed size: the program of `make run`, on the host and as firmware.
 *
 *     lua [--heap BYTES] [--report FILE] [--log FILE] [--snapshot EVENT FILE] SCRIPT
 *
 * Lua is unmodified; its memory comes through recorder_hook from the allocator that the program is linked
 * with. The script prints to the standard output and nothing else does. --report writes one JSON object,
 * --log each allocation, --snapshot the heap's blocks after one allocation (see recorder.h).
 *
 * Exit status: 0 done; 1 the script failed; 2 bad arguments or files; 3 not enough memory; 4 heap damaged. */
#include "lua_heap.h"
#include "recorder.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <mark.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DONE = 0, SCRIPT_FAILED = 1, BAD_USE = 2, NO_MEMORY = 3, DAMAGED = 4 };

typedef struct Options {
    size_t heap;
    const char *report, *log, *snapshot, *script;
    uint32_t snapshot_event;
} Options;

static int complain(const char *what, const char *of)
{
    fprintf(stderr, "lua: %s: %s\n", what, of);
    return BAD_USE;
}

static int parse(int count, char **words, Options *out)
{
    int i = 1;
    out->heap = LUA_HEAP_CAPACITY;
    for (; i < count && words[i][0] == '-'; i++) {
        if (strcmp(words[i], "--heap") == 0 && i + 1 < count) {
            out->heap = (size_t)strtoul(words[++i], NULL, 0);
        } else if (strcmp(words[i], "--report") == 0 && i + 1 < count) {
            out->report = words[++i];
        } else if (strcmp(words[i], "--log") == 0 && i + 1 < count) {
            out->log = words[++i];
        } else if (strcmp(words[i], "--snapshot") == 0 && i + 2 < count) {
            out->snapshot_event = (uint32_t)strtoul(words[++i], NULL, 0);
            out->snapshot = words[++i];
        } else {
            return complain("unknown option, or its value is missing", words[i]);
        }
    }
    if (i + 1 != count) {
        return complain("expected one script", i < count ? words[i + 1] : "none given");
    }
    out->script = words[i];
    return DONE;
}

static int create(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
}

/* lua_Reader over a file descriptor: stdio would take its buffer from the allocator that is measured. */
typedef struct Source {
    int file;
    char piece[512];
} Source;

static const char *read_piece(lua_State *lua, void *context, size_t *size)
{
    Source *source = context;
    ssize_t got = read(source->file, source->piece, sizeof source->piece);
    (void)lua;
    *size = got > 0 ? (size_t)got : 0;
    return got > 0 ? source->piece : NULL;
}

/* The libraries that need no operating system. */
static const luaL_Reg libraries[] = {
    { LUA_GNAME, luaopen_base },          { LUA_COLIBNAME, luaopen_coroutine }, { LUA_TABLIBNAME, luaopen_table },
    { LUA_STRLIBNAME, luaopen_string },   { LUA_MATHLIBNAME, luaopen_math },    { LUA_UTF8LIBNAME, luaopen_utf8 },
};

static int traceback(lua_State *lua)
{
    const char *message = lua_tostring(lua, 1);
    luaL_traceback(lua, lua, message != NULL ? message : "(an error that is not a string)", 1);
    return 1;
}

/* Called protected, so that running out of memory anywhere comes back as a status. */
static int work(lua_State *lua)
{
    const Options *options = lua_touserdata(lua, 1);
    static Source source;
    char name[64];
    size_t i;
    int status;
    for (i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        luaL_requiref(lua, libraries[i].name, libraries[i].func, 1);
        lua_pop(lua, 1);
    }
    source.file = open(options->script, O_RDONLY);
    if (source.file < 0) {
        return luaL_error(lua, "cannot open %s", options->script);
    }
    snprintf(name, sizeof name, "@%s", options->script);
    lua_pushcfunction(lua, traceback);
    status = lua_load(lua, read_piece, &source, name, "t");
    close(source.file);
    if (status == LUA_OK) {
        status = lua_pcall(lua, 0, 0, -2);
    }
    if (status == LUA_ERRMEM) {
        lua_pushboolean(lua, 0); /* told apart from an error of the script by its type */
    }
    return status == LUA_OK ? 0 : lua_error(lua);
}

static int run(lua_State *lua, Options *options)
{
    const char *message;
    int status;
    lua_pushcfunction(lua, work);
    lua_pushlightuserdata(lua, options);
    status = lua_pcall(lua, 1, 0, 0);
    if (status == LUA_OK) {
        return DONE;
    }
    if (status == LUA_ERRMEM || lua_type(lua, -1) == LUA_TBOOLEAN) {
        fprintf(stderr, "lua: not enough memory\n");
        return NO_MEMORY;
    }
    message = lua_tostring(lua, -1);
    fprintf(stderr, "lua: %s\n", message != NULL ? message : "error");
    return SCRIPT_FAILED;
}

static unsigned long figure(size_t value)
{
    return (unsigned long)value;
}

/* `ended` is the state of things when the script had ended, before Lua was closed; now is after. */
static bool report(const Options *options, const Recorder *ended, const LuaHeapFigures *figures, size_t largest,
                   const char *complaint)
{
    static char text[1024];
    int file, length;
    length = snprintf(text, sizeof text,
                      "{\"allocator\":\"%s\",\"heap\":%lu,\"pointer_bits\":%u,\"lua\":\"%s\",\n"
                      " \"events\":%lu,\"mallocs\":%lu,\"reallocs\":%lu,\"frees\":%lu,\"refused\":%lu,\n"
                      " \"peak\":{\"live\":%lu,\"blocks\":%lu,\"event\":%lu,\"used\":%lu},\n"
                      " \"end\":{\"live\":%lu,\"blocks\":%lu,\"used\":%lu,\"free\":%lu,\"largest\":%lu},\n"
                      " \"closed\":{\"live\":%lu,\"blocks\":%lu},\n"
                      " \"snapshot\":{\"walked\":%s,\"largest\":%lu},\n"
                      " \"complaint\":\"%s\"}\n",
                      lua_heap_name, figure(options->heap), (unsigned)sizeof(void *) * 8, LUA_RELEASE,
                      figure(recorder.events), figure(recorder.mallocs), figure(recorder.reallocs),
                      figure(recorder.frees), figure(recorder.refused), figure(recorder.peak_live),
                      figure(recorder.peak_blocks), figure(recorder.peak_event), figure(figures->peak),
                      figure(ended->live), figure(ended->blocks), figure(figures->used), figure(figures->free),
                      figure(largest), figure(recorder.live), figure(recorder.blocks),
                      recorder.snapshot_walked ? "true" : "false", figure(recorder.snapshot_largest),
                      complaint != NULL ? complaint : "");
    if (length < 0 || (size_t)length >= sizeof text) {
        return false;
    }
    file = create(options->report);
    if (file < 0) {
        return false;
    }
    if (write(file, text, (size_t)length) != length) {
        close(file);
        return false;
    }
    return close(file) == 0;
}

int main(int count, char **words)
{
    static char output[1024];
    static Options options;
    Recorder ended;
    LuaHeapFigures figures = { 0, 0, 0, 0 };
    const char *complaint;
    lua_State *lua;
    size_t largest;
    uint64_t checks;
    int file, status;

    knoll_mark_name(RECORDER_MALLOC, "malloc");
    knoll_mark_name(RECORDER_REALLOC, "realloc");
    knoll_mark_name(RECORDER_FREE, "free");
    setvbuf(stdout, output, _IOFBF, sizeof output);
    status = parse(count, words, &options);
    if (status != DONE) {
        return status;
    }
    if (!lua_heap_open(options.heap)) {
        fprintf(stderr, "lua: a heap of %lu bytes is not possible (at most %lu)\n", figure(options.heap),
                figure(LUA_HEAP_CAPACITY));
        return NO_MEMORY;
    }
    if (options.log != NULL) {
        file = create(options.log);
        if (file < 0) {
            return complain("cannot create", options.log);
        }
        recorder_log(file);
    }
    if (options.snapshot != NULL) {
        file = create(options.snapshot);
        if (file < 0) {
            return complain("cannot create", options.snapshot);
        }
        recorder_snapshot(options.snapshot_event, file);
    }

    lua = lua_newstate(recorder_hook, NULL);
    if (lua == NULL) {
        fprintf(stderr, "lua: not enough memory for a Lua state\n");
        return NO_MEMORY;
    }
    status = run(lua, &options);
    fflush(stdout);

    ended = recorder;
    lua_heap_figures(&figures);
    checks = knoll_instructions();
    largest = recorder_largest();
    complaint = lua_heap_complaint();
    checks = knoll_instructions() - checks;
    lua_close(lua);
    knoll_result("script", (int64_t)(knoll_instructions() - checks));
    if (complaint == NULL) {
        complaint = lua_heap_complaint();
    }
    if (complaint != NULL) {
        fprintf(stderr, "lua: the heap is damaged: %s\n", complaint);
        status = DAMAGED;
    }
    if (!recorder_close()) {
        status = complain("cannot write", "log or snapshot");
    }
    if (options.report != NULL && !report(&options, &ended, &figures, largest, complaint)) {
        status = complain("cannot write", options.report);
    }
    return status;
}
