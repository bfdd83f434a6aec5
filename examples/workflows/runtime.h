/* A language whose scripts are workflows: lua_runtime.c or lisp_runtime.c.
 *
 * Scripts see the always-active tables as two functions, `remember` and `recall`, and the number of the workflow
 * as `workflow`. They print to the standard output. */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

/* "lua", "lisp", and the scripts: files of a folder of that name, with this ending. */
extern const char *const runtime_name;
extern const char *const runtime_scripts[];
extern const unsigned runtime_script_count;

/* Starts the language afresh in the memory of the workflow that has begun, loads a script and runs it to its
 * end. False: it failed or ran out of memory; the standard error says which. Either way runtime_close follows,
 * or, where the workflow runs in a scope, the scope is left and nothing else. */
bool runtime_run(const char *path, uint32_t workflow);

/* Frees what runtime_run has left, block by block. */
void runtime_close(void);

/* Are all blocks free after runtime_close? Not so where an allocator keeps pages for the next workflow's cells. */
extern const bool runtime_leaves_nothing;

#endif
