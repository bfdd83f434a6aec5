//! Counting a process's instructions on the host, with valgrind.
//!
//! - [`count_instructions`]: all of them, by cachegrind without its caches. Repeatable to about one in ten thousand.
//! - [`count_in_library`], [`count_calls`]: those inside `libknoll.so`, and those from a function's first instruction to
//!   its return, whoever called it, by callgrind. Whatever the C compiler made of the rest is not in them.

use super::process::{command, finish, Outcome, Said, LARGE_STACK};
use crate::util;
use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

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

/// Instructions of an operation: those of a run, less those of one with nothing to do, over what the first says that it
/// did.
pub fn of_an_operation(all: Outcome<(u64, String)>, idle: Outcome<(u64, String)>) -> Result<Outcome<f64>> {
    let (all, idle) = match (all, idle) {
        (Outcome::Found(all), Outcome::Found(idle)) => (all, idle),
        (Outcome::Failed(why), _) | (_, Outcome::Failed(why)) => return Ok(Outcome::Failed(why)),
    };
    let operations = Said::read(&all.1)?.operations;
    Ok(Outcome::Found(all.0.saturating_sub(idle.0) as f64 / operations.max(1) as f64))
}

/// The instructions of a process inside `libknoll.so`, whatever the C compiler made of the rest.
pub fn count_in_library(program: &Path, arguments: &[&str]) -> Result<u64> {
    let count = sum_of_object(&profile(program, arguments)?, "/libknoll.so");
    if count == 0 {
        bail!("{}: nothing was counted in libknoll.so", arguments.join(" "));
    }
    Ok(count)
}

/// How often a process called a function, and the instructions of all these calls, what they call included.
pub fn count_calls(program: &Path, arguments: &[&str], function: &str) -> Result<(u64, u64)> {
    let found = sum_of_calls(&profile(program, arguments)?, function);
    if found.0 == 0 {
        bail!("{}: {function} was not called", arguments.join(" "));
    }
    Ok(found)
}

/// What callgrind writes of a process.
fn profile(program: &Path, arguments: &[&str]) -> Result<String> {
    let file = program.with_extension(format!("{}.callgrind", arguments.join("-").replace(' ', "-")));
    let mut command = util::program("valgrind", ["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", file.display())).arg(program).args(arguments);
    if let Outcome::Failed(why) = finish(&mut command)? {
        bail!("{}: {why}", arguments.join(" "));
    }
    let text = std::fs::read_to_string(&file).context("callgrind's profile")?;
    std::fs::remove_file(&file)?;
    Ok(text)
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

/// Sums the calls of a function in a profile of callgrind, and what they cost: `calls=N …` stands behind the callee's
/// name, and the line after it has the cost.
fn sum_of_calls(profile: &str, function: &str) -> (u64, u64) {
    let mut numbers = BTreeMap::new();
    let (mut wanted, mut costs, mut sum) = (false, false, (0, 0));
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            wanted = *numbers.entry(number).or_insert(name == function);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if wanted {
                sum.0 += calls.split(' ').next().and_then(|calls| calls.parse::<u64>().ok()).unwrap_or_default();
            }
            costs = wanted;
        } else if std::mem::take(&mut costs) {
            sum.1 += line.rsplit(' ').next().and_then(|cost| cost.parse::<u64>().ok()).unwrap_or_default();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_object_s_own_costs_are_summed() {
        let profile = "events: Ir\nob=(1) /bin/programs\nfn=(1) main\n10 5\ncob=(2) /lib/libknoll.so\ncfn=(2) GC_new\n\
                       calls=3 20\n+1 90\n+2 7\nob=(2)\nfn=(2)\n20 60\n* 30\nob=(1)\nfn=(3) exit\n30 4\n";
        assert_eq!(sum_of_object(profile, "/libknoll.so"), 90);
        assert_eq!(sum_of_object(profile, "/programs"), 16);
        assert_eq!(sum_of_calls(profile, "GC_new"), (3, 90));
        assert_eq!(sum_of_calls(profile, "GC"), (0, 0));
    }
}
