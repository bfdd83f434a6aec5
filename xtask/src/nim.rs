//! `cargo xtask nim`: Nim programs on libknoll.so: its malloc under Nim's own collector, and its cells.
//!
//! - `examples/nim/work.nim` is built by Debian's Nim with `--mm:orc -d:useMalloc`: cyclic graphs, tables,
//!   strings, JSON, memory by hand. It runs on libc's malloc, linked to libknoll.so, and with
//!   libknoll.so preloaded.
//! - All runs print the same, to the byte: what the program computed, that no node and no block is
//!   left, and how often it called malloc, calloc, realloc and free for how many bytes. The statistics
//!   come from `examples/nim/count_malloc.c`, which also verifies every block that it hands on.
//! - Whose `malloc` a run had is asked of the loader: a run that went past Knoll is a failure.
//! - `examples/nim/cells.nim` counts by Knoll instead (`--mm:arc`, `knoll.nim` is the binding): its cycles,
//!   which Nim would leak, leave no cell behind.

use crate::util::{self, announce, build_shared, capture, note, program, root, work_dir, Tally};
use anyhow::{bail, Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of `cargo xtask nim`.
#[derive(clap::Args)]
pub struct Args {
    /// Compare the runs with each other and say no more than how that went
    #[arg(long)]
    check: bool,
}

/// What a run printed.
struct Run {
    /// Standard output: equal on every malloc.
    told: String,
    /// The line on standard error: whose malloc, usable bytes, peak RSS.
    measured: String,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    announce("A Nim program, --mm:orc -d:useMalloc, on libknoll.so");
    capture(&mut program("nim", ["--version"])).context("Nim is not installed; `tools/setup.sh nim` installs it")?;
    let library = build_shared()?;
    let work = work_dir("nim")?;
    let mut tally = Tally::default();

    let plain = run_once(&build(&work, "on-libc", None)?, None);
    let linked = build(&work, "on-knoll", Some(&library)).and_then(|program| run_once(&program, None));
    let preloaded = run_once(&work.join("on-libc"), Some(&library));
    let plain = match plain {
        Ok(plain) => plain,
        Err(error) => {
            tally.record("work.nim on libc's malloc", Err(error));
            return tally.finish();
        }
    };
    if !args.check {
        println!("{}", plain.told.trim_end());
    }
    note(&plain.measured);
    tally.record("work.nim on libc's malloc leaves nothing behind", sound(&plain));
    for (name, outcome) in [("linked to libknoll.so", linked), ("libknoll.so preloaded", preloaded)] {
        let verdict = outcome.and_then(|outcome| {
            note(&outcome.measured);
            on_knoll(&outcome).and_then(|()| same(&outcome, &plain))
        });
        tally.record(format!("work.nim, {name}: prints the same, asks the same of malloc"), verdict);
    }
    tally.record("cells.nim: Knoll counts Nim's cells and collects their cycles", cells(&work, &library));
    tally.finish()
}

/// Compiles `work.nim`, with Knoll's library before libc if one is given.
fn build(work: &Path, name: &str, library: Option<&Path>) -> Result<PathBuf> {
    let mut flags = vec!["--mm:orc".to_owned()];
    flags.push("--passL:-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free".to_owned());
    if let Some(library) = library {
        flags.push(link(library)?);
    }
    compile(work, name, "work.nim", &flags)
}

/// The linker's options for a program on libknoll.so.
fn link(library: &Path) -> Result<String> {
    let directory = library.parent().context("where is the library?")?.display();
    Ok(format!("--passL:-L{directory} -Wl,--no-as-needed -lknoll -Wl,-rpath,{directory}"))
}

fn compile(work: &Path, name: &str, source: &str, flags: &[String]) -> Result<PathBuf> {
    let output = work.join(name);
    let mut nim = program("nim", ["compile", "--define:useMalloc", "--define:release", "--threads:off"]);
    nim.args(["--hints:off", "--warnings:off", "--skipUserCfg", "--skipParentCfg"]).args(flags);
    nim.arg(format!("--nimcache:{}", work.join(format!("{name}-cache")).display()));
    nim.arg(format!("--out:{}", output.display()));
    util::run(nim.arg(root().join("examples/nim").join(source)))?;
    Ok(output)
}

/// What `cells.nim` computes, and that no cell is left.
const CELLS: &str = "list: sum 499999500000\nchurn: 15193 references\nbytes that cells take: 0\n";

fn cells(work: &Path, library: &Path) -> Result<()> {
    let include = format!("--passC:-I{}", root().join("include").display());
    let flags = ["--mm:arc".to_owned(), include, link(library)?];
    let told = run_once(&compile(work, "cells", "cells.nim", &flags)?, None)?.told;
    if told != CELLS {
        bail!("it printed\n{told}");
    }
    Ok(())
}

fn run_once(executable: &Path, preload: Option<&Path>) -> Result<Run> {
    let mut limited: Command = program("timeout", ["--signal=KILL", "120"]);
    limited.arg(executable).env_remove("LD_PRELOAD");
    if let Some(library) = preload {
        limited.env("LD_PRELOAD", library);
    }
    let output = limited.output().with_context(|| format!("cannot run {}", util::display(&limited)))?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let measured = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !output.status.success() {
        bail!("{}\n{told}{measured}", output.status);
    }
    Ok(Run { told, measured })
}

/// The program must have done its work, and be able to tell.
fn sound(run: &Run) -> Result<()> {
    for needed in ["-- pass 2\n", ", 0 alive\n", "equal again: true", "blocks that main left behind: 0\n", "malloc "] {
        if !run.told.contains(needed) {
            bail!("{needed:?} is not in what it printed:\n{}", run.told);
        }
    }
    Ok(())
}

fn on_knoll(run: &Run) -> Result<()> {
    if !run.measured.contains("libknoll.so") {
        bail!("not Knoll's malloc: {}", run.measured);
    }
    Ok(())
}

fn same(run: &Run, plain: &Run) -> Result<()> {
    if run.told == plain.told {
        return Ok(());
    }
    let differs = run.told.lines().zip(plain.told.lines()).find(|(ours, theirs)| ours != theirs);
    match differs {
        Some((ours, theirs)) => bail!("{ours:?}, on libc's malloc {theirs:?}"),
        None => bail!("{} lines, on libc's malloc {}", run.told.lines().count(), plain.told.lines().count()),
    }
}
