//! The tables of `cargo xtask bench`, the files that keep them, and `docs/figures.md`.

use super::contenders::{Contender, Machine};
use super::emulate::Count;
use super::results::{Counts, Fit};
use super::table::{self, Table};
use super::targets;
use super::{Findings, BUDGETS};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::Path;

/// Everything, in the order in which a reader wants it.
pub fn all(findings: &Findings) -> Vec<Table> {
    let mut tables = count_tables(findings, Machine::M4);
    tables.extend(count_tables(findings, Machine::M0));
    let fits: Vec<(Contender, Fit)> = findings.fits.iter().map(|(one, fit)| (*one, fit.clone())).collect();
    tables.extend(fit_tables(&fits));
    tables.push(size_table(findings));
    tables.push(targets::table(findings));
    tables
}

fn kib(bytes: u32) -> String {
    format!("{} KB", bytes / 1024)
}

fn long_name(machine: Machine) -> &'static str {
    match machine {
        Machine::M4 => "Cortex-M4",
        Machine::M0 => "Cortex-M0",
        Machine::I686 => "i686",
    }
}

// ---------------------------------------------------------------- instruction counts

fn three(count: Option<&Count>) -> String {
    count.map_or("-".into(), |one| format!("{:.0}/{}/{}", one.mean, one.p99, one.worst))
}

fn mean_worst(count: Option<&Count>) -> String {
    count.map_or("-".into(), |one| format!("{:.0}/{}", one.mean, one.worst))
}

fn count_tables(findings: &Findings, machine: Machine) -> Vec<Table> {
    let rows: Vec<(Contender, &Counts)> =
        findings.counts.iter().filter(|((on, _), _)| *on == machine).map(|((_, one), counts)| (*one, counts)).collect();
    let mut tables = Vec::new();
    for ram in BUDGETS {
        let place = format!("{}, {}", long_name(machine), kib(ram));
        let mut random = Table::new(
            format!("{place}: instructions of a call, mean/p99/worst, random sizes at 70 % payload"),
            ["", "a malloc", "a free", "a pair", "b malloc", "b free", "b refused"],
        );
        let mut order = Table::new(
            format!("{place}: instructions of a call, mean/worst, and the worst over all workloads and traces"),
            ["", "lifo malloc", "free", "fifo malloc", "free", "comb malloc", "free", "worst malloc", "worst free"],
        );
        let mut realloc = Table::new(
            format!("{place}: realloc without copying, mean/worst; instructions of copying a call; calls that moved"),
            ["", "doubling 16 to 4096", "copying", "moved", "growing by 8", "copying", "moved", "worst realloc"],
        );
        for (contender, counts) in &rows {
            let of = |workload: &str, call: &str| counts.of(ram, workload, call);
            let pair =
                of("a", "malloc").zip(of("a", "free")).map_or("-".into(), |(m, f)| format!("{:.1}", m.mean + f.mean));
            let refused = of("b", "malloc").map_or("-".into(), |one| one.refused.to_string());
            random.row(
                contender.name(),
                [
                    three(of("a", "malloc")),
                    three(of("a", "free")),
                    pair,
                    three(of("b", "malloc")),
                    three(of("b", "free")),
                    refused,
                ],
            );
            let mut cells: Vec<String> = Vec::new();
            for workload in ["lifo", "fifo", "comb"] {
                cells.extend(["malloc", "free"].map(|call| mean_worst(of(workload, call))));
            }
            let worst =
                |call| counts.worst(ram, call).map_or("-".into(), |one| format!("{} ({})", one.worst, one.workload));
            cells.extend([worst("malloc"), worst("free")]);
            order.row(contender.name(), cells);
            let mut cells = Vec::new();
            for workload in ["double", "grow"] {
                let one = of(workload, "realloc");
                cells.push(mean_worst(one));
                cells.push(one.map_or("-".into(), |one| format!("{:.0}", one.copying)));
                cells.push(one.map_or("-".into(), |one| format!("{:.0} %", one.moved)));
            }
            cells.push(worst("realloc"));
            realloc.row(contender.name(), cells);
        }
        tables.extend([random, order, realloc]);
    }
    let mut names: Vec<&str> = rows.iter().flat_map(|(_, counts)| counts.workloads(0)).collect();
    names.sort_unstable();
    names.dedup();
    let heading = std::iter::once("").chain(names.iter().map(|name| name.trim_start_matches("trace:")));
    let title = format!(
        "{}: traces in the smallest heap in which they complete, malloc · free, mean/worst",
        long_name(machine)
    );
    let mut traces = Table::new(title, heading);
    for (contender, counts) in &rows {
        let cell = |name: &&str| {
            format!("{} · {}", mean_worst(counts.of(0, name, "malloc")), mean_worst(counts.of(0, name, "free")))
        };
        traces.row(contender.name(), names.iter().map(cell));
    }
    tables.push(traces);
    tables
}

// ---------------------------------------------------------------- use of memory

/// How memory is used: the same on all machines whose pointers have four bytes. Empty tables are left out.
pub fn fit_tables(fits: &[(Contender, Fit)]) -> Vec<Table> {
    let fields: Vec<(u32, char)> = BUDGETS.iter().flat_map(|ram| [(*ram, 'a'), (*ram, 'b')]).collect();
    let mut occupancy = Table::new(
        "Occupancy, payload in % of RAM: at the first refusal while growing / saturated / highest without refusal",
        std::iter::once(String::new()).chain(fields.iter().map(|(ram, work)| format!("{} {work}", kib(*ram)))),
    );
    let mixes: Vec<(u32, u32)> = fits.first().map(|(_, fit)| fit.shift.keys().copied().collect()).unwrap_or_default();
    let mut shift = Table::new(
        "Shifting size mix, 64 KB: fill, free 90 % at random, fill with another size: payload in % of the RAM not held by survivors",
        std::iter::once(String::new()).chain(mixes.iter().map(|(from, to)| format!("{from} to {to}"))),
    );
    let names: Vec<String> = fits.first().map(|(_, fit)| fit.smallest.keys().cloned().collect()).unwrap_or_default();
    let mut smallest = Table::new(
        "Smallest heap in which a trace completes, over its peak live bytes, and in bytes",
        std::iter::once(String::new()).chain(names.iter().cloned()),
    );
    let mut facts = Table::new(
        "A fresh heap of 64 KB",
        ["", "control bytes", "of it a map", "overhead a block (a)", "largest block of 65536"],
    );
    for (contender, fit) in fits {
        let name = contender.name();
        if !fit.occupancy.is_empty() {
            let cell = |field: &(u32, char)| {
                fit.occupancy
                    .get(field)
                    .map_or("-".into(), |one| format!("{:.1}/{:.1}/{:.1}", one.first, one.saturated, one.highest))
            };
            occupancy.row(name, fields.iter().map(cell));
            shift.row(
                name,
                mixes.iter().map(|mix| fit.shift.get(mix).map_or("-".into(), |placed| format!("{placed:.1}"))),
            );
            facts.row(
                name,
                [fit.control.to_string(), fit.map.to_string(), format!("{:.1}", fit.overhead), fit.largest.to_string()],
            );
        }
        let cell = |trace: &String| match fit.smallest.get(trace) {
            Some(one) if one.bytes > 0 => format!("{:.3} ({})", one.ratio(), one.bytes),
            _ => "none".into(),
        };
        smallest.row(name, names.iter().map(cell));
    }
    [occupancy, shift, smallest, facts].into_iter().filter(|table| !table.is_empty()).collect()
}

fn size_table(findings: &Findings) -> Table {
    let mut table = Table::new(
        "Code and constants at -Os, bytes: init, malloc, free, realloc and all they call; memcpy and its like left out",
        ["", "Cortex-M4", "Cortex-M0"],
    );
    for contender in findings.fits.keys() {
        let size = |machine| findings.sizes.get(&(machine, *contender)).map_or("-".into(), u64::to_string);
        table.row(contender.name(), [size(Machine::M4), size(Machine::M0)]);
    }
    table
}

// ---------------------------------------------------------------- files

/// `m4.csv` and `m0.csv` with every count, `m4.md`, `m0.md` and `memory.md` with the tables.
pub fn store(findings: &Findings, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    for machine in [Machine::M4, Machine::M0] {
        let mut csv = String::from("allocator,ram,workload,call,calls,mean,p99,worst,copying,refused,moved\n");
        for ((_, contender), counts) in findings.counts.iter().filter(|((on, _), _)| *on == machine) {
            for one in &counts.0 {
                writeln!(
                    csv,
                    "{},{},{},{},{},{:.2},{},{},{:.1},{},{:.1}",
                    contender.name(),
                    one.ram,
                    one.workload,
                    one.call,
                    one.calls,
                    one.mean,
                    one.p99,
                    one.worst,
                    one.copying,
                    one.refused,
                    one.moved
                )?;
            }
        }
        table::store(&directory.join(format!("{}.csv", machine.name())), &csv)?;
        table::store(&directory.join(format!("{}.md", machine.name())), &markdown(&count_tables(findings, machine)))?;
    }
    let fits: Vec<(Contender, Fit)> = findings.fits.iter().map(|(one, fit)| (*one, fit.clone())).collect();
    let mut tables = fit_tables(&fits);
    tables.push(size_table(findings));
    table::store(&directory.join("memory.md"), &markdown(&tables))
}

/// `docs/figures.md`: the targets beside what was measured, then all tables and what they mean.
pub fn document(findings: &Findings, path: &Path) -> Result<()> {
    let mut tables = all(findings);
    let targets = tables.pop().context("no table of targets")?;
    let text = format!(
        "{}{}\n{}\n{}\n{}\n",
        table::head(include_str!("figures-head.md"), &findings.commit),
        targets.section("##"),
        targets::summary(findings),
        include_str!("figures-method.md"),
        markdown(&tables).trim_end(),
    );
    table::store(path, &text)
}

/// The README's table.
pub fn readme(findings: &Findings, path: &Path) -> Result<()> {
    targets::brief(findings).renew(path, "make bench")
}

fn markdown(tables: &[Table]) -> String {
    tables.iter().map(|table| format!("### {}\n\n{}\n\n", table.title, table.markdown())).collect()
}
