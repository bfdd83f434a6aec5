//! `knoll-emu`: the command line of the harness.
//!
//! The firmware's stdout is this program's stdout and nothing else is printed there; the report
//! goes to stderr, the figures to `--json`. The exit status is the firmware's, or 120 (fault),
//! 121 (bad write), 124 (budget used up), 125 (no run: bad arguments, no such file).

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use knoll_emu::cpu::Cpu;
use knoll_emu::fault::STATUS_HARNESS;
use knoll_emu::micropython::figures::{self, Task};
use knoll_emu::micropython::terminal;
use knoll_emu::report::Report;
use knoll_emu::Options;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::time::Instant;

/// Runs Cortex-M firmware in an emulator, counts its instructions and watches its writes.
#[derive(Parser)]
#[command(name = "knoll-emu", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a firmware to its end.
    ///
    /// Exit status: the firmware's own; 120 after a fault, 121 after a bad write (--watch),
    /// 124 when the budget is used up, 125 when it could not be run at all.
    Run(RunArguments),
    /// Run scripts on MicroPython's firmware (port qemu, MPS2-AN385) and say what their marks cost.
    Mpy(MpyArguments),
    /// MicroPython's firmware with its serial port on standard input and output.
    ///
    /// For run-tests.py: `-t exec:"knoll-emu mpy-serve FIRMWARE"`. It ends with its input, or when the firmware
    /// exits; after a bad end it boots again and goes on, and the exit status is that of the first bad end.
    MpyServe(ServeArguments),
}

#[derive(Args)]
struct MpyArguments {
    /// MicroPython's firmware.elf.
    firmware: PathBuf,
    /// Scripts, run one after the other on one machine: globals stay.
    #[arg(required = true)]
    scripts: Vec<PathBuf>,
    /// Stop a script at so many instructions.
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "4G")]
    budget: u64,
    /// Fail if Knoll writes outside MicroPython's heap and the stack.
    #[arg(long)]
    watch: bool,
    /// Say which functions and blocks the instructions between marks are in: slow.
    #[arg(long)]
    profile: bool,
    /// Count marks alone, nothing of the collector's.
    #[arg(long)]
    plain: bool,
    /// Write the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the scripts' output and no figures.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Args)]
struct ServeArguments {
    /// MicroPython's firmware.elf.
    firmware: PathBuf,
    /// Fail if Knoll writes outside MicroPython's heap and the stack.
    #[arg(long)]
    watch: bool,
    /// Stop the machine after so many instructions without input.
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "4G")]
    budget: u64,
    /// At the end say on standard error how many instructions ran.
    #[arg(long)]
    count: bool,
}

#[derive(Args)]
struct RunArguments {
    /// The firmware, built by emu/firmware/build.sh.
    firmware: PathBuf,
    /// The processor: m0, m3 or m4 [default: what the file was built for].
    #[arg(long)]
    cpu: Option<Cpu>,
    /// Stop when so many instructions were executed (12M and 3G work too).
    #[arg(long, value_name = "N", value_parser = parse_count)]
    budget: Option<u64>,
    /// An argument for the firmware; repeat it for more.
    #[arg(long = "arg", value_name = "A", allow_hyphen_values = true)]
    arguments: Vec<String>,
    /// The folder the firmware may read; it may write below out/ in it.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Count the instructions of each call of these functions (a trailing * takes all that begin so).
    #[arg(long, value_name = "SYM,...", value_delimiter = ',')]
    measure: Vec<String>,
    /// Leave the instructions of these functions out of all measurements and count them apart.
    #[arg(long, value_name = "SYM,...", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Fail if Knoll writes outside its heaps, its own statics and the stack.
    #[arg(long)]
    watch: bool,
    /// Find the deepest stack, of the run and of each measured function.
    #[arg(long)]
    stack: bool,
    /// Write the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print no report unless the run ends badly.
    #[arg(long, short)]
    quiet: bool,
}

/// A number, with K, M or G for thousands, millions or milliards.
fn parse_count(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'm' | 'M')) => (&text[..at], 1_000_000),
        Some((at, 'g' | 'G')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let number: u64 = digits.replace('_', "").parse().map_err(|_| format!("'{text}' is no number of instructions"))?;
    number.checked_mul(unit).ok_or_else(|| format!("'{text}' is too large"))
}

fn write_json(path: &Path, what: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(what)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}

fn run(arguments: RunArguments) -> Result<i32> {
    let name = arguments.firmware.display().to_string();
    let mut argv = vec![name.clone()];
    argv.extend(arguments.arguments);
    let options = Options {
        cpu: arguments.cpu,
        budget: arguments.budget,
        arguments: argv,
        folder: arguments.dir,
        measure: arguments.measure,
        exclude: arguments.exclude,
        watch: arguments.watch,
        stack: arguments.stack,
        ..Options::default()
    };
    let start = Instant::now();
    let finished = knoll_emu::run(&arguments.firmware, &options)?;
    let report = Report::of(&name, &finished, start.elapsed().as_secs_f64());
    // Its output first, so that the report stands below it on a terminal.
    std::io::stdout().flush().ok();
    let failed = report.end.kind != "exit";
    if failed || (report.is_worth_showing() && !arguments.quiet) {
        eprint!("{}", report.text(finished.end.state()));
    }
    if let Some(path) = arguments.json {
        write_json(&path, &report)?;
    }
    Ok(report.status)
}

fn run_scripts(arguments: MpyArguments) -> Result<i32> {
    let MpyArguments { firmware, scripts, budget, watch, profile, plain, json, quiet } = arguments;
    let figures = figures::measure(&Task { firmware, scripts, budget, watch, profile, plain })?;
    print!("{}", figures.output);
    std::io::stdout().flush().ok();
    if !quiet {
        eprint!("{}", figures.text());
    }
    if let Some(path) = json {
        write_json(&path, &figures)?;
    }
    Ok(0)
}

fn serve(arguments: ServeArguments) -> Result<i32> {
    let session = terminal::serve(&arguments.firmware, arguments.watch, arguments.budget)?;
    if arguments.count {
        eprintln!("instructions: {}", session.instructions);
    }
    if arguments.watch {
        eprintln!("stores by Knoll: {}", session.watched);
    }
    Ok(session.status)
}

fn main() {
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => {
            // --help and --version come here too, and are no failure.
            let status = if error.use_stderr() { STATUS_HARNESS } else { 0 };
            error.print().ok();
            exit(status);
        }
    };
    let done = match command {
        Command::Run(arguments) => run(arguments),
        Command::Mpy(arguments) => run_scripts(arguments),
        Command::MpyServe(arguments) => serve(arguments),
    };
    match done {
        Ok(status) => exit(status),
        Err(error) => {
            eprintln!("knoll-emu: {error:#}");
            exit(STATUS_HARNESS);
        }
    }
}
