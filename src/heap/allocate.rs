//! Allocating in one region: bounded good fit, from the bottom or from the top.
//!
//! Guarantees
//! * Every request takes a bounded number of steps, whatever the region's state.
//! * A request that fails changes nothing.
//! * A block whose list links were overwritten is never handed out: its bin is given up, the error
//!   hook is told, and the region stays usable.
//!
//! Design. The block that [`super::search`] names is cut, and the rest goes back to a bin: behind it
//! for requests from the bottom, before it for requests from the top ([`allocate_top`]), which start at
//! the region's end:
//!
//! ```text
//!   | resident | resident | free ……………………………………… | scope 2 | scope 1 | end
//!     allocate ->                                        <- allocate_top
//! ```
//!
//! When the rest of a cut block belongs to the same bin as before, it takes its place in the list.
//!
//! Costs on Cortex-M4: see docs/figures.md.
//!
//! Source: TLSF (Masmano et al., 2004); the use of both ends is the old one of two stacks in one
//! memory.

use super::bins::{
    abandon, large_bin, link_called, link_here, link_small, names, pop, unlink_called, unlink_here, unusual, EXACT,
};
use super::layout::{Layout, Link, Region};
use super::request::{count, exact_bytes, granules, most_bytes, rounded};
use super::search::{search, search_large, search_own, search_small};
use super::status::KnStatus;
use super::CHECKED;
use crate::port;

/// Tells of a spoiled list and gives its bin up.
///
/// # Safety
/// `region` is live and `bin` one of its bins.
#[cold]
#[inline(never)]
unsafe fn spoiled<L: Layout>(region: Region<L>, bin: usize, block: usize) {
    // SAFETY: the bin belongs to the region.
    unsafe { abandon(region, bin) };
    port::report(KnStatus::Corrupt, region.granule(block), c"a free block was written to");
}

/// A block of at least `bytes` bytes from the bottom, here or in a later region, or null.
///
/// # Safety
/// `region` is live.
#[inline(always)]
pub(crate) unsafe fn allocate<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    // SAFETY: the block found is free and large enough.
    unsafe {
        // A request of nothing takes the long way, where it becomes one of a byte.
        if bytes.wrapping_sub(1) >= const { exact_bytes::<L>() } {
            return allocate_large(region, bytes);
        }
        let size = rounded::<L>(bytes);
        core::hint::assert_unchecked(0 < size && size <= EXACT);
        let Some(bin) = search_small(region, size) else {
            return super::heap::malloc_in_next(region.this, bytes);
        };
        if bin >= EXACT {
            return split_for_small(region, bin, size);
        }
        let Ok(block) = pop(region, bin) else {
            return again(region, bin, size);
        };
        take_here(region, block, bin + 1, block, size);
        if bin + 1 != size {
            link_small(region, block + size, bin + 1 - size);
        }
        count(region, size);
        region.granule(block)
    }
}

/// As [`allocate`], for requests of more than [`exact_bytes`].
///
/// # Safety
/// `region` is live.
#[inline(never)]
unsafe fn allocate_large<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    if bytes == 0 {
        // SAFETY: the caller's word.
        return unsafe { allocate(region, 1) };
    }
    let size = rounded::<L>(bytes.min(const { most_bytes::<L>() }));
    // SAFETY: the block found is free and large enough.
    unsafe {
        match search_large(region, size) {
            Some(bin) => split(region, bin, size),
            None => allocate_own(region, bytes),
        }
    }
}

/// As [`allocate_large`], when no bin has blocks that are all large enough.
///
/// # Safety
/// `region` is live.
#[inline(never)]
unsafe fn allocate_own<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    // SAFETY: the block found is free and large enough.
    unsafe {
        if bytes <= const { most_bytes::<L>() } {
            let size = rounded::<L>(bytes);
            if let Some((bin, block)) = search_own(region, size) {
                let whole = L::free_size(region, block);
                let sound = !CHECKED || L::ends_agree(region, block, whole);
                if !sound || unlink_here(region, block).is_err() {
                    return again(region, bin, size);
                }
                take_here(region, block, whole, block, size);
                if whole != size {
                    link_here(region, block + size, whole - size);
                }
                count(region, size);
                return region.granule(block);
            }
        }
        super::heap::malloc_in_next(region.this, bytes)
    }
}

/// Serves a request from the low end of the first block of a bin of more than [`EXACT`] granules, all
/// of whose blocks are large enough.
///
/// # Safety
/// `bin` is not empty.
#[cfg_attr(not(any(knoll_small, target_pointer_width = "64")), inline(always))]
#[cfg_attr(any(knoll_small, target_pointer_width = "64"), inline(never))]
unsafe fn split<L: Layout>(region: Region<L>, bin: usize, size: usize) -> *mut u8 {
    // SAFETY: the block's size is certain before it is cut; its rest is linked again.
    unsafe {
        let block = region.head(bin).read().get();
        let whole = L::free_size(region, block);
        if CHECKED && (whole < size || !L::ends_agree(region, block, whole)) {
            return again(region, bin, size);
        }
        let rest = whole - size;
        if rest > EXACT && large_bin(rest) == bin {
            if !replace(region, bin, block, block + size) {
                return again(region, bin, size);
            }
            take_here(region, block, whole, block, size);
            L::set_free_size(region, block + size, rest);
        } else {
            if pop(region, bin).is_err() {
                return again(region, bin, size);
            }
            take_here(region, block, whole, block, size);
            if rest != 0 {
                link_here(region, block + size, rest);
            }
        }
        count(region, size);
        region.granule(block)
    }
}

/// Serves a small request from the first block of a bin of more than [`EXACT`] granules.
///
/// # Safety
/// `bin` is not empty; `0 < size <= EXACT`.
#[inline(never)]
unsafe fn split_for_small<L: Layout>(region: Region<L>, bin: usize, size: usize) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        core::hint::assert_unchecked(0 < size && size <= EXACT);
        split(region, bin, size)
    }
}

/// Gives a spoiled bin up, tells of it, and serves the request without it.
///
/// # Safety
/// `region` is live and `bin` one of its bins.
#[cold]
#[inline(never)]
unsafe fn again<L: Layout>(region: Region<L>, bin: usize, size: usize) -> *mut u8 {
    // SAFETY: the caller's word. Each time there is a bin less.
    unsafe {
        spoiled(region, bin, region.head(bin).read().get());
        super::heap::malloc_in(region, super::guard::unpadded(size * L::GRANULE - L::LEAD))
    }
}

/// Takes a block that [`search`] found out of its bin.
///
/// # Safety
/// `block` is the head of `bin`, or a block of it.
#[inline(never)]
unsafe fn remove<L: Layout>(region: Region<L>, bin: usize, block: usize) -> Result<(), KnStatus> {
    // SAFETY: the caller's word.
    unsafe {
        if region.head(bin).read().get() == block {
            pop(region, bin).map(|_| ())
        } else {
            unlink_called(region, block)
        }
    }
}

/// Puts `other` in the place that `block` has at the head of `bin`; false, and nothing has changed, if
/// its links are spoiled.
///
/// # Safety
/// `region` is live; `other` is a free granule.
#[inline(always)]
unsafe fn replace<L: Layout>(region: Region<L>, bin: usize, block: usize, other: usize) -> bool {
    // SAFETY: the links are followed only when they are this region's.
    unsafe {
        let previous = region.field(block, 0).read().get();
        let next = region.field(block, 1).read().get();
        if CHECKED && (previous != Region::<L>::BINS + bin || (next != 0 && !names(region, next, block))) {
            return false;
        }
        region.head(bin).write(L::Link::of(other));
        region.field(other, 0).write(L::Link::of(previous));
        region.field(other, 1).write(L::Link::of(next));
        if next != 0 {
            region.field(next, 0).write(L::Link::of(other));
        }
        true
    }
}

/// Cuts `size` granules at `at` out of the free block of `whole` granules at `block`, which is in
/// no bin any more, and links what is left on both sides.
///
/// # Safety
/// `block <= at` and `at + size <= block + whole`.
unsafe fn cut<L: Layout>(region: Region<L>, block: usize, whole: usize, at: usize, size: usize) -> *mut u8 {
    // SAFETY: the three parts lie within the free block.
    unsafe {
        take_called(region, block, whole, at, size);
        let (before, behind) = (at - block, block + whole - at - size);
        if before != 0 {
            link_called(region, block, before);
        }
        if behind != 0 {
            link_called(region, at + size, behind);
        }
        count(region, size);
        region.granule(at)
    }
}

/// A block of at least `bytes` bytes from as near the region's end as can be had in bounded time:
/// from the free block that touches the end, else from the high end of a block that fits.
///
/// # Safety
/// `region` is live.
pub(crate) unsafe fn allocate_top<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    let Some(size) = granules::<L>(bytes) else {
        return core::ptr::null_mut();
    };
    // SAFETY: as in `allocate`.
    unsafe {
        let last = L::free_at_end(region);
        if last >= size {
            let block = region.end() - last;
            if unlink_called(region, block).is_ok() {
                return cut(region, block, last, block + last - size, size);
            }
        }
        while let Some((bin, block)) = search(region, size) {
            let whole = L::free_size(region, block);
            let sound = !CHECKED || (whole >= size && L::ends_agree(region, block, whole));
            if !sound || remove(region, bin, block).is_err() {
                spoiled(region, bin, block);
                continue;
            }
            return cut(region, block, whole, block + whole - size, size);
        }
        core::ptr::null_mut()
    }
}

/// A block of at least `bytes` bytes whose address is a multiple of `align`, a power of two above
/// the granule; null when there is none.
///
/// # Safety
/// `region` is live.
pub(crate) unsafe fn allocate_aligned<L: Layout>(region: Region<L>, align: usize, bytes: usize) -> *mut u8 {
    let slack = align / L::GRANULE - 1;
    let Some(size) = granules::<L>(bytes) else {
        return core::ptr::null_mut();
    };
    let Some(roomy) = size.checked_add(slack).filter(|all| *all < L::MOST) else {
        return core::ptr::null_mut();
    };
    // SAFETY: the aligned granule is at most `slack` behind the block's first one.
    unsafe {
        while let Some((bin, block)) = search(region, roomy) {
            let whole = L::free_size(region, block);
            let sound = !CHECKED || (whole >= roomy && L::ends_agree(region, block, whole));
            if !sound || remove(region, bin, block).is_err() {
                spoiled(region, bin, block);
                continue;
            }
            let place = region.granule(block).addr();
            let skip = (place.wrapping_neg() & (align - 1)) / L::GRANULE;
            return cut(region, block, whole, block + skip, size);
        }
        core::ptr::null_mut()
    }
}

/// [`Layout::take`], called: for where speed matters less than one more copy.
///
/// # Safety
/// As [`Layout::take`].
#[inline(never)]
pub(super) unsafe fn take_called<L: Layout>(region: Region<L>, block: usize, whole: usize, at: usize, size: usize) {
    // SAFETY: the caller's word.
    unsafe { L::take(region, block, whole, at, size) };
}

/// [`Layout::take`] in line, or called in an unusual layout.
///
/// # Safety
/// As [`Layout::take`].
#[inline(always)]
unsafe fn take_here<L: Layout>(region: Region<L>, block: usize, whole: usize, at: usize, size: usize) {
    // SAFETY: the caller's word.
    unsafe {
        if const { unusual::<L>() } {
            take_called(region, block, whole, at, size);
        } else {
            L::take(region, block, whole, at, size);
        }
    }
}
