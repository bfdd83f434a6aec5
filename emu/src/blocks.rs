//! The table of basic blocks: what the harness knows of each address at which a block starts.
//!
//! ```text
//!   flash   0x0 .. 4 MB       entries[(address - base) / 2], one word each
//!           ┌──────────────┬──────────────┬───────┐
//!           │ bytes (12)   │ count (12)   │ flags │   bytes = 0: not seen yet
//!           └──────────────┴──────────────┴───────┘
//!   elsewhere (code in RAM)   a hash map of the same entries
//! ```
//!
//! Guarantees: a block's count is that of exactly the bytes the emulator is about to run: an
//! entry whose length differs is decoded afresh. Code in flash can't change, so entries stay
//! true; code in RAM is decoded again at each execution.
//!
//! Costs: one load and one compare for each block executed; 2 bytes of table per byte of flash.

use crate::decode::Block;
use rustc_hash::FxHashMap;

/// What is special about a block's address.
pub mod flag {
    /// A measured or excluded symbol starts here.
    pub const ENTRY: u32 = 1;
    /// Some open call returns to here.
    pub const RETURN: u32 = 2;
    /// The block contains `KNOLL_MARK_END`.
    pub const MARK: u32 = 4;
    /// The address is inside Knoll's code.
    pub const KNOLL: u32 = 8;
    /// The address is inside a function that acts for its caller: memcpy and the like.
    pub const HELPER: u32 = 16;
    /// The block contains an IT instruction, or one just before it may reach into it.
    pub const IT: u32 = 32;
}

const FIELD: u32 = 0xFFF;
const FLAGS_SHIFT: u32 = 24;

/// One block as the table knows it.
#[derive(Clone, Copy, Default)]
pub struct Entry(u32);

impl Entry {
    /// Length in bytes; 0 when no block was seen here yet.
    pub const fn bytes(self) -> u32 {
        self.0 & FIELD
    }

    /// Instructions in it.
    pub const fn instructions(self) -> u32 {
        self.0 >> 12 & FIELD
    }

    /// The `flag` bits.
    pub const fn flags(self) -> u32 {
        self.0 >> FLAGS_SHIFT
    }
}

/// All blocks seen, by address.
pub struct Blocks {
    base: u32,
    flash: Vec<Entry>,
    lowest: Vec<i16>,
    elsewhere: FxHashMap<u32, (Entry, i32)>,
}

impl Blocks {
    /// A table for `[base, base + bytes)` of constant code; other addresses work, but slower.
    pub fn new(base: u32, bytes: u32) -> Blocks {
        Blocks {
            base,
            flash: vec![Entry::default(); bytes as usize / 2],
            lowest: vec![0; bytes as usize / 2],
            elsewhere: FxHashMap::default(),
        }
    }

    fn index(&self, address: u32) -> usize {
        (address.wrapping_sub(self.base) >> 1) as usize
    }

    /// The entry at an address, if it is in flash.
    #[inline(always)]
    pub fn known(&self, address: u32) -> Option<Entry> {
        self.flash.get(self.index(address)).copied()
    }

    /// The entry at any address.
    pub fn entry(&self, address: u32) -> Entry {
        self.known(address)
            .unwrap_or_else(|| self.elsewhere.get(&address).map_or(Entry::default(), |(entry, _)| *entry))
    }

    /// How far below SP at its start the block at `address` takes SP: zero or negative.
    pub fn lowest_stack(&self, address: u32) -> i32 {
        match self.lowest.get(self.index(address)) {
            Some(lowest) => i32::from(*lowest),
            None => self.elsewhere.get(&address).map_or(0, |(_, low)| *low),
        }
    }

    /// Enters what decoding `bytes` bytes at `address` found; flags set before are kept.
    pub fn learn(&mut self, address: u32, bytes: u32, block: Block) -> Entry {
        let mut flags = self.entry(address).flags() & !(flag::MARK | flag::IT);
        if block.has_mark {
            flags |= flag::MARK;
        }
        if block.has_it {
            flags |= flag::IT;
        }
        let entry = Entry(bytes.min(FIELD) | block.instructions.min(FIELD) << 12 | flags << FLAGS_SHIFT);
        let index = self.index(address);
        if index < self.flash.len() {
            self.flash[index] = entry;
            self.lowest[index] = block.lowest_stack.max(i32::from(i16::MIN)) as i16;
        } else {
            // Length 0 makes the next execution decode again: this code may change.
            let forgetful = Entry(entry.0 & !FIELD);
            self.elsewhere.insert(address, (forgetful, block.lowest_stack));
        }
        entry
    }

    /// Sets flag bits of an address.
    pub fn set(&mut self, address: u32, flags: u32) {
        let index = self.index(address);
        match self.flash.get_mut(index) {
            Some(entry) => entry.0 |= flags << FLAGS_SHIFT,
            None => {
                let (entry, _) = self.elsewhere.entry(address).or_default();
                entry.0 |= flags << FLAGS_SHIFT;
            }
        }
    }

    /// Sets flag bits of every address in a range.
    pub fn set_range(&mut self, range: std::ops::Range<u32>, flags: u32) {
        let first = self.index(range.start).min(self.flash.len());
        let last = self.index(range.end).min(self.flash.len());
        for entry in &mut self.flash[first..last.max(first)] {
            entry.0 |= flags << FLAGS_SHIFT;
        }
    }
}
