//! `cargo xtask counts-counted`: the counted part's instruction counts against `benches/counted/counts.csv`.
//!
//! - Every call of `benches/counted/calls.c` on Cortex-M0, M3 and M4, mean and worst; on the host the same and the six
//!   programs in small, instructions inside `libknoll.so`. Exact and repeatable.
//! - What is in line is the C compiler's work and differs between its versions: it is not held here, but measured by
//!   `cargo xtask bench-counted`.
//! - Fails when a figure has become more than 2 % worse than in the table, or when the table's rows are not those that
//!   were measured. `--update` writes the table.

use super::peers;
use super::peers::Peer;
use super::programs::Program;
use super::{calls, work_directory};
use crate::bench::gate::{self, Figures};
use crate::bench::valgrind::count_in_library;
use crate::util;
use anyhow::Result;

pub use crate::bench::gate::Args;

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
    gate::hold(&measure()?, &peers::sources().join("counts.csv"), &args, "cargo xtask counts-counted")
}

fn measure() -> Result<Figures> {
    let mut figures = Figures::new();
    util::announce("Counting the calls of counted cells in the emulator");
    let mut names = Vec::new();
    for (machine, _, target) in calls::MACHINES {
        names = gate::hold_calls(machine, calls::emulated(machine, target)?, &mut figures);
    }
    util::announce("Counting them here, and the programs in small");
    for (name, count) in calls::on_the_host(names)? {
        figures.insert(format!("host,{name},iteration"), count);
    }
    let built = peers::build(Peer::Knoll, &work_directory()?)?;
    for (program, size, operations) in PROGRAMS {
        let run = |size: u64| count_in_library(&built.measured, &[program.name(), &size.to_string()]);
        let count = run(size)?.saturating_sub(run(0)?) as f64 / operations as f64;
        figures.insert(format!("host,{},{}", program.name(), program.operation()), count);
    }
    Ok(figures)
}
