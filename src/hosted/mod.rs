//! Manual memory on an operating system: the malloc of a process, for any number of threads.
//!
//! # Guarantees
//! - A block is aligned to 16 bytes on 64-bit targets (8 on 32-bit), large blocks to a page.
//! - More than `PTRDIFF_MAX` bytes are never given out, and a product that overflows is no memory.
//! - No failing system call ends the process: the answer is null, and what exists stays usable.
//! - Memory goes back to the system by itself, from whichever thread frees, but for a stated stock; memory
//!   freed at one size serves every size.
//! - Every double free, and every pointer that is no block, is refused before anything changes; a pointer
//!   that is not ours is recognised without reading what it points to.
//! - Any thread frees what any thread allocated. A child of fork finds the heap consistent, and a fork
//!   waits for no thread that waits for memory. A signal handler may allocate and free, as long as it does not
//!   use up a whole page of the size that its own thread is at just then.
//! - `errno` is left as it was; `libc_names` sets `ENOMEM` where libc would.
//!
//! # Design
//! ```text
//!            malloc, calloc, realloc, aligned_alloc, free, usable_size
//!         small: no lock          |           medium, large: one lock (port::with_lock, held across fork)
//!   to 8 KB: the thread's cache   |   to 128 KB: KnHeap over regions       above: a mapping each
//!   +---------+                   |   +--------+ +--------+                +-----------+  +-----+
//!   | current | -> page, 64 KB    |   | 1 MB   | |  1 MB  | +- 2 MB -      |  pages    |  |     | ...
//!   +---------+    of the space   |   +--------+ +--------+                +-----------+  +-----+
//!     cache, page, pages, space   |     regions: table, growth, return       mappings: table by address
//! ```
//! - `process`: the entry points; `state`: what the lock guards; `survey`: figures, walk and check.
//! - `classes`, `bits`, `page`: sizes, bits and the protocol of pages; `sync`: the atomics beneath.
//! - `cache`: what a thread takes from. `pages`, `space`, `records`: where pages come from and go.
//! - `regions`: where the medium heap's memory comes from, and when its pages go back.
//! - `mappings`: the large blocks.
//! - `fork`: the handlers that hold the lock while the process is copied.
//! - `aside`: what threads do that must not wait for the lock.
//! - `hardened`: what the feature of that name adds.
//! - `report`, `environment`: what the heap tells, and who asks.
//! - `collectors`: the threads that count objects over the process heap, and what their ends do.
//! - `types`: one number for a type of counted objects in all of them.
//!
//! A thread that has called `kn_heap_use` has a heap of its own: then the functions of this module
//! work on that one, without a lock, and fall back to the process heap for pointers outside it.
//!
//! # Costs
//! Small blocks: see `cache`. Medium ones: beside the general heap's, one lock and one search of at most 128
//! regions a call. A large block: one system call to make, one to free, 64 to 128 bytes of table. Statics:
//! 4 KB, all zero.

mod aside;
mod bits;
mod cache;
mod classes;
#[cfg(feature = "counted")]
pub(crate) mod collectors;
#[cfg(all(feature = "shared", target_os = "linux"))]
mod environment;
/// Only the shared library looks at the environment.
#[cfg(not(all(feature = "shared", target_os = "linux")))]
mod environment {
    #[inline(always)]
    pub(super) fn look() {}
}
mod fork;
mod hardened;
mod mappings;
mod page;
mod pages;
pub(crate) mod process;
mod records;
mod regions;
pub(crate) mod report;
mod space;
mod state;
mod survey;
mod sync;
#[cfg(feature = "counted")]
mod types;

pub(crate) use process::{exclusively, process_heap};

use crate::heap::KnHeap;
use crate::port;

/// The calling thread's own heap, if it has one.
#[inline(always)]
fn own_heap() -> Option<*mut KnHeap> {
    let heap = port::thread_heap();
    (!heap.is_null()).then_some(heap)
}

/// The calling thread's own heap, if it has one and `at` lies in it.
#[inline(always)]
fn own_heap_with(at: *const u8) -> Option<*mut KnHeap> {
    // SAFETY: whoever made it the thread's default keeps it alive and to this thread.
    own_heap().filter(|&heap| unsafe { KnHeap::contains(heap, at) })
}

/// `bytes` of the calling thread's default heap, or null.
#[inline]
pub(crate) fn malloc(bytes: usize) -> *mut u8 {
    match own_heap() {
        // SAFETY: as in `own_heap_with`.
        Some(heap) => unsafe { KnHeap::malloc(heap, bytes) },
        None => process::malloc(bytes),
    }
}

/// `count * size` zeroed bytes of the calling thread's default heap, or null.
#[inline]
pub(crate) fn calloc(count: usize, size: usize) -> *mut u8 {
    match own_heap() {
        // SAFETY: as in `own_heap_with`.
        Some(heap) => unsafe { KnHeap::calloc(heap, count, size) },
        None => process::calloc(count, size),
    }
}

/// `bytes` at a multiple of `align` of the calling thread's default heap, or null.
#[inline]
pub(crate) fn aligned_alloc(align: usize, bytes: usize) -> *mut u8 {
    match own_heap() {
        // SAFETY: as in `own_heap_with`.
        Some(heap) => unsafe { KnHeap::aligned_alloc(heap, align, bytes) },
        None => process::aligned_alloc(align, bytes),
    }
}

/// The block `at` made `bytes` long, where it lies; null `at` allocates.
///
/// # Safety
/// `at` is null or came from this module, and after success only the result is used.
#[inline]
pub(crate) unsafe fn realloc(at: *mut u8, bytes: usize) -> *mut u8 {
    if at.is_null() {
        return malloc(bytes);
    }
    match own_heap_with(at) {
        // SAFETY: as in `own_heap_with`, and the caller's promise.
        Some(heap) => unsafe { KnHeap::realloc(heap, at, bytes) },
        // SAFETY: the caller's promise.
        None => unsafe { process::realloc(at, bytes) },
    }
}

/// Frees the block `at`; null does nothing.
///
/// # Safety
/// Nobody uses the block any more. A pointer that is no block is reported.
#[inline]
pub(crate) unsafe fn free(at: *mut u8) {
    match own_heap_with(at) {
        Some(heap) => {
            // SAFETY: as in `own_heap_with`, and the caller's promise. Errors were reported.
            let _ = unsafe { KnHeap::free(heap, at) };
        }
        // SAFETY: the caller's promise.
        None => unsafe { process::free(at) },
    }
}

/// The bytes usable at `at`; 0 when it is no block.
///
/// # Safety
/// No other thread frees `at` meanwhile.
#[inline]
pub(crate) unsafe fn usable_size(at: *const u8) -> usize {
    match own_heap_with(at) {
        // SAFETY: as in `own_heap_with`.
        Some(heap) => unsafe { KnHeap::usable_size(heap, at) },
        // SAFETY: the caller's promise.
        None => unsafe { process::usable_size(at) },
    }
}
