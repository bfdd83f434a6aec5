//! Whose turn it is: one call at a time destroys and searches, and callbacks may come back, or never.
//!
//! Guarantees
//! * While a call destroys or searches, those that its callbacks make only count, and leave to it what they
//!   set free.
//! * A callback (destroy, trace, the error hook) may jump away by longjmp. The next call that is not a
//!   callback's finishes what was begun; nothing is done twice.
//!
//! ```text
//!   enter ---> destroys, searches … ---> leave
//!     |            call(callback) --> program --> GC_unref --> enter: refused, the cell waits
//!     |                                 | longjmp
//!     +-- busy, but no callback is under way (port/callback.rs): recover, then as if nothing had been
//! ```
//! Cost: two stores for a call that destroys; 32 stores around a callback.

use core::ptr::null_mut;

use super::state::Counted;
use crate::port::Callback;

impl Counted {
    /// Whether this call may destroy and search: none further up does. What one left undone that was
    /// jumped away from is put right.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    #[inline(always)]
    pub(super) unsafe fn enter(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).busy && !Self::reenter(this) {
                return false;
            }
            (*this).busy = true;
            true
        }
    }

    /// [`Counted::enter`] while a call destroys or searches, or was jumped away from.
    ///
    /// # Safety
    /// As there.
    #[cold]
    #[inline(never)]
    unsafe fn reenter(this: *mut Self) -> bool {
        // SAFETY: as there.
        unsafe {
            if Self::is_inside(this) {
                return false;
            }
            Self::recover(this);
            true
        }
    }

    /// Ends what [`Counted::enter`] began, and collects if roots came to be enough meanwhile.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(super) unsafe fn leave(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).busy = false;
            if (*this).roots.len >= (*this).trip {
                Self::tripped(this);
            }
        }
    }

    /// Ends what [`Counted::enter`] began, without more.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(super) unsafe fn relinquish(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe { (*this).busy = false };
    }

    /// Whether a call further up destroys or searches: this one was made by it, or by a callback.
    ///
    /// # Safety
    /// As [`Counted::enter`].
    pub(super) unsafe fn is_inside(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe { (*this).busy && (!(*this).callback.is_noted() || Callback::is_under_way(&raw const (*this).callback)) }
    }

    /// Runs code of the program's.
    ///
    /// # Safety
    /// As [`Counted::enter`]; the state is as the next call may find it.
    #[inline(always)]
    pub(super) unsafe fn call(this: *mut Self, callback: impl FnOnce()) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).calls = (*this).calls.wrapping_add(1);
            Callback::run(&raw mut (*this).callback, callback);
        }
    }

    /// Puts right what a callback left that jumped away.
    ///
    /// # Safety
    /// As [`Counted::enter`].
    unsafe fn recover(this: *mut Self) {
        // SAFETY: the running cell is one that waits to be finished.
        unsafe {
            (*this).callback.forget();
            let object = (*this).running;
            (*this).running = null_mut();
            if !object.is_null() && !Self::revive(this, object) {
                Self::wait(this, object);
            }
            Self::recover_search(this);
        }
    }
}
