//! `cargo xtask bench-hosted` (`make bench-hosted`): libknoll.so as everybody's malloc, beside the mallocs one would
//! choose instead.
//!
//! - glibc, mimalloc, jemalloc and tcmalloc as Debian has them; mimalloc 3, rpmalloc and snmalloc as crates bring them.
//!   All are preloaded into the same programs (`benches/hosted`) and take turns in one run.
//! - Instructions of an operation, each counted by single steps; threads that free each other's memory, by the clock;
//!   processor time and peak of memory of real programs; memory kept behind 300 MB that were freed; start of a process.
//! - Prints the tables and writes `docs/hosted-figures.md`, the targets beside what was measured, and these into
//!   README.md. What crashes or does not end is a result with its reason.
//! - `cargo xtask counts-hosted` guards Knoll's counts in the tests.

pub mod counts;
mod operations;
mod peers;
mod programs;
mod report;
mod targets;

use crate::bench::process::{Outcome, Said};
use crate::{bench, util};
use anyhow::Result;
use clap::ValueEnum;
use operations::{Counted, Operation};
use peers::{Libraries, Peer, Tools};
use programs::{Freer, Real, Threaded};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Knoll's library, as its path ends.
const LIBRARY: &str = "/libknoll.so";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Operations,
    Threads,
    Programs,
    Kept,
    Startup,
}

/// Options of `cargo xtask bench-hosted`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these peers; then nothing is stored
    #[arg(value_enum)]
    peers: Vec<Peer>,
    /// Only these parts; then nothing is stored
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Runs of each program for time
    #[arg(long, default_value_t = 7)]
    runs: u32,
    /// A quarter of the work in two runs; nothing is stored
    #[arg(long)]
    quick: bool,
}

/// A figure of each peer in each program.
type Grid<P, T> = BTreeMap<(P, Peer), Outcome<T>>;

/// Everything that was measured.
#[derive(Default)]
pub struct Findings {
    operations: Grid<Operation, Counted>,
    /// The run of the least time.
    threads: Grid<Threaded, Said>,
    /// The run of the least processor time.
    programs: Grid<Real, Said>,
    kept: Grid<Freer, Said>,
    /// Microseconds: of a process with nothing preloaded, and what each library adds.
    startup: (f64, BTreeMap<Peer, f64>),
    /// Package and version of each peer.
    origins: BTreeMap<Peer, String>,
    /// The commit that was measured, `-dirty` if files were changed since.
    commit: String,
}

/// Where the programs are built.
fn work_directory() -> Result<PathBuf> {
    util::work_dir("bench-hosted")
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let complete = args.peers.is_empty() && args.parts.is_empty() && !args.quick;
    let chosen = if args.peers.is_empty() { Peer::ALL.to_vec() } else { args.peers };
    let wanted = |part: Part| args.parts.is_empty() || args.parts.contains(&part);
    let (runs, part) = if args.quick { (2, 4) } else { (args.runs, 1) };
    // Asked before anything is built: the figures are those of the sources as they are now.
    let commit = util::capture(&mut util::program("git", ["describe", "--always", "--dirty"])).unwrap_or_default();
    let mut findings = Findings { commit: commit.trim().to_owned(), ..Findings::default() };

    util::announce("Building the programs and the rivals");
    let directory = work_directory()?;
    let tools = Tools::build(&directory)?;
    let libraries = Libraries::build(&chosen, &directory)?;
    findings.origins = libraries.origins.clone();

    if wanted(Part::Operations) {
        util::announce("Counting instructions, one by one");
        let pairs = pairs(&Operation::ALL, &chosen);
        let name = |(operation, peer): &(Operation, Peer)| format!("{} {}", peer.name(), operation.name());
        let counted = bench::side_by_side(2, &pairs, name, |(operation, peer)| {
            operation.count((&tools.step, &tools.operations), libraries.of(*peer), LIBRARY)
        })?;
        findings.operations = pairs.into_iter().zip(counted).collect();
    }
    if wanted(Part::Threads) {
        util::announce(format!("Threads that free each other's memory, {runs} interleaved runs"));
        let name = |(program, peer): &(Threaded, Peer)| format!("{} {}", peer.name(), program.name());
        findings.threads = bench::least_times(runs, &pairs(&Threaded::ALL, &chosen), name, |(program, peer)| {
            program.run(&tools, libraries.of(peer), part)
        })?;
    }
    if wanted(Part::Programs) {
        util::announce(format!("Real programs, {runs} interleaved runs"));
        for program in Real::ALL {
            // What they print on the C library's malloc is what they are to print.
            program.run(&tools, &libraries, Peer::Glibc)?;
        }
        let name = |(program, peer): &(Real, Peer)| format!("{} {}", peer.name(), program.name());
        findings.programs = bench::least_times(runs, &pairs(&Real::ALL, &chosen), name, |(program, peer)| {
            let outcome = program.run(&tools, &libraries, peer)?;
            match outcome.found().is_none() || program.agrees(&tools, peer)? {
                true => Ok(outcome),
                false => Ok(Outcome::Failed("it printed something else".into())),
            }
        })?;
    }
    if wanted(Part::Kept) {
        util::announce("Freeing 300 MB");
        let name = |(freer, peer): &(Freer, Peer)| format!("{} {}", peer.name(), freer.title());
        findings.kept = bench::one_by_one(&pairs(&Freer::ALL, &chosen), name, |(freer, peer)| {
            freer.run(&tools, libraries.of(peer))
        })?;
    }
    if wanted(Part::Startup) {
        util::announce("Starting processes");
        let preloaded: Vec<Peer> = chosen.iter().copied().filter(|peer| *peer != Peer::Glibc).collect();
        let (plain, took) = programs::startup(&tools, &libraries, &preloaded, 20 * runs)?;
        let added = took.iter().map(|microseconds| microseconds - plain);
        findings.startup = (plain, preloaded.into_iter().zip(added).collect());
    }

    for table in report::all(&findings) {
        println!("\n{}\n{}", table.title, table.terminal());
    }
    for line in report::failures(&findings) {
        println!("{line}");
    }
    if complete {
        report::document(&findings, &util::root().join("docs/hosted-figures.md"))?;
        targets::table(&findings).renew(&util::root().join("README.md"), "make bench-hosted")?;
    }
    println!("\n{}", targets::summary(&findings));
    Ok(())
}

fn pairs<P: Copy>(programs: &[P], peers: &[Peer]) -> Vec<(P, Peer)> {
    programs.iter().flat_map(|program| peers.iter().map(|peer| (*program, *peer))).collect()
}
