//! What happened in a run, added up over many.

use std::fmt;

/// Counts over one run or several.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Operations applied, those on empty slots included.
    pub operations: usize,
    /// Blocks handed out.
    pub allocations: usize,
    /// Blocks freed.
    pub frees: usize,
    /// Nulls for possible requests.
    pub refusals: usize,
    /// Misuses, all refused.
    pub misuses: usize,
    /// Full comparisons of heap and shadow.
    pub verifications: usize,
    /// `realloc` to more than was usable, in place.
    pub grown_in_place: usize,
    /// `realloc` to more than was usable, to another place.
    pub grown_moved: usize,
    /// `realloc` to no more than was usable.
    pub shrunk: usize,
    /// The largest request that could be met and was not, in thousandths: free block / request.
    pub missed: usize,
    /// The most bytes that a block had beyond the request.
    pub slack: usize,
    slack_sum: usize,
    slack_count: usize,
}

impl Tally {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.allocations += other.allocations;
        self.frees += other.frees;
        self.refusals += other.refusals;
        self.misuses += other.misuses;
        self.verifications += other.verifications;
        self.grown_in_place += other.grown_in_place;
        self.grown_moved += other.grown_moved;
        self.shrunk += other.shrunk;
        self.missed = self.missed.max(other.missed);
        self.slack = self.slack.max(other.slack);
        self.slack_sum += other.slack_sum;
        self.slack_count += other.slack_count;
    }

    pub(crate) fn saw_slack(&mut self, bytes: usize) {
        self.slack = self.slack.max(bytes);
        self.slack_sum += bytes;
        self.slack_count += 1;
    }

    pub(crate) fn saw_refusal(&mut self, bytes: usize, largest: usize) {
        // Small requests are rounded to granules, not by a fraction.
        if largest >= bytes && bytes >= 512 {
            self.missed = self.missed.max(largest * 1000 / bytes);
        }
    }

    pub(crate) fn saw_resize(&mut self, in_place: bool, grown: bool) {
        match (grown, in_place) {
            (false, _) => self.shrunk += 1,
            (true, true) => self.grown_in_place += 1,
            (true, false) => self.grown_moved += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} operations: {} blocks, {} refusals (at most 1 : {}.{:03} missed), realloc {} in place, \
             {} moved, {} shrunk, {} misuses refused, slack mean {} max {}, {} verifications",
            self.operations,
            self.allocations,
            self.refusals,
            self.missed / 1000,
            self.missed % 1000,
            self.grown_in_place,
            self.grown_moved,
            self.shrunk,
            self.misuses,
            self.slack_sum / self.slack_count.max(1),
            self.slack,
            self.verifications
        )
    }
}
