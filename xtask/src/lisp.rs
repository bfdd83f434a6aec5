//! `cargo xtask lisp`: the Lisp of `examples/lisp`, every object of which is a counted cell, on this machine
//! and as firmware on an emulated Cortex-M4 with 256 KB of RAM.
//!
//! - What a script prints must be what stands beside it, byte for byte, on both machines, and in every mode:
//!   collections at once, in slices, lazy destruction, and the torture mode.
//! - Each run ends with no cell left, all counts and records verified: the program says so itself. In slices no
//!   call of the work script may have visited more cells than it was told.
//! - `--check` runs every script in every mode, also under the sanitizers and Valgrind, and counts the runs.
//! - Instructions are counted by the emulator, exactly: two runs give the same figures.
//!
//! ```text
//!   examples/lisp/*.c ──▶ host, Cortex-M4 ──▶ output  ──▶ the same as *.expected?
//!   examples/lisp/*.lisp ──────┘         └──▶ report  ──▶ the table
//! ```

use crate::run::{grouped, same_output};
use crate::util::{self, announce, emu_binary, note, program, root, work_dir, Library, Tally};
use anyhow::{bail, ensure, Context, Result};
use console::style;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options of `cargo xtask lisp`.
#[derive(clap::Args)]
pub struct Args {
    /// Every script in every mode, here, in the emulator, sanitized and under Valgrind
    #[arg(long)]
    check: bool,
    /// Run this script here and in the emulator, and compare
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    if args.check {
        return check();
    }
    match &args.script {
        Some(script) => show(&std::env::current_dir()?.join(script), None),
        None => demonstrate(),
    }
}

/// The work script here and in the emulator, with a table of both: for `make run`, too.
pub fn demonstrate() -> Result<()> {
    show(&example(WORK), Some(&expected(WORK)?))
}

// ---------------------------------------------------------------- what is run

const TARGET: &str = "thumbv7em-none-eabi";
/// RAM of the firmware, of which the stack of C and the heap are parts.
const RAM: usize = 256 * 1024;
const STACK: usize = 24 * 1024;
/// The heap in the firmware; a 64-bit host has objects twice as large.
const FIRMWARE_HEAP: usize = 160 * 1024;
const HOST_HEAP: usize = 2 * FIRMWARE_HEAP;
/// More instructions than any script needs: one that is caught in a loop ends here.
const BUDGET: &str = "20G";

/// The configuration in which memory is made short.
const SANITIZED: &str = "ASan+UBSan";
/// The program's exit status when it has not enough memory to begin.
const NO_MEMORY: i32 = 3;

/// The scripts of `examples/lisp`: each has its output beside it.
const WORK: &str = "work";
const ERRORS: &str = "errors";
const TORTURE: &str = "torture";

/// How the collector is told to work.
struct Mode {
    name: &'static str,
    arguments: &'static [&'static str],
    /// The most cells that a call may visit.
    slice: Option<u64>,
    /// What runs in this mode.
    scripts: &'static [&'static str],
}

const MODES: &[Mode] = &[
    Mode { name: "at once", arguments: &[], slice: None, scripts: &[WORK, ERRORS, TORTURE] },
    Mode { name: "slices of 100", arguments: &["--slice", "100"], slice: Some(100), scripts: &[WORK, ERRORS, TORTURE] },
    Mode { name: "lazy, 8 a time", arguments: &["--lazy", "8"], slice: None, scripts: &[WORK, ERRORS, TORTURE] },
    Mode {
        name: "slices of 50, lazy",
        arguments: &["--slice", "50", "--lazy", "3"],
        slice: Some(50),
        scripts: &[WORK, ERRORS],
    },
    Mode { name: "torture", arguments: &["--torture"], slice: None, scripts: &[TORTURE] },
];

/// Where the program runs.
enum Place {
    /// As a process, perhaps under a tool. `thorough`: in both kinds of heap.
    Host { executable: PathBuf, under: &'static [&'static str], thorough: bool, sanitized: bool },
    /// In the emulator.
    Firmware { elf: PathBuf, emulator: PathBuf },
}

/// The program, built.
struct Built {
    name: &'static str,
    place: Place,
    /// It runs here, beside copies of the scripts; what it writes goes to `out` below.
    folder: PathBuf,
}

/// What the program says of its run (`examples/lisp/main.c`), in cells but for `heap` and `occupied_at_end`.
#[derive(Clone, Debug, Deserialize)]
struct Report {
    made: u64,
    errors: u64,
    live_at_end: u64,
    occupied_at_end: u64,
    dropped: u64,
    left: u64,
    by_collection: u64,
    collections: u64,
    steps: u64,
    longest: u64,
}

/// What the emulator says.
#[derive(Clone, Debug, Deserialize)]
struct Figures {
    instructions: u64,
}

/// How a run went.
struct Ran {
    output: Vec<u8>,
    report: Report,
    figures: Option<Figures>,
}

fn example(script: &str) -> PathBuf {
    root().join("examples/lisp").join(script).with_extension("lisp")
}

/// What a script of ours must print; the last line of the program comes behind it.
fn expected(script: &str) -> Result<Vec<u8>> {
    let path = match script {
        WORK => root().join("examples/lisp/expected.txt"),
        _ => root().join("examples/lisp").join(format!("expected-{script}.txt")),
    };
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

// ---------------------------------------------------------------- building

/// The flags of every compilation of our sources.
const FLAGS: [&str; 6] = ["-Iinclude", "-Iemu/firmware", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn sources() -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(root().join("examples/lisp"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "c") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

/// Where a program runs: made anew, the scripts in it.
fn folder(name: &str, scripts: &[&Path]) -> Result<PathBuf> {
    let folder = work_dir(&format!("lisp/{}", name.replace(' ', "-")))?;
    std::fs::create_dir_all(folder.join("out"))?;
    for script in scripts {
        let to = folder.join(script.file_name().context("a script without a name")?);
        std::fs::copy(script, to).with_context(|| format!("no script {}", script.display()))?;
    }
    Ok(folder)
}

fn host(
    name: &'static str,
    library: &Path,
    flags: &[&str],
    under: &'static [&'static str],
    scripts: &[&Path],
) -> Result<Built> {
    let folder = folder(name, scripts)?;
    let executable = folder.join("lisp");
    let mut gcc = program("gcc", ["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-g"]);
    gcc.args(FLAGS).args(flags).arg(format!("-DLISP_HEAP_CAPACITY={HOST_HEAP}u")).args(sources()?).arg(library);
    if library.extension().is_some_and(|end| end == "so") {
        gcc.arg(format!("-Wl,-rpath,{}", library.parent().unwrap_or(Path::new(".")).display()));
    }
    util::run(gcc.arg("-o").arg(&executable))?;
    let (thorough, sanitized) = (name.starts_with("libknoll"), name == SANITIZED);
    Ok(Built { name, place: Place::Host { executable, under, thorough, sanitized }, folder })
}

fn firmware(scripts: &[&Path]) -> Result<Built> {
    let name = "Cortex-M4";
    let emulator = emu_binary()?;
    let folder = folder(name, scripts)?;
    let elf = folder.join("lisp.elf");
    let mut build = Command::new("emu/firmware/build.sh");
    build.arg("m4").arg(&elf).args(sources()?).arg(util::build_static(Some(TARGET), &[])?).arg("--").args(FLAGS);
    build.arg(format!("-DLISP_HEAP_CAPACITY={FIRMWARE_HEAP}u"));
    build.args([format!("-Wl,--defsym=RAM_SIZE={RAM}"), format!("-Wl,--defsym=STACK_SIZE={STACK}")]);
    util::run(&mut build)?;
    Ok(Built { name, place: Place::Firmware { elf, emulator }, folder })
}

// ---------------------------------------------------------------- running

impl Built {
    /// The command that runs a script of the folder, and where its report will be.
    fn command(&self, script: &str, arguments: &[&str], watch: bool) -> (Command, PathBuf) {
        let report = self.folder.join("out/report.json");
        let _ = std::fs::remove_file(&report);
        let mut words: Vec<&str> = arguments.to_vec();
        words.extend(["--report", "out/report.json", script]);
        let mut command = match &self.place {
            Place::Host { executable, under, .. } => {
                let mut line: Vec<&Path> = under.iter().map(Path::new).collect();
                line.push(executable);
                let mut command = program(line[0], &line[1..]);
                command.args(words);
                command
            }
            Place::Firmware { elf, emulator } => {
                let mut command = program(emulator, [Path::new("run"), elf]);
                command.args(["--cpu", "m4", "--budget", BUDGET, "--quiet"]);
                if watch {
                    command.args(["--watch", "--stack"]);
                }
                command.arg("--dir").arg(&self.folder).arg("--json").arg(self.emulator_json());
                command.args(words.iter().map(|word| format!("--arg={word}")));
                command
            }
        };
        command.current_dir(&self.folder).stdin(Stdio::null());
        (command, report)
    }

    fn emulator_json(&self) -> PathBuf {
        self.folder.join("out/emulator.json")
    }

    /// Runs a script that lies in the folder; an error unless the program ended well, with no cell left.
    fn execute(&self, script: &str, arguments: &[&str], watch: bool) -> Result<Ran> {
        let (mut command, report) = self.command(script, arguments, watch);
        let done = command.output().with_context(|| format!("cannot run {}", util::display(&command)))?;
        if !done.status.success() {
            let tail: Vec<u8> = done.stdout.iter().copied().skip(done.stdout.len().saturating_sub(500)).collect();
            bail!("{}\n{}{}", done.status, String::from_utf8_lossy(&tail), String::from_utf8_lossy(&done.stderr));
        }
        let report: Report = read(&report)?;
        ensure!(report.left == 0, "{} cells are left", report.left);
        let figures = matches!(self.place, Place::Firmware { .. }).then(|| read(&self.emulator_json())).transpose()?;
        Ok(Ran { output: done.stdout, report, figures })
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("no {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))
}

// ---------------------------------------------------------------- showing

/// Runs a script here and in the emulator, compares, and tells what there was to count.
fn show(script: &Path, expected: Option<&[u8]>) -> Result<()> {
    announce("Building: libknoll, the Lisp of examples/lisp over it, for this machine and for the Cortex-M4");
    let here = host("this machine", &util::build_shared()?, &["-O2"], &[], &[script])?;
    let there = firmware(&[script])?;
    let name = script.file_name().context("a script without a name")?.to_string_lossy();
    announce(format!("Running the script: {}", util::root_relative(script)));
    let first = here.execute(&name, &[], false)?;
    for line in String::from_utf8_lossy(&first.output).lines() {
        println!("        {}", style(line).dim());
    }
    if let Some(expected) = expected {
        same_output("this machine", expected, &first.output)?;
    }
    let mut columns = vec![("this machine".to_owned(), first)];
    for mode in MODES.iter().filter(|mode| mode.scripts.contains(&WORK)) {
        let ran = there.execute(&name, mode.arguments, false)?;
        same_output(&format!("{}, {}", there.name, mode.name), &columns[0].1.output, &ran.output)?;
        note(format!("{} {}, {}: output the same, no cell left", style("ok").green(), there.name, mode.name));
        columns.push((format!("M4, {}", mode.name), ran));
    }
    tabulate(&columns);
    let modes = columns.len() - 1;
    let Report { made, by_collection, dropped, .. } = columns[1].1.report;
    println!(
        "- The output is the same here and on the Cortex-M4, there in {modes} modes of the collector, byte for byte."
    );
    println!(
        "- Of {} cells on the M4, {} were in cycles, which only the collector frees ({} of them held until the end).",
        grouped(made),
        grouped(by_collection),
        grouped(dropped)
    );
    println!("- None was left, and every count and record was verified.");
    Ok(())
}

fn tabulate(columns: &[(String, Ran)]) {
    let mut table = util::new_table(std::iter::once("cells").chain(columns.iter().map(|(title, _)| title.as_str())));
    let mut row = |name: &str, value: &dyn Fn(&Ran) -> Option<u64>| {
        let cells = columns.iter().map(|(_, ran)| value(ran).map_or("-".to_owned(), grouped));
        table.add_row(std::iter::once(name.to_owned()).chain(cells));
    };
    row("made", &|ran| Some(ran.report.made));
    row("gone by their count", &|ran| Some(ran.report.made.saturating_sub(ran.report.by_collection)));
    row("gone by cycle collection", &|ran| Some(ran.report.by_collection));
    row("alive when the script had ended", &|ran| Some(ran.report.live_at_end));
    row("in cycles, or waiting, when all was dropped", &|ran| Some(ran.report.dropped));
    row("left", &|ran| Some(ran.report.left));
    row("collections", &|ran| Some(ran.report.collections));
    row("steps of collections", &|ran| Some(ran.report.steps));
    row("visited by one call, at most", &|ran| Some(ran.report.longest));
    row("bytes of counted memory at the end", &|ran| Some(ran.report.occupied_at_end));
    row("errors that were caught", &|ran| Some(ran.report.errors));
    row("instructions", &|ran| ran.figures.as_ref().map(|figures| figures.instructions));
    println!("\n{table}\n");
}

// ---------------------------------------------------------------- checking

fn check() -> Result<()> {
    announce("Building the Lisp: libknoll.so, libknoll.a, sanitized, for Valgrind, for the Cortex-M4");
    let paths = [WORK, ERRORS, TORTURE].map(example);
    let scripts: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let archive = util::build_static(None, &[])?;
    let sanitizers = ["-O1", "-DLISP_CHECKED", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let memcheck = &["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full"];
    let full = Library { features: &["checks-full"], ..Library::default() }.archive()?;
    let builds = [
        host("libknoll.so", &util::build_shared()?, &["-O2"], &[], &scripts)?,
        host("libknoll.a", &archive, &["-O2"], &[], &scripts)?,
        host("full checks", &full, &["-O2", "-DLISP_CHECKED"], &[], &scripts)?,
        host(SANITIZED, &archive, &sanitizers, &[], &scripts)?,
        host("Valgrind", &archive, &["-O1"], memcheck, &scripts)?,
        firmware(&scripts)?,
    ];
    let mut tally = Tally::default();
    for built in &builds {
        announce(format!("{}: {} modes", built.name, MODES.len()));
        for mode in MODES {
            for script in mode.scripts.iter() {
                for heap in heaps(built, script) {
                    let outcome = check_one(built, mode, script, heap);
                    let heap = heap.map_or("the process heap".to_owned(), |heap| format!("{} KB", heap / 1024));
                    tally.record(format!("{script} [{}, {}, {heap}]", built.name, mode.name), outcome);
                }
            }
            if matches!(built.place, Place::Host { sanitized: true, .. }) && mode.scripts.contains(&WORK) {
                let outcome = short_of_memory(built, mode);
                tally.record(format!("{WORK} [{}, {}, heaps of every size]", built.name, mode.name), outcome);
            }
        }
    }
    tally.finish()
}

/// The work script in heaps that are too small for it, each a little larger: memory ends everywhere, in the
/// reader, the compiler, the machine. No run may leave a cell behind, whatever the script makes of it.
fn short_of_memory(built: &Built, mode: &Mode) -> Result<()> {
    let (mut refused, mut failed, mut ran) = (0, 0, 0);
    for kilobytes in (2..=256).step_by(6) {
        let size = (kilobytes * 1024).to_string();
        let arguments = [mode.arguments, &["--heap", &size]].concat();
        let (mut command, report) = built.command(&format!("{WORK}.lisp"), &arguments, false);
        let done = command.output().with_context(|| format!("cannot run {}", util::display(&command)))?;
        match done.status.code() {
            Some(0) if read::<Report>(&report)?.errors > expected_errors()? => failed += 1,
            Some(0) => ran += 1,
            Some(NO_MEMORY) => refused += 1,
            _ => bail!("{kilobytes} KB: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr)),
        }
    }
    note(format!("{refused} heaps too small to begin, {failed} in which memory ended, {ran} that were enough"));
    ensure!(refused > 0 && failed > 0 && ran > 0, "the sizes tried show nothing");
    Ok(())
}

/// The errors that the work script makes on purpose.
fn expected_errors() -> Result<u64> {
    let text = expected(WORK)?;
    Ok(text.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"error: ")).count() as u64)
}

/// In which heaps a script runs. What fills its memory needs a heap that can be filled.
fn heaps(built: &Built, script: &str) -> Vec<Option<usize>> {
    match (&built.place, script) {
        (Place::Firmware { .. }, _) => vec![Some(FIRMWARE_HEAP)],
        (_, ERRORS) => vec![Some(HOST_HEAP)],
        (Place::Host { thorough: true, .. }, _) => vec![None, Some(HOST_HEAP)],
        _ => vec![None],
    }
}

fn check_one(built: &Built, mode: &Mode, script: &str, heap: Option<usize>) -> Result<()> {
    let size = heap.map(|heap| heap.to_string());
    let mut arguments = mode.arguments.to_vec();
    if let Some(size) = &size {
        arguments.extend(["--heap", size.as_str()]);
    }
    // Watching takes three times as long: where the most work is done, once has to do.
    let watch = script != WORK || mode.arguments.is_empty();
    let ran = built.execute(&format!("{script}.lisp"), &arguments, watch)?;
    // Memory that is full is another matter: then all is collected before an allocation fails.
    if let Some(slice) = mode.slice.filter(|_| script == WORK) {
        let longest = ran.report.longest;
        ensure!(longest <= slice, "one call visited {longest} cells, it may {slice}");
        ensure!(ran.report.steps > 0, "no collection was done in steps");
    }
    same_output(built.name, &expected(script)?, &ran.output)
}
