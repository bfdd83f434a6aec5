//! The memory of [`crate::naive`]'s heap: one record for each granule of an area, looked over from one end to the
//! other.
//!
//! ```text
//!   skip │ Head(block of 3) │ Tail(1) │ Tail(2) │ Free │ Free │ Head(block of 1) │ …
//!        └ the first address that is a multiple of the granule
//! ```

use crate::setup::Ground;
use knoll_shadow::arena::Arena;
use std::cell::RefCell;

/// A block, or what is left of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) granules: usize,
    pub(crate) requested: usize,
    pub(crate) flags: u32,
    pub(crate) marked: bool,
    pub(crate) dead: bool,
}

/// A granule.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Free,
    Head(Block),
    /// So many granules behind its block's first.
    Tail(usize),
}

/// A piece of memory, granule by granule.
pub(crate) struct Area {
    pub(crate) arena: Arena,
    pub(crate) granule: usize,
    pub(crate) skip: usize,
    pub(crate) slots: RefCell<Vec<Slot>>,
}

impl Area {
    pub(crate) fn new(ground: &Ground, otherwise: usize) -> Area {
        let granule = if ground.granule == 0 { otherwise } else { ground.granule as usize };
        let arena = Arena::new(ground.bytes, ground.offset);
        let skip = (granule - arena.start().addr() % granule) % granule;
        let count = (ground.bytes - skip) / granule;
        Area { arena, granule, skip, slots: RefCell::new(vec![Slot::Free; count]) }
    }

    pub(crate) fn at(&self, slot: usize) -> *mut u8 {
        // SAFETY: so many granules fit.
        unsafe { self.arena.start().add(self.skip + slot * self.granule) }
    }

    pub(crate) fn slot(&self, at: usize) -> Option<usize> {
        let slot = at.wrapping_sub(self.at(0).addr()) / self.granule;
        (slot < self.slots.borrow().len()).then_some(slot)
    }

    /// The free runs, in order: their first granule and their length.
    pub(crate) fn gaps(&self) -> Vec<(usize, usize)> {
        let mut gaps: Vec<(usize, usize)> = Vec::new();
        for (slot, what) in self.slots.borrow().iter().enumerate() {
            if matches!(what, Slot::Free) {
                match gaps.last_mut() {
                    Some((first, length)) if *first + *length == slot => *length += 1,
                    _ => gaps.push((slot, 1)),
                }
            }
        }
        gaps
    }
}
