//! `cargo xtask occupancy`: how much payload Knoll's layouts hold, in seconds.
//!
//! Runs on the development machine as an i686 program (see [`contenders`]), where the heap is laid out exactly as on
//! a Cortex-M. For each layout: what `make bench` reports of occupancy, the shifting size mixes, and the smallest
//! heap of each trace over its peak live bytes.

use super::contenders::{self, Contender, Contender::*, Machine};
use super::results::Fit;
use super::{emulate, report, traces, FIT_COMMANDS};
use crate::util;
use anyhow::Result;
use std::path::PathBuf;

/// How much payload the layouts hold: occupancy, shifting mixes, smallest heap of each trace; natively, in seconds
#[derive(clap::Args)]
pub struct Args {
    /// Only these allocators; default: Knoll's layouts
    #[arg(value_enum)]
    contenders: Vec<Contender>,
    /// Knoll's layouts and the rivals that are Rust crates
    #[arg(long, conflicts_with = "contenders")]
    all: bool,
    /// Another directory of *.trace.gz
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Only the traces
    #[arg(long)]
    traces_only: bool,
}

pub fn run(args: Args) -> Result<()> {
    let directory = args.traces.unwrap_or_else(|| util::root().join("traces"));
    let (_, assembly) = traces::convert(&directory, &util::work_dir("bench/traces")?)?;
    let contenders = match (args.contenders.is_empty(), args.all) {
        (false, _) => args.contenders,
        (_, true) => vec![KnollMap, KnollCompact, KnollWide, Rlsf, Talc, Llff],
        _ => Contender::KNOLL.to_vec(),
    };
    util::announce("Building the benchmark's program for i686");
    let mut columns = Vec::new();
    for contender in &contenders {
        columns.push(contenders::program(*contender, Machine::I686, &assembly)?);
    }
    util::announce("Measuring (nothing here depends on speed)");
    let mut fits = Vec::new();
    for (contender, program) in contenders.iter().zip(&columns) {
        util::note(contender.name());
        let mut commands = vec!["smallest", "all"];
        if !args.traces_only {
            commands = FIT_COMMANDS.to_vec();
        }
        let mut fit = Fit::default();
        fit.read(&emulate::lines(&util::capture(&mut util::program(program, commands))?))?;
        fits.push((*contender, fit));
    }
    for table in report::fit_tables(&fits) {
        println!("\n{}\n{}", table.title, table.terminal());
    }
    Ok(())
}
