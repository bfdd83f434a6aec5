//! Classes of sizes, and what is known of where their free runs are not.
//!
//! Guarantees
//! * `hints[side][class]` groups, counted from the side, have no free run of the class's size or more wholly in
//!   them. So a search for such a run may begin behind them, if it looks how far the run it begins in reaches back.
//! * Hints of larger classes are never smaller than those of smaller ones.
//!
//! ```text
//!   class   0 1 2 3 4 5 6 7   8   9   10
//!   size    1 2 3 4 5 6 7 8  16  32  64 granules, or more
//! ```
//! A run of at most 8 granules is looked for where the hint of its own size says; a longer one where that of the
//! next smaller class does, and what is learned goes to the next larger one.
//!
//! Costs: to lower or raise hints takes a few instructions for each class that changes.

use super::area::Area;
use crate::heap::bits::{log2, lowest, WORD_BITS};

/// How many there are.
pub(super) const CLASSES: usize = 11;
/// Sizes with a class of their own.
pub(super) const EXACT: usize = 8;

/// The largest class whose size is not more than `count` granules, `count > 0`.
#[inline(always)]
pub(super) fn below(count: usize) -> usize {
    match count {
        0..=EXACT => count.wrapping_sub(1) % EXACT,
        9..16 => 7,
        16..32 => 8,
        32..64 => 9,
        _ => 10,
    }
}

/// The smallest class whose size is not less than `count` granules, `count > 0`; CLASSES: there is none.
#[inline(always)]
pub(super) fn above(count: usize) -> usize {
    match count {
        0..=EXACT => count.wrapping_sub(1) % EXACT,
        9..=16 => 8,
        17..=32 => 9,
        33..=64 => 10,
        _ => CLASSES,
    }
}

/// Granules of a class.
pub(super) fn size(class: usize) -> usize {
    match class {
        0..EXACT => class + 1,
        _ => 16 << (class - EXACT),
    }
}

impl Area {
    /// Notes that `words` groups from the side have no run of `count` granules.
    ///
    /// # Safety
    /// `area` is live; it is so.
    #[inline(always)]
    pub unsafe fn raise(area: *mut Area, side: usize, count: usize, words: usize) {
        // SAFETY: the caller's word; the side is 0 or 1.
        let hints = unsafe { (&raw mut (*area).hints).cast::<u32>().add(side * CLASSES) };
        for class in above(count)..CLASSES {
            // SAFETY: a class of the side.
            let hint = unsafe { &mut *hints.add(class) };
            if *hint >= words as u32 {
                return;
            }
            *hint = words as u32;
        }
    }

    /// Notes that there may be runs from the group `low` to the group `high`.
    ///
    /// # Safety
    /// `area` is live; the groups are in it.
    #[inline(never)]
    pub unsafe fn lower(area: *mut Area, low: usize, high: usize) {
        // SAFETY: the caller's word.
        let (hints, words) = unsafe { ((&raw mut (*area).hints).cast::<u32>(), (*area).words) };
        for (side, from_there) in [(0, low), (1, words - 1 - high)] {
            for class in (0..CLASSES).rev() {
                // SAFETY: a class of the side.
                let hint = unsafe { &mut *hints.add(side * CLASSES + class) };
                if *hint <= from_there as u32 {
                    break;
                }
                *hint = from_there as u32;
            }
        }
    }

    /// Notes that there may be the run that the free granule `place` of a group is part of.
    ///
    /// # Safety
    /// `area` is live; the granule is free.
    #[inline(always)]
    pub unsafe fn lower_by_run(area: *mut Area, word: usize, place: usize) {
        // SAFETY: the caller's word.
        unsafe {
            let taken = !(*(*area).groups.add(word)).free();
            let above = taken >> place;
            let below_it = taken << (WORD_BITS - 1 - place);
            if above == 0 || below_it == 0 {
                // It may go on in the next group, or begin in the one before.
                return Area::lower(area, word, word);
            }
            let run = lowest(above) + (WORD_BITS - 1 - log2(below_it)) - 1;
            let largest = below(run);
            let hints = (&raw mut (*area).hints).cast::<u32>();
            for (hints, from_there) in [(hints, word), (hints.add(CLASSES), (*area).words - 1 - word)] {
                let mut class = largest;
                while *hints.add(class) > from_there as u32 {
                    *hints.add(class) = from_there as u32;
                    if class == 0 {
                        break;
                    }
                    class -= 1;
                }
            }
        }
    }
}
