//! `cargo xtask counts-counted`: the counted part's instruction counts against `benches/counted/counts.csv`.
//!
//! - Every call of `benches/counted/calls.c` on Cortex-M0, M3 and M4, mean and worst; on the host the same and the six
//!   programs in small, instructions inside `libknoll.so`. Exact and repeatable.
//! - What is in line is the C compiler's work and differs between its versions: it is not held here, but measured by
//!   `cargo xtask bench-counted`.
//! - Fails when a figure has become more than 2 % worse than in the table, or when the table's rows are not those that
//!   were measured. `--update` writes the table.

use super::measure;
use super::peers;
use super::peers::Peer;
use super::programs::Program;
use super::{calls, work_directory};
use crate::bench::gate::{self, Figures};
use crate::util;
use anyhow::{Context, Result};
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

/// The programs in small: with what argument, and how many operations that is.
const PROGRAMS: [(Program, u64, u64); 6] = [
    (Program::Trees, 4, 4 * 32_767),
    (Program::List, 100_000, 100_000),
    (Program::Ring, 1, 1_000_000),
    (Program::Rings, 1_000, 100_000),
    (Program::Churn, 500_000, 500_000),
    (Program::Beside, 50_000, 50_000),
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
        let held = |(name, _): &(String, calls::Count)| !name.ends_with("inline");
        let found: Vec<_> = found.into_iter().filter(held).collect();
        names = found.iter().map(|(name, _)| name.clone()).collect();
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
    for (program, size, operations) in PROGRAMS {
        let run = |size: u64| measure::count_in_library(&built.measured, &[program.name(), &size.to_string()]);
        let count = run(size)?.saturating_sub(run(0)?) as f64 / operations as f64;
        figures.insert(format!("host,{},{}", program.name(), program.operation()), count);
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
