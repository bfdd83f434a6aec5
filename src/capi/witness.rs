//! Witness: whether two moments have the same blocks, how fragmented a heap is, and what pins it.
//!
//! These functions read only. Those that take no callback may be asked of the process heap of an operating
//! system at any time, they take its lock; otherwise they take the same exclusion as the calls that
//! change the heap.

use core::ffi::c_void;

use super::insight::KnWriteFn;
use crate::heap::{KnFragmentation, KnHeap, KnStatus};
use crate::insight;

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
/// Returns 0 iff `block` is NULL or no used block of the heap; reports nothing. Small blocks of
/// the process heap (up to 8 KB) lie in pages, large ones (from 128 KB on) are mappings: neither is a part of
/// it. It changes when the block moves or is resized.
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

/// What fits into the heap's largest free block, found without looking at all of them.
///
/// Returns the number of bytes; 0 iff nothing is free or `heap` is NULL; on the process heap also in a
/// signal handler that interrupted the heap, and while another thread forks. It is exact if the free
/// blocks of the largest one's size class are 64 at most, or if that is of a single size, as all up to 256
/// bytes are (512 on 64-bit targets). Otherwise it is the largest of 64 of them, and the largest of all is
/// less than an eighth larger; kn_fragmentation is exact always. A request of kn_heap_stats' `largest_free`
/// is sure to succeed; one of this size may be refused when the block is not among the first three of
/// its size class.
/// Cost: O(regions). Ownership: none; allocates nothing. Threads: as kn_heap_fingerprint.
///
/// # Safety
/// As kn_heap_fingerprint.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_largest_free(heap: *mut KnHeap) -> usize {
    if heap.is_null() {
        return 0;
    }
    // SAFETY: the caller's word, or the lock.
    exclusively(heap, || unsafe { KnHeap::largest_free(heap) }).unwrap_or(0)
}

/// Writes to `out` how fragmented a heap is.
///
/// Returns KN_OK; KN_E_INVALID iff a pointer is NULL; KN_E_CORRUPT iff the blocks can't be told; on the
/// process heap KN_E_ORDER in a signal handler that interrupted the heap, and while another thread forks.
/// Only after KN_OK `out` is changed.
/// Cost: O(blocks). Ownership: none; allocates nothing. Threads: as kn_heap_fingerprint.
///
/// # Safety
/// As kn_heap_fingerprint; `out` is NULL or valid for a write.
#[no_mangle]
pub unsafe extern "C" fn kn_fragmentation(heap: *mut KnHeap, out: *mut KnFragmentation) -> KnStatus {
    if heap.is_null() || out.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word, or the lock.
    exclusively(heap, || unsafe { KnHeap::fragmentation(heap, out) }).unwrap_or(KnStatus::Order)
}

/// Writes how fragmented a heap is, and what pins it, as JSON for programs: docs/witness.md says what each
/// member is, docs/witness.schema.json is its schema. A pin is a run of used blocks between two free
/// ones; the 16 most harmful are told, with the first four blocks of each: where, how long, and whose.
///
/// Returns KN_OK, also when `write` took less than it was given, which ends the text early; KN_E_CORRUPT
/// iff the blocks can't be told, and then nothing was written; KN_E_INVALID iff `heap` or `write` is NULL.
/// Cost: O(blocks), some ten times. Ownership: none; allocates nothing; 300 bytes of stack on Cortex-M3 and
/// M4, 350 on M0, and what `write` needs. Threads: exclusive, the process heap too: `write` is called without a lock.
///
/// # Safety
/// As kn_heap_fingerprint; `write` may be called with `context` and does not change the heap.
#[no_mangle]
pub unsafe extern "C" fn kn_dump_fragmentation(heap: *mut KnHeap, write: KnWriteFn, context: *mut c_void) -> KnStatus {
    let Some(write) = write else {
        return KnStatus::Invalid;
    };
    if heap.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe {
        insight::dump_fragmentation(heap, &mut |text| write(context, text.as_ptr().cast(), text.len()) == text.len())
    }
}

/// Whether free memory is in one piece, for a test suite to insist on: at least `least_permille` of 1000 free
/// bytes must lie in the largest free block of their region (`permille` of KnFragmentation).
///
/// Returns KN_OK; KN_E_FRAGMENTED iff there are fewer, and then `write`, unless NULL, is given lines for
/// people that say what is in the way, the 16 most harmful pins:
/// `[Heap] 1200 bytes cut off at 0x20001230 by 1 block, 48 bytes: cell Table`; KN_E_CORRUPT iff the blocks
/// can't be told; KN_E_INVALID iff `heap` is NULL or `least_permille` more than 1000.
/// Cost, ownership, threads: as kn_dump_fragmentation.
///
/// # Safety
/// As kn_dump_fragmentation.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_fragmentation_check(
    heap: *mut KnHeap,
    least_permille: u32,
    write: KnWriteFn,
    context: *mut c_void,
) -> KnStatus {
    if heap.is_null() || least_permille > 1000 {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe {
        match write {
            None => insight::check_fragmentation(heap, least_permille, None),
            Some(write) => insight::check_fragmentation(
                heap,
                least_permille,
                Some(&mut |text| write(context, text.as_ptr().cast(), text.len()) == text.len()),
            ),
        }
    }
}
