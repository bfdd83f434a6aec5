//! Verifying a heap, walking its blocks, and its statistics.
//!
//! Guarantees
//! * [`KnHeap::check`] reads only, reports nothing, and answers `Ok` iff every record of every
//!   region agrees with every other: sizes, states, neighbours, lists, bitmap, tally.
//! * It ends on any input: a spoiled size or link is found before it is followed out of the region.
//! * [`KnHeap::walk`] visits each block once, in order of address, region by region.
//! * [`KnHeap::stats`] is exact but for `largest_free`, which is a lower bound that an allocation is
//!   sure to get, and for `peak` of several regions, which is the sum of their own peaks.
//!
//! Costs: `check` and `walk` O(blocks), `stats` O(regions).

use core::ffi::c_void;

use super::bins::{bin_of, find};
use super::bits::WORD_BITS;
use super::found::largest_free;
use super::heap::in_layout;
use super::layout::{KnHeap, KnLayout, Layout, Link, Region, Tally};
use super::status::KnStatus;
use super::{CompactLayout, MapLayout, WideLayout};

const MAP: bool = cfg!(feature = "layout-map");
const COMPACT: bool = cfg!(feature = "layout-compact");
const WIDE: bool = cfg!(feature = "layout-wide");

/// A heap's numbers, in bytes where nothing else is said.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnHeapStats {
    /// What all blocks take, used and free: `used + free`.
    pub total: usize,
    /// What used blocks take, headers and rounding included.
    pub used: usize,
    /// What free blocks take.
    pub free: usize,
    /// The most that was ever used; of several regions, the sum of each one's own.
    pub peak: usize,
    /// A request of this size succeeds; a larger one may.
    pub largest_free: usize,
    /// Number of used blocks.
    pub blocks: usize,
    /// Number of regions.
    pub regions: usize,
    /// Control blocks and maps, outside `total`.
    pub overhead: usize,
}

/// A block's state in [`KnBlock`]: free.
pub const KN_BLOCK_FREE: u32 = 0;
/// A block's state in [`KnBlock`]: used.
pub const KN_BLOCK_USED: u32 = 1;

/// A block, as a walk shows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnBlock {
    /// Where its payload starts.
    pub start: *const c_void,
    /// Bytes that it takes: the next block of the region starts this far behind.
    pub size: usize,
    /// `KN_BLOCK_USED` or `KN_BLOCK_FREE`.
    pub state: u32,
}

/// Visits a region's blocks: `Ok(false)` when the visitor stopped, an error when a record is
/// contradictory.
///
/// # Safety
/// `region` is live.
unsafe fn each_block<L: Layout>(
    region: Region<L>,
    visit: &mut dyn FnMut(usize, usize, bool) -> bool,
) -> Result<bool, KnStatus> {
    // SAFETY: `measure` answers sizes that stay inside the region.
    unsafe {
        let mut block = region.first();
        while block < region.end() {
            let (size, used) = L::measure(region, block)?;
            if !visit(block, size, used) {
                return Ok(false);
            }
            block += size;
        }
        Ok(true)
    }
}

/// The name for a pointer that was refused: `DoubleFree` in a free block, `Foreign` inside a used
/// one, `Corrupt` at the head of a used one or when the region can't be walked that far.
///
/// # Safety
/// `region` is live and `index` one of its indices.
#[cold]
#[inline(never)]
pub(crate) unsafe fn verdict<L: Layout>(region: Region<L>, index: usize) -> KnStatus {
    let mut verdict = KnStatus::Corrupt;
    // SAFETY: the caller's word. A walk that fails leaves the verdict as it is.
    let _ = unsafe {
        each_block(region, &mut |block, size, used| {
            if index >= block + size {
                return true;
            }
            if index < block {
                verdict = KnStatus::Foreign;
            } else if !used {
                verdict = KnStatus::DoubleFree;
            } else if index != block {
                verdict = KnStatus::Foreign;
            }
            false
        })
    };
    verdict
}

/// Whether the free block's links name it back.
///
/// # Safety
/// `block` is a free block of the region, of `size` granules.
unsafe fn linked_well<L: Layout>(region: Region<L>, block: usize, size: usize) -> bool {
    // SAFETY: links are followed only to this region's indices.
    unsafe {
        let bin = bin_of(size);
        let previous = region.field(block, 0).read().get();
        let next = region.field(block, 1).read().get();
        let back = if previous == Region::<L>::BINS + bin {
            region.head(bin).read().get() == block
        } else {
            region.holds(previous) && region.field(previous, 1).read().get() == block
        };
        let forth = next == 0 || (region.holds(next) && region.field(next, 0).read().get() == block);
        back && forth
    }
}

/// Number of blocks in all bins; None when a list does not end within `most` blocks, holds a block
/// of another bin's size, or disagrees with the bitmap.
///
/// # Safety
/// `region` is live.
unsafe fn listed<L: Layout>(region: Region<L>, most: usize) -> Option<usize> {
    let mut count = 0;
    // SAFETY: links are followed only to this region's indices.
    unsafe {
        let bins = usize::from((*region.this).bins);
        if find(region, bins.min(Region::<L>::WORDS * WORD_BITS - 1)).is_some_and(|bin| bin >= bins) {
            return None;
        }
        for bin in 0..bins {
            let mut block = region.head(bin).read().get();
            let marked = region.word(bin / WORD_BITS).read() >> (bin % WORD_BITS) & 1 != 0;
            if marked != (block != 0) {
                return None;
            }
            while block != 0 {
                count += 1;
                if count > most || block < region.first() || !region.holds(block) {
                    return None;
                }
                match L::measure(region, block) {
                    Ok((size, false)) if bin_of(size) == bin => {}
                    _ => return None,
                }
                block = region.field(block, 1).read().get();
            }
        }
    }
    Some(count)
}

/// Verifies one region.
///
/// # Safety
/// `region` is live.
unsafe fn check_region<L: Layout>(region: Region<L>) -> KnStatus {
    let (mut used_granules, mut used_blocks, mut free_blocks) = (0, 0, 0);
    let mut sound = true;
    let mut last_was_free = false;
    // SAFETY: the walk stays inside the region.
    unsafe {
        let walked = each_block(region, &mut |block, size, used| {
            sound &= block != region.first() || L::begins_well(region);
            if used {
                used_granules += size;
                used_blocks += 1;
                sound &= super::guard::intact(region.granule(block), size * L::GRANULE - L::LEAD);
            } else {
                free_blocks += 1;
                sound &= !last_was_free && linked_well(region, block, size);
            }
            last_was_free = !used;
            sound
        });
        let tally = region.tally().read();
        let agrees = tally.granules() == used_granules && tally.blocks() == used_blocks;
        let listed = listed(region, free_blocks) == Some(free_blocks);
        if walked == Ok(true) && sound && agrees && listed && region.peak().read() >= tally {
            KnStatus::Ok
        } else {
            KnStatus::Corrupt
        }
    }
}

/// Adds one region's numbers.
///
/// # Safety
/// `region` is live.
unsafe fn add_stats<L: Layout>(region: Region<L>, out: &mut KnHeapStats) {
    // SAFETY: reads the control block.
    unsafe {
        let span = region.end() - region.first();
        let used = region.tally().read().granules();
        out.total += span * L::GRANULE;
        out.used += used * L::GRANULE;
        out.free += (span - used) * L::GRANULE;
        out.peak += region.peak().read().granules() * L::GRANULE;
        out.largest_free = out.largest_free.max(super::guard::unpadded(largest_free(region)));
        out.blocks += region.tally().read().blocks();
        out.regions += 1;
        out.overhead += region.first() * L::GRANULE;
    }
}

impl KnHeap {
    /// Verifies every record of the heap: `Ok` or `Corrupt`.
    ///
    /// # Safety
    /// `this` is a live heap that no other thread or interrupt uses during the call.
    pub unsafe fn check(this: *mut Self) -> KnStatus {
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                let status = in_layout!(each, region => check_region(region));
                if status != KnStatus::Ok {
                    return status;
                }
                each = (*each).next;
            }
        }
        KnStatus::Ok
    }

    /// The heap's numbers.
    ///
    /// # Safety
    /// As [`KnHeap::check`]; `out` is valid for a write.
    pub unsafe fn stats(this: *mut Self, out: *mut KnHeapStats) -> KnStatus {
        let mut sum = KnHeapStats::default();
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                in_layout!(each, region => add_stats(region, &mut sum));
                each = (*each).next;
            }
        }
        // SAFETY: the caller's word.
        unsafe { out.write(sum) };
        KnStatus::Ok
    }

    /// Shows every block to `visit`, until it answers false: `Ok`, or `Corrupt` when a block's
    /// records are contradictory and the walk cannot go on.
    ///
    /// # Safety
    /// As [`KnHeap::check`]; `visit` does not change the heap.
    pub unsafe fn walk(this: *mut Self, visit: &mut dyn FnMut(&KnBlock) -> bool) -> KnStatus {
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                let outcome = in_layout!(each, region => walk_region(region, visit));
                match outcome {
                    Ok(true) => each = (*each).next,
                    Ok(false) => return KnStatus::Ok,
                    Err(status) => return status,
                }
            }
        }
        KnStatus::Ok
    }
}

/// # Safety
/// `region` is live.
unsafe fn walk_region<L: Layout>(region: Region<L>, visit: &mut dyn FnMut(&KnBlock) -> bool) -> Result<bool, KnStatus> {
    // SAFETY: the walk stays inside the region.
    unsafe {
        each_block(region, &mut |block, size, used| {
            visit(&KnBlock {
                start: region.granule(block).cast_const().cast(),
                size: size * L::GRANULE,
                state: if used { KN_BLOCK_USED } else { KN_BLOCK_FREE },
            })
        })
    }
}
