//! `cargo xtask bench-counted` (`make bench-counted`): counted cells beside every rival, in six programs.
//!
//! - Knoll in several configurations, malloc and a count on glibc and mimalloc, Nim's ARC and ORC, the crates dumpster and
//!   bacon_rajan_cc, and Boehm's collector run the same programs (`benches/counted`) on the same random numbers.
//! - Instructions of an operation, processor time as a ratio in one run, peak of memory, the longest step; and whether
//!   each peer's count of live nodes is the one that a walk finds. On Cortex-M the instructions of single calls.
//! - Prints the tables and writes `docs/counted-figures.md`, the targets beside what was measured, and the README's table.
//!   What crashes or does not end is a result with its reason.
//! - `cargo xtask counts-counted` guards Knoll's counts in the tests.

mod calls;
pub mod counts;
mod measure;
pub mod peers;
mod programs;
mod report;
mod targets;

use crate::{bench, util};
use anyhow::{Context, Result};
use bench::process::{Outcome, Said};
use measure::Longest;
use peers::{Built, Peer};
use programs::Program;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options of `cargo xtask bench-counted`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these peers; then nothing is stored
    #[arg(value_enum)]
    peers: Vec<Peer>,
    /// Only these programs; then nothing is stored
    #[arg(long, value_enum, value_delimiter = ',')]
    programs: Vec<Program>,
    /// Runs of each program for time, and of each for steps
    #[arg(long, default_value_t = 3)]
    runs: u32,
}

/// A figure of each peer in each program.
type Grid<T> = BTreeMap<(Program, Peer), Outcome<T>>;

/// Everything that was measured.
#[derive(Default)]
pub struct Findings {
    /// Instructions of an operation.
    pub instructions: Grid<f64>,
    /// The run of the least time.
    pub times: Grid<Said>,
    pub steps: Grid<Longest>,
    pub alive: Grid<Said>,
    /// The list with 8 MB of stack, and dropped on 4 KB.
    pub usual_stack: BTreeMap<Peer, Outcome<Said>>,
    pub small_stack: BTreeMap<Peer, Outcome<Said>>,
    /// By machine.
    pub calls: BTreeMap<&'static str, Calls>,
    /// The commit that was measured, `-dirty` if files were changed since.
    pub commit: String,
}

/// What single calls cost on a machine.
pub struct Calls {
    /// Each case of `calls.c`.
    pub cases: BTreeMap<String, calls::Count>,
    /// Bytes of code for counting, and for counting and collecting.
    pub code: (u64, u64),
}

/// Where the programs are built.
fn work_directory() -> Result<PathBuf> {
    util::work_dir("bench-counted")
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let complete = args.peers.is_empty() && args.programs.is_empty();
    let chosen = bench::or_all(args.peers, &Peer::ALL);
    let programs = bench::or_all(args.programs, &Program::ALL);
    let mut findings = Findings { commit: bench::commit(), ..Findings::default() };

    util::announce("Building the programs");
    let directory = work_directory()?;
    let mut built: BTreeMap<Peer, Built> = BTreeMap::new();
    for peer in &chosen {
        built.insert(*peer, peers::build(*peer, &directory)?);
    }

    if complete {
        util::announce("Counting calls in the emulator");
        for (machine, _, target) in calls::MACHINES {
            let calls = Calls { cases: calls::emulated(machine, target)?, code: calls::code_size(target)? };
            findings.calls.insert(machine, calls);
        }
    }

    let pairs: Vec<(Program, Peer)> =
        programs.iter().flat_map(|program| chosen.iter().map(|peer| (*program, *peer))).collect();
    let of = |peer: &Peer| built.get(peer).context("not built");

    util::announce("Counting instructions (cachegrind)");
    // Its write barrier is a page fault, which is no instruction of the program.
    let counted: Vec<_> = pairs.iter().filter(|(_, peer)| *peer != Peer::BoehmIncremental).copied().collect();
    findings.instructions =
        grid_of_counts(&counted, |program, peer| measure::instructions(peer, program, &of(&peer)?.measured))?;

    util::announce(format!("Measuring time and memory, {} interleaved runs", args.runs));
    findings.times = bench::least_times(args.runs, &pairs, name, |(program, peer)| {
        measure::time(peer, program, &of(&peer)?.measured)
    })?;

    util::announce("Recording every step");
    findings.steps = bench::one_by_one(&pairs, name, |(program, peer)| {
        measure::steps(peer, program, &of(&peer)?.measured, args.runs)
    })?;

    util::announce("Counting what is alive at the end");
    findings.alive = grid_of_counts(&pairs, |program, peer| measure::alive(peer, program, &of(&peer)?.checked))?;

    util::announce("Dropping the list on small stacks");
    for peer in &chosen {
        findings.usual_stack.insert(*peer, measure::usual_stack(*peer, &built[peer].measured)?);
        if peer.is_knoll() || matches!(peer, Peer::CountMimalloc | Peer::CountIterMimalloc) {
            findings.small_stack.insert(*peer, measure::small_stack(*peer, &built[peer].measured)?);
        }
    }

    bench::table::print(&report::all(&findings));
    report::failures(&findings).iter().for_each(|line| println!("{line}"));
    if complete {
        bench::table::store(&util::root().join("docs/counted-figures.md"), &report::document(&findings)?)?;
        targets::brief(&findings).renew(&util::root().join("README.md"), "make bench-counted")?;
    }
    println!("\n{}", targets::summary(&findings));
    Ok(())
}

/// Counts, a few at a time: what is counted does not depend on what else runs.
fn grid_of_counts<T: Send>(
    pairs: &[(Program, Peer)],
    count: impl Fn(Program, Peer) -> Result<Outcome<T>> + Sync,
) -> Result<Grid<T>> {
    let found = bench::side_by_side(2, pairs, name, |(program, peer)| count(*program, *peer))?;
    Ok(pairs.iter().copied().zip(found).collect())
}

fn name((program, peer): &(Program, Peer)) -> String {
    format!("{} {}", peer.name(), program.name())
}
