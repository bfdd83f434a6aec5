//! Running the benchmark's program in the emulator and reading what it found.

use super::contenders::Machine;
use crate::util;
use anyhow::{bail, Context, Result};
use object::{Object, ObjectSymbol};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Instructions of the calls of one function in one workload, copying left out.
#[derive(Clone, Debug, PartialEq)]
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

/// Runs the driver with these commands, which count nothing, and returns its lines.
pub fn lines_of(emulator: &Path, program: &Path, machine: Machine, commands: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = util::program(emulator, ["run"]);
    command.arg(program).args(["--quiet", "--cpu", machine.name()]);
    for word in commands {
        command.args(["--arg", word]);
    }
    Ok(lines(&util::capture(&mut command)?))
}

/// Runs the driver with these commands, and counts the calls that it marks.
pub fn count(emulator: &Path, program: &Path, machine: Machine, commands: &[String]) -> Result<Vec<Count>> {
    let json = program.with_extension("json");
    let copying = copying_functions(program)?.join(",");
    let mut command = util::program(emulator, ["run"]);
    command.arg(program).args(["--quiet", "--cpu", machine.name(), "--exclude", &copying, "--json"]).arg(&json);
    for word in commands {
        command.args(["--arg", word]);
    }
    let text = util::capture(&mut command)?;
    let report: Report = serde_json::from_slice(&std::fs::read(&json)?).context("the emulator's report")?;
    let mut found = report.counts()?;
    // In the order in which the workloads ran, with what the driver says of each.
    let mut counts = Vec::new();
    for words in &lines(&text) {
        // count RAM WORKLOAD calls N failures N resizes N moved N
        let [command, ram, workload, _, _, _, refused, _, resizes, _, moved] = &words[..] else { continue };
        if command != "count" {
            continue;
        }
        let (ram, resizes, moved): (u32, f64, f64) = (ram.parse()?, resizes.parse()?, moved.parse()?);
        for call in ["malloc", "free", "realloc"] {
            let mine = |one: &Count| one.ram == ram && one.workload == *workload && one.call == call;
            if let Some(at) = found.iter().position(mine) {
                let mut one = found.swap_remove(at);
                one.refused = refused.parse()?;
                one.moved = 100.0 * moved / resizes.max(1.0);
                counts.push(one);
            }
        }
    }
    Ok(counts)
}

/// Whether a function copies or fills memory: newlib's, the compiler's, or those of Rust's `compiler_builtins`.
pub fn is_copying(function: &str) -> bool {
    let plain =
        ["memcpy", "memmove", "memset", "__aeabi_memcpy", "__aeabi_memmove", "__aeabi_memset", "__aeabi_memclr"];
    let rust = ["3mem6memcpy", "3mem7memmove", "3mem6memset"];
    plain.iter().any(|name| function.trim_end_matches(['4', '8']) == *name)
        || rust.iter().any(|name| function.contains(name))
}

/// Those that the program has. Their instructions are counted apart: they would measure the C library.
fn copying_functions(program: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(program)?;
    let elf = object::File::parse(&*bytes)?;
    let text = elf.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text);
    let mut names: Vec<String> =
        text.filter_map(|symbol| symbol.name().ok()).filter(|name| is_copying(name)).map(String::from).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The driver's lines as words.
pub fn lines(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split_whitespace().map(String::from).collect()).collect()
}

/// The part of the emulator's JSON that is read.
#[derive(Deserialize)]
struct Report {
    /// By name.
    marks: BTreeMap<String, Mark>,
}

#[derive(Deserialize)]
struct Mark {
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
        for (name, mark) in self.marks.into_iter().filter(|(_, mark)| mark.count + mark.abandoned > 0) {
            let words: Vec<&str> = name.split(' ').collect();
            let [ram, workload, call] = words[..] else { bail!("a mark named {name:?}") };
            if mark.abandoned > 0 {
                bail!("{} calls of {name} did not return", mark.abandoned);
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
