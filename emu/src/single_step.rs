//! The check of counting by block: each instruction counted by a hook of its own.
//!
//! The emulator calls that hook for an instruction in an IT block only if its condition holds.
//! An instruction that is skipped takes its place in the pipeline all the same and counts, so
//! skipped ones are found here as what lies between two executed ones of a block, and added.
//!
//! Guarantees: `total()` was found without the table of blocks or their counts; it equals the
//! total of the quick way for every run that exits (a test compares them).
//!
//! Costs: some twenty times slower than counting by block.

use crate::decode::count_before;

/// Reads the code from one address to another.
pub type ReadCode<'a> = &'a mut dyn FnMut(u32, u32) -> Vec<u8>;

/// Instructions counted one by one.
#[derive(Default)]
pub struct SingleSteps {
    /// Those that were executed.
    pub executed: u64,
    /// Those that an IT block skipped.
    pub skipped: u64,
    /// What of the current block was not reached yet.
    next: u32,
    end: u32,
}

impl SingleSteps {
    /// Executed and skipped ones.
    pub fn total(&self) -> u64 {
        self.executed + self.skipped
    }

    /// A block begins: what the last one did not execute to its end was skipped.
    pub fn start_block(&mut self, start: u32, bytes: u32, code: ReadCode) {
        self.skip_to(self.end, code);
        self.next = start;
        self.end = start.wrapping_add(bytes);
    }

    /// The instruction at `address` of `bytes` bytes is about to be executed.
    pub fn step(&mut self, address: u32, bytes: u32, code: ReadCode) {
        self.skip_to(address, code);
        self.executed += 1;
        self.next = address.wrapping_add(bytes);
    }

    fn skip_to(&mut self, address: u32, code: ReadCode) {
        if self.next < address {
            let between = code(self.next, address);
            self.skipped += u64::from(count_before(&between, between.len()));
        }
    }
}
