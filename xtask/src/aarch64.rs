//! `cargo xtask aarch64`: libknoll.so on 64-bit Arm, emulated by QEMU.
//!
//! - The library has its thread-local storage there by initial-exec assembly, too, and needs libc alone.
//! - The Rust tests of the process heap pass, whose bits are then changed by portable atomics.
//! - C programs that are linked with it do what they do on x86-64: malloc's contract edge by edge, signal handlers, a
//!   server whose memory goes back.
//! - QEMU translates instructions and passes system calls on. It keeps this machine's strong order of memory accesses: what a
//!   processor of that kind may reorder is shown by the models of `tests/loom`, not here. A program that forks while it has
//!   threads is more than it can do, and its own memory grows: what is about these runs on x86-64 alone.

use crate::fixture::{outcomes_of, record_all};
use crate::install::{prints, SERVER};
use crate::shared::check_storage;
use crate::util::{announce, cargo, note, program, root, run as run_aloud, work_dir, Library, Tally};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const GCC: &str = "aarch64-linux-gnu-gcc";
/// QEMU, and where the programs find their loader and libc.
const QEMU: [&str; 3] = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"];

/// The fixtures, and their arguments.
const FIXTURES: &[(&str, &[&str])] = &[("hosted_edges", &[]), ("hosted_signals", &["5"])];

/// Options of `cargo xtask aarch64`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: Args) -> Result<()> {
    let mut tally = Tally::default();
    announce("libknoll.so for 64-bit Arm");
    let library = Library { target: Some(TARGET), ..Library::default() }.shared()?;
    tally.record("thread-local storage by initial-exec", check_storage(&library).map(note));
    let work = work_dir("aarch64")?;
    for (name, arguments) in FIXTURES {
        announce(format!("{name}, emulated"));
        let checks = compile(&format!("xtask/fixtures/{name}.c"), &library, &work).and_then(|mut fixture| {
            fixture.args(*arguments);
            outcomes_of(&fixture, None)
        });
        record_all(&mut tally, name, checks);
    }
    announce("A server, emulated");
    let server = compile("examples/c/server.c", &library, &work);
    tally.record("server: its memory goes back", server.and_then(|mut server| prints(&mut server, SERVER)));
    announce("The Rust tests of the process heap, emulated");
    tally.record("cargo test", rust_tests());
    tally.finish()
}

fn rust_tests() -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--quiet", "-p", "libknoll", "--target", TARGET, "--test", "hosted", "--test", "hosted_model"]);
    test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", GCC);
    test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", QEMU.join(" "));
    run_aloud(test.env("KNOLL_OPS", "50000"))
}

/// Compiles a program that is linked with the library (nothing is preloaded into the emulator), and gives the command that
/// runs it.
fn compile(source: &str, library: &Path, work: &Path) -> Result<Command> {
    let out = work.join(Path::new(source).file_stem().context("a file has a name")?);
    let directory = library.parent().context("a library lies in a directory")?;
    let mut compile =
        program(GCC, ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread", "-o"]);
    compile.arg(&out).arg("-I").arg(root().join("include")).arg(root().join(source)).arg(library).arg("-ldl");
    run_aloud(compile.arg(format!("-Wl,-rpath,{}", directory.display())))?;
    let mut emulated = program(QEMU[0], &QEMU[1..]);
    emulated.arg(out);
    Ok(emulated)
}
