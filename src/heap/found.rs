//! Making a region of memory, and what it can promise.
//!
//! Guarantees
//! * Any address and any size: what does not fit the alignment is left over, and a region that would
//!   hold no block, or could not hold what a spoiled link can name, is refused.
//! * A fresh region is one free block.
//!
//! ```text
//!   memory | skipped | control block, tally, words | heads | map | one free block …… | left over
//! ```
//!
//! Costs: clearing the control block and the map, 1/32 of the region in the map layout.

use super::bins::{bin_of, highest, least_in, link_called};
use super::layout::{KnHeap, Layout, Link, Region};

/// How many bins a 16-bit `previous` link can name.
const MOST_HEADS: usize = 128;

/// A size that a request of this many bytes is sure to get: a lower bound of the largest free block.
///
/// # Safety
/// `region` is live.
pub(crate) unsafe fn largest_free<L: Layout>(region: Region<L>) -> usize {
    // SAFETY: a head is a free block of this region.
    unsafe {
        match highest(region) {
            None => 0,
            Some(bin) => {
                let head = region.head(bin).read().get();
                let told = L::free_size(region, head);
                // A spoiled size is not passed on; the bin's is certain.
                let size = if L::ends_agree(region, head, told) { told } else { least_in(bin) };
                size * L::GRANULE - L::LEAD
            }
        }
    }
}

/// Makes a region of the memory, or answers null if it is too small.
///
/// # Safety
/// `memory` is valid for writes of `bytes` bytes and nobody else uses them.
pub(crate) unsafe fn found<L: Layout>(memory: *mut u8, bytes: usize) -> *mut KnHeap {
    let skip = memory.addr().wrapping_neg() & (L::GRANULE.max(align_of::<KnHeap>()) - 1);
    let Some(bytes) = bytes.checked_sub(skip) else {
        return core::ptr::null_mut();
    };
    let most = L::MOST.saturating_mul(L::GRANULE);
    let bytes = bytes.min(most);
    let this = memory.wrapping_add(skip).cast::<KnHeap>();
    let region = Region::<L>::new(this);
    let all = bytes / L::GRANULE;
    // Any head that a spoiled 16-bit link can name must be in the region; see `bins::named_bin`.
    if all < 2 || (<L::Link as Link>::BYTES == 2 && bytes < Region::<L>::HEADS_AT + 2 * MOST_HEADS) {
        return core::ptr::null_mut();
    }
    // As many bins as the largest free block can need.
    let bins = bin_of(all) + 1;
    let heads_end = Region::<L>::HEADS_AT + bins * <L::Link as Link>::BYTES;
    let end = all;
    let map_bytes = L::map_bytes(end);
    let first = (heads_end + map_bytes + L::LEAD).div_ceil(L::GRANULE);
    if first >= end {
        return core::ptr::null_mut();
    }
    // SAFETY: control block, heads and map lie below the first block, which lies in the memory.
    unsafe {
        this.cast::<u8>().write_bytes(0, heads_end + map_bytes);
        (*this).first = first as u32;
        (*this).end = end as u32;
        (*this).layout = L::KIND as u8;
        (*this).bins = bins as u8;
        (*this).map = if map_bytes == 0 { core::ptr::null_mut() } else { this.cast::<u8>().wrapping_add(heads_end) };
        L::found(region);
        link_called(region, first, end - first);
    }
    this
}
