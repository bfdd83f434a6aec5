//! An area: granules of memory, and three bits for each of them.
//!
//! Guarantees
//! * Nothing lies in or between blocks: all that is known of them are the bits, in words of their own in front of
//!   the granules. They take 3 bits for each granule, rounded up to whole words, and two words' worth more.
//! * A block's extent, and whether an address is a block's start, are told by the bits alone, so any number may be
//!   asked about.
//!
//! ```text
//!   head scan mark
//!    0    0    0    free
//!    1    s    m    a block's first granule; s: it is looked into; m: it is marked
//!    0    1    f    a block's other granules; f, on the second one: its finaliser is still to run
//!    0    0    1    while marking: a block's first granule, marked, still to be looked into
//!
//!   | Area | fence | head scan mark | head scan mark | … | fence |  granules …                    |
//!                  '-- group 0: granules 0..31 (or 63)           '- base: a multiple of a granule
//! ```
//! A group is the three words for as many granules as a word has bits. The fences are groups in which every
//! granule is a head: extents and searches end there without a comparison. So do granules of the last group
//! behind the area's end.
//!
//! On 32-bit targets an area has at most 128 MB of granules; what lies behind them is not used.
//!
//! Costs: an extent takes a few instructions, and a few more for each group that the block fills.

use core::hint::assert_unchecked;
use core::ptr::{null_mut, NonNull};

use super::classes::CLASSES;
use crate::heap::bits::{log2, lowest, WORD_BITS};

/// The bits of a word's worth of granules.
#[repr(C)]
pub(super) struct Group {
    pub heads: usize,
    pub scan: usize,
    pub marks: usize,
}

impl Group {
    /// No granule of it can be allocated, none is part of a block before it.
    const FENCE: Group = Group { heads: usize::MAX, scan: 0, marks: 0 };

    /// Granules that no block takes.
    #[inline(always)]
    pub fn free(&self) -> usize {
        !(self.heads | self.scan)
    }

    /// Granules of blocks, but their first.
    #[inline(always)]
    pub fn tails(&self) -> usize {
        self.scan & !self.heads
    }
}

/// A piece of memory of the heap, with its bits and what is known of its free runs.
#[repr(C)]
pub(super) struct Area {
    /// The first granule.
    pub base: *mut u8,
    /// Granules.
    pub count: usize,
    /// Bytes of a granule are 2 to the power of this.
    pub shift: u32,
    /// The first group behind the front fence.
    pub groups: *mut Group,
    /// Groups, the fences not counted.
    pub words: usize,
    /// The area that is tried after this one.
    pub next: *mut Area,
    /// Groups from `unswept` to before `swept_from` wait for the sweep.
    pub unswept: usize,
    pub swept_from: usize,
    /// Dead blocks freed since the last collection ended.
    pub freed: usize,
    /// Groups swept at a time.
    pub slice: usize,
    /// The first group that may have blocks that wait to be looked into.
    pub grey: usize,
    /// The first granule that the open scope's blocks took.
    pub floor: usize,
    /// For each side a zero, and then for each class of sizes the number of groups, counted from that side, that have
    /// no such run.
    pub hints: [[u32; 1 + CLASSES]; 2],
}

/// `grey` of an area that has none.
pub(super) const NO_GREY: usize = usize::MAX;

/// A granule of an area.
pub(super) type Granule = usize;

/// Bytes up to the next multiple of `align`, a power of two.
#[inline(always)]
fn pad(address: usize, align: usize) -> usize {
    address.wrapping_neg() & (align - 1)
}

impl Area {
    /// Lays an area's bits and granules out behind `at`, in `bytes` bytes: everything but `next`;
    /// a slice of the sweep are `slice` granules. None: too small.
    ///
    /// # Safety
    /// `at` is valid for `bytes` bytes, all the caller's, and a multiple of a word.
    pub unsafe fn lay_out(at: *mut u8, bytes: usize, shift: u32, slice: usize) -> Option<Area> {
        let group = size_of::<Group>();
        let granule = 1usize << shift;
        // So many granules fit without their bits; with them it is less.
        let mut count = bytes >> shift;
        // Few enough for group numbers of 32 bits, and, where words have 32, for what trace.rs does with offsets.
        let most = if usize::BITS == 32 { (1 << 27) >> shift } else { 1 << 36 };
        count = count.min(most);
        loop {
            if count == 0 {
                return None;
            }
            let words = count.div_ceil(WORD_BITS);
            let tables = (words + 2) * group;
            let padding = pad(at.addr().wrapping_add(tables), granule);
            let room = bytes.checked_sub(tables + padding).map_or(0, |left| left >> shift);
            if room >= count {
                // SAFETY: tables, padding and granules end inside the memory.
                let (groups, base) = unsafe { (at.cast::<Group>().add(1), at.add(tables + padding)) };
                let area = Area {
                    base,
                    count,
                    shift,
                    groups,
                    words,
                    next: null_mut(),
                    unswept: 0,
                    swept_from: 0,
                    freed: 0,
                    slice: slice / WORD_BITS,
                    grey: NO_GREY,
                    floor: usize::MAX,
                    hints: [[0; 1 + CLASSES]; 2],
                };
                // SAFETY: the groups are those just laid out.
                unsafe {
                    area.groups.sub(1).write_bytes(0, words + 2);
                    area.groups.sub(1).write(Group::FENCE);
                    area.groups.add(words).write(Group::FENCE);
                    area.last_heads();
                }
                return Some(area);
            }
            // What is missing, without overshooting: each round at least halves the error.
            count = room.max(count - (count - room).div_ceil(2)).min(count - 1);
        }
    }

    /// The bits of the last group that no granule has.
    fn beyond(&self) -> usize {
        match self.count % WORD_BITS {
            0 => 0,
            used => usize::MAX << used,
        }
    }

    /// Makes the granules that are none look taken.
    unsafe fn last_heads(&self) {
        // SAFETY: an area has at least one group.
        unsafe { (*self.groups.add(self.words - 1)).heads |= self.beyond() };
    }

    /// Marks them, so that the next sweep lets them be.
    ///
    /// # Safety
    /// `area` is live.
    pub unsafe fn mark_beyond(area: *mut Area) {
        // SAFETY: an area has at least one group.
        unsafe { (*(*area).groups.add((*area).words - 1)).marks |= (*area).beyond() };
    }

    /// The logarithm of a granule's bytes; that it is small is told to the compiler.
    ///
    /// # Safety
    /// `area` is live.
    #[inline(always)]
    pub unsafe fn shift(area: *const Area) -> u32 {
        // SAFETY: the caller's word; `lay_out` is given 3, 4 or 5.
        unsafe {
            let shift = (*area).shift;
            assert_unchecked(shift < 6);
            shift
        }
    }

    /// The group of a granule; granule `count` may have one behind the last: the fence.
    ///
    /// # Safety
    /// `area` is live, `granule` at most `words * WORD_BITS`.
    #[inline(always)]
    pub unsafe fn group(area: *const Area, granule: Granule) -> *mut Group {
        // SAFETY: the caller's word; the fence stands behind the last group.
        unsafe { (*area).groups.add(granule / WORD_BITS) }
    }

    /// The granule that starts at `address`; None: none does.
    ///
    /// # Safety
    /// `area` is live.
    #[inline(always)]
    pub unsafe fn granule(area: *const Area, address: usize) -> Option<Granule> {
        // SAFETY: the caller's word.
        let (base, count, shift) = unsafe { ((*area).base.addr(), (*area).count, (*area).shift) };
        // Bits of an address between two granules become the highest, and then it is past the end.
        let granule = address.wrapping_sub(base).rotate_right(shift);
        (granule < count).then_some(granule)
    }

    /// Where a granule starts.
    ///
    /// # Safety
    /// `area` is live, `granule` at most `count`.
    #[inline(always)]
    pub unsafe fn address(area: *const Area, granule: Granule) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe { (*area).base.add(granule << Self::shift(area)) }
    }

    /// The first granule behind the block, or the part of one, that starts at `granule`.
    ///
    /// # Safety
    /// `area` is live, `granule` below `count`.
    #[inline(always)]
    pub unsafe fn end(area: *const Area, granule: Granule) -> Granule {
        let next = granule + 1;
        // SAFETY: `next` is at most the first granule of the fence, and the run ends there.
        unsafe {
            let mut group = Self::group(area, next);
            let others = !(*group).tails() >> (next % WORD_BITS);
            if others != 0 {
                return next + lowest(others);
            }
            let mut at = next | (WORD_BITS - 1);
            loop {
                group = group.add(1);
                let others = !(*group).tails();
                if others != 0 {
                    return at + 1 + lowest(others);
                }
                at += WORD_BITS;
            }
        }
    }

    /// The head of the block that `granule` is part of; None: it is free.
    ///
    /// # Safety
    /// `area` is live, `granule` below `count`.
    pub unsafe fn head(area: *const Area, granule: Granule) -> Option<Granule> {
        // SAFETY: the search ends at the front fence at the latest.
        unsafe {
            let mut group = Self::group(area, granule);
            let above = WORD_BITS - 1 - granule % WORD_BITS;
            // Bits at and below the granule, moved to the top: the highest that is no tail ends the search.
            let mut tails = (*group).tails() << above;
            let mut at = granule;
            let mut in_word = WORD_BITS - above;
            loop {
                let others = !tails & (usize::MAX << (WORD_BITS - in_word));
                if others != 0 {
                    let head = at - (WORD_BITS - 1 - log2(others));
                    let bit = 1 << (head % WORD_BITS);
                    return ((*Self::group(area, head)).heads & bit != 0).then_some(head);
                }
                if at < in_word {
                    return None;
                }
                at -= in_word;
                in_word = WORD_BITS;
                group = group.sub(1);
                tails = (*group).tails();
            }
        }
    }

    /// Sets or clears `bits(word)` of all granules from `start` to before `end`, group by group.
    ///
    /// # Safety
    /// `area` is live; `start < end`, at most `count`.
    #[inline(always)]
    pub unsafe fn each_group(
        area: *const Area,
        start: Granule,
        end: Granule,
        mut change: impl FnMut(&mut Group, usize),
    ) {
        // SAFETY: the caller's word: the groups from the first granule's to the last one's.
        unsafe {
            let mut group = Self::group(area, start);
            let last = Self::group(area, end - 1);
            let mut bits = usize::MAX << (start % WORD_BITS);
            let bits_of_last = usize::MAX >> (WORD_BITS - 1 - (end - 1) % WORD_BITS);
            while group != last {
                change(&mut *group, bits);
                bits = usize::MAX;
                group = group.add(1);
            }
            change(&mut *group, bits & bits_of_last);
        }
    }

    /// Whether the group is one that the sweep has still to look at.
    ///
    /// # Safety
    /// `area` is live.
    #[inline(always)]
    pub unsafe fn is_unswept(area: *const Area, word: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe { word >= (*area).unswept && word < (*area).swept_from }
    }

    /// Whether a live block starts at `granule`: a head that is not known to be dead.
    ///
    /// # Safety
    /// `area` is live, `granule` below `count`; no marking is under way.
    #[inline(always)]
    pub unsafe fn is_live(area: *const Area, granule: Granule) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let group = &*Self::group(area, granule);
            let bit = 1 << (granule % WORD_BITS);
            group.heads & bit != 0 && (!Self::is_unswept(area, granule / WORD_BITS) || group.marks & bit != 0)
        }
    }
}

/// The areas of a heap, in the order in which they are tried.
pub(super) struct Areas(*mut Area);

impl Areas {
    /// # Safety
    /// The areas are live as long as the iterator is used.
    pub unsafe fn from(first: *mut Area) -> Areas {
        Areas(first)
    }
}

impl Iterator for Areas {
    type Item = *mut Area;
    #[inline(always)]
    fn next(&mut self) -> Option<*mut Area> {
        let area = NonNull::new(self.0)?;
        // SAFETY: the word given to `from`.
        self.0 = unsafe { (*area.as_ptr()).next };
        Some(area.as_ptr())
    }
}
