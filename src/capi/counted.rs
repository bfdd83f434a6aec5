//! Counted: cells that go when their last reference goes, cycles by trial deletion.
//!
//! A cell has a header of 8 bytes right before the pointer that you have: a counter word and a type
//! word. GC_new gives a cell with a count of 1, zeroed: you own that reference. What a type's fields
//! refer to, a cell releases when it dies. A cell that lost a reference and lives on may be held by a
//! cycle alone: it becomes a root, and when there are many roots, or memory has doubled, cycles among
//! what they reach are found and destroyed.
//!
//! All of it acts on the calling thread's default heap; cells belong to the thread that made them, but
//! for shared ones. A destroy or trace callback may call any of these functions, take a reference to its own
//! cell to keep it, or jump away; what it drops is destroyed when it has returned.
//!
//! In collections by slices (`slice` of KnGcConfig, or GC_step) a reference leaves a field only by
//! GC_assign, GC_move or GC_unref of what was in it. Without slices fields can be written as you like.

use core::ffi::c_void;
use core::ptr::null_mut;

use crate::counted::{self, Counted, KnGcConfig, KnTracer, KnType, KnTypeId};
use crate::heap::KnStatus;

/// Registers a type in the calling thread's default heap; in the process heap for all threads.
///
/// Returns its number; 0 iff the descriptor is bad (the error hook is told why), there is no heap or no
/// memory, or 16,383 types exist. The same descriptor gets the same number again.
/// Cost: O(types); for a type that tells what its fields refer to, a search for a way back to it.
/// Ownership: nothing is copied: the descriptor and all it points to stay yours and unchanged as
/// long as the heap is used. Threads: any, each in its own heap.
/// Source: inference of acyclic types as in Nim's compiler, here over the registered types.
///
/// # Safety
/// `descriptor` is NULL or points to one.
#[no_mangle]
pub unsafe extern "C" fn GC_registerType(descriptor: *const KnType) -> KnTypeId {
    let state = counted::current();
    if state.is_null() {
        return 0;
    }
    // SAFETY: the caller's word.
    unsafe { Counted::register(state, descriptor) }
}

/// Makes a cell of a type: count 1, its `size` bytes zero, aligned to 8.
///
/// Returns NULL iff there is no memory, no heap, or no such type (the error hook is told of that).
/// Starts no collection (unless configured to).
/// Cost: O(1) and O(size); from time to time a block of the heap. 8 bytes a cell, and in pages about
/// 2 % on 64-bit targets, 5 % on 32-bit ones. Ownership: the count of 1 is the caller's. Threads: the cell
/// belongs to the calling thread, a shared one to all.
#[no_mangle]
pub extern "C" fn GC_new(id: KnTypeId) -> *mut c_void {
    let state = counted::current();
    if state.is_null() {
        return null_mut();
    }
    // SAFETY: the calling thread's state.
    unsafe { Counted::new_cell(state, id).cast() }
}

/// Makes a cell with a payload of `bytes` bytes, or of the type's size if that is more.
///
/// Returns as GC_new; NULL also iff `bytes` is more than about 2 GB.
/// Cost: as GC_new; above 504 bytes (120 on 32-bit targets) a block of the heap each. Ownership, threads:
/// as GC_new.
#[no_mangle]
pub extern "C" fn GC_newSized(id: KnTypeId, bytes: usize) -> *mut c_void {
    let state = counted::current();
    if state.is_null() {
        return null_mut();
    }
    // SAFETY: the calling thread's state.
    unsafe { Counted::new_sized(state, id, bytes).cast() }
}

/// Counts one reference more.
///
/// Returns its argument; NULL does nothing. A pointer that is no living cell's goes to the error hook
/// (KN_E_DOUBLE_FREE for a dead cell, KN_E_FOREIGN else) and changes nothing. A count that would not fit
/// makes the cell immortal.
/// Cost: O(1); instructions of this and of GC_refInline in docs/counted-figures.md. Ownership: the new reference is the caller's.
/// Threads: the cell's own; any for a shared cell.
///
/// # Safety
/// `object` is NULL or a cell.
#[no_mangle]
pub unsafe extern "C" fn GC_ref(object: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { counted::add_ref(object.cast()).cast() }
}

/// Gives a reference up. With the last one the cell is destroyed: its `destroy`, its references, its
/// memory, and whatever that sets free, without recursion.
///
/// NULL does nothing; a pointer that is no living cell's goes to the error hook and changes nothing.
/// Cost: O(1) and O(what is destroyed), bounded by frees_per_unref; it may start a collection.
/// Ownership: the reference is gone. Threads: as GC_ref.
///
/// # Safety
/// `object` is NULL or a cell, and the caller owns the reference.
#[no_mangle]
pub unsafe extern "C" fn GC_unref(object: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { counted::release(object.cast()) }
}

/// Makes a field or variable refer to a cell, or to none: first the new one gains a reference, then the
/// old one loses its own, so both may be the same (Grain's rule for locals).
///
/// Cost: GC_ref and GC_unref. Ownership: the caller's reference to `object` stays the caller's. Threads: as
/// GC_ref.
///
/// # Safety
/// `slot` holds NULL or a reference that it owns; `object` is NULL or a cell.
#[no_mangle]
pub unsafe extern "C" fn GC_assign(slot: *mut *mut c_void, object: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { counted::assign(slot.cast(), object.cast()) }
}

/// Takes the reference out of a field or variable and leaves NULL there. No count changes.
///
/// Returns what was there. Cost: O(1). Ownership: the reference is the caller's now. Threads: as GC_ref.
///
/// # Safety
/// As GC_assign.
#[no_mangle]
pub unsafe extern "C" fn GC_move(slot: *mut *mut c_void) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { counted::take(slot.cast()).cast() }
}

/// The number of references to a cell.
///
/// Returns 0 for NULL and for what is no living cell; KN_IMMORTAL for one that is no longer counted.
/// Cost: O(1). Ownership: none. Threads: as GC_ref.
///
/// # Safety
/// `object` is NULL or a cell.
#[no_mangle]
pub unsafe extern "C" fn GC_refcount(object: *const c_void) -> u32 {
    // SAFETY: the caller's word.
    unsafe { counted::count(object.cast()) }
}

/// Whether the caller's reference is the only one, so that the cell may be changed in place.
///
/// Returns true iff the count is 1. Cost: O(1). Ownership: none. Threads: as GC_ref.
///
/// # Safety
/// As GC_refcount.
#[no_mangle]
pub unsafe extern "C" fn GC_isUnique(object: *const c_void) -> bool {
    // SAFETY: the caller's word.
    unsafe { counted::is_unique(object.cast()) }
}

/// Bytes that may be used at a cell, at least what was asked for.
///
/// Returns 0 for NULL and for what is no living cell. Cost: O(1). Ownership: none. Threads: as GC_ref.
///
/// # Safety
/// As GC_refcount.
#[no_mangle]
pub unsafe extern "C" fn GC_sizeOf(object: *const c_void) -> usize {
    // SAFETY: the caller's word.
    unsafe { counted::size_of_cell(object.cast()) }
}

/// The type of a cell.
///
/// Returns 0 for NULL and for what is no living cell. Cost: O(1). Ownership: none. Threads: as GC_ref.
///
/// # Safety
/// As GC_refcount.
#[no_mangle]
pub unsafe extern "C" fn GC_typeOf(object: *const c_void) -> KnTypeId {
    // SAFETY: the caller's word.
    unsafe { counted::type_of(object.cast()) }
}

/// Tells the collector of a field: what a trace callback calls for each, NULL ones too or not.
///
/// Cost: O(1). Ownership: none; the field may be NULL afterwards. Threads: within the callback.
///
/// # Safety
/// `tracer` is what the callback was given; `slot` is a field of the cell or of memory it owns.
#[no_mangle]
pub unsafe extern "C" fn GC_visit(tracer: *mut KnTracer, slot: *mut *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { counted::visit(tracer, slot.cast()) }
}

/// Grain's decRef: GC_unref that returns its argument. A count of zero goes to the error hook as
/// "DecRefError: Reference count of zero".
///
/// Cost, ownership, threads: as GC_unref.
///
/// # Safety
/// As GC_unref.
#[no_mangle]
pub unsafe extern "C" fn GC_decRef(object: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { counted::dec_ref(object.cast()).cast() }
}

/// Grain's decRefIgnoreZeros: GC_decRef, silent on a count of zero.
///
/// Cost, ownership, threads: as GC_unref.
///
/// # Safety
/// As GC_unref.
#[no_mangle]
pub unsafe extern "C" fn GC_decRefIgnoreZeros(object: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { counted::dec_ref_ignore_zeros(object.cast()).cast() }
}

/// Grain's free: ends a cell whatever its count is. Its references are not released and its destroy is not
/// called; other references to it dangle.
///
/// Cost: O(1). Ownership: the memory is the library's again. Threads: as GC_ref.
///
/// # Safety
/// `object` is NULL or a cell that is not used any more.
#[no_mangle]
pub unsafe extern "C" fn GC_freeObject(object: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { counted::end(object.cast()) }
}

/// Gives a reference up, for the cell's memory: reuse of a cell that would be freed only to make
/// another of its type.
///
/// Returns the cell, its contents destroyed and zeroed, with a count of 1, iff the reference was the last one;
/// else NULL. Cost: as GC_unref. Ownership: as GC_new. Threads: as GC_ref.
/// Source: Perceus (Reinking, Xie, de Moura, Leijen, PLDI 2021).
///
/// # Safety
/// As GC_unref.
#[no_mangle]
pub unsafe extern "C" fn GC_dropReuse(object: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { counted::drop_reuse(object.cast()).cast() }
}

/// Runs `work` with the calling thread's state; answers `none` when there is no heap or no memory for it.
fn with_state<R>(none: R, work: impl FnOnce(*mut Counted) -> R) -> R {
    let state = counted::current();
    if state.is_null() {
        none
    } else {
        work(state)
    }
}

/// Collects all cycles and destroys all that waits, until no root is left. In a callback it does
/// nothing. While the collector is disabled it runs, and enables it (unless KN_GC_STAY_DISABLED).
///
/// Cost: O(cells and references reached from roots); if that is much of the heap, O(heap).
/// Ownership: none. Threads: the calling thread's cells.
/// Source: Bacon and Rajan, ECOOP 2001; Nim's ORC.
#[no_mangle]
pub extern "C" fn GC_runOrc() {
    // SAFETY: the calling thread's state.
    with_state((), |state| unsafe { Counted::collect(state) })
}

/// Collects with the roots from index `limit` on only; those below stay registered.
///
/// A limit that is not below the number of roots does nothing. Cost, ownership, threads: as GC_runOrc.
#[no_mangle]
pub extern "C" fn GC_partialCollect(limit: usize) {
    // SAFETY: the calling thread's state.
    with_state((), |state| unsafe { Counted::partial(state, limit) })
}

/// The number of roots, as a limit for GC_partialCollect: what is registered from now on.
///
/// Cost: O(1). Ownership: none. Threads: the calling thread's.
#[no_mangle]
pub extern "C" fn GC_prepareOrc() -> usize {
    // SAFETY: the calling thread's state.
    with_state(0, |state| unsafe { Counted::roots(state) })
}

/// Lets collections start by themselves again. The next root may start one over what has accumulated.
///
/// Cost: O(1). Ownership: none. Threads: the calling thread's.
#[no_mangle]
pub extern "C" fn GC_enableOrc() {
    // SAFETY: the calling thread's state.
    with_state((), |state| unsafe { Counted::enable(state) })
}

/// Lets no collection start by itself: roots accumulate.
///
/// Cost: O(1). Ownership: none. Threads: the calling thread's.
#[no_mangle]
pub extern "C" fn GC_disableOrc() {
    // SAFETY: the calling thread's state.
    with_state((), |state| unsafe { Counted::disable(state) })
}

/// Goes on collecting and destroying for at most `budget` visits of cells. The program may change the graph
/// between two steps; see the chapter's head for the one rule.
///
/// Returns true iff nothing is left to do: no roots, no search under way, nothing that waits. A cycle
/// that is larger than visited_limit or memory allows is left to GC_runOrc.
/// Cost: O(budget); a cell with a trace callback counts once, whatever it visits, 8 fields count as a cell.
/// Ownership: none. Threads: the calling thread's.
#[no_mangle]
pub extern "C" fn GC_step(budget: usize) -> bool {
    // SAFETY: the calling thread's state.
    with_state(true, |state| unsafe { Counted::step(state, budget) })
}

/// Says how cells are destroyed and cycles collected in the calling thread's default heap; NULL: as
/// after start.
///
/// Returns KN_OK; KN_E_INVALID iff a flag is unknown, KN_E_NO_MEMORY iff there is no heap or no memory;
/// then nothing has changed. Cells keep what they were born with: KN_GC_ARC is for new ones.
/// Cost: O(types). Ownership: the configuration is copied. Threads: the calling thread's.
///
/// # Safety
/// `config` is NULL or points to one.
#[no_mangle]
pub unsafe extern "C" fn GC_configure(config: *const KnGcConfig) -> KnStatus {
    let defaults = KnGcConfig::default();
    // SAFETY: the caller's word.
    let config = if config.is_null() { &defaults } else { unsafe { &*config } };
    // SAFETY: the calling thread's state.
    with_state(KnStatus::NoMemory, |state| unsafe { Counted::configure(state, config) })
}

/// What GC_refInline does with a cell that is out of the ordinary. Not for programs.
///
/// # Safety
/// As GC_ref, not NULL.
#[no_mangle]
pub unsafe extern "C" fn GC_refSpecial(object: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { counted::special_ref(object.cast()) }
}

/// What GC_unrefInline does with a last reference, or a cell out of the ordinary. Not for programs.
///
/// # Safety
/// As GC_unref, not NULL.
#[no_mangle]
pub unsafe extern "C" fn GC_unrefSpecial(object: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { counted::special_release(object.cast()) }
}

/// What GC_unrefInline does with a cell that may be in a cycle. Not for programs.
///
/// # Safety
/// As GC_unref, not NULL.
#[no_mangle]
pub unsafe extern "C" fn GC_firstRoot(object: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { counted::first_root(object.cast()) }
}

/// What GC_moveInline does with a cell that is under search. Not for programs.
///
/// # Safety
/// As GC_move.
#[no_mangle]
pub unsafe extern "C" fn GC_moveSpecial(object: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { counted::special_take(object.cast()) }
}
