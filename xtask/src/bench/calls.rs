//! Instructions of single calls of Knoll in the emulator: a program of marks (`emu/firmware/mark.h`), each mark's calls
//! counted exactly.

use super::native::{gcc, link_knoll};
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

/// What the name of a case ends with that has no call of its own.
pub const IN_LINE: &str = " inline";

/// Instructions of a call, or of what stands between two marks.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Count {
    pub mean: f64,
    pub worst: u64,
}

/// What a run counted.
#[derive(Deserialize)]
pub struct Report {
    pub marks: BTreeMap<String, Count>,
    /// What the program reported of itself.
    #[serde(default)]
    pub results: BTreeMap<String, i64>,
}

/// Builds a program of marks for the host.
pub fn build_for_host(source: &Path, program: &Path) -> Result<()> {
    let mut command = gcc(&[source], program);
    link_knoll(command.arg("-Iemu/firmware"))?;
    util::run(&mut command)
}

/// Builds a C program as firmware and runs it; `directory` is where it is built.
pub fn emulated(source: &Path, directory: &Path, machine: &str, target: &str) -> Result<Report> {
    let emulator = util::emu_binary()?;
    let program = directory.join(format!("calls.{machine}.elf"));
    let json = program.with_extension("json");
    let mut build = util::program("emu/firmware/build.sh", [machine]);
    build.arg(&program).arg(source).arg(util::build_static(Some(target), &[])?);
    util::run(build.args(["--", "-Iinclude", "-Wall", "-Wextra", "-Werror"]))?;
    let mut run = util::program(emulator, ["run"]);
    util::capture(run.arg(&program).args(["--quiet", "--cpu", machine, "--json"]).arg(&json))?;
    let report: Report = serde_json::from_slice(&std::fs::read(&json)?).context("the emulator's report")?;
    if report.marks.is_empty() {
        bail!("the emulator counted no call");
    }
    Ok(report)
}
