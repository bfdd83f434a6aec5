/* What compile.c (expressions, functions) and forms.c (special forms) share. */
#ifndef COMPILER_H
#define COMPILER_H

#include "lisp.h"

/* The variables of one environment, innermost first. Lives on the C stack. */
typedef struct Scope {
    const struct Scope *outer;
    Value names; /* a list of symbols; held by the stack */
} Scope;

typedef const Scope *Scopes; /* NULL: the top level */

/* One for each lambda that is being compiled. */
typedef struct Compiler {
    Lisp *lisp;
    size_t at; /* of the code on the stack: it moves when it grows */
    unsigned nesting;
} Compiler;

/* A special form. Its compiler is given the whole form, whose length has been verified. */
typedef struct Form {
    const char *name;
    size_t least, most; /* elements, its name among them */
    void (*compile)(Compiler *c, Scopes scopes, Value form, bool tail);
} Form;

/* Ends with a NULL name. A symbol that names forms[i] has i + 1 as its `form`. */
extern const Form forms[];

/* ---------------------------------------------------------------- words and constants */

void emit(Compiler *c, size_t word);
/* Where the value is among the constants of the code, to which it is added when it is new. */
size_t constant_index(Compiler *c, Value value);
void emit_constant(Compiler *c, Value value);
/* Behind an expression: RETURN in tail position. */
void end_of_value(Compiler *c, bool tail);
/* A jump to where is not known yet: the places of all jumps to one end are chained by their operands. */
void emit_jump(Compiler *c, enum Operation jump, size_t *chain);
/* They all lead to here. */
void land(Compiler *c, size_t *chain);

/* ---------------------------------------------------------------- names */

NO_RETURN void malformed(Compiler *c, Value form);
/* Fails when expressions are nested too deeply; to be taken back by `c->nesting--`. */
void nest(Compiler *c);
bool is_symbol(const Compiler *c, Value x);
bool find_in(Value names, Value name, size_t *index);
bool find(Scopes scopes, Value name, size_t *depth, size_t *index);
/* What a definition defines: x, or f of (f a b). */
Value defined_name(const Compiler *c, Value definition);
/* `count` names lie on the stack: adds those that the body defines, and makes a list of them all, on
 * the stack. Returns how many there are. */
size_t list_names(Compiler *c, size_t count, Value body);

/* ---------------------------------------------------------------- expressions */

void expression(Compiler *c, Scopes scopes, Value x, bool tail);
/* Expressions one after the other; the value is the last one's. */
void sequence(Compiler *c, Scopes scopes, Value body, bool tail);
/* A function: its code becomes a constant of the code around it. `name` may be NULL. */
void function(Compiler *c, Scopes scopes, Value name, Value parameters, Value body, Value form);
/* The value of a definition or binding: a lambda there gets the name. */
void named_value(Compiler *c, Scopes scopes, Value name, Value x);

#endif
