//! Scoped: memory that goes all at once, when the work ends that it was for.
//!
//! A scope is entered and left like a call, at the heap's top end: what lasts grows from the bottom, what a
//! workflow needs comes from the top, and when the scope is left the heap's free memory is as it was. A
//! free-standing arena is the same without the order: made, reset and destroyed at any time. What is allocated
//! in either has no header and is never freed alone. Counted cells can lie there too (GC_newIn): references to
//! them are not counted; those that GC_assign puts into a slot outside are, and leaving deals with them.
//!
//! When an arena ends (by leave, unwind, reset, destroy, or its last part by rewind), everything is done in
//! this order: scopes inside it; cleanups, the newest first; destroy callbacks of cells, the newest first;
//! tentative objects are released; references from outside are found and dealt with; references to the outside
//! are released; weak slots become NULL; memory goes back to the heap. Callbacks may use everything outside, and may
//! jump away: the next call that ends the arena goes on behind them. In the arena itself they get no memory.
//!
//! Scopes and arenas belong to the thread that uses the heap; over the process heap each thread has its own.
//! A pointer to an arena that is no more is refused (KN_E_ORDER, error hook) as long as its memory is the heap's
//! and nothing else's. Sizes are bytes, and do not include the library's records: 208 bytes an arena on
//! 32-bit targets, 400 on 64-bit ones.
//! Source: the ancestor rule of the Apache Portable Runtime's pools, PostgreSQL's reset callbacks, the marks of
//! GNU obstacks; see docs/arena.md.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

use crate::arena::{self, KnArena, KnArenaConfig, KnArenaMark, KnArenaStats, KnCleanup, KnLeaveReport};
use crate::arena::{KnRootRange, KnWeakSlot, KN_RESET_KEEP};
use crate::heap::{KnHeap, KnStatus};

/// A configuration from C: NULL is the default.
///
/// # Safety
/// `config` is NULL or valid for a read.
unsafe fn read(config: *const KnArenaConfig) -> KnArenaConfig {
    if config.is_null() {
        KnArenaConfig::DEFAULT
    } else {
        // SAFETY: the caller's word.
        unsafe { config.read() }
    }
}

/// Enters a scope at the heap's top end, inside the scope that is open there, if one is.
///
/// Returns KN_OK with the scope in `*out`; KN_E_NO_MEMORY iff the heap has not `presize` bytes in one piece (after
/// a collection of its counted cells, if it has any); KN_E_BUDGET iff the presize is more than the budget, or than
/// a scope around may hold; KN_E_INVALID for a NULL heap or `out`, or unknown flags. Then nothing has changed.
/// A scope whose presize fits into what its parent has free at its end lies there and takes nothing.
/// Cost: kn_heap_malloc_top, or O(1) in the parent. Ownership: leave it with kn_arena_leave. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or a live heap of this thread; `config` is NULL or valid for a read, `out` for a write.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_enter(
    heap: *mut KnHeap,
    config: *const KnArenaConfig,
    out: *mut *mut KnArena,
) -> KnStatus {
    if heap.is_null() || out.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { KnArena::enter(heap, config, out) }
}

/// Leaves a scope: all in it goes, in the order told above.
///
/// Returns KN_OK. KN_E_ORDER iff scopes inside it were open: they and it were left all the same, the innermost is
/// named in `report->other`; or iff it is no scope, was left already, stands free, or the call comes from one of its
/// own callbacks (a cleanup, a destroy, a hook): then nothing is done. KN_E_ESCAPE iff its policy, or that of a scope inside, is
/// KN_ESCAPE_REFUSE and references from outside were found: nothing has changed, `report->other` names it.
/// `report` may be NULL.
/// Cost: O(blocks), mostly one kn_heap_free, when nothing but memory has to go; else O(cleanups + cells with
/// references or destroy), and if GC_assign counted an escape O(cells of the heap). Threads: exclusive.
///
/// # Safety
/// `scope` is NULL or was entered; nothing in it is used afterwards. `report` is NULL or valid for a write.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_leave(scope: *mut KnArena, report: *mut KnLeaveReport) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe {
        if report.is_null() && KnArena::leave_carved(scope) {
            return KnStatus::Ok;
        }
        leave_slowly(scope, report)
    }
}

/// # Safety
/// As kn_arena_leave.
#[inline(never)]
unsafe fn leave_slowly(scope: *mut KnArena, report: *mut KnLeaveReport) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe {
        if !report.is_null() {
            report.write(KnLeaveReport::new());
            return KnArena::leave(scope, &mut *report);
        }
        if KnArena::leave_plain(scope) {
            return KnStatus::Ok;
        }
        leave_fully(scope)
    }
}

/// # Safety
/// As kn_arena_leave.
#[inline(never)]
unsafe fn leave_fully(scope: *mut KnArena) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe { KnArena::leave(scope, &mut KnLeaveReport::new()) }
}

/// Leaves all scopes inside `upto`, after a longjmp or a language's exception; NULL: all of the heap's scopes.
///
/// Returns KN_OK; KN_E_ORDER iff `upto` is no open scope of the heap, or the call comes from a callback of one
/// of those scopes: then nothing has changed; KN_E_INVALID for a NULL heap. A policy KN_ESCAPE_REFUSE can't
/// refuse here: slots become NULL.
/// Cost: that of leaving each. Threads: exclusive.
///
/// # Safety
/// As kn_arena_leave.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_unwind(heap: *mut KnHeap, upto: *mut KnArena) -> KnStatus {
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { KnArena::unwind(heap, upto) }
}

/// Makes a free-standing arena; it grows in segments, from wherever the heap has room.
///
/// Returns the arena; NULL iff there is no memory for its presize, the presize is more than the budget, the
/// flags are unknown, or `heap` is NULL.
/// Cost: a block of the heap. Ownership: destroy it with kn_arena_destroy. Threads: exclusive.
///
/// # Safety
/// As kn_arena_enter.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_create(heap: *mut KnHeap, config: *const KnArenaConfig) -> *mut KnArena {
    if heap.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnArena::create(heap, &read(config)) }
}

/// Makes an arena empty as if it was left; its memory stays with it (a scope keeps its presize only). Marks made
/// before are no longer valid. Scopes inside a scope are left first.
///
/// A pointer that is no arena, or a call from one of its own callbacks, goes to the error hook (KN_E_ORDER).
/// Cost: as kn_arena_leave, without giving memory back. Threads: exclusive.
///
/// # Safety
/// `arena` is NULL or an arena; nothing in it is used afterwards.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_reset(arena: *mut KnArena) {
    // SAFETY: the caller's word. Errors were told to the hook.
    let _ = unsafe { KnArena::reset(arena, KN_RESET_KEEP, 0) };
}

/// Makes an arena empty as kn_arena_reset does, and keeps as much memory as `mode` says: KN_RESET_KEEP all,
/// KN_RESET_FREE the presize, KN_RESET_LIMIT at most `limit` bytes, not less than the presize.
///
/// Returns KN_OK; KN_E_ORDER for what is no arena, or from one of its callbacks; KN_E_INVALID for another mode: then
/// nothing has changed.
/// Cost: as kn_arena_reset, and a kn_heap_free for each segment that goes back. Threads: exclusive.
///
/// # Safety
/// As kn_arena_reset.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_reset_to(arena: *mut KnArena, mode: u32, limit: usize) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe { KnArena::reset(arena, mode, limit) }
}

/// Ends a free-standing arena; NULL does nothing.
///
/// What is no such arena, a scope, or a call from one of its own callbacks, goes to the error hook (KN_E_ORDER).
/// Cost: as kn_arena_leave. Threads: exclusive.
///
/// # Safety
/// As kn_arena_reset.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_destroy(arena: *mut KnArena) {
    // SAFETY: the caller's word. Errors were told to the hook.
    let _ = unsafe { KnArena::destroy(arena) };
}

/// Allocates `size` bytes, aligned to 8, uninitialised.
///
/// Returns NULL iff there is no memory, a budget or KN_ARENA_FIXED forbids more (kn_arena_stats names whose), or
/// the arena is ending. For a size of 0 a pointer that the next allocation may get too.
/// Cost: O(1), from time to time a block of the heap, or one that grows; no memory beyond the size rounded to 8.
/// kn_arena_allocInline does the same without a call. Ownership: the arena's. Threads: exclusive.
///
/// # Safety
/// `arena` is NULL or an arena.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_alloc(arena: *mut KnArena, size: usize) -> *mut c_void {
    if arena.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnArena::alloc(arena, size).cast() }
}

/// Allocates `n * size` bytes of zeros.
///
/// Returns as kn_arena_alloc; NULL also iff the product overflows. Cost: O(n * size). Ownership, threads: as
/// kn_arena_alloc.
///
/// # Safety
/// As kn_arena_alloc.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_calloc(arena: *mut KnArena, n: usize, size: usize) -> *mut c_void {
    if arena.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnArena::calloc(arena, n, size).cast() }
}

/// Allocates `size` bytes at a multiple of `align`, a power of two.
///
/// Returns as kn_arena_alloc; NULL also for another `align`. Cost: as kn_arena_alloc, and what alignment leaves
/// free before. Ownership, threads: as kn_arena_alloc.
///
/// # Safety
/// As kn_arena_alloc.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_aligned_alloc(arena: *mut KnArena, align: usize, size: usize) -> *mut c_void {
    if arena.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnArena::aligned_alloc(arena, align, size).cast() }
}

/// Resizes an allocation of `old` bytes: where it lies if it shrinks, or if it is the last one of the arena and no
/// mark was made since; else as a copy. NULL `at`: kn_arena_alloc.
///
/// Returns the allocation, at its old or a new address; NULL as kn_arena_alloc: then it is as it was.
/// Cost: O(1) in place, else O(old). Ownership, threads: as kn_arena_alloc.
///
/// # Safety
/// As kn_arena_alloc; `at` is NULL or an allocation of this arena of `old` bytes.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_resize(arena: *mut KnArena, at: *mut c_void, old: usize, size: usize) -> *mut c_void {
    if arena.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnArena::resize(arena, at.cast(), old, size).cast() }
}

/// Copies a text into an arena. Returns the copy; NULL as kn_arena_alloc, and for a NULL text.
///
/// Cost: O(length). Ownership, threads: as kn_arena_alloc. kn_arena_printf is in knoll/format.h.
///
/// # Safety
/// As kn_arena_alloc; `text` is NULL or ends with a zero.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_strdup(arena: *mut KnArena, text: *const c_char) -> *mut c_char {
    // SAFETY: the caller's word.
    unsafe { kn_arena_strndup(arena, text, usize::MAX) }
}

/// Copies at most `most` bytes of a text, and a zero. Returns, cost, ownership, threads: as kn_arena_strdup.
///
/// # Safety
/// As kn_arena_alloc; `text` is NULL, ends with a zero, or has `most` bytes.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_strndup(arena: *mut KnArena, text: *const c_char, most: usize) -> *mut c_char {
    if arena.is_null() || text.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnArena::copy(arena, text.cast(), KnArena::length(text, most), true).cast() }
}

/// Copies `size` bytes into an arena. Returns, cost, ownership, threads: as kn_arena_strdup.
///
/// # Safety
/// As kn_arena_alloc; `from` is NULL or has `size` bytes.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_memdup(arena: *mut KnArena, from: *const c_void, size: usize) -> *mut c_void {
    if arena.is_null() || from.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnArena::copy(arena, from.cast(), size, false).cast() }
}

/// Whether an address lies in an arena's memory, or in that of a scope inside it.
///
/// False for what is no arena. Cost: O(segments). Threads: exclusive.
///
/// # Safety
/// `arena` is NULL or an arena's memory.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_contains(arena: *const KnArena, at: *const c_void) -> bool {
    // SAFETY: the caller's word.
    unsafe { KnArena::contains(arena, at.cast()) }
}

/// The innermost open scope of a heap; NULL: none is open.
///
/// Cost: O(1). Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or a live heap of this thread.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_innermost(heap: *mut KnHeap) -> *mut KnArena {
    if heap.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnArena::innermost_of(heap) }
}

/// The scope around a scope; NULL: it is the outermost, or stands free, or is none.
///
/// Cost: O(1). Threads: exclusive.
///
/// # Safety
/// `arena` is NULL or an arena's memory.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_parent(arena: *const KnArena) -> *mut KnArena {
    // SAFETY: the caller's word.
    unsafe { KnArena::parent(arena) }
}

/// The name that an arena was given, "?" without one; NULL for what is no arena.
///
/// Cost: O(1). Threads: exclusive.
///
/// # Safety
/// As kn_arena_parent.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_arena_name(arena: *const KnArena) -> *const c_char {
    // SAFETY: the caller's word.
    unsafe { KnArena::name_of(arena) }
}

/// Marks where an arena is now, to go back there with kn_arena_rewind. An arena that is none: a mark of nothing.
///
/// Cost: O(1), no memory: a mark needs not be given back. Allocations made before grow by copies from now on.
/// Threads: exclusive.
///
/// # Safety
/// As kn_arena_parent.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_mark(arena: *const KnArena) -> KnArenaMark {
    // SAFETY: the caller's word. The library's own fields change.
    unsafe { KnArena::mark_of(arena.cast_mut()) }
}

/// Goes back to a mark: what was allocated since ends as if it was left, and every block that was taken since
/// goes back to the heap. Scopes inside a scope are left first.
///
/// Returns KN_OK; KN_E_ORDER iff the mark is not this arena's, or no longer valid (a reset, or the last rewinding
/// went back beyond it), or from one of the arena's callbacks: then nothing has changed.
/// Cost: O(segments taken since), and as kn_arena_leave for the part. Threads: exclusive.
///
/// # Safety
/// As kn_arena_reset, for what was allocated since the mark.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_rewind(arena: *mut KnArena, mark: KnArenaMark) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe { KnArena::rewind(arena, mark) }
}

/// Adds a cleanup, which is run when the arena ends, before those that were added earlier.
///
/// Returns KN_OK; KN_E_INVALID for a NULL node or function, or a node in an arena that may end before this one;
/// KN_E_ORDER for what is no arena, or one that is ending.
/// Cost: O(arenas). Ownership: the node stays yours and where it is until it was run. Threads: exclusive.
///
/// # Safety
/// `arena` is NULL or an arena's memory, `node` NULL or writable.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_on_leave(arena: *mut KnArena, node: *mut KnCleanup) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe { KnArena::on_leave(arena, node) }
}

/// The numbers of an arena.
///
/// Returns KN_OK; KN_E_INVALID for a NULL `out`; KN_E_ORDER for what is no arena.
/// Cost: O(scopes around). Threads: exclusive.
///
/// # Safety
/// `arena` is NULL or an arena's memory, `out` NULL or valid for a write.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_stats(arena: *const KnArena, out: *mut KnArenaStats) -> KnStatus {
    if out.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe {
        match KnArena::stats_of(arena) {
            Some(stats) => {
                out.write(stats);
                KnStatus::Ok
            }
            None => KnStatus::Order,
        }
    }
}

/// Makes a weak slot refer to something in an arena: not an escape, and NULL as soon as its target has gone. A
/// NULL arena or target: to nothing.
///
/// Returns KN_OK; KN_E_INVALID for a NULL slot, or a target that is not in the arena; KN_E_ORDER for an arena that
/// is ending: then nothing has changed.
/// Cost: O(arenas). Ownership: the slot stays yours, where it is, and all zero before its first use; make it
/// refer to nothing before its memory goes (not needed if that is an arena's). Threads: exclusive.
///
/// # Safety
/// As that says; `arena` is NULL or an arena's memory.
#[no_mangle]
pub unsafe extern "C" fn kn_weak_set(slot: *mut KnWeakSlot, arena: *mut KnArena, target: *mut c_void) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe { KnArena::set_weak(slot, arena, target.cast()) }
}

/// Names words that may refer into arenas: global variables, tables. They are looked at when escapes are.
///
/// Returns KN_OK; KN_E_INVALID for a NULL heap, node or start, or one that is not aligned as a pointer; KN_E_ORDER iff
/// the node is named already.
/// Cost: O(held). Ownership: the node and the words stay yours until kn_roots_remove. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or a live heap of this thread; `range` is NULL or filled in.
#[no_mangle]
pub unsafe extern "C" fn kn_roots_add(heap: *mut KnHeap, range: *mut KnRootRange) -> KnStatus {
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { arena::add_roots(heap, range) }
}

/// Takes named words out. Returns KN_OK; KN_E_INVALID iff they are not named. Cost, threads: as kn_roots_add.
///
/// # Safety
/// As kn_roots_add.
#[no_mangle]
pub unsafe extern "C" fn kn_roots_remove(heap: *mut KnHeap, range: *mut KnRootRange) -> KnStatus {
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { arena::remove_roots(heap, range) }
}
