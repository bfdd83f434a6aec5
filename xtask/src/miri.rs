//! `cargo xtask miri`: the tests interpreted, so that every access is checked against its pointer's provenance.
//!
//! - Strict provenance: a pointer made from an integer ends the run, wherever it points.
//! - Both aliasing models, stacked and tree borrows; 64-bit and 32-bit (i686), so granules of 16
//!   and of 8 bytes and both widths of `usize`.
//! - An arena is an allocation that ends where the region ends: one byte too far is seen.
//! - The page protocol of the process heap in threads, over stubs (`tests/loom`), with a schedule of
//!   Miri's own for each seed, which is where races show.
//!
//! Miri takes milliseconds for one operation on the heap, so the tests do fewer of them under it;
//! `KNOLL_OPS` sets how many the long runs do together. `--quick` runs the telling tests once for
//! each width, at the same time, for `make test`; without nightly Rust and Miri it says so and
//! passes, since a fresh machine may not be able to install them.

use crate::util::{announce, capture, display, note, program, root, target_dir};
use anyhow::{bail, Context, Result};
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Options of `cargo xtask miri`.
#[derive(clap::Args)]
pub struct Args {
    /// A minute and a half: fewer tests, fewer operations
    #[arg(long)]
    quick: bool,
    /// How many operations the long runs do together
    #[arg(long)]
    ops: Option<usize>,
    /// Run the tests whose names contain one of these
    filters: Vec<String>,
}

const NARROW: &str = "i686-unknown-linux-gnu";
const WIDE: &str = "x86_64-unknown-linux-gnu";
const TREE: &str = "-Zmiri-tree-borrows";
/// No single interpretation takes longer, or it hangs.
const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// One interpretation: a width, an aliasing model, some tests.
struct Round {
    name: String,
    command: Command,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    if let Err(missing) = ready() {
        if args.quick {
            announce("Miri: skipped");
            note(format!("{missing:#}"));
            return Ok(());
        }
        return Err(missing);
    }
    let begin = Instant::now();
    let pairs: &[(&str, &str)] = if args.quick {
        &[(WIDE, TREE), (NARROW, "")]
    } else {
        &[(WIDE, ""), (NARROW, ""), (WIDE, TREE), (NARROW, TREE)]
    };
    let mut count = 0;
    for pair in pairs.chunks(2) {
        // Two at a time: Miri itself uses one core.
        let rounds = pair.iter().map(|(target, model)| round(&args, target, model)).collect::<Result<Vec<_>>>()?;
        count += rounds.len();
        together(rounds)?;
    }
    count += protocol(if args.quick { 2 } else { 64 })?;
    println!("Miri: {count} interpretations without a finding, {} s", begin.elapsed().as_secs());
    Ok(())
}

/// The page protocol in threads, with so many seeds.
fn protocol(seeds: usize) -> Result<usize> {
    let mut command = program("rustup", ["run", "nightly", "cargo", "miri", "test"]);
    command.args(["--manifest-path", "tests/loom/Cargo.toml", "--test", "threads", "--color", "never"]);
    let flags = format!("-Zmiri-strict-provenance -Zmiri-many-seeds=0..{seeds} {TREE}");
    let command = prepared(command, flags, "protocol");
    together(vec![Round { name: format!("the page protocol in threads, {seeds} seeds"), command }])?;
    Ok(seeds)
}

/// Whether nightly Rust has Miri; if not, how to get it.
fn ready() -> Result<()> {
    const HOW: &str = "rustup toolchain install nightly --profile minimal --component miri,rust-src";
    let components = capture(&mut program("rustup", ["component", "list", "--installed", "--toolchain", "nightly"]))
        .with_context(|| format!("nightly Rust is missing: {HOW}"))?;
    if !components.contains("miri") || !components.contains("rust-src") {
        bail!("nightly Rust has no Miri: {HOW}");
    }
    Ok(())
}

fn round(args: &Args, target: &str, model: &str) -> Result<Round> {
    let ops = args.ops.unwrap_or(if args.quick { 160 } else { 4_000 });
    let mut command = program("rustup", ["run", "nightly", "cargo", "miri", "test", "-p", "libknoll"]);
    command.args(["--target", target, "--color", "never"]);
    let tests = [
        "model",
        "exhaustion",
        "faults",
        "global",
        "counted_model",
        "counted_known",
        "arena_model",
        "arena_known",
        "arena_found",
        "traced_model",
    ];
    for test in tests {
        command.args(["--test", test]);
    }
    if !args.quick {
        command.arg("--lib");
        for test in ["counted_threads", "arena_exhaustion", "resident_model", "witness"] {
            command.args(["--test", test]);
        }
    }
    command.arg("--");
    if args.filters.is_empty() && args.quick {
        command.args([
            "map_layout",
            "compact_layout",
            "wide_layout",
            "nothing_and_null",
            "left_neighbour",
            "region_serves",
            "graphs_follow",
            "unruly_destructors_follow",
            "raw_memory_follows",
            "unruly_callbacks_follow",
            "what_was_grown",
            "escapes_are_promoted",
            "nothing_remembers",
            "words_are_followed",
            "hooks_tell_the_pointers",
        ]);
    }
    command.args(&args.filters);
    let flags = format!("-Zmiri-strict-provenance -Zmiri-env-set=KNOLL_OPS={ops} {model}");
    let model = if model.is_empty() { "stacked borrows" } else { "tree borrows" };
    let command = prepared(command, flags, &format!("{target}-{}", model.replace(' ', "-")));
    Ok(Round { name: format!("{target}, {model}, {ops} operations"), command })
}

/// The command with Miri's flags and a target directory of its own: none waits for another one's build.
fn prepared(mut command: Command, flags: String, directory: &str) -> Command {
    command.env("MIRIFLAGS", flags);
    // Of the toolchain that runs this program.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.env("CARGO_TARGET_DIR", target_dir().join("miri-runs").join(directory));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs them side by side, each into its log; fails with the end of the log of the one that failed.
fn together(rounds: Vec<Round>) -> Result<()> {
    let logs = target_dir().join("test-logs");
    std::fs::create_dir_all(&logs)?;
    let mut running: Vec<(Round, Child, std::path::PathBuf)> = Vec::new();
    for (number, mut round) in rounds.into_iter().enumerate() {
        announce(format!("Miri: {}", round.name));
        note(format!("$ {}", display(&round.command)));
        let path = logs.join(format!("miri-{number}.log"));
        let log = File::create(&path)?;
        round.command.stdout(log.try_clone()?).stderr(log);
        let child = round.command.spawn().context("cannot start rustup")?;
        running.push((round, child, path));
    }
    let begin = Instant::now();
    let mut failed = Vec::new();
    let mut next = Duration::from_secs(30);
    while !running.is_empty() {
        std::thread::sleep(Duration::from_millis(200));
        let mut still = Vec::new();
        for (round, mut child, path) in running {
            let log = || std::fs::read_to_string(&path).unwrap_or_default();
            match child.try_wait()? {
                Some(status) if status.success() => {
                    let lines = log();
                    let results = lines.lines().filter(|line| line.starts_with("test result:"));
                    note(format!("{}: passed after {} s", round.name, begin.elapsed().as_secs()));
                    results.for_each(|line| println!("{line}"));
                }
                Some(status) => {
                    let lines = log();
                    let end: Vec<&str> = lines.lines().rev().take(70).collect();
                    end.iter().rev().for_each(|line| eprintln!("    | {line}"));
                    failed.push(format!("{} ({status}, {})", round.name, path.display()));
                }
                None if begin.elapsed() > LIMIT => {
                    child.kill()?;
                    child.wait()?;
                    failed.push(format!("{} hangs", round.name));
                }
                None => {
                    if begin.elapsed() > next {
                        let lines = log();
                        let last = lines.lines().next_back().unwrap_or_default();
                        note(format!("… {} s, {}: {}", begin.elapsed().as_secs(), round.name, last.trim()));
                    }
                    still.push((round, child, path));
                }
            }
        }
        if begin.elapsed() > next {
            next += Duration::from_secs(30);
        }
        running = still;
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("Miri: {}", failed.join("; "))
}
