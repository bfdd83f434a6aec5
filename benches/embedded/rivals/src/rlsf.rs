//! rlsf: two-level segregated fit with 12 x 16 bins and 16-bit bitmaps, the smallest tables that serve a block of
//! 64 KB. A larger heap it divides into pieces of that size by itself. It keeps sizes itself.
//!
//! With the feature `rlsf-large` there are two more rows of bins: blocks of 256 KB, on 64 bit of 512 KB.

use core::alloc::Layout;
use core::ffi::c_char;
use core::ptr::{addr_of_mut, slice_from_raw_parts_mut, NonNull};

const ROWS: usize = if cfg!(feature = "rlsf-large") { 14 } else { 12 };
type Heap = rlsf::Tlsf<'static, u16, u16, ROWS, 16>;
static mut HEAP: Heap = Heap::new();

pub struct Rival;

impl super::Allocator for Rival {
    const NAME: [c_char; 8] = super::name("rlsf");
    const STATIC_BYTES: usize = core::mem::size_of::<Heap>();

    unsafe fn bytes_in_heap() -> usize {
        0
    }

    unsafe fn start(memory: *mut u8, bytes: usize) {
        // SAFETY: one thread; the memory is the driver's for the heap's life.
        unsafe {
            HEAP = Heap::new();
            let pool = NonNull::new_unchecked(slice_from_raw_parts_mut(memory, bytes));
            (*addr_of_mut!(HEAP)).insert_free_block_ptr(pool);
        }
    }

    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: one thread.
        unsafe { (*addr_of_mut!(HEAP)).allocate(layout) }.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn free(at: *mut u8, layout: Layout) {
        // SAFETY: a live block of this heap.
        unsafe { (*addr_of_mut!(HEAP)).deallocate(NonNull::new_unchecked(at), layout.align()) }
    }

    unsafe fn resize(at: *mut u8, _old: Layout, size: usize) -> *mut u8 {
        // SAFETY: a live block of this heap.
        unsafe { (*addr_of_mut!(HEAP)).reallocate(NonNull::new_unchecked(at), super::layout(size)) }
            .map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }
}
