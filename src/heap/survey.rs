//! Quick looks at a heap's blocks: free ones and what lies between them, and the largest without looking at
//! the others.
//!
//! Guarantees
//! * Read only. They end on any input, and follow no size or link out of the region.
//! * [`KnHeap::each_hole`] goes over the same blocks as [`KnHeap::walk`], in a bounded number of steps each:
//!   it verifies only that a block ends in its region and that a free one says the same size at both ends.
//! * [`KnHeap::largest_free`] takes a bounded number of steps in each region. It is exact if the free blocks
//!   of the largest one's size class are [`MOST_LOOKED_AT`] at most, or all of one size (up to 32
//!   granules they are); otherwise it is the largest of so many, and the largest of all is less than an
//!   eighth larger.
//!
//! ```text
//!   words  …0001000100100010       the highest bit: the bin of the largest blocks
//!                 |
//!   heads  …     [ i ]  ->  block i: 47 granules  ->  block m: 44  ->  block k: 45      47 it is
//! ```
//!
//! Costs: `each_hole` O(blocks); `largest_free` O(regions).

use super::bins::{highest, least_in, names, EXACT};
use super::bits::log2;
use super::guard::unpadded;
use super::heap::in_layout;
use super::layout::{KnHeap, KnLayout, Layout, Link, Region};
use super::status::KnStatus;
use super::{CompactLayout, MapLayout, WideLayout};

const MAP: bool = cfg!(feature = "layout-map");
const COMPACT: bool = cfg!(feature = "layout-compact");
const WIDE: bool = cfg!(feature = "layout-wide");

/// How many free blocks of the highest bin are looked at.
pub(crate) const MOST_LOOKED_AT: usize = 64;

/// What a look at the free blocks is told of each: where the first used block since the free one before it
/// starts, or null if there is none; bytes of that free one before, 0 if the region has none; and its own
/// bytes. False: that is enough.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(*mut u8, usize, usize) -> bool;

/// Granules of the largest free block, as far as it is found in a bounded number of steps.
///
/// # Safety
/// `region` is live.
unsafe fn largest<L: Layout>(region: Region<L>) -> usize {
    // SAFETY: links are followed only to blocks of this region that name the one before them.
    unsafe {
        let Some(bin) = highest(region) else { return 0 };
        // Of a bin of one size, and of one whose records are spoiled, this much is certain.
        let mut best = least_in(bin);
        if bin < EXACT {
            return best;
        }
        let mut block = region.head(bin).read().get();
        for _ in 0..MOST_LOOKED_AT {
            let size = L::free_size(region, block);
            if size > best && L::ends_agree(region, block, size) {
                best = size;
            }
            let next = region.field(block, 1).read().get();
            if !names(region, next, block) {
                break;
            }
            block = next;
        }
        best
    }
}

/// The payload of the largest free block.
///
/// # Safety
/// `region` is live.
unsafe fn largest_payload<L: Layout>(region: Region<L>) -> usize {
    // SAFETY: the caller's word.
    match unsafe { largest(region) } {
        0 => 0,
        granules => unpadded(granules * L::GRANULE - L::LEAD),
    }
}

/// Shows a region's free blocks: whether the visitor let it end.
///
/// # Safety
/// `region` is live.
#[inline(never)]
unsafe fn holes<L: Layout>(region: Region<L>, visit: Visit<'_>) -> Result<bool, KnStatus> {
    // SAFETY: `stride` answers sizes that stay inside the region.
    unsafe {
        let end = region.end();
        let mut block = region.first();
        let mut before = 0;
        // Index 0 is no block's.
        let mut run = 0;
        while block < end {
            let (size, used) = L::stride(region, block)?;
            if used {
                if run == 0 {
                    run = block;
                }
            } else {
                let start = if run == 0 { core::ptr::null_mut() } else { region.granule(run) };
                if !visit(start, before, size * L::GRANULE) {
                    return Ok(false);
                }
                before = size * L::GRANULE;
                run = 0;
            }
            block += size;
        }
        Ok(true)
    }
}

/// The block whose payload starts at `at`.
///
/// # Safety
/// `region` is live, and where `at` lies in it a block starts there, or the region ends.
unsafe fn look<L: Layout>(region: Region<L>, at: *const u8) -> Option<(usize, bool)> {
    // SAFETY: the caller's word.
    unsafe {
        let block = region.index_of(at).filter(|&block| block >= region.first())?;
        let (size, used) = L::stride(region, block).ok()?;
        Some((size * L::GRANULE, used))
    }
}

/// Size of the free block right before the used one whose payload starts at `at`; 0: there is none.
///
/// # Safety
/// As [`look`].
unsafe fn look_before<L: Layout>(region: Region<L>, at: *const u8) -> Option<usize> {
    // SAFETY: the caller's word.
    unsafe {
        let block = region.index_of(at)?;
        let used = L::inspect(region, block).ok()?;
        L::left(region, block, used).map(|size| size * L::GRANULE)
    }
}

/// Adds a region up; `Corrupt` when its blocks can't be told.
///
/// # Safety
/// `region` is live.
#[inline(never)]
unsafe fn measure<L: Layout>(region: Region<L>, extent: &mut Extent) -> KnStatus {
    let mut largest = 0;
    // SAFETY: `stride` answers sizes that stay inside the region.
    unsafe {
        let end = region.end();
        let mut block = region.first();
        let mut below = false;
        let (mut blocks, mut bytes) = (0, 0);
        while block < end {
            let Ok((size, used)) = L::stride(region, block) else {
                return KnStatus::Corrupt;
            };
            block += size;
            if used {
                blocks += 1;
                bytes += size;
                continue;
            }
            extent.free += size * L::GRANULE;
            extent.holes += 1;
            largest = largest.max(size);
            if below && blocks != 0 {
                extent.pins += 1;
                extent.pinned_blocks += blocks;
                extent.pinned_bytes += bytes * L::GRANULE;
            }
            below = true;
            (blocks, bytes) = (0, 0);
        }
        extent.total += (end - region.first()) * L::GRANULE;
        extent.largest += largest * L::GRANULE;
        extent.payload = extent.payload.max(unpadded((largest * L::GRANULE).saturating_sub(L::LEAD)));
    }
    KnStatus::Ok
}

impl KnHeap {
    /// The payload of the largest free block; see the module's head for how exact it is.
    ///
    /// # Safety
    /// `this` is a live heap that no other thread or interrupt uses during the call.
    pub unsafe fn largest_free(this: *mut Self) -> usize {
        let mut best = 0;
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                best = best.max(in_layout!(each, region => largest_payload(region)));
                each = (*each).next;
            }
        }
        best
    }

    /// Shows every free block to `visit`, region by region in order of address, until it answers false:
    /// `Ok`, or `Corrupt` when it can't go on.
    ///
    /// # Safety
    /// As [`KnHeap::largest_free`]; `visit` does not change the heap.
    pub(crate) unsafe fn each_hole(this: *mut Self, visit: Visit<'_>) -> KnStatus {
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                match in_layout!(each, region => holes(region, visit)) {
                    Ok(true) => each = (*each).next,
                    Ok(false) => return KnStatus::Ok,
                    Err(status) => return status,
                }
            }
        }
        KnStatus::Ok
    }

    /// The block whose payload starts at `at`, bytes and whether it is used; None at a region's end.
    ///
    /// # Safety
    /// As [`KnHeap::largest_free`]; a block of the heap starts at `at`, or a region ends.
    pub(crate) unsafe fn block_at(this: *mut Self, at: *const u8) -> Option<(usize, bool)> {
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                let found = in_layout!(each, region => look(region, at));
                if found.is_some() {
                    return found;
                }
                each = (*each).next;
            }
        }
        None
    }

    /// Bytes of the free block right before the used one at `at`; 0 iff there is none.
    ///
    /// # Safety
    /// As [`KnHeap::largest_free`]; a used block of the heap starts at `at`.
    pub(crate) unsafe fn free_before(this: *mut Self, at: *const u8) -> usize {
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                let found = in_layout!(each, region => look_before(region, at));
                if let Some(bytes) = found {
                    return bytes;
                }
                each = (*each).next;
            }
        }
        0
    }
}

/// What a region, or a whole heap, consists of.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extent {
    pub total: usize,
    pub free: usize,
    /// Number of free blocks.
    pub holes: usize,
    /// Bytes of the largest free block, and of its payload; of several regions: of the largest of each,
    /// together, and of the largest payload.
    pub largest: usize,
    pub payload: usize,
    /// Runs of used blocks between free ones, with their blocks and bytes.
    pub pins: usize,
    pub pinned_blocks: usize,
    pub pinned_bytes: usize,
}

impl Extent {
    /// Of 1000 free bytes, how many lie in the largest free block of their region; 1000 if none is free.
    pub fn permille(&self) -> u32 {
        let (mut part, mut whole) = (self.largest, self.free);
        while part > usize::MAX / 1000 {
            part >>= 1;
            whole >>= 1;
        }
        (part * 1000).checked_div(whole).unwrap_or(1000) as u32
    }
}

/// Number of entries of a histogram.
pub(crate) const POWERS: usize = 24;

/// How fragmented a heap is, in bytes where nothing else is said.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnFragmentation {
    /// What all blocks take, used and free: `used + free`.
    pub total: usize,
    /// What used blocks take, headers and rounding included.
    pub used: usize,
    /// What free blocks take.
    pub free: usize,
    /// What fits into the largest free block; 0 iff there is none.
    pub largest_free: usize,
    /// Of 1000 free bytes, how many lie in the largest free block of their region, rounded down; 1000 if
    /// none is free. In a heap of one region: the largest free block over all free memory.
    pub permille: u32,
    /// Number of free blocks.
    pub holes: usize,
    /// Number of free blocks by size: entry n counts those of 2^n bytes and more, but less than
    /// 2^(n + 1); the last also all larger ones.
    pub histogram: [usize; 24],
    /// Their bytes.
    pub histogram_bytes: [usize; 24],
}

/// The entry of a histogram for a block of so many bytes.
pub(crate) fn power(bytes: usize) -> usize {
    log2(bytes).min(POWERS - 1)
}

impl KnHeap {
    /// What one region consists of; `Corrupt` when its blocks can't be told.
    ///
    /// # Safety
    /// `region` is one of a live heap's, and nobody else uses that.
    #[inline(never)]
    pub(crate) unsafe fn add_extent(region: *mut Self, extent: &mut Extent) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe { in_layout!(region, region => measure(region, extent)) }
    }

    /// The region behind this one; null: it is the last.
    ///
    /// # Safety
    /// As [`KnHeap::add_extent`].
    pub(crate) unsafe fn next_region(region: *mut Self) -> *mut Self {
        // SAFETY: the caller's word.
        unsafe { (*region).next }
    }

    /// What the heap consists of, all regions together; `Corrupt` when its blocks can't be told.
    ///
    /// # Safety
    /// As [`KnHeap::each_hole`].
    #[inline(always)]
    pub(crate) unsafe fn extent(this: *mut Self, sum: &mut Extent) -> KnStatus {
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                let status = Self::add_extent(each, sum);
                if status != KnStatus::Ok {
                    return status;
                }
                each = (*each).next;
            }
        }
        KnStatus::Ok
    }

    /// How fragmented the heap is: `Ok`, or `Corrupt` when its blocks can't be told; then `out` is as it was.
    ///
    /// # Safety
    /// As [`KnHeap::largest_free`]; `out` is valid for a write.
    pub unsafe fn fragmentation(this: *mut Self, out: *mut KnFragmentation) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            let mut sum = Extent::default();
            let status = Self::extent(this, &mut sum);
            if status != KnStatus::Ok {
                return status;
            }
            out.write(KnFragmentation {
                total: sum.total,
                used: sum.total - sum.free,
                free: sum.free,
                largest_free: sum.payload,
                permille: sum.permille(),
                holes: sum.holes,
                ..KnFragmentation::default()
            });
            let KnFragmentation { histogram, histogram_bytes, .. } = &mut *out;
            Self::each_hole(this, &mut |_, _, bytes| {
                let power = power(bytes);
                if let (Some(count), Some(sum)) = (histogram.get_mut(power), histogram_bytes.get_mut(power)) {
                    *count += 1;
                    *sum += bytes;
                }
                true
            })
        }
    }
}
