//! Allocation: the short way for small blocks, the search for the others, and what happens when there is none.
//!
//! Guarantees
//! * A block is zeroed as a whole, and lies at the lowest place that has room, or in a scope at the highest.
//!   One that is to be finalised has at least two granules.
//! * When there is no room the program's `collect` is called, once; then an allocation fails, with a report that
//!   needs no memory.
//! * The program's callbacks find the heap consistent, may use it, and may jump away.
//!
//! ```text
//!   want 3 granules                    from the bottom: the hint of size 3
//!   free      0 0 1 1 0 1 1 1 1 0      1 granule free at a time
//!   & >> 1    0 0 1 0 0 1 1 1 0 0      2 from here on
//!   & >> 1    0 0 0 0 0 1 1 0 0 0      3 from here on: the lowest bit; in a scope the highest
//! ```
//! Costs: up to [`SHORT`] granules O(1), some 45 instructions on Cortex-M3 with one granule, if the group that the
//! hint names has room. Else a few instructions for each group (as many granules as a word has bits) from the
//! hint to the run.

use core::ptr::null_mut;

use super::area::{Area, Granule, Group};
use super::block::granules;
use super::classes::{below, EXACT};
use super::config::*;
use super::heap::{KnTraced, Phase, GATE_TOP, GATE_UNUSUAL, USUAL};
use super::zero::zero;
use crate::heap::bits::{log2, lowest, WORD_BITS};
use crate::port::Callback;

/// The most granules of a block that takes the short way.
const SHORT: usize = 4;

/// Of each granule whether a free run of `count` granules begins there and ends in the same word.
#[inline(always)]
fn runs(free: usize, count: usize) -> usize {
    let mut runs = free;
    let mut have = 1;
    while have < count {
        let step = have.min(count - have);
        runs &= runs >> step;
        have += step;
    }
    runs
}

/// The same for `less + 1` granules, from 2 to [`SHORT`], without a loop.
#[inline(always)]
fn short_runs(free: usize, less: usize) -> usize {
    let mut runs = free & (free >> 1);
    if less == 3 {
        runs &= runs >> 2;
    } else if less == 2 {
        runs &= free >> 2;
    }
    runs
}

impl KnTraced {
    /// A zeroed block of `size` bytes, or null.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    #[inline(always)]
    pub unsafe fn alloc(heap: *mut KnTraced, size: usize, flags: u32) -> *mut u8 {
        // SAFETY: the caller's word; the size is in the class, and what the hint names is swept. With nothing in the
        // gate granules have the usual size.
        unsafe {
            let area = &raw mut (*heap).area;
            let less = size.wrapping_sub(1) >> USUAL;
            if less < SHORT && (*heap).gate | flags == 0 {
                let hint = *Area::hints(area, 0).add(less) as usize;
                let group = &mut *(*area).groups.add(hint);
                let free = group.free();
                let start = (*area).base.wrapping_add(hint << (USUAL + WORD_BITS.trailing_zeros()));
                if less == 0 {
                    if free != 0 {
                        let bit = lowest(free);
                        group.heads |= 1 << bit;
                        group.scan |= 1 << bit;
                        let block = start.wrapping_add(bit << USUAL);
                        (*heap).newest = block;
                        zero(block, 1 << USUAL);
                        return block;
                    }
                } else {
                    let runs = short_runs(free, less);
                    if runs != 0 {
                        let bit = lowest(runs);
                        group.heads |= 1 << bit;
                        group.scan |= ((2 << less) - 1) << bit;
                        let block = start.wrapping_add(bit << USUAL);
                        (*heap).newest = block;
                        zero(block, (less + 1) << USUAL);
                        return block;
                    }
                }
            }
            Self::alloc_slowly(heap, size, flags)
        }
    }

    /// The same, for any size and state.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`].
    #[inline(never)]
    pub(super) unsafe fn alloc_slowly(heap: *mut KnTraced, size: usize, flags: u32) -> *mut u8 {
        // SAFETY: the caller's word. Behind the last group, and before the first, stands a fence.
        unsafe {
            let area = &raw mut (*heap).area;
            let less = size.wrapping_sub(1) >> Area::shift(area);
            let gate = (*heap).gate | flags;
            if less < WORD_BITS - 1 && gate & !(GATE_TOP | GATE_UNUSUAL | KN_NO_SCAN) == 0 {
                let top = gate & GATE_TOP != 0;
                let mut place = *Area::hints(area, usize::from(top)).add(below(less + 1)) as usize;
                let mut word = if top { ((*area).words - 1).wrapping_sub(place) } else { place };
                let mut runs = runs((*(*area).groups.wrapping_add(word)).free(), less + 1);
                if less == 0 {
                    // Most blocks have one granule, and the next group with a free one is often near.
                    while runs == 0 && place + 1 < (*area).words {
                        place += 1;
                        word = if top { word - 1 } else { word + 1 };
                        if Area::is_unswept(area, word) {
                            break;
                        }
                        runs = (*(*area).groups.add(word)).free();
                    }
                    if runs != 0 {
                        Area::raise(area, usize::from(top), 1, place);
                    }
                }
                if runs != 0 {
                    let bit = if top { log2(runs) } else { lowest(runs) };
                    if top {
                        (*area).floor = (*area).floor.min(word * WORD_BITS + bit);
                    }
                    return Self::give_in_group(heap, word, bit, less, flags);
                }
            }
            let side = u32::from(flags & KN_LONG_LIVED == 0 && Self::in_scope(heap));
            Self::alloc_at(heap, size, flags & ALLOCATION_FLAGS, side)
        }
    }

    /// A block of `less + 1` free granules that lie in one group; of `flags` only KN_NO_SCAN is done.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`]; they are free and swept.
    #[inline(always)]
    unsafe fn give_in_group(heap: *mut KnTraced, word: usize, bit: usize, less: usize, flags: u32) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            let area = &raw mut (*heap).area;
            let group = &mut *(*area).groups.add(word);
            let quiet = usize::from(flags & KN_NO_SCAN != 0);
            group.heads |= 1 << bit;
            group.scan |= ((2 << less) - 1 - quiet) << bit;
            let block = Area::address(area, word * WORD_BITS + bit);
            (*heap).newest = block;
            zero(block, (less + 1) << Area::shift(area));
            block
        }
    }

    /// The block that the last allocation gave.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn newest(heap: *const KnTraced) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe { (*heap).newest }
    }

    /// A block at a side of the heap, or null after all that could be done.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`].
    pub(super) unsafe fn alloc_at(heap: *mut KnTraced, size: usize, flags: u32, side: u32) -> *mut u8 {
        // SAFETY: the caller's word; `collect` may have changed everything.
        unsafe {
            if size == 0 || (*heap).locks != 0 || (*heap).phase != Phase::Idle {
                return null_mut();
            }
            let stress = (*heap).config.flags & KN_TRACED_STRESS != 0;
            let threshold = (*heap).config.threshold;
            let mut collected = (stress || threshold != 0 && (*heap).since >= threshold) && Self::collect(heap);
            loop {
                if (*heap).locks != 0 || (*heap).phase != Phase::Idle {
                    return null_mut();
                }
                let block = Self::take(heap, size, flags, side);
                if !block.is_null() {
                    return block;
                }
                if collected || !Self::collect(heap) {
                    break;
                }
                collected = true;
            }
            Self::tell_short(heap, size, flags);
            null_mut()
        }
    }

    /// Lets the program collect: whether it was asked to.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`].
    unsafe fn collect(heap: *mut KnTraced) -> bool {
        // SAFETY: the caller's word; the program gave the function for this.
        unsafe {
            let Some(collect) = (*heap).config.collect else { return false };
            if Callback::is_under_way(&raw const (*heap).collecting) {
                return false;
            }
            // A program that decides not to collect is asked again after as many bytes more.
            (*heap).since = 0;
            let context = (*heap).config.context;
            Callback::run(&raw mut (*heap).collecting, || collect(context));
            true
        }
    }

    /// A block from the first area that has room, or null.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`], and no collection is under way.
    unsafe fn take(heap: *mut KnTraced, size: usize, flags: u32, side: u32) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            for area in Self::areas(heap) {
                let shift = Area::shift(area);
                let count = granules(size, shift, flags);
                let Some(start) = Area::search(area, count, side as usize) else { continue };
                Area::occupy(area, start, count, flags);
                if side != 0 {
                    (*area).floor = (*area).floor.min(start);
                }
                if flags & KN_FINALISE != 0 {
                    (*heap).finalisers += 1;
                }
                if (*heap).config.threshold != 0 {
                    (*heap).since += count << shift;
                }
                let block = Area::address(area, start);
                (*heap).newest = block;
                zero(block, count << shift);
                return block;
            }
            null_mut()
        }
    }
}

impl Area {
    /// Makes free granules a block.
    ///
    /// # Safety
    /// `area` is live, the granules are free and swept.
    unsafe fn occupy(area: *mut Area, start: Granule, count: usize, flags: u32) {
        // SAFETY: the caller's word.
        unsafe {
            Area::fill(area, start, start + count);
            let group = &mut *Area::group(area, start);
            let bit = 1 << (start % WORD_BITS);
            group.heads |= bit;
            if flags & KN_NO_SCAN != 0 {
                group.scan &= !bit;
            }
            if flags & KN_FINALISE != 0 {
                (*Area::group(area, start + 1)).marks |= 1 << ((start + 1) % WORD_BITS);
            }
        }
    }

    /// The free granules of the group that is `place` groups from the side; the side's end is bit 0.
    ///
    /// # Safety
    /// `area` is live, `place` below `words`, the group is swept.
    #[inline(always)]
    unsafe fn free_at(area: *mut Area, place: usize, side: usize) -> usize {
        // SAFETY: the caller's word.
        unsafe {
            if side == 0 {
                (*(*area).groups.add(place)).free()
            } else {
                (*(*area).groups.add((*area).words - 1 - place)).free().reverse_bits()
            }
        }
    }

    /// How many granules right before the group are free, seen from the side.
    ///
    /// # Safety
    /// `area` is live, `place` at most `words`, the groups before it are swept.
    unsafe fn free_before(area: *mut Area, place: usize, side: usize) -> usize {
        let mut before = 0;
        let mut place = place;
        while place != 0 {
            place -= 1;
            // SAFETY: the caller's word.
            let more = unsafe { Area::free_at(area, place, side) }.leading_ones() as usize;
            before += more;
            if more != WORD_BITS {
                break;
            }
        }
        before
    }

    /// The free run of `count` granules that is nearest to the side; sweeps what it comes through.
    ///
    /// # Safety
    /// `area` is live, no collection is under way.
    #[inline(never)]
    unsafe fn search(area: *mut Area, count: usize, side: usize) -> Option<Granule> {
        // SAFETY: the caller's word; places stay below `words`, groups before a place are swept.
        unsafe {
            let words = (*area).words;
            if count > (*area).count {
                return None;
            }
            let mut place = *Area::hints(area, side).add(below(count)) as usize;
            // What is free before the place and reaches it.
            let mut before = Area::free_before(area, place, side);
            while place < words {
                if Area::is_unswept(area, if side == 0 { place } else { words - 1 - place }) {
                    let behind = Area::sweep_from(area, side);
                    if side != 0 && behind != 0 {
                        // Dead blocks extended to where the search has been.
                        place = place.saturating_sub(behind);
                        before = Area::free_before(area, place, side);
                    }
                    continue;
                }
                let free = Area::free_at(area, place, side);
                if free == usize::MAX && before + WORD_BITS < count {
                    before += WORD_BITS;
                    place += 1;
                    continue;
                }
                if free != 0 {
                    let origin = place * WORD_BITS;
                    let found = if before + free.trailing_ones() as usize >= count {
                        Some(origin - before)
                    } else if count <= WORD_BITS {
                        let runs = runs(free, count);
                        (runs != 0).then(|| origin + lowest(runs))
                    } else {
                        None
                    };
                    if let Some(start) = found {
                        Area::raise(area, side, count, start / WORD_BITS);
                        return Some(if side == 0 { start } else { words * WORD_BITS - start - count });
                    }
                }
                before = free.leading_ones() as usize;
                place += 1;
            }
            Area::raise(area, side, count, words);
            None
        }
    }
}

// The short way reads a whole group, and its hints are those of exact classes.
const _: () = assert!(SHORT <= EXACT && size_of::<Group>() == 3 * size_of::<usize>());
