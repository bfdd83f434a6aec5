//! `cargo xtask COMMAND`: everything about Knoll that is longer than one line of a Makefile.
//!
//! Each command is one module with a clap `Args` structure and `run(Args) -> anyhow::Result<()>`.
//! What two commands need is in [`util`]: say what is run, build an artefact, find the root.

mod aarch64;
mod bench;
mod bench_arena;
mod bench_counted;
mod bench_hosted;
mod bench_micropython;
mod c_tests;
mod detection;
mod dist;
mod dropin;
mod fixture;
mod fuzz;
mod grain;
mod header;
mod hosted;
mod install;
mod lisp;
mod localise;
mod micropython;
mod miri;
mod nim;
mod preload;
mod proof;
mod python_tools;
mod races;
mod reports;
mod rules;
mod run;
mod shared;
mod size;
mod test;
mod util;
mod witness;
mod workflow;
mod workflows;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, test, measure and package Knoll.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One variant for each command; its module says what it does.
#[derive(Subcommand)]
enum Command {
    /// libknoll.so on 64-bit Arm, emulated by QEMU: Rust and C tests of the process heap
    Aarch64(aarch64::Args),
    /// Measure Knoll and its rivals as firmware: instructions, memory, code size; writes docs/figures.md
    Bench(bench::Args),
    /// Measure scopes, arenas and their rivals: instructions, time, memory; writes docs/arena-figures.md
    BenchArena(bench_arena::Args),
    /// Measure counted cells and their rivals: instructions, time, memory, longest step; writes docs/counted-figures.md
    BenchCounted(bench_counted::Args),
    /// Measure libknoll.so as malloc beside its rivals; writes docs/hosted-figures.md
    BenchHosted(bench_hosted::Args),
    /// MicroPython's firmware with its own collector and with Knoll's: instructions; writes docs/micropython-figures.md
    BenchMicropython(bench_micropython::Args),
    /// The C tests on the host and in the emulated Cortex-M, and the proof that they can fail
    CTests(c_tests::Args),
    /// Compare Knoll's instruction counts with the checked-in table
    Counts(bench::counts::Args),
    /// The same for scopes and arenas
    CountsArena(bench_arena::counts::Args),
    /// The same for counted cells
    CountsCounted(bench_counted::counts::Args),
    /// The same for MicroPython's firmware on Knoll
    CountsMicropython(bench_micropython::counts::Args),
    /// Programs that misuse memory, and which of them a malloc catches
    Detection(detection::Args),
    /// The same for libknoll.so as malloc
    CountsHosted(bench_hosted::counts::Args),
    /// Let libFuzzer look for operations that break the heap
    Fuzz(fuzz::Args),
    /// MicroPython on Knoll's traced heap, against its own tests, here and in the emulated Cortex-M3
    Micropython(micropython::Args),
    /// Run the tests under Miri: provenance, aliasing, 64 and 32 bit
    Miri(miri::Args),
    /// A Nim program with Nim's own collector on libknoll.so, next to the same on libc
    Nim(nim::Args),
    /// Package libknoll.a and knoll.h for each target into dist/
    Dist(dist::Args),
    /// Real programs on libknoll.so: more than 40, each compared with libc's malloc, memory and time in a table
    Dropin(dropin::Args),
    /// Grain's runtime as a WebAssembly module, and its tests in Node
    Grain(grain::Args),
    /// Generate include/knoll.h, or check it
    Header(header::Args),
    /// libknoll.so as the malloc of a process: conformance, refusals, forks, threads, signals, memory that goes back
    Hosted(hosted::Args),
    /// Install library, header, pkg-config and CMake files
    Install(install::Args),
    /// Run the Lisp of examples/lisp, whose objects are counted cells, here and in the emulated Cortex-M4
    Lisp(lisp::Args),
    /// Real programs with LD_PRELOAD=libknoll.so, next to the same without
    Preload(preload::Args),
    /// libknoll.so as malloc: every order of its threads' steps, every wrong pointer, millions of random calls
    Proof(proof::Args),
    /// knoll-imports, knoll_ffi.py and knoll_heap.mpy: what MicroPython can use without Knoll built in
    PythonTools(python_tools::Args),
    /// Run the tests with threads under ThreadSanitizer
    Races(races::Args),
    /// What libknoll.so tells of itself: kn_process_*, KNOLL_STATS, KNOLL_DUMP_SIGNAL, last words
    Reports,
    /// Verify what the project promises about itself: links, licences, nothing unfinished
    Rules(rules::Args),
    /// Run Lua on Knoll, here and in the emulated Cortex-M4, and report side by side
    Run(run::Args),
    /// Code size of each public function, and of libknoll.so
    Size(size::Args),
    /// How much payload Knoll's layouts hold, natively, in seconds
    Occupancy(bench::occupancy::Args),
    /// Run every test, or the steps named
    Test(test::Args),
    /// Lua and Lisp as 1000 workflows beside growing tables: what scopes keep in one piece; writes docs/workflows.md
    Workflows(workflows::Args),
    /// Say where things are: the root, the target directory, the toolchain
    Where,
    /// A device whose every workflow has a scope, here and in the emulated Cortex-M4
    Workflow(workflow::Args),
    /// What scopes write, store by store, and what the fragmentation witness costs, in the emulator
    Witness(witness::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Aarch64(args) => aarch64::run(args),
        Command::Bench(args) => bench::run(args),
        Command::BenchArena(args) => bench_arena::run(args),
        Command::BenchCounted(args) => bench_counted::run(args),
        Command::BenchHosted(args) => bench_hosted::run(args),
        Command::BenchMicropython(args) => bench_micropython::run(args),
        Command::CTests(args) => c_tests::run(args),
        Command::Counts(args) => bench::counts::run(args),
        Command::CountsArena(args) => bench_arena::counts::run(args),
        Command::CountsCounted(args) => bench_counted::counts::run(args),
        Command::CountsMicropython(args) => bench_micropython::counts::run(args),
        Command::CountsHosted(args) => bench_hosted::counts::run(args),
        Command::Detection(args) => detection::run(args),
        Command::Dist(args) => dist::run(args),
        Command::Dropin(args) => dropin::run(args),
        Command::Fuzz(args) => fuzz::run(args),
        Command::Micropython(args) => micropython::run(args),
        Command::Miri(args) => miri::run(args),
        Command::Nim(args) => nim::run(args),
        Command::Grain(args) => grain::run(args),
        Command::Header(args) => header::run(args),
        Command::Hosted(args) => hosted::run(args),
        Command::Install(args) => install::run(args),
        Command::Lisp(args) => lisp::run(args),
        Command::Preload(args) => preload::run(args),
        Command::Proof(args) => proof::run(args),
        Command::PythonTools(args) => python_tools::run(args),
        Command::Races(args) => races::run(args),
        Command::Reports => reports::run(),
        Command::Rules(args) => rules::run(args),
        Command::Run(args) => run::run(args),
        Command::Size(args) => size::run(args),
        Command::Occupancy(args) => bench::occupancy::run(args),
        Command::Test(args) => test::run(args),
        Command::Workflows(args) => workflows::run(args),
        Command::Where => util::print_places(),
        Command::Workflow(args) => workflow::run(args),
        Command::Witness(args) => witness::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", console::style("error:").red().bold());
            ExitCode::FAILURE
        }
    }
}
