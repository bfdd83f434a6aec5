//! `cargo xtask counts`: Knoll's instruction counts against the checked-in table, `benches/embedded/counts.csv`.
//!
//! - Counts every call of fixed workloads in each of Knoll's layouts on Cortex-M4 and Cortex-M0: exact, repeatable.
//! - Fails when a mean or a worst call has become more than 2 % worse than in the table, or when the table's rows are
//!   not those that were measured. A figure more than 2 % better is said, so that the table is brought up to it.
//! - `--update` writes the table. The counts belong to the pinned toolchain and change with it.

use super::contenders::{self, Contender, Machine};
use super::emulate;
use super::gate;
use super::results::{Fit, Smallest};
use super::table::Table;
use super::{count_commands, read_or_empty, side_by_side, traces, BUDGETS};
use crate::util;
use anyhow::{bail, Context, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Options of `cargo xtask counts`.
#[derive(clap::Args)]
pub struct Args {
    /// Write the table instead of comparing with it
    #[arg(long)]
    update: bool,
    /// Show every figure, mean/worst
    #[arg(long)]
    show: bool,
    /// Only this layout, to look at its figures
    #[arg(value_enum)]
    only: Option<Contender>,
}

const HEADING: &str = "machine,allocator,workload,call,mean,worst";

/// Mean and worst of one call, by machine, allocator, workload and call.
type Figures = BTreeMap<String, (f64, u64)>;

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let path = contenders::sources().join("counts.csv");
    let measured = measure(args.only)?;
    if args.show || args.only.is_some() {
        println!("{}", table(&measured).terminal());
    }
    if args.only.is_some() {
        return Ok(());
    }
    let shown = path.strip_prefix(util::root()).unwrap_or(&path).display().to_string();
    if args.update {
        let rows: String = measured.iter().map(|(key, (mean, worst))| format!("{key},{mean:.2},{worst}\n")).collect();
        std::fs::write(&path, format!("{HEADING}\n{rows}")).with_context(|| format!("cannot write {shown}"))?;
        util::note(format!("{} figures written to {shown}", measured.len()));
        return Ok(());
    }
    let known = parse(&read_or_empty(&path)?).with_context(|| format!("in {shown}"))?;
    gate::judge(&named(&known), &named(&measured), &shown, "cargo xtask counts --update")
}

/// One row a call in a workload, one column a machine and layout.
fn table(figures: &Figures) -> Table {
    let mut rows: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    let mut worst_of: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for (key, (mean, worst)) in figures {
        let mut words = key.splitn(3, ',');
        let column = format!("{} {}", words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let row = words.next().unwrap_or_default();
        let most = worst_of.entry((row.rsplit(',').next().unwrap_or_default(), column.clone())).or_default();
        *most = (*most).max(*worst);
        rows.entry(row).or_default().insert(column, format!("{mean:.1}/{worst}"));
    }
    let columns: BTreeSet<&String> = rows.values().flat_map(|row| row.keys()).collect();
    let heading = std::iter::once("").chain(columns.iter().map(|name| name.as_str()));
    let mut table = Table::new("Instructions of a call, mean/worst", heading);
    for (name, row) in &rows {
        table.row(name.replace(',', " "), columns.iter().map(|column| row.get(*column).cloned().unwrap_or_default()));
    }
    for call in ["malloc", "free", "realloc"] {
        let worst = |column: &&String| worst_of.get(&(call, (*column).clone())).map_or(String::new(), u64::to_string);
        table.row(format!("worst of all, {call}"), columns.iter().map(worst));
    }
    table
}

fn measure(only: Option<Contender>) -> Result<Figures> {
    util::announce("Building Knoll's benchmark firmware");
    let emulator = util::emu_binary()?;
    let (traces, assembly) = traces::convert(&util::root().join("traces"), &util::work_dir("bench/traces")?)?;
    let mut jobs = Vec::new();
    for machine in [Machine::M4, Machine::M0] {
        for contender in Contender::KNOLL.into_iter().filter(|one| only.is_none_or(|only| only == *one)) {
            jobs.push((machine, contender, contenders::program(contender, machine, &assembly)?));
        }
    }
    util::announce("Counting the instructions of every call");
    // A heap that stays the same while the allocator changes, and that suits every layout: twice the trace's peak.
    let heaps =
        traces.iter().map(|trace| (trace.name.clone(), Smallest { bytes: trace.peak / 16 * 32, peak: trace.peak }));
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

/// Each figure by its name: the mean and the worst of each measured call.
fn named(figures: &Figures) -> gate::Figures {
    let both = figures.iter().flat_map(|(key, (mean, worst))| {
        let name = key.replace(',', " ");
        [(format!("{name} mean"), *mean), (format!("{name} worst"), *worst as f64)]
    });
    both.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(mean: f64, worst: u64) -> Figures {
        Figures::from([("m4,knoll-map,a,malloc".to_owned(), (mean, worst))])
    }

    #[test]
    fn the_table_reads_back() -> Result<()> {
        let text = format!("{HEADING}\nm4,knoll-map,a,malloc,50.25,100\n");
        assert_eq!(parse(&text)?, figures(50.25, 100));
        assert!(parse("nonsense").is_err());
        Ok(())
    }
}
