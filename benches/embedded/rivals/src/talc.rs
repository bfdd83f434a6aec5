//! talc: one level of bins, end tags; its default binning. It needs the size at free, which the driver gives it.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_char;
use core::ptr::addr_of_mut;
use talc::{source::Manual, TalcCell};

static mut HEAP: Option<TalcCell<Manual>> = None;
static mut START: usize = 0;
static mut FIRST: usize = 0;

/// talc links to `alloc`, which must have a global allocator; nothing calls it.
struct Unused;
#[global_allocator]
static UNUSED: Unused = Unused;

// SAFETY: gives no memory.
unsafe impl GlobalAlloc for Unused {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

pub struct Rival;

/// The started heap.
unsafe fn heap() -> &'static TalcCell<Manual> {
    // SAFETY: one thread, and `start` has run.
    unsafe { (*addr_of_mut!(HEAP)).as_ref().unwrap_unchecked() }
}

impl super::Allocator for Rival {
    const NAME: [c_char; 8] = super::name("talc");
    const STATIC_BYTES: usize = core::mem::size_of::<TalcCell<Manual>>();

    unsafe fn bytes_in_heap() -> usize {
        // SAFETY: one thread. The bins stand at the heap's start: up to the first byte it can give away.
        unsafe { FIRST - START }
    }

    unsafe fn start(memory: *mut u8, bytes: usize) {
        // SAFETY: one thread; the memory is the driver's for the heap's life.
        unsafe {
            HEAP = Some(TalcCell::new(Manual));
            heap().claim(memory, bytes);
            START = memory as usize;
            let first = heap().alloc(super::layout(8));
            FIRST = first as usize;
            heap().dealloc(first, super::layout(8));
        }
    }

    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the heap has been started; sizes are at least 1.
        unsafe { heap().alloc(layout) }
    }

    unsafe fn free(at: *mut u8, layout: Layout) {
        // SAFETY: a live block of this layout.
        unsafe { heap().dealloc(at, layout) }
    }

    unsafe fn resize(at: *mut u8, old: Layout, size: usize) -> *mut u8 {
        // SAFETY: a live block of this layout.
        unsafe { heap().realloc(at, old, size) }
    }
}
