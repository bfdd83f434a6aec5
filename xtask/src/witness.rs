//! `cargo xtask witness`: what scopes write, and what the fragmentation witness costs, in the emulator.
//!
//! - `tests/witness/firmware/leave.c` enters, uses and leaves scopes while the harness watches each store of
//!   Knoll: outside the scopes' range and the heap's own records not one byte is written, and afterwards
//!   the heap is bit for bit what it was. Each of its planted mistakes must make the run fail, or the watch
//!   would prove nothing.
//! - `tests/witness/firmware/cost.c` calls the witness on heaps of 140 KB; its instructions and its stack must
//!   keep to the limits below.
//! - The costs go into the table of `docs/witness.md`, unless `--check` asks for the verdicts only.

use crate::bench::table::Table;
use crate::util::{announce, build_static, capture, emu_binary, note, program, root, work_dir, Tally};
use anyhow::{bail, Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of `cargo xtask witness`.
#[derive(clap::Args)]
pub struct Args {
    /// Leave docs/witness.md as it is
    #[arg(long)]
    check: bool,
}

/// A processor: its name for `emu/firmware/build.sh` and the harness, its Rust target, and the most stack that
/// kn_dump_fragmentation may need there.
struct Processor {
    name: &'static str,
    title: &'static str,
    target: &'static str,
    stack: u64,
}

const PROCESSORS: &[Processor] = &[
    Processor { name: "m0", title: "Cortex-M0", target: "thumbv6m-none-eabi", stack: 350 },
    Processor { name: "m3", title: "Cortex-M3", target: "thumbv7m-none-eabi", stack: 300 },
    Processor { name: "m4", title: "Cortex-M4", target: "thumbv7em-none-eabi", stack: 300 },
];

/// What `leave.c` does wrong when it is asked to, and how the harness must end it.
const MISTAKES: [&str; 3] = ["malloc", "store", "outside"];
/// The harness's exit status when Knoll wrote where it may not.
const BAD_WRITE: i32 = 121;

/// Heaps that the witness is asked about: the arguments of `cost.c`, and what they mean. In the last one the
/// free blocks are of one size class, more of them than are looked at for the largest.
const HEAPS: [([&str; 3], &str); 4] = [
    (["8", "256", "75"], "8 to 256 B, 75 % freed"),
    (["8", "64", "30"], "8 to 64 B, 30 % freed"),
    (["8", "40", "50"], "8 to 40 B, 50 % freed"),
    (["520", "560", "0"], "520 to 560 B, every other freed"),
];
/// The functions whose cost is told, with their titles, and the most instructions that each may take.
const COSTS: [(&str, &str, Option<u64>); 5] = [
    ("largest free", "kn_heap_largest_free", Some(2_000)),
    ("dump", "kn_dump_fragmentation", Some(1_000_000)),
    ("numbers", "kn_fragmentation", None),
    ("check", "kn_fragmentation_check", None),
    ("fingerprint", "kn_heap_fingerprint", None),
];

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let harness = emu_binary()?;
    let mut tally = Tally::default();
    announce("What entering, using and leaving scopes writes, store by store");
    for processor in PROCESSORS {
        let firmware = build(processor, "leave")?;
        tally.record(format!("{}: nothing but scopes and records", processor.title), clean(&harness, &firmware));
        for mistake in MISTAKES {
            let verdict = caught(&harness, &firmware, mistake);
            tally.record(format!("{}: the watch notices \"{mistake}\"", processor.title), verdict);
        }
    }
    announce("What the witness costs on heaps of 140 KB");
    let heading = ["heap of 140 KB", "used blocks", "free"].into_iter().map(str::to_owned);
    let columns = COSTS.iter().map(|(name, ..)| (*name).to_owned()).chain(["stack of the dump".to_owned()]);
    let mut table = Table::new("The witness: instructions, and bytes of stack", heading.chain(columns));
    for processor in PROCESSORS {
        let firmware = build(processor, "cost")?;
        for (arguments, heap) in HEAPS {
            let cost = Cost::of(&harness, &firmware, &arguments)?;
            table.row(format!("{}: {heap}", processor.name.to_uppercase()), cost.cells()?);
            tally.record(format!("{}: {heap}", processor.title), cost.verdict(processor));
        }
    }
    println!("\n{}\n", table.terminal());
    if !args.check {
        table.renew(&root().join("docs/witness.md"), "cargo xtask witness")?;
    }
    tally.finish()
}

/// Builds one of the programs for a processor.
fn build(processor: &Processor, name: &str) -> Result<PathBuf> {
    let archive = build_static(Some(processor.target), &[])?;
    let out = work_dir("witness")?.join(format!("{name}-{}.elf", processor.name));
    let mut command = Command::new("emu/firmware/build.sh");
    command.arg(processor.name).arg(&out).arg(format!("tests/witness/firmware/{name}.c")).arg(archive);
    command.args(["--", "-Iinclude", "-Iemu/firmware", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    capture(&mut command)?;
    Ok(out)
}

/// The command that runs a firmware with arguments, under the watch.
fn watched(harness: &Path, firmware: &Path, arguments: &[&str]) -> Command {
    let mut command = program(harness, ["run"]);
    command.arg(firmware).args(["--budget", "1G", "--watch", "--quiet"]);
    for argument in arguments {
        command.args(["--arg", argument]);
    }
    command
}

/// The guarantee.
fn clean(harness: &Path, firmware: &Path) -> Result<()> {
    let said = capture(&mut watched(harness, firmware, &[]))?;
    for line in said.lines() {
        note(line);
    }
    match said.lines().filter(|line| line.starts_with("ok: ")).count() {
        6 => Ok(()),
        other => bail!("{other} of 6 runs were all right"),
    }
}

/// A planted mistake.
fn caught(harness: &Path, firmware: &Path, mistake: &str) -> Result<()> {
    let mut command = watched(harness, firmware, &[mistake]);
    let status = command.current_dir(root()).output()?.status;
    if status.code() != Some(BAD_WRITE) {
        bail!("the run ended with {status}");
    }
    Ok(())
}

/// What we read of the harness's figures.
#[derive(Deserialize)]
struct Cost {
    measured: BTreeMap<String, Measured>,
    results: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Measured {
    worst: u64,
    stack: Option<u64>,
}

impl Cost {
    fn of(harness: &Path, firmware: &Path, arguments: &[&str]) -> Result<Cost> {
        let json = firmware.with_extension("json");
        let names: Vec<&str> = COSTS.iter().map(|(_, name, _)| *name).collect();
        let mut command = watched(harness, firmware, arguments);
        command.args(["--stack", "--measure", &names.join(","), "--json"]).arg(&json);
        capture(&mut command)?;
        serde_json::from_slice(&std::fs::read(&json)?).context("the emulator's report")
    }

    fn measured(&self, name: &str) -> Result<&Measured> {
        self.measured.get(name).with_context(|| format!("{name} was not measured"))
    }

    /// The cells of its row.
    fn cells(&self) -> Result<Vec<String>> {
        let counted = ["blocks", "holes"].iter().filter_map(|name| self.results.get(*name)).map(u64::to_string);
        let mut cells: Vec<String> = counted.collect();
        for (_, name, _) in COSTS {
            cells.push(self.measured(name)?.worst.to_string());
        }
        cells.push(self.measured("kn_dump_fragmentation")?.stack.context("no stack was measured")?.to_string());
        Ok(cells)
    }

    /// Whether it keeps to the limits.
    fn verdict(&self, processor: &Processor) -> Result<()> {
        for (_, name, most) in COSTS {
            let worst = self.measured(name)?.worst;
            if let Some(most) = most.filter(|&most| worst > most) {
                bail!("{name} took {worst} instructions, more than {most}");
            }
        }
        let stack = self.measured("kn_dump_fragmentation")?.stack.context("no stack was measured")?;
        if stack > processor.stack {
            bail!("kn_dump_fragmentation needed {stack} bytes of stack, more than {}", processor.stack);
        }
        Ok(())
    }
}
