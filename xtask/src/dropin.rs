//! `cargo xtask dropin`: real programs on libknoll.so, each next to the same on libc's malloc.
//!
//! - Each program of [`list`] does its job twice in a fresh directory of the same name, once on libc's malloc and once on
//!   Knoll. Exit status, standard output and standard error must be equal, and the job must have printed something.
//! - That Knoll was used is proved for each: a small library that is preloaded too writes down whose `malloc` each
//!   process finds and, at its end, that libc's own holds no byte (`fixtures/dropin_census.c`).
//! - The table at the end shows the peak of resident memory, of the largest process of each job, and the processor's
//!   time, of both runs; they are information. Where [`list`] sets a target for memory it is said whether it is met.
//! - A program that this machine lacks is named and counts as a failure. So does one whose `malloc` is its own.
//! - `cargo xtask preload`, a step of `make test`, runs those that the other tests need anyway.
//!
//! ```text
//!   time ─▶ timeout ─▶ env LD_PRELOAD=CENSUS:MALLOC ─▶ sh -e -c JOB ─▶ programs ─▶ output   ─▶ all the same?
//!                                                                            ├──▶ census   ─▶ MALLOC for all?
//!                                                                            └──▶ peak, time ─▶ table
//! ```

mod debian;
mod list;
mod runner;

use crate::util::{announce, new_table, note, Tally};
use anyhow::Result;
use comfy_table::CellAlignment;
pub use list::{Program, PROGRAMS};
pub use runner::{Pair, Runner};
use std::path::PathBuf;
use std::time::Instant;

/// Options of `cargo xtask dropin`.
#[derive(clap::Args)]
pub struct Args {
    /// Only the program of this name, or those whose names contain it
    #[arg(long)]
    only: Option<String>,
    /// Name the programs and their jobs, run none
    #[arg(long)]
    list: bool,
    /// Run each that often on both; the table shows the least peak and time
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    rounds: u32,
    /// Another malloc's shared library instead of Knoll's, to compare with
    #[arg(long, value_name = "LIBRARY")]
    malloc: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let programs = chosen(args.only.as_deref());
    if args.list {
        for program in &programs {
            println!("{:<18} {}", program.name, program.job);
        }
        return Ok(());
    }
    anyhow::ensure!(!programs.is_empty(), "no program's name contains that; --list names them");
    announce(format!("{} real programs on libknoll.so, each next to the same on libc's malloc", programs.len()));
    let runner = Runner::new("dropin", args.malloc.as_deref())?;
    let mut tally = Tally::default();
    let mut measured = Vec::new();
    for program in programs {
        if let Some(pair) = record(program, &runner, args.rounds, &mut tally) {
            measured.push((program, pair));
        }
    }
    tabulate(&measured);
    tally.finish()
}

/// All programs, or the one of a name, or all whose names contain it.
fn chosen(only: Option<&str>) -> Vec<&'static Program> {
    let Some(part) = only else { return PROGRAMS.iter().collect() };
    match PROGRAMS.iter().find(|program| program.name == part) {
        Some(program) => vec![program],
        None => PROGRAMS.iter().filter(|program| program.name.contains(part)).collect(),
    }
}

/// Runs a program on both and notes how it went; what was measured, if it passed.
pub fn record(program: &Program, runner: &Runner, rounds: u32, tally: &mut Tally) -> Option<Pair> {
    let begin = Instant::now();
    let outcome = runner.compare(program, rounds);
    let took = begin.elapsed().as_secs_f32();
    let name = format!("{}: {}", program.name, program.job);
    match outcome {
        Ok(pair) => {
            tally.record(format!("{name} ({took:.1} s, {} processes on Knoll)", pair.processes), Ok(()));
            Some(pair)
        }
        Err(error) => {
            tally.record(name, Err(error));
            note(format!("again, alone: cargo xtask dropin --only {}", program.name));
            None
        }
    }
}

/// What was measured, as a table, and how the targets for memory are met.
fn tabulate(measured: &[(&Program, Pair)]) {
    let header = ["program", "peak MB, libc", "Knoll", "ratio", "CPU s, libc", "Knoll", "ratio", "what it did"];
    let mut table = new_table(header);
    if let Some(column) = table.column_mut(7) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    let megabytes = |kilobytes: u64| format!("{:.1}", kilobytes as f64 / 1024.0);
    let ratio = |knoll: f64, libc: f64| if libc > 0.0 { format!("{:.2}", knoll / libc) } else { "-".to_owned() };
    for (program, pair) in measured {
        table.add_row([
            program.name.to_owned(),
            megabytes(pair.libc.peak_kb),
            megabytes(pair.knoll.peak_kb),
            format!("{:.2}", pair.peak_ratio()),
            format!("{:.2}", pair.libc.cpu),
            format!("{:.2}", pair.knoll.cpu),
            ratio(pair.knoll.cpu, pair.libc.cpu),
            program.job.to_owned(),
        ]);
    }
    println!("\n{table}\n");
    if measured.len() > 1 {
        let mean = |ratios: Vec<f64>| (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        let peaks = mean(measured.iter().map(|(_, pair)| pair.peak_ratio()).collect());
        let timed = measured.iter().filter(|(_, pair)| pair.libc.cpu > 0.2 && pair.knoll.cpu > 0.0);
        let times: Vec<f64> = timed.map(|(_, pair)| pair.knoll.cpu / pair.libc.cpu).collect();
        println!("Geometric means of the ratios: peak {peaks:.3}, CPU time {:.3}", mean(times));
    }
    for (program, pair) in measured.iter().filter(|(program, _)| program.target) {
        let ratio = pair.peak_ratio();
        let verdict = if ratio <= 1.0 { "met" } else { "MISSED" };
        println!("Target: peak of {} at most libc's: {ratio:.3}, {verdict}", program.name);
    }
}
