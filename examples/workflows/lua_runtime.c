/* A workflow in Lua: a state of its own, the script, and out.
 *
 * Lua is unmodified. Its memory comes from the workflow's, through lua_Alloc and nothing else, so that a
 * workflow in a scope needs no lua_close: leaving the scope takes the state, the libraries, the script and all
 * its data at once. (A script with finalisers that must run would be closed before.) */
#include "memory.h"
#include "runtime.h"
#include "tables.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

const char *const runtime_name = "lua";
const char *const runtime_scripts[] = { "gateway", "report", "lzw", "route", "clock", "archive", "wallet", "formula" };
const unsigned runtime_script_count = sizeof runtime_scripts / sizeof runtime_scripts[0];

const bool runtime_leaves_nothing = true;

static lua_State *state;

/* lua_Alloc */
static void *hook(void *context, void *at, size_t old_size, size_t new_size)
{
    (void)context;
    if (new_size == 0) {
        workflow_release(at, old_size);
        return NULL;
    }
    return at == NULL ? workflow_allocate(new_size) : workflow_resize(at, old_size, new_size);
}

/* remember(table, name, value) */
static int lua_remember(lua_State *lua)
{
    size_t name_length, value_length;
    const char *table = luaL_checkstring(lua, 1);
    const char *name = luaL_checklstring(lua, 2, &name_length);
    const char *value = luaL_checklstring(lua, 3, &value_length);
    if (!remember(table, name, name_length, value, value_length)) {
        return luaL_error(lua, "cannot remember %s in %s", name, table);
    }
    return 0;
}

/* recall(table, name): a string, or nil */
static int lua_recall(lua_State *lua)
{
    size_t name_length, value_length;
    const char *table = luaL_checkstring(lua, 1);
    const char *name = luaL_checklstring(lua, 2, &name_length);
    const char *value = recall(table, name, name_length, &value_length);
    if (value == NULL) {
        lua_pushnil(lua);
    } else {
        lua_pushlstring(lua, value, value_length);
    }
    return 1;
}

/* The libraries that need no operating system. */
static const luaL_Reg libraries[] = {
    { LUA_GNAME, luaopen_base },        { LUA_COLIBNAME, luaopen_coroutine }, { LUA_TABLIBNAME, luaopen_table },
    { LUA_STRLIBNAME, luaopen_string }, { LUA_MATHLIBNAME, luaopen_math },    { LUA_UTF8LIBNAME, luaopen_utf8 },
};

/* lua_Reader over a file descriptor: stdio would take its buffer from somebody's malloc. */
typedef struct Script {
    const char *path;
    uint32_t workflow;
    int file;
    char piece[512];
} Script;

static const char *read_piece(lua_State *lua, void *context, size_t *size)
{
    Script *script = context;
    ssize_t got = read(script->file, script->piece, sizeof script->piece);
    (void)lua;
    *size = got > 0 ? (size_t)got : 0;
    return got > 0 ? script->piece : NULL;
}

/* Called protected, so that running out of memory anywhere comes back as a status. */
static int work(lua_State *lua)
{
    Script *script = lua_touserdata(lua, 1);
    char name[64];
    size_t i;
    int status;
    for (i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        luaL_requiref(lua, libraries[i].name, libraries[i].func, 1);
        lua_pop(lua, 1);
    }
    lua_register(lua, "remember", lua_remember);
    lua_register(lua, "recall", lua_recall);
    lua_pushinteger(lua, script->workflow);
    lua_setglobal(lua, "workflow");
    script->file = open(script->path, O_RDONLY);
    if (script->file < 0) {
        return luaL_error(lua, "cannot open %s", script->path);
    }
    snprintf(name, sizeof name, "@%s", script->path);
    status = lua_load(lua, read_piece, script, name, "t");
    close(script->file);
    if (status != LUA_OK) {
        return lua_error(lua);
    }
    lua_call(lua, 0, 0);
    return 0;
}

bool runtime_run(const char *path, uint32_t workflow)
{
    static Script script;
    script.path = path;
    script.workflow = workflow;
    state = lua_newstate(hook, NULL);
    if (state == NULL) {
        fprintf(stderr, "%s: no memory for a Lua state\n", path);
        return false;
    }
    lua_pushcfunction(state, work);
    lua_pushlightuserdata(state, &script);
    if (lua_pcall(state, 1, 0, 0) != LUA_OK) {
        const char *message = lua_tostring(state, -1);
        fprintf(stderr, "%s: workflow %lu: %s\n", path, (unsigned long)workflow, message != NULL ? message : "error");
        return false;
    }
    return true;
}

void runtime_close(void)
{
    if (state != NULL) {
        lua_close(state);
        state = NULL;
    }
}
