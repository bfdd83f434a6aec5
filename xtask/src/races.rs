//! `cargo xtask races`: the tests with threads under ThreadSanitizer, which tells of data races.
//!
//! - It needs nightly Rust with its sources, because the standard library is built anew with the
//!   sanitizer in it: two to three minutes the first time, on the registry's crates only.
//! - What is seen: two accesses to one place, one of them a write, at least one of them not atomic,
//!   with nothing that orders them. The library's locks are atomics, so they are understood.
//! - Not seen: what inline assembly does; that is one thread's own words in thread-local storage.
//! - `make test` leaves it out: the same tests run there without the sanitizer, and under Miri, which
//!   finds races too, with a few operations.

use crate::util::{self, announce, capture, program, target_dir};
use anyhow::{bail, Context, Result};

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
    tests.args(["--lib", "--test", "counted_threads", "--test", "hosted", "--"]).args(args.filters);
    // The sanitizer's own memory is resident too.
    tests.args(["--skip", "memory_goes_back_to_the_system"]);
    tests.env("RUSTFLAGS", "-Zsanitizer=thread").env("TSAN_OPTIONS", "halt_on_error=1");
    util::run(&mut tests)
}
