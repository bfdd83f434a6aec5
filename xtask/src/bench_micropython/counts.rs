//! `cargo xtask counts-micropython`: what Knoll's heap costs MicroPython, against `benches/micropython/counts.csv`.
//!
//! - Allocations of each size on heaps in four states, collections of several live sets, three of MicroPython's
//!   benchmarks; Knoll's firmware alone, of 140 KB.
//! - Exact and repeatable. Fails when a figure has become more than 2 % worse than in the table, or when the table's rows
//!   are not those that were measured. `--update` writes the table.

use super::emulate::{self, Heap};
use super::programs::{self, State, LIVE_SETS, SIZES};
use super::source;
use super::targets::{allocation, collection};
use crate::bench::gate::{self, Figures};
use crate::util;
use anyhow::{Context, Result};

pub use crate::bench::gate::Args;

/// Benchmarks that allocate much, little by little, and large.
const PERF: [&str; 3] = ["bm_chaos", "bm_pidigits", "core_str"];

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    gate::hold(&measure()?, &source("counts.csv"), &args, "cargo xtask counts-micropython")
}

fn measure() -> Result<Figures> {
    let mut figures = Figures::new();
    let firmware = emulate::firmware(Heap::Knoll, &util::emu_binary()?, emulate::USUAL_HEAP)?;
    util::announce("Counting MicroPython's allocations and collections on Knoll in the emulator");
    for state in State::ALL {
        let marks = programs::allocate_on(&firmware, state)?;
        for size in SIZES {
            let count = allocation(Some(&marks), size).context("an allocation that was not counted")?;
            figures.insert(format!("m3,gc_alloc {size} bytes,{}", state.name()), count);
        }
    }
    let marks = programs::collect_on(&firmware, "collect.py")?;
    for (mark, name) in LIVE_SETS {
        let count = collection(Some(&marks), mark).context("a collection that was not counted")?;
        figures.insert(format!("m3,gc_collect,{}", name.replace(',', "")), count);
    }
    for name in PERF {
        let perf = programs::perf_on(&firmware, name)?.context("a benchmark that does not run")?;
        figures.insert(format!("m3,{name},all"), perf.stretch.instructions as f64);
        figures.insert(format!("m3,{name},collector"), perf.stretch.collector as f64);
    }
    let (code, _) = emulate::code(Heap::Knoll)?;
    figures.insert("m3,code,bytes".into(), code as f64);
    Ok(figures)
}
