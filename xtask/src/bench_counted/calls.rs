//! Single calls of the counted part (`benches/counted/calls.c`): in the emulator each by itself, on the host by
//! callgrind.

use super::measure;
use super::peers;
use crate::size::Code;
use crate::util;
use anyhow::{bail, Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A processor in the emulator: its name there, its long name, its Rust target.
pub const MACHINES: [(&str, &str, &str); 3] = [
    ("m0", "Cortex-M0", "thumbv6m-none-eabi"),
    ("m3", "Cortex-M3", "thumbv7m-none-eabi"),
    ("m4", "Cortex-M4", "thumbv7em-none-eabi"),
];

/// What a firmware needs to count, and to collect.
const COUNTING: &[&str] = &["GC_registerType", "GC_new", "GC_ref", "GC_unref", "GC_assign", "GC_move"];
const COLLECTING: &[&str] = &["GC_runOrc", "GC_partialCollect", "GC_step", "GC_configure"];
const MANUAL: &[&str] = &["kn_heap_create", "kn_heap_malloc", "kn_heap_free", "kn_heap_realloc"];

/// Instructions of a call, or of what stands between two marks.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Count {
    pub mean: f64,
    pub worst: u64,
}

#[derive(Deserialize)]
struct Report {
    marks: BTreeMap<String, Count>,
}

/// The case that does nothing: what a process costs.
const NOTHING: &str = "nothing";

/// Every case on one machine.
pub fn emulated(machine: &str, target: &str) -> Result<BTreeMap<String, Count>> {
    let emulator = util::emu_binary()?;
    let directory = util::work_dir("bench-counted")?;
    let program = directory.join(format!("calls.{machine}.elf"));
    let json = program.with_extension("json");
    let mut build = util::program("emu/firmware/build.sh", [machine]);
    build.arg(&program).arg(peers::sources().join("calls.c")).arg(util::build_static(Some(target), &[])?);
    util::run(build.args(["--", "-Iinclude", "-Wall", "-Wextra", "-Werror"]))?;
    let mut run = util::program(emulator, ["run"]);
    util::capture(run.arg(&program).args(["--quiet", "--cpu", machine, "--json"]).arg(&json))?;
    let report: Report = serde_json::from_slice(&std::fs::read(&json)?).context("the emulator's report")?;
    if report.marks.is_empty() {
        bail!("the emulator counted no call");
    }
    Ok(report.marks)
}

/// Each case on the host: instructions of an iteration in the library, what prepares it included.
pub fn on_the_host(names: impl IntoIterator<Item = String>) -> Result<BTreeMap<String, f64>> {
    let program = util::work_dir("bench-counted")?.join("calls");
    build_for_host(&program)?;
    let run = |name: &str, count: u32| measure::count_in_library(&program, &[name, &count.to_string()]);
    let idle = run(NOTHING, 0)?;
    let mut found = BTreeMap::new();
    for name in names {
        let count = if name.contains("1000") { 10 } else { 2000 };
        let instructions = run(&name, count)?.saturating_sub(idle);
        found.insert(name, instructions as f64 / f64::from(count));
    }
    Ok(found)
}

fn build_for_host(program: &Path) -> Result<()> {
    let mut command = peers::gcc(&["calls.c"], program);
    command.arg("-Iemu/firmware");
    peers::link_knoll(&mut command)?;
    util::run(&mut command)
}

/// Code and constants that the counted part adds to the manual heap, in bytes, built for size: counting alone, and with
/// the collector.
pub fn code_size(target: &str) -> Result<(u64, u64)> {
    let code = Code::build(target, &[], true)?;
    let own = |sets: &[&[&str]]| code.closure(&sets.concat()).own;
    let manual = own(&[MANUAL]);
    Ok((own(&[MANUAL, COUNTING]) - manual, own(&[MANUAL, COUNTING, COLLECTING]) - manual))
}
