//! How an arena's memory goes back: all of it, to a mark, or to what a reset keeps.
//!
//! Guarantees
//! * What was taken after a mark goes back in whole: the heap's blocks are again those of the mark.
//! * What is given back is overwritten before, if the program asked for that.
//! * Segments that a reset kept come back to it when an arena is rewound, not to the heap.
//!
//! ```text
//!   heap:  … free | segment 3 | segment 2 | first … |      rewinding into segment 2:
//!   heap:  … free             | segment 2 | first … |      the block's start moves up
//! ```
//! Cost: O(segments); a block of the heap each, or one that becomes shorter.

use core::ptr::null_mut;

use super::arena::{HOLED, SCOPE};
use super::config::{KN_ARENA_POISON, KN_ARENA_ZERO};
use super::segment::{Place, Segment, LEAD};
use super::KnArena;
use crate::memory::Source;

impl KnArena {
    /// Gives all memory back, the record's own too.
    ///
    /// # Safety
    /// `this` is an arena that is no more: unsealed, in no list.
    #[inline(never)]
    pub(super) unsafe fn give_all(this: *mut Self) {
        // SAFETY: the blocks are this arena's; each is read before it goes.
        unsafe {
            if (*this).flags & (KN_ARENA_ZERO | KN_ARENA_POISON) != 0 {
                Self::overwrite_all(this);
            }
            let source: Source = (*this).source;
            let mut block = (*this).block;
            if Self::has(this, SCOPE) {
                while !block.is_null() {
                    let next = (*block).older_block;
                    source.give_top(block.cast());
                    block = next;
                }
                return;
            }
            for mut segment in [(*this).spare, (*this).segment] {
                while !segment.is_null() {
                    let next = (*segment).older;
                    source.give(segment.cast());
                    segment = next;
                }
            }
        }
    }

    /// What memory that is given back is filled with; None: it is left.
    ///
    /// # Safety
    /// `this` is an arena.
    unsafe fn filling(this: *const Self) -> Option<u8> {
        // SAFETY: the caller's word.
        let flags = unsafe { (*this).flags };
        if flags & KN_ARENA_POISON != 0 {
            Some(0xDB)
        } else if flags & KN_ARENA_ZERO != 0 {
            Some(0)
        } else {
            None
        }
    }

    /// Overwrites what was in use, all of it.
    ///
    /// # Safety
    /// As [`KnArena::give_all`].
    #[cold]
    #[inline(never)]
    unsafe fn overwrite_all(this: *mut Self) {
        // SAFETY: the data of living segments.
        unsafe {
            let Some(byte) = Self::filling(this) else { return };
            let mut segment = (*this).segment;
            while !segment.is_null() {
                let data = Segment::data(segment);
                fill(data, byte, (*segment).limit);
                segment = (*segment).older;
            }
        }
    }

    /// Makes a mark's place the one where the arena's memory ends again; what was taken since goes back to the
    /// heap.
    ///
    /// # Safety
    /// `place` is one in this arena, and nothing behind it is in use.
    pub(super) unsafe fn cut_back(this: *mut Self, place: Place) {
        // SAFETY: segments between the newest and this one are this arena's.
        unsafe {
            Self::note_peak(this);
            if place.segment != (*this).segment {
                Self::close(this);
            }
            let Place { segment, at, before } = place;
            let filling = Self::filling(this);
            let source = (*this).source;
            let mut newest = (*this).segment;
            let mut front = if Self::has(this, SCOPE) { (*this).block } else { null_mut() };
            let mut bytes = 0;
            while newest != segment {
                let older = (*newest).older;
                if let Some(byte) = filling {
                    fill(Segment::data(newest), byte, (*newest).limit);
                }
                if !Self::has(this, SCOPE) {
                    bytes += Self::put_back(this, newest);
                    newest = older;
                    continue;
                }
                bytes += Segment::room(newest);
                if !Segment::is_joined(newest) {
                    let next = (*newest).older_block;
                    source.give(front.cast());
                    (*this).blocks -= 1;
                    front = next;
                }
                newest = older;
            }
            if !front.is_null() && front != segment {
                // Segments that were joined to this one.
                let start = source.retract_front(front.cast(), segment.addr() - front.addr());
                if start.is_null() {
                    // The heap is spoiled there: the memory stays with the arena, out of use.
                    crate::port::report(crate::heap::KnStatus::Corrupt, front.cast(), c"kn_arena_rewind");
                } else {
                    front = segment;
                }
            }
            if Self::has(this, SCOPE) {
                (*this).block = front;
            }
            if let Some(byte) = filling {
                fill(at, byte, (*segment).limit);
            }
            (*this).segment = segment;
            (*this).before = before;
            (*this).at = at;
            (*this).end = (*segment).limit;
            (*this).floor = (*this).floor.min(at);
            if Self::has(this, HOLED) {
                (*this).state &= !HOLED;
                (*Self::books(this)).hole = null_mut();
            }
            Self::discharge(this, bytes);
        }
    }

    /// Gives a segment of a free-standing arena back to where it came from; bytes that are held no more.
    ///
    /// # Safety
    /// Nothing in it is in use.
    unsafe fn put_back(this: *mut Self, segment: *mut Segment) -> usize {
        // SAFETY: a block of its own.
        unsafe {
            if (*segment).older_block == segment {
                (*segment).older = (*this).spare;
                (*this).spare = segment;
                return 0;
            }
            let room = Segment::room(segment);
            (*this).source.give(segment.cast());
            (*this).blocks -= 1;
            room
        }
    }

    /// Where the arena's memory begins.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(super) unsafe fn beginning(this: *mut Self) -> Place {
        let segment = this.cast::<u8>().wrapping_sub(LEAD).cast::<Segment>();
        // SAFETY: the record lies behind its first segment's.
        Place { segment, at: unsafe { Segment::data(segment) }, before: 0 }
    }

    /// Makes the arena empty; what it took beyond its first segment is kept for later, up to so many bytes in
    /// all.
    ///
    /// # Safety
    /// `this` is a free-standing arena in which nothing is in use.
    pub(super) unsafe fn empty(this: *mut Self, limit: usize) {
        // SAFETY: its segments are blocks of their own.
        unsafe {
            Self::note_peak(this);
            Self::close(this);
            let beginning = Self::beginning(this);
            let mut kept = null_mut();
            let mut all = (*beginning.segment).limit.addr() - beginning.at.addr();
            let mut segment = (*this).segment;
            for list in 0..2 {
                if list == 1 {
                    segment = (*this).spare;
                }
                while !segment.is_null() && segment != beginning.segment {
                    let older = (*segment).older;
                    let room = Segment::room(segment);
                    if let Some(byte) = Self::filling(this) {
                        fill(segment.cast::<u8>().wrapping_add(LEAD), byte, (*segment).limit);
                    }
                    if all.saturating_add(room) <= limit {
                        all += room;
                        (*segment).older = kept;
                        kept = segment;
                    } else {
                        (*this).source.give(segment.cast());
                        (*this).blocks -= 1;
                        Self::discharge(this, room);
                    }
                    segment = older;
                }
            }
            (*this).spare = kept;
            (*this).segment = beginning.segment;
            (*this).block = beginning.segment;
            (*this).at = beginning.at;
            (*this).before = 0;
            Self::cut_back(this, beginning);
        }
    }
}

/// Overwrites from `start` to `end`.
///
/// # Safety
/// That is memory of one segment that nobody uses.
unsafe fn fill(start: *mut u8, byte: u8, end: *mut u8) {
    // SAFETY: the caller's word.
    unsafe { start.write_bytes(byte, end.addr() - start.addr()) };
}
