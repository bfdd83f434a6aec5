//! `cargo xtask counts-counted`: the counted part's instruction counts against `benches/counted/counts.csv`.
//!
//! - Every case of `benches/counted/calls.c` on Cortex-M0, M3 and M4, mean and worst, exact and repeatable; each of them
//!   on the host too; and the programs whose figures are targets, in small, by cachegrind.
//! - Fails when a figure has become more than 2 % worse than in the table, or when the table's rows are not those that
//!   were measured. `--update` writes the table.

use super::measure::{self, Outcome};
use super::peers;
use super::peers::Peer;
use super::programs::Program;
use super::{calls, work_directory};
use crate::bench::gate::{self, Figures};
use crate::util;
use anyhow::{bail, Context, Result};
use std::path::Path;

/// Options of `cargo xtask counts-counted`.
#[derive(clap::Args)]
pub struct Args {
    /// Write the table instead of comparing with it
    #[arg(long)]
    update: bool,
    /// Show every figure
    #[arg(long)]
    show: bool,
}

const HEADING: &str = "where,what,figure,instructions";

/// The programs in small: with what argument.
const PROGRAMS: [(Program, u64); 6] = [
    (Program::Trees, 4),
    (Program::List, 100_000),
    (Program::Ring, 1),
    (Program::Rings, 1_000),
    (Program::Churn, 500_000),
    (Program::Beside, 50_000),
];

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let path = peers::sources().join("counts.csv");
    let shown = util::root_relative(&path);
    let measured = measure()?;
    if args.show {
        for (name, value) in &measured {
            println!("{:<50} {value:>12.2}", name.replace(',', "  "));
        }
    }
    if args.update {
        let rows: String = measured.iter().map(|(name, value)| format!("{name},{value:.2}\n")).collect();
        std::fs::write(&path, format!("{HEADING}\n{rows}")).with_context(|| format!("cannot write {shown}"))?;
        util::note(format!("{} figures written to {shown}", measured.len()));
        return Ok(());
    }
    let known = read(&path).with_context(|| format!("in {shown}"))?;
    gate::judge(&known, &measured, &shown, "cargo xtask counts-counted --update")
}

fn measure() -> Result<Figures> {
    let mut figures = Figures::new();
    util::announce("Counting the calls of counted cells in the emulator");
    let mut names = Vec::new();
    for (machine, _, target) in calls::MACHINES {
        let found = calls::emulated(machine, target)?;
        names = found.keys().cloned().collect();
        for (name, count) in found {
            figures.insert(format!("{machine},{name},mean"), count.mean);
            figures.insert(format!("{machine},{name},worst"), count.worst as f64);
        }
    }
    util::announce("Counting them here, and the programs in small");
    for (name, count) in calls::on_the_host(names)? {
        figures.insert(format!("host,{name},iteration"), count);
    }
    let built = peers::build(Peer::Knoll, &work_directory()?)?;
    for (program, size) in PROGRAMS {
        match measure::instructions_of(Peer::Knoll, program, size, &built.measured)? {
            Outcome::Found(count) => figures.insert(format!("host,{},{}", program.name(), program.operation()), count),
            Outcome::Failed(why) => bail!("{}: {why}", program.name()),
        };
    }
    Ok(figures)
}

fn read(path: &Path) -> Result<Figures> {
    let mut figures = Figures::new();
    for line in std::fs::read_to_string(path)?.lines().filter(|line| !line.is_empty() && *line != HEADING) {
        let (name, value) = line.rsplit_once(',').with_context(|| format!("not a row: {line}"))?;
        figures.insert(name.to_owned(), value.parse().with_context(|| line.to_owned())?);
    }
    Ok(figures)
}
