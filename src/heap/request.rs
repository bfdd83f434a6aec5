//! From bytes to granules, and what is counted of them.
//!
//! Guarantees
//! * A size that no region of the layout can hold is refused before any arithmetic could overflow; a
//!   size of 0 is served like one of 1.
//! * Used granules, used blocks and their peak are exact after every call.
//!
//! ```text
//!   tally: | used granules | used blocks |    one addition counts both, and the larger of two such
//!                                             words is the one with more granules: the peak
//! ```
//!
//! Costs: an addition and a shift to round; one word read and written to count, two for a new peak.

use super::bins::EXACT;
use super::layout::{Layout, Link, Region, Tally};

/// Requests up to this many bytes have a bin of exactly their size.
pub(super) const fn exact_bytes<L: Layout>() -> usize {
    EXACT * L::GRANULE - L::LEAD
}

/// No region of the layout holds a larger request than this.
pub(super) const fn most_bytes<L: Layout>() -> usize {
    let most = (L::MOST - 1).saturating_mul(L::GRANULE);
    let limit = isize::MAX as usize - 2 * L::GRANULE;
    if most < limit {
        most
    } else {
        limit
    }
}

/// Granules for a request of `bytes`, header included; None when no region could hold it.
#[inline(always)]
pub(super) fn granules<L: Layout>(bytes: usize) -> Option<usize> {
    if bytes <= const { exact_bytes::<L>() } {
        Some(small::<L>(bytes))
    } else if bytes <= const { most_bytes::<L>() } {
        Some(rounded::<L>(bytes))
    } else {
        None
    }
}

/// Granules for a request of at most [`exact_bytes`].
#[inline(always)]
pub(super) fn small<L: Layout>(bytes: usize) -> usize {
    rounded::<L>(if L::LEAD == 0 { bytes.max(1) } else { bytes })
}

/// Granules for a request that cannot overflow.
#[inline(always)]
pub(super) fn rounded<L: Layout>(bytes: usize) -> usize {
    (bytes + (L::LEAD + L::GRANULE - 1)) >> L::GRANULE.trailing_zeros()
}

/// Counts a block of `size` granules as used.
///
/// # Safety
/// `region` is live.
#[inline(always)]
pub(super) unsafe fn count<L: Layout>(region: Region<L>, size: usize) {
    // SAFETY: tally and peak are in the control block.
    unsafe { note_peak(region, region.tally().read().plus(size)) };
}

/// Stores the tally, and the peak if it is one.
///
/// # Safety
/// `region` is live.
#[inline(always)]
pub(super) unsafe fn note_peak<L: Layout>(region: Region<L>, tally: <L::Link as Link>::Tally) {
    // SAFETY: tally and peak are in the control block.
    unsafe {
        region.tally().write(tally);
        if tally > region.peak().read() {
            region.peak().write(tally);
        }
    }
}
