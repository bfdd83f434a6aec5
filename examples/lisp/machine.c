/* The machine: runs compiled code.
 *
 * - A call in tail position takes the place of its caller: a loop of any length needs one frame, and
 *   when nothing else holds the caller's environment, its cell is used again for the callee's.
 * - Other calls push a frame on an array; C itself never recurses. More than FRAMES of them, or a full
 *   stack of values, are errors of the script.
 * - What is running is held: a function may be redefined while it runs. */
#include "lisp.h"

#include <string.h>

/* ---------------------------------------------------------------- environments */

static size_t env_bytes(size_t slots)
{
    return offsetof(Env, slots) + slots * sizeof(Value);
}

/* Moves the `given` topmost values into an environment that is empty. */
static void fill(Lisp *lisp, Env *env, size_t given, size_t slots)
{
    size_t i;
    lisp->top -= given;
    memcpy(env->slots, &lisp->stack[lisp->top], given * sizeof(Value));
    for (i = given; i < slots; i++) {
        env->slots[i] = GC_refInline(lisp->unassigned);
    }
}

/* ENTER: the environment of the current frame gets a child, which holds it. */
static void enter_scope(Lisp *lisp, Frame *frame, size_t given, size_t slots)
{
    Env *env = new_cell(lisp, lisp->types.env, env_bytes(slots));
    fill(lisp, env, given, slots);
    env->parent = frame->env;
    frame->env = env;
}

static void leave_scope(Frame *frame)
{
    Env *env = frame->env;
    frame->env = GC_refInline(env->parent);
    GC_unrefInline(env);
}

/* ---------------------------------------------------------------- calls */

/* On the stack: a closure and its arguments. The frame of the caller is replaced, or one is added. */
static void enter_closure(Lisp *lisp, size_t count, bool tail)
{
    size_t at = lisp->top - count - 1;
    Closure *closure = lisp->stack[at];
    const Code *code = closure->code;
    size_t given = code->parameters;
    Frame *frame = &lisp->frames[lisp->depth - (tail ? 1 : 0)], last = { NULL, NULL, NULL };
    Env *env = NULL;
    if (count < given || (count > given && !code->has_rest)) {
        fail_about(lisp, "wrong number of arguments", closure);
    }
    if (!tail && lisp->depth == FRAMES) {
        fail(lisp, "calls are nested too deeply");
    }
    if (code->has_rest) {
        collect(lisp, count - given);
        given++;
    }
    if (tail && code->slots > 0 && frame->env != NULL && GC_sizeOf(frame->env) >= env_bytes(code->slots)) {
        env = frame->env;
        frame->env = NULL;
        env = GC_dropReuse(env);
    }
    if (env == NULL && code->slots > 0) {
        env = new_cell(lisp, lisp->types.env, env_bytes(code->slots));
    }
    if (env != NULL) {
        fill(lisp, env, given, code->slots);
        env->parent = GC_refInline(closure->env);
    } else {
        env = GC_refInline(closure->env);
    }
    if (tail) {
        last = *frame;
    } else {
        lisp->depth++;
    }
    lisp->top--;
    frame->closure = closure;
    frame->env = env;
    frame->pc = code->words;
    GC_unrefInline(last.env);
    GC_unrefInline(last.closure);
}

/* (apply f a b (c d)) becomes (f a b c d); returns the new count of arguments. */
static size_t spread(Lisp *lisp, size_t count)
{
    size_t at = lisp->top - count - 1, added;
    Value list = lisp->stack[lisp->top - 1];
    /* The list waits in the place of apply, so that it is held while its elements are pushed. */
    lisp->stack[lisp->top - 1] = lisp->stack[at];
    lisp->stack[at] = list;
    drop(lisp, 1);
    added = push_list(lisp, list);
    memmove(&lisp->stack[at], &lisp->stack[at + 1], (lisp->top - at - 1) * sizeof(Value));
    lisp->top--;
    GC_unrefInline(list);
    return count - 2 + added;
}

/* Makes a closure without parameters of the code on the stack. */
static void close_over(Lisp *lisp, Env *env)
{
    Closure *closure = new_cell(lisp, lisp->types.closure, sizeof *closure);
    closure->code = pop(lisp);
    closure->env = GC_refInline(env);
    push(lisp, closure);
}

/* (eval expression) becomes a call of the compiled expression. */
static size_t prepare(Lisp *lisp)
{
    Value function;
    push(lisp, compile(lisp, lisp->stack[lisp->top - 1]));
    close_over(lisp, NULL);
    function = pop(lisp);
    drop(lisp, 2);
    push(lisp, function);
    return 0;
}

/* On the stack: a function and its arguments. A builtin's result takes their place at once. */
static void call(Lisp *lisp, size_t count, bool tail)
{
    for (;;) {
        Value callee = lisp->stack[lisp->top - count - 1];
        const Builtin *builtin = callee;
        if (type_of(callee) == lisp->types.closure) {
            enter_closure(lisp, count, tail);
            return;
        }
        if (type_of(callee) != lisp->types.builtin) {
            fail_about(lisp, "not a function", callee);
        }
        if (count < builtin->least || count > builtin->most) {
            fail_about(lisp, "wrong number of arguments", callee);
        }
        if (builtin->function != NULL) {
            Value result = builtin->function(lisp, count, &lisp->stack[lisp->top - count]);
            drop(lisp, count + 1);
            push(lisp, result);
            return;
        }
        count = builtin->most > 1 ? spread(lisp, count) : prepare(lisp);
    }
}

/* ---------------------------------------------------------------- the loop */

static Env *outer(Env *env, unsigned depth)
{
    for (; depth > 0; depth--) {
        env = env->parent;
    }
    return env;
}

/* What runs now stands here in the script. */
static void at_place(Lisp *lisp, const uint16_t *place)
{
    if (place[0] != 0) {
        lisp->line = place[0];
        lisp->column = place[1];
    }
}

/* What a store leaves on the stack. */
static void stored(Lisp *lisp)
{
    Value *top = &lisp->stack[lisp->top - 1];
    GC_unrefInline(*top);
    *top = GC_refInline(lisp->unspecified);
}

/* CONS and SPLICE of a quasiquotation. */
static void join(Lisp *lisp, bool splice)
{
    Pair *pair;
    Value list;
    size_t count = 1;
    if (splice) {
        /* list, tail: the elements of the list, then the tail, are pushed above them. */
        list = lisp->stack[lisp->top - 2];
        count = push_list(lisp, list);
        push(lisp, GC_refInline(lisp->stack[lisp->top - count - 1]));
    }
    while (count-- > 0) {
        pair = new_pair(lisp, NULL, NULL);
        pair->rest = pop(lisp);
        pair->first = pop(lisp);
        push(lisp, pair);
    }
    if (splice) {
        list = pop(lisp);
        drop(lisp, 2);
        push(lisp, list);
    }
}

/* Runs the closure on top of the stack, which has no parameters. */
static Value run(Lisp *lisp)
{
    size_t base = lisp->depth;
    Frame *frame;
    const uint16_t *pc;
    Value value;
    Symbol *symbol;
    Env *env;
    enter_closure(lisp, 0, false);
    frame = &lisp->frames[lisp->depth - 1];
    pc = frame->pc;
#define CONSTANT_AT(k) (frame->closure->code->constants->items[k])
#define TOP lisp->stack[lisp->top - 1]
    for (;;) {
        switch ((enum Operation)*pc++) {
        case CONSTANT:
            push(lisp, GC_refInline(CONSTANT_AT(*pc++)));
            break;
        case LOCAL:
            value = outer(frame->env, pc[0])->slots[pc[1]];
            pc += 2;
            if (value == lisp->unassigned) {
                fail(lisp, "a variable is used before it has a value");
            }
            push(lisp, GC_refInline(value));
            break;
        case GLOBAL:
            symbol = CONSTANT_AT(pc[0]);
            if (symbol->value == lisp->unassigned) {
                at_place(lisp, pc + 1);
                fail_about(lisp, "nothing has this name", symbol);
            }
            pc += 3;
            push(lisp, GC_refInline(symbol->value));
            break;
        case SET_LOCAL:
            env = outer(frame->env, pc[0]);
            GC_assign(&env->slots[pc[1]], TOP);
            pc += 2;
            stored(lisp);
            break;
        case SET_GLOBAL:
            symbol = CONSTANT_AT(*pc++);
            if (symbol->value == lisp->unassigned) {
                fail_about(lisp, "set! of a name that nothing has", symbol);
            }
            GC_assign(&symbol->value, TOP);
            stored(lisp);
            break;
        case DEFINE_GLOBAL:
            symbol = CONSTANT_AT(*pc++);
            GC_assign(&symbol->value, TOP);
            stored(lisp);
            break;
        case JUMP:
            pc = frame->closure->code->words + pc[0];
            break;
        case JUMP_IF_FALSE:
            pc = TOP == lisp->no ? frame->closure->code->words + pc[0] : pc + 1;
            drop(lisp, 1);
            break;
        case JUMP_OR_DROP_FALSE:
        case JUMP_OR_DROP_TRUE:
            if ((TOP == lisp->no) == (pc[-1] == JUMP_OR_DROP_FALSE)) {
                pc = frame->closure->code->words + pc[0];
            } else {
                pc++;
                drop(lisp, 1);
            }
            break;
        case DROP:
            drop(lisp, 1);
            break;
        case CLOSURE:
            push(lisp, GC_refInline(CONSTANT_AT(*pc++)));
            close_over(lisp, frame->env);
            break;
        case CALL:
        case TAIL_CALL:
            at_place(lisp, pc + 1);
            frame->pc = pc + 3;
            call(lisp, pc[0], pc[-1] == TAIL_CALL);
            frame = &lisp->frames[lisp->depth - 1];
            pc = frame->pc;
            break;
        case RETURN:
            lisp->depth--;
            GC_unrefInline(frame->env);
            GC_unrefInline(frame->closure);
            if (lisp->depth == base) {
                return pop(lisp);
            }
            frame = &lisp->frames[lisp->depth - 1];
            pc = frame->pc;
            break;
        case ENTER:
            enter_scope(lisp, frame, pc[0], pc[1]);
            pc += 2;
            break;
        case LEAVE:
            leave_scope(frame);
            break;
        case CONS:
        case SPLICE:
            join(lisp, pc[-1] == SPLICE);
            break;
        }
    }
#undef CONSTANT_AT
#undef TOP
}

Value evaluate(Lisp *lisp, Value expression)
{
    push(lisp, compile(lisp, expression));
    close_over(lisp, NULL);
    return run(lisp);
}
