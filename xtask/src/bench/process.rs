//! Running a program that measures itself, and what may come of it.
//!
//! - A program prints one line `figures PROGRAM operations N nanoseconds N peak_kb N` and pairs `NAME N`
//!   (`benches/counted/measure.h`); one that says `error …`, crashes or does not end is a result, not a failure of the
//!   bench.

use crate::util;
use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longer than any peer needs that finishes at all.
const LIMIT: Duration = Duration::from_secs(120);
/// For peers that recurse, in bytes: enough for 10^7 frames.
pub const LARGE_STACK: &str = "--stack=17179869184";
/// What a process has by default in most systems.
pub const USUAL_STACK: &str = "--stack=8388608";

/// A figure, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<T> {
    Found(T),
    /// How it ended instead.
    Failed(String),
}

impl<T> Outcome<T> {
    pub fn found(&self) -> Option<&T> {
        match self {
            Outcome::Found(value) => Some(value),
            Outcome::Failed(_) => None,
        }
    }
}

/// What a program said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    pub operations: u64,
    pub nanoseconds: u64,
    pub peak_kb: u64,
    /// The pairs, by name.
    pub numbers: BTreeMap<String, u64>,
}

impl Said {
    pub fn read(text: &str) -> Result<Said> {
        let mut said = Said::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["figures", _, "operations", operations, "nanoseconds", nanoseconds, "peak_kb", peak] => {
                    said.operations = operations.parse()?;
                    said.nanoseconds = nanoseconds.parse()?;
                    said.peak_kb = peak.parse()?;
                }
                ["error", ..] => bail!("{line}"),
                _ => {
                    for pair in words.chunks_exact(2) {
                        said.numbers.insert(pair[0].to_owned(), pair[1].parse().with_context(|| line.to_owned())?);
                    }
                }
            }
        }
        Ok(said)
    }

    pub fn per_operation(&self) -> f64 {
        self.nanoseconds as f64 / self.operations.max(1) as f64
    }
}

/// Runs a program to its end; what it printed on the standard output.
pub fn finish(command: &mut Command) -> Result<Outcome<String>> {
    command.current_dir(util::root()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", util::display(command)))?;
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(Outcome::Failed(format!("no end in {} s", LIMIT.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    // A few lines: they fit into the pipe, so nothing waits for us to read.
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().context("no output")?, &mut text)?;
    if !status.success() {
        return Ok(Outcome::Failed(reason(status, &text)));
    }
    Ok(Outcome::Found(text))
}

fn reason(status: ExitStatus, text: &str) -> String {
    match status.signal() {
        // What a stack that is too small ends with: a store below it, or Rust's own check.
        Some(11) => "stack overflow (SIGSEGV)".into(),
        Some(6) => "stack overflow (abort)".into(),
        Some(signal) => format!("signal {signal}"),
        None => text.lines().find(|line| line.starts_with("error")).map_or_else(|| status.to_string(), str::to_owned),
    }
}

/// The command that runs a program under a tool, its stack as wanted.
pub fn command(program: &Path, stack: &str, tool: &[&str], arguments: &[&str]) -> Command {
    let mut command = util::program("prlimit", [stack]);
    command.args(tool).arg(program).args(arguments);
    command
}

/// What it printed, read.
pub fn said(outcome: Outcome<String>) -> Result<Outcome<Said>> {
    Ok(match outcome {
        Outcome::Found(text) => Outcome::Found(Said::read(&text)?),
        Outcome::Failed(why) => Outcome::Failed(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_read() -> Result<()> {
        let said = Said::read(
            "longest_cells 7\nfigures churn operations 8 nanoseconds 96 peak_kb 1024\nalive 3 expected 4\n",
        )?;
        assert_eq!((said.operations, said.peak_kb), (8, 1024));
        assert!((said.per_operation() - 12.0).abs() < 1e-9);
        assert_eq!((said.numbers["longest_cells"], said.numbers["alive"], said.numbers["expected"]), (7, 3, 4));
        assert!(Said::read("error no memory\n").is_err());
        Ok(())
    }
}
