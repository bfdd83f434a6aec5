//! Whose turn it is: one call at a time destroys and searches, and callbacks may come back, or never.
//!
//! Guarantees
//! * While a call destroys or searches, those that its callbacks make only count, and leave to it what they
//!   set free.
//! * A callback (destroy, trace, the error hook) may jump away by longjmp. The next call that is not a
//!   callback's finishes what was begun; nothing is done twice.
//!
//! ```text
//!   stack (downwards)          state
//!   | GC_unref    |            busy   a call destroys or searches
//!   |  destroys … |
//!   |  [mark x16] | <--------- mark   written around each call of a callback, and frame, the
//!   |  destroy()  |                   stack pointer there; none: no callback runs
//!   |   GC_unref  |  lower than frame, and the mark stands as it was written: a callback's call
//!   |  main(), …  |  else the callback was jumped away from, and the stack is used anew
//! ```
//! The mark is 16 words: the frames of other calls leave holes, but not so large ones. A callback must
//! not switch to another stack and use the library there.
//!
//! Cost: two stores for a call that destroys; 32 stores around a callback.

use core::ptr::null_mut;

use super::state::Counted;
use crate::port;

/// Words of a mark.
const MARK: usize = 16;

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
        // SAFETY: the caller's word. The mark lies above the stack pointer, on the stack or in what was its
        // use before.
        unsafe {
            if !(*this).busy || (*this).frame == 0 {
                return (*this).busy;
            }
            let here = port::stack_pointer();
            if here == 0 {
                // It can't be had here: then nobody jumps.
                return true;
            }
            let token = Self::token(this);
            here < (*this).frame && (0..MARK).all(|n| (*this).mark.wrapping_add(n).read_volatile() == token)
        }
    }

    /// Runs code of the program's.
    ///
    /// # Safety
    /// As [`Counted::enter`]; the state is as the next call may find it.
    #[inline(never)]
    pub(super) unsafe fn call(this: *mut Self, callback: impl FnOnce()) {
        let mut mark = [0usize; MARK];
        let at = mark.as_mut_ptr();
        // SAFETY: the caller's word.
        unsafe {
            let above = ((*this).frame, (*this).mark);
            for n in 0..MARK {
                at.wrapping_add(n).write_volatile(Self::token(this));
            }
            (*this).mark = at;
            (*this).frame = port::stack_pointer().max(1);
            callback();
            ((*this).frame, (*this).mark) = above;
            for n in 0..MARK {
                at.wrapping_add(n).write_volatile(0);
            }
        }
    }

    /// What a mark says.
    fn token(this: *mut Self) -> usize {
        this.addr() ^ 0x5A5A_5A5A
    }

    /// Puts right what a callback left that jumped away.
    ///
    /// # Safety
    /// As [`Counted::enter`].
    unsafe fn recover(this: *mut Self) {
        // SAFETY: the running cell is one that waits to be finished.
        unsafe {
            (*this).frame = 0;
            let object = (*this).running;
            (*this).running = null_mut();
            if !object.is_null() && !Self::revive(this, object) {
                Self::wait(this, object);
            }
            Self::recover_search(this);
        }
    }
}
