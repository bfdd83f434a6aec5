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
//! Costs: one granule takes some 35 instructions on Cortex-M3, if the group that the hint names has room; up to 31
//! granules (63 on 64-bit targets) some 30 more, and to zero them. Else a few instructions for each group (as many
//! granules as a word has bits) from the hint to the run.

use core::mem::MaybeUninit;
use core::ptr::null_mut;

use super::area::{Area, Granule, Group};
use super::block::granules;
use super::classes::{below, EXACT};
use super::config::*;
use super::heap::{KnTraced, GATE_CLOSED, GATE_TOP, GATE_UNUSUAL, USUAL};
use super::zero::{zero, zero_granule, zero_granules};
use crate::heap::bits::{log2, lowest, WORD_BITS};
use crate::port::Callback;

/// Of each granule whether a free run of `count` granules begins there and ends in the same word. With more of them
/// than a word has bits, not all may be free.
#[inline(always)]
fn runs(free: usize, count: usize) -> usize {
    let count = count.min(WORD_BITS);
    let mut runs = free;
    let mut have = 1;
    while have < count {
        let step = have.min(count - have);
        runs &= runs >> step;
        have += step;
    }
    runs
}

/// The same for `less + 1` granules, from 2 to 8, without a loop.
#[inline(always)]
fn short_runs(free: usize, less: usize) -> usize {
    let mut runs = free & (free >> 1);
    let mut step = less - 1;
    if step > 2 {
        runs &= runs >> 2;
        step -= 2;
    }
    runs & (runs >> (step & 7))
}

/// Room for a report that can be zeroed 8 bytes at a time.
#[repr(align(8))]
struct Room {
    _short: KnTracedShort,
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
            if size.wrapping_sub(1) >> USUAL == 0 && (*heap).gate | flags == 0 {
                let area = &raw mut (*heap).area;
                let hint = *Area::hints(area, 0) as usize;
                let group = &mut *(*area).groups.add(hint);
                let free = group.free();
                if free != 0 {
                    let bit = lowest(free);
                    group.heads |= 1 << bit;
                    group.scan |= 1 << bit;
                    let start = (*area).base.wrapping_add(hint << (USUAL + WORD_BITS.trailing_zeros()));
                    let block = start.wrapping_add(bit << USUAL);
                    (*heap).newest = block;
                    return zero_granule(block);
                }
            }
            Self::alloc_few(heap, size, flags)
        }
    }

    /// The same, for 2 to 8 granules. Apart, so that the shortest way saves no registers.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`].
    #[inline(never)]
    unsafe fn alloc_few(heap: *mut KnTraced, size: usize, flags: u32) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe {
            let less = size.wrapping_sub(1) >> USUAL;
            if less.wrapping_sub(1) < EXACT - 1 && (*heap).gate | flags == 0 {
                let area = &raw mut (*heap).area;
                let hint = *Area::hints(area, 0).add(less) as usize;
                let group = &mut *(*area).groups.add(hint);
                let runs = short_runs(group.free(), less);
                if runs != 0 {
                    let bit = lowest(runs);
                    group.heads |= 1 << bit;
                    group.scan |= ((2 << less) - 1) << bit;
                    let start = (*area).base.wrapping_add(hint << (USUAL + WORD_BITS.trailing_zeros()));
                    let block = start.wrapping_add(bit << USUAL);
                    (*heap).newest = block;
                    return zero_granules(block, less + 1);
                }
            }
            Self::alloc_in_group(heap, size, flags)
        }
    }

    /// The same, for any size and state: in the group that the hint names, if that has room.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`].
    #[inline(never)]
    pub(super) unsafe fn alloc_in_group(heap: *mut KnTraced, size: usize, flags: u32) -> *mut u8 {
        // SAFETY: the caller's word. Behind the last group, and before the first, stands a fence.
        unsafe {
            let area = &raw mut (*heap).area;
            // Other bits are none of the program's.
            let gate = (*heap).gate | flags & ALLOCATION_FLAGS;
            let less = size.wrapping_sub(1) >> Area::shift(area);
            if less < WORD_BITS - 1 && gate & !(GATE_TOP | GATE_UNUSUAL | KN_NO_SCAN) == 0 {
                let top = gate & GATE_TOP != 0;
                let mut place = *Area::hints(area, usize::from(top)).add(below(less + 1)) as usize;
                let mut word = if top { ((*area).words - 1).wrapping_sub(place) } else { place };
                let mut group = (*area).groups.wrapping_add(word);
                let mut runs = runs((*group).free(), less + 1);
                if less == 0 && runs == 0 {
                    // Most blocks have one granule, and the next group with a free one is often near.
                    while runs == 0 && place + 1 < (*area).words {
                        place += 1;
                        word = if top { word - 1 } else { word + 1 };
                        if Area::is_unswept(area, word) {
                            break;
                        }
                        group = (*area).groups.add(word);
                        runs = (*group).free();
                    }
                    if runs != 0 {
                        Area::raise(area, usize::from(top), 1, place);
                        // It may be the first or the last that nobody looked at.
                        if word == (*area).low {
                            (*area).low += 1;
                        } else if word + 1 == (*area).high {
                            (*area).high -= 1;
                        }
                    }
                }
                let group = &mut *group;
                if runs != 0 {
                    let mut bit = lowest(runs);
                    if top {
                        bit = log2(runs);
                        (*area).floor = (*area).floor.min(word * WORD_BITS + bit);
                    }
                    let quiet = (gate / KN_NO_SCAN) & 1;
                    group.heads |= 1 << bit;
                    group.scan |= ((2 << less) - 1 - quiet as usize) << bit;
                    let block = Area::address(area, word * WORD_BITS + bit);
                    (*heap).newest = block;
                    return zero(block, (less + 1) << Area::shift(area));
                }
            }
            Self::alloc_slowly(heap, size, flags)
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

    /// The same, for any size and state: a block, or null after all that could be done.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`].
    #[inline(never)]
    unsafe fn alloc_slowly(heap: *mut KnTraced, size: usize, flags: u32) -> *mut u8 {
        // SAFETY: the caller's word; `collect` may have changed everything.
        unsafe {
            if size == 0 || (*heap).gate & GATE_CLOSED != 0 {
                return null_mut();
            }
            let mut collected = (*heap).since >= (*heap).limit && Self::collect(heap);
            loop {
                if (*heap).gate & GATE_CLOSED != 0 {
                    return null_mut();
                }
                let block = Self::take(heap, size, flags);
                if !block.is_null() {
                    return block;
                }
                if collected || !Self::collect(heap) {
                    break;
                }
                collected = true;
            }
            Self::tell_short(heap, size, flags & ALLOCATION_FLAGS);
            null_mut()
        }
    }

    /// Tells the program of a failure.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`].
    #[cold]
    #[inline(never)]
    unsafe fn tell_short(heap: *mut KnTraced, request: usize, flags: u32) {
        // SAFETY: the caller's word; all zero is a report of nothing.
        unsafe {
            let Some(tell) = (*heap).config.on_short else { return };
            let mut room = MaybeUninit::<Room>::uninit();
            let short = &mut *zero(room.as_mut_ptr().cast(), size_of::<Room>()).cast::<KnTracedShort>();
            short.request = request;
            short.flags = flags;
            if let Some(survey) = (*heap).survey {
                survey(heap, short);
            }
            tell((*heap).config.context, short);
        }
    }

    /// Lets the program collect: whether it was asked to.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`].
    #[inline(never)]
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
            Self::call(&raw mut (*heap).collecting, &mut || collect(context));
            true
        }
    }

    /// Runs code of the program's.
    ///
    /// # Safety
    /// As [`Callback::run`].
    #[inline(never)]
    pub(super) unsafe fn call(callback: *mut Callback, code: &mut dyn FnMut()) {
        // SAFETY: the caller's word. One copy for all.
        unsafe { Callback::run(callback, code) }
    }

    /// A block from the first area that has room, or null.
    ///
    /// # Safety
    /// As [`KnTraced::alloc`], and no collection is under way.
    #[inline(never)]
    unsafe fn take(heap: *mut KnTraced, size: usize, flags: u32) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            let side = usize::from(flags & KN_LONG_LIVED == 0 && (*heap).gate & GATE_TOP != 0);
            for area in Self::areas(heap) {
                let shift = Area::shift(area);
                let count = granules(size, shift, flags);
                let Some(start) = Area::search(area, count, side) else { continue };
                Area::occupy(area, start, start + count, side);
                let group = &mut *Area::group(area, start);
                let bit = 1 << (start % WORD_BITS);
                group.heads |= bit;
                if flags & KN_NO_SCAN != 0 {
                    group.scan &= !bit;
                }
                if flags & KN_FINALISE != 0 {
                    (*Area::group(area, start + 1)).marks |= 1 << ((start + 1) % WORD_BITS);
                    (*heap).finalisers += 1;
                }
                if side != 0 {
                    (*area).floor = (*area).floor.min(start);
                }
                (*heap).since = (*heap).since.wrapping_add(count << shift);
                let block = Area::address(area, start);
                (*heap).newest = block;
                return zero(block, count << shift);
            }
            null_mut()
        }
    }
}

impl Area {
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
            let found = 'from_place: loop {
                // The run may begin before the place. Nothing that is long enough lies there as a whole.
                place = place.saturating_sub(count / WORD_BITS + 1);
                // Granules right before the place that are free.
                let mut before = 0;
                while place < words {
                    if Area::is_unswept(area, if side == 0 { place } else { words - 1 - place }) {
                        let behind = Area::sweep_from(area, side);
                        if side != 0 && behind != 0 {
                            // Dead blocks extended to where the search has been.
                            place = place.saturating_sub(behind);
                            continue 'from_place;
                        }
                        continue;
                    }
                    let free = Area::free_at(area, place, side);
                    if free == 0 {
                        before = 0;
                        place += 1;
                        continue;
                    }
                    if before + free.trailing_ones() as usize >= count {
                        break 'from_place place * WORD_BITS - before;
                    }
                    if free == usize::MAX {
                        before += WORD_BITS;
                    } else {
                        let runs = runs(free, count);
                        if runs != 0 {
                            break 'from_place place * WORD_BITS + lowest(runs);
                        }
                        before = free.leading_ones() as usize;
                    }
                    place += 1;
                }
                Area::raise(area, side, count, words);
                return None;
            };
            Area::raise(area, side, count, found / WORD_BITS);
            Some(if side == 0 { found } else { words * WORD_BITS - found - count })
        }
    }
}

// The short way does all exact classes.
const _: () = assert!(EXACT == 8 && size_of::<Group>() == 3 * size_of::<usize>());
