//! `cargo xtask fuzz`: libFuzzer looks for operations that break the heap.
//!
//! - `ops`: any operations on any layout, held against the shadow model of the tests.
//! - `corrupt`: blocks overflow, wrong addresses are freed; nothing may crash and nothing outside
//!   the heap be written.
//! - `counted`: any operations on counted cells in any configuration, held against the naive model.
//! - `arena`: any operations on scopes, arenas and what lies in them, held against their model.
//! - `hosted`: any calls of `kn_malloc` and its family in three threads by turns, held against their model.
//! - `traced`: any operations on traced memory in any configuration, held against the oracle of reachability.
//! - `corrupt` once more with `checks-full`, where any byte may be spoiled.
//!
//! They run one after the other, a seventh of the time each. What they have learned stays in
//! `fuzz/corpus/`, what they find in `fuzz/artifacts/`; neither is committed. A finding is made
//! into a test: `cargo +nightly fuzz fmt TARGET FILE` prints it as Rust.

use crate::util::{announce, capture, program, root, run as run_program, target_dir};
use anyhow::{Context, Result};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// How long, all targets together; otherwise KNOLL_FUZZ_SECONDS, otherwise 60
    #[arg(long)]
    seconds: Option<u64>,
    /// Only these targets: ops, counted, arena, hosted, traced, corrupt, corrupt-full
    targets: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    capture(&mut program("cargo", ["fuzz", "--version"]))
        .context("cargo-fuzz is missing: cargo install --locked cargo-fuzz")?;
    let seconds = match (args.seconds, std::env::var("KNOLL_FUZZ_SECONDS")) {
        (Some(seconds), _) => seconds,
        (None, Ok(text)) => text.parse().context("KNOLL_FUZZ_SECONDS is no number")?,
        (None, Err(_)) => 60,
    };
    let all = ["ops", "counted", "arena", "hosted", "traced", "corrupt", "corrupt-full"].map(str::to_owned).to_vec();
    let targets = if args.targets.is_empty() { all } else { args.targets };
    let share = (seconds / targets.len() as u64).max(1);
    for target in &targets {
        announce(format!("fuzzing {target} for {share} s"));
        let mut command = program("rustup", ["run", "nightly", "cargo", "fuzz", "run"]);
        match target.strip_suffix("-full") {
            Some(target) => command.args(["--features", "full", target, "--"]),
            None => command.args([target, "--"]),
        };
        command.arg(format!("-max_total_time={share}"));
        // The arenas reserve address space; AddressSanitizer counts it.
        command.args(["-max_len=600", "-rss_limit_mb=0", "-print_final_stats=1"]);
        command.env("CARGO_TARGET_DIR", target_dir().join("fuzz")).current_dir(root());
        // Of the toolchain that runs this program.
        for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
            command.env_remove(name);
        }
        run_program(&mut command)?;
    }
    println!("{} targets fuzzed for {share} s each without a finding", targets.len());
    Ok(())
}
