//! Insight: verifying, walking, and showing a heap.
//!
//! These functions read only. They take the same exclusion as the calls that change the heap.

use core::ffi::{c_char, c_void};

use crate::heap::{KnBlock, KnHeap, KnHeapStats, KnStatus};
use crate::insight;

/// Told of each block by kn_heap_walk and kn_process_walk; false stops the walk.
pub type KnWalkFn = Option<unsafe extern "C" fn(context: *mut c_void, block: *const KnBlock) -> bool>;

/// Takes `length` bytes of text, not NUL-terminated, and returns how many it took; fewer stops the
/// writer.
pub type KnWriteFn = Option<unsafe extern "C" fn(context: *mut c_void, text: *const c_char, length: usize) -> usize>;

/// Verifies every record of the heap: sizes, states, neighbours, lists, bitmap, counts.
///
/// Returns KN_OK; KN_E_CORRUPT iff two records contradict each other; KN_E_INVALID iff `heap` is
/// NULL. Reports nothing to the error hook.
/// Cost: O(blocks). Ownership: none. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or a live heap that nobody else uses during the call.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_check(heap: *mut KnHeap) -> KnStatus {
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { KnHeap::check(heap) }
}

/// Writes the heap's numbers to `out`.
///
/// Returns KN_OK; KN_E_INVALID iff a pointer is NULL. `total = used + free` always; `largest_free`
/// is a lower bound: a request of that size succeeds.
/// Cost: O(regions). Ownership: none. Threads: exclusive.
///
/// # Safety
/// As kn_heap_check; `out` is NULL or valid for a write.
#[no_mangle]
pub unsafe extern "C" fn kn_heap_stats(heap: *mut KnHeap, out: *mut KnHeapStats) -> KnStatus {
    if heap.is_null() || out.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { KnHeap::stats(heap, out) }
}

/// Shows every block, used and free, to `visit`, in order of address, region by region.
///
/// Returns KN_OK, also when `visit` stopped the walk; KN_E_CORRUPT iff a record is contradictory;
/// KN_E_INVALID iff `heap` or `visit` is NULL.
/// Cost: O(blocks). Ownership: none; `visit` must not change the heap. Threads: exclusive.
///
/// # Safety
/// As kn_heap_check; `visit` may be called with `context`.
#[no_mangle]
pub unsafe extern "C" fn kn_heap_walk(heap: *mut KnHeap, visit: KnWalkFn, context: *mut c_void) -> KnStatus {
    let Some(visit) = visit else {
        return KnStatus::Invalid;
    };
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { KnHeap::walk(heap, &mut |block| visit(context, block)) }
}

/// Writes a map of the heap as text: a head with its numbers, then one character for each cell of
/// memory, 64 to a line: `.` free, `#` used, `+` both.
///
/// Returns KN_OK; KN_E_CORRUPT iff a record is contradictory; KN_E_INVALID iff `heap` or `write` is
/// NULL. Stops early when `write` takes less than it is given.
/// Cost: O(blocks). Ownership: none; needs no memory but 100 bytes of stack. Threads: exclusive.
///
/// # Safety
/// As kn_heap_check; `write` may be called with `context`.
#[no_mangle]
pub unsafe extern "C" fn kn_dump(heap: *mut KnHeap, write: KnWriteFn, context: *mut c_void) -> KnStatus {
    let Some(write) = write else {
        return KnStatus::Invalid;
    };
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { insight::dump(heap, &mut |text| write(context, text.as_ptr().cast(), text.len()) == text.len()) }
}
