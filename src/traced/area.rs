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
use core::ptr::NonNull;

use super::classes::CLASSES;
use super::zero::zero;
use crate::heap::bits::{log2, lowest, WORD_BITS};

/// The bits of a word's worth of granules.
#[repr(C)]
pub(super) struct Group {
    pub heads: usize,
    pub scan: usize,
    pub marks: usize,
}

impl Group {
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
#[repr(C, align(8))]
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
    /// Groups from `unswept` to before `swept_from` wait for the sweep.
    pub unswept: usize,
    pub swept_from: usize,
    /// Groups from `low` to before `high`, if that is more, are free as a whole, and no hint names one of them:
    /// nobody looks at them. There is a group before them, and one behind.
    pub low: usize,
    pub high: usize,
    /// Dead blocks freed since the last collection ended.
    pub freed: usize,
    /// Groups swept at a time.
    pub slice: usize,
    /// The first group that may have blocks that wait to be looked into.
    pub grey: usize,
    /// The first granule that the open scope's blocks took.
    pub floor: usize,
    /// The area that is tried after this one.
    pub next: *mut Area,
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
    /// Lays an area's bits and granules out behind `at`, in `bytes` bytes, with so large granules, and slices of
    /// so many; false: too small.
    ///
    /// # Safety
    /// `area` is valid and all zero; `at` is valid for `bytes` bytes, all the caller's, and a multiple of 8.
    #[cold]
    #[inline(never)]
    pub unsafe fn lay_out(area: *mut Area, at: *mut u8, bytes: usize, granule: u32, slice: u32) -> bool {
        let shift = granule.trailing_zeros();
        // Few enough for group numbers of 32 bits, and, where words have 32, for what trace.rs does with offsets.
        let most = if usize::BITS == 32 { (1 << 27) >> shift } else { 1 << 36 };
        // So many granules fit without their bits; with bits for so many, fewer; with bits for those, more: the
        // difference becomes 1/40 of what it was each time. The last is one that fits.
        let mut count = (bytes >> shift).min(most);
        let (mut tables, mut told) = (0, 0);
        for _ in 0..5 {
            told = count;
            tables = (count.div_ceil(WORD_BITS) + 2) * size_of::<Group>();
            tables += pad(at.addr().wrapping_add(tables), granule as usize);
            count = (bytes.saturating_sub(tables) >> shift).min(most);
        }
        // Padding may differ.
        count = count.min(told);
        if count == 0 {
            return false;
        }
        let words = count.div_ceil(WORD_BITS);
        // SAFETY: the caller's word; tables, padding and granules end inside the memory.
        unsafe {
            let groups = at.cast::<Group>().add(1);
            let area = &mut *area;
            area.base = at.add(tables);
            area.count = count;
            area.shift = shift;
            area.groups = groups;
            area.words = words;
            area.low = 1;
            area.high = words - 1;
            area.slice = slice as usize / WORD_BITS;
            area.grey = NO_GREY;
            area.floor = usize::MAX;
            // Up to 8 bytes of the first granule, too.
            zero(at, ((words + 2) * size_of::<Group>()).next_multiple_of(8));
            (*groups.sub(1)).heads = usize::MAX;
            (*groups.add(words)).heads = usize::MAX;
            (*groups.add(words - 1)).heads = area.beyond();
        }
        true
    }

    /// The bits of the last group that no granule has.
    fn beyond(&self) -> usize {
        match self.count % WORD_BITS {
            0 => 0,
            used => usize::MAX << used,
        }
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

    /// The granule that starts at `address`; not below `count`: none does.
    ///
    /// # Safety
    /// `area` is live.
    #[inline(always)]
    pub unsafe fn granule(area: *const Area, address: usize) -> Granule {
        // Bits of an address between two granules become the highest, and then it is past the end.
        // SAFETY: the caller's word.
        unsafe { address.wrapping_sub((*area).base.addr()).rotate_right((*area).shift) }
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
        // SAFETY: `granule + 1` is at most the first granule of the fence, and the run ends there.
        unsafe { Area::run_end(area, granule + 1, usize::MAX, usize::MAX) }
    }

    /// The first granule behind the free run that begins at `start`, or one that is not before `enough`; `start` itself:
    /// it is not free.
    ///
    /// # Safety
    /// `area` is live, `start` at most `count`.
    #[inline(always)]
    pub unsafe fn free_end(area: *const Area, start: Granule, enough: Granule) -> Granule {
        // SAFETY: the caller's word; nothing of the fence is free.
        unsafe { Area::run_end(area, start, 0, enough) }
    }

    /// The first granule from `start` on that is not like a run's: of tails, if `flip` has all bits, or of free granules,
    /// if it has none; or one that is not before `enough`.
    ///
    /// # Safety
    /// `area` is live, `start` at most `count`.
    #[inline(never)]
    unsafe fn run_end(area: *const Area, start: Granule, flip: usize, enough: Granule) -> Granule {
        // SAFETY: the caller's word; the fence is like neither.
        unsafe {
            let mut group = Self::group(area, start);
            let mut origin = start & !(WORD_BITS - 1);
            let mut mask = usize::MAX << (start % WORD_BITS);
            loop {
                // Tails have scan without head; free granules neither.
                let others = ((*group).heads | (*group).scan ^ flip) & mask;
                if others != 0 {
                    return origin + lowest(others);
                }
                origin += WORD_BITS;
                if origin >= enough {
                    return origin;
                }
                mask = usize::MAX;
                group = group.add(1);
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

    /// Makes granules free, or, with all bits in `taken`, parts of a block.
    ///
    /// # Safety
    /// `area` is live; `start < end`, at most `count`; they are free, or a block, or the end of one.
    #[inline(never)]
    pub unsafe fn change(area: *mut Area, start: Granule, end: Granule, taken: usize) {
        // SAFETY: the caller's word: the groups from the first granule's to the last one's.
        unsafe {
            let mut group = Self::group(area, start);
            let last = Self::group(area, end - 1);
            let mut bits = usize::MAX << (start % WORD_BITS);
            loop {
                if group == last {
                    bits &= usize::MAX >> (WORD_BITS - 1 - (end - 1) % WORD_BITS);
                }
                (*group).heads &= !bits;
                (*group).scan = (*group).scan & !bits | taken & bits;
                (*group).marks &= !bits;
                if group == last {
                    return;
                }
                bits = usize::MAX;
                group = group.add(1);
            }
        }
    }

    /// Makes granules parts of a block, placed from a side: they are not among the groups that nobody looks at any more.
    ///
    /// # Safety
    /// `area` is live; the granules are free, and `start < end`.
    #[inline(never)]
    pub unsafe fn occupy(area: *mut Area, start: Granule, end: Granule, side: usize) {
        // SAFETY: the caller's word.
        unsafe {
            let (first, behind) = (start / WORD_BITS, (end - 1) / WORD_BITS + 1);
            if behind > (*area).low && first < (*area).high {
                if side == 0 {
                    (*area).low = behind;
                } else {
                    (*area).high = first;
                }
            }
            Area::change(area, start, end, usize::MAX);
        }
    }

    /// Lets the groups that nobody looks at be all that are free between what is used on both sides.
    ///
    /// # Safety
    /// `area` is live, no hint is used until they are set anew, nothing is unswept.
    #[inline(never)]
    pub unsafe fn trim(area: *mut Area) {
        // SAFETY: the caller's word; groups of the area.
        unsafe {
            let area = &mut *area;
            let is_free = |word: usize| (*area.groups.add(word)).free() == usize::MAX;
            let (mut low, mut high) = (area.low, area.high);
            while low > 1 && is_free(low - 1) {
                low -= 1;
            }
            while high + 1 < area.words && is_free(high) {
                high += 1;
            }
            area.low = low;
            area.high = high;
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
