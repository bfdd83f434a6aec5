//! `cargo xtask bench-micropython` (`make bench-micropython`): MicroPython's firmware with its own collector and with Knoll's.
//!
//! - Both are the same MicroPython for the same Cortex-M3, in the same emulator in one run; what differs is the heap. Every
//!   figure is a number of instructions, exact and repeatable, or of bytes.
//! - Allocation by size on an empty, a full, a collected and a holed heap; a collection of several live sets; MicroPython's
//!   own `tests/perf_bench`; 1000 workflows of which values stay.
//! - Prints the tables and writes `docs/micropython-figures.md` and the README's table, the design's targets beside what
//!   was measured.
//! - `cargo xtask counts-micropython` guards Knoll's counts in the tests.

pub mod counts;
mod emulate;
mod programs;
mod report;
mod targets;
mod workflows;

use crate::{bench, util};
use anyhow::Result;
use emulate::{Heap, Stretch};
use programs::State;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use workflows::{Policy, Workflows};

/// Options of `cargo xtask bench-micropython`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these parts; then nothing is stored
    #[arg(value_enum)]
    parts: Vec<Part>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Allocation by size, on heaps in several states
    Allocate,
    /// One collection of several live sets, in 140 KB and in 2 MB
    Collect,
    /// MicroPython's tests/perf_bench
    Perf,
    /// Allocations beside a sweep in slices
    Pauses,
    /// 1000 workflows, and what is left of the heap in one piece
    Workflows,
}

impl Part {
    const ALL: [Part; 5] = [Part::Allocate, Part::Collect, Part::Perf, Part::Pauses, Part::Workflows];
}

/// By the mark's number in the program.
type Marks = BTreeMap<u32, Stretch>;

/// Everything that was measured.
#[derive(Default)]
struct Findings {
    /// Allocations of each size; the mark is the size.
    allocate: BTreeMap<(State, Heap), Marks>,
    /// Collections in a heap of 140 KB; the marks are those of `programs::LIVE_SETS`.
    collect: BTreeMap<Heap, Marks>,
    /// The same in 2 MB.
    collect_large: BTreeMap<Heap, Marks>,
    /// By name of the program.
    perf: BTreeMap<(String, Heap), programs::Perf>,
    /// By size of the heap.
    pauses: BTreeMap<(u32, Heap), programs::Pauses>,
    workflows: BTreeMap<Policy, Workflows>,
    /// Bytes of the collector's code, and of a whole firmware with nothing of Knoll but the heap.
    code: BTreeMap<Heap, (u64, u64)>,
    /// The commit that was measured, `-dirty` if files were changed since.
    commit: String,
}

/// Where the Python programs are.
fn sources() -> PathBuf {
    util::root().join("benches/micropython")
}

/// Where figures are kept while they are gathered.
fn work_directory() -> Result<PathBuf> {
    util::work_dir("bench-micropython")
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let complete = args.parts.is_empty();
    let parts = bench::or_all(args.parts, &Part::ALL);
    let emulator = util::emu_binary()?;
    let mut findings = Findings { commit: bench::commit(), ..Findings::default() };
    util::announce("MicroPython's firmware, stock and on Knoll");
    let usual = emulate::both(&emulator, emulate::USUAL_HEAP)?;
    for part in parts {
        match part {
            Part::Allocate => findings.allocate = programs::allocate(&usual)?,
            Part::Collect => {
                findings.collect = programs::collect(&usual, "collect.py")?;
                let large = emulate::both(&emulator, emulate::LARGE_HEAP)?;
                findings.collect_large = programs::collect(&large, "collect_large.py")?;
            }
            Part::Perf => findings.perf = programs::perf(&usual)?,
            Part::Pauses => findings.pauses = pauses(&emulator)?,
            Part::Workflows => findings.workflows = workflows::all(&usual)?,
        }
    }
    findings.code = emulate::HEAPS.into_iter().map(|heap| Ok((heap, emulate::code(heap)?))).collect::<Result<_>>()?;

    bench::table::print(&report::all(&findings));
    if complete {
        bench::table::store(&document(), &report::document(&findings)?)?;
        targets::table(&findings).renew(&util::root().join("README.md"), "make bench-micropython")?;
    }
    println!("\n{}", targets::summary(&findings));
    Ok(())
}

/// Stock's pauses, and Knoll's with a sweep in slices, in a small heap and a large one.
fn pauses(emulator: &Path) -> Result<BTreeMap<(u32, Heap), programs::Pauses>> {
    let mut found = BTreeMap::new();
    for bytes in [emulate::USUAL_HEAP, emulate::LARGE_HEAP] {
        for heap in emulate::HEAPS {
            let firmware = emulate::sliced_firmware(heap, emulator, bytes, programs::SLICE)?;
            found.insert((bytes, heap), programs::pauses_on(&firmware, bytes)?);
        }
    }
    Ok(found)
}

fn document() -> PathBuf {
    util::root().join("docs/micropython-figures.md")
}

/// A program of `benches/micropython`, by name.
fn source(name: &str) -> PathBuf {
    sources().join(name)
}

/// The scripts of a run: the marks, then these.
fn scripts(rest: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    std::iter::once(source("marks.py")).chain(rest).collect()
}
