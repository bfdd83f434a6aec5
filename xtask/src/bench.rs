//! `cargo xtask bench` (`make bench`): Knoll and the allocators it is measured against, as Cortex-M firmware.
//!
//! - One firmware for each allocator, on one C driver (`benches/embedded`), run by the emulator, which counts every
//!   instruction of every call exactly. Nothing here depends on the machine's speed: the figures repeat to the digit.
//! - Prints the tables, keeps them in `benches/embedded/results` and writes `docs/figures.md` from them, the targets
//!   beside what was measured.
//! - `cargo xtask occupancy` gives the memory figures alone, natively, in seconds; `cargo xtask counts` guards Knoll's
//!   instruction counts in the tests.

pub mod calls;
mod contenders;
pub mod counts;
mod emulate;
pub mod gate;
pub mod native;
pub mod occupancy;
pub mod process;
mod report;
mod results;
pub mod table;
mod targets;
mod traces;
pub mod valgrind;

use crate::util;
use anyhow::{Context, Result};
use contenders::{Contender, Machine};
use indicatif::{ProgressBar, ProgressStyle};
use process::{Outcome, Said};
use results::{Counts, Fit};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

/// The RAM budgets of the synthetic workloads, in bytes.
const BUDGETS: [u32; 2] = [64 << 10, 256 << 10];
/// The driver's commands that find how memory is used.
const FIT_COMMANDS: &[&str] =
    &["facts", "65536", "occupancy", "65536", "occupancy", "262144", "shift", "65536", "smallest", "all"];

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these allocators; then nothing is stored
    #[arg(value_enum)]
    contenders: Vec<Contender>,
    /// Another directory of *.trace.gz; then nothing is stored
    #[arg(long)]
    traces: Option<std::path::PathBuf>,
    /// Programs that run side by side
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// Everything that was measured.
#[derive(Default)]
pub struct Findings {
    pub fits: BTreeMap<Contender, Fit>,
    pub counts: BTreeMap<(Machine, Contender), Counts>,
    pub sizes: BTreeMap<(Machine, Contender), u64>,
    /// The commit that was measured, `-dirty` if files were changed since; empty outside a Git checkout.
    pub commit: String,
}

impl Findings {
    /// How an allocator, or its twin, uses memory.
    fn fit(&self, contender: Contender) -> Option<&Fit> {
        self.fits.get(&contender).or_else(|| self.fits.get(&contender.twin()?))
    }

    /// Its code size, or its twin's.
    fn size(&self, machine: Machine, contender: Contender) -> Option<u64> {
        let of = |one| self.sizes.get(&(machine, one)).copied();
        of(contender).or_else(|| of(contender.twin()?))
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let complete = args.contenders.is_empty() && args.traces.is_none();
    let chosen = or_all(args.contenders, &Contender::ALL);
    let directory = args.traces.unwrap_or_else(|| util::root().join("traces"));

    util::announce("Building one firmware for each allocator and machine");
    let emulator = util::emu_binary()?;
    let (traces, assembly) = traces::convert(&directory, &util::work_dir("bench/traces")?)?;
    // Figures that a twin shares are not measured twice.
    let alone = |one: &Contender| one.twin().is_none_or(|twin| !chosen.contains(&twin));
    let mut programs = BTreeMap::new();
    let mut findings = Findings { commit: commit(), ..Findings::default() };
    for machine in [Machine::M4, Machine::M0] {
        for contender in &chosen {
            programs.insert((machine, *contender), contenders::program(*contender, machine, &assembly)?);
            if alone(contender) {
                findings.sizes.insert((machine, *contender), contenders::code_size(*contender, machine)?);
            }
        }
    }

    util::announce("Measuring how memory is used, on the Cortex-M4 (one run for each allocator)");
    let jobs: Vec<Contender> = chosen.iter().copied().filter(alone).collect();
    let fits = side_by_side(
        args.jobs,
        &jobs,
        |contender| contender.name().to_owned(),
        |contender| {
            let program = &programs[&(Machine::M4, *contender)];
            let mut fit = Fit::default();
            fit.read(&emulate::lines_of(&emulator, program, Machine::M4, FIT_COMMANDS)?)?;
            Ok(fit)
        },
    )?;
    findings.fits = jobs.into_iter().zip(fits).collect();

    util::announce("Counting the instructions of every call (one run for each allocator and machine)");
    let jobs: Vec<(Machine, Contender)> = programs.keys().copied().collect();
    let name = |(machine, contender): &(Machine, Contender)| format!("{} on {}", contender.name(), machine.name());
    let counts = side_by_side(args.jobs, &jobs, name, |job| {
        let fit = findings.fit(job.1).context("its use of memory was not measured")?;
        let commands = count_commands(&BUDGETS, fit, &traces);
        emulate::count(&emulator, &programs[job], job.0, &commands).map(Counts)
    })?;
    findings.counts = jobs.into_iter().zip(counts).collect();

    table::print(&report::all(&findings));
    if complete {
        report::store(&findings, &contenders::sources().join("results"))?;
        report::document(&findings, &util::root().join("docs/figures.md"))?;
        report::readme(&findings, &util::root().join("README.md"))?;
    }
    println!("\n{}", targets::summary(&findings));
    Ok(())
}

/// The driver's commands that count all workloads in the budgets, and each trace in its smallest heap.
fn count_commands(budgets: &[u32], fit: &Fit, traces: &[traces::Trace]) -> Vec<String> {
    let mut commands = Vec::new();
    for ram in budgets {
        commands.extend(["count".to_owned(), ram.to_string(), "all".to_owned()]);
    }
    for trace in traces {
        if let Some(smallest) = fit.smallest.get(&trace.name).filter(|found| found.bytes > 0) {
            commands.extend(["count".to_owned(), smallest.bytes.to_string(), format!("trace:{}", trace.name)]);
        }
    }
    commands
}

/// The commit that is measured, `-dirty` if files were changed since; empty outside a Git checkout. To be asked before
/// anything is built: the figures are those of the sources as they are then.
pub fn commit() -> String {
    let said = util::capture(&mut util::program("git", ["describe", "--always", "--dirty"])).unwrap_or_default();
    said.trim().to_owned()
}

/// Those that were named, or all.
pub fn or_all<T: Clone>(named: Vec<T>, all: &[T]) -> Vec<T> {
    if named.is_empty() {
        return all.to_vec();
    }
    named
}

/// Does the work of all jobs, a few at a time, under a progress bar; the results in the jobs' order.
pub fn side_by_side<J: Sync, T: Send>(
    threads: usize,
    jobs: &[J],
    name: impl Fn(&J) -> String + Sync,
    work: impl Fn(&J) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let bar = ProgressBar::new(jobs.len() as u64);
    bar.set_style(ProgressStyle::with_template("    {bar:30} {pos}/{len} {msg} ({elapsed})")?);
    let next = Mutex::new(0..jobs.len());
    let results: Vec<Mutex<Option<Result<T>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(index) = next.lock().ok().and_then(|mut range| range.next()) {
                    let begin = std::time::Instant::now();
                    bar.set_message(name(&jobs[index]));
                    bar.tick();
                    let result = work(&jobs[index]).with_context(|| name(&jobs[index]));
                    bar.suspend(|| {
                        util::note(format!("{} took {:.1} s", name(&jobs[index]), begin.elapsed().as_secs_f64()))
                    });
                    bar.inc(1);
                    if let Ok(mut slot) = results[index].lock() {
                        *slot = Some(result);
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    results.into_iter().map(|slot| slot.into_inner().ok().flatten().context("a job was lost")?).collect()
}

/// Measures one job after the other under a progress bar: two at a time would share caches.
pub fn one_by_one<J: Copy + Ord, T>(
    jobs: &[J],
    name: impl Fn(&J) -> String,
    mut measure: impl FnMut(J) -> Result<T>,
) -> Result<BTreeMap<J, T>> {
    let bar = ProgressBar::new(jobs.len() as u64);
    bar.set_style(ProgressStyle::with_template("    {bar:30} {pos}/{len} {msg} ({elapsed})")?);
    let mut found = BTreeMap::new();
    for job in jobs {
        bar.set_message(name(job));
        bar.tick();
        let begin = std::time::Instant::now();
        let result = measure(*job).with_context(|| name(job))?;
        if begin.elapsed().as_secs() >= 10 {
            bar.suspend(|| util::note(format!("{} took {:.0} s", name(job), begin.elapsed().as_secs_f64())));
        }
        found.insert(*job, result);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(found)
}

/// Times every job in several rounds, in turn, and keeps the least time of each. What failed once is not tried again.
pub fn least_times<J: Copy + Ord>(
    rounds: u32,
    jobs: &[J],
    name: impl Fn(&J) -> String,
    mut time: impl FnMut(J) -> Result<Outcome<Said>>,
) -> Result<BTreeMap<J, Outcome<Said>>> {
    let mut least: BTreeMap<J, Outcome<Said>> = BTreeMap::new();
    for _ in 0..rounds {
        let round = one_by_one(jobs, &name, |job| match least.get(&job) {
            Some(Outcome::Failed(why)) => Ok(Outcome::Failed(why.clone())),
            _ => time(job),
        })?;
        for (job, outcome) in round {
            let kept = match (least.remove(&job), outcome) {
                (Some(Outcome::Found(known)), Outcome::Found(new)) if known.nanoseconds <= new.nanoseconds => {
                    Outcome::Found(known)
                }
                (_, outcome) => outcome,
            };
            least.insert(job, kept);
        }
    }
    Ok(least)
}

/// Reads a stored file, empty if there is none.
fn read_or_empty(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other.with_context(|| format!("cannot read {}", path.display())),
    }
}
