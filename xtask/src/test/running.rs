//! Running steps: two lanes side by side, a log for each step, signs of life, an end to what hangs.

use super::{cases, shown, Lane, Step};
use crate::util::{announce, display, note, root};
use anyhow::{Context, Result};
use console::style;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How a step went.
pub struct Outcome {
    pub name: &'static str,
    pub took: Duration,
    /// What all of its processes together have used of processors.
    pub processor: Duration,
    pub passed: usize,
    pub failed: usize,
}

/// What all steps of a run share.
struct Run<'a> {
    /// How many steps there are.
    count: usize,
    limit: Duration,
    logs: &'a Path,
    /// How many were begun, and what came of those that have ended. Who holds it may print several lines.
    state: Mutex<(usize, Vec<Outcome>)>,
}

/// Runs all steps, the lanes side by side unless they are to go in turn; the outcomes are in the order of the steps.
pub fn run_all(steps: Vec<Step>, in_turn: bool, limit: Duration, logs: &Path) -> Result<Vec<Outcome>> {
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    let run = Run { count: steps.len(), limit, logs, state: Mutex::default() };
    let lanes = match in_turn {
        true => vec![VecDeque::from(steps)],
        false => {
            let (first, second): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|step| step.lane == Lane::Cargo);
            vec![first.into(), second.into()]
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = lanes.into_iter().map(|lane| scope.spawn(|| run.lane(lane))).collect();
        running.into_iter().try_for_each(|lane| lane.join().expect("a lane does not panic"))
    })?;
    let (_, mut outcomes) = run.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| names.iter().position(|name| *name == outcome.name));
    Ok(outcomes)
}

impl Run<'_> {
    fn lane(&self, steps: VecDeque<Step>) -> Result<()> {
        for step in steps {
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.0 += 1;
                announce(format!("[{}/{}] {}: {}", state.0, self.count, step.name, step.what));
            }
            self.step(step)?;
        }
        Ok(())
    }

    fn step(&self, step: Step) -> Result<()> {
        let name = step.name;
        let path = self.logs.join(format!("{name}.log"));
        let mut log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let begin = Instant::now();
        let mut processor = Duration::ZERO;
        let mut failures = Vec::new();
        for mut command in step.commands {
            writeln!(log, "$ {}", display(&command))?;
            command.current_dir(root()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
            let mut child = command.spawn().with_context(|| format!("cannot start {}", display(&command)))?;
            let (status, used) = self.wait(&mut child, name, begin, &path)?;
            processor += used;
            if !status.success() {
                failures.push(format!("{} ({status})", display(&command)));
            }
        }
        let text = std::fs::read(&path)?;
        let text = String::from_utf8_lossy(&text);
        let (mut passed, mut failed) = counts(&text);
        let took = begin.elapsed();
        if failures.is_empty() && passed + failed == 0 {
            passed = 1;
        }
        if failures.is_empty() && failed > 0 {
            failures.push("its log counts failures, and yet it exited with 0".to_owned());
        }
        // A command may not fail and count no failure, either.
        failed = failed.max(failures.len());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if failed == 0 {
            note(format!("{} {name}: {} in {}", style("ok").green(), cases(passed), seconds(took)));
        } else {
            note(format!("{} {name} after {}: {}", style("FAILED").red().bold(), seconds(took), failures.join("; ")));
            note(format!("the end of {}:", shown(&path)));
            for line in tail(&text, 60) {
                eprintln!("    | {line}");
            }
        }
        state.1.push(Outcome { name, took, processor, passed, failed });
        Ok(())
    }

    /// Waits for a command of a step, with a sign of life every half minute; what it used of processors.
    fn wait(&self, child: &mut Child, name: &str, begin: Instant, log: &Path) -> Result<(ExitStatus, Duration)> {
        let mut next = begin.elapsed() + Duration::from_secs(30);
        let mut pause = Duration::from_millis(5);
        loop {
            // Once its status is fetched nothing tells of the process any more.
            let used = match Used::of(child.id()) {
                Some(used) if !used.is_over => None,
                Some(used) => Some(used.processor),
                None => Some(Duration::ZERO),
            };
            if let Some(used) = used {
                if let Some(status) = child.try_wait()? {
                    return Ok((status, used));
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(250));
            if begin.elapsed() > next {
                next += Duration::from_secs(30);
                let text = std::fs::read(log).unwrap_or_default();
                let last = tail(&String::from_utf8_lossy(&text), 1).pop().unwrap_or_default();
                note(style(format!("… {name}, {}: {}", seconds(begin.elapsed()), last.trim())).dim().to_string());
            }
            if begin.elapsed() > self.limit {
                note(format!("{name} does not end: stopped after {}", seconds(begin.elapsed())));
                let mut family: Vec<String> = descendants(child.id()).iter().map(u32::to_string).collect();
                family.push(child.id().to_string());
                Command::new("kill").arg("-KILL").args(family).status()?;
            }
        }
    }
}

/// What the system tells of a process.
struct Used {
    /// It has ended, and waits to be asked for its status.
    is_over: bool,
    /// Its own time on processors, and that of all that it has started and waited for.
    processor: Duration,
}

impl Used {
    /// Nothing where there is no /proc.
    fn of(process: u32) -> Option<Used> {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, in parentheses, may contain anything. Times are in hundredths of a second.
        let words: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let times: u64 = words.get(11..15)?.iter().filter_map(|word| word.parse::<u64>().ok()).sum();
        Some(Used { is_over: words[0] == "Z", processor: Duration::from_millis(10 * times) })
    }
}

/// The processes that a process has started, and theirs: ending a test driver alone would leave
/// the test that hangs.
fn descendants(parent: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<u32> =
        lists.flat_map(|list| list.split(' ').filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect();
    children.into_iter().flat_map(|id| descendants(id).into_iter().chain([id])).collect()
}

/// The cases that a log counts: libtest's result lines and our own `N passed, N failed`.
fn counts(log: &str) -> (usize, usize) {
    let mut sum = (0, 0);
    for line in log.lines() {
        let line = console::strip_ansi_codes(line.trim()).replace(';', ",");
        let line =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")).map_or(&*line, |rest| rest.1);
        let mut parts = line.split(", ");
        let number = |part: Option<&str>, word| part.and_then(|part| part.strip_suffix(word)?.parse::<usize>().ok());
        let passed = number(parts.next(), " passed");
        let failed = number(parts.next(), " failed");
        if let (Some(passed), Some(failed)) = (passed, failed) {
            sum = (sum.0 + passed, sum.1 + failed);
        }
    }
    sum
}

fn tail(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

/// A time as one says it.
pub fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0..=59 => format!("{:.1} s", took.as_secs_f64()),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn counts_cases_of_every_harness() {
        assert_eq!(counts("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured\n"), (12, 0));
        assert_eq!(counts("test result: FAILED. 3 passed; 2 failed; 0 ignored\nx\n7 passed, 1 failed\n"), (10, 3));
        assert_eq!(counts("all 12 passed\n12 passed\nnothing, 0 failed\n"), (0, 0));
    }
}
