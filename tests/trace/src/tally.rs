//! What happened in a run, added up over many.

use std::fmt;

/// Counts over one run or several.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Operations applied, those that name nothing included.
    pub operations: usize,
    /// Blocks made.
    pub blocks: usize,
    /// Blocks freed by hand.
    pub freed: usize,
    /// Blocks that collections have freed.
    pub died: usize,
    /// Blocks finalised.
    pub finalised: usize,
    /// Resizes in place.
    pub in_place: usize,
    /// Resizes that moved.
    pub moved: usize,
    /// Requests refused because memory is short.
    pub refusals: usize,
    /// Collections.
    pub collections: usize,
    /// Among them those that the heap asked for.
    pub automatic: usize,
    /// Blocks that the trace hook was asked about.
    pub traced: usize,
    /// Full comparisons of heap and model.
    pub verifications: usize,
    /// The most blocks alive at a time.
    pub most: usize,
}

impl Tally {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.blocks += other.blocks;
        self.freed += other.freed;
        self.died += other.died;
        self.finalised += other.finalised;
        self.in_place += other.in_place;
        self.moved += other.moved;
        self.refusals += other.refusals;
        self.collections += other.collections;
        self.automatic += other.automatic;
        self.traced += other.traced;
        self.verifications += other.verifications;
        self.most = self.most.max(other.most);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Tally { operations, blocks, most, freed, died, finalised, .. } = self;
        let Tally { in_place, moved, refusals, collections, automatic, traced, verifications, .. } = self;
        write!(
            f,
            "{operations} operations: {blocks} blocks, at most {most} at a time, {freed} freed by hand, {died} by \
             {collections} collections ({automatic} of them when memory was short), {finalised} finalised, \
             {in_place} resized in place, {moved} moved, {refusals} refusals, {traced} traced by the hook, \
             {verifications} verifications"
        )
    }
}
