//! What happened in a run, added up over many.

use std::fmt;

/// Counts over one run or several.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Operations applied, those on empty variables included.
    pub operations: usize,
    /// Cells made.
    pub cells: usize,
    /// Cells that died because their count became zero.
    pub by_count: usize,
    /// Cells that died in a cycle.
    pub by_cycle: usize,
    /// Operations that callbacks did.
    pub in_callbacks: usize,
    /// Allocations that were refused.
    pub refusals: usize,
    /// Times when exactly the reachable cells had to be alive.
    pub exact: usize,
    /// Full comparisons of graph and model.
    pub verifications: usize,
    /// The most cells alive at a time.
    pub most: usize,
}

impl Tally {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.cells += other.cells;
        self.by_count += other.by_count;
        self.by_cycle += other.by_cycle;
        self.in_callbacks += other.in_callbacks;
        self.refusals += other.refusals;
        self.exact += other.exact;
        self.verifications += other.verifications;
        self.most = self.most.max(other.most);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Tally { operations, cells, by_count, by_cycle, in_callbacks, .. } = *self;
        let Tally { refusals, exact, verifications, most, .. } = *self;
        write!(
            f,
            "{operations} operations ({in_callbacks} more in callbacks): {cells} cells, at most {most} at a time, \
             {by_count} died by count, {by_cycle} in cycles, {refusals} refusals, \
             {verifications} verifications, {exact} of them exact"
        )
    }
}
