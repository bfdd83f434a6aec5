//! Marking: from words that may be pointers to all that is reachable from them.
//!
//! Guarantees
//! * Each block is looked into once in a collection, whatever the shape of the graph, and marking needs no memory
//!   but the control block and 200 bytes of stack: no recursion, no pass over the blocks again.
//! * Any word may be given: one that is no address of a block's start (or inside, with KN_TRACED_INTERIOR) is
//!   ignored.
//!
//! ```text
//!   | array of 10,000            |      look into 7 granules, remember the remainder, go on with what
//!     ^ 7 granules ^ remainder          they refer to: a wide block takes one place on the stack
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
use crate::heap::bits::{lowest, WORD_BITS};
use crate::heap::KnStatus;
use crate::port::{report, Callback};

/// A word that may be an address.
type Word = *const u8;
/// No words.
const NOTHING: *const Word = core::ptr::null();

/// Granules of a block that are looked into at a time, unless they are known to be fewer.
const PART: usize = 7;
/// Words of roots that are looked at at a time.
const WORDS: usize = 32;
/// The most granules of a block that the stack tells, in the lowest bits of its start; 0: not known.
const KNOWN: usize = 7;

impl KnTraced {
    /// Begins a collection, or begins it anew.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub unsafe fn collect_start(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe {
            if Callback::is_under_way(&raw const (*heap).inside) {
                return report(
                    KnStatus::Order,
                    heap.cast(),
                    c"kn_traced_collect_start: inside a callback of a collection",
                );
            }
            (*heap).inside.forget();
            let again = (*heap).phase != Phase::Idle;
            for area in Self::areas(heap) {
                Area::unmark(area, again);
            }
            (*heap).waiting = 0;
            (*heap).phase = Phase::Marking;
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
                return report(KnStatus::Order, heap.cast(), c"kn_traced_mark: no collection was started");
            }
            // A trace callback marks: its caller goes on from there.
            let nested = Callback::is_under_way(&raw const (*heap).inside);
            let mut at = words;
            let end = words.add(count);
            while at != end {
                let part = (end.offset_from(at) as usize).min(WORDS);
                Self::look(heap, at, at.add(part), nested);
                at = at.add(part);
            }
            if !nested {
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
            let Some((area, granule)) = Self::find(heap, block) else { return false };
            let group = &*Area::group(area, granule);
            match (*heap).phase {
                Phase::Idle => Area::is_live(area, granule),
                _ => group.marks & !group.tails() & (1 << (granule % WORD_BITS)) != 0,
            }
        }
    }

    /// Looks at words that may be pointers, and, unless a trace function is on its way, into all that they lead to.
    ///
    /// # Safety
    /// As [`KnTraced::mark`].
    #[inline(always)]
    unsafe fn look(heap: *mut KnTraced, from: *const Word, to: *const Word, nested: bool) {
        // SAFETY: the caller's word.
        unsafe {
            if (*heap).area.next.is_null()
                && (*heap).config.trace.is_none()
                && (*heap).config.flags & KN_TRACED_INTERIOR == 0
            {
                return Self::trace_in_one(heap, from, to);
            }
            Self::look_at(heap, from, to);
            if nested {
            } else if (*heap).config.trace.is_some() {
                Callback::run(&raw mut (*heap).inside, || Self::drain(heap));
            } else {
                Self::drain(heap);
            }
        }
    }

    /// Looks at words and into all that they lead to, in a heap of one area whose blocks are held by their starts
    /// only and are looked into word by word: what most heaps are, and where most time goes.
    ///
    /// # Safety
    /// As [`KnTraced::mark`].
    #[inline(never)]
    unsafe fn trace_in_one(heap: *mut KnTraced, from: *const Word, to: *const Word) {
        // SAFETY: the caller's word; what is on the stack are starts of blocks, or of parts of them.
        unsafe {
            let area = &raw mut (*heap).area;
            let base = (*area).base;
            let span = (*area).count << Area::shift(area);
            let bottom = (&raw mut (*heap).stack).cast::<*mut u8>();
            let mut top = bottom.add((*heap).waiting);
            let (mut at, mut end) = (from, to);
            loop {
                while at != end {
                    let offset = at.read().addr().wrapping_sub(base.addr());
                    at = at.add(1);
                    if offset >= span {
                        continue;
                    }
                    let granule = offset >> Area::shift(area);
                    if granule << Area::shift(area) != offset {
                        continue;
                    }
                    let group = &mut *Area::group(area, granule);
                    let place = granule % WORD_BITS;
                    let bit = 1 << place;
                    if group.heads & !group.marks & bit == 0 {
                        continue;
                    }
                    group.marks |= bit;
                    if group.scan & bit == 0 {
                        continue;
                    }
                    if top == bottom.add(STACK) {
                        Area::remember(area, granule);
                        continue;
                    }
                    // If the block ends in this group its size is known, and often small.
                    let behind = !group.tails() >> place >> 1;
                    let more = if behind == 0 { KNOWN } else { lowest(behind) };
                    let known = if more < KNOWN { more + 1 } else { 0 };
                    top.write(base.wrapping_add(offset | known));
                    top = top.add(1);
                }
                if top == bottom {
                    break;
                }
                top = top.sub(1);
                let next = top.read();
                let known = next.addr() & KNOWN;
                let start = next.wrapping_sub(known);
                at = start.cast();
                end = if known != 0 {
                    start.add(known << Area::shift(area)).cast()
                } else {
                    let (end, rest) = Self::part(area, start);
                    if !rest.is_null() && top != bottom.add(STACK) {
                        top.write(rest);
                        top = top.add(1);
                        rest.cast()
                    } else {
                        end.cast()
                    }
                };
            }
            (*heap).waiting = 0;
        }
    }

    /// Where a block, or the remainder of one, ends, and where its first part does, if it has more than one.
    ///
    /// # Safety
    /// `start` is that of a granule of a block of the area.
    #[inline(never)]
    unsafe fn part(area: *mut Area, start: *mut u8) -> (*mut u8, *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            let granule = (start.addr() - (*area).base.addr()) >> Area::shift(area);
            let end = Area::end(area, granule);
            let rest = if end - granule > PART { Area::address(area, granule + PART) } else { null_mut() };
            (Area::address(area, end), rest)
        }
    }

    /// Looks at words that may be pointers; what they refer to is marked, and waits to be looked into.
    ///
    /// # Safety
    /// As [`KnTraced::mark`].
    unsafe fn look_at(heap: *mut KnTraced, from: *const Word, to: *const Word) {
        let mut at = from;
        while at != to {
            // SAFETY: the caller's word.
            unsafe {
                Self::look_everywhere(heap, at.read().addr());
                at = at.add(1);
            }
        }
    }

    /// Looks at one word, which may refer to any area, or to the inside of a block.
    ///
    /// # Safety
    /// As [`KnTraced::mark`].
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

    /// Looks into all blocks that wait on the stack, or lets the program do so.
    ///
    /// # Safety
    /// As [`KnTraced::mark`].
    #[inline(never)]
    unsafe fn drain(heap: *mut KnTraced) {
        // SAFETY: what is on the stack are granules of blocks.
        unsafe {
            while (*heap).waiting != 0 {
                (*heap).waiting -= 1;
                let start = (&raw mut (*heap).stack).cast::<*mut u8>().add((*heap).waiting).read();
                let (mut end, rest) = Self::part(Self::area_of(heap, start), start);
                if let Some(trace) = (*heap).config.trace {
                    trace((*heap).config.context, start.cast(), end.addr() - start.addr());
                    continue;
                }
                if !rest.is_null() && (*heap).waiting < STACK {
                    Self::wait(heap, rest);
                    end = rest;
                }
                Self::look_at(heap, start.cast(), end.cast());
            }
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
                let word = (*area).grey;
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
                Self::look(heap, NOTHING, NOTHING, false);
                // Blocks of areas before this one may have been reached.
                area = &raw mut (*heap).area;
            }
        }
    }
}

impl Area {
    /// Lets the bits remember that a block is still to be looked into.
    ///
    /// # Safety
    /// `area` is live, a block that is looked into starts at the granule.
    #[inline(never)]
    unsafe fn remember(area: *mut Area, granule: Granule) {
        // SAFETY: the caller's word.
        unsafe {
            let group = &mut *Area::group(area, granule);
            let bit = 1 << (granule % WORD_BITS);
            group.heads &= !bit;
            group.scan &= !bit;
            (*area).grey = (*area).grey.min(granule / WORD_BITS);
        }
    }

    /// Takes the marks away that the last collection left.
    ///
    /// # Safety
    /// `area` is live. `again`: that collection has not ended.
    unsafe fn unmark(area: *mut Area, again: bool) {
        // SAFETY: the caller's word.
        unsafe {
            let (from, to) = if again { (0, (*area).words) } else { ((*area).unswept, (*area).swept_from) };
            for word in from..to {
                let group = &mut *(*area).groups.add(word);
                let grey = if again { group.marks & !group.heads & !group.scan } else { 0 };
                group.heads |= grey;
                group.scan |= grey;
                group.marks &= group.tails();
            }
            (*area).unswept = 0;
            (*area).swept_from = 0;
            (*area).grey = NO_GREY;
        }
    }
}

// A group's blocks, and those that a part of a block or of the roots refers to, have room on the empty stack.
const _: () = assert!(STACK >= WORD_BITS && STACK > PART * 32 / size_of::<Word>() && STACK > WORDS);
