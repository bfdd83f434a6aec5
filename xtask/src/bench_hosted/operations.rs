//! The operations of `benches/hosted/operations.c`, and how their instructions are counted.

use crate::bench::process::{finish, said, Outcome, Said};
use crate::util;
use anyhow::{Context, Result};
use std::path::Path;

/// An operation; a pair is a malloc and a free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Pair,
    PairAlone,
    Batch,
    Replace,
    Calloc,
    Realloc,
    Aligned,
    Pair4000,
    Pair40000,
}

use Operation::*;

impl Operation {
    pub const ALL: [Operation; 9] = [Pair, PairAlone, Batch, Replace, Calloc, Realloc, Aligned, Pair4000, Pair40000];

    /// As the program knows it.
    pub fn name(self) -> &'static str {
        match self {
            Pair => "pair",
            PairAlone => "pair-alone",
            Batch => "batch",
            Replace => "replace",
            Calloc => "calloc",
            Realloc => "realloc",
            Aligned => "aligned",
            Pair4000 => "pair-4000",
            Pair40000 => "pair-40000",
        }
    }

    /// What it does, as the tables say it.
    pub fn title(self) -> &'static str {
        match self {
            Pair => "pair of 32 bytes, beside others",
            PairAlone => "pair of 32 bytes, alone",
            Batch => "pair of 32 bytes, 1000 in a row",
            Replace => "pair of 8 to 519 bytes, in random order",
            Calloc => "calloc of 32 bytes, free",
            Realloc => "realloc to 16 to 512 bytes",
            Aligned => "posix_memalign of 100 bytes to 64, free",
            Pair4000 => "pair of 4000 bytes",
            Pair40000 => "pair of 40000 bytes",
        }
    }

    /// What the design promises, or the study behind it.
    pub fn bound(self) -> Option<f64> {
        match self {
            Pair => Some(38.0),
            Replace => Some(60.0),
            Realloc => Some(52.0),
            Calloc => Some(70.0),
            Aligned => Some(105.0),
            _ => None,
        }
    }

    /// Times that it is counted: enough that what happens now and then, a page that is full, has its share.
    fn times(self) -> u32 {
        match self {
            Batch | Replace => 2000,
            Realloc => 1000,
            _ => 128,
        }
    }

    /// Counts it on what `preload` brings: instructions outside of the loop, and those inside the object `library`.
    pub fn count(
        self,
        (step, program): (&Path, &Path),
        preload: Option<&Path>,
        library: &str,
    ) -> Result<Outcome<Counted>> {
        let run = |name: &str, times: u32| -> Result<Outcome<Said>> {
            let mut command = util::program(step, ["--library", library]);
            if let Some(preload) = preload {
                command.arg("--preload").arg(preload);
            }
            said(finish(command.arg(program).args([name, &times.to_string()]))?)
        };
        let (idle, all) = match (run("nothing", 0)?, run(self.name(), self.times())?) {
            (Outcome::Found(idle), Outcome::Found(all)) => (idle, all),
            (Outcome::Failed(why), _) | (_, Outcome::Failed(why)) => return Ok(Outcome::Failed(why)),
        };
        let of = |name: &str| -> Result<f64> {
            let number = |said: &Said| said.numbers.get(name).copied().context("step counted nothing");
            Ok(number(&all)?.saturating_sub(number(&idle)?) as f64 / f64::from(self.times()))
        };
        Ok(Outcome::Found(Counted { all: of("all")?, library: of("library")? }))
    }
}

/// Instructions of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// All that it executes: call stub, allocator, what that calls of the C library.
    pub all: f64,
    /// Those of one library.
    pub library: f64,
}
