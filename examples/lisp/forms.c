/* The special forms: what each of them compiles to.
 *
 *   quote  quasiquote  if  define  set!  lambda  begin  and  or  when  cond  let  let*  letrec
 *
 * - A form is known by its symbol unless a variable around it has that name.
 * - let and its kin make one environment each (let* one for each binding); a body that defines names
 *   has room for them in the environment it runs in. */
#include "compiler.h"

/* ---------------------------------------------------------------- values and control */

static Value second(Value form)
{
    return first(rest(form));
}

static void compile_quote(Compiler *c, Scopes scopes, Value form, bool tail)
{
    (void)scopes;
    emit_constant(c, second(form));
    end_of_value(c, tail);
}

static void compile_if(Compiler *c, Scopes scopes, Value form, bool tail)
{
    size_t otherwise = 0, end = 0;
    Value branches = rest(rest(form));
    expression(c, scopes, second(form), false);
    emit_jump(c, JUMP_IF_FALSE, &otherwise);
    expression(c, scopes, first(branches), tail);
    if (!tail) {
        emit_jump(c, JUMP, &end);
    }
    land(c, &otherwise);
    sequence(c, scopes, rest(branches), tail);
    land(c, &end);
}

static void store(Compiler *c, Scopes scopes, Value name, enum Operation global)
{
    size_t depth, index;
    if (find(scopes, name, &depth, &index)) {
        emit(c, SET_LOCAL);
        emit(c, depth);
        emit(c, index);
    } else {
        index = constant_index(c, name);
        emit(c, global);
        emit(c, index);
    }
}

static void compile_define(Compiler *c, Scopes scopes, Value form, bool tail)
{
    Value target = second(form), name = defined_name(c, form);
    size_t index;
    if (!is_symbol(c, name)) {
        malformed(c, form);
    }
    if (scopes != NULL && !find_in(scopes->names, name, &index)) {
        fail_about(c->lisp, "a definition that is not in a body", form);
    }
    if (is_pair(c->lisp, target)) {
        function(c, scopes, name, rest(target), rest(rest(form)), form);
    } else {
        named_value(c, scopes, name, first(rest(rest(form))));
    }
    store(c, scopes, name, DEFINE_GLOBAL);
    end_of_value(c, tail);
}

static void compile_set(Compiler *c, Scopes scopes, Value form, bool tail)
{
    if (!is_symbol(c, second(form))) {
        malformed(c, form);
    }
    expression(c, scopes, first(rest(rest(form))), false);
    store(c, scopes, second(form), SET_GLOBAL);
    end_of_value(c, tail);
}

static void compile_lambda(Compiler *c, Scopes scopes, Value form, bool tail)
{
    function(c, scopes, NULL, second(form), rest(rest(form)), form);
    end_of_value(c, tail);
}

static void compile_begin(Compiler *c, Scopes scopes, Value form, bool tail)
{
    sequence(c, scopes, rest(form), tail);
}

/* and, or: a jump to the end with the first value that decides. */
static void connective(Compiler *c, Scopes scopes, Value form, bool tail, enum Operation jump, Value empty)
{
    size_t end = 0;
    Value x = rest(form);
    if (x == NULL) {
        emit_constant(c, empty);
    } else {
        for (; rest(x) != NULL; x = rest(x)) {
            expression(c, scopes, first(x), false);
            emit_jump(c, jump, &end);
        }
        expression(c, scopes, first(x), tail);
        land(c, &end);
    }
    end_of_value(c, tail);
}

static void compile_and(Compiler *c, Scopes scopes, Value form, bool tail)
{
    connective(c, scopes, form, tail, JUMP_OR_DROP_FALSE, c->lisp->yes);
}

static void compile_or(Compiler *c, Scopes scopes, Value form, bool tail)
{
    connective(c, scopes, form, tail, JUMP_OR_DROP_TRUE, c->lisp->no);
}

static void compile_when(Compiler *c, Scopes scopes, Value form, bool tail)
{
    size_t otherwise = 0, end = 0;
    expression(c, scopes, second(form), false);
    emit_jump(c, JUMP_IF_FALSE, &otherwise);
    sequence(c, scopes, rest(rest(form)), false);
    emit_jump(c, JUMP, &end);
    land(c, &otherwise);
    emit_constant(c, c->lisp->unspecified);
    land(c, &end);
    end_of_value(c, tail);
}

static void compile_cond(Compiler *c, Scopes scopes, Value form, bool tail)
{
    Lisp *lisp = c->lisp;
    size_t end = 0, next;
    Value clauses;
    for (clauses = rest(form); clauses != NULL; clauses = rest(clauses)) {
        Value clause = first(clauses);
        if (!is_pair(lisp, clause)) {
            malformed(c, form);
        }
        if (first(clause) == lisp->otherwise) {
            break;
        }
        expression(c, scopes, first(clause), false);
        if (rest(clause) == NULL) {
            emit_jump(c, JUMP_OR_DROP_TRUE, &end);
            continue;
        }
        next = 0;
        emit_jump(c, JUMP_IF_FALSE, &next);
        sequence(c, scopes, rest(clause), tail);
        if (!tail) {
            emit_jump(c, JUMP, &end);
        }
        land(c, &next);
    }
    sequence(c, scopes, clauses != NULL ? rest(first(clauses)) : NULL, tail);
    land(c, &end);
    end_of_value(c, tail);
}

/* ---------------------------------------------------------------- let */

/* In the environment that the last ENTER made. */
static void scope_body(Compiler *c, Scopes inner, Value body, bool tail)
{
    sequence(c, inner, body, tail);
    if (!tail) {
        emit(c, LEAVE);
    }
}

static void emit_enter(Compiler *c, size_t given, size_t slots)
{
    emit(c, ENTER);
    emit(c, given);
    emit(c, slots);
}

static Value binding_name(Compiler *c, Value binding, Value form)
{
    if (!is_pair(c->lisp, binding) || !is_pair(c->lisp, rest(binding)) || !is_symbol(c, first(binding))) {
        malformed(c, form);
    }
    return first(binding);
}

/* Compiles the values of `bindings`, pushes their names; returns how many. */
static size_t bind(Compiler *c, Scopes scopes, Value bindings, Value form)
{
    size_t count = 0;
    for (; is_pair(c->lisp, bindings); bindings = rest(bindings), count++) {
        Value name = binding_name(c, first(bindings), form);
        named_value(c, scopes, name, second(first(bindings)));
        push(c->lisp, GC_ref(name));
    }
    if (bindings != NULL) {
        malformed(c, form);
    }
    return count;
}

/* (let name ((x 1) …) body …): an environment that holds nothing but the function, for it to find
 * itself; the values are not in the name's reach. */
static void named_let(Compiler *c, Scopes scopes, Value form, bool tail)
{
    Lisp *lisp = c->lisp;
    Value name = second(form), bindings = first(rest(rest(form))), parameter;
    Scope scope;
    uint16_t line = lisp->line, column = lisp->column;
    size_t count = 0, at;
    scope.outer = scopes;
    push(lisp, GC_ref(name));
    collect(lisp, 1);
    at = lisp->top - 1;
    for (parameter = bindings; is_pair(lisp, parameter); parameter = rest(parameter), count++) {
        push(lisp, GC_ref(binding_name(c, first(parameter), form)));
    }
    collect(lisp, count);
    emit_enter(c, 0, 1);
    scope.names = lisp->stack[at];
    function(c, &scope, name, lisp->stack[at + 1], rest(rest(rest(form))), form);
    store(c, &scope, name, SET_GLOBAL);
    emit(c, DROP);
    emit(c, LOCAL);
    emit(c, 0);
    emit(c, 0);
    push(lisp, NULL);
    collect(lisp, 1);
    scope.names = lisp->stack[at + 2]; /* one that nothing can refer to */
    drop(lisp, bind(c, &scope, bindings, form));
    drop(lisp, 3);
    emit(c, tail ? TAIL_CALL : CALL);
    emit(c, count);
    emit(c, line);
    emit(c, column);
    if (!tail) {
        emit(c, LEAVE);
    }
    end_of_value(c, tail);
}

static void compile_let(Compiler *c, Scopes scopes, Value form, bool tail)
{
    Lisp *lisp = c->lisp;
    Scope scope;
    Value body = rest(rest(form));
    size_t given, slots;
    if (is_symbol(c, second(form))) {
        if (rest(body) == NULL) {
            malformed(c, form);
        }
        named_let(c, scopes, form, tail);
        return;
    }
    given = bind(c, scopes, second(form), form);
    slots = list_names(c, given, body);
    if (slots > 0) {
        scope.outer = scopes;
        scope.names = lisp->stack[lisp->top - 1];
        emit_enter(c, given, slots);
        scope_body(c, &scope, body, tail);
    } else {
        sequence(c, scopes, body, tail);
    }
    drop(lisp, 1);
}

/* let*: a let for each binding, in each other. */
static void bind_in_turn(Compiler *c, Scopes scopes, Value bindings, Value form, bool tail)
{
    Lisp *lisp = c->lisp;
    Scope scope;
    Value name;
    size_t slots;
    if (bindings == NULL) {
        slots = list_names(c, 0, rest(rest(form)));
        if (slots == 0) {
            sequence(c, scopes, rest(rest(form)), tail);
        } else {
            scope.outer = scopes;
            scope.names = lisp->stack[lisp->top - 1];
            emit_enter(c, 0, slots);
            scope_body(c, &scope, rest(rest(form)), tail);
        }
        drop(lisp, 1);
        return;
    }
    if (!is_pair(lisp, bindings)) {
        malformed(c, form);
    }
    nest(c);
    name = binding_name(c, first(bindings), form);
    named_value(c, scopes, name, second(first(bindings)));
    push(lisp, GC_ref(name));
    collect(lisp, 1);
    scope.outer = scopes;
    scope.names = lisp->stack[lisp->top - 1];
    emit_enter(c, 1, 1);
    bind_in_turn(c, &scope, rest(bindings), form, tail);
    if (!tail) {
        emit(c, LEAVE);
    }
    drop(lisp, 1);
    c->nesting--;
}

static void compile_let_star(Compiler *c, Scopes scopes, Value form, bool tail)
{
    bind_in_turn(c, scopes, second(form), form, tail);
}

/* All names at once in reach, the values in their order. */
static void compile_letrec(Compiler *c, Scopes scopes, Value form, bool tail)
{
    Lisp *lisp = c->lisp;
    Scope scope;
    Value binding, body = rest(rest(form));
    size_t given = 0, slots;
    for (binding = second(form); is_pair(lisp, binding); binding = rest(binding), given++) {
        push(lisp, GC_ref(binding_name(c, first(binding), form)));
    }
    if (given == 0) {
        malformed(c, form);
    }
    slots = list_names(c, given, body);
    scope.outer = scopes;
    scope.names = lisp->stack[lisp->top - 1];
    emit_enter(c, 0, slots);
    for (binding = second(form); binding != NULL; binding = rest(binding)) {
        named_value(c, &scope, first(first(binding)), second(first(binding)));
        store(c, &scope, first(first(binding)), SET_GLOBAL);
        emit(c, DROP);
    }
    scope_body(c, &scope, body, tail);
    drop(lisp, 1);
}

/* ---------------------------------------------------------------- quasiquote */

static bool is_form_of(const Compiler *c, Value x, const Symbol *symbol)
{
    return is_pair(c->lisp, x) && first(x) == symbol && is_pair(c->lisp, rest(x));
}

/* Does anything in the list have to be computed? */
static bool has_unquote(Compiler *c, Value x)
{
    bool has = false;
    nest(c);
    for (; !has && is_pair(c->lisp, x); x = rest(x)) {
        has = first(x) == c->lisp->unquote || first(x) == c->lisp->splice || has_unquote(c, first(x));
    }
    c->nesting--;
    return has;
}

static void template(Compiler *c, Scopes scopes, Value x)
{
    if (!has_unquote(c, x)) {
        emit_constant(c, x);
        return;
    }
    if (is_form_of(c, x, c->lisp->unquote)) {
        expression(c, scopes, second(x), false);
        return;
    }
    nest(c);
    if (is_form_of(c, first(x), c->lisp->splice)) {
        expression(c, scopes, second(first(x)), false);
        template(c, scopes, rest(x));
        emit(c, SPLICE);
    } else {
        template(c, scopes, first(x));
        template(c, scopes, rest(x));
        emit(c, CONS);
    }
    c->nesting--;
}

static void compile_quasiquote(Compiler *c, Scopes scopes, Value form, bool tail)
{
    template(c, scopes, second(form));
    end_of_value(c, tail);
}

const Form forms[] = {
    { "quote", 2, 2, compile_quote },
    { "quasiquote", 2, 2, compile_quasiquote },
    { "if", 3, 4, compile_if },
    { "define", 3, MANY, compile_define },
    { "set!", 3, 3, compile_set },
    { "lambda", 3, MANY, compile_lambda },
    { "begin", 1, MANY, compile_begin },
    { "and", 1, MANY, compile_and },
    { "or", 1, MANY, compile_or },
    { "when", 3, MANY, compile_when },
    { "cond", 1, MANY, compile_cond },
    { "let", 3, MANY, compile_let },
    { "let*", 3, MANY, compile_let_star },
    { "letrec", 3, MANY, compile_letrec },
    { NULL, 0, 0, NULL },
};
