//! The targets of the design for MicroPython's heap, beside what was measured.

use super::emulate::{Heap, Stretch};
use super::programs::State;
use super::workflows::Policy;
use super::{Findings, Marks};
use crate::bench::table::Table;

/// Whether less or more is better.
#[derive(Clone, Copy, PartialEq)]
enum Better {
    Less,
    More,
}

/// One figure to reach.
struct Target {
    what: &'static str,
    bound: f64,
    better: Better,
    measure: fn(&Findings, Heap) -> Option<f64>,
}

/// Median instructions of an allocation of so many bytes.
pub fn allocation(marks: Option<&Marks>, size: u32) -> Option<f64> {
    Some(marks?.get(&size)?.calls.get("gc_alloc")?.sizes.get(&size)?.p50 as f64)
}

/// Instructions of a mark's one collection.
pub fn collection(marks: Option<&Marks>, mark: u32) -> Option<f64> {
    Some(marks?.get(&mark)?.of("gc_collect").total as f64)
}

fn share(findings: &Findings, heap: Heap) -> Option<f64> {
    let policy = match heap {
        Heap::Stock => Policy::Plain,
        Heap::Knoll => Policy::KnollScope,
    };
    findings.workflows.get(&policy).map(|found| 100.0 * found.least())
}

fn targets() -> Vec<Target> {
    let less = |what, bound, measure| Target { what, bound, better: Better::Less, measure };
    vec![
        less("an allocation of 12 bytes, empty heap", 117.0, |findings, heap| {
            allocation(findings.allocate.get(&(State::Empty, heap)), 12)
        }),
        less("an allocation of 60 bytes among 500 holes", 300.0, |findings, heap| {
            allocation(findings.allocate.get(&(State::Holed, heap)), 60)
        }),
        less("a collection with 2000 live lists", 300_000.0, |findings, heap| {
            collection(findings.collect.get(&heap), 2000)
        }),
        Target {
            what: "workflows: largest free piece / free, %, at the worst of 1000",
            bound: 95.0,
            better: Better::More,
            measure: share,
        },
        less("the longest step of a sweep in slices", 10_000.0, |findings, heap| {
            findings
                .pauses
                .iter()
                .filter(|((_, of), _)| *of == heap)
                .map(|(_, pauses)| pauses.between as f64)
                .reduce(f64::max)
        }),
        less("bytes of the collector's code", 4096.0, |findings, heap| Some(findings.code.get(&heap)?.0 as f64)),
        less("tests/perf_bench that are slower than stock", 0.0, |findings, heap| {
            (heap == Heap::Knoll && !findings.perf.is_empty()).then(|| slower(findings).len() as f64)
        }),
        Target {
            what: "tests/perf_bench: instructions saved in all, %",
            bound: 10.0,
            better: Better::More,
            measure: |findings, heap| (heap == Heap::Knoll).then(|| saved(findings, |_| true)).flatten(),
        },
    ]
}

impl Target {
    /// Compared as shown: a figure that rounds to the bound has met it.
    fn met(&self, value: f64) -> bool {
        let shown: f64 = self.shown(value).parse().unwrap_or(value);
        match self.better {
            Better::Less => shown <= self.bound,
            Better::More => shown >= self.bound,
        }
    }

    fn shown(&self, value: f64) -> String {
        if value.fract() == 0.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.1}")
        }
    }
}

/// A benchmark's stretches: stock's and Knoll's.
pub fn pairs(findings: &Findings) -> Vec<(&str, &Stretch, &Stretch)> {
    let stock = findings.perf.iter().filter(|((_, heap), _)| *heap == Heap::Stock);
    stock
        .filter_map(|((name, _), perf)| {
            let knoll = findings.perf.get(&(name.clone(), Heap::Knoll))?;
            Some((name.as_str(), &perf.stretch, &knoll.stretch))
        })
        .collect()
}

/// The benchmarks in which Knoll takes more instructions than stock, by more than one in two thousand.
pub fn slower(findings: &Findings) -> Vec<(String, f64)> {
    let ratio = |(name, stock, knoll): (&str, &Stretch, &Stretch)| {
        (name.to_owned(), 100.0 * (knoll.instructions as f64 / stock.instructions as f64 - 1.0))
    };
    pairs(findings).into_iter().map(ratio).filter(|(_, percent)| *percent > 0.05).collect()
}

/// How much less Knoll takes in all benchmarks of a kind together, in percent.
pub fn saved(findings: &Findings, wanted: impl Fn(&Stretch) -> bool) -> Option<f64> {
    let chosen: Vec<_> = pairs(findings).into_iter().filter(|(_, stock, _)| wanted(stock)).collect();
    let stock: u64 = chosen.iter().map(|(_, stock, _)| stock.instructions).sum();
    let knoll: u64 = chosen.iter().map(|(.., knoll)| knoll.instructions).sum();
    (stock > 0).then(|| 100.0 * (1.0 - knoll as f64 / stock as f64))
}

/// How much a collector that takes no time at all would save, in percent.
pub fn most_to_save(findings: &Findings, wanted: impl Fn(&Stretch) -> bool) -> Option<f64> {
    let chosen: Vec<_> = pairs(findings).into_iter().filter(|(_, stock, _)| wanted(stock)).collect();
    let stock: u64 = chosen.iter().map(|(_, stock, _)| stock.instructions).sum();
    let collector: u64 = chosen.iter().map(|(_, stock, _)| stock.collector).sum();
    (stock > 0).then(|| 100.0 * collector as f64 / stock as f64)
}

/// Whether a benchmark allocates enough for its heap to matter: stock spends a twentieth in the collector.
pub fn allocates(stock: &Stretch) -> bool {
    20 * stock.collector >= stock.instructions
}

/// One row a target.
pub fn table(findings: &Findings) -> Table {
    let mut table = Table::new("Targets and what was measured", ["", "target", "stock", "knoll"]);
    for target in targets() {
        let sign = if target.better == Better::Less { "≤" } else { "≥" };
        let shown = |heap| (target.measure)(findings, heap);
        let stock = shown(Heap::Stock).map_or("-".into(), |value| target.shown(value));
        let knoll = shown(Heap::Knoll).map_or("-".into(), |value| {
            format!("{} {}", target.shown(value), if target.met(value) { "met" } else { "missed" })
        });
        table.row(target.what, [format!("{sign} {}", target.bound), stock, knoll]);
    }
    table
}

/// How many targets were met; then each miss, plainly.
pub fn summary(findings: &Findings) -> String {
    let (mut met, mut missed) = (0, Vec::new());
    for target in targets() {
        let Some(value) = (target.measure)(findings, Heap::Knoll) else { continue };
        if target.met(value) {
            met += 1;
        } else {
            missed.push(format!("{}: {}, not {}", target.what, target.shown(value), target.bound));
        }
    }
    let mut text = format!("- {met} of {} targets met.\n", met + missed.len());
    if let (Some(saved), Some(most)) = (saved(findings, |_| true), most_to_save(findings, |_| true)) {
        text += &format!(
            "- tests/perf_bench: {saved:.1} % saved in all; a collector that costs nothing would save {most:.1} %.\n"
        );
    }
    if let (Some(saved), Some(most)) = (saved(findings, allocates), most_to_save(findings, allocates)) {
        text += &format!(
            "- of these the programs in which stock's collector takes 5 % or more: {saved:.1} % saved of at most {most:.1} %.\n"
        );
    }
    for (name, percent) in slower(findings) {
        missed.push(format!("{name} takes {percent:.2} % more than on stock"));
    }
    if !missed.is_empty() {
        text += "\nMissed:\n\n";
    }
    missed.iter().fold(text, |text, line| text + "- " + line + ".\n")
}
