//! Traced: memory that goes by itself when no root reaches it, by mark and sweep.
//!
//! For runtimes whose values refer to each other freely. A collection is three steps of the program's:
//! kn_traced_collect_start; kn_traced_mark with its roots, as often as it likes (its globals, its stack, the
//! registers: any words may be given); kn_traced_collect_end, which runs finalisers and frees what is dead.
//! Blocks have nothing in front of them and are multiples of a granule (8, 16 or 32 bytes), at multiples of it.
//!
//! While a workflow runs (kn_traced_scope_begin … kn_traced_scope_end) blocks are placed at the top, and what is
//! allocated with KN_LONG_LIVED, between kn_traced_lasting_begin and kn_traced_lasting_end, or by resizing what
//! is long-lived, at the bottom. So what outlives the workflow does not stand in the middle of free memory. That
//! concerns places only: nothing is freed by leaving a scope.
//!
//! A traced heap belongs to one thread or interrupt at a time: the program locks. Callbacks find it consistent,
//! may use it as is said at each, and may jump away. Errors are told to the error hook (kn_on_error).
//! Source: McCarthy's mark and sweep; MicroPython's collector for the contract; see docs/traced.md.

use core::ffi::c_void;
use core::ptr::null_mut;

use super::insight::{KnWalkFn, KnWriteFn};
use crate::heap::KnStatus;
use crate::insight;
use crate::traced::{KnHolderFn, KnTraced, KnTracedConfig, KnTracedStats};

/// Makes a traced heap in memory of the program's.
///
/// Returns the heap, which lies in `mem` with all its records (600 bytes on 32-bit targets, 1100 on 64-bit ones, and
/// three bits for each granule); NULL iff `mem` is NULL or `bytes` too few for one granule, or the configuration
/// has unknown flags or a granule that is not 8, 16 or 32. `config` may be NULL; it is copied.
/// Cost: O(bytes / 512) to clear the bits. Ownership: to forget the heap is to reuse the memory; finalisers
/// have run if a collection without roots came before. Threads: any; the heap is new.
///
/// # Safety
/// `mem` is NULL or valid for `bytes` bytes that nobody else uses while the heap is used; `config` is NULL or valid
/// for a read, and its functions may be called.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_create(
    mem: *mut c_void,
    bytes: usize,
    config: *const KnTracedConfig,
) -> *mut KnTraced {
    // SAFETY: the caller's word.
    unsafe { KnTraced::create(mem.cast(), bytes, config) }
}

/// Makes a traced heap as kn_traced_create does, for a firmware that wants the least code: NULL also if `config` has `trace`
/// or KN_TRACED_INTERIOR, and `on_short` is told the request and its flags alone, the remainder of the report is zero.
///
/// Code for these is linked only by kn_traced_create, and that for several areas by kn_traced_add_area, which a heap made
/// by this call may use, too. Returns, cost, ownership, threads: as kn_traced_create.
///
/// # Safety
/// As kn_traced_create.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_create_plain(
    mem: *mut c_void,
    bytes: usize,
    config: *const KnTracedConfig,
) -> *mut KnTraced {
    // SAFETY: the caller's word.
    unsafe { KnTraced::create_plain(mem.cast(), bytes, config) }
}

/// Adds an area of memory, with granules of its own size; 0: as the heap's. Areas are tried in their order, so slow
/// memory is added last.
///
/// Returns KN_OK; KN_E_INVALID iff a pointer is NULL, the granule is not 8, 16 or 32, or some of the memory is the heap's
/// already; KN_E_NO_MEMORY iff the area is too small for one granule and its records; KN_E_ORDER iff a collection is under way.
/// Cost: O(bytes / 512). Ownership: the memory is the heap's as long as that is used. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or live; `mem` as for kn_traced_create.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_add_area(
    heap: *mut KnTraced,
    mem: *mut c_void,
    bytes: usize,
    granule: u32,
) -> KnStatus {
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { KnTraced::add_area(heap, mem.cast(), bytes, granule) }
}

/// Allocates a block of `size` bytes, rounded up to granules and zeroed as a whole. `flags`: KN_FINALISE, KN_NO_SCAN,
/// KN_LONG_LIVED; other bits say nothing.
///
/// Returns the block; NULL iff `heap` is NULL or `size` 0, the heap is locked, a collection is under way (so also
/// in a finaliser), or there is no room. If there is none, or the threshold is reached, `collect` is called once;
/// if there is none after it, `on_short` is told. A block with KN_FINALISE has at least two granules.
/// Cost: up to 8 granules O(1) as a rule, some 40 instructions on Cortex-M3 for one of 16 bytes; else a few for each 32 granules
/// (64 on 64-bit targets) to the place; and what `collect` takes. Ownership: the block lives as long as collections
/// reach it, or until kn_traced_free. Threads: exclusive; not from interrupts that may interrupt the heap's user.
///
/// # Safety
/// `heap` is NULL or live, and nobody else uses it during the call.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_alloc(heap: *mut KnTraced, size: usize, flags: u32) -> *mut c_void {
    if heap.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnTraced::alloc(heap, size, flags).cast() }
}

/// The block that the last allocation gave; NULL: there was none. It may be gone already.
///
/// Cost: a load. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or live.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_newest(heap: *const KnTraced) -> *mut c_void {
    if heap.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnTraced::newest(heap).cast() }
}

/// Frees a block now; its finaliser is not told.
///
/// Does nothing for NULL, while the heap is locked, and while a collection marks; in a finaliser it works, for
/// dead and live blocks. What is no block is told to the error hook, KN_E_DOUBLE_FREE if that memory is free, else
/// KN_E_FOREIGN, and nothing changes.
/// Cost: 60 to 100 instructions on Cortex-M3, and a few for each 32 granules. Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc; the block is not used afterwards.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_free(heap: *mut KnTraced, block: *mut c_void) {
    if !heap.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::free(heap, block.cast()) }
    }
}

/// Resizes a block, in place both ways where there is room; else, if `allow_move`, by moving it.
///
/// Returns the block, perhaps elsewhere; NULL iff there is no room (then the block is as it was; if it may move,
/// `collect` and `on_short` are called as for kn_traced_alloc, and the block survives a collection meanwhile), `size` is
/// 0 (then it is freed, as kn_traced_free does), it is no block (told to the error hook), or the heap is locked or a
/// collection is under way. A NULL `block` allocates one without flags. Shrinking else never fails and never moves.
/// Flags are kept, what is new is zeroed, and what is long-lived stays at the bottom.
/// Cost: as kn_traced_free in place; else that of allocating, copying and freeing. Ownership and threads: as
/// kn_traced_alloc; a block that moved is not used at its old place.
///
/// # Safety
/// As kn_traced_free.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_realloc(
    heap: *mut KnTraced,
    block: *mut c_void,
    size: usize,
    allow_move: bool,
) -> *mut c_void {
    if heap.is_null() {
        return null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnTraced::realloc(heap, block.cast(), size, allow_move).cast() }
}

/// Bytes of a live block, in whole granules; 0 iff `block` is not the start of one. Any pointer may be asked about.
///
/// Cost: some 20 instructions, and a few for each 32 granules. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or live.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_size(heap: *mut KnTraced, block: *const c_void) -> usize {
    if heap.is_null() {
        return 0;
    }
    // SAFETY: the caller's word.
    unsafe { KnTraced::size(heap, block.cast()) }
}

/// KN_FINALISE (until its finaliser has run) and KN_NO_SCAN of a live block; 0 also if it is none.
///
/// Cost: some 20 instructions. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or live.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_flags(heap: *mut KnTraced, block: *const c_void) -> u32 {
    if heap.is_null() {
        return 0;
    }
    // SAFETY: the caller's word.
    unsafe { KnTraced::flags(heap, block.cast()) }
}

/// From now on the block holds no pointers and is not looked into, as if allocated with KN_NO_SCAN.
///
/// Returns whether it is a live block. Cost: some 20 instructions. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or live.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_no_scan(heap: *mut KnTraced, block: *const c_void) -> bool {
    // SAFETY: the caller's word.
    !heap.is_null() && unsafe { KnTraced::no_scan(heap, block.cast()) }
}

/// Begins a collection. It begins anew, too, after a callback of a collection that jumped away.
///
/// Until its end nothing can be allocated, and freed by finalisers only. Inside a callback of the collection it is
/// told to the error hook (KN_E_ORDER) and does nothing. Whether a callback was jumped out of is seen on the stack: a
/// function with a large array that it has not written to may hide it. Who wants to be sure calls
/// kn_traced_collect_abandon where the jump arrives.
/// Cost: O(1), and the remainder of a sliced sweep: at most 20 instructions for each 32 granules. Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_collect_start(heap: *mut KnTraced) {
    if !heap.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::collect_start(heap) }
    }
}

/// Marks what `count` words refer to, and all that is reachable from there, before it returns. Words that are no
/// address of a block are ignored.
///
/// Outside of a collection, or in its finalisers, it is told to the error hook (KN_E_ORDER) and does nothing. The
/// `trace` callback calls it for the words of the block that it is told of.
/// Cost: on Cortex-M3 some 6 instructions a word and 50 to 70 a block; each block is looked into once; no memory but
/// 200 bytes of stack. Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc; `words` is valid for reads of `count` words.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_mark(heap: *mut KnTraced, words: *const *mut c_void, count: usize) {
    if !heap.is_null() && !words.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::mark(heap, words.cast(), count) }
    }
}

/// Whether the block is marked, for weak references; outside of a collection: whether it is alive.
///
/// Cost: some 15 instructions. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or live.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_is_marked(heap: *mut KnTraced, block: *const c_void) -> bool {
    // SAFETY: the caller's word.
    !heap.is_null() && unsafe { KnTraced::is_marked(heap, block.cast()) }
}

/// Gives up the collection that is under way, if one is: for where a jump out of a callback arrives.
///
/// Nothing is freed; what is dead is found by the next collection, and who was finalised is not finalised again. Inside
/// a callback it gives up the collection that called it, which then does nothing more.
/// Cost: O(1); else a few instructions for each 32 granules. Threads: exclusive. Source: none, it is Knoll's.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_collect_abandon(heap: *mut KnTraced) {
    if !heap.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::abandon(heap) }
    }
}

/// Ends a collection: runs the finalisers of what is dead, then frees it, at once or (`slice`) when memory is wanted.
///
/// All dead blocks are intact while finalisers run. A finaliser may free blocks; it gets no memory; it may jump away:
/// then call this again to go on with the next one. Without a collection under way, inside its callbacks, and where a
/// `trace` jumped away, so that not all is marked, it is told to the error hook (KN_E_ORDER) and does nothing.
/// Cost: on Cortex-M3 20 instructions for each 32 granules, or for those of two slices; 10 more if there are finalisers
/// to run. Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_collect_end(heap: *mut KnTraced) {
    if !heap.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::collect_end(heap) }
    }
}

/// Sweeps `granules` granules more (rounded up to 32, or 64), for programs that have time now.
///
/// Returns whether nothing is left to sweep. Cost: 20 instructions on Cortex-M3 for each 32 granules. Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_step(heap: *mut KnTraced, granules: usize) -> bool {
    // SAFETY: the caller's word.
    heap.is_null() || unsafe { KnTraced::step(heap, granules) }
}

/// Locks the heap: nothing is allocated, freed or resized until as many kn_traced_unlock. Cost: O(1). Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_lock(heap: *mut KnTraced) {
    if !heap.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::lock(heap) }
    }
}

/// Takes one lock off; if there is none the error hook is told (KN_E_ORDER). Cost: O(1). Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_unlock(heap: *mut KnTraced) {
    if !heap.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::unlock(heap) }
    }
}

/// Whether nothing can be allocated: the heap is locked, or a collection is under way. Cost: O(1). Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or live.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_is_locked(heap: *mut KnTraced) -> bool {
    // SAFETY: the caller's word.
    !heap.is_null() && unsafe { KnTraced::is_locked(heap) }
}

/// A workflow begins, perhaps inside another: blocks are transient from now on. Cost: O(areas). Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_scope_begin(heap: *mut KnTraced) {
    if !heap.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::scope_begin(heap) }
    }
}

/// A workflow ends. Nothing is freed by that: collect to see how little it left. If none is open the error hook is
/// told (KN_E_ORDER). Cost: O(areas). Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_scope_end(heap: *mut KnTraced) {
    if !heap.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::scope_end(heap) }
    }
}

/// From now on blocks are long-lived, whatever scope is open; nests. Cost: O(1). Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_lasting_begin(heap: *mut KnTraced) {
    if !heap.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::lasting_begin(heap) }
    }
}

/// Ends the innermost kn_traced_lasting_begin; if there is none the error hook is told (KN_E_ORDER). Cost: O(1).
/// Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_lasting_end(heap: *mut KnTraced) {
    if !heap.is_null() {
        // SAFETY: the caller's word.
        unsafe { KnTraced::lasting_end(heap) }
    }
}

/// Whether the address lies where the open scope's blocks do; false if none is open.
///
/// Cost: some 10 instructions. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or live.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_is_transient(heap: *mut KnTraced, block: *const c_void) -> bool {
    // SAFETY: the caller's word.
    !heap.is_null() && unsafe { KnTraced::is_transient(heap, block.cast()) }
}

/// Whether blocks are transient now: a scope is open, and kn_traced_lasting_begin does not say otherwise.
///
/// Cost: a load. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or live.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_in_scope(heap: *const KnTraced) -> bool {
    // SAFETY: the caller's word.
    !heap.is_null() && unsafe { KnTraced::in_scope(heap) }
}

/// How many dead blocks the sweep has freed since the last collection ended.
///
/// Cost: O(areas). Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or live.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_freed(heap: *mut KnTraced) -> usize {
    if heap.is_null() {
        return 0;
    }
    // SAFETY: the caller's word.
    unsafe { KnTraced::freed(heap) }
}

/// Sets the bytes allocated since the last collection after which an allocation calls `collect`; 0: never. Counting
/// begins anew.
///
/// Returns KN_OK; KN_E_INVALID iff `heap` is NULL. Cost: O(1); with a threshold no allocation takes the short
/// way, some 60 instructions more each on Cortex-M3. Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_set_threshold(heap: *mut KnTraced, bytes: usize) -> KnStatus {
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { KnTraced::set_threshold(heap, bytes) };
    KnStatus::Ok
}

/// Writes the heap's numbers to `out`.
///
/// Returns KN_OK; KN_E_INVALID iff a pointer is NULL; KN_E_ORDER while a collection marks; KN_E_CORRUPT iff a record
/// is contradictory. Cost: O(blocks). Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc; `out` is NULL or valid for a write.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_stats(heap: *mut KnTraced, out: *mut KnTracedStats) -> KnStatus {
    if heap.is_null() || out.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { KnTraced::stats(heap, out) }
}

/// Verifies every record: bits, hints, finalisers, fences.
///
/// Returns KN_OK; KN_E_CORRUPT iff they contradict each other; KN_E_ORDER while a collection marks; KN_E_INVALID iff
/// `heap` is NULL. Cost: O(blocks). Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_traced_check(heap: *mut KnTraced) -> KnStatus {
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { KnTraced::check(heap) }
}

/// Shows every block (dead ones that are not yet swept, too) and free run to `visit`, in order of address, area by
/// area.
///
/// Returns KN_OK, also when `visit` stopped the walk; KN_E_INVALID iff a pointer is NULL; KN_E_ORDER while a collection
/// marks; KN_E_CORRUPT iff a record is contradictory. Cost: O(blocks). Ownership: `visit` must not change the heap.
/// Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc; `visit` may be called with `context`.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_walk(heap: *mut KnTraced, visit: KnWalkFn, context: *mut c_void) -> KnStatus {
    let Some(visit) = visit else { return KnStatus::Invalid };
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    let walked = unsafe { KnTraced::each(heap, &mut |piece| visit(context, &piece.block())) };
    walked.err().unwrap_or(KnStatus::Ok)
}

/// Writes the heap's numbers and a map of it as text, in the form of kn_dump.
///
/// Returns as kn_traced_walk. Cost: O(blocks), twice; 300 bytes of stack. Threads: exclusive.
///
/// # Safety
/// As kn_traced_alloc; `write` may be called with `context`.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_dump(heap: *mut KnTraced, write: KnWriteFn, context: *mut c_void) -> KnStatus {
    let Some(write) = write else { return KnStatus::Invalid };
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { insight::dump_traced(heap, &mut |text| write(context, text.as_ptr().cast(), text.len()) == text.len()) }
}

/// Writes what fragments the heap, as JSON of a stable form: docs/witness.md.
///
/// Returns as kn_traced_walk. Cost: O(blocks), thrice; 600 bytes of stack. Threads: exclusive.
///
/// # Safety
/// As kn_traced_dump.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_witness(heap: *mut KnTraced, write: KnWriteFn, context: *mut c_void) -> KnStatus {
    let Some(write) = write else { return KnStatus::Invalid };
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe {
        insight::dump_traced_fragmentation(heap, &mut |text| {
            write(context, text.as_ptr().cast(), text.len()) == text.len()
        })
    }
}

/// Shows each word of a live block that holds the address `block`: who refers to it. Blocks without pointers are not
/// looked into, and stacks and globals are the program's to search.
///
/// Returns how many words were shown. `visit` may be NULL, to count. Cost: O(bytes of blocks). Threads: exclusive.
///
/// # Safety
/// As kn_traced_walk.
#[no_mangle]
pub unsafe extern "C" fn kn_traced_holders(
    heap: *mut KnTraced,
    block: *const c_void,
    visit: KnHolderFn,
    context: *mut c_void,
) -> usize {
    if heap.is_null() || block.is_null() {
        return 0;
    }
    // SAFETY: the caller's word.
    unsafe {
        KnTraced::holders(heap, block.cast(), &mut |holder, slot| match visit {
            Some(visit) => visit(context, holder, slot),
            None => true,
        })
    }
}
