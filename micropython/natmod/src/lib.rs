//! The stateless part of Knoll: heaps and arenas in memory that the caller gives, and nothing besides.
//!
//! Guarantees
//! * No static, mutable or not, no absolute address, no panic path, nothing to initialise: the object can be linked by
//!   MicroPython's `mpy_ld.py` into a native `.mpy`, for x64 and Armv6-M to Armv7E-M.
//! * The functions are those of `knoll.h`, of the same names; there are no others.
//! * An error that elsewhere goes to the error hook is told to nobody: there is no place for a hook. Who calls asks before
//!   (kn_heap_usable_size is 0 for what is no used block).
//!
//! ```text
//!   knoll_heap.c    Python's arguments to these functions    (dynruntime.h)
//!        |
//!   lib.rs          the names of knoll.h; arenas.rs: those of arenas, with the feature `arena`
//!        |
//!   ../../../src/heap, ../../../src/arena    the library's own source
//!        |
//!   port.rs, memory.rs    a platform without any state
//! ```

#![no_std]

// What the library's other parts need of these is not needed here.

#[cfg(feature = "arena")]
#[path = "../../../src/arena/mod.rs"]
pub mod arena;
#[cfg(feature = "arena")]
mod arenas;
#[path = "../../../src/heap/mod.rs"]
pub mod heap;
#[cfg(feature = "arena")]
mod memory;
mod port;

use core::ffi::c_void;
use heap::{KnHeap, KnHeapConfig, KnHeapStats, KnStatus};

/// There is no path to it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// As in knoll.h.
///
/// # Safety
/// `memory` is valid for reads and writes of `bytes` bytes that nobody else uses while the heap is in use.
#[no_mangle]
pub unsafe extern "C" fn kn_heap_create(memory: *mut c_void, bytes: usize) -> *mut KnHeap {
    // SAFETY: the caller's word.
    unsafe { KnHeap::create(memory.cast(), bytes, &KnHeapConfig::DEFAULT) }
}

/// As in knoll.h.
///
/// # Safety
/// `heap` is a live heap that nobody else uses during the call.
#[no_mangle]
pub unsafe extern "C" fn kn_heap_malloc(heap: *mut KnHeap, size: usize) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { KnHeap::malloc(heap, size).cast() }
}

/// As in knoll.h.
///
/// # Safety
/// As [`kn_heap_malloc`].
#[no_mangle]
pub unsafe extern "C" fn kn_heap_realloc(heap: *mut KnHeap, block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { KnHeap::realloc(heap, block.cast(), size).cast() }
}

/// As in knoll.h.
///
/// # Safety
/// As [`kn_heap_malloc`]; nobody uses the block any more.
#[no_mangle]
pub unsafe extern "C" fn kn_heap_free(heap: *mut KnHeap, block: *mut c_void) {
    // SAFETY: the caller's word.
    let _ = unsafe { KnHeap::free(heap, block.cast()) };
}

/// As in knoll.h.
///
/// # Safety
/// As [`kn_heap_malloc`].
#[no_mangle]
pub unsafe extern "C" fn kn_heap_usable_size(heap: *mut KnHeap, block: *const c_void) -> usize {
    // SAFETY: the caller's word.
    unsafe { KnHeap::usable_size(heap, block.cast()) }
}

/// As in knoll.h.
///
/// # Safety
/// As [`kn_heap_malloc`].
#[no_mangle]
pub unsafe extern "C" fn kn_heap_check(heap: *mut KnHeap) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe { KnHeap::check(heap) }
}

/// As in knoll.h.
///
/// # Safety
/// As [`kn_heap_malloc`]; `out` is valid for a write.
#[no_mangle]
pub unsafe extern "C" fn kn_heap_stats(heap: *mut KnHeap, out: *mut KnHeapStats) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe { KnHeap::stats(heap, out) }
}
