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

/// The smallest class whose size is not less than `count` granules, `count > 0`; CLASSES: there is none.
#[inline(always)]
pub(super) fn above(count: usize) -> usize {
    if count <= EXACT {
        count - 1
    } else {
        // 9 to 16: 8; 17 to 32: 9; …
        (log2(count - 1) + EXACT - 3).min(CLASSES)
    }
}

/// The largest class whose size is not more than `count` granules, `count > 0`.
#[inline(always)]
pub(super) fn below(count: usize) -> usize {
    above(count + 1) - 1
}

/// Granules of a class.
pub(super) fn size(class: usize) -> usize {
    match class {
        0..EXACT => class + 1,
        _ => 16 << (class - EXACT),
    }
}

impl Area {
    /// The hints of a side, of class 0 and the others behind it.
    ///
    /// # Safety
    /// `area` is live, the side 0 or 1.
    #[inline(always)]
    pub unsafe fn hints(area: *mut Area, side: usize) -> *mut u32 {
        // SAFETY: the caller's word.
        unsafe { (&raw mut (*area).hints).cast::<u32>().add(side * (1 + CLASSES) + 1) }
    }

    /// Notes that `words` groups from the side have no run of `count` granules.
    ///
    /// # Safety
    /// `area` is live; it is so.
    #[inline(never)]
    pub unsafe fn raise(area: *mut Area, side: usize, count: usize, words: usize) {
        // SAFETY: the caller's word; the side is 0 or 1.
        let hints = unsafe { Area::hints(area, side) };
        for class in above(count)..CLASSES {
            // SAFETY: a class of the side.
            let hint = unsafe { &mut *hints.add(class) };
            if *hint >= words as u32 {
                return;
            }
            *hint = words as u32;
        }
    }

    /// Notes that there may be runs of the classes before `classes` from the group `low` to the group `high`.
    ///
    /// # Safety
    /// `area` is live; the groups are in it.
    #[inline(never)]
    pub unsafe fn lower(area: *mut Area, low: usize, high: usize, classes: usize) {
        // SAFETY: the caller's word; such classes.
        unsafe {
            lower_some(Area::hints(area, 0).add(classes), low);
            lower_some(Area::hints(area, 1).add(classes), (*area).words - 1 - high);
        }
    }

    /// Notes that there may be the run that the free granule `place` of a group is part of.
    ///
    /// # Safety
    /// `area` is live; it is so.
    #[inline(always)]
    pub unsafe fn lower_by_run(area: *mut Area, word: usize, place: usize, taken: usize) {
        let above = taken >> place;
        let before = taken << (WORD_BITS - 1 - place);
        // It may go on in the next group, or begin in the one before; or it is long.
        let mut classes = CLASSES;
        if above != 0 && before != 0 {
            classes = lowest(above) + (WORD_BITS - 1 - log2(before)) - 1;
            if classes > EXACT {
                classes = CLASSES;
            }
        }
        // SAFETY: the caller's word.
        unsafe { Area::lower(area, word, word, classes) }
    }
}

/// Lowers the hints of the classes before `end`, the largest first.
///
/// # Safety
/// `end` is behind a hint of a live area.
#[inline(always)]
unsafe fn lower_some(end: *mut u32, from_there: usize) {
    // SAFETY: the caller's word; the zero in front of a side's hints stops the loop.
    unsafe {
        let mut hint = end.sub(1);
        while *hint > from_there as u32 {
            *hint = from_there as u32;
            hint = hint.sub(1);
        }
    }
}
