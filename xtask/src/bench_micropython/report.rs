//! The tables of `cargo xtask bench-micropython`, and `docs/micropython-figures.md`.

use super::emulate::{Heap, HEAPS};
use super::programs::{State, LARGE_LIVE_SETS, LIVE_SETS, SIZES, SLICE};
use super::targets::{self, allocation, collection};
use super::workflows::Policy;
use super::{Findings, Marks};
use crate::bench::table::{self, Table};
use anyhow::Result;
use std::collections::BTreeMap;

/// Everything, in the order in which a reader wants it.
pub fn all(findings: &Findings) -> Vec<Table> {
    let mut tables = vec![targets::table(findings), allocations(findings)];
    let title = "Instructions of a collection, heap of 140 KB";
    tables.push(collections(title, &findings.collect, &LIVE_SETS));
    let title = "Instructions of a collection, heap of 2 MB";
    tables.push(collections(title, &findings.collect_large, &LARGE_LIVE_SETS));
    tables.extend([perf(findings), pauses(findings), shares(findings), costs(findings), code(findings)]);
    tables.retain(|table| !table.is_empty());
    tables
}

fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn or_none(value: Option<f64>) -> String {
    value.map_or("-".into(), grouped)
}

/// Stock, Knoll, and how many times less.
fn beside(stock: Option<f64>, knoll: Option<f64>) -> [String; 3] {
    let ratio = stock.zip(knoll).map_or("-".into(), |(stock, knoll)| format!("{:.2}", stock / knoll.max(1.0)));
    [or_none(stock), or_none(knoll), ratio]
}

/// One row a size, a pair of columns a state.
fn allocations(findings: &Findings) -> Table {
    let heading = State::ALL.into_iter().flat_map(|state| {
        HEAPS.map(|heap| if heap == Heap::Stock { format!("{}: stock", state.title()) } else { "knoll".into() })
    });
    let title = "Instructions of an allocation, median of eight";
    let mut table = Table::new(title, std::iter::once("bytes".to_owned()).chain(heading));
    if findings.allocate.is_empty() {
        return table;
    }
    for size in SIZES {
        let cells = State::ALL
            .into_iter()
            .flat_map(|state| HEAPS.map(|heap| or_none(allocation(findings.allocate.get(&(state, heap)), size))));
        table.row(size.to_string(), cells.collect::<Vec<_>>());
    }
    table
}

fn collections(title: &str, found: &BTreeMap<Heap, Marks>, live_sets: &[(u32, &str)]) -> Table {
    let mut table = Table::new(title, ["alive", "stock", "knoll", "stock / knoll"]);
    if found.is_empty() {
        return table;
    }
    for (mark, name) in live_sets {
        let of = |heap| collection(found.get(&heap), *mark);
        table.row(*name, beside(of(Heap::Stock), of(Heap::Knoll)));
    }
    table
}

/// One row a benchmark.
fn perf(findings: &Findings) -> Table {
    let heading = [
        "",
        "stock, k",
        "knoll, k",
        "change, %",
        "collector: stock, %",
        "knoll, %",
        "collections: stock",
        "knoll",
        "longest pause: stock",
        "knoll",
    ];
    let mut table = Table::new("MicroPython's tests/perf_bench: instructions", heading);
    let mut row = |name: &str, stock: &super::Stretch, knoll: &super::Stretch| {
        let share = |stretch: &super::Stretch| {
            format!("{:.1}", 100.0 * stretch.collector as f64 / stretch.instructions.max(1) as f64)
        };
        let change = 100.0 * (knoll.instructions as f64 / stock.instructions.max(1) as f64 - 1.0);
        table.row(
            name,
            [
                grouped(stock.instructions as f64 / 1e3),
                grouped(knoll.instructions as f64 / 1e3),
                format!("{change:+.2}"),
                share(stock),
                share(knoll),
                stock.of("gc_collect").count.to_string(),
                knoll.of("gc_collect").count.to_string(),
                grouped(stock.longest as f64),
                grouped(knoll.longest as f64),
            ],
        );
    };
    let mut sum = [super::Stretch::default(), super::Stretch::default()];
    for (name, stock, knoll) in targets::pairs(findings) {
        row(name, stock, knoll);
        for (sum, one) in sum.iter_mut().zip([stock, knoll]) {
            sum.instructions += one.instructions;
            sum.collector += one.collector;
            sum.longest = sum.longest.max(one.longest);
            let calls = sum.calls.entry("gc_collect".into()).or_default();
            calls.summary.count += one.of("gc_collect").count;
        }
    }
    if sum[0].instructions > 0 {
        row("all", &sum[0], &sum[1]);
    }
    table
}

/// One row a heap.
fn pauses(findings: &Findings) -> Table {
    let heading = ["", "collections", "longest allocation with one", "longest without one"];
    let mut table = Table::new("Instructions of an allocation where memory is short, sweep in slices", heading);
    for ((bytes, heap), pauses) in &findings.pauses {
        let how = if *heap == Heap::Knoll { format!(", {SLICE} granules a slice") } else { String::new() };
        let cells = [pauses.collections, pauses.marking, pauses.between].map(|number| grouped(number as f64));
        table.row(format!("{} KB, {}{how}", bytes >> 10, heap.name()), cells);
    }
    table
}

/// One row a policy: what is left in one piece.
fn shares(findings: &Findings) -> Table {
    const AFTER: [u32; 4] = [1, 10, 100, 1000];
    let heading = ["largest free piece / free, behind", "1", "10", "100", "1000 workflows", "least", "free, B"];
    let mut table = Table::new("1000 workflows of which values stay: the heap in one piece", heading);
    for policy in Policy::ALL {
        let Some(found) = findings.workflows.get(&policy) else { continue };
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let mut cells = AFTER.map(|count| found.share(count).map_or("-".into(), percent)).to_vec();
        cells.push(percent(found.least()));
        cells.push(or_none(found.after.get(&1000).map(|(_, free)| *free as f64)));
        table.row(policy.title(), cells);
    }
    table
}

/// What the same took.
fn costs(findings: &Findings) -> Table {
    let heading = ["", "instructions, M", "collector, M", "collections", "of one, median", "longest pause"];
    let mut table = Table::new("1000 workflows of which values stay: instructions", heading);
    for policy in Policy::ALL {
        let Some(found) = findings.workflows.get(&policy) else { continue };
        let collect = found.stretch.of("gc_collect");
        table.row(
            policy.title(),
            [
                grouped(found.stretch.instructions as f64 / 1e6),
                grouped(found.stretch.collector as f64 / 1e6),
                collect.count.to_string(),
                grouped(collect.p50 as f64),
                grouped(found.stretch.longest as f64),
            ],
        );
    }
    table
}

/// What the collector weighs.
fn code(findings: &Findings) -> Table {
    let mut table = Table::new("Code, bytes", ["", "the collector", "code and constants of the firmware"]);
    for (heap, (collector, all)) in &findings.code {
        table.row(heap.name(), [grouped(*collector as f64), grouped(*all as f64)]);
    }
    table
}

/// `docs/micropython-figures.md`: targets first, then how it was measured, then all tables.
pub fn document(findings: &Findings) -> Result<String> {
    let mut text = table::head(include_str!("figures-head.md"), &findings.commit);
    for (index, table) in all(findings).iter().enumerate() {
        if index == 1 {
            text += &format!("\n{}\n{}", targets::summary(findings), include_str!("figures-method.md"));
        }
        text += &table.section("##");
    }
    Ok(text)
}
