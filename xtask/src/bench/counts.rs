//! `cargo xtask counts`: Knoll's instruction counts against the checked-in table, `benches/embedded/counts.csv`.
//!
//! - Counts every call of fixed workloads in each of Knoll's layouts on Cortex-M4 and Cortex-M0: exact, repeatable.
//! - Fails when a mean or a worst call has become more than 2 % worse than in the table, or when the table's rows are
//!   not those that were measured. A figure more than 2 % better is said, so that the table is brought up to it.
//! - `--update` writes the table. The counts belong to the pinned toolchain and change with it.

use super::contenders::{self, Contender, Machine};
use super::emulate;
use super::results::{Fit, Smallest};
use super::{count_commands, read_or_empty, side_by_side, traces, BUDGETS};
use crate::util;
use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;

/// Options of `cargo xtask counts`.
#[derive(clap::Args)]
pub struct Args {
    /// Write the table instead of comparing with it
    #[arg(long)]
    update: bool,
}

/// How much worse a figure may get without a change of the table, in percent.
const TOLERANCE: f64 = 2.0;
const HEADING: &str = "machine,allocator,workload,call,mean,worst";

/// Mean and worst of one call, by machine, allocator, workload and call.
type Figures = BTreeMap<String, (f64, u64)>;

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let path = contenders::sources().join("counts.csv");
    let measured = measure()?;
    let shown = path.strip_prefix(util::root()).unwrap_or(&path).display().to_string();
    if args.update {
        let rows: String = measured.iter().map(|(key, (mean, worst))| format!("{key},{mean:.2},{worst}\n")).collect();
        std::fs::write(&path, format!("{HEADING}\n{rows}")).with_context(|| format!("cannot write {shown}"))?;
        util::note(format!("{} figures written to {shown}", measured.len()));
        return Ok(());
    }
    let known = parse(&read_or_empty(&path)?).with_context(|| format!("in {shown}"))?;
    let found = compare(&known, &measured);
    for line in &found.better {
        util::note(format!("better: {line}"));
    }
    if !found.better.is_empty() {
        let count = found.better.len();
        util::note(format!("{count} figures are better: bring {shown} up to them with `cargo xtask counts --update`"));
    }
    for line in &found.worse {
        util::note(format!("WORSE: {line}"));
    }
    // One case a figure: the mean and the worst of each measured call.
    println!("{} passed, {} failed", (2 * measured.len()).saturating_sub(found.worse.len()), found.worse.len());
    if !found.worse.is_empty() {
        let count = found.worse.len();
        bail!("{count} instruction counts are worse than {shown}; if that is meant, `cargo xtask counts --update`");
    }
    Ok(())
}

fn measure() -> Result<Figures> {
    util::announce("Building Knoll's benchmark firmware");
    let emulator = util::emu_binary()?;
    let (traces, assembly) = traces::convert(&util::root().join("traces"), &util::work_dir("bench/traces")?)?;
    let mut jobs = Vec::new();
    for machine in [Machine::M4, Machine::M0] {
        for contender in Contender::KNOLL {
            jobs.push((machine, contender, contenders::program(contender, machine, &assembly)?));
        }
    }
    util::announce("Counting the instructions of every call");
    // A heap that stays the same while the allocator changes: a half more than the trace's peak.
    let heaps =
        traces.iter().map(|trace| (trace.name.clone(), Smallest { bytes: trace.peak / 32 * 48, peak: trace.peak }));
    let fit = Fit { smallest: heaps.collect(), ..Fit::default() };
    let commands = count_commands(&BUDGETS[..1], &fit, &traces);
    let name =
        |(machine, contender, _): &(Machine, Contender, _)| format!("{} on {}", contender.name(), machine.name());
    let outcomes =
        side_by_side(2, &jobs, name, |(machine, _, program)| emulate::count(&emulator, program, *machine, &commands))?;
    let mut figures = Figures::new();
    for ((machine, contender, _), outcome) in jobs.iter().zip(outcomes) {
        for one in outcome {
            let key = format!("{},{},{},{}", machine.name(), contender.name(), one.workload, one.call);
            figures.insert(key, (one.mean, one.worst));
        }
    }
    Ok(figures)
}

fn parse(text: &str) -> Result<Figures> {
    let mut figures = Figures::new();
    for line in text.lines().filter(|line| !line.is_empty() && *line != HEADING) {
        let words: Vec<&str> = line.rsplitn(3, ',').collect();
        let [worst, mean, key] = words[..] else { bail!("not a row: {line}") };
        figures
            .insert(key.to_owned(), (mean.parse().context(line.to_owned())?, worst.parse().context(line.to_owned())?));
    }
    Ok(figures)
}

/// What differs by more than the tolerance.
#[derive(Default)]
struct Comparison {
    worse: Vec<String>,
    better: Vec<String>,
}

fn compare(known: &Figures, measured: &Figures) -> Comparison {
    let mut found = Comparison::default();
    for (key, (mean, worst)) in measured {
        let name = key.replace(',', " ");
        let Some((old_mean, old_worst)) = known.get(key) else {
            found.worse.push(format!("{name}: not in the table"));
            continue;
        };
        for (what, old, new) in [("mean", *old_mean, *mean), ("worst", *old_worst as f64, *worst as f64)] {
            let slack = old * TOLERANCE / 100.0 + 1e-6;
            let line = || format!("{name} {what}: {old:.1} to {new:.1}");
            if new > old + slack {
                found.worse.push(line());
            } else if new < old - slack {
                found.better.push(line());
            }
        }
    }
    let gone = known.keys().filter(|key| !measured.contains_key(*key));
    found.worse.extend(gone.map(|key| format!("{}: in the table, not measured", key.replace(',', " "))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(mean: f64, worst: u64) -> Figures {
        Figures::from([("m4,knoll-map,a,malloc".to_owned(), (mean, worst))])
    }

    #[test]
    fn a_worse_count_is_found_and_a_better_one_is_no_failure() {
        let known = figures(50.0, 100);
        let outcome = |measured: &Figures| {
            let found = compare(&known, measured);
            (found.worse.len(), found.better.len())
        };
        assert_eq!(outcome(&figures(50.9, 102)), (0, 0));
        assert_eq!(outcome(&figures(51.1, 100)), (1, 0));
        assert_eq!(outcome(&figures(50.0, 103)), (1, 0));
        assert_eq!(outcome(&figures(48.0, 90)), (0, 2));
        assert_eq!(outcome(&Figures::new()), (1, 0));
        assert_eq!(compare(&Figures::new(), &known).worse.len(), 1);
    }

    #[test]
    fn the_table_reads_back() -> Result<()> {
        let text = format!("{HEADING}\nm4,knoll-map,a,malloc,50.25,100\n");
        assert_eq!(parse(&text)?, figures(50.25, 100));
        assert!(parse("nonsense").is_err());
        Ok(())
    }
}
