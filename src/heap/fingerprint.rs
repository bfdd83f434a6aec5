//! The heap's fingerprint: one number that tells whether two moments have the same blocks.
//!
//! Guarantees
//! * It depends on which blocks are used, where they lie and how long they are, and on nothing else: not on
//!   the order of calls, on payloads, on the order of free blocks in their bins, or on regions that
//!   were added and have no used block.
//! * Two states of a heap with the same used blocks have the same fingerprint, and so the same free map; two
//!   with different ones have the same by accident only, once in 2^64.
//! * It is a sum: a block that comes adds its own term, one that goes takes it away. So the fingerprint
//!   after any calls is known beforehand from those blocks alone.
//! * Reads only, allocates nothing, follows no size out of the region.
//!
//! ```text
//!   region 0   | used  |  free  | used |       region 1  | free | used |
//!                t(0,9,3)         t(0,20,2)                       t(1,40,7)
//!
//!   fingerprint = START + t(0,9,3) + t(0,20,2) + t(1,40,7)     modulo 2^64
//!   t(region, offset, size) = mix(seed(region) + offset * 2^32 + size)         in granules
//! ```
//!
//! Within a region two blocks never have the same term: `mix` is a permutation, and so is what it mixes.
//!
//! Costs: O(blocks), some 60 instructions each on Cortex-M4; a block's term O(regions).
//!
//! Source: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014), constants of Stafford's variant 13; sums
//! of hashes of a multiset's members are Clarke et al., "Incremental multiset hash functions" (2003).

use super::heap::in_layout;
use super::layout::{KnHeap, KnLayout, Layout, Region};
use super::release::usable;
use super::status::KnStatus;
use super::{CompactLayout, MapLayout, WideLayout};

const MAP: bool = cfg!(feature = "layout-map");
const COMPACT: bool = cfg!(feature = "layout-compact");
const WIDE: bool = cfg!(feature = "layout-wide");

/// The fingerprint of a heap without used blocks; not 0, which says that there is none.
const START: u64 = 0x6B6E_6F6C_6C20_6F6B;

/// A permutation of 64-bit numbers in which each bit of the result depends on all bits of `x`.
fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

/// What tells the blocks of one region from those of the others.
fn seed(region: u32) -> u64 {
    mix((u64::from(region) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// The term of a used block of `size` granules at `block`.
fn term(seed: u64, block: usize, size: usize) -> u64 {
    mix(seed.wrapping_add((block as u64) << 32).wrapping_add(size as u64))
}

/// Sum of the terms of a region's used blocks.
///
/// # Safety
/// `region` is live.
unsafe fn sum<L: Layout>(region: Region<L>, seed: u64) -> Result<u64, KnStatus> {
    let mut sum = 0u64;
    // SAFETY: `stride` answers sizes that stay inside the region.
    unsafe {
        let mut block = region.first();
        while block < region.end() {
            let (size, used) = L::stride(region, block)?;
            if used {
                sum = sum.wrapping_add(term(seed, block, size));
            }
            block += size;
        }
    }
    Ok(sum)
}

/// The term of the used block at `at`, 0 when it is none; None outside the region.
///
/// # Safety
/// `region` is live.
unsafe fn term_at<L: Layout>(region: Region<L>, seed: u64, at: *const u8) -> Option<u64> {
    // SAFETY: the caller's word.
    unsafe {
        region.index_of(at).map(|block| match usable(region, block) {
            0 => 0,
            bytes => term(seed, block, (bytes + L::LEAD) / L::GRANULE),
        })
    }
}

impl KnHeap {
    /// The heap's fingerprint; never 0 but where a record is contradictory and the blocks can't be told.
    ///
    /// # Safety
    /// `this` is a live heap that no other thread or interrupt uses during the call.
    pub unsafe fn fingerprint(this: *mut Self) -> u64 {
        let mut all = START;
        let mut number = 0u32;
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                match in_layout!(each, region => sum(region, seed(number))) {
                    Ok(sum) => all = all.wrapping_add(sum),
                    Err(_) => return 0,
                }
                each = (*each).next;
            }
            number = number.wrapping_add(1);
        }
        // Once in 2^64.
        all | u64::from(all == 0)
    }

    /// What the used block at `at` adds to the heap's fingerprint; 0 for anything that is no used block.
    ///
    /// # Safety
    /// As [`KnHeap::fingerprint`].
    pub unsafe fn block_fingerprint(this: *mut Self, at: *const u8) -> u64 {
        let mut number = 0u32;
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                let found = in_layout!(each, region => term_at(region, seed(number), at));
                if let Some(term) = found {
                    return term;
                }
                each = (*each).next;
            }
            number = number.wrapping_add(1);
        }
        0
    }
}
