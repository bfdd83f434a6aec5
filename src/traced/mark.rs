//! Marking: from words that may be pointers to all that is reachable from them.
//!
//! Guarantees
//! * Each block is looked into once in a collection, whatever the shape of the graph, and marking needs no memory
//!   but the control block and 200 bytes of stack: no recursion, no pass over the blocks again.
//! * Any word may be given: one that is no address of a block's start (or inside, with KN_TRACED_INTERIOR) is
//!   ignored.
//!
//! ```text
//!   | array of 10,000            |      look into 128 bytes, remember the remainder, go on with what
//!     ^ 128 bytes  ^ remainder          they refer to: a wide block takes two places on the stack
//!
//!   stack full:  head scan mark 1 1 1 -> 0 0 1      the bits remember; when the stack is empty, words
//!                                                   of bits are searched for such blocks
//! ```
//! Costs on Cortex-M3: some 6 instructions for a word that is no pointer, 20 for one that is, 25 for a block. When
//! the stack of [`STACK`] blocks was full, 6 more for each group of the area for each [`STACK`] blocks at
//! the most; a path must have more than [`STACK`] blocks whose siblings wait for that.
//!
//! Source: Dijkstra et al., "On-the-fly garbage collection" (1978) for the three colours; the grey ones in side bits
//! are Knoll's.

use core::ptr::null_mut;

use super::area::{Area, Granule, NO_GREY};
use super::config::KN_TRACED_INTERIOR;
use super::heap::{KnTraced, Phase, STACK};
use super::trace::trace_in_one;
use crate::heap::bits::{lowest, WORD_BITS};
use crate::heap::KnStatus;
use crate::port::Callback;

/// A word that may be an address.
pub(super) type Word = *const u8;
/// No words.
const NOTHING: *const Word = core::ptr::null();

/// Bytes of a block that are looked into at a time; a multiple of every granule.
pub(super) const PART: usize = 128;
/// What the lowest bits of an entry of the stack say: 0: a block; 1 to 6: one of so many granules; this: the
/// remainder of one, and the entry below is its end.
pub(super) const REMAINDER: usize = 7;

impl KnTraced {
    /// Begins a collection, or begins it anew.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub unsafe fn collect_start(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe {
            if Callback::is_under_way(&raw const (*heap).inside) {
                return Self::complain(
                    KnStatus::Order,
                    heap.cast(),
                    c"kn_traced_collect_start: inside a callback of a collection; after a jump, kn_traced_collect_abandon",
                );
            }
            (*heap).inside.forget();
            for area in Self::areas(heap) {
                if (*heap).phase != Phase::Idle {
                    Area::unmark(area);
                }
                // What was found dead does not live again because some word looks like its address by now.
                Area::sweep_remainder(area);
                Area::trim(area);
            }
            (*heap).waiting = 0;
            (*heap).phase = Phase::Marking;
            Self::settle(heap);
        }
    }

    /// Gives up the collection that is under way, if one is, and what a callback of it jumped out of. Nothing is freed.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub unsafe fn abandon(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe {
            (*heap).inside.forget();
            (*heap).collecting.forget();
            (*heap).resized = null_mut();
            if (*heap).phase != Phase::Idle {
                Self::areas(heap).for_each(|area| Area::unmark(area));
            }
            (*heap).waiting = 0;
            (*heap).phase = Phase::Idle;
            (*heap).abandoned = (*heap).abandoned.wrapping_add(1);
            Self::settle(heap);
        }
    }

    /// Marks what `count` words refer to, and what is reachable from there.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it; `words` is valid for reads of `count` words.
    pub unsafe fn mark(heap: *mut KnTraced, words: *const Word, count: usize) {
        // SAFETY: the caller's word.
        unsafe {
            if (*heap).phase != Phase::Marking {
                return Self::complain(KnStatus::Order, heap.cast(), c"kn_traced_mark: no collection was started");
            }
            if Self::look(heap, words, words.add(count)) {
                Self::look_for_grey(heap);
            }
        }
    }

    /// Whether the block is marked; true outside of a collection for all that live.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub unsafe fn is_marked(heap: *mut KnTraced, block: *const u8) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let (area, granule) = Self::find(heap, block);
            if area.is_null() {
                return false;
            }
            let group = &*Area::group(area, granule);
            match (*heap).phase {
                Phase::Idle => Area::is_live(area, granule),
                _ => group.marks & !group.tails() & (1 << (granule % WORD_BITS)) != 0,
            }
        }
    }

    /// Looks at words that may be pointers, and into all that they lead to; false: but for the latter, as a trace function
    /// asks for it, whose caller goes on from there.
    ///
    /// # Safety
    /// As [`KnTraced::mark`].
    #[inline(never)]
    unsafe fn look(heap: *mut KnTraced, from: *const Word, to: *const Word) -> bool {
        // SAFETY: the caller's word; without a function of its own the heap is a plain one.
        unsafe {
            if let Some(look) = (*heap).look {
                return look(heap, from, to);
            }
            trace_in_one(heap, from, to);
            true
        }
    }

    /// The same, for any heap.
    ///
    /// # Safety
    /// As [`KnTraced::mark`].
    pub(super) unsafe fn look_generally(heap: *mut KnTraced, from: *const Word, to: *const Word) -> bool {
        // SAFETY: the caller's word; what is on the stack are blocks and parts of them.
        unsafe {
            let nested = Callback::is_under_way(&raw const (*heap).inside);
            let (mut at, mut end) = (from, to);
            loop {
                while at != end {
                    Self::look_everywhere(heap, at.read().addr());
                    at = at.add(1);
                }
                if nested || (*heap).waiting == 0 {
                    return !nested;
                }
                (*heap).waiting -= 1;
                let next = (&raw mut (*heap).stack).cast::<*mut u8>().add((*heap).waiting).read();
                if let Some(trace) = (*heap).config.trace {
                    let bytes = Area::block_end(Self::area_of(heap, next), next).addr() - next.addr();
                    let context = (*heap).config.context;
                    let abandoned = (*heap).abandoned;
                    Self::call(&raw mut (*heap).inside, &mut || trace(context, next.cast(), bytes));
                    if (*heap).abandoned != abandoned {
                        // A new collection would not have what this one was told.
                        Self::abandon(heap);
                        return false;
                    }
                } else {
                    let (start, behind) = Self::part(heap, Self::area_of(heap, next), next);
                    (at, end) = (start.cast(), behind.cast());
                }
            }
        }
    }

    /// Looks at one word, which may refer to any area, or to the inside of a block.
    ///
    /// # Safety
    /// As [`KnTraced::mark`].
    #[inline(always)]
    unsafe fn look_everywhere(heap: *mut KnTraced, word: usize) {
        // SAFETY: the caller's word.
        unsafe {
            for area in Self::areas(heap) {
                let offset = word.wrapping_sub((*area).base.addr());
                let granule = offset >> (*area).shift;
                if granule >= (*area).count {
                    continue;
                }
                if (*heap).config.flags & KN_TRACED_INTERIOR != 0 {
                    // A block that waits in the bits is marked: that its head is not found is well.
                    if let Some(head) = Area::head(area, granule) {
                        Self::reach(heap, area, head);
                    }
                } else if offset & ((1 << (*area).shift) - 1) == 0 {
                    Self::reach(heap, area, granule);
                }
                return;
            }
        }
    }

    /// Marks the block that starts at a granule, if one does and it is not marked yet.
    ///
    /// # Safety
    /// `granule` is one of the area's.
    unsafe fn reach(heap: *mut KnTraced, area: *mut Area, granule: Granule) {
        // SAFETY: the caller's word.
        unsafe {
            let group = &mut *Area::group(area, granule);
            let bit = 1 << (granule % WORD_BITS);
            if group.heads & !group.marks & bit == 0 {
                return;
            }
            group.marks |= bit;
            if group.scan & bit == 0 {
                return;
            }
            if (*heap).waiting < STACK {
                Self::wait(heap, Area::address(area, granule));
            } else {
                Area::remember(area, granule);
            }
        }
    }

    /// Puts the start of a block, or of a part of one, on the stack.
    ///
    /// # Safety
    /// As [`KnTraced::mark`]; the stack has room.
    unsafe fn wait(heap: *mut KnTraced, start: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            (&raw mut (*heap).stack).cast::<*mut u8>().add((*heap).waiting).write(start);
            (*heap).waiting += 1;
        }
    }

    /// The words that an entry of the stack, which was taken off, says to look at now; a remainder is put back.
    ///
    /// # Safety
    /// As [`KnTraced::mark`]; `entry` was on the stack, and is of the area.
    #[inline(always)]
    pub(super) unsafe fn part(heap: *mut KnTraced, area: *mut Area, entry: *mut u8) -> (*mut u8, *mut u8) {
        // SAFETY: below a remainder lies its end.
        unsafe {
            let tag = entry.addr() & REMAINDER;
            let start = entry.wrapping_sub(tag);
            let mut end = match tag {
                0 => Area::block_end(area, start),
                REMAINDER => {
                    (*heap).waiting -= 1;
                    (&raw mut (*heap).stack).cast::<*mut u8>().add((*heap).waiting).read()
                }
                known => start.wrapping_add(known << Area::shift(area)),
            };
            if end.addr() - start.addr() > PART && (*heap).waiting + 2 <= STACK {
                Self::wait(heap, end);
                end = start.wrapping_add(PART);
                Self::wait(heap, end.wrapping_add(REMAINDER));
            }
            (start, end)
        }
    }

    /// The area that a granule's address is in.
    ///
    /// # Safety
    /// It is in one.
    unsafe fn area_of(heap: *mut KnTraced, at: *mut u8) -> *mut Area {
        // SAFETY: the caller's word.
        unsafe {
            let mut area = &raw mut (*heap).area;
            while !(*area).next.is_null()
                && (at.addr().wrapping_sub((*area).base.addr()) >> (*area).shift) >= (*area).count
            {
                area = (*area).next;
            }
            area
        }
    }

    /// Looks into the blocks that had no room on the stack.
    ///
    /// # Safety
    /// As [`KnTraced::mark`].
    #[inline(never)]
    unsafe fn look_for_grey(heap: *mut KnTraced) {
        // SAFETY: the caller's word; the stack is empty before each group's blocks are put there, and has room.
        unsafe {
            let mut area = &raw mut (*heap).area;
            while !area.is_null() {
                let mut word = (*area).grey;
                if word >= (*area).low {
                    word = word.max((*area).high);
                }
                if word >= (*area).words {
                    (*area).grey = NO_GREY;
                    area = (*area).next;
                    continue;
                }
                let group = &mut *(*area).groups.add(word);
                let mut grey = group.marks & !group.heads & !group.scan;
                (*area).grey = word + 1;
                if grey == 0 {
                    continue;
                }
                group.heads |= grey;
                group.scan |= grey;
                while grey != 0 {
                    Self::wait(heap, Area::address(area, word * WORD_BITS + lowest(grey)));
                    grey &= grey - 1;
                }
                Self::look(heap, NOTHING, NOTHING);
                // Blocks of areas before this one may have been reached.
                area = &raw mut (*heap).area;
            }
        }
    }
}

impl Area {
    /// Where a block ends.
    ///
    /// # Safety
    /// `area` is live, one starts there.
    #[inline(always)]
    unsafe fn block_end(area: *mut Area, start: *mut u8) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            let granule = (start.addr() - (*area).base.addr()) >> Area::shift(area);
            Area::address(area, Area::end(area, granule))
        }
    }

    /// Lets the bits remember that a block is still to be looked into.
    ///
    /// # Safety
    /// `area` is live, a block that is looked into starts at the granule.
    #[inline(never)]
    pub(super) unsafe fn remember(area: *mut Area, granule: Granule) {
        // SAFETY: the caller's word.
        unsafe {
            let group = &mut *Area::group(area, granule);
            let bit = 1 << (granule % WORD_BITS);
            group.heads &= !bit;
            group.scan &= !bit;
            (*area).grey = (*area).grey.min(granule / WORD_BITS);
        }
    }

    /// Takes the marks away of a collection that did not end.
    ///
    /// # Safety
    /// `area` is live.
    #[cold]
    #[inline(never)]
    unsafe fn unmark(area: *mut Area) {
        // SAFETY: the caller's word.
        unsafe {
            for word in 0..(*area).words {
                let group = &mut *(*area).groups.add(word);
                let grey = group.marks & !group.heads & !group.scan;
                group.heads |= grey;
                group.scan |= grey;
                group.marks &= group.tails();
            }
            (*area).grey = NO_GREY;
        }
    }
}

// A group's blocks, and those that a part of a block refers to, have room on the empty stack.
const _: () = assert!(STACK >= WORD_BITS && STACK > PART / size_of::<Word>() + 2);
