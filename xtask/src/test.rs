//! `cargo xtask test`: every test there is, step by step.
//!
//! - Each step is announced, timed, and keeps its whole output in `target/test-logs/STEP.log`;
//!   when it fails, the end of that log is shown. A failed step does not stop the later ones.
//! - A long step says every half minute that it lives, with the last line it has printed; one that
//!   does not end within `--limit` is stopped, with all processes it has started, and has failed.
//! - The last line is `N passed, N failed`: the cases that the steps counted themselves, or one
//!   for a step that counts none. The exit status is 0 iff none failed.
//! - `cargo xtask test STEP…` runs some; `--list` names them all.

use crate::util::{announce, cargo, display, emu_target_dir, new_table, note, program, root, target_dir};
use anyhow::{bail, Context, Result};
use console::style;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
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
}

/// A part of the test run: commands in order, all of them, whatever fails.
struct Step {
    name: &'static str,
    what: &'static str,
    commands: Vec<Command>,
}

/// How a step went.
struct Outcome {
    name: &'static str,
    took: Duration,
    passed: usize,
    failed: usize,
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
    let count = steps.len();
    let begin = Instant::now();
    let mut outcomes = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        announce(format!("[{}/{count}] {}: {}", number + 1, step.name, step.what));
        outcomes.push(run_step(step, Duration::from_secs(args.limit), &logs)?);
    }
    summarise(&outcomes, begin.elapsed())
}

// ---------------------------------------------------------------- the steps

/// All steps, cheapest and most telling first.
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
    Ok(vec![
        Step {
            name: "format",
            what: "rustfmt changes nothing",
            commands: vec![with("fmt --all --check"), emu("fmt --check")],
        },
        Step {
            name: "lint",
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
            what: "links, licences, the program in README.md, nothing unfinished",
            commands: vec![xtask("rules")],
        },
        Step {
            name: "unit",
            what: "Rust tests with overflow checks, 64 bit",
            commands: vec![
                with("test --quiet --no-fail-fast -p libknoll -p knoll-shadow"),
                // In the profile that built xtask: its dependencies are there already.
                with("test --quiet -p xtask --profile dev"),
            ],
        },
        Step {
            name: "unit32",
            what: "the same, 32 bit (i686)",
            commands: vec![with("test --quiet --no-fail-fast -p libknoll --target i686-unknown-linux-gnu")],
        },
        Step {
            name: "features",
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
            what: "knoll.h is what the source gives, clean in C99 to C++17, its enums alike everywhere",
            commands: vec![xtask("header --check")],
        },
        Step {
            name: "emu",
            what: "the Unicorn harness: counts, faults, write watch (its first build takes a while)",
            commands: vec![emu("test --quiet --release")],
        },
        Step {
            name: "c-host",
            what: "C tests here: libknoll.so, libknoll.a, ASan and UBSan, Valgrind; faults planted on purpose",
            commands: vec![xtask("c-tests --host")],
        },
        Step {
            name: "c-firmware",
            what: "the same C tests as firmware on Cortex-M0, M3 and M4, every write watched",
            commands: vec![xtask("c-tests --firmware")],
        },
        Step {
            name: "counts",
            what: "instructions per call in the emulator, against the checked-in table",
            commands: vec![xtask("counts")],
        },
        Step {
            name: "counts-counted",
            what: "the same for counted cells: single calls on Cortex-M4 and here, the programs of the figures in small",
            commands: vec![xtask("counts-counted")],
        },
        Step {
            name: "counts-arena",
            what: "the same for scopes and arenas: single calls on Cortex-M0, M3, M4 and here, footprints behind a rewind",
            commands: vec![xtask("counts-arena")],
        },
        Step {
            name: "counts-hosted",
            what: "the same for libknoll.so as malloc: pairs, calloc, realloc, aligned, counted by single steps",
            commands: vec![xtask("counts-hosted")],
        },
        Step {
            name: "witness",
            what: "each store of scopes watched in the emulator; the cost of fingerprints and the fragmentation witness",
            commands: vec![xtask("witness --check")],
        },
        Step {
            name: "dist",
            what: "archives: only kn_* and GC_* global, no panic, two Rust archives in one firmware",
            commands: vec![xtask("dist --check")],
        },
        Step {
            name: "package",
            what: "install, pkg-config, CMake find_package and FetchContent, the C examples",
            commands: vec![xtask("install --check")],
        },
        Step {
            name: "preload",
            what: "ls, git, python3 and others on libknoll.so; threads, fork, errno; objects counted in threads",
            commands: vec![xtask("preload")],
        },
        Step {
            name: "hosted",
            what: "libknoll.so as the malloc of a process: every size and edge, refused calls, forks, threads, signals, memory back",
            commands: vec![xtask("hosted")],
        },
        Step {
            name: "reports",
            what: "what libknoll.so tells of itself: kn_process_*, KNOLL_STATS, KNOLL_DUMP_SIGNAL, last words",
            commands: vec![xtask("reports")],
        },
        Step {
            name: "detection",
            what: "116 programs that misuse memory: what libknoll.so catches, as it is and hardened; no false alarm",
            commands: vec![xtask("detection")],
        },
        Step {
            name: "lua",
            what: "Lua on Knoll prints the same here, in the emulator, and on newlib's malloc",
            commands: vec![xtask("run --check")],
        },
        Step {
            name: "nim",
            what: "a Nim program with Nim's collector prints and asks the same on libknoll.so as on libc's malloc",
            commands: vec![xtask("nim --check")],
        },
        Step {
            name: "lisp",
            what: "a Lisp of counted cells: every mode, here, sanitized and in the emulator; no cell left",
            commands: vec![xtask("lisp --check")],
        },
        Step {
            name: "workflow",
            what: "a device whose every workflow has a scope: mistakes told by name, 1000 workflows that leave the heap as it was",
            commands: vec![xtask("workflow --check")],
        },
        Step {
            name: "workflows",
            what: "Lua and Lisp, 100 workflows each beside growing tables: scopes keep 97 % of what is free in one piece",
            commands: vec![xtask("workflows --quick")],
        },
        Step {
            name: "grain",
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
            what: "knoll-imports: each rule for a firmware's imports, what breaks it and what does not; a tree that breaks all",
            commands: vec![xtask("python-tools imports")],
        },
        Step {
            name: "ffi",
            what: "knoll_ffi.py over libknoll.so in MicroPython, on its own heap and on Knoll's: finalisers that raise, scopes, reports",
            commands: vec![xtask("python-tools ffi")],
        },
        Step {
            name: "natmod",
            what: "knoll_heap.mpy: heaps and arenas as a native module, here and on the emulated Cortex-M3; no state in its archive",
            commands: vec![xtask("python-tools natmod")],
        },
        Step {
            name: "miri",
            what: "the Rust tests under Miri, a short run: provenance and aliasing, 64 and 32 bit",
            commands: vec![xtask("miri --quick")],
        },
    ])
}

/// `cargo` with the arguments of a line.
fn with(line: &str) -> Command {
    let mut command = cargo();
    command.args(line.split(' '));
    command
}

// ---------------------------------------------------------------- running one

fn run_step(step: Step, limit: Duration, logs: &Path) -> Result<Outcome> {
    let path = logs.join(format!("{}.log", step.name));
    let mut log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let begin = Instant::now();
    let mut failures = Vec::new();
    for mut command in step.commands {
        writeln!(log, "$ {}", display(&command))?;
        command.current_dir(root()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        let status = wait(&mut command, begin, limit, &path)?;
        if !status.success() {
            failures.push(format!("{} ({status})", display(&command)));
        }
    }
    let text = std::fs::read(&path)?;
    let text = String::from_utf8_lossy(&text);
    let (mut passed, mut failed) = counts(&text);
    let took = begin.elapsed();
    if failures.is_empty() && passed + failed == 0 {
        passed = 1;
    }
    if failures.is_empty() && failed > 0 {
        failures.push("its log counts failures, and yet it exited with 0".to_owned());
    }
    // A command may not fail and count no failure, either.
    failed = failed.max(failures.len());
    if failed == 0 {
        note(format!("{} {} in {}", style("ok").green(), cases(passed), seconds(took)));
    } else {
        note(format!("{} after {}: {}", style("FAILED").red().bold(), seconds(took), failures.join("; ")));
        note(format!("the end of {}:", shown(&path)));
        for line in tail(&text, 60) {
            eprintln!("    | {line}");
        }
    }
    Ok(Outcome { name: step.name, took, passed, failed })
}

/// Waits for a command, with a sign of life every half minute.
fn wait(command: &mut Command, begin: Instant, limit: Duration, log: &Path) -> Result<ExitStatus> {
    let mut child = command.spawn().with_context(|| format!("cannot start {}", display(command)))?;
    let mut next = Duration::from_secs(30);
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(250));
        if begin.elapsed() > next {
            next += Duration::from_secs(30);
            let text = std::fs::read(log).unwrap_or_default();
            let last = tail(&String::from_utf8_lossy(&text), 1).pop().unwrap_or_default();
            note(style(format!("… {}: {}", seconds(begin.elapsed()), last.trim())).dim().to_string());
        }
        if begin.elapsed() > limit {
            note(format!("it does not end: stopped after {}", seconds(begin.elapsed())));
            let mut family: Vec<String> = descendants(child.id()).iter().map(u32::to_string).collect();
            family.push(child.id().to_string());
            Command::new("kill").arg("-KILL").args(family).status()?;
        }
    }
}

/// The processes that a process has started, and theirs: ending a test driver alone would leave
/// the test that hangs.
fn descendants(parent: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<u32> =
        lists.flat_map(|list| list.split(' ').filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect();
    children.into_iter().flat_map(|id| descendants(id).into_iter().chain([id])).collect()
}

/// The cases that a log counts: libtest's result lines and our own `N passed, N failed`.
fn counts(log: &str) -> (usize, usize) {
    let mut sum = (0, 0);
    for line in log.lines() {
        let line = console::strip_ansi_codes(line.trim()).replace(';', ",");
        let line =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")).map_or(&*line, |rest| rest.1);
        let mut parts = line.split(", ");
        let number = |part: Option<&str>, word| part.and_then(|part| part.strip_suffix(word)?.parse::<usize>().ok());
        let passed = number(parts.next(), " passed");
        let failed = number(parts.next(), " failed");
        if let (Some(passed), Some(failed)) = (passed, failed) {
            sum = (sum.0 + passed, sum.1 + failed);
        }
    }
    sum
}

fn tail(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

// ---------------------------------------------------------------- summing up

fn summarise(outcomes: &[Outcome], took: Duration) -> Result<()> {
    let mut table = new_table(["step", "passed", "failed", "time"]);
    for outcome in outcomes {
        table.add_row([
            outcome.name.to_owned(),
            outcome.passed.to_string(),
            outcome.failed.to_string(),
            seconds(outcome.took),
        ]);
    }
    let passed: usize = outcomes.iter().map(|outcome| outcome.passed).sum();
    let failed: usize = outcomes.iter().map(|outcome| outcome.failed).sum();
    table.add_row(["all".to_owned(), passed.to_string(), failed.to_string(), seconds(took)]);
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

fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0..=59 => format!("{:.1} s", took.as_secs_f64()),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

fn shown(path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root()).unwrap_or(path).into();
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn counts_cases_of_every_harness() {
        assert_eq!(counts("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured\n"), (12, 0));
        assert_eq!(counts("test result: FAILED. 3 passed; 2 failed; 0 ignored\nx\n7 passed, 1 failed\n"), (10, 3));
        assert_eq!(counts("all 12 passed\n12 passed\nnothing, 0 failed\n"), (0, 0));
    }
}
