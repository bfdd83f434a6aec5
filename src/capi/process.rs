//! The process heap: the numbers and the blocks of all threads, on an operating system.
//!
//! What malloc and kn_malloc use in every thread that has no heap of its own: small blocks in pages, medium
//! blocks in a heap that grows, large blocks in mappings of their own. These functions take its lock, so any
//! thread may call them at any time; small blocks change without the lock, so that what is told of them is a
//! moment's. The answer is KN_E_UNSUPPORTED on bare metal and WebAssembly, where there is no such heap, and
//! in a signal handler that interrupted its own thread inside the heap.

use core::ffi::c_void;

use super::insight::{KnWalkFn, KnWriteFn};
use crate::heap::KnStatus;

/// The numbers of the process heap, in bytes where nothing else is said. What blocks take is counted as
/// large as they are, which may be more than was asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnProcessStats {
    /// What used blocks take: `small_used + medium_used + large_used`.
    pub used: usize,
    /// What is free and not the system's: in pages, between medium blocks, and in pages that wait for use.
    pub free: usize,
    /// Address space that the heap has from the system.
    pub mapped: usize,
    /// The most that `mapped` ever was.
    pub peak: usize,
    /// Number of used blocks of every kind.
    pub blocks: usize,
    /// What used small blocks take.
    pub small_used: usize,
    /// What free small blocks take, in pages that have a size.
    pub small_free: usize,
    /// Number of used small blocks.
    pub small_blocks: usize,
    /// Number of pages, of 64 KB, that have a size.
    pub pages: usize,
    /// What pages take that are free, but not given back.
    pub waiting: usize,
    /// What used medium blocks take, headers and rounding included.
    pub medium_used: usize,
    /// What free medium blocks take; of those that are large the system has the memory.
    pub medium_free: usize,
    /// Number of used medium blocks.
    pub medium_blocks: usize,
    /// Number of regions of medium blocks.
    pub regions: usize,
    /// What large blocks take.
    pub large_used: usize,
    /// Number of large blocks.
    pub large_blocks: usize,
    /// Number of threads that have pages.
    pub threads: usize,
}

/// Writes the numbers of the process heap to `out`.
///
/// Returns KN_OK; KN_E_INVALID iff `out` is NULL; KN_E_UNSUPPORTED as above: then nothing is written.
/// Cost: O(pages). Ownership: none. Threads: any, any time.
///
/// # Safety
/// `out` is NULL or valid for a write.
#[no_mangle]
pub unsafe extern "C" fn kn_process_stats(out: *mut KnProcessStats) -> KnStatus {
    if out.is_null() {
        return KnStatus::Invalid;
    }
    match platform::stats() {
        Ok(stats) => {
            // SAFETY: the caller's word.
            unsafe { out.write(stats) };
            KnStatus::Ok
        }
        Err(status) => status,
    }
}

/// Gives back to the system what is free and not the system's, but for about `keep` bytes.
///
/// Returns whether there was anything; of pages between medium blocks it can't be told whether they had gone
/// before. Memory goes back without this call: emptied pages and regions do so by themselves, but for a small
/// stock that it empties.
/// Cost: O(pages + medium blocks), and a system call for each piece. Ownership: none. Threads: any, any time.
#[no_mangle]
pub extern "C" fn kn_process_trim(keep: usize) -> bool {
    platform::trim(keep)
}

/// Verifies every record of the process heap: pages, their bits and counts, lists, medium blocks, the table
/// of large ones.
///
/// Returns KN_OK; KN_E_CORRUPT iff two records contradict each other; KN_E_UNSUPPORTED as above. Reports nothing to the error hook.
/// Cost: O(pages + medium blocks + large blocks). Ownership: none. Threads: any, any time.
#[no_mangle]
#[must_use]
pub extern "C" fn kn_process_check() -> KnStatus {
    platform::check()
}

/// Shows every block of the process heap, used and free, to `visit`: small ones in order of address, then
/// medium ones, then large ones.
///
/// Returns KN_OK, also when `visit` stopped the walk; KN_E_INVALID iff `visit` is NULL; KN_E_CORRUPT iff a
/// record is contradictory; KN_E_UNSUPPORTED as above.
/// Cost: O(blocks). Ownership: none; `visit` may allocate and free, which is slow there, and gives up no lock:
/// it must wait for no other thread. Threads: any; the small blocks of other threads change meanwhile.
///
/// # Safety
/// `visit` may be called with `context`.
#[no_mangle]
pub unsafe extern "C" fn kn_process_walk(visit: KnWalkFn, context: *mut c_void) -> KnStatus {
    let Some(visit) = visit else {
        return KnStatus::Invalid;
    };
    // SAFETY: the caller's word.
    platform::walk(&mut |block| unsafe { visit(context, block) })
}

/// Writes the numbers of the process heap as a table, then a map of it: a character for each 64 KB of small
/// and medium blocks, and a line for each large block.
///
/// Returns KN_OK, also when `write` took less than it was given, which stops it; KN_E_INVALID iff `write` is
/// NULL; KN_E_CORRUPT iff a record is contradictory; KN_E_UNSUPPORTED as above.
/// Cost: O(blocks); no memory but 4 KB of stack. Ownership: none; `write` as kn_process_walk's `visit`.
/// Threads: any, any time.
///
/// # Safety
/// `write` may be called with `context`.
#[no_mangle]
pub unsafe extern "C" fn kn_process_dump(write: KnWriteFn, context: *mut c_void) -> KnStatus {
    let Some(write) = write else {
        return KnStatus::Invalid;
    };
    // SAFETY: the caller's word.
    platform::dump(&mut |text| unsafe { write(context, text.as_ptr().cast(), text.len()) == text.len() })
}

#[cfg(unix)]
mod platform {
    use super::KnProcessStats;
    use crate::heap::{KnBlock, KnStatus, KN_BLOCK_FREE, KN_BLOCK_USED};
    use crate::hosted::process;
    use crate::hosted::report::{self, Snapshot};
    use crate::insight::Write;

    pub(super) fn stats() -> Result<KnProcessStats, KnStatus> {
        let snapshot = Snapshot::take().ok_or(KnStatus::Unsupported)?;
        let totals = snapshot.totals;
        Ok(KnProcessStats {
            used: snapshot.used(),
            free: snapshot.free(),
            mapped: snapshot.mapped(),
            peak: totals.peak,
            blocks: snapshot.blocks(),
            small_used: totals.small_bytes,
            small_free: totals.small_free,
            small_blocks: totals.small_blocks,
            pages: totals.pages,
            waiting: snapshot.waiting(),
            medium_used: totals.medium_used,
            medium_free: totals.medium_free,
            medium_blocks: totals.medium_blocks,
            regions: totals.regions,
            large_used: totals.large_bytes,
            large_blocks: totals.large_blocks,
            threads: totals.threads,
        })
    }

    pub(super) use process::{check, trim};

    pub(super) fn walk(visit: &mut dyn FnMut(&KnBlock) -> bool) -> KnStatus {
        process::each_block(&mut |block| {
            let state = if block.used { KN_BLOCK_USED } else { KN_BLOCK_FREE };
            visit(&KnBlock { start: block.at.cast(), size: block.bytes, state })
        })
    }

    pub(super) fn dump(write: Write<'_>) -> KnStatus {
        report::write_all(write).unwrap_or(KnStatus::Unsupported)
    }
}

#[cfg(not(unix))]
mod platform {
    use super::KnProcessStats;
    use crate::heap::{KnBlock, KnStatus};
    use crate::insight::Write;

    pub(super) fn stats() -> Result<KnProcessStats, KnStatus> {
        Err(KnStatus::Unsupported)
    }

    pub(super) fn trim(_keep: usize) -> bool {
        false
    }

    pub(super) fn check() -> KnStatus {
        KnStatus::Unsupported
    }

    pub(super) fn walk(_visit: &mut dyn FnMut(&KnBlock) -> bool) -> KnStatus {
        KnStatus::Unsupported
    }

    pub(super) fn dump(_write: Write<'_>) -> KnStatus {
        KnStatus::Unsupported
    }
}
