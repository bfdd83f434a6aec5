//! Figures against those that are checked in: they may not get worse by more than 2 %.
//!
//! - A figure that is in one table and not in the other is a failure too.
//! - A figure more than 2 % better is said, so that the table is brought up to it.

use super::calls::{Count, IN_LINE};
use crate::util;
use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// How much worse a figure may get without a change of the table, in percent.
const TOLERANCE: f64 = 2.0;

/// Figures by name; less is better.
pub type Figures = BTreeMap<String, f64>;

/// Options of a command that holds figures to a table.
#[derive(clap::Args)]
pub struct Args {
    /// Write the table instead of comparing with it
    #[arg(long)]
    update: bool,
    /// Show every figure
    #[arg(long)]
    show: bool,
}

/// The columns of [`hold`]'s tables; a figure's name is the first three.
const HEADING: &str = "where,what,figure,instructions";

/// Takes in the calls of a machine, mean and worst, and gives their names. What is in line is left out: it is the C
/// compiler's work and differs between its versions.
pub fn hold_calls(machine: &str, calls: BTreeMap<String, Count>, figures: &mut Figures) -> Vec<String> {
    let held = |(name, _): &(String, Count)| !name.ends_with(IN_LINE);
    let mut names = Vec::new();
    for (name, count) in calls.into_iter().filter(held) {
        figures.insert(format!("{machine},{name},mean"), count.mean);
        figures.insert(format!("{machine},{name},worst"), count.worst as f64);
        names.push(name);
    }
    names
}

/// Holds figures named `WHERE,WHAT,FIGURE` to the table of that form at `path`, or writes it, as `args` say; `command`
/// is what the reader calls this by.
pub fn hold(measured: &Figures, path: &Path, args: &Args, command: &str) -> Result<()> {
    let shown = util::root_relative(path);
    if args.show {
        for (name, value) in measured {
            println!("{:<50} {value:>12.2}", name.replace(',', "  "));
        }
    }
    if args.update {
        let rows: String = measured.iter().map(|(name, value)| format!("{name},{value:.2}\n")).collect();
        std::fs::write(path, format!("{HEADING}\n{rows}")).with_context(|| format!("cannot write {shown}"))?;
        util::note(format!("{} figures written to {shown}", measured.len()));
        return Ok(());
    }
    let known = read(path).with_context(|| format!("in {shown}"))?;
    judge(&known, measured, &shown, &format!("{command} --update"))
}

fn read(path: &Path) -> Result<Figures> {
    let mut figures = Figures::new();
    for line in std::fs::read_to_string(path)?.lines().filter(|line| !line.is_empty() && *line != HEADING) {
        let (name, value) = line.rsplit_once(',').with_context(|| format!("not a row: {line}"))?;
        figures.insert(name.to_owned(), value.parse().with_context(|| line.to_owned())?);
    }
    Ok(figures)
}

/// Says what has changed, counts each figure as a case, and fails if one is worse. `table` and `update` are how the
/// reader finds the table and renews it.
pub fn judge(known: &Figures, measured: &Figures, table: &str, update: &str) -> Result<()> {
    let found = compare(known, measured);
    for line in &found.better {
        util::note(format!("better: {line}"));
    }
    if !found.better.is_empty() {
        util::note(format!("{} figures are better: bring {table} up to them with `{update}`", found.better.len()));
    }
    for line in &found.worse {
        util::note(format!("WORSE: {line}"));
    }
    println!("{} passed, {} failed", measured.len().saturating_sub(found.worse.len()), found.worse.len());
    if !found.worse.is_empty() {
        bail!("{} instruction counts are worse than {table}; if that is meant, `{update}`", found.worse.len());
    }
    Ok(())
}

/// What differs by more than the tolerance.
#[derive(Default)]
struct Comparison {
    worse: Vec<String>,
    better: Vec<String>,
}

fn compare(known: &Figures, measured: &Figures) -> Comparison {
    let mut found = Comparison::default();
    for (name, new) in measured {
        let Some(old) = known.get(name) else {
            found.worse.push(format!("{name}: not in the table"));
            continue;
        };
        let slack = old * TOLERANCE / 100.0 + 1e-6;
        let line = || format!("{name}: {old:.1} to {new:.1}");
        if *new > old + slack {
            found.worse.push(line());
        } else if *new < old - slack {
            found.better.push(line());
        }
    }
    let gone = known.keys().filter(|name| !measured.contains_key(*name));
    found.worse.extend(gone.map(|name| format!("{name}: in the table, not measured")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(mean: f64, worst: f64) -> Figures {
        Figures::from([("m4 malloc mean".to_owned(), mean), ("m4 malloc worst".to_owned(), worst)])
    }

    #[test]
    fn a_worse_count_is_found_and_a_better_one_is_no_failure() {
        let known = figures(50.0, 100.0);
        let outcome = |measured: &Figures| {
            let found = compare(&known, measured);
            (found.worse.len(), found.better.len())
        };
        assert_eq!(outcome(&figures(50.9, 102.0)), (0, 0));
        assert_eq!(outcome(&figures(51.1, 100.0)), (1, 0));
        assert_eq!(outcome(&figures(50.0, 103.0)), (1, 0));
        assert_eq!(outcome(&figures(48.0, 90.0)), (0, 2));
        assert_eq!(outcome(&Figures::new()), (2, 0));
        assert_eq!(compare(&Figures::new(), &known).worse.len(), 2);
        assert!(judge(&known, &figures(60.0, 100.0), "the table", "update").is_err());
        assert!(judge(&known, &known, "the table", "update").is_ok());
    }
}
