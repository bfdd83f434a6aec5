//! Large blocks: a mapping each, found by address in a table outside of them.
//!
//! - A pointer is a large block iff the table has it, so foreign and freed pointers are recognised
//!   without reading their memory, and nothing precedes a block: 128 KB asked are 32 pages, not 33.
//! - The table is a mapping itself; it never calls malloc.
//! - [`Mappings::reserve`] makes room first, so that an insertion after a successful system call
//!   can't fail.
//!
//! Open addressing with linear probing, at most half full; removal shifts the run's later entries
//! back, so there are no tombstones and a search ends at the first gap (Knuth, TAOCP 3, 6.4,
//! algorithm R).
//!
//! Cost: about 2 probes a search; 64 to 128 bytes for each of the most large blocks that ever lived at once.

use crate::port::{self, Span};

/// A large block.
#[derive(Clone, Copy)]
pub(super) struct Large {
    pub(super) span: Span,
    /// What its owner asked its address to be a multiple of.
    pub(super) align: usize,
}

impl Large {
    const NONE: Large = Large { span: Span::EMPTY, align: 0 };

    fn is_none(&self) -> bool {
        self.span.base.is_null()
    }

    fn address(&self) -> usize {
        self.span.start.addr()
    }
}

/// The table of large blocks. All zero: no table yet.
pub(super) struct Mappings {
    /// The mapping that holds `slots`.
    table: Span,
    /// The number of slots: 0 or a power of two.
    capacity: usize,
    used: usize,
}

impl Mappings {
    pub(super) const fn new() -> Mappings {
        Mappings { table: Span::EMPTY, capacity: 0, used: 0 }
    }

    /// Makes sure that one more [`insert`](Self::insert) has room; false: the system refuses memory.
    pub(super) fn reserve(&mut self) -> bool {
        if (self.used + 1) * 2 <= self.capacity {
            return true;
        }
        let bytes = match self.capacity {
            0 => port::page_bytes(),
            slots => slots * 2 * size_of::<Large>(),
        };
        let Some(table) = port::map(bytes, 1) else {
            return self.used + 1 < self.capacity; // fuller than liked, but one gap must stay
        };
        let slots = (table.bytes / size_of::<Large>()).max(2);
        let power = usize::BITS - 1 - slots.leading_zeros();
        let larger = Mappings { table, capacity: 1 << power, used: 0 };
        let smaller = core::mem::replace(self, larger);
        for index in 0..smaller.capacity {
            let large = smaller.slot(index);
            if !large.is_none() {
                self.insert(large);
            }
        }
        if smaller.capacity != 0 {
            // SAFETY: the old table came from `map`, and all of it has been copied.
            unsafe { port::unmap(smaller.table) };
        }
        true
    }

    /// Adds a block; [`reserve`](Self::reserve) answered true since the last insertion.
    #[inline(never)]
    pub(super) fn insert(&mut self, large: Large) {
        let mut index = self.home(large.address());
        while !self.slot(index).is_none() {
            index = self.after(index);
        }
        self.set_slot(index, large);
        self.used += 1;
    }

    /// The block that starts at `address`.
    pub(super) fn find(&self, address: usize) -> Option<Large> {
        self.position(address).map(|index| self.slot(index))
    }

    /// Takes the block that starts at `address` out of the table.
    pub(super) fn remove(&mut self, address: usize) -> Option<Large> {
        let mut gap = self.position(address)?;
        let found = self.slot(gap);
        self.used -= 1;
        let mut index = gap;
        loop {
            index = self.after(index);
            let large = self.slot(index);
            if large.is_none() {
                break;
            }
            // An entry may move back into the gap unless its home lies cyclically after the gap.
            let from_home = index.wrapping_sub(self.home(large.address())) & (self.capacity - 1);
            let from_gap = index.wrapping_sub(gap) & (self.capacity - 1);
            if from_home >= from_gap {
                self.set_slot(gap, large);
                gap = index;
            }
        }
        self.set_slot(gap, Large::NONE);
        Some(found)
    }

    /// Shows each block until `visit` answers false.
    pub(super) fn each(&self, visit: &mut dyn FnMut(Large) -> bool) {
        (0..self.capacity).map(|index| self.slot(index)).filter(|large| !large.is_none()).all(visit);
    }

    #[inline(never)]
    fn position(&self, address: usize) -> Option<usize> {
        if self.capacity == 0 {
            return None;
        }
        let mut index = self.home(address);
        loop {
            let large = self.slot(index);
            if large.is_none() {
                return None;
            }
            if large.address() == address {
                return Some(index);
            }
            index = self.after(index);
        }
    }

    /// Where the search for `address` begins: Fibonacci hashing of the page number.
    fn home(&self, address: usize) -> usize {
        let spread = (address as u64 >> 12).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (spread >> 32) as usize & (self.capacity - 1)
    }

    fn after(&self, index: usize) -> usize {
        (index + 1) & (self.capacity - 1)
    }

    fn slot(&self, index: usize) -> Large {
        debug_assert!(index < self.capacity);
        // SAFETY: the table's mapping holds `capacity` slots, zeroed or written by `set_slot`, and
        // every index is masked by the capacity.
        unsafe { self.table.base.cast::<Large>().add(index).read() }
    }

    fn set_slot(&mut self, index: usize, large: Large) {
        debug_assert!(index < self.capacity);
        // SAFETY: as in `slot`; the exclusive borrow makes this the only access.
        unsafe { self.table.base.cast::<Large>().add(index).write(large) }
    }
}
