//! Unix: memory from mmap, one lock that survives fork, six pointers for each thread.
//!
//! - [`thread_heap`] is the calling thread's own default heap: null until [`use_heap`], so a thread
//!   that never asks shares the process heap of `hosted`.
//! - [`counted`] is the counted state of the heap that is the thread's default; over the process heap
//!   each thread has one of its own.
//! - Nothing here allocates, opens or looks up anything, so all of it works before the C library is
//!   set up, in a signal handler, and in the first call of a preloaded `malloc`.
//! - `errno` is as before after every function except where a function says otherwise.

mod console;
mod guards;
mod key;
mod lock;
mod pages;
mod thread;

#[cfg(feature = "libc-names")]
pub(crate) use console::set_errno;
pub(crate) use console::Errno;
pub(crate) use guards::{close, close_free, move_pages, protect, reserve};
pub(crate) use key::Key;
pub(crate) use lock::{Busy, Futex};
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
pub(crate) use pages::map_at;
pub(crate) use pages::{discard, map, page_bytes, remap, unmap, Span};
pub(crate) use thread::{alone, cache, heap as thread_heap, identity, set_cache, set_counted};
#[cfg(feature = "counted")]
pub(crate) use thread::{counted, process_counted, set_process_counted};
#[cfg(feature = "arena")]
pub(crate) use thread::{held, scope, set_held, set_scope};

use core::ptr::null_mut;

use super::hook::{Report, PENDING};
use super::{LockEnter, LockLeave};
use crate::heap::{KnHeap, KnStatus};

/// Guards the process heap, and with it the pending report.
static LOCK: Futex = Futex::new();

/// True while the calling thread holds the process heap's lock.
pub(super) fn locked_by_me() -> bool {
    LOCK.held_by_me()
}

/// Runs `work` with the process heap's lock held, then delivers an error that was found; or says why
/// waiting for the lock could last for ever.
#[inline(always)]
pub(crate) fn with_lock<R>(work: impl FnOnce() -> R) -> Result<R, Busy> {
    LOCK.acquire()?;
    let result = work();
    // SAFETY: acquired above by this thread.
    unsafe { release_and_deliver() };
    Ok(result)
}

/// As [`with_lock`], for callers that can't do without: waits for a fork, and ends the process when a
/// signal handler interrupted this thread inside the lock.
pub(super) fn locked<R>(work: impl FnOnce() -> R) -> R {
    if LOCK.acquire_patiently().is_err() {
        console::die(c"allocation in a signal handler that interrupted the heap", c"static heap", 0);
    }
    let result = work();
    // SAFETY: acquired above by this thread.
    unsafe { release_and_deliver() };
    result
}

/// Gives the lock up, then tells of an error that was found under it.
///
/// # Safety
/// This thread acquired the lock.
#[inline(always)]
unsafe fn release_and_deliver() {
    // SAFETY: the lock, which guards the slot, is held.
    let pending = unsafe { PENDING.take() };
    // SAFETY: the caller acquired it.
    unsafe { LOCK.release() };
    if let Some(report) = pending {
        deliver(report);
    }
}

/// The lock itself, for fork handlers, which take and release it in different calls, and for guests.
pub(crate) fn process_lock() -> &'static Futex {
    &LOCK
}

/// As [`super::report`], for an error in the process heap that was found without its lock.
#[cold]
pub(crate) fn refuse(status: KnStatus, at: *const u8, what: &'static core::ffi::CStr) {
    if locked_by_me() {
        super::report(status, at, what);
    } else {
        deliver(Report { status, at, what });
    }
}

/// Tells the hook of an error in the process heap. Without a hook, a library that stands in for
/// libc's malloc does as libc's does: one line on standard error, and abort.
#[cold]
#[inline(never)]
fn deliver(report: Report) {
    let told = report.deliver();
    if !told && cfg!(feature = "libc-names") {
        console::die(report.status.name(), report.what, report.at.addr());
    }
}

/// The calling thread's default heap: its own, or the process heap; null iff the system refuses memory.
pub(crate) fn default_heap() -> *mut KnHeap {
    let own = thread::heap();
    if own.is_null() {
        crate::hosted::process_heap()
    } else {
        own
    }
}

/// The lock is not the program's business here.
pub(crate) fn set_lock(_functions: Option<(LockEnter, LockLeave)>) -> KnStatus {
    KnStatus::Unsupported
}

/// Makes `heap` the calling thread's default (null: the process heap) and returns the one before.
///
/// # Safety
/// `heap` is null or a heap that lives while it is the default.
pub(crate) unsafe fn use_heap(heap: *mut KnHeap) -> *mut KnHeap {
    let before = default_heap();
    if heap.is_null() || heap == crate::hosted::process_heap() {
        thread::set_heap(null_mut(), null_mut());
    } else {
        // SAFETY: the caller's promise.
        thread::set_heap(heap, unsafe { (*heap).counted });
    }
    before
}

/// Runs `work` with the process heap as the calling thread's default. The heap that it has of its own
/// is not touched: its memory may have gone, at a thread's end.
#[cfg(feature = "counted")]
pub(crate) fn over_process_heap<R>(work: impl FnOnce() -> R) -> R {
    let (heap, state) = (thread::heap(), thread::counted());
    thread::set_heap(null_mut(), null_mut());
    let result = work();
    if !heap.is_null() {
        thread::set_heap(heap, state);
    }
    result
}
