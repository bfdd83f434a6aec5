//! The programs of `benches/arena/programs.c`, and how often each does its operation for which figure.

use clap::ValueEnum;

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Program {
    Fixed,
    Sizes,
    Pair,
    Presized,
    Nested,
    Thousand,
    Bulk,
    Cleanups0,
    Cleanups1,
    Cleanups10,
    Cleanups100,
    Cleanups1000,
    Rewind,
    Reset,
    Grow,
    Mixed,
}

use Program::*;

impl Program {
    pub const ALL: [Program; 16] = [
        Fixed,
        Sizes,
        Pair,
        Presized,
        Nested,
        Thousand,
        Bulk,
        Cleanups0,
        Cleanups1,
        Cleanups10,
        Cleanups100,
        Cleanups1000,
        Rewind,
        Reset,
        Grow,
        Mixed,
    ];

    /// As the programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Fixed => "fixed",
            Sizes => "sizes",
            Pair => "pair",
            Presized => "presized",
            Nested => "nested",
            Thousand => "thousand",
            Bulk => "bulk",
            Cleanups0 => "cleanups-0",
            Cleanups1 => "cleanups-1",
            Cleanups10 => "cleanups-10",
            Cleanups100 => "cleanups-100",
            Cleanups1000 => "cleanups-1000",
            Rewind => "rewind",
            Reset => "reset",
            Grow => "grow",
            Mixed => "mixed",
        }
    }

    /// The program that is its loop and no more.
    pub fn loop_alone(self) -> Option<&'static str> {
        match self {
            Fixed => Some("fixed-idle"),
            Sizes => Some("sizes-idle"),
            _ => None,
        }
    }

    /// What it does, as the tables say it.
    pub fn title(self) -> &'static str {
        match self {
            Fixed => "allocation of 24 bytes",
            Sizes => "allocation of 8 to 256 bytes",
            Pair => "enter, 64 bytes, leave",
            Presized => "the same, sized for 4 KB",
            Nested => "the same, in an arena with room",
            Thousand => "enter, 1000 allocations, leave",
            Bulk => "enter sized for 384 KB, 16384 allocations, leave",
            Cleanups0 => "enter, 0 cleanups, leave",
            Cleanups1 => "enter, 1 cleanup, leave",
            Cleanups10 => "enter, 10 cleanups, leave",
            Cleanups100 => "enter, 100 cleanups, leave",
            Cleanups1000 => "enter, 1000 cleanups, leave",
            Rewind => "mark, 10 allocations, rewind",
            Reset => "10 allocations, reset",
            Grow => "string grown 63 times by 16 bytes",
            Mixed => "mixed workflow",
        }
    }

    /// About how many instructions a good arena needs.
    fn weight(self) -> u64 {
        match self {
            Fixed | Sizes => 10,
            Pair | Presized | Nested | Cleanups0 | Cleanups1 | Reset => 200,
            Rewind | Cleanups10 => 500,
            Grow | Cleanups100 => 3_000,
            Thousand | Mixed | Cleanups1000 => 20_000,
            Bulk => 100_000,
        }
    }

    /// Operations of a run under cachegrind; whole rounds of the programs that have rounds.
    pub fn counted(self) -> u64 {
        self.operations(4_000_000)
    }

    /// Operations of a run for time.
    pub fn timed(self) -> u64 {
        self.operations(100_000_000)
    }

    fn operations(self, instructions: u64) -> u64 {
        /// `BULK` and `SIZES` of the programs.
        const ROUND: u64 = 16_384;
        match self {
            Fixed | Sizes => (instructions / self.weight()).next_multiple_of(ROUND),
            _ => instructions / self.weight(),
        }
    }
}
