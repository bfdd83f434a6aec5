//! The C tests as firmware, in the emulated Cortex-M0, M3 and M4.
//!
//! - The sources are the host's, unchanged; newlib serves the program, Knoll the tests.
//! - Each run has the harness's watch on Knoll's writes, and measures the deepest stack.
//! - The traces come by semihosting from the folder that the harness opens for the firmware. Which
//!   is the smallest heap for each trace does not depend on the processor but on the word size, so
//!   it is looked for on the M4 only, where the layouts are those of all 32-bit targets.

use super::{common, program, work_off, Job, Outcome, Suite, COMMON, LIMIT, REPLAY};
use crate::util::{announce, build_static, capture, emu_binary, note, work_dir, Tally};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// A processor: its name for `emu/firmware/build.sh` and the harness, its Rust target.
struct Processor {
    name: &'static str,
    title: &'static str,
    target: &'static str,
}

const PROCESSORS: &[Processor] = &[
    Processor { name: "m0", title: "Cortex-M0", target: "thumbv6m-none-eabi" },
    Processor { name: "m3", title: "Cortex-M3", target: "thumbv7m-none-eabi" },
    Processor { name: "m4", title: "Cortex-M4", target: "thumbv7em-none-eabi" },
];

/// Where the smallest heaps are looked for.
const SMALLEST_ON: &str = "m4";

/// More instructions than any program needs: one that is caught in a loop ends here.
const BUDGET: &str = "20G";
/// The flags that the firmware's own sources bear as well.
const FLAGS: [&str; 6] = ["-Iinclude", "-Ic_tests", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// What we read of the harness's figures.
#[derive(Deserialize)]
struct Figures {
    stack: Option<Stack>,
}

#[derive(Deserialize)]
struct Stack {
    worst: u64,
}

/// Builds and runs every program for every processor.
pub fn run_all(suite: &Suite, tally: &mut Tally) -> Result<Vec<Outcome>> {
    announce(format!("C tests as firmware: {} programs, {} processors", suite.programs.len(), PROCESSORS.len()));
    let begin = Instant::now();
    let harness = emu_binary()?;
    let mut jobs = Vec::new();
    for processor in PROCESSORS {
        let archive = build_static(Some(processor.target), &[])?;
        let directory = Suite::directory(processor.title)?;
        let objects = work_dir(&format!("c-tests/objects/{}", processor.name))?;
        capture(&mut common_objects(processor, &objects))?;
        for name in &suite.programs {
            let build = build(processor, name, &objects, &archive, &directory);
            let run = run(processor, name, suite, &harness, &directory);
            let (log, json) = (directory.join(format!("{name}.log")), directory.join(format!("{name}.json")));
            jobs.push(Job {
                program: name.clone(),
                configuration: processor.title,
                work: Box::new(move || build_and_run(build, run, &log, &json)),
            });
        }
    }
    let outcomes = work_off(jobs, tally);
    note(format!("{:.1} s in the emulator", begin.elapsed().as_secs_f64()));
    Ok(outcomes)
}

/// Compiles what the programs share, once for a processor.
fn common_objects(processor: &Processor, objects: &Path) -> Command {
    let mut command = Command::new("emu/firmware/build.sh");
    command.arg(processor.name).arg(objects).args(COMMON).arg("--").args(FLAGS);
    command
}

fn build(processor: &Processor, name: &str, objects: &Path, archive: &Path, directory: &Path) -> Command {
    let mut command = Command::new("emu/firmware/build.sh");
    // Two jobs at a time build already.
    command.env("KNOLL_FIRMWARE_JOBS", "1");
    command.arg(processor.name).arg(directory.join(format!("{name}.elf"))).arg(format!("c_tests/{name}.c"));
    for common in common(name).iter().copied().chain(["startup.c", "retarget.c"]) {
        let object = Path::new(common).with_extension("o");
        command.arg(objects.join(object.file_name().unwrap_or_default()));
    }
    command.arg(archive).arg("--").args(FLAGS);
    command
}

fn run(processor: &Processor, name: &str, suite: &Suite, harness: &Path, directory: &Path) -> Command {
    let mut command = Command::new(harness);
    command.arg("run").arg(directory.join(format!("{name}.elf")));
    command.args(["--cpu", processor.name, "--budget", BUDGET, "--watch", "--stack", "--quiet"]);
    command.arg("--json").arg(directory.join(format!("{name}.json")));
    if name == REPLAY {
        let mut arguments: Vec<PathBuf> = Vec::new();
        if processor.name == SMALLEST_ON {
            arguments.push("--smallest".into());
        }
        arguments.extend(suite.traces.iter().filter_map(|path| path.file_name()).map(PathBuf::from));
        if let Some(folder) = suite.traces.first().and_then(|path| path.parent()) {
            command.arg("--dir").arg(folder);
        }
        for argument in arguments {
            command.arg("--arg").arg(argument);
        }
    }
    command
}

fn build_and_run(
    mut build: Command,
    mut run: Command,
    log: &Path,
    json: &Path,
) -> (Result<program::Ended>, Option<u64>) {
    let ended = capture(&mut build).and_then(|_| program::run(&mut run, log, LIMIT));
    let figures = ended.as_ref().ok().and_then(|_| figures(json).ok());
    let stack = figures.and_then(|figures| figures.stack).map(|stack| stack.worst);
    (ended, stack)
}

fn figures(json: &Path) -> Result<Figures> {
    let text = std::fs::read_to_string(json).with_context(|| format!("cannot read {}", json.display()))?;
    serde_json::from_str(&text).with_context(|| format!("in {}", json.display()))
}
