//! Resident: always-active data, which stays outside every scope and must not refer to what goes with one.
//!
//! Cells of a type with KN_TYPE_RESIDENT lie in pages of their own, kn_resident_* gives raw blocks; both come
//! from the heap's bottom end, while scopes come from its top. A resident cell may refer to resident cells,
//! to immortal ones and to shared ones. GC_assign refuses others: the field stays as it is, and the error hook
//! gets KN_E_RESIDENT with the field's address. What is stored otherwise (raw stores, GC_assignInline)
//! kn_resident_check finds. docs/resident.md has the rules and an example.

use core::ffi::{c_char, c_void};

use super::insight::KnWriteFn;
use crate::arena::always;
use crate::heap::{KnHeap, KnStatus};
use crate::insight;

/// A resident block of `bytes` zeros at the heap's bottom end, aligned as kn_heap_malloc's.
///
/// Returns NULL iff there is no room, or `heap` is NULL. A size of 0 gives a block of its own.
/// Cost: kn_heap_malloc and O(bytes); 24 bytes more on 32-bit targets, 48 on 64-bit ones. Ownership: the caller's,
/// until kn_resident_free. Threads: exclusive; over the process heap a block belongs to the thread that made it.
///
/// # Safety
/// `heap` is NULL or a live heap that nobody else uses during the call.
#[no_mangle]
pub unsafe extern "C" fn kn_resident_alloc(heap: *mut KnHeap, bytes: usize) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { kn_resident_alloc_named(heap, bytes, core::ptr::null()) }
}

/// As kn_resident_alloc, with a name for reports.
///
/// Returns, cost, threads: as kn_resident_alloc. Ownership: the name is not copied, it stays the caller's as long as
/// the block is there; NULL: "?".
///
/// # Safety
/// As kn_resident_alloc; `name` is NULL or ends with a NUL.
#[no_mangle]
pub unsafe extern "C" fn kn_resident_alloc_named(heap: *mut KnHeap, bytes: usize, name: *const c_char) -> *mut c_void {
    if heap.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { always::alloc(heap, bytes, name).cast() }
}

/// A resident block for `count` objects of `size` bytes, zeroed.
///
/// Returns as kn_resident_alloc, NULL also iff `count * size` overflows. Cost, ownership, threads: as
/// kn_resident_alloc.
///
/// # Safety
/// As kn_resident_alloc.
#[no_mangle]
pub unsafe extern "C" fn kn_resident_calloc(heap: *mut KnHeap, count: usize, size: usize) -> *mut c_void {
    if heap.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { always::calloc(heap, count, size).cast() }
}

/// Makes a resident block `bytes` long, what is new zeroed. A NULL block is allocated; a name stays.
///
/// Returns the block, which may have moved; NULL iff there is no room, or `block` is no resident block of this heap
/// (the error hook gets KN_E_FOREIGN): then all is as it was. To make room in time is better: a block that grows late
/// ends up in the middle of the heap.
/// Cost: kn_heap_realloc, and O(resident blocks, arenas and named roots). Ownership: as kn_resident_alloc.
/// Threads: as kn_resident_alloc.
///
/// # Safety
/// As kn_resident_alloc; after success only the result is used.
#[no_mangle]
pub unsafe extern "C" fn kn_resident_realloc(heap: *mut KnHeap, block: *mut c_void, bytes: usize) -> *mut c_void {
    if heap.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { always::realloc(heap, block.cast(), bytes).cast() }
}

/// Gives a resident block back; NULL does nothing.
///
/// A pointer that is no resident block of this heap, freed ones included, goes to the error hook as KN_E_FOREIGN and
/// changes nothing. Cost: kn_heap_free, and O(resident blocks, arenas and named roots). Ownership: the
/// memory is the heap's again. Threads: as kn_resident_alloc.
///
/// # Safety
/// As kn_resident_alloc; nobody uses the block afterwards.
#[no_mangle]
pub unsafe extern "C" fn kn_resident_free(heap: *mut KnHeap, block: *mut c_void) {
    if !heap.is_null() {
        // SAFETY: the caller's word. A refusal was told to the error hook.
        let _ = unsafe { always::free(heap, block.cast()) };
    }
}

/// Verifies that always-active data refers to always-active data only: every field of every resident cell, and every
/// word of every resident block that could be an address.
///
/// Returns KN_OK; KN_E_RESIDENT iff a resident cell refers to a living cell that is neither resident nor immortal nor
/// shared, to one in a scope or arena, or to no living cell, or iff a resident block holds an address in
/// a living cell that is not resident, or in a scope or arena; KN_E_INVALID iff `heap` is NULL. With `write` each such
/// reference is told in a line, with the chain of fields that leads to it from a resident cell that no other one
/// holds: `Storage.cache -> Cache[3] -> Entry.owner -> Session: not resident, at 0x20004410`. What is before the comma
/// has no address in it. Stops early when `write` takes less than it is given; without `write` at the first one.
/// Cost: O(cells and their references + words of blocks x pages); for each line O(cells) for each link of its chain.
/// Ownership: none; allocates nothing, needs 1 KB of stack. Threads: exclusive; the calling thread's cells.
///
/// # Safety
/// As kn_resident_alloc; `write` may be called with `context`, and makes, changes and frees no cells.
#[no_mangle]
pub unsafe extern "C" fn kn_resident_check(heap: *mut KnHeap, write: KnWriteFn, context: *mut c_void) -> KnStatus {
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe {
        match write {
            None => insight::check_residents(heap, None),
            Some(write) => {
                let mut tell = |text: &[u8]| write(context, text.as_ptr().cast(), text.len()) == text.len();
                insight::check_residents(heap, Some(&mut tell))
            }
        }
    }
}
