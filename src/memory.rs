//! Where a lifetime takes its memory from: a heap, or on an operating system the process heap.
//!
//! * A heap that the thread made its own is used as it is, without a lock.
//! * The default heap of bare metal and WebAssembly, and the process heap, are used through the
//!   platform's lock, as `kn_malloc` does, so interrupts and other threads may use them too.
//!
//! Cost: that of the call behind it.

use crate::heap::KnHeap;
#[cfg(unix)]
use crate::hosted::process;
#[cfg(not(unix))]
use crate::port::manual as process;

/// A source of blocks; null: the process heap, or bare metal's default heap.
#[derive(Clone, Copy)]
pub(crate) struct Source(*mut KnHeap);

impl Source {
    /// Memory of a heap that may be the process heap.
    #[cfg(feature = "arena")]
    #[inline(always)]
    pub fn of(heap: *mut KnHeap) -> Source {
        #[cfg(unix)]
        if process::is_process_heap(heap) {
            return Source(core::ptr::null_mut());
        }
        Source(heap)
    }

    /// Memory of `heap`; null: the process heap.
    #[cfg(feature = "counted")]
    pub fn new(heap: *mut KnHeap) -> Source {
        Source(heap)
    }

    /// The heap, null for the process heap.
    pub fn heap(self) -> *mut KnHeap {
        self.0
    }

    /// Whether the default heap's lock guards this one too.
    #[inline(always)]
    fn locked(self) -> bool {
        self.0.is_null() || cfg!(not(unix)) && self.0 == crate::port::default_heap()
    }

    /// A block of `bytes`, or null.
    ///
    /// # Safety
    /// The heap is alive and this thread's.
    pub unsafe fn take(self, bytes: usize) -> *mut u8 {
        if self.locked() {
            return process::malloc(bytes);
        }
        // SAFETY: the caller's word.
        unsafe { KnHeap::malloc(self.0, bytes) }
    }

    /// A block of `bytes` at a multiple of `align`, or null.
    ///
    /// # Safety
    /// As [`Source::take`].
    #[cfg(feature = "counted")]
    pub unsafe fn take_aligned(self, align: usize, bytes: usize) -> *mut u8 {
        if self.locked() {
            return process::aligned_alloc(align, bytes);
        }
        // SAFETY: the caller's word.
        unsafe { KnHeap::aligned_alloc(self.0, align, bytes) }
    }

    /// A block made `bytes` long, or null, when it is as it was.
    ///
    /// # Safety
    /// As [`Source::take`]; `at` is null or a block from here.
    pub unsafe fn resize(self, at: *mut u8, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if self.locked() {
                return process::realloc(at, bytes);
            }
            KnHeap::realloc(self.0, at, bytes)
        }
    }

    /// A block of `bytes` from the heap's top end, or null. The process heap has none: its blocks lie anywhere.
    ///
    /// # Safety
    /// As [`Source::take`].
    #[cfg(feature = "arena")]
    #[inline(always)]
    pub unsafe fn take_top(self, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            #[cfg(unix)]
            if self.locked() {
                return process::malloc(bytes);
            }
            self.with_heap(|heap| KnHeap::take_end(heap, bytes))
        }
    }

    /// Gives back a block that [`Source::take_top`] gave.
    ///
    /// # Safety
    /// As [`Source::give`].
    #[cfg(feature = "arena")]
    #[inline(always)]
    pub unsafe fn give_top(self, at: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            #[cfg(unix)]
            if self.locked() {
                return process::free(at);
            }
            self.with_heap(|heap| KnHeap::give_end(heap, at));
        }
    }

    /// A block with at least `bytes` more before its start: its new start, or null, when it is as it was.
    ///
    /// # Safety
    /// As [`Source::take`]; `at` is a block from here.
    #[cfg(feature = "arena")]
    pub unsafe fn extend_front(self, at: *mut u8, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            #[cfg(unix)]
            if self.locked() {
                return core::ptr::null_mut();
            }
            self.with_heap(|heap| KnHeap::extend_front(heap, at, bytes))
        }
    }

    /// Gives back at most `bytes` bytes from a block's start: its new start, or null, when it is as it was.
    ///
    /// # Safety
    /// As [`Source::give`].
    #[cfg(feature = "arena")]
    pub unsafe fn retract_front(self, at: *mut u8, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            #[cfg(unix)]
            if self.locked() {
                return core::ptr::null_mut();
            }
            self.with_heap(|heap| KnHeap::retract_front(heap, at, bytes))
        }
    }

    /// Runs `work` on the heap, under the default heap's lock if it is that.
    #[cfg(feature = "arena")]
    #[inline(always)]
    fn with_heap<R>(self, work: impl FnOnce(*mut KnHeap) -> R) -> R {
        #[cfg(not(unix))]
        if self.locked() {
            return crate::port::with_default(work);
        }
        work(self.0)
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// As [`Source::take`]; `at` is null or a block from here that nobody uses.
    pub unsafe fn give(self, at: *mut u8) {
        // SAFETY: the caller's word. A refusal was told to the error hook.
        unsafe {
            if self.locked() {
                process::free(at);
            } else {
                let _ = KnHeap::free(self.0, at);
            }
        }
    }

    /// Bytes that the heap can hold at most; None when it grows.
    ///
    /// # Safety
    /// As [`Source::take`].
    #[cfg(feature = "counted")]
    pub unsafe fn capacity(self) -> Option<usize> {
        let heap = if self.0.is_null() { return None } else { self.0 };
        // SAFETY: the caller's word.
        unsafe {
            let mut stats = crate::heap::KnHeapStats::default();
            KnHeap::stats(heap, &mut stats);
            Some(stats.total)
        }
    }
}

/// The pointer to an address that was put into a header, with the provenance of the memory that it
/// lies in.
///
/// # Safety
/// `address` is that of a live cell of a heap; `heap` is that heap, or null for the process heap.
#[cfg(feature = "counted")]
#[inline(always)]
pub(crate) unsafe fn at(heap: *mut KnHeap, address: usize) -> *mut u8 {
    #[cfg(not(miri))]
    {
        let _ = heap;
        core::ptr::with_exposed_provenance_mut(address)
    }
    #[cfg(miri)]
    {
        if heap.is_null() {
            return process::pointer_to(address);
        }
        // SAFETY: the caller's word.
        unsafe { KnHeap::pointer_to(heap, address) }
    }
}
