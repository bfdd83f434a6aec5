//! Running the program, on the host or in the emulator, and reading what it leaves behind.

use super::log::{read_snapshot, Log, Walked};
use crate::util;
use anyhow::{bail, Context, Result};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The program's exit status when its heap is too small for the script.
pub const NO_MEMORY: i32 = 3;

/// Instructions after which the emulator gives up: far more than any of these runs needs.
const BUDGET: &str = "20000000000";

/// Where a program runs.
pub enum Place {
    Host(PathBuf),
    Firmware { emulator: PathBuf, elf: PathBuf },
}

/// A program that has been built: Lua over one allocator.
pub struct Program {
    /// The allocator's name.
    pub name: &'static str,
    pub place: Place,
    /// It runs here: the script lies here, and what it writes goes to `out` below (all that the emulator allows).
    pub folder: PathBuf,
    /// Bytes of heap it is given unless the request says otherwise.
    pub heap: usize,
}

/// What is wanted of one run.
#[derive(Clone, Copy, Default)]
pub struct Request {
    /// Bytes of heap; `None`: the program's own.
    pub heap: Option<usize>,
    /// Count the instructions of each call of the allocator (firmware).
    pub measure: bool,
    /// Fail when Knoll writes outside its heap, its statics and the stack (firmware with Knoll).
    pub watch: bool,
    /// Log every call of the allocator.
    pub log: bool,
    /// Write down the heap's blocks after this call.
    pub snapshot: Option<u32>,
}

/// What the program says of its run (`examples/lua/main.c`). Sizes are bytes.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    pub heap: u64,
    pub pointer_bits: u32,
    pub lua: String,
    pub events: u32,
    pub mallocs: u32,
    pub reallocs: u32,
    pub frees: u32,
    pub refused: u32,
    pub peak: Peak,
    pub end: End,
    pub closed: Closed,
    pub snapshot: Snapshot,
    pub complaint: String,
}

/// When most bytes were live.
#[derive(Clone, Debug, Deserialize)]
pub struct Peak {
    pub live: u64,
    pub blocks: u32,
    pub event: u32,
    /// As the allocator counts them, rounding included; 0: it doesn't.
    pub used: u64,
}

/// When the script had ended.
#[derive(Clone, Debug, Deserialize)]
pub struct End {
    pub live: u64,
    pub blocks: u32,
    pub used: u64,
    pub free: u64,
    pub largest: u64,
}

/// After Lua was closed.
#[derive(Clone, Debug, Deserialize)]
pub struct Closed {
    pub live: u64,
    pub blocks: u32,
}

/// At the call that the request named.
#[derive(Clone, Debug, Deserialize)]
pub struct Snapshot {
    pub walked: bool,
    pub largest: u64,
}

/// Instructions of many calls.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Counts {
    pub count: u64,
    pub mean: f64,
    pub p99: u64,
    pub worst: u64,
    pub total: u64,
}

/// What the emulator counted.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// From reset to the end of the program, without its checks of the heap.
    pub instructions: u64,
    pub malloc: Counts,
    pub realloc: Counts,
    pub free: Counts,
}

/// How a run ended.
pub struct Outcome {
    pub status: i32,
    pub output: Vec<u8>,
    pub errors: String,
    /// Absent when the program could not get so far.
    pub report: Option<Report>,
    pub measured: Option<Measured>,
}

impl Program {
    /// "Knoll on this machine", "newlib on the Cortex-M4".
    pub fn title(&self) -> String {
        match self.place {
            Place::Host(_) => format!("{} on this machine", self.name),
            Place::Firmware { .. } => format!("{} on the Cortex-M4", self.name),
        }
    }

    /// Runs the script once. An exit status other than 0 is no error here.
    pub fn execute(&self, request: Request) -> Result<Outcome> {
        let mut arguments = vec!["--heap".to_owned(), request.heap.unwrap_or(self.heap).to_string()];
        arguments.extend(["--report", "out/report.json"].map(str::to_owned));
        if request.log {
            arguments.extend(["--log", "out/events.log"].map(str::to_owned));
        }
        if let Some(event) = request.snapshot {
            arguments.extend(["--snapshot".to_owned(), event.to_string(), "out/blocks.snapshot".to_owned()]);
        }
        arguments.push("work.lua".to_owned());
        for file in ["out/report.json", "out/emulator.json"] {
            let _ = std::fs::remove_file(self.folder.join(file));
        }
        let mut command = match &self.place {
            Place::Host(program) => {
                let mut command = Command::new(program);
                command.args(&arguments);
                command
            }
            Place::Firmware { emulator, elf } => {
                let mut command = Command::new(emulator);
                command
                    .arg("run")
                    .arg(elf)
                    .args(["--quiet", "--cpu", "m4", "--budget", BUDGET, "--dir"])
                    .arg(&self.folder);
                command.arg("--json").arg(self.folder.join("out/emulator.json"));
                if request.watch {
                    command.arg("--watch");
                }
                for argument in &arguments {
                    command.arg(format!("--arg={argument}"));
                }
                command
            }
        };
        command.current_dir(&self.folder).stdin(Stdio::null());
        let done = command.output().with_context(|| format!("cannot run {}", util::display(&command)))?;
        let Some(status) = done.status.code() else {
            bail!("{}: {}\n{}", self.title(), done.status, String::from_utf8_lossy(&done.stderr));
        };
        Ok(Outcome {
            status,
            output: done.stdout,
            errors: String::from_utf8_lossy(&done.stderr).into_owned(),
            report: self.report()?,
            measured: if request.measure && status == 0 { self.measured()? } else { None },
        })
    }

    /// As [`Program::execute`], and an error unless the script ran to its end, the heap is intact, and
    /// nothing stayed behind.
    pub fn succeed(&self, request: Request) -> Result<(Outcome, Report)> {
        let outcome = self.execute(request)?;
        if outcome.status != 0 {
            bail!("{}: exit status {}\n{}", self.title(), outcome.status, outcome.errors.trim_end());
        }
        let report = outcome.report.clone().with_context(|| format!("{} left no report", self.title()))?;
        if !report.complaint.is_empty() {
            bail!("{}: {}", self.title(), report.complaint);
        }
        if report.closed.live != 0 || report.closed.blocks != 0 {
            bail!("{}: {} blocks still live after Lua was closed", self.title(), report.closed.blocks);
        }
        Ok((outcome, report))
    }

    /// The log of the last run that was to write one.
    pub fn log(&self) -> Result<Log> {
        Log::read(&self.folder.join("out/events.log"))
    }

    /// The snapshot of the last run that was to take one.
    pub fn snapshot(&self) -> Result<Vec<Walked>> {
        read_snapshot(&self.folder.join("out/blocks.snapshot"))
    }

    fn report(&self) -> Result<Option<Report>> {
        let path = self.folder.join("out/report.json");
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        serde_json::from_str(&text).map(Some).with_context(|| path.display().to_string())
    }

    fn measured(&self) -> Result<Option<Measured>> {
        let path = self.folder.join("out/emulator.json");
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        let json: serde_json::Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        Ok(Some(Measured {
            instructions: json["results"]["script"].as_u64().context("emulator.json: no result `script`")?,
            malloc: find_counts(&json, "malloc")?,
            realloc: find_counts(&json, "realloc")?,
            free: find_counts(&json, "free")?,
        }))
    }
}

/// The instructions of the calls that the program marked with a name.
fn find_counts(json: &serde_json::Value, name: &str) -> Result<Counts> {
    serde_json::from_value(json["marks"][name].clone()).with_context(|| format!("emulator.json: mark {name}"))
}
