//! Running the benchmark's program in the emulator and reading what it found.

use super::contenders::Machine;
use crate::util;
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Functions that copy or fill memory: their instructions are counted apart, because they measure the C library.
const COPYING: &str = "memcpy,memmove,memset,__aeabi_memcpy,__aeabi_memcpy4,__aeabi_memcpy8,__aeabi_memmove,\
__aeabi_memmove4,__aeabi_memmove8,__aeabi_memset,__aeabi_memset4,__aeabi_memset8,__aeabi_memclr,__aeabi_memclr4,\
__aeabi_memclr8";

/// Instructions of the calls of one function in one workload, copying left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// RAM budget in bytes.
    pub ram: u32,
    /// `a`, `lifo`, `trace:lua-json`, …
    pub workload: String,
    /// `malloc`, `free` or `realloc`.
    pub call: String,
    pub calls: u64,
    pub mean: f64,
    pub p99: u64,
    pub worst: u64,
    /// Instructions of copying a call, mean.
    pub copying: f64,
    /// How many of the workload's requests were refused.
    pub refused: u64,
    /// Of the workload's reallocs, the percentage that moved the block.
    pub moved: f64,
}

/// What a run of the driver gave: its lines, and the counts of its calls.
pub struct Outcome {
    pub lines: Vec<Vec<String>>,
    pub counts: Vec<Count>,
}

/// Runs the driver with these commands.
pub fn run(emulator: &Path, program: &Path, machine: Machine, commands: &[String]) -> Result<Outcome> {
    let json = program.with_extension("json");
    let mut command = util::program(emulator, ["run"]);
    command.arg(program).args(["--cpu", machine.name(), "--exclude", COPYING, "--json"]).arg(&json);
    for word in commands {
        command.args(["--arg", word]);
    }
    let text = util::capture(&mut command)?;
    let report: Report = serde_json::from_slice(&std::fs::read(&json)?).context("the emulator's report")?;
    let mut outcome = Outcome { lines: lines(&text), counts: report.counts()? };
    for words in &outcome.lines {
        // count RAM WORKLOAD calls N failures N resizes N moved N
        let [command, ram, workload, _, _, _, refused, _, resizes, _, moved] = &words[..] else { continue };
        if command != "count" {
            continue;
        }
        let (ram, resizes, moved): (u32, f64, f64) = (ram.parse()?, resizes.parse()?, moved.parse()?);
        for one in outcome.counts.iter_mut().filter(|one| one.ram == ram && one.workload == *workload) {
            one.refused = refused.parse()?;
            one.moved = 100.0 * moved / resizes.max(1.0);
        }
    }
    Ok(outcome)
}

/// The driver's lines as words.
pub fn lines(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split_whitespace().map(String::from).collect()).collect()
}

/// The part of the emulator's JSON that is read.
#[derive(Deserialize)]
struct Report {
    marks: Vec<Mark>,
}

#[derive(Deserialize)]
struct Mark {
    name: String,
    count: u64,
    mean: f64,
    p99: u64,
    worst: u64,
    excluded: u64,
    abandoned: u64,
}

impl Report {
    fn counts(self) -> Result<Vec<Count>> {
        let mut counts = Vec::new();
        for mark in self.marks {
            let words: Vec<&str> = mark.name.split(' ').collect();
            let [ram, workload, call] = words[..] else { bail!("a mark named {:?}", mark.name) };
            if mark.abandoned > 0 {
                bail!("{} calls of {} did not return", mark.abandoned, mark.name);
            }
            counts.push(Count {
                ram: ram.parse()?,
                workload: workload.into(),
                call: call.into(),
                calls: mark.count,
                mean: mark.mean,
                p99: mark.p99,
                worst: mark.worst,
                copying: mark.excluded as f64 / mark.count.max(1) as f64,
                refused: 0,
                moved: 0.0,
            });
        }
        Ok(counts)
    }
}
