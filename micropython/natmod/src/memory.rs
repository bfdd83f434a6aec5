//! Where an arena takes its memory from: the heap that it was made for, and no other.
//!
//! What the library's source asks of `crate::memory`, where it also knows the process heap and the default heap's lock.

use crate::heap::KnHeap;

/// A source of blocks.
#[derive(Clone, Copy)]
pub(crate) struct Source(*mut KnHeap);

/// A method of [`Source`] that is a call of the heap's.
macro_rules! passed_on {
    ($(#[$about:meta] $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty = $call:ident;)*) => {$(
        #[$about]
        ///
        /// # Safety
        /// The heap is alive and this thread's; an address is that of a block from here.
        #[inline(always)]
        pub unsafe fn $name(self, $($argument: $kind),*) -> $answer {
            // SAFETY: the caller's word.
            unsafe { KnHeap::$call(self.0, $($argument),*) }
        }
    )*};
}

impl Source {
    /// Memory of a heap.
    #[inline(always)]
    pub fn of(heap: *mut KnHeap) -> Source {
        Source(heap)
    }

    /// The heap.
    #[inline(always)]
    pub fn heap(self) -> *mut KnHeap {
        self.0
    }

    passed_on! {
        /// A block of `bytes`, or null.
        take(bytes: usize) -> *mut u8 = malloc;
        /// A block made `bytes` long, or null, when it is as it was.
        resize(at: *mut u8, bytes: usize) -> *mut u8 = realloc;
        /// A block of `bytes` from the heap's top end, or null.
        take_top(bytes: usize) -> *mut u8 = take_end;
        /// A block with at least `bytes` more before its start: its new start, or null, when it is as it was.
        extend_front(at: *mut u8, bytes: usize) -> *mut u8 = extend_front;
        /// Gives back at most `bytes` bytes from a block's start: its new start, or null, when it is as it was.
        retract_front(at: *mut u8, bytes: usize) -> *mut u8 = retract_front;
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// The heap is alive and this thread's; `at` is null or a block from here that nobody uses.
    pub unsafe fn give(self, at: *mut u8) {
        // SAFETY: the caller's word. A refusal is nobody's to hear.
        let _ = unsafe { KnHeap::free(self.0, at) };
    }

    /// Gives back a block that [`Source::take_top`] gave.
    ///
    /// # Safety
    /// As [`Source::give`].
    #[inline(always)]
    pub unsafe fn give_top(self, at: *mut u8) {
        // SAFETY: the caller's word.
        unsafe { KnHeap::give_end(self.0, at) };
    }
}
