//! Witness: whether two moments have the same blocks, how fragmented a heap is, and what pins it.
//!
//! These functions read only. Those that take no callback may be asked of the process heap of an operating
//! system at any time, they take its lock; otherwise they take the same exclusion as the calls that
//! change the heap.

use core::ffi::c_void;

use crate::heap::KnHeap;

/// Runs `work` on a heap, under the lock if it is the process heap; None iff waiting could last for ever.
fn exclusively<R>(heap: *mut KnHeap, work: impl FnOnce() -> R) -> Option<R> {
    #[cfg(unix)]
    return crate::hosted::exclusively(heap, work);
    #[cfg(not(unix))]
    {
        let _ = heap;
        Some(work())
    }
}

/// One number for all used blocks: where they lie and how long they are.
///
/// Returns the same number as at another moment iff the used blocks are the same, and so the free ones;
/// different blocks have the same number by accident only, once in 2^64. 0 iff `heap` is NULL or its
/// records are contradictory (kn_heap_check); on the process heap also in a signal handler that
/// interrupted the heap, and while another thread forks. Payloads, the order of calls, and regions
/// without a used block do not matter; numbers of different heaps say nothing.
///
/// It is a sum over the blocks, so what calls may do to it is known beforehand: the number after is the
/// number before, plus kn_block_fingerprint of each block that came, minus that of each that went.
/// Cost: O(blocks). Ownership: none; allocates nothing. Threads: exclusive; the process heap any.
///
/// # Safety
/// `heap` is NULL or a live heap that nobody else uses during the call.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_fingerprint(heap: *mut KnHeap) -> u64 {
    if heap.is_null() {
        return 0;
    }
    // SAFETY: the caller's word, or the lock.
    exclusively(heap, || unsafe { KnHeap::fingerprint(heap) }).unwrap_or(0)
}

/// What one used block adds to kn_heap_fingerprint, by addition modulo 2^64.
///
/// Returns 0 iff `block` is NULL or no used block of the heap; reports nothing. Large blocks of the
/// process heap (from 128 KB on) are mappings of their own and no part of it. It changes when the block
/// moves or is resized.
/// Cost: O(regions). Ownership: none. Threads: as kn_heap_fingerprint.
///
/// # Safety
/// As kn_heap_fingerprint.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_block_fingerprint(heap: *mut KnHeap, block: *const c_void) -> u64 {
    if heap.is_null() || block.is_null() {
        return 0;
    }
    // SAFETY: the caller's word, or the lock.
    exclusively(heap, || unsafe { KnHeap::block_fingerprint(heap, block.cast()) }).unwrap_or(0)
}
