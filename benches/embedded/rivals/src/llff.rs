//! embedded-alloc's LlffHeap: linked-list first fit, address-ordered. It needs the size at free, which the driver
//! gives it. It does not override `realloc`: the default allocates, copies and frees.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_char;
use core::ptr::addr_of_mut;
use embedded_alloc::LlffHeap;

static mut HEAP: LlffHeap = LlffHeap::empty();

/// There is one thread and no interrupt: the lock costs nothing.
struct NoLock;
critical_section::set_impl!(NoLock);

// SAFETY: nothing runs beside the driver.
unsafe impl critical_section::Impl for NoLock {
    unsafe fn acquire() -> critical_section::RawRestoreState {}
    unsafe fn release(_: critical_section::RawRestoreState) {}
}

pub struct Rival;

impl super::Allocator for Rival {
    const NAME: [c_char; 8] = super::name("llff");
    const STATIC_BYTES: usize = core::mem::size_of::<LlffHeap>();

    unsafe fn bytes_in_heap() -> usize {
        0
    }

    unsafe fn start(memory: *mut u8, bytes: usize) {
        // SAFETY: one thread; the memory is the driver's for the heap's life.
        unsafe {
            HEAP = LlffHeap::empty();
            (*addr_of_mut!(HEAP)).init(memory as usize, bytes);
        }
    }

    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the heap has been started; sizes are at least 1.
        unsafe { (*addr_of_mut!(HEAP)).alloc(layout) }
    }

    unsafe fn free(at: *mut u8, layout: Layout) {
        // SAFETY: a live block of this layout.
        unsafe { (*addr_of_mut!(HEAP)).dealloc(at, layout) }
    }

    unsafe fn resize(at: *mut u8, old: Layout, size: usize) -> *mut u8 {
        // SAFETY: a live block of this layout.
        unsafe { (*addr_of_mut!(HEAP)).realloc(at, old, size) }
    }
}
