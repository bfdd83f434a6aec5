//! Configurations: what a run's heap is told, by name.

use crate::faults::Fault;
use crate::heap::{KN_TRACED_INTERIOR, KN_TRACED_STRESS};

/// A piece of memory for a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ground {
    /// Its size.
    pub bytes: usize,
    /// How far above a multiple of 64 bytes it starts.
    pub offset: usize,
    /// Its granule; 0: the heap's.
    pub granule: u32,
}

impl Ground {
    /// One that a run may add.
    pub fn extra(which: u8) -> Ground {
        let bytes = [700, 3000, 1200, 9000][usize::from(which % 4)];
        let offset = [0, 8, 40, 3][usize::from(which / 4 % 4)];
        Ground { bytes, offset, granule: [0, 8, 16, 32][usize::from(which / 16 % 4)] }
    }
}

/// What a run is made on.
#[derive(Clone, Debug)]
pub struct Setup {
    /// For reports.
    pub name: &'static str,
    /// The granule; 0: as the heap wants it.
    pub granule: u32,
    /// `KN_TRACED_INTERIOR`, `KN_TRACED_STRESS`.
    pub flags: u32,
    /// Granules swept in a step; 0: all at once.
    pub slice: u32,
    /// The pointers of a block are told by a hook.
    pub precise: bool,
    /// Bytes between collections; 0: no matter.
    pub threshold: usize,
    /// The memory: the heap's own, then further areas.
    pub grounds: &'static [Ground],
    /// Finalisers free blocks.
    pub unruly: bool,
    /// Picks what callbacks do and what lies in blocks.
    pub seed: u64,
    /// Operations between two verifications.
    pub verify_every: usize,
    /// What the naive heap does wrong.
    pub fault: Fault,
}

const fn ground(bytes: usize, offset: usize, granule: u32) -> Ground {
    Ground { bytes, offset, granule }
}

const USUAL: &[Ground] = &[ground(24_000, 0, 0)];
const SMALL: &[Ground] = &[ground(2_500, 0, 0)];
const ODD: &[Ground] = &[ground(7_777, 13, 0)];
const TWO: &[Ground] = &[ground(9_000, 8, 0), ground(5_000, 24, 0)];
const THREE: &[Ground] = &[ground(6_000, 0, 16), ground(3_000, 8, 8), ground(8_000, 5, 32)];
const FOUR: &[Ground] = &[ground(1_100, 0, 8), ground(20_000, 0, 32), ground(900, 1, 8), ground(4_000, 16, 16)];

impl Setup {
    /// As nothing is configured.
    pub const DEFAULT: Setup = Setup {
        name: "default",
        granule: 0,
        flags: 0,
        slice: 0,
        precise: false,
        threshold: 0,
        grounds: USUAL,
        unruly: false,
        seed: 1,
        verify_every: 8,
        fault: Fault::None,
    };

    /// Every configuration.
    pub fn all() -> Vec<Setup> {
        const PLAIN: Setup = Setup::DEFAULT;
        const INTERIOR: u32 = KN_TRACED_INTERIOR;
        const STRESS: u32 = KN_TRACED_STRESS;
        vec![
            PLAIN,
            Setup { name: "granule 8", granule: 8, ..PLAIN },
            Setup { name: "granule 32", granule: 32, ..PLAIN },
            Setup { name: "interior", flags: INTERIOR, ..PLAIN },
            Setup { name: "interior, 8", flags: INTERIOR, granule: 8, grounds: ODD, ..PLAIN },
            Setup { name: "sliced", slice: 16, ..PLAIN },
            Setup { name: "sliced, 8, small", slice: 3, granule: 8, grounds: SMALL, ..PLAIN },
            Setup { name: "sliced, 32, areas", slice: 200, granule: 32, grounds: TWO, ..PLAIN },
            Setup { name: "interior, sliced", flags: INTERIOR, slice: 40, ..PLAIN },
            Setup { name: "precise", precise: true, ..PLAIN },
            Setup { name: "precise, 32, interior", precise: true, granule: 32, flags: INTERIOR, ..PLAIN },
            Setup { name: "precise, areas, sliced", precise: true, grounds: THREE, slice: 10, ..PLAIN },
            Setup { name: "threshold", threshold: 1000, ..PLAIN },
            Setup { name: "threshold, sliced", threshold: 3000, slice: 20, granule: 8, ..PLAIN },
            Setup { name: "stress", flags: STRESS, grounds: TWO, ..PLAIN },
            Setup { name: "stress, sliced, interior", flags: STRESS | INTERIOR, slice: 5, grounds: SMALL, ..PLAIN },
            Setup { name: "small", grounds: SMALL, ..PLAIN },
            Setup { name: "odd, 32", grounds: ODD, granule: 32, ..PLAIN },
            Setup { name: "areas", grounds: THREE, ..PLAIN },
            Setup { name: "areas, interior", grounds: FOUR, flags: INTERIOR, ..PLAIN },
            Setup { name: "areas, sliced", grounds: FOUR, slice: 30, granule: 8, ..PLAIN },
        ]
    }
}
