//! `cargo xtask counts-arena`: the instruction counts of scopes and arenas against `benches/arena/counts.csv`.
//!
//! - Every call of `benches/arena/calls.c` on Cortex-M0, M3 and M4, mean and worst, and on the host, mean. Exact and
//!   repeatable.
//! - What is in line is the C compiler's work and differs between its versions: it is not held here, but measured by
//!   `cargo xtask bench-arena`.
//! - On the machines a rewind must give back exactly what was taken since the mark, and leaving everything; the
//!   footprints are held like counts.
//! - Fails when a figure has become more than 2 % worse than in the table, or when the table's rows are not those that
//!   were measured. `--update` writes the table.

use super::calls;
use super::peers::sources;
use crate::bench::calls::{Report, MACHINES};
use crate::bench::gate::{self, Figures};
use crate::util;
use anyhow::{ensure, Result};

pub use crate::bench::gate::Args;

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    gate::hold(&measure()?, &sources().join("counts.csv"), &args, "cargo xtask counts-arena")
}

fn measure() -> Result<Figures> {
    let mut figures = Figures::new();
    util::announce("Counting the calls of scopes and arenas in the emulator");
    let mut names = Vec::new();
    for (machine, _, target) in MACHINES {
        let report = calls::emulated(machine, target)?;
        footprint(machine, &report, &mut figures)?;
        names = gate::hold_calls(machine, report.marks, &mut figures);
    }
    util::announce("Counting them here");
    for (name, count) in calls::on_the_host(names)? {
        figures.insert(format!("host,{name},mean"), count);
    }
    Ok(figures)
}

/// Bytes, beside the instructions: what is held at a mark and at most; the rest has one right value.
fn footprint(machine: &str, report: &Report, figures: &mut Figures) -> Result<()> {
    let of = |name: &str| report.results.get(name).copied().unwrap_or(-1);
    ensure!(of("after") == of("mark"), "{machine}: {} bytes after the rewind, {} at the mark", of("after"), of("mark"));
    ensure!(of("left") == 0, "{machine}: {} bytes are left", of("left"));
    ensure!(of("same at the mark") == 1, "{machine}: the rewind gives another free map");
    ensure!(of("same when left") == 1, "{machine}: leaving gives another free map");
    for name in ["mark", "most"] {
        figures.insert(format!("{machine},footprint,bytes at {name}"), of(name) as f64);
    }
    Ok(())
}
