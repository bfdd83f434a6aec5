//! Rust allocators behind the benchmark driver's C interface, `allocator.h`.
//!
//! Each module defines `Rival`: the allocator in a static, started afresh by every `h_init`. Its static bytes are
//! taken off the memory it is given, so that the RAM budget covers them. Sizes are trusted (the driver asks for at
//! most the heap's size), alignment is always 8, and locks are empty: what is counted is the allocator.
#![no_std]

use core::alloc::Layout;
use core::ffi::c_char;

#[cfg(feature = "llff")]
mod llff;
#[cfg(feature = "llff")]
use llff::Rival;

#[cfg(feature = "rlsf")]
mod rlsf;
#[cfg(feature = "rlsf")]
use rlsf::Rival;

#[cfg(feature = "talc")]
mod talc;
#[cfg(feature = "talc")]
use talc::Rival;

/// What a rival's module supplies. All methods work on its one static heap.
trait Allocator {
    /// Its name, ended by a zero byte, as long as the C side's array.
    const NAME: [c_char; 8];
    /// Bytes of static state, part of the RAM budget.
    const STATIC_BYTES: usize;
    /// Bytes of metadata that the fresh heap keeps in the memory it was given.
    unsafe fn bytes_in_heap() -> usize;
    unsafe fn start(memory: *mut u8, bytes: usize);
    unsafe fn allocate(layout: Layout) -> *mut u8;
    unsafe fn free(at: *mut u8, layout: Layout);
    unsafe fn resize(at: *mut u8, old: Layout, size: usize) -> *mut u8;
}

const fn name(text: &str) -> [c_char; 8] {
    let mut name = [0; 8];
    let mut at = 0;
    while at < text.len() {
        name[at] = text.as_bytes()[at] as c_char;
        at += 1;
    }
    name
}

const fn layout(size: usize) -> Layout {
    // SAFETY: 8 is a power of two, and the driver asks for less than isize::MAX bytes.
    unsafe { Layout::from_size_align_unchecked(size, 8) }
}

/// The C side's `h_name`.
#[export_name = "h_name"]
static NAME: [c_char; 8] = Rival::NAME;

#[no_mangle]
unsafe extern "C" fn h_init(memory: *mut u8, bytes: usize) {
    // SAFETY: the driver gives `bytes` bytes for the heap's life, and no block of an earlier heap is used again.
    unsafe { Rival::start(memory, bytes - Rival::STATIC_BYTES) }
}

#[no_mangle]
unsafe extern "C" fn h_control_bytes() -> usize {
    // SAFETY: called after h_init, from the one thread there is.
    Rival::STATIC_BYTES + unsafe { Rival::bytes_in_heap() }
}

/// No rival keeps a map.
#[no_mangle]
extern "C" fn h_map_bytes() -> usize {
    0
}

#[no_mangle]
unsafe extern "C" fn h_malloc(size: usize) -> *mut u8 {
    // SAFETY: as above.
    unsafe { Rival::allocate(layout(size)) }
}

#[no_mangle]
unsafe extern "C" fn h_free(at: *mut u8, size: usize) {
    // SAFETY: the driver frees a live block once, with the size it asked for last.
    unsafe { Rival::free(at, layout(size)) }
}

#[no_mangle]
unsafe extern "C" fn h_realloc(at: *mut u8, old_size: usize, size: usize) -> *mut u8 {
    // SAFETY: `at` is a live block of `old_size` bytes.
    unsafe { Rival::resize(at, layout(old_size), size) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    extern "C" {
        fn fail(message: *const c_char) -> !;
    }
    // SAFETY: the driver's `fail` prints the message and ends the run.
    unsafe { fail(c"the allocator panicked".as_ptr()) }
}
