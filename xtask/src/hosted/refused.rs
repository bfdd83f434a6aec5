//! The system refuses: every call that a scenario makes, one by one and all from it on.
//!
//! For each scenario of `fixtures/hosted_refused.c`, and for k = 1, 2, 3… until the k-th call is none,
//! one process runs in which the k-th of the calls of libknoll.so to mmap, munmap, mremap, madvise and
//! mprotect fails with `ENOMEM`, and another in which all from the k-th on fail. The program checks
//! itself; here it is counted. At the process's start the loader itself may give up for want of
//! memory (exit status 127): that is counted apart.
//!
//! Two more runs of each scenario have a system that lets no address be chosen.

use crate::fixture::{compile, compile_library};
use crate::util::{new_table, note, program, Tally};
use anyhow::{bail, Context, Result};
use comfy_table::Table;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

/// What the runs of a scenario came to.
#[derive(Default)]
struct Sum {
    calls: u64,
    runs: u64,
    refused: u64,
    nulls: u64,
    loader: u64,
    bad: u64,
}

/// What one process said.
enum Said {
    Counts { calls: u64, refused: u64, nulls: u64 },
    LoaderGaveUp,
}

/// How the system is to behave.
#[derive(Clone, Copy)]
struct Refusal {
    at: u64,
    more: bool,
    hint: u8,
}

/// A call that no scenario reaches.
const NEVER: u64 = 1 << 40;

/// Runs all scenarios; a table of what they came to.
pub fn run(tally: &mut Tally, knoll: &Path, work: &Path, full: bool) -> Result<Table> {
    let fixture = compile("hosted_refused", work)?;
    let refuse = compile_library("hosted_refuse", work)?;
    let preload = format!("{}:{}", refuse.display(), knoll.display());
    let names = crate::util::capture(&mut program(&fixture, ["--list", "0", "0"]))?;
    let mut table = new_table([
        "scenario",
        "its system calls",
        "runs",
        "calls refused",
        "requests NULL",
        "loader gave up",
        "bad runs",
    ]);
    for scenario in names.lines() {
        let mut sum = Sum::default();
        let once = |refusal: Refusal| run_once(&fixture, &preload, scenario, refusal);
        let outcome = each_call(&mut sum, full, once);
        let cells = [sum.calls, sum.runs, sum.refused, sum.nulls, sum.loader, sum.bad].map(|number| number.to_string());
        table.add_row(std::iter::once(scenario.to_owned()).chain(cells));
        tally.record(format!("{scenario}: {} runs in which the system refuses", sum.runs), outcome);
        for (hint, what) in [(1, "every address that is asked for is taken"), (2, "the system chooses all addresses")] {
            let said = once(Refusal { at: NEVER, more: false, hint });
            tally.record(format!("{scenario}: {what}"), said.and_then(nothing_refused));
        }
    }
    Ok(table)
}

fn nothing_refused(said: Said) -> Result<()> {
    match said {
        Said::Counts { calls, nulls: 0, .. } if calls > 0 => Ok(()),
        Said::Counts { calls, nulls, .. } => bail!("{nulls} requests refused after {calls} calls"),
        Said::LoaderGaveUp => bail!("the loader gave up"),
    }
}

/// Each k: until the run in which it is not reached. The short form leaves out ever more of the later ones.
fn each_call(sum: &mut Sum, full: bool, once: impl Fn(Refusal) -> Result<Said>) -> Result<()> {
    let mut bad = Vec::new();
    for more in [false, true] {
        let mut at = 1;
        loop {
            sum.runs += 1;
            match once(Refusal { at, more, hint: 0 }) {
                Ok(Said::Counts { refused: 0, calls, .. }) => {
                    sum.calls = sum.calls.max(calls);
                    break;
                }
                Ok(Said::Counts { refused, nulls, .. }) => {
                    sum.refused += refused;
                    sum.nulls += nulls;
                }
                Ok(Said::LoaderGaveUp) => sum.loader += 1,
                Err(error) => bad.push(format!("call {at}{}: {error:#}", if more { " and all after it" } else { "" })),
            }
            sum.bad = bad.len() as u64;
            if bad.len() > 20 {
                break;
            }
            at += if full { 1 } else { 1 + at / 3 };
        }
    }
    match bad.first() {
        Some(first) => bail!("{} bad runs, the first: {first}", bad.len()),
        None => Ok(()),
    }
}

fn run_once(fixture: &Path, preload: &str, scenario: &str, refusal: Refusal) -> Result<Said> {
    let (at, more) = (refusal.at.to_string(), u8::from(refusal.more).to_string());
    let mut command = program(fixture, [scenario, &at, &more]);
    command.env_clear().env("LD_PRELOAD", preload).env("REFUSE_HINT", refusal.hint.to_string());
    if scenario == "start" {
        command.env("REFUSE_AT", &at).env("REFUSE_ALL", &more);
    }
    let output = command.output().with_context(|| format!("cannot run {}", fixture.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(127) && scenario == "start" {
        note(format!("the loader, call {at}: {}", told.trim()));
        return Ok(Said::LoaderGaveUp);
    }
    if !output.status.success() {
        let signal = output.status.signal().map_or(String::new(), |signal| format!(" (signal {signal})"));
        bail!("{}{signal}\n{text}{}", output.status, told.lines().take(5).collect::<Vec<_>>().join("\n"));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["calls", calls, "refused", refused, "null", nulls] => {
            Ok(Said::Counts { calls: calls.parse()?, refused: refused.parse()?, nulls: nulls.parse()? })
        }
        _ => bail!("it said {text:?}"),
    }
}
