//! `cargo xtask COMMAND`: everything about Knoll that is longer than one line of a Makefile.
//!
//! Each command is one module with a clap `Args` structure and `run(Args) -> anyhow::Result<()>`.
//! What two commands need is in [`util`]: say what is run, build an artefact, find the root.

mod dist;
mod header;
mod localise;
mod size;
mod test;
mod util;

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
    /// Package libknoll.a and knoll.h for each target into dist/
    Dist(dist::Args),
    /// Generate include/knoll.h, or check it
    Header(header::Args),
    /// Code size of each public function, and of libknoll.so
    Size(size::Args),
    /// Run every test, or the steps named
    Test(test::Args),
    /// Say where things are: the root, the target directory, the toolchain
    Where,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Dist(args) => dist::run(args),
        Command::Header(args) => header::run(args),
        Command::Size(args) => size::run(args),
        Command::Test(args) => test::run(args),
        Command::Where => util::print_places(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", console::style("error:").red().bold());
            ExitCode::FAILURE
        }
    }
}
