/*
 * main.c: an interpreter that runs one program and ends: the first argument's text.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "py/builtin.h"
#include "py/compile.h"
#include "py/gc.h"
#include "py/mperrno.h"
#include "py/runtime.h"
#include "py/stackctrl.h"
#include "shared/runtime/gchelper.h"

static char heap[256 * 1024];

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
}

// The heap may grow.
size_t gc_get_max_new_split(void) {
    return 4 << 20;
}

int main(int argc, char **argv) {
    mp_stack_ctrl_init();
    mp_stack_set_limit(100 * 1024);
    gc_init(heap, heap + sizeof heap);
    mp_init();
    int status = 1;
    nlr_buf_t nlr;
    if (argc == 2 && nlr_push(&nlr) == 0) {
        mp_lexer_t *lexer = mp_lexer_new_from_str_len(MP_QSTR__lt_stdin_gt_, argv[1], strlen(argv[1]), 0);
        const qstr name = lexer->source_name;
        mp_parse_tree_t tree = mp_parse(lexer, MP_PARSE_FILE_INPUT);
        mp_call_function_0(mp_compile(&tree, name, false));
        nlr_pop();
        status = 0;
    } else if (argc == 2) {
        mp_obj_print_exception(&mp_plat_print, MP_OBJ_FROM_PTR(nlr.ret_val));
    }
    gc_sweep_all();
    mp_deinit();
    return status;
}

void mp_hal_stdout_tx_strn_cooked(const char *text, size_t length);
void mp_hal_stdout_tx_strn_cooked(const char *text, size_t length) {
    fwrite(text, 1, length, stdout);
}

void nlr_jump_fail(void *value) {
    (void)value;
    abort();
}
