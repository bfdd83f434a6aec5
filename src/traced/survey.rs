//! Looking at a heap: every block and free run, the numbers, who refers to whom, what pins it, and whether its
//! records make sense.
//!
//! Guarantees
//! * Reads only, needs no memory but some 200 bytes of stack, and works on a heap that is full or locked; not
//!   while a collection marks.
//! * [`KnTraced::check`] answers KN_E_CORRUPT iff bits or hints contradict each other.
//!
//! ```text
//!   pins    | free 3 | used used | free 9 | used | free 1 |
//!                     harm 3               harm 1: so many granules it keeps from joining a larger free run
//! ```
//! Costs: a few instructions for each group and each block or free run; the report of what pins goes over the heap
//! once; who refers to a block reads all blocks that are looked into.

use core::ffi::c_void;
use core::ptr::null;

use super::area::{Area, Granule, NO_GREY};
use super::classes::{size, CLASSES};
use super::config::*;
use super::heap::{KnTraced, Phase};
use crate::heap::bits::WORD_BITS;
use crate::heap::{KnBlock, KnStatus, KN_BLOCK_FREE, KN_BLOCK_USED};

/// What lies in an area.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub(super) area: *mut Area,
    pub start: Granule,
    pub end: Granule,
    pub used: bool,
}

impl Piece {
    /// Its first byte.
    fn address(&self) -> *mut u8 {
        // SAFETY: the piece is of a live area.
        unsafe { Area::address(self.area, self.start) }
    }

    /// As the walk of any heap shows it.
    pub fn block(&self) -> KnBlock {
        let state = if self.used { KN_BLOCK_USED } else { KN_BLOCK_FREE };
        KnBlock { start: self.address().cast_const().cast(), size: self.bytes(), state }
    }

    /// Its bytes.
    pub fn bytes(&self) -> usize {
        // SAFETY: the piece is of a live area.
        (self.end - self.start) << unsafe { (*self.area).shift }
    }
}

/// Told of each piece in order; false: enough.
type Look<'a> = &'a mut dyn FnMut(Piece) -> bool;

impl Area {
    /// Shows an area's blocks and free runs: `Ok(false)` when the visitor stopped.
    ///
    /// # Safety
    /// `area` is live, no marking is under way.
    unsafe fn each(area: *mut Area, look: Look<'_>) -> Result<bool, KnStatus> {
        // SAFETY: granules stay below `count`.
        unsafe {
            let count = (*area).count;
            let mut start = 0;
            while start < count {
                let group = &*Area::group(area, start);
                let bit = start % WORD_BITS;
                let used = group.heads >> bit & 1 != 0;
                let end = if used { Area::end(area, start) } else { Area::free_end(area, start, count) };
                // A part of a block without a head is no run.
                if end == start {
                    return Err(KnStatus::Corrupt);
                }
                if end > count {
                    return Err(KnStatus::Corrupt);
                }
                if !look(Piece { area, start, end, used }) {
                    return Ok(false);
                }
                start = end;
            }
            Ok(true)
        }
    }

    /// Whether the bits that [`Area::each`] does not look at, and the hints, are right.
    ///
    /// # Safety
    /// `area` is live, no collection is under way.
    unsafe fn is_sound(area: *mut Area) -> bool {
        // SAFETY: groups of the area and its fences.
        unsafe {
            let words = (*area).words;
            let low = (*area).unswept;
            let high = (*area).swept_from;
            let mut sound = (*area).grey == NO_GREY && (low == 0 && high == 0 || low <= high && high <= words);
            sound &= (*area).low >= 1 && (*area).low <= words && (*area).high < words;
            for word in (*area).low..(*area).high {
                sound &= (*(*area).groups.add(word)).free() == usize::MAX;
            }
            // What the short ways take for granted of hints: not one of those groups.
            for class in 0..CLASSES {
                let (bottom, top) = (*Area::hints(area, 0).add(class), *Area::hints(area, 1).add(class));
                let top = (words - 1).wrapping_sub(top as usize);
                sound &= !((*area).low..(*area).high).contains(&(bottom as usize));
                sound &= !((*area).low..(*area).high).contains(&top);
            }
            for fence in [(*area).groups.sub(1), (*area).groups.add(words)] {
                sound &= (*fence).heads == usize::MAX && (*fence).scan | (*fence).marks == 0;
            }
            let mut before = 0;
            for word in 0..words {
                let group = &*(*area).groups.add(word);
                // Of tails only the second granule of a block is marked; of heads none where it is swept; and
                // nothing that is free.
                let second = group.heads << 1 | before;
                before = group.heads >> (WORD_BITS - 1);
                sound &= group.marks & group.tails() & !second == 0;
                sound &= group.marks & group.free() == 0;
                sound &= group.marks & group.heads == 0 || Area::is_unswept(area, word);
            }
            sound
        }
    }

    /// Whether no hint hides a free run.
    ///
    /// # Safety
    /// As [`Area::is_sound`]; the run is free.
    unsafe fn is_hinted(area: *mut Area, run: Piece) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let words = (*area).words;
            let last = (run.end - 1) / WORD_BITS;
            let places = [last, words - 1 - run.start / WORD_BITS];
            (0..2).all(|side| {
                let hints = Area::hints(area, side);
                *hints.sub(1) == 0
                    && (0..CLASSES).all(|class| {
                        size(class) > run.end - run.start || *hints.add(class) as usize <= places[side & 1]
                    })
            })
        }
    }
}

impl KnTraced {
    /// Shows every block and free run of all areas: `Ok(false)` when the visitor stopped.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub(crate) unsafe fn each(heap: *mut KnTraced, look: Look<'_>) -> Result<bool, KnStatus> {
        // SAFETY: the caller's word.
        unsafe {
            if (*heap).phase == Phase::Marking {
                return Err(KnStatus::Order);
            }
            for area in Self::areas(heap) {
                if !Area::each(area, look)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }

    /// Shows every block and free run as the walk of any heap does.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub unsafe fn walk(heap: *mut KnTraced, visit: &mut dyn FnMut(&KnBlock) -> bool) -> KnStatus {
        // SAFETY: the caller's word.
        let walked = unsafe { Self::each(heap, &mut |piece| visit(&piece.block())) };
        walked.err().unwrap_or(KnStatus::Ok)
    }

    /// The heap's numbers.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it; `out` is valid for a write.
    pub unsafe fn stats(heap: *mut KnTraced, out: *mut KnTracedStats) -> KnStatus {
        let mut stats = KnTracedStats::default();
        // SAFETY: the caller's word.
        unsafe {
            let walked = Self::each(heap, &mut |piece| {
                let bytes = piece.bytes();
                stats.total += bytes;
                if piece.used {
                    stats.used += bytes;
                    stats.blocks += 1;
                    stats.largest_block = stats.largest_block.max(bytes);
                    stats.one_granule += usize::from(piece.end - piece.start == 1);
                    stats.two_granules += usize::from(piece.end - piece.start == 2);
                } else {
                    stats.free += bytes;
                    stats.largest_free = stats.largest_free.max(bytes);
                }
                true
            });
            for area in Self::areas(heap) {
                stats.areas += 1;
                stats.unswept += (((*area).swept_from - (*area).unswept) * WORD_BITS) << (*area).shift;
            }
            stats.finalisers = (*heap).finalisers;
            stats.freed = Self::freed(heap);
            stats.since_collection = if (*heap).config.threshold == 0 { 0 } else { (*heap).since };
            stats.collections = (*heap).collections;
            stats.scopes = (*heap).scopes as usize;
            stats.granule = 1 << (*heap).area.shift;
            out.write(stats);
            walked.err().unwrap_or(KnStatus::Ok)
        }
    }

    /// Verifies all records.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub unsafe fn check(heap: *mut KnTraced) -> KnStatus {
        let mut finalisers = 0;
        let mut sound = true;
        // SAFETY: the caller's word.
        unsafe {
            let walked = Self::each(heap, &mut |piece| {
                if piece.used {
                    finalisers += usize::from(Area::flags(piece.area, piece.start) & KN_FINALISE != 0);
                } else if (*heap).phase == Phase::Idle {
                    sound &= Area::is_hinted(piece.area, piece);
                }
                sound
            });
            if let Err(status) = walked {
                return status;
            }
            if (*heap).phase == Phase::Idle {
                sound &= Self::areas(heap).all(|area| Area::is_sound(area));
            }
            if sound && finalisers == (*heap).finalisers {
                KnStatus::Ok
            } else {
                KnStatus::Corrupt
            }
        }
    }

    /// Shows each live block that is looked into and has a word with the block's address, and the word: how many
    /// such words there are.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub unsafe fn holders(
        heap: *mut KnTraced,
        block: *const u8,
        visit: &mut dyn FnMut(*const c_void, *const c_void) -> bool,
    ) -> usize {
        let mut found = 0;
        // SAFETY: the caller's word; the words are those of the block.
        unsafe {
            let _ = Self::each(heap, &mut |piece| {
                let quiet = !piece.used || Area::flags(piece.area, piece.start) & KN_NO_SCAN != 0;
                if quiet || !Area::is_live(piece.area, piece.start) {
                    return true;
                }
                let start = piece.address();
                let mut at = start.cast::<*const u8>();
                let end = start.add(piece.bytes()).cast::<*const u8>();
                while at < end {
                    if at.read().addr() == block.addr() {
                        found += 1;
                        if !visit(start.cast_const().cast(), at.cast_const().cast()) {
                            return false;
                        }
                    }
                    at = at.add(1);
                }
                true
            });
        }
        found
    }

    /// Finds out why an allocation fails.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub(super) unsafe fn survey_short(heap: *mut KnTraced, short: &mut KnTracedShort) {
        // SAFETY: the caller's word.
        unsafe { (short.free, short.largest) = Self::survey_pins(heap, &mut short.pins) };
        short.pin_count = short.pins.iter().filter(|pin| pin.harm != 0).count() as u32;
    }

    /// Finds what stands between free runs, the most harmful first; the free bytes, and the largest run's.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    #[inline(never)]
    pub(crate) unsafe fn survey_pins(heap: *mut KnTraced, pins: &mut [KnTracedPin]) -> (usize, usize) {
        let (mut free, mut largest) = (0, 0);
        // The free run before, of this area, and the used blocks since.
        let mut before = 0;
        let mut since = NOBODY;
        let mut area = core::ptr::null_mut();
        // SAFETY: the caller's word.
        unsafe {
            let _ = Self::each(heap, &mut |piece| {
                let bytes = piece.bytes();
                if piece.area != area {
                    area = piece.area;
                    before = 0;
                    since = NOBODY;
                }
                if piece.used {
                    if since.size == 0 {
                        since.start = piece.address().cast_const().cast();
                    }
                    since.size += bytes;
                    return true;
                }
                free += bytes;
                largest = largest.max(bytes);
                since.harm = before.min(bytes);
                insert(pins, since);
                before = bytes;
                since = NOBODY;
                true
            });
        }
        (free, largest)
    }
}

/// No pin.
pub(crate) const NOBODY: KnTracedPin = KnTracedPin { start: null(), size: 0, harm: 0 };

/// Takes a pin in if it harms more than the last one.
fn insert(pins: &mut [KnTracedPin], mut pin: KnTracedPin) {
    for place in pins {
        if pin.harm > place.harm {
            core::mem::swap(place, &mut pin);
        }
    }
}
