//! `cargo xtask races`: the tests with threads under ThreadSanitizer, which tells of data races.
//!
//! - It needs nightly Rust with its sources, because the standard library is built anew with the
//!   sanitizer in it: two to three minutes the first time, on the registry's crates only.
//! - What is seen: two accesses to one place, one of them a write, at least one of them not atomic,
//!   with nothing that orders them. The library's locks are atomics, so they are understood.
//! - Not seen: what inline assembly does. That is one thread's own words in thread-local storage; the bits of
//!   small blocks are changed by atomics instead in this build (`--cfg knoll_portable`).
//! - The process heap's threads: `hosted`, the model in threads, `KNOLL_OPS` calls (200,000), and the scenes
//!   of `tests/loom` in the system's threads.
//! - `make test` leaves it out: the same tests run there without the sanitizer, and under Miri, which
//!   finds races too, with a few operations.

use crate::util::{self, announce, capture, program, target_dir};
use anyhow::{bail, Context, Result};
use std::process::Command;

/// Options of `cargo xtask races`.
#[derive(clap::Args)]
pub struct Args {
    /// Run the tests whose names contain one of these
    filters: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    const HOW: &str = "rustup toolchain install nightly --profile minimal --component rust-src";
    let components = capture(&mut program("rustup", ["component", "list", "--installed", "--toolchain", "nightly"]))
        .with_context(|| format!("nightly Rust is missing: {HOW}"))?;
    if !components.contains("rust-src") {
        bail!("nightly Rust has no sources: {HOW}");
    }
    announce("the tests with threads under ThreadSanitizer");
    let mut tests = program("rustup", ["run", "nightly", "cargo", "test", "-Zbuild-std", "-p", "libknoll"]);
    tests.args(["--target", &util::host()?, "--target-dir"]).arg(target_dir().join("races"));
    tests.args(["--lib", "--test", "counted_threads", "--test", "hosted", "--test", "hosted_model", "--"]);
    tests.args(&args.filters);
    // The sanitizer's own memory is resident too.
    tests.args(["--skip", "memory_goes_back_to_the_system"]);
    if std::env::var_os("KNOLL_OPS").is_none() {
        tests.env("KNOLL_OPS", "200000");
    }
    util::run(sanitized(&mut tests))?;
    let mut scenes = program("rustup", ["run", "nightly", "cargo", "test", "-Zbuild-std", "--test", "threads"]);
    scenes.args(["--manifest-path", "tests/loom/Cargo.toml", "--target", &util::host()?, "--target-dir"]);
    scenes.arg(target_dir().join("races-models")).arg("--").args(args.filters);
    util::run(sanitized(&mut scenes))
}

fn sanitized(tests: &mut Command) -> &mut Command {
    // Of the toolchain that runs this program.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        tests.env_remove(name);
    }
    tests.env("RUSTFLAGS", "-Zsanitizer=thread --cfg knoll_portable").env("TSAN_OPTIONS", "halt_on_error=1")
}
