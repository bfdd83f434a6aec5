//! What runs did, so that a test can see that they did it.

use std::fmt;

/// Counts of what happened.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Operations, those in callbacks included.
    pub operations: usize,
    /// Scopes entered.
    pub entered: usize,
    /// Scopes left, whichever way.
    pub left: usize,
    /// Scopes that were left because one outside them was.
    pub with_others: usize,
    /// Free-standing arenas reset or destroyed.
    pub emptied: usize,
    /// Rewinds.
    pub rewinds: usize,
    /// Requests refused: by a budget, by the heap.
    pub refusals: usize,
    /// Leaves refused because of escapes.
    pub kept_open: usize,
    /// Cleanups run.
    pub cleanups: usize,
    /// Destroy hooks of cells in arenas run.
    pub destroyed: usize,
    /// References from cells in arenas to counted cells released.
    pub released: usize,
    /// Escapes found.
    pub escapes: usize,
    /// Among them stores that bypassed `GC_assign`.
    pub raw_escapes: usize,
    /// Cells that came out of an arena as copies.
    pub promoted: usize,
    /// Weak slots cleared.
    pub weak: usize,
    /// Ends of an arena after which the heap's fingerprint had to be exactly that of its beginning.
    pub exact: usize,
    /// Full comparisons.
    pub verifications: usize,
}

impl Tally {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Tally) {
        let Tally {
            operations,
            entered,
            left,
            with_others,
            emptied,
            rewinds,
            refusals,
            kept_open,
            cleanups,
            destroyed,
            released,
            escapes,
            raw_escapes,
            promoted,
            weak,
            exact,
            verifications,
        } = other;
        self.operations += operations;
        self.entered += entered;
        self.left += left;
        self.with_others += with_others;
        self.emptied += emptied;
        self.rewinds += rewinds;
        self.refusals += refusals;
        self.kept_open += kept_open;
        self.cleanups += cleanups;
        self.destroyed += destroyed;
        self.released += released;
        self.escapes += escapes;
        self.raw_escapes += raw_escapes;
        self.promoted += promoted;
        self.weak += weak;
        self.exact += exact;
        self.verifications += verifications;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} operations: {} scopes ({} left with others, {} leaves refused), {} resets and ends of arenas, \
             {} rewinds, {} ends to the exact fingerprint, {} refusals, {} cleanups, {} destroy hooks, \
             {} references released, {} escapes ({} raw), {} cells promoted, {} weak slots cleared, \
             {} verifications",
            self.operations,
            self.entered,
            self.with_others,
            self.kept_open,
            self.emptied,
            self.rewinds,
            self.exact,
            self.refusals,
            self.cleanups,
            self.destroyed,
            self.released,
            self.escapes,
            self.raw_escapes,
            self.promoted,
            self.weak,
            self.verifications
        )
    }
}
