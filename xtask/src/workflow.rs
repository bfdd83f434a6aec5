//! `cargo xtask workflow`: the device of `examples/workflow`, whose every workflow has a scope, on this machine and as
//! firmware on an emulated Cortex-M4 with a heap of 140 KB.
//!
//! - What it prints must be `examples/workflow/expected.txt`, byte for byte, on every machine: what each workflow gave
//!   back, what the mistakes that it makes on purpose are told as, and what is verified after each of 1000 workflows.
//! - Lines that begin with `figure` are numbers that differ with the size of a pointer: they become a table.
//! - `--check` runs it also against libknoll.so, under the sanitizers and Valgrind, and in the emulator with a watch on
//!   every write of Knoll.

use crate::run::{grouped, same_output};
use crate::util::{self, announce, emu_binary, note, program, work_dir, Tally};
use anyhow::{bail, ensure, Context, Result};
use console::style;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options of `cargo xtask workflow`.
#[derive(clap::Args)]
pub struct Args {
    /// Also sanitized, under Valgrind, and with every write watched; say no more than how that went
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    if args.check {
        check()
    } else {
        demonstrate()
    }
}

const FOLDER: &str = "examples/workflow";
const TARGET: &str = "thumbv7em-none-eabi";
/// The heap is 140 KB, as Trezor's first model has it; the rest is stack and newlib.
const RAM: usize = 192 * 1024;
const STACK: usize = 16 * 1024;
/// More instructions than it needs: a loop ends here.
const BUDGET: &str = "20G";
/// The flags of every compilation.
const FLAGS: [&str; 5] = ["-Iinclude", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];
/// How many workflows it runs where each takes long.
const FEW: &str = "100";

/// What it printed, in two parts.
struct Told {
    /// The same everywhere.
    lines: Vec<u8>,
    /// Name and value, in order.
    figures: Vec<(String, u64)>,
}

/// The example's sources, as paths from the root: allocation sites are named after them.
fn sources() -> Result<Vec<PathBuf>> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(util::root().join(FOLDER))?
        .map(|entry| Ok(Path::new(FOLDER).join(entry?.file_name())))
        .collect::<Result<_>>()?;
    names.retain(|path| path.extension().is_some_and(|end| end == "c"));
    names.sort();
    Ok(names)
}

/// What must be printed with the full number of workflows.
fn expected() -> Result<Vec<u8>> {
    let path = util::root().join(FOLDER).join("expected.txt");
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn host(name: &str, library: &Path, flags: &[&str]) -> Result<PathBuf> {
    let executable = work_dir("workflow")?.join(name);
    let mut gcc = program("gcc", ["-std=c99", "-g"]);
    gcc.args(FLAGS).args(flags).args(sources()?).arg(library);
    if library.extension().is_some_and(|end| end == "so") {
        gcc.arg(format!("-Wl,-rpath,{}", library.parent().unwrap_or(Path::new(".")).display()));
    }
    util::run(gcc.arg("-o").arg(&executable))?;
    Ok(executable)
}

fn firmware() -> Result<PathBuf> {
    let elf = work_dir("workflow")?.join("workflow.elf");
    let mut build = Command::new("emu/firmware/build.sh");
    build.arg("m4").arg(&elf).args(sources()?).arg(util::build_static(Some(TARGET), &[])?).arg("--").args(FLAGS);
    build.args(["-DDEVICE_IS_WATCHED", "-Iemu/firmware"]);
    build.args([format!("-Wl,--defsym=RAM_SIZE={RAM}"), format!("-Wl,--defsym=STACK_SIZE={STACK}")]);
    util::run(&mut build)?;
    Ok(elf)
}

fn emulated(elf: &Path, options: &[&str]) -> Result<Command> {
    let mut command = program(emu_binary()?, [Path::new("run"), elf]);
    command.args(["--cpu", "m4", "--budget", BUDGET, "--quiet"]).args(options);
    Ok(command)
}

/// Runs it; an error unless it says that all was as it should be.
fn told(command: &mut Command) -> Result<Told> {
    let output = command.current_dir(util::root()).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", util::display(command)))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let tail: Vec<&str> = text.lines().rev().take(8).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("{}\n{}\n{}", output.status, tail.join("\n"), String::from_utf8_lossy(&output.stderr));
    }
    let mut told = Told { lines: Vec::new(), figures: Vec::new() };
    for line in text.lines() {
        match line.strip_prefix("figure ").and_then(|rest| rest.rsplit_once(": ")) {
            Some((name, value)) => told.figures.push((name.to_owned(), value.parse().context("a figure")?)),
            None => told.lines.extend_from_slice(format!("{line}\n").as_bytes()),
        }
    }
    ensure!(!told.figures.is_empty(), "it tells no figures");
    Ok(told)
}

/// Here and in the emulator, with a table of both: for `make run`, too.
pub fn demonstrate() -> Result<()> {
    announce("Building: libknoll, the device of examples/workflow over it, for this machine and for the Cortex-M4");
    let here = host("here", &util::build_shared()?, &["-O2"])?;
    let there = firmware()?;
    announce("Running the device: five workflows, five mistakes, 1000 workflows");
    let first = told(&mut Command::new(&here))?;
    for line in String::from_utf8_lossy(&first.lines).lines() {
        println!("        {}", style(line).dim());
    }
    same_output("this machine", &expected()?, &first.lines)?;
    let second = told(&mut emulated(&there, &[])?)?;
    same_output("Cortex-M4", &first.lines, &second.lines)?;
    note(format!("{} Cortex-M4: output the same", style("ok").green()));
    tabulate(&[("this machine", &first), ("Cortex-M4", &second)]);
    println!(
        "- After each workflow that kept nothing the free map was that of before, by fingerprint, here and on the M4."
    );
    println!("- From the second run on a workflow is given what the last one needed: presizes are found, not guessed.");
    Ok(())
}

/// A table of the workflows for each machine, and one of what concerns the heap.
fn tabulate(columns: &[(&str, &Told)]) {
    for (title, told) in columns {
        let mut rows: Vec<(&str, Vec<(&str, u64)>)> = Vec::new();
        for (name, value) in &told.figures {
            let Some((workflow, what)) = name.split_once(", ") else { continue };
            match rows.last_mut() {
                Some((last, cells)) if *last == workflow => cells.push((what, *value)),
                _ => rows.push((workflow, vec![(what, *value)])),
            }
        }
        let heads = rows.first().map_or(Vec::new(), |(_, cells)| cells.iter().map(|(what, _)| *what).collect());
        let mut table = util::new_table(std::iter::once(*title).chain(heads));
        for (workflow, cells) in rows {
            table.add_row(std::iter::once(workflow.to_owned()).chain(cells.iter().map(|(_, value)| grouped(*value))));
        }
        println!("\n{table}");
    }
    let mut table = util::new_table(std::iter::once("the heap").chain(columns.iter().map(|(title, _)| *title)));
    for (name, _) in columns[0].1.figures.iter().filter(|(name, _)| !name.contains(", ")) {
        let cells = columns.iter().map(|(_, told)| {
            let figure = told.figures.iter().find(|(other, _)| other == name);
            figure.map_or("-".to_owned(), |(_, value)| grouped(*value))
        });
        table.add_row(std::iter::once(name.clone()).chain(cells));
    }
    println!("\n{table}\n");
}

fn check() -> Result<()> {
    announce("Building the device: libknoll.so, libknoll.a, sanitized, for Valgrind, for the Cortex-M4");
    let archive = util::build_static(None, &[])?;
    let sanitizers = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let mut valgrind = program("valgrind", ["--quiet", "--error-exitcode=99", "--leak-check=full"]);
    valgrind.arg(host("valgrind", &archive, &["-O1"])?).arg(FEW);
    let watched = ["--watch", "--stack"];
    let runs = [
        ("libknoll.so", Command::new(host("shared", &util::build_shared()?, &["-O2"])?), true),
        ("libknoll.a", Command::new(host("static", &archive, &["-O2"])?), true),
        ("ASan+UBSan", Command::new(host("sanitized", &archive, &sanitizers)?), true),
        ("Valgrind", valgrind, false),
        ("Cortex-M4, every write watched", emulated(&firmware()?, &watched)?, true),
    ];
    let mut tally = Tally::default();
    let expected = expected()?;
    for (name, mut command, whole) in runs {
        let outcome = told(&mut command).and_then(|told| match whole {
            true => same_output(name, &expected, &told.lines),
            false => Ok(()),
        });
        let runs = if whole { "1000" } else { FEW };
        tally.record(format!("the mistakes and {runs} workflows [{name}]"), outcome);
    }
    tally.finish()
}
