//! The programs, and how large each is for which figure.

use super::peers::{Cycles, Peer};
use clap::ValueEnum;

/// A program of `benches/counted/programs.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Program {
    Trees,
    List,
    Ring,
    Rings,
    Churn,
    Beside,
}

use Program::*;

impl Program {
    pub const ALL: [Program; 6] = [Trees, List, Ring, Rings, Churn, Beside];

    /// As the programs and the tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Trees => "trees",
            List => "list",
            Ring => "ring",
            Rings => "rings",
            Churn => "churn",
            Beside => "beside",
        }
    }

    /// What one operation is.
    pub fn operation(self) -> &'static str {
        match self {
            Trees | List | Ring | Rings => "node",
            Churn => "step",
            Beside => "cycle",
        }
    }

    /// Its garbage is in cycles.
    pub fn is_cyclic(self) -> bool {
        matches!(self, Ring | Rings | Churn | Beside)
    }

    /// The peer does this program's work, all of it.
    pub fn is_done_by(self, peer: Peer) -> bool {
        !self.is_cyclic() || peer.cycles() == Cycles::Freed
    }
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Time and memory.
    Time,
    /// Instructions, under a simulator.
    Instructions,
    /// The longest step.
    Steps,
}

/// The program's argument: for what, and by whom. Per operation a smaller program gives the same figure, but for the
/// larger working set.
pub fn size(program: Program, purpose: Purpose, peer: Peer) -> u64 {
    let slow = peer.is_slow();
    match (program, purpose) {
        (Trees, Purpose::Time) => 200,
        (Trees, _) => 40,
        (List, Purpose::Instructions) => 1_000_000,
        (List, _) => 10_000_000,
        (Ring, Purpose::Time) => 5,
        (Ring, _) => 1,
        (Rings, Purpose::Time) => 50_000,
        (Rings, _) => 10_000,
        (Churn, _) if slow => 1_000_000,
        (Churn, Purpose::Steps) => 2_000_000,
        (Churn, _) => 8_000_000,
        (Beside, _) if slow => 20_000,
        (Beside, Purpose::Time) => 2_000_000,
        (Beside, _) => 500_000,
    }
}
