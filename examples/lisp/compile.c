/* The compiler: from an expression to the words of the machine (enum Operation in lisp.h).
 *
 * - Variables become places: how many environments outwards, and which slot. A name that no lambda or
 *   let around it has is a global variable, which lives in its symbol.
 * - Each expression compiles to words that leave exactly one value on the stack; in tail position they
 *   end with RETURN, and a call there is a TAIL_CALL.
 * - What is wrong with the form of an expression is told before any of it runs.
 *
 *   (lambda (a b . c) (define d …) …)     a call's environment:  parent | a | b | c | d
 *
 * A lambda or let without variables makes no environment, and is no scope either. */
#include "compiler.h"

#include <string.h>

/* ---------------------------------------------------------------- words and constants */

static Code *code_of(const Compiler *c)
{
    return c->lisp->stack[c->at];
}

static Code *new_code(Lisp *lisp, size_t room)
{
    return new_cell(lisp, lisp->types.code, offsetof(Code, words) + room * sizeof(uint16_t));
}

/* A code with room for more (or no more than its) words takes the place of the last one. */
static void resize_code(Compiler *c, size_t room)
{
    Code *code = code_of(c), *larger = new_code(c->lisp, room);
    memcpy(larger->words, code->words, code->length * sizeof(uint16_t));
    larger->length = code->length;
    larger->parameters = code->parameters;
    larger->slots = code->slots;
    larger->has_rest = code->has_rest;
    larger->name = GC_ref(code->name);
    larger->constants = GC_ref(code->constants);
    c->lisp->stack[c->at] = larger;
    GC_unref(code);
}

void emit(Compiler *c, size_t word)
{
    Code *code = code_of(c);
    if (code->length == UINT16_MAX || word > UINT16_MAX) {
        fail(c->lisp, "a function is too large");
    }
    if (offsetof(Code, words) + (code->length + 1u) * sizeof(uint16_t) > GC_sizeOf(code)) {
        resize_code(c, code->length * 2u);
        code = code_of(c);
    }
    code->words[code->length++] = (uint16_t)word;
}

size_t constant_index(Compiler *c, Value value)
{
    Code *code = code_of(c);
    Vector *constants = code->constants;
    size_t i, count = constants->length;
    for (i = 0; i < count; i++) {
        if (constants->items[i] == value) {
            return i;
        }
    }
    if (offsetof(Vector, items) + (count + 1) * sizeof(Value) > GC_sizeOf(constants)) {
        Vector *larger = new_vector(c->lisp, count * 2 + 2);
        for (i = 0; i < count; i++) {
            larger->items[i] = GC_move(&constants->items[i]);
        }
        code->constants = larger;
        GC_unref(constants);
        constants = larger;
    }
    constants->length = count + 1;
    GC_assign(&constants->items[count], value);
    return count;
}

void emit_constant(Compiler *c, Value value)
{
    size_t k = constant_index(c, value);
    emit(c, CONSTANT);
    emit(c, k);
}

void end_of_value(Compiler *c, bool tail)
{
    if (tail) {
        emit(c, RETURN);
    }
}

void emit_jump(Compiler *c, enum Operation jump, size_t *chain)
{
    emit(c, jump);
    emit(c, *chain);
    *chain = code_of(c)->length - 1u;
}

void land(Compiler *c, size_t *chain)
{
    Code *code = code_of(c);
    while (*chain != 0) {
        uint16_t *operand = &code->words[*chain];
        *chain = *operand;
        *operand = code->length;
    }
}

/* ---------------------------------------------------------------- names */

void malformed(Compiler *c, Value x)
{
    fail_about(c->lisp, "this form is not right", x);
}

void nest(Compiler *c)
{
    if (++c->nesting > NESTING) {
        fail(c->lisp, "expressions are nested too deeply");
    }
}

bool is_symbol(const Compiler *c, Value x)
{
    return type_of(x) == c->lisp->types.symbol;
}

bool find_in(Value names, Value name, size_t *index)
{
    size_t i = 0;
    for (; names != NULL; names = rest(names), i++) {
        if (first(names) == name) {
            *index = i;
            return true;
        }
    }
    return false;
}

bool find(Scopes scopes, Value name, size_t *depth, size_t *index)
{
    for (*depth = 0; scopes != NULL; scopes = scopes->outer, ++*depth) {
        if (find_in(scopes->names, name, index)) {
            return true;
        }
    }
    return false;
}

static void push_name(Compiler *c, Value name, Value form)
{
    if (!is_symbol(c, name)) {
        malformed(c, form);
    }
    push(c->lisp, GC_ref(name));
}

Value defined_name(const Compiler *c, Value definition)
{
    Value target = is_pair(c->lisp, rest(definition)) ? first(rest(definition)) : NULL;
    return is_pair(c->lisp, target) ? first(target) : target;
}

size_t list_names(Compiler *c, size_t count, Value body)
{
    Lisp *lisp = c->lisp;
    size_t i;
    for (; is_pair(lisp, body); body = rest(body)) {
        Value x = first(body);
        Symbol *head = is_pair(lisp, x) ? first(x) : NULL;
        if (head != NULL && head == lisp->define) {
            Value name = defined_name(c, x);
            for (i = 0; i < count && lisp->stack[lisp->top - 1 - i] != name; i++) {
            }
            if (i == count) {
                push_name(c, name, x);
                count++;
            }
        }
    }
    collect(lisp, count);
    return count;
}

/* ---------------------------------------------------------------- bodies and functions */

void sequence(Compiler *c, Scopes scopes, Value body, bool tail)
{
    if (!is_pair(c->lisp, body)) {
        emit_constant(c, c->lisp->unspecified);
        end_of_value(c, tail);
        return;
    }
    for (; is_pair(c->lisp, rest(body)); body = rest(body)) {
        expression(c, scopes, first(body), false);
        emit(c, DROP);
    }
    expression(c, scopes, first(body), tail);
}

static void begin_code(Compiler *c, Lisp *lisp, Value name, unsigned nesting)
{
    c->lisp = lisp;
    c->at = lisp->top;
    c->nesting = nesting;
    push(lisp, new_code(lisp, 16));
    code_of(c)->name = GC_ref(name);
    code_of(c)->constants = new_vector(lisp, 0);
    /* Jumps are chained by their places, and 0 ends the chain: so nothing jumps from there. */
}

/* Leaves the finished code on the stack. */
static void end_code(Compiler *c)
{
    resize_code(c, code_of(c)->length);
}

void function(Compiler *c, Scopes scopes, Value name, Value parameters, Value body, Value form)
{
    Lisp *lisp = c->lisp;
    Compiler inner;
    Scope scope;
    size_t count = 0, slots, k;
    Value parameter;
    for (parameter = parameters; is_pair(lisp, parameter); parameter = rest(parameter), count++) {
        push_name(c, first(parameter), form);
    }
    if (parameter != NULL) {
        push_name(c, parameter, form);
    }
    slots = list_names(c, count + (parameter != NULL), body);
    scope.outer = scopes;
    scope.names = lisp->stack[lisp->top - 1];
    begin_code(&inner, lisp, name, c->nesting);
    code_of(&inner)->parameters = (uint16_t)count;
    code_of(&inner)->has_rest = parameter != NULL;
    code_of(&inner)->slots = (uint16_t)slots;
    sequence(&inner, slots > 0 ? &scope : scopes, body, true);
    end_code(&inner);
    k = constant_index(c, code_of(&inner));
    drop(lisp, 2);
    emit(c, CLOSURE);
    emit(c, k);
}

void named_value(Compiler *c, Scopes scopes, Value name, Value x)
{
    if (is_pair(c->lisp, x) && first(x) == c->lisp->lambda && is_pair(c->lisp, rest(x))) {
        function(c, scopes, name, first(rest(x)), rest(rest(x)), x);
    } else {
        expression(c, scopes, x, false);
    }
}

/* ---------------------------------------------------------------- expressions */

static void variable(Compiler *c, Scopes scopes, Symbol *name)
{
    size_t depth, index;
    if (find(scopes, name, &depth, &index)) {
        emit(c, LOCAL);
        emit(c, depth);
        emit(c, index);
        return;
    }
    if (name->form != 0) {
        fail_about(c->lisp, "a special form is no value", name);
    }
    index = constant_index(c, name);
    emit(c, GLOBAL);
    emit(c, index);
    emit(c, c->lisp->line);
    emit(c, c->lisp->column);
}

/* Elements of a list; fails when it is none. */
static size_t elements(Compiler *c, Value form)
{
    size_t count = 0;
    Value x;
    for (x = form; is_pair(c->lisp, x) && count <= MANY; x = rest(x)) {
        count++;
    }
    if (x != NULL || count > MANY) {
        malformed(c, form);
    }
    return count;
}

static void application(Compiler *c, Scopes scopes, Value form, size_t count, bool tail)
{
    Lisp *lisp = c->lisp;
    uint16_t line = lisp->line, column = lisp->column;
    Value x;
    for (x = form; x != NULL; x = rest(x)) {
        expression(c, scopes, first(x), false);
        lisp->line = line;
        lisp->column = column;
    }
    emit(c, tail ? TAIL_CALL : CALL);
    emit(c, count - 1);
    emit(c, line);
    emit(c, column);
    /* Behind a tail call of a builtin the machine goes on here. */
    end_of_value(c, tail);
}

void expression(Compiler *c, Scopes scopes, Value x, bool tail)
{
    Lisp *lisp = c->lisp;
    size_t count, depth, index;
    Symbol *head;
    if (is_symbol(c, x)) {
        variable(c, scopes, x);
        end_of_value(c, tail);
        return;
    }
    if (!is_pair(lisp, x)) {
        emit_constant(c, x);
        end_of_value(c, tail);
        return;
    }
    if (type_of(x) == lisp->types.spot) {
        lisp->line = ((Spot *)x)->line;
        lisp->column = ((Spot *)x)->column;
    }
    nest(c);
    count = elements(c, x);
    head = first(x);
    if (is_symbol(c, head) && head->form != 0 && !find(scopes, head, &depth, &index)) {
        const Form *form = &forms[head->form - 1];
        if (count < form->least || count > form->most) {
            malformed(c, x);
        }
        form->compile(c, scopes, x, tail);
    } else {
        application(c, scopes, x, count, tail);
    }
    c->nesting--;
}

void compile_names(Lisp *lisp)
{
    size_t i;
    for (i = 0; forms[i].name != NULL; i++) {
        Symbol *symbol = intern(lisp, forms[i].name, strlen(forms[i].name));
        symbol->form = (uint32_t)i + 1;
        GC_unref(symbol); /* the table of symbols holds it */
    }
}

Code *compile(Lisp *lisp, Value x)
{
    Compiler c;
    begin_code(&c, lisp, NULL, 0);
    expression(&c, NULL, x, true);
    end_code(&c);
    return pop(lisp);
}
