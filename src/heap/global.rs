//! The heap for Rust programs: a static that becomes the global allocator.
//!
//! Guarantees
//! * [`Heap::new`] is `const` and zero-sized memory until [`Heap::init`]: a program that allocates
//!   earlier gets null, not undefined behaviour.
//! * `realloc` is forwarded, so a growing `Vec` grows in place where it can.
//! * Calls are exclusive: on hosted targets by a spin lock, on single-core bare metal by masking
//!   interrupts (see `port`).
//!
//! ```no_run
//! use knoll::heap::Heap;
//!
//! #[global_allocator]
//! static HEAP: Heap = Heap::new();
//!
//! fn main() {
//!     static mut MEMORY: [u8; 65536] = [0; 65536];
//!     // SAFETY: called once, before the first allocation; nobody else uses MEMORY.
//!     unsafe { HEAP.init((&raw mut MEMORY).cast(), 65536) };
//! }
//! ```
//!
//! Costs: those of [`KnHeap`], and the lock.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::layout::{KnHeap, KnHeapConfig};
use super::GRANULE;
use crate::port;

/// A heap that several threads, or a program and its interrupts, may share.
pub struct Heap {
    heap: AtomicPtr<KnHeap>,
    lock: port::Lock,
}

impl Heap {
    /// A heap without memory.
    pub const fn new() -> Heap {
        Heap { heap: AtomicPtr::new(null_mut()), lock: port::Lock::new() }
    }

    /// Gives the heap its first memory, or more of it; false iff it is too small.
    ///
    /// # Safety
    /// `memory` is valid for reads and writes of `bytes` bytes for as long as the heap is used, and
    /// nobody else uses them.
    pub unsafe fn init(&self, memory: *mut u8, bytes: usize) -> bool {
        self.lock.with(|| {
            let heap = self.heap.load(Ordering::Relaxed);
            // SAFETY: the caller's word; the lock makes the call exclusive.
            unsafe {
                if heap.is_null() {
                    let heap = KnHeap::create(memory, bytes, &KnHeapConfig::DEFAULT);
                    self.heap.store(heap, Ordering::Relaxed);
                    !heap.is_null()
                } else {
                    let config = KnHeapConfig::DEFAULT;
                    KnHeap::add_region(heap, memory, bytes, &config) == super::KnStatus::Ok
                }
            }
        })
    }

    /// Runs `work` with the heap under its lock; None before [`Heap::init`].
    pub fn with<R>(&self, work: impl FnOnce(*mut KnHeap) -> R) -> Option<R> {
        self.lock.with(|| {
            let heap = self.heap.load(Ordering::Relaxed);
            (!heap.is_null()).then(|| work(heap))
        })
    }
}

impl Default for Heap {
    fn default() -> Heap {
        Heap::new()
    }
}

// SAFETY: blocks come from a `KnHeap`, which hands each byte out once, at the alignment asked for,
// and the lock makes each call exclusive.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.with(|heap| {
            // SAFETY: the heap is live and locked.
            unsafe {
                if layout.align() <= GRANULE {
                    KnHeap::malloc(heap, layout.size())
                } else {
                    KnHeap::aligned_alloc(heap, layout.align(), layout.size())
                }
            }
        })
        .unwrap_or(null_mut())
    }

    unsafe fn dealloc(&self, at: *mut u8, _layout: Layout) {
        // SAFETY: the heap is live and locked, and the block was its own.
        self.with(|heap| unsafe { KnHeap::free(heap, at) });
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        self.with(|heap| {
            // SAFETY: the heap is live and locked, and the block was its own.
            unsafe { KnHeap::aligned_realloc(heap, at, layout.align(), bytes) }
        })
        .unwrap_or(null_mut())
    }
}
