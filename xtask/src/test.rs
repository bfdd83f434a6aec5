//! `cargo xtask test`: every test there is, step by step.
//!
//! - Each step is announced, timed, and keeps its whole output in `target/test-logs/STEP.log`;
//!   when it fails, the end of that log is shown. A failed step does not stop the later ones.
//! - Two steps run at a time, one of each [`Lane`]; `--in-turn` runs one at a time.
//! - A long step says every half minute that it lives, with the last line it has printed; one that
//!   does not end within `--limit` is stopped, with all processes it has started, and has failed.
//! - The last line is `N passed, N failed`: the cases that the steps counted themselves, or one
//!   for a step that counts none. The exit status is 0 iff none failed.
//! - `cargo xtask test STEP…` runs some; `--list` names them all.

mod running;

use crate::util::{cargo, emu_target_dir, new_table, program, root, target_dir};
use anyhow::{bail, Context, Result};
use running::{seconds, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Run these steps only
    steps: Vec<String>,
    /// Name the steps and what they do, run none
    #[arg(long)]
    list: bool,
    /// End a step that takes longer, as failed
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    limit: u64,
    /// One step after the other, for their times or for a machine with other work
    #[arg(long)]
    in_turn: bool,
}

/// Steps of one lane never run at the same time.
///
/// Alone, most steps keep one processor busy for most of their time; so there are two lanes. The two steps that have
/// work for all processors throughout come last in theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// What uses Cargo's own target directory, which one process at a time may.
    Cargo,
    /// What uses the artefacts in `target/knoll`, which several steps build, each over what was there, and run.
    Artefacts,
}

/// A part of the test run: commands in order, all of them, whatever fails.
struct Step {
    name: &'static str,
    what: &'static str,
    lane: Lane,
    commands: Vec<Command>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let mut steps = steps()?;
    for wanted in &args.steps {
        if !steps.iter().any(|step| step.name == wanted) {
            bail!("no step {wanted}; `cargo xtask test --list` names them");
        }
    }
    if !args.steps.is_empty() {
        steps.retain(|step| args.steps.iter().any(|wanted| wanted == step.name));
    }
    if args.list {
        for step in &steps {
            println!("{:<14} {}", step.name, step.what);
        }
        return Ok(());
    }

    let logs = target_dir().join("test-logs");
    std::fs::create_dir_all(&logs)?;
    let begin = Instant::now();
    let outcomes = running::run_all(steps, args.in_turn, Duration::from_secs(args.limit), &logs)?;
    summarise(&outcomes, begin.elapsed())
}

// ---------------------------------------------------------------- the steps

/// All steps; in each lane the cheapest and most telling first.
fn steps() -> Result<Vec<Step>> {
    let xtask = std::env::current_exe().context("where is xtask?")?;
    let xtask = |line: &str| program(&xtask, line.split(' '));
    // The harness is a package outside the workspace, with a target directory that survives.
    let emu = |line: &str| {
        let mut command = with(&line.replacen(' ', " --manifest-path emu/Cargo.toml ", 1));
        command.env("CARGO_TARGET_DIR", emu_target_dir());
        command
    };
    let mut documentation = with("doc --quiet -p libknoll --no-deps");
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    // These need the firmware that the step has built before.
    let mut on_micropython = emu("test --quiet --release --test micropython");
    on_micropython.env("KNOLL_MPY_FIRMWARE", target_dir().join("micropython/build/qemu-knoll/firmware.elf"));
    Ok(vec![
        Step {
            name: "format",
            lane: Lane::Cargo,
            what: "rustfmt changes nothing",
            commands: vec![with("fmt --all --check"), emu("fmt --check")],
        },
        Step {
            name: "lint",
            lane: Lane::Cargo,
            what: "clippy and rustdoc without a warning, host and firmware",
            commands: vec![
                with("clippy --quiet --workspace --all-targets -- -D warnings"),
                with("clippy --quiet -p libknoll --features shared -- -D warnings"),
                with("clippy --quiet -p libknoll --features shared,hardened -- -D warnings"),
                with("clippy --quiet -p libknoll --features capi --target thumbv6m-none-eabi -- -D warnings"),
                with("clippy --quiet -p libknoll --features capi,checks-full -- -D warnings"),
                with("clippy --quiet -p libknoll --features capi,checks-none -- -D warnings"),
                with("clippy --quiet -p libknoll --no-default-features --features layout-wide,shared -- -D warnings"),
                with("clippy --quiet -p libknoll --no-default-features --features layout-wide,arena,shared -- -D warnings"),
                with("clippy --quiet -p libknoll --no-default-features --features layout-wide,counted,shared -- -D warnings"),
                documentation,
                emu("clippy --quiet --release --all-targets -- -D warnings"),
            ],
        },
        Step {
            name: "rules",
            lane: Lane::Artefacts,
            what: "links, licences, the program in README.md, nothing unfinished",
            commands: vec![xtask("rules")],
        },
        Step {
            name: "unit",
            lane: Lane::Cargo,
            what: "Rust tests with overflow checks, 64 bit",
            commands: vec![
                with("test --quiet --no-fail-fast -p libknoll -p knoll-shadow"),
                // In the profile that built xtask: its dependencies are there already.
                with("test --quiet -p xtask --profile dev"),
            ],
        },
        Step {
            name: "unit32",
            lane: Lane::Cargo,
            what: "the same, 32 bit (i686)",
            commands: vec![with("test --quiet --no-fail-fast -p libknoll --target i686-unknown-linux-gnu")],
        },
        Step {
            name: "features",
            lane: Lane::Cargo,
            what: "the model test with all checks, without any, hardened, with one block layout alone, with arenas or counted cells alone",
            commands: vec![
                with("test --quiet -p libknoll --lib --test model --test arena_model --test hosted --test hosted_model --features checks-full"),
                with("test --quiet -p libknoll --lib --test model --test arena_model --test hosted --test hosted_model --features checks-none"),
                with("test --quiet -p libknoll --test hosted --features hardened"),
                with("test --quiet -p libknoll --lib --test model --no-default-features --features layout-map"),
                with("test --quiet -p libknoll --lib --test model --no-default-features --features layout-compact"),
                with("test --quiet -p libknoll --lib --test model --test arena_model --no-default-features --features layout-wide,small-code"),
                with("test --quiet -p libknoll --lib --test model --no-default-features --features layout-compact,arena"),
                with("test --quiet -p libknoll --lib --test model --no-default-features --features layout-map,counted"),
            ],
        },
        Step {
            name: "header",
            lane: Lane::Cargo,
            what: "knoll.h is what the source gives, clean in C99 to C++17, its enums alike everywhere",
            commands: vec![xtask("header --check")],
        },
        Step {
            name: "emu",
            lane: Lane::Artefacts,
            what: "the Unicorn harness: counts, faults, write watch (its first build takes a while)",
            commands: vec![emu("test --quiet --release")],
        },
        Step {
            name: "counts",
            lane: Lane::Artefacts,
            what: "instructions per call in the emulator, against the checked-in table",
            commands: vec![xtask("counts")],
        },
        Step {
            name: "counts-counted",
            lane: Lane::Artefacts,
            what: "the same for counted cells: single calls on Cortex-M4 and here, the programs of the figures in small",
            commands: vec![xtask("counts-counted")],
        },
        Step {
            name: "counts-arena",
            lane: Lane::Artefacts,
            what: "the same for scopes and arenas: single calls on Cortex-M0, M3, M4 and here, footprints behind a rewind",
            commands: vec![xtask("counts-arena")],
        },
        Step {
            name: "counts-hosted",
            lane: Lane::Artefacts,
            what: "the same for libknoll.so as malloc: pairs, calloc, realloc, aligned, counted by single steps",
            commands: vec![xtask("counts-hosted")],
        },
        Step {
            name: "witness",
            lane: Lane::Artefacts,
            what: "each store of scopes watched in the emulator; the cost of fingerprints and the fragmentation witness",
            commands: vec![xtask("witness --check")],
        },
        Step {
            name: "dist",
            lane: Lane::Artefacts,
            what: "archives: only kn_* and GC_* global, no panic, two Rust archives in one firmware",
            commands: vec![xtask("dist --check")],
        },
        Step {
            name: "package",
            lane: Lane::Artefacts,
            what: "install, pkg-config, CMake find_package and FetchContent, the C examples",
            commands: vec![xtask("install --check")],
        },
        Step {
            name: "preload",
            lane: Lane::Artefacts,
            what: "ls, git, python3 and others on libknoll.so; threads, fork, errno; objects counted in threads",
            commands: vec![xtask("preload")],
        },
        Step {
            name: "hosted",
            lane: Lane::Artefacts,
            what: "libknoll.so as the malloc of a process: every size and edge, refused calls, forks, threads, signals, memory back",
            commands: vec![xtask("hosted")],
        },
        Step {
            name: "reports",
            lane: Lane::Artefacts,
            what: "what libknoll.so tells of itself: kn_process_*, KNOLL_STATS, KNOLL_DUMP_SIGNAL, last words",
            commands: vec![xtask("reports")],
        },
        Step {
            name: "detection",
            lane: Lane::Artefacts,
            what: "116 programs that misuse memory: what libknoll.so catches, as it is and hardened; no false alarm",
            commands: vec![xtask("detection")],
        },
        Step {
            name: "lua",
            lane: Lane::Artefacts,
            what: "Lua on Knoll prints the same here, in the emulator, and on newlib's malloc",
            commands: vec![xtask("run --check")],
        },
        Step {
            name: "nim",
            lane: Lane::Artefacts,
            what: "a Nim program with Nim's collector prints and asks the same on libknoll.so as on libc's malloc",
            commands: vec![xtask("nim --check")],
        },
        Step {
            name: "lisp",
            lane: Lane::Artefacts,
            what: "a Lisp of counted cells: every mode, here, sanitized and in the emulator; no cell left",
            commands: vec![xtask("lisp --check")],
        },
        Step {
            name: "workflow",
            lane: Lane::Artefacts,
            what: "a device whose every workflow has a scope: mistakes told by name, 1000 workflows that leave the heap as it was",
            commands: vec![xtask("workflow --check")],
        },
        Step {
            name: "workflows",
            lane: Lane::Artefacts,
            what: "Lua and Lisp, 100 workflows each beside growing tables: scopes keep 97 % of what is free in one piece",
            commands: vec![xtask("workflows --quick")],
        },
        Step {
            name: "grain",
            lane: Lane::Cargo,
            what: "Grain's runtime in WebAssembly, run in Node: counts, children, cycles, exact budgets of memory",
            commands: vec![
                with(
                    "clippy --quiet -p libknoll --no-default-features --features capi,grain,layout-wide \
                     --target wasm32-unknown-unknown -- -D warnings",
                ),
                xtask("grain --check"),
            ],
        },
        Step {
            name: "imports",
            lane: Lane::Artefacts,
            what: "knoll-imports: each rule for a firmware's imports, what breaks it and what does not; a tree that breaks all",
            commands: vec![xtask("python-tools imports")],
        },
        Step {
            name: "ffi",
            lane: Lane::Artefacts,
            what: "knoll_ffi.py over libknoll.so in MicroPython, on its own heap and on Knoll's: finalisers that raise, scopes, reports",
            commands: vec![xtask("python-tools ffi")],
        },
        Step {
            name: "natmod",
            lane: Lane::Artefacts,
            what: "knoll_heap.mpy: heaps and arenas as a native module, here and on the emulated Cortex-M3; no state in its archive",
            commands: vec![xtask("python-tools natmod")],
        },
        Step {
            name: "micropython",
            lane: Lane::Artefacts,
            what: "MicroPython on Knoll's heap: a selection of its own tests, here and on the emulated Cortex-M3; knoll-emu mpy and mpy-serve",
            commands: vec![xtask("micropython --quick"), on_micropython],
        },
        Step {
            name: "counts-micropython",
            lane: Lane::Artefacts,
            what: "instructions per call under MicroPython's firmware, against the checked-in table",
            commands: vec![xtask("counts-micropython")],
        },
        Step {
            name: "miri",
            lane: Lane::Cargo,
            what: "the Rust tests under Miri, a short run: provenance and aliasing, 64 and 32 bit",
            commands: vec![xtask("miri --quick")],
        },
        Step {
            name: "c-host",
            lane: Lane::Artefacts,
            what: "C tests here: libknoll.so, libknoll.a, ASan and UBSan, Valgrind; faults planted on purpose",
            commands: vec![xtask("c-tests --host")],
        },
        Step {
            name: "c-firmware",
            lane: Lane::Artefacts,
            what: "the same C tests as firmware on Cortex-M0, M3 and M4, every write watched",
            commands: vec![xtask("c-tests --firmware")],
        },
    ])
}

/// `cargo` with the arguments of a line.
fn with(line: &str) -> Command {
    let mut command = cargo();
    command.args(line.split(' '));
    command
}

// ---------------------------------------------------------------- summing up

fn summarise(outcomes: &[Outcome], took: Duration) -> Result<()> {
    let mut table = new_table(["step", "passed", "failed", "time", "processor"]);
    for outcome in outcomes {
        table.add_row([
            outcome.name.to_owned(),
            outcome.passed.to_string(),
            outcome.failed.to_string(),
            seconds(outcome.took),
            seconds(outcome.processor),
        ]);
    }
    let passed: usize = outcomes.iter().map(|outcome| outcome.passed).sum();
    let failed: usize = outcomes.iter().map(|outcome| outcome.failed).sum();
    let processor = outcomes.iter().map(|outcome| outcome.processor).sum();
    table.add_row(["all".to_owned(), passed.to_string(), failed.to_string(), seconds(took), seconds(processor)]);
    println!("\n{table}\n");
    let broken: Vec<&str> = outcomes.iter().filter(|outcome| outcome.failed > 0).map(|outcome| outcome.name).collect();
    if !broken.is_empty() {
        println!("Failed steps: {}; their logs are in {}", broken.join(", "), shown(&target_dir().join("test-logs")));
        println!("Again, alone: cargo xtask test {}", broken.join(" "));
    }
    println!("{passed} passed, {failed} failed");
    if !broken.is_empty() {
        bail!("{} of {} steps failed", broken.len(), outcomes.len());
    }
    Ok(())
}

fn cases(count: usize) -> String {
    format!("{count} {}", if count == 1 { "case" } else { "cases" })
}

fn shown(path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root()).unwrap_or(path).into();
    path.display().to_string()
}
