//! Fork: the process is copied while nobody is inside the heap.
//!
//! - The prepare handler takes the heap's lock and the others release it, so the child's copy is
//!   consistent and unlocked whatever other threads were doing.
//! - Registered at the first allocation, before any other allocating code can register its own, and
//!   handlers run in reverse order before the fork and in order after it: others' handlers may
//!   allocate.
//! - Registering may itself allocate: nobody waits for it and no lock is held.
//! - Between the handlers libc takes locks of its own. A thread that holds one of them and needs
//!   memory does not wait for the fork, which waits for it: see `aside`.
//! - A fork from a signal handler that interrupted this very thread inside the heap takes nothing:
//!   in the child the interrupted call goes on and releases the lock, as in the parent. That holds for
//!   processes of one thread: with more, libc's fork takes locks of its own that the interrupted call may
//!   hold, and its malloc's stands still there, too.
//!
//! The list of those who count is not locked: the child puts it right (`collectors`).
//!
//! A large block that another thread is mapping or unmapping at that moment may stay mapped in the
//! child: its owner does not exist there.

use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "counted")]
use super::collectors;
use crate::port;

/// Set while a fork is under way whose prepare handler found its own thread inside the heap.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Registers the handlers, once for the process.
#[inline]
pub(super) fn register_once() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Relaxed) && !REGISTERED.swap(true, Ordering::Relaxed) {
        register();
    }
}

unsafe extern "C" fn prepare() {
    if port::process_lock().begin_fork().is_err() {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
}

unsafe extern "C" fn in_parent() {
    if !INTERRUPTED.swap(false, Ordering::Relaxed) {
        // SAFETY: `prepare` took the lock in this thread.
        unsafe { port::process_lock().end_fork_in_parent() };
    }
}

unsafe extern "C" fn in_child() {
    #[cfg(feature = "counted")]
    collectors::in_child();
    if !INTERRUPTED.swap(false, Ordering::Relaxed) {
        super::process::in_child();
        // SAFETY: `prepare` took the lock in the thread that this one is a copy of.
        unsafe { port::process_lock().end_fork_in_child() };
    }
}

/// glibc's `pthread_atfork` is a stub that is linked into each object and needs its `__dso_handle`,
/// which an object without start-up files lacks. The function behind it takes null: never unregister.
#[cold]
#[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
fn register() {
    use core::ffi::{c_int, c_void};

    type Handler = unsafe extern "C" fn();
    extern "C" {
        fn __register_atfork(
            prepare: Option<Handler>,
            parent: Option<Handler>,
            child: Option<Handler>,
            object: *mut c_void,
        ) -> c_int;
    }
    let _errno = port::Errno::keep();
    // SAFETY: the handlers live as long as the process: libknoll.so is linked with -z nodelete.
    // A failure (no memory) leaves fork as it is for any library without handlers.
    let _ = unsafe { __register_atfork(Some(prepare), Some(in_parent), Some(in_child), core::ptr::null_mut()) };
}

#[cold]
#[cfg(not(any(all(target_os = "linux", target_env = "gnu"), miri)))]
fn register() {
    let _errno = port::Errno::keep();
    // SAFETY: the handlers live as long as the process.
    let _ = unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
}

/// Miri has no fork.
#[cfg(miri)]
fn register() {
    let _: [unsafe extern "C" fn(); 3] = [prepare, in_parent, in_child];
}
