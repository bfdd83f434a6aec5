//! Running one C test program: build it, run it with a time limit, read what it says.
//!
//! - A program's whole output is kept in `target/knoll/c-tests/CONFIGURATION/PROGRAM.log`.
//! - It has passed iff its exit status is 0, its last line says PASS, and no test was left unfinished.
//! - A program that does not end within its limit is ended, and that is a failure.

use crate::util::{display, root_relative};
use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a program says of itself, see `c_tests/harness.c`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Each test and whether it passed; one that was begun and not ended has not.
    pub tests: BTreeMap<String, bool>,
    /// The last line says PASS.
    pub passed: bool,
    /// A test counts once for each layout that it ran with.
    pub runs_passed: u64,
    /// All of them.
    pub runs: u64,
    /// How many checks were made.
    pub checks: u64,
}

impl Report {
    /// Reads a program's output.
    pub fn parse(output: &str) -> Report {
        let mut report = Report::default();
        let mut open: Option<String> = None;
        for line in output.lines() {
            if let Some(name) = test_begun(line) {
                report.tests.entry(name.to_owned()).or_insert(true);
                report.close(&mut open, false);
                open = Some(name.to_owned());
            }
            if line.ends_with(" checks") && line.contains(" ok, ") {
                report.close(&mut open, true);
            }
            if let Some((_, verdict)) = line.split_once(": PASS: ").or_else(|| line.split_once(": FAIL: ")) {
                let numbers: Vec<u64> = verdict.split(' ').filter_map(|word| word.parse().ok()).collect();
                if let [runs_passed, runs, checks, ..] = numbers[..] {
                    report.passed = line.contains(": PASS: ");
                    (report.runs_passed, report.runs, report.checks) = (runs_passed, runs, checks);
                }
            }
        }
        report.close(&mut open, false);
        report
    }

    /// Notes how the test that was begun has ended; once failed, a test stays failed.
    fn close(&mut self, open: &mut Option<String>, passed: bool) {
        if let Some(name) = open.take() {
            self.tests.entry(name).and_modify(|so_far| *so_far &= passed);
        }
    }

    /// The tests that failed.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().filter(|(_, passed)| !**passed).map(|(name, _)| name.as_str())
    }
}

/// The name of the test that a line begins: two blanks, the name, a blank. What a crash adds behind
/// it, or prints on lines of its own, is no name.
fn test_begun(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("  ")?.split_once(' ')?;
    let ordinary = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(ordinary)).then_some(name)
}

/// How a run ended.
pub struct Ended {
    /// What the program said.
    pub report: Report,
    /// Its output.
    pub log: PathBuf,
    /// What went wrong outside its own checks: a crash, a tool's complaint, no end in time.
    pub trouble: Option<String>,
}

impl Ended {
    /// All was well, or what was not.
    pub fn verdict(&self) -> Result<()> {
        let failed: Vec<&str> = self.report.failed().collect();
        if let Some(trouble) = &self.trouble {
            bail!("{trouble}; failed: [{}]; output in {}", failed.join(", "), root_relative(&self.log));
        }
        if !self.report.passed || !failed.is_empty() || self.report.checks == 0 {
            bail!("failed: [{}]; output in {}", failed.join(", "), root_relative(&self.log));
        }
        Ok(())
    }
}

/// Runs a program to its end, its output into `log`.
pub fn run(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let begin = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {}; tools/setup.sh says what is missing", display(command)))?;
    let mut pause = Duration::from_millis(1);
    let trouble = loop {
        if let Some(status) = child.try_wait()? {
            break (!status.success()).then(|| format!("{status}"));
        }
        if begin.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            break Some(format!("no end within {} s", limit.as_secs()));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let output = std::fs::read(log)?;
    let report = Report::parse(&String::from_utf8_lossy(&output));
    Ok(Ended { report, log: log.to_owned(), trouble })
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn a_pass_is_read() {
        let report = Report::parse(
            "basics: Knoll 0.1.0, 64-bit\n  one ok, 12 checks\n  two \n    smallest x = 1.1 of the peak ok, 3 checks\n\
             basics: PASS: 8 of 8 runs passed, 15 checks, 99 bytes compared\n",
        );
        assert!(report.passed && report.failed().next().is_none());
        assert_eq!((report.tests.len(), report.runs_passed, report.runs, report.checks), (2, 8, 8, 15));
    }

    #[test]
    fn failures_and_crashes_are_read() {
        let report =
            Report::parse("p: Knoll\n  one FAILED\n    x.c:1: no\n  two ok, 3 checks\n  three ==12== Bad\n  #0 0x1");
        assert_eq!(report.failed().collect::<Vec<_>>(), ["one", "three"]);
        assert!(!report.passed);
    }
}
