//! Moving the start of a used block: what a scope at the heap's top end grows and shrinks by.
//!
//! Guarantees
//! * The block's end, and every byte between the old and the new start's higher one and that end, stay
//!   where they are and as they are.
//! * What is given up joins the free block before; what is taken comes from there.
//! * A block that can't be changed is as it was.
//!
//! ```text
//!   extend:   | free           | used |   ->  | free    | used        |
//!   retract:  | free    | used        |   ->  | free           | used |
//! ```
//! Cost: as `free` and `malloc` together; no byte is copied. A block at the region's end is taken and given back
//! without touching a list as long as the free block before it stays in its bin.

use core::ptr::null_mut;

use super::allocate::take_called;
use super::bins::{large_bin, link_called, unlink_called, EXACT};
use super::heap::in_layout;
use super::layout::{KnHeap, KnLayout, Layout, Region, Tally};
use super::request::{count, granules, note_peak};
use super::status::KnStatus;
use super::{guard, CompactLayout, MapLayout, WideLayout, FULLY};

const MAP: bool = cfg!(feature = "layout-map");
const COMPACT: bool = cfg!(feature = "layout-compact");
const WIDE: bool = cfg!(feature = "layout-wide");

/// Makes the used block at `block` start at `start` instead: false, and nothing has changed, when that
/// is not in it or in the free block before it.
///
/// # Safety
/// `region` is live and `first <= block < end`.
unsafe fn refit<L: Layout>(region: Region<L>, block: usize, start: usize) -> Result<bool, KnStatus> {
    // SAFETY: the neighbours are those that the records name; what is linked as free lies before what is
    // used, or behind it as it did.
    unsafe {
        let used = L::inspect(region, block)?;
        let (Some(left), Some(right)) = (L::left(region, block, used), L::right(region, block, used)) else {
            return Err(KnStatus::Corrupt);
        };
        let (before, behind) = (block - left, block + used.size);
        if start < before || start >= behind {
            return Ok(false);
        }
        if left != 0 {
            unlink_called(region, before)?;
        }
        if right != 0 {
            if let Err(status) = unlink_called(region, behind) {
                if left != 0 {
                    link_called(region, before, left);
                }
                return Err(status);
            }
        }
        L::give(region, block)?;
        take_called(region, before, left + used.size + right, start, behind - start);
        if start != before {
            link_called(region, before, start - before);
        }
        if right != 0 {
            link_called(region, behind, right);
        }
        let tally = region.tally().read();
        if start > block {
            region.tally().write(tally.shrunk(start - block));
        } else {
            note_peak(region, tally.grown(block - start));
        }
        Ok(true)
    }
}

/// The block at `at` with its start moved by `bytes`, down or up; null, and nothing has changed, when
/// that can't be.
///
/// # Safety
/// `region` is live.
#[inline(never)]
unsafe fn moved<L: Layout>(region: Region<L>, at: *mut u8, bytes: usize, down: bool) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        let Some(block) = region.index_of(at) else {
            let next = (*region.this).next;
            return if next.is_null() { next.cast() } else { start_moved(next, at, bytes, down) };
        };
        let granules = if down { bytes.div_ceil(L::GRANULE) } else { bytes / L::GRANULE };
        let start = if down { block.checked_sub(granules) } else { block.checked_add(granules) };
        match start {
            Some(start) if matches!(refit(region, block, start), Ok(true)) => {
                let place = region.granule(start);
                guard::fresh(region.this, place);
                place
            }
            _ => null_mut(),
        }
    }
}

/// # Safety
/// As [`KnHeap::extend_front`].
unsafe fn start_moved(this: *mut KnHeap, at: *mut u8, bytes: usize, down: bool) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe { in_layout!(this, region => moved(region, at, bytes, down)) }
}

/// A block of at least `bytes` bytes from the end of the free block that touches the region's end; null if
/// that would move it to another bin, or there is none so large.
///
/// # Safety
/// `region` is live.
#[inline(always)]
unsafe fn take_end<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    // SAFETY: the free block keeps its place in its list: only its size changes.
    unsafe {
        let Some(size) = granules::<L>(bytes) else { return null_mut() };
        let last = L::free_at_end(region);
        if last <= EXACT + size || large_bin(last - size) != large_bin(last) {
            return null_mut();
        }
        let block = region.end() - last;
        L::take(region, block, last, block + last - size, size);
        L::set_free_size(region, block, last - size);
        count(region, size);
        region.granule(block + last - size)
    }
}

/// Gives a used block back that lies behind a large free one, if that stays in its bin: whether it did.
///
/// # Safety
/// `region` is live.
#[inline(always)]
unsafe fn give_end<L: Layout>(region: Region<L>, at: *mut u8) -> bool {
    // SAFETY: as in `take_end`.
    unsafe {
        let Some(block) = region.index_of(at) else { return false };
        let Ok(used) = L::give(region, block) else { return false };
        let alone = matches!(L::right(region, block, used), Some(0));
        if let (true, Some(left)) = (alone, L::left(region, block, used)) {
            if left > EXACT && large_bin(left + used.size) == large_bin(left) {
                L::set_free_size(region, block - left, left + used.size);
                region.tally().write(region.tally().read().minus(used.size));
                return true;
            }
        }
        L::take_back(region, block, used);
        false
    }
}

impl KnHeap {
    /// As [`KnHeap::malloc_top`], cheaper where the free block at the region's end stays in its bin.
    ///
    /// # Safety
    /// As [`KnHeap::extend_front`].
    #[inline(always)]
    pub(crate) unsafe fn take_end(this: *mut Self, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if !FULLY {
                let at = in_layout!(this, region => take_end(region, bytes));
                if !at.is_null() {
                    return at;
                }
            }
            Self::malloc_top(this, bytes)
        }
    }

    /// As [`KnHeap::free`], cheaper where the free block before stays in its bin.
    ///
    /// # Safety
    /// As [`KnHeap::free`].
    #[inline(always)]
    pub(crate) unsafe fn give_end(this: *mut Self, at: *mut u8) {
        // SAFETY: the caller's word. A refusal is told by `free`.
        unsafe {
            if FULLY || !in_layout!(this, region => give_end(region, at)) {
                let _ = Self::free(this, at);
            }
        }
    }

    /// Makes a used block longer by at least `bytes` bytes before its start: the new start, or null, and
    /// nothing has changed, when the free block before it has not that much.
    ///
    /// # Safety
    /// `this` is a live heap that no other thread or interrupt uses during the call; `at` is a used block
    /// of it.
    pub(crate) unsafe fn extend_front(this: *mut Self, at: *mut u8, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if !guard::before(this) {
                return null_mut();
            }
            start_moved(this, at, bytes, true)
        }
    }

    /// Gives back at most `bytes` bytes from a used block's start, whole granules of them: the new start,
    /// or null, and nothing has changed, when that would be all of it.
    ///
    /// # Safety
    /// As [`KnHeap::extend_front`]; nobody uses what is given back.
    pub(crate) unsafe fn retract_front(this: *mut Self, at: *mut u8, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if !guard::before(this) {
                return null_mut();
            }
            start_moved(this, at, bytes, false)
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::heap::{KnHeapConfig, KnHeapStats};
    use std::vec;

    fn each_layout(test: impl Fn(*mut KnHeap)) {
        for layout in [KnLayout::Map, KnLayout::Compact, KnLayout::Wide] {
            let mut memory = vec![0u64; 2048];
            let config = KnHeapConfig { layout, flags: 0 };
            // SAFETY: the memory is the test's.
            let heap = unsafe { KnHeap::create(memory.as_mut_ptr().cast(), 16384, &config) };
            if !heap.is_null() {
                test(heap);
            }
        }
    }

    fn used(heap: *mut KnHeap) -> usize {
        let mut stats = KnHeapStats::default();
        // SAFETY: a live heap.
        unsafe { KnHeap::stats(heap, &mut stats) };
        stats.used
    }

    #[test]
    fn a_block_grows_down_and_back_with_its_contents() {
        each_layout(|heap| {
            // SAFETY: blocks of the heap, within their sizes.
            unsafe {
                let below = KnHeap::malloc(heap, 100);
                let behind = KnHeap::malloc_top(heap, 32);
                let top = KnHeap::malloc_top(heap, 256);
                let (before, size) = (used(heap), KnHeap::usable_size(heap, top));
                top.write_bytes(0x5A, size);
                for (step, more) in [16usize, 48, 1024, 4096].into_iter().enumerate() {
                    let at = KnHeap::extend_front(heap, top, more);
                    assert!(!at.is_null() && at <= top.wrapping_sub(more), "step {step}");
                    assert_eq!(KnHeap::usable_size(heap, at), size + (top.addr() - at.addr()));
                    assert_eq!(KnHeap::check(heap), KnStatus::Ok);
                    at.write_bytes(0xA5, top.addr() - at.addr());
                    assert!((0..size).all(|n| top.wrapping_add(n).read() == 0x5A));
                    let back = KnHeap::retract_front(heap, at, top.addr() - at.addr());
                    assert_eq!(back, top);
                    assert_eq!(KnHeap::check(heap), KnStatus::Ok);
                    assert_eq!(used(heap), before);
                }
                assert!((0..size).all(|n| top.wrapping_add(n).read() == 0x5A));
                assert!(KnHeap::extend_front(heap, top, 16384).is_null());
                assert!(KnHeap::retract_front(heap, top, 16384).is_null());
                assert!(KnHeap::extend_front(heap, below, 8).is_null());
                assert!(KnHeap::extend_front(heap, top.wrapping_add(1), 8).is_null());
                assert_eq!(used(heap), before);
                for at in [below, top, behind] {
                    assert_eq!(KnHeap::free(heap, at), KnStatus::Ok);
                }
                assert_eq!(used(heap), 0);
                assert_eq!(KnHeap::check(heap), KnStatus::Ok);
            }
        });
    }

    #[test]
    fn with_a_free_block_behind_that_stays_free() {
        each_layout(|heap| {
            // SAFETY: as above.
            unsafe {
                let behind = KnHeap::malloc_top(heap, 64);
                let top = KnHeap::malloc_top(heap, 256);
                KnHeap::free(heap, behind);
                let size = KnHeap::usable_size(heap, top);
                top.write_bytes(0x5A, size);
                let at = KnHeap::extend_front(heap, top, 512);
                assert!(!at.is_null());
                let again = KnHeap::retract_front(heap, at, 200);
                assert!(again >= at && again < top);
                assert_eq!(KnHeap::check(heap), KnStatus::Ok);
                assert!((0..size).all(|n| top.wrapping_add(n).read() == 0x5A));
                assert_eq!(KnHeap::free(heap, again), KnStatus::Ok);
                assert_eq!(used(heap), 0);
                assert_eq!(KnHeap::check(heap), KnStatus::Ok);
            }
        });
    }
}
