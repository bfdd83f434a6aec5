//! `cargo xtask bench-arena` (`make bench-arena`): scopes and arenas beside every rival.
//!
//! - Knoll's scopes, free-standing arenas and counted cells in scopes; the crates bumpalo and bump-scope, glibc's
//!   obstacks, talloc and APR's pools; and as a base the mallocs of Knoll and of glibc. All run the same programs
//!   (`benches/arena`) on the same random numbers, after each has proved that what it gives out stays intact.
//! - Instructions of an operation, processor time as a ratio in one run, the memory held before and after going back to a
//!   mark and by a mixed workflow. On Cortex-M the instructions of single calls, counted one by one.
//! - Prints the tables and writes `docs/arena-figures.md`, the targets beside what was measured, and these into README.md.
//!   What a peer does not have is a result with its reason.
//! - `cargo xtask counts-arena` guards Knoll's counts in the tests.

mod calls;
pub mod counts;
mod peers;
mod programs;
mod report;
mod targets;

use crate::bench::calls::{Report, MACHINES};
use crate::bench::process::{command, finish, said, Outcome, Said, USUAL_STACK};
use crate::bench::valgrind::{count_instructions, of_an_operation};
use crate::{bench, util};
use anyhow::{bail, Context, Result};
use peers::Peer;
use programs::Program;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Options of `cargo xtask bench-arena`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these peers; then nothing is stored
    #[arg(value_enum)]
    peers: Vec<Peer>,
    /// Only these programs; then nothing is stored
    #[arg(long, value_enum, value_delimiter = ',')]
    programs: Vec<Program>,
    /// Runs of each program for time
    #[arg(long, default_value_t = 5)]
    runs: u32,
}

/// A figure of each peer in each program.
type Grid<T> = BTreeMap<(Program, Peer), Outcome<T>>;

/// Everything that was measured.
#[derive(Default)]
pub struct Findings {
    /// Instructions of an operation.
    instructions: Grid<f64>,
    /// The run of the least time.
    times: Grid<Said>,
    /// What is held at a mark, at most, behind a rewind and behind a reset.
    footprints: BTreeMap<Peer, Outcome<Said>>,
    /// What is held by a mixed workflow.
    memory: BTreeMap<Peer, Outcome<Said>>,
    /// By machine.
    machines: BTreeMap<&'static str, Report>,
    /// The calls of `calls.c` on the host.
    host: BTreeMap<String, f64>,
    /// The commit that was measured, `-dirty` if files were changed since.
    commit: String,
}

/// Where the programs are built.
fn work_directory() -> Result<PathBuf> {
    util::work_dir("bench-arena")
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let complete = args.peers.is_empty() && args.programs.is_empty();
    let chosen = bench::or_all(args.peers, &Peer::ALL);
    let programs = bench::or_all(args.programs, &Program::ALL);
    let mut findings = Findings { commit: bench::commit(), ..Findings::default() };

    util::announce("Building the programs, and letting each prove that it keeps what it is given");
    let directory = work_directory()?;
    let mut built: BTreeMap<Peer, PathBuf> = BTreeMap::new();
    for peer in &chosen {
        let program = peers::build(*peer, &directory)?;
        verify(&program).with_context(|| peer.name())?;
        built.insert(*peer, program);
    }

    if complete {
        util::announce("Counting calls in the emulator, and here (callgrind)");
        for (machine, _, target) in MACHINES {
            findings.machines.insert(machine, calls::emulated(machine, target)?);
        }
        let names = findings.machines.values().next().map(|report| report.marks.keys().cloned().collect::<Vec<_>>());
        findings.host = calls::on_the_host(names.unwrap_or_default())?;
    }

    let pairs: Vec<(Program, Peer)> = programs
        .iter()
        .flat_map(|program| chosen.iter().map(|peer| (*program, *peer)))
        .filter(|(program, peer)| peer.does(*program))
        .collect();
    let name = |(program, peer): &(Program, Peer)| format!("{} {}", peer.name(), program.name());

    util::announce("Counting instructions (cachegrind)");
    // What is counted does not depend on what else runs.
    let counted = bench::side_by_side(2, &pairs, name, |(program, peer)| instructions(&built[peer], *program))?;
    findings.instructions = pairs.iter().copied().zip(counted).collect();

    util::announce(format!("Measuring time, {} interleaved runs", args.runs));
    findings.times = bench::least_times(args.runs, &pairs, name, |(program, peer)| {
        said(finish(&mut on_its_stack(&built[&peer], program.name(), program.timed()))?)
    })?;

    util::announce("Asking what is held");
    for peer in chosen.iter().filter(|peer| !peer.is_cells()) {
        let ask = |what, count| {
            let mut command = on_its_stack(&built[peer], what, count);
            // The caches of glibc's malloc for each thread would count as in use.
            said(finish(command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"))?)
        };
        findings.footprints.insert(*peer, ask("footprint", 0)?);
        findings.memory.insert(*peer, ask("memory", 20)?);
    }

    bench::table::print(&report::all(&findings));
    report::failures(&findings).iter().for_each(|line| println!("{line}"));
    if complete {
        bench::table::store(&util::root().join("docs/arena-figures.md"), &report::document(&findings)?)?;
        targets::table(&findings).renew(&util::root().join("README.md"), "make bench-arena")?;
    }
    println!("\n{}", targets::summary(&findings));
    Ok(())
}

fn on_its_stack(program: &Path, what: &str, count: u64) -> std::process::Command {
    command(program, USUAL_STACK, &[], &[what, &count.to_string()])
}

/// A peer whose memory does not stay intact is no peer.
fn verify(program: &Path) -> Result<()> {
    match said(finish(&mut on_its_stack(program, "verify", 20))?)? {
        Outcome::Found(said) if said.numbers.get("verified") == Some(&20) => Ok(()),
        Outcome::Found(_) => bail!("it verified nothing"),
        Outcome::Failed(why) => bail!("{why}"),
    }
}

/// Instructions of an operation: those of a run, less those of one with nothing to do, or of the program's loop alone.
fn instructions(program: &Path, what: Program) -> Result<Outcome<f64>> {
    let run = |name: &str, count: u64| count_instructions(program, USUAL_STACK, &[name, &count.to_string()]);
    let idle = match what.loop_alone() {
        Some(name) => run(name, what.counted())?,
        None => run(what.name(), 0)?,
    };
    of_an_operation(run(what.name(), what.counted())?, idle)
}
