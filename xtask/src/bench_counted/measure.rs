//! Running a peer's program for one figure, and what may come of it.
//!
//! - Instructions: cachegrind without its caches counts every instruction of the process; the same run with nothing to
//!   do is subtracted. Repeatable to about one in ten thousand.
//! - Time: processor time that the program measures of its own work; the caller takes the least of several runs.
//! - Memory: VmHWM of the same process, at the end of the work.
//! - Longest step: the processor time of every step is recorded in several runs. A step of a peer that does the same
//!   at the same step each time counts with the least of its runs; the longest of these is the figure. So what the
//!   machine adds now here, now there, falls out, and what belongs to the step remains.
//! - A peer that crashes or does not end is a result, not a failure of the bench.

use super::peers::Peer;
use super::programs::{size, Program, Purpose};
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
const LARGE_STACK: &str = "--stack=17179869184";
/// What a process has by default in most systems.
const USUAL_STACK: &str = "--stack=8388608";

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
    /// `longest_cells`, `collections`, `stack`, `alive`, `expected`.
    pub numbers: BTreeMap<String, u64>,
}

impl Said {
    fn read(text: &str) -> Result<Said> {
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
fn finish(command: &mut Command) -> Result<Outcome<String>> {
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

/// The command that runs a peer's program, its stack as wanted.
fn command(program: &Path, stack: &str, tool: &[&str], arguments: &[&str]) -> Command {
    let mut command = util::program("prlimit", [stack]);
    command.args(tool).arg(program).args(arguments);
    command
}

fn stack(peer: Peer) -> &'static str {
    if peer.recurses() {
        LARGE_STACK
    } else {
        USUAL_STACK
    }
}

fn said(outcome: Outcome<String>) -> Result<Outcome<Said>> {
    Ok(match outcome {
        Outcome::Found(text) => Outcome::Found(Said::read(&text)?),
        Outcome::Failed(why) => Outcome::Failed(why),
    })
}

/// One run for time and memory.
pub fn time(peer: Peer, program: Program, built: &Path) -> Result<Outcome<Said>> {
    let count = size(program, Purpose::Time, peer).to_string();
    said(finish(&mut command(built, stack(peer), &[], &[program.name(), &count, "", peer.configuration()]))?)
}

/// A run in which the peer and a walk from the roots count what is alive.
pub fn alive(peer: Peer, program: Program, built: &Path) -> Result<Outcome<Said>> {
    time(peer, program, built)
}

/// The list of 10^7 nodes with the stack that a process usually has.
pub fn usual_stack(peer: Peer, built: &Path) -> Result<Outcome<Said>> {
    let arguments = [Program::List.name(), "10000000", "", peer.configuration()];
    said(finish(&mut command(built, USUAL_STACK, &[], &arguments))?)
}

/// The list of 10^7 nodes dropped on a stack of 4 KB; C programs only.
pub fn small_stack(peer: Peer, built: &Path) -> Result<Outcome<Said>> {
    let arguments = ["small-stack", "10000000", "", peer.configuration()];
    said(finish(&mut command(built, USUAL_STACK, &[], &arguments))?)
}

/// Instructions of an operation.
pub fn instructions(peer: Peer, program: Program, built: &Path) -> Result<Outcome<f64>> {
    let count = size(program, Purpose::Instructions, peer);
    let run = |count: u64| {
        count_instructions(built, stack(peer), &[program.name(), &count.to_string(), "", peer.configuration()])
    };
    let (all, idle) = match (run(count)?, run(0)?) {
        (Outcome::Found(all), Outcome::Found(idle)) => (all, idle),
        (Outcome::Failed(why), _) | (_, Outcome::Failed(why)) => return Ok(Outcome::Failed(why)),
    };
    let operations = Said::read(&all.1)?.operations;
    Ok(Outcome::Found(all.0.saturating_sub(idle.0) as f64 / operations.max(1) as f64))
}

/// Every instruction of a process, and what it printed.
pub fn count_instructions(program: &Path, stack: &str, arguments: &[&str]) -> Result<Outcome<(u64, String)>> {
    // Valgrind does not ask the system how large the stack is; two gigabytes hold 10^6 frames.
    let main_stack = if stack == LARGE_STACK { "--main-stacksize=2147483648" } else { "--main-stacksize=8388608" };
    // Other configurations of the same program may be counted at the same time.
    let log = program.with_extension(format!("{}.cachegrind", arguments.join("-").replace(' ', "-")));
    let log_file = format!("--log-file={}", log.display());
    let tool =
        ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", main_stack, &log_file];
    let text = match finish(&mut command(program, stack, &tool, arguments))? {
        Outcome::Found(text) => text,
        Outcome::Failed(why) => return Ok(Outcome::Failed(why)),
    };
    let report = std::fs::read_to_string(&log).context("cachegrind's report")?;
    let line = report.lines().find(|line| line.contains("refs:")).context("cachegrind counted nothing")?;
    let digits: String = line.rsplit(':').next().unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
    Ok(Outcome::Found((digits.parse().with_context(|| line.to_owned())?, text)))
}

/// The instructions of a process inside `libknoll.so`, whatever the C compiler made of the rest.
pub fn count_in_library(program: &Path, arguments: &[&str]) -> Result<u64> {
    let profile = program.with_extension(format!("{}.callgrind", arguments.join("-").replace(' ', "-")));
    let mut command = util::program("valgrind", ["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", profile.display())).arg(program).args(arguments);
    if let Outcome::Failed(why) = finish(&mut command)? {
        bail!("{}: {why}", arguments.join(" "));
    }
    let count = sum_of_object(&std::fs::read_to_string(&profile).context("callgrind's profile")?, "/libknoll.so");
    std::fs::remove_file(&profile)?;
    if count == 0 {
        bail!("{}: nothing was counted in libknoll.so", arguments.join(" "));
    }
    Ok(count)
}

/// Sums the costs of all functions of one object in a profile of callgrind. A line of two numbers is a position and its
/// cost; the one behind `calls=` is the cost of the callee, which has lines of its own. `(7) NAME` gives a name its
/// number, `(7)` means it again.
fn sum_of_object(profile: &str, object: &str) -> u64 {
    let mut numbers = BTreeMap::new();
    let (mut inside, mut callee, mut sum) = (false, false, 0);
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("ob=").or_else(|| line.strip_prefix("cob=")) {
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            let wanted = *numbers.entry(number).or_insert(name.contains(object));
            if line.starts_with("ob=") {
                inside = wanted;
            }
        } else if line.starts_with("calls=") {
            callee = true;
        } else if let Some((_, cost)) =
            line.split_once(' ').filter(|_| line.starts_with(['+', '-', '*']) || line.starts_with(char::is_numeric))
        {
            if inside && !callee {
                sum += cost.parse::<u64>().unwrap_or_default();
            }
            callee = false;
        }
    }
    sum
}

/// The longest step.
#[derive(Clone, Debug, PartialEq)]
pub struct Longest {
    pub microseconds: f64,
    /// The most cells that one call visited: Knoll only.
    pub cells: Option<u64>,
}

/// Records the steps of several runs.
pub fn steps(peer: Peer, program: Program, built: &Path, runs: u32) -> Result<Outcome<Longest>> {
    let count = size(program, Purpose::Steps, peer).to_string();
    let file = built.with_extension("steps");
    let path = file.display().to_string();
    let mut record: Option<Vec<u32>> = None;
    let mut cells = None;
    for _ in 0..runs {
        let arguments = [program.name(), &count, &path, peer.configuration()];
        match said(finish(&mut command(built, stack(peer), &[], &arguments))?)? {
            Outcome::Found(said) => cells = said.numbers.get("longest_cells").copied(),
            Outcome::Failed(why) => return Ok(Outcome::Failed(why)),
        }
        let bytes = std::fs::read(&file)?;
        let steps =
            bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect();
        record = Some(match record {
            None => steps,
            Some(known) => least(peer, &known, &steps),
        });
    }
    std::fs::remove_file(&file)?;
    let longest = record.unwrap_or_default().into_iter().max().context("no step was recorded")?;
    Ok(Outcome::Found(Longest { microseconds: f64::from(longest) / 1000.0, cells }))
}

/// Two records as one: step by step the lesser, or the record whose longest step is the lesser.
fn least(peer: Peer, known: &[u32], steps: &[u32]) -> Vec<u32> {
    if peer.repeats() && known.len() == steps.len() {
        return known.iter().zip(steps).map(|(left, right)| *left.min(right)).collect();
    }
    let longest = |record: &[u32]| record.iter().max().copied().unwrap_or_default();
    if longest(known) <= longest(steps) { known } else { steps }.to_vec()
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

    #[test]
    fn only_the_object_s_own_costs_are_summed() {
        let profile = "events: Ir\nob=(1) /bin/programs\nfn=(1) main\n10 5\ncob=(2) /lib/libknoll.so\ncfn=(2) GC_new\n\
                       calls=3 20\n+1 90\n+2 7\nob=(2)\nfn=(2)\n20 60\n* 30\nob=(1)\nfn=(3) exit\n30 4\n";
        assert_eq!(sum_of_object(profile, "/libknoll.so"), 90);
        assert_eq!(sum_of_object(profile, "/programs"), 16);
    }

    #[test]
    fn noise_falls_out_of_records_that_repeat_and_no_pause_falls_out_of_others() {
        assert_eq!(least(Peer::Knoll, &[1, 900, 5], &[700, 2, 6]), [1, 2, 5]);
        assert_eq!(least(Peer::Boehm, &[1, 900, 5], &[700, 2, 6]), [700, 2, 6]);
    }
}
