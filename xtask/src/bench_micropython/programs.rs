//! What is run of `benches/micropython`, and of MicroPython's `tests/perf_bench`.

use super::emulate::{Firmware, Heap, Stretch};
use super::{scripts, source, Marks};
use crate::bench;
use anyhow::{ensure, Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How full a heap is before it is allocated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Empty,
    Full,
    Collected,
    Holed,
}

impl State {
    pub const ALL: [State; 4] = [State::Empty, State::Full, State::Collected, State::Holed];

    /// As in the names of the programs.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "empty",
            State::Full => "full",
            State::Collected => "collected",
            State::Holed => "holed",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            State::Empty => "empty",
            State::Full => "1400 live lists",
            State::Collected => "1400 live lists, collected",
            State::Holed => "and 500 holes of 16 B",
        }
    }
}

/// The sizes of `allocate.py`, in bytes.
pub const SIZES: [u32; 8] = [12, 30, 60, 120, 250, 1000, 4000, 16000];

/// The marks of `collect.py`.
pub const LIVE_SETS: [(u32, &str); 8] = [
    (0, "nothing"),
    (250, "250 lists"),
    (1000, "1000 lists"),
    (2000, "2000 lists"),
    (1, "a buffer of 100 KB"),
    (4, "the same, said to hold no pointers (on Knoll)"),
    (2, "a list of 100 KB"),
    (3, "a list 2000 deep"),
];

/// The marks of `collect_large.py`.
pub const LARGE_LIVE_SETS: [(u32, &str); 4] =
    [(0, "nothing"), (1, "a dead buffer of 1 MB"), (2, "a live buffer of 1 MB"), (10_000, "10,000 lists")];

/// Allocations of each size on heaps in each state.
pub fn allocate(firmware: &[Firmware]) -> Result<BTreeMap<(State, Heap), Marks>> {
    let mut found = BTreeMap::new();
    for firmware in firmware {
        for state in State::ALL {
            found.insert((state, firmware.heap), allocate_on(firmware, state)?);
        }
    }
    Ok(found)
}

/// The same on one.
pub fn allocate_on(firmware: &Firmware, state: State) -> Result<Marks> {
    let programs = scripts([source(&format!("heap_{}.py", state.name())), source("allocate.py")]);
    let marks = firmware.run(&format!("allocate-{}", state.name()), &programs, &[])?.marks;
    for size in SIZES {
        let calls = marks.get(&size).and_then(|stretch| stretch.calls.get("gc_alloc")?.sizes.get(&size));
        let count = calls.map_or(0, |summary| summary.count);
        ensure!(count >= 8, "{count} allocations of {size} bytes were seen, not 8");
    }
    Ok(marks)
}

/// One collection of each live set.
pub fn collect(firmware: &[Firmware], program: &str) -> Result<BTreeMap<Heap, Marks>> {
    let one = |firmware: &Firmware| Ok((firmware.heap, collect_on(firmware, program)?));
    firmware.iter().map(one).collect()
}

/// The same on one.
pub fn collect_on(firmware: &Firmware, program: &str) -> Result<Marks> {
    let marks = firmware.run(program, &scripts([source(program)]), &[])?.marks;
    for (mark, stretch) in &marks {
        let count = stretch.of("gc_collect").count;
        ensure!(count == 1, "{program}, {mark}: {count} collections, not one");
    }
    Ok(marks)
}

/// Granules that one step of the sweep looks at where it is sliced.
pub const SLICE: u32 = 256;

/// How long allocations take where each may bring a collection, or a part of one.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    pub collections: u64,
    /// The longest with a collection in it: what is alive is marked in one piece.
    pub marking: u64,
    /// The longest of the others.
    pub between: u64,
}

/// The pauses of `sliced.py` in a heap of so many bytes.
pub fn pauses_on(firmware: &Firmware, heap_bytes: u32) -> Result<Pauses> {
    let marks = firmware.run(&format!("sliced-{heap_bytes}"), &scripts([source("sliced.py")]), &[])?.marks;
    let stretch = marks.get(&1).context("it has no mark")?;
    let collections = stretch.of("gc_collect").count;
    ensure!(collections >= 4, "only {collections} collections");
    let longest = &stretch.calls.get("gc_alloc").context("it did not allocate")?.longest;
    // A collection takes longer than anything without one; else the next is a collection's, and the figure too large.
    let between = *longest.get(collections as usize).context("too many collections")?;
    Ok(Pauses { collections, marking: longest[0], between })
}

/// A benchmark of MicroPython's on one firmware.
#[derive(Clone, Debug)]
pub struct Perf {
    pub stretch: Stretch,
    /// What it found, which must be the same on both.
    pub result: String,
}

/// MicroPython's benchmarks, those that run on this board.
pub fn perf(firmware: &[Firmware]) -> Result<BTreeMap<(String, Heap), Perf>> {
    let mut jobs = Vec::new();
    for name in perf_programs()? {
        jobs.extend(firmware.iter().map(|firmware| (name.clone(), firmware)));
    }
    let title = |(name, firmware): &(String, &Firmware)| format!("{name}, {}", firmware.heap.name());
    let found = bench::side_by_side(2, &jobs, title, |(name, firmware)| perf_on(firmware, name))?;
    let mut figures: BTreeMap<(String, Heap), Perf> = BTreeMap::new();
    for ((name, firmware), perf) in jobs.into_iter().zip(found) {
        let Some(perf) = perf else { continue };
        if let Some(other) = figures.get(&(name.clone(), Heap::Stock)) {
            ensure!(
                other.result == perf.result,
                "{name}: {} on {}, {} on stock",
                perf.result,
                firmware.heap.name(),
                other.result
            );
        }
        figures.insert((name, firmware.heap), perf);
    }
    ensure!(figures.len() >= 40, "only {} runs of benchmarks", figures.len());
    Ok(figures)
}

/// One benchmark on one firmware; `None` where it has no parameters for so small a machine.
pub fn perf_on(firmware: &Firmware, name: &str) -> Result<Option<Perf>> {
    let program = perf_directory()?.join(format!("{name}.py"));
    let figures = firmware.run(name, &scripts([program, source("perf_run.py")]), &[])?;
    let result = figures.output.trim().to_owned();
    if result == "SKIP" {
        return Ok(None);
    }
    let stretch = figures.marks.get(&1).context("it has no mark")?.clone();
    Ok(Some(Perf { stretch, result }))
}

fn perf_directory() -> Result<PathBuf> {
    Ok(crate::micropython::source::source()?.join("tests/perf_bench"))
}

fn perf_programs() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(perf_directory()?)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".py").filter(|name| *name != "benchrun").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
