//! A platform without any state: no error hook, no default heap, no lock.
//!
//! What the library's source asks of `crate::port`, answered by constants. A module that is loaded from a `.mpy` runs in one
//! thread; who wants to share a heap between threads locks outside.

use core::ffi::{c_void, CStr};

use crate::heap::KnStatus;

#[cfg(feature = "arena")]
#[path = "../../../src/port/callback.rs"]
mod callback;
#[cfg(feature = "arena")]
#[path = "../../../src/port/stack.rs"]
mod stack;

#[cfg(feature = "arena")]
pub(crate) use callback::Callback;
#[cfg(feature = "arena")]
use stack::stack_pointer;

/// Told to nobody.
#[inline(always)]
pub(crate) fn report(_: KnStatus, _: *const u8, _: &'static CStr) {}

/// A lock for one thread.
pub(crate) struct Lock;

impl Lock {
    pub(crate) const fn new() -> Lock {
        Lock
    }

    pub(crate) fn with<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// The innermost scope of the process heap, which there is not.
pub(crate) fn scope() -> *mut c_void {
    core::ptr::null_mut()
}

pub(crate) fn set_scope(_: *mut c_void) {}

/// The first arena of the process heap, which there is not.
pub(crate) fn held() -> *mut c_void {
    core::ptr::null_mut()
}

pub(crate) fn set_held(_: *mut c_void) {}
