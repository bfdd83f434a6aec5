//! Pins: the used blocks that keep free memory from being one piece, the most harmful first.
//!
//! Guarantees
//! * A pin is a run of used blocks between two free ones of the same region. If its blocks were freed, the two
//!   would be one with it. Its *harm* is the smaller of the two: so many bytes it keeps from joining a
//!   larger free block. What lies below the first free block or above the last is no pin.
//! * Each pin is told once; of equal harm the lower address first.
//! * Reads only, needs no memory: each [`BATCH`] pins cost one more walk.
//!
//! ```text
//!   | used | free 40 | used used | free 4000 | used | free 900 | used |
//!                     '-- pin --'             ' pin'
//!                       harm 40                 harm 900: told first
//! ```
//! Cost: O(blocks) for each [`BATCH`] pins.

use core::ptr::null_mut;

use crate::heap::KnHeap;

/// How many pins are found in one walk.
const BATCH: usize = 4;

/// A run of used blocks between free ones.
pub(super) struct Pin {
    /// Bytes of the free block before.
    pub before: usize,
    /// Bytes of the run, and how many blocks it has.
    pub bytes: usize,
    pub blocks: usize,
    /// Bytes of the free block behind.
    pub after: usize,
}

impl Pin {
    /// The pin whose first block's payload is at `start`.
    ///
    /// # Safety
    /// `heap` is live, nobody else uses it, and there is a pin.
    pub unsafe fn at(heap: *mut KnHeap, start: *mut u8) -> Pin {
        let mut pin = Pin { before: 0, bytes: 0, blocks: 0, after: 0 };
        // SAFETY: the caller's word; the run ends in its region.
        unsafe {
            pin.before = KnHeap::free_before(heap, start);
            while let Some((bytes, used)) = KnHeap::block_at(heap, start.wrapping_add(pin.bytes)) {
                if !used {
                    pin.after = bytes;
                    break;
                }
                pin.bytes += bytes;
                pin.blocks += 1;
            }
        }
        pin
    }

    pub fn harm(&self) -> usize {
        self.before.min(self.after)
    }
}

/// A pin's place in the order.
#[derive(Clone, Copy)]
struct Rank {
    harm: usize,
    start: *mut u8,
}

impl Rank {
    const NONE: Rank = Rank { harm: 0, start: null_mut() };

    /// Whether this one is told before the other; any is before none.
    #[inline(always)]
    fn leads(&self, other: &Rank) -> bool {
        self.harm > other.harm || self.harm == other.harm && self.start.addr() < other.start.addr()
    }
}

/// The pins of a heap that does not change, the most harmful first.
pub(super) struct ByHarm {
    /// What was told last.
    last: Rank,
    /// The next ones, in order; null behind the least harmful one.
    batch: [*mut u8; BATCH],
    told: usize,
}

impl ByHarm {
    pub const fn new() -> ByHarm {
        ByHarm { last: Rank { harm: usize::MAX, start: null_mut() }, batch: [null_mut(); BATCH], told: BATCH }
    }

    /// Where the next pin starts; null: there is none.
    ///
    /// # Safety
    /// `heap` is live, nobody else uses it, and it does not change between calls.
    pub unsafe fn next(&mut self, heap: *mut KnHeap) -> *mut u8 {
        if self.told == BATCH {
            // SAFETY: the caller's word.
            unsafe { self.look(heap) };
        }
        let start = self.batch.get(self.told).copied().unwrap_or(null_mut());
        self.told += 1;
        start
    }

    /// Finds the most harmful pins that come after the last one.
    ///
    /// # Safety
    /// As [`ByHarm::next`].
    #[inline(never)]
    unsafe fn look(&mut self, heap: *mut KnHeap) {
        let mut ranks = [Rank::NONE; BATCH];
        let last = self.last;
        // SAFETY: the caller's word.
        unsafe {
            KnHeap::each_hole(heap, &mut |start, before, after| {
                let rank = Rank { harm: before.min(after), start };
                if !start.is_null() && last.leads(&rank) {
                    insert(&mut ranks, rank);
                }
                true
            });
        }
        for (place, rank) in self.batch.iter_mut().zip(&ranks) {
            *place = rank.start;
            self.last = *rank;
        }
        self.told = 0;
    }
}

/// Takes the pin in if it comes before the last one.
#[inline(always)]
fn insert(ranks: &mut [Rank; BATCH], rank: Rank) {
    if ranks.last().is_some_and(|last| rank.leads(last)) {
        let mut rank = rank;
        for place in ranks {
            if rank.leads(place) {
                core::mem::swap(place, &mut rank);
            }
        }
    }
}
