//! The end of a collection: finalisers, then the sweep, at once or in slices.
//!
//! Guarantees
//! * Finalisers run before anything is swept, so all dead blocks are intact; each runs once. They may free any
//!   block, get no memory, and may jump away: kn_traced_collect_end goes on with the next one, and
//!   kn_traced_collect_start begins a new collection.
//! * A dead block that a finaliser makes reachable again is freed all the same.
//! * A slice is so many granules, and what dead blocks it begins extend beyond.
//!
//! ```text
//!   heads        1 0 0 1 1 0 0 1        group by group, lowest bit left
//!   marks        0     1 0     1        dead: heads that are not marked
//!   dead << 1      1       1            added to the tails, a carry runs through the tails
//!   tails          1 1     1 1          of dead blocks and clears them; what remains is alive
//!   sum & tails    0 0     0 0
//!
//!   | swept, bottom | unswept      | swept, top |     blocks are only placed where it is swept
//! ```
//! Costs on Cortex-M3: 20 instructions for each group, of 512 bytes if granules have 16; finalisers: 10 for each
//! group if there is any.

use super::area::{Area, Group, NO_GREY};
use super::classes::CLASSES;
use super::heap::{KnTraced, Phase};
use crate::heap::bits::{lowest, WORD_BITS};
use crate::heap::KnStatus;
use crate::port::{report, Callback};

/// The least groups of a slice.
const LEAST: usize = 1;

impl KnTraced {
    /// Ends a collection: what is not marked is dead.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub unsafe fn collect_end(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe {
            if Callback::is_under_way(&raw const (*heap).inside) || (*heap).phase == Phase::Idle {
                return report(KnStatus::Order, heap.cast(), c"kn_traced_collect_end: no collection is under way");
            }
            (*heap).inside.forget();
            (*heap).phase = Phase::Finalising;
            for area in Self::areas(heap) {
                Area::mark_beyond(area);
                Self::finalise(heap, area);
            }
            (*heap).phase = Phase::Idle;
            (*heap).since = 0;
            (*heap).collections += 1;
            Self::settle(heap);
            for area in Self::areas(heap) {
                debug_assert!((*area).grey == NO_GREY);
                (*area).freed = 0;
                (*area).unswept = 0;
                (*area).swept_from = (*area).words;
                (*area).hints = [[0; 1 + CLASSES]; 2];
                if (*heap).config.slice == 0 {
                    Area::sweep_remainder(area);
                } else {
                    // What the hints name is swept.
                    Area::sweep_from(area, 0);
                    Area::sweep_from(area, 1);
                }
            }
        }
    }

    /// Tells the program of the dead blocks of an area that are to be finalised.
    ///
    /// # Safety
    /// As [`KnTraced::collect_end`].
    unsafe fn finalise(heap: *mut KnTraced, area: *mut Area) {
        // SAFETY: the caller's word; a finaliser may change any bits, so they are read again after each.
        unsafe {
            let mut word = 0;
            while word < (*area).words && (*heap).finalisers != 0 {
                let group = &mut *(*area).groups.add(word);
                let next = &mut *(*area).groups.add(word + 1);
                let flagged = (group.marks & group.tails()) >> 1 | (next.marks & next.tails()) << (WORD_BITS - 1);
                let dead = group.heads & !group.marks & flagged;
                if dead == 0 {
                    word += 1;
                    continue;
                }
                let granule = word * WORD_BITS + lowest(dead);
                (*Area::group(area, granule + 1)).marks &= !(1 << ((granule + 1) % WORD_BITS));
                (*heap).finalisers -= 1;
                if let Some(finalise) = (*heap).config.finalise {
                    let context = (*heap).config.context;
                    let block = Area::address(area, granule);
                    Callback::run(&raw mut (*heap).inside, || finalise(context, block.cast()));
                }
            }
        }
    }

    /// Sweeps `granules` granules more: whether nothing is left to sweep.
    ///
    /// # Safety
    /// As [`KnTraced::collect_end`].
    pub unsafe fn step(heap: *mut KnTraced, granules: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let mut groups = granules.div_ceil(WORD_BITS);
            if (*heap).phase != Phase::Idle {
                return false;
            }
            for area in Self::areas(heap) {
                let from = (*area).unswept;
                let left = (*area).swept_from.saturating_sub(from);
                let now = left.min(groups);
                (*area).unswept = from + now;
                Area::sweep(area, from, from + now);
                if now != left {
                    return false;
                }
                groups -= now;
            }
            true
        }
    }
}

impl Area {
    /// Sweeps a slice at a side of what is unswept. How many groups behind the slice have new free granules: those
    /// of dead blocks that extend there.
    ///
    /// # Safety
    /// `area` is live, no collection is under way.
    #[inline(never)]
    pub(super) unsafe fn sweep_from(area: *mut Area, side: usize) -> usize {
        // SAFETY: the caller's word; the groups are some that are unswept.
        unsafe {
            let (from, to) = ((*area).unswept, (*area).swept_from);
            if from >= to {
                return 0;
            }
            let groups = (*area).slice.max(LEAST).min(to - from);
            if side == 0 {
                (*area).unswept = from + groups;
                Area::sweep(area, from, from + groups)
            } else {
                (*area).swept_from = to - groups;
                Area::sweep(area, to - groups, to)
            }
        }
    }

    /// Sweeps all that is unswept.
    ///
    /// # Safety
    /// `area` is live, no collection is under way.
    pub(super) unsafe fn sweep_remainder(area: *mut Area) {
        // SAFETY: the caller's word.
        unsafe {
            Area::sweep(area, (*area).unswept, (*area).swept_from);
            (*area).unswept = 0;
            (*area).swept_from = 0;
        }
    }

    /// Frees what is dead in the groups from `from` to before `to`, and takes the marks away; answers as
    /// [`Area::sweep_from`].
    ///
    /// # Safety
    /// `area` is live, its marks tell what is alive, the groups are in it and unswept until now.
    #[inline(never)]
    unsafe fn sweep(area: *mut Area, from: usize, to: usize) -> usize {
        // SAFETY: the caller's word; tails end before the fence.
        unsafe {
            let mut group = (*area).groups.add(from);
            let end = (*area).groups.add(to);
            // Whether the block that reaches into the group is dead.
            let mut carry = 0;
            let mut freed = 0;
            while group != end {
                let Group { heads, scan, marks } = group.read();
                let dead = heads & !marks;
                let tails = scan & !heads;
                if dead | carry == 0 {
                    (*group).marks = marks & tails;
                    group = group.add(1);
                    continue;
                }
                let (sum, ripple) = tails.overflowing_add(dead << 1 | carry);
                carry = usize::from(ripple) | dead >> (WORD_BITS - 1);
                let tails = sum & tails;
                let heads = heads & marks;
                freed += dead.count_ones() as usize;
                group.write(Group { heads, scan: heads & scan | tails, marks: marks & tails });
                group = group.add(1);
            }
            (*area).freed += freed;
            if carry == 0 {
                return 0;
            }
            Area::sweep_beyond(area, to)
        }
    }

    /// Frees the tails that the group begins with, whose head was in the slice before: in how many groups.
    ///
    /// # Safety
    /// As [`Area::sweep`].
    #[inline(never)]
    unsafe fn sweep_beyond(area: *mut Area, from: usize) -> usize {
        // SAFETY: the caller's word: the run ends at the fence.
        unsafe {
            let start = from * WORD_BITS;
            if (*(*area).groups.add(from)).tails() & 1 == 0 {
                return 0;
            }
            let end = Area::end(area, start);
            Area::release(area, start, end);
            end.div_ceil(WORD_BITS) - from
        }
    }
}
