//! A callback under way: whether it still is, or was jumped away from.
//!
//! - [`Callback::run`] notes where on the stack the program's code was called from. Until it comes back,
//!   [`Callback::is_under_way`] is true for calls that this code makes, at any depth.
//! - After a longjmp out of the callback it is false for calls from further up the stack, and for
//!   others as soon as the stack has been used anew.
//!
//! ```text
//!   stack (downwards)
//!   | a call of the library |
//!   |  [mark x16]           | <--- mark    written around the call; frame: the stack pointer there
//!   |  the callback         |
//!   |   another call        |  lower than frame, and the mark stands as it was written: inside
//!   | main(), …             |  else the callback was jumped away from
//! ```
//! The mark is 16 words: the frames of other calls leave holes, but not so large ones, unless they have arrays that
//! nobody writes to. Who jumps can say so instead (kn_traced_collect_abandon). A callback must not switch to another
//! stack and use the library there.
//!
//! Cost: 32 stores around a callback.

use super::stack_pointer;

/// Words of a mark.
const MARK: usize = 16;

/// Where a callback was called from; all zero: none is under way.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Callback {
    frame: usize,
    mark: *const usize,
}

impl Callback {
    /// Forgets a callback that was jumped away from.
    pub fn forget(&mut self) {
        self.frame = 0;
    }

    /// Whether there is one, under way or jumped away from.
    #[cfg(any(feature = "counted", feature = "traced"))]
    pub fn is_noted(&self) -> bool {
        self.frame != 0
    }

    /// Whether this call was made by the callback.
    ///
    /// # Safety
    /// `this` is where [`Callback::run`] was called with.
    pub unsafe fn is_under_way(this: *const Self) -> bool {
        // SAFETY: the mark lies above the stack pointer, on the stack or in what was its use before.
        unsafe {
            if (*this).frame == 0 {
                return false;
            }
            let here = stack_pointer();
            if here == 0 {
                // It can't be had here: then nobody jumps.
                return true;
            }
            here < (*this).frame && (0..MARK).all(|n| (*this).mark.wrapping_add(n).read_volatile() == Self::token(this))
        }
    }

    /// Runs code of the program's.
    ///
    /// # Safety
    /// `this` outlives the callback, or the callback notices (it jumps, and nobody asks again).
    #[inline(never)]
    pub unsafe fn run(this: *mut Self, callback: impl FnOnce()) {
        let mut mark = [0usize; MARK];
        let at = mark.as_mut_ptr();
        // SAFETY: the caller's word.
        unsafe {
            let above = this.read();
            for n in 0..MARK {
                at.wrapping_add(n).write_volatile(Self::token(this));
            }
            (*this).mark = at;
            (*this).frame = stack_pointer().max(1);
            callback();
            this.write(above);
            for n in 0..MARK {
                at.wrapping_add(n).write_volatile(0);
            }
        }
    }

    /// What a mark says.
    fn token(this: *const Self) -> usize {
        this.addr() ^ 0x5A5A_5A5A
    }
}
