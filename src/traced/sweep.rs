//! The end of a collection: finalisers, then the sweep, at once or in slices.
//!
//! Guarantees
//! * Finalisers run before anything is swept, so all dead blocks are intact; each runs once. They may free any
//!   block, get no memory, and may jump away: kn_traced_collect_end goes on with the next one,
//!   kn_traced_collect_start begins a new collection, kn_traced_collect_abandon gives it up.
//! * A dead block that a finaliser makes reachable again is freed all the same.
//! * A slice is so many granules, and what dead blocks it begins extend beyond.
//! * Groups that nothing was placed in, between what is used at the bottom and at the top, are not looked at.
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
//! Costs on Cortex-M3: 14 instructions for each group in use, of 512 bytes if granules have 16, and up to 45 if something
//! in it is dead; finalisers: 16 for each
//! group if there is any.

use super::area::{Area, Group, NO_GREY};
use super::heap::{KnTraced, Phase};
use super::zero::zero;
use crate::heap::bits::{lowest, WORD_BITS};
use crate::heap::KnStatus;
use crate::port::Callback;

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
            // Of a block whose trace function jumped away nobody knows what it refers to.
            let torn = (*heap).phase == Phase::Marking && (*heap).inside.is_noted();
            if torn || (*heap).phase == Phase::Idle || Callback::is_under_way(&raw const (*heap).inside) {
                return Self::complain(
                    KnStatus::Order,
                    heap.cast(),
                    c"kn_traced_collect_end: no collection is under way that could end",
                );
            }
            if !(*heap).resized.is_null() {
                Self::mark(heap, (&raw const (*heap).resized).cast(), 1);
            }
            (*heap).inside.forget();
            (*heap).phase = Phase::Finalising;
            for area in Self::areas(heap) {
                Area::mark_beyond(area);
                Self::finalise(heap, area);
            }
            if (*heap).phase != Phase::Finalising {
                // A finaliser gave the collection up.
                return;
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
                zero((&raw mut (*area).hints).cast(), size_of_val(&(*area).hints));
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
    #[inline(never)]
    unsafe fn finalise(heap: *mut KnTraced, area: *mut Area) {
        // SAFETY: the caller's word; a finaliser may change any bits, so they are read again after each.
        unsafe {
            let mut word = 0;
            while word < (*area).words && (*heap).finalisers != 0 {
                if word == (*area).low && word < (*area).high {
                    word = (*area).high;
                }
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
                    Self::call(&raw mut (*heap).inside, &mut || finalise(context, block.cast()));
                    if (*heap).phase != Phase::Finalising {
                        return;
                    }
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
                Area::sweep_some(area, 0, groups);
                if (*area).unswept < (*area).swept_from {
                    return false;
                }
                groups = groups.saturating_sub((*area).unswept - from);
            }
            true
        }
    }
}

impl Area {
    /// Sweeps a slice at a side of what is unswept; answers as [`Area::sweep_some`].
    ///
    /// # Safety
    /// As [`Area::sweep_some`].
    pub(super) unsafe fn sweep_from(area: *mut Area, side: usize) -> usize {
        // SAFETY: the caller's word.
        unsafe { Area::sweep_some(area, side, (*area).slice.max(LEAST)) }
    }

    /// Sweeps so many groups at a side of what is unswept. How many groups behind them have new free granules: those of
    /// dead blocks that extend there.
    ///
    /// # Safety
    /// `area` is live, no collection is under way.
    #[inline(never)]
    unsafe fn sweep_some(area: *mut Area, side: usize, groups: usize) -> usize {
        // SAFETY: the caller's word; the groups are some that are unswept.
        unsafe {
            let (mut from, mut to) = ((*area).unswept, (*area).swept_from);
            let all = to.saturating_sub(from);
            if all == 0 {
                return 0;
            }
            let groups = groups.min(all);
            if side == 0 {
                let end = from + groups;
                // What nobody looks at is swept at once.
                to = if end < (*area).low { end } else { end.max((*area).high).min(to) };
                (*area).unswept = to;
            } else {
                from = to - groups;
                (*area).swept_from = from;
            }
            Area::sweep(area, from, to)
        }
    }

    /// Sweeps all that is unswept.
    ///
    /// # Safety
    /// `area` is live, no collection is under way.
    pub(super) unsafe fn sweep_remainder(area: *mut Area) {
        // SAFETY: the caller's word.
        unsafe {
            Area::sweep_some(area, 0, usize::MAX);
            (*area).unswept = 0;
            (*area).swept_from = 0;
        }
    }

    /// Frees what is dead in the groups from `from` to before `to`, and takes the marks away; answers as
    /// [`Area::sweep_some`].
    ///
    /// # Safety
    /// `area` is live, its marks tell what is alive, the groups are in it and unswept until now.
    #[inline(always)]
    unsafe fn sweep(area: *mut Area, from: usize, to: usize) -> usize {
        // SAFETY: the caller's word; tails end before the fence.
        unsafe {
            let groups = (*area).groups;
            let mut group = groups.add(from);
            let end = groups.add(to);
            // Where those that nobody looks at begin, if they lie ahead.
            let (low, high) = ((*area).low, (*area).high.min(to));
            let mut stop = if from < low && low < high { groups.add(low) } else { end };
            // Whether the block that reaches into the group is dead.
            let mut carry = 0;
            let mut freed = 0;
            loop {
                if group == stop {
                    if group == end {
                        break;
                    }
                    stop = end;
                    group = groups.add(high);
                    continue;
                }
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
                if dead != 0 {
                    freed += dead.count_ones() as usize;
                }
                group.write(Group { heads, scan: heads & scan | tails, marks: marks & tails });
                group = group.add(1);
            }
            (*area).freed += freed;
            // Tails that the next group begins with have their head before it.
            if carry == 0 || (*groups.add(to)).tails() & 1 == 0 {
                return 0;
            }
            let start = to * WORD_BITS;
            let beyond = Area::end(area, start);
            Area::release(area, start, beyond);
            beyond.div_ceil(WORD_BITS) - to
        }
    }
}
