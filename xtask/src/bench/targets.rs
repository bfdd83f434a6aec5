//! The targets of the design ("Figures to beat", Cortex-M) beside what was measured.

use super::contenders::{Contender, Machine};
use super::results::Counts;
use super::table::Table;
use super::Findings;

/// Whether less or more is better.
#[derive(Clone, Copy, PartialEq)]
enum Better {
    Less,
    More,
}

/// One figure to reach.
struct Target {
    what: String,
    bound: f64,
    better: Better,
    digits: usize,
    measure: Measure,
}

/// Finds the figure of an allocator, if it was measured.
type Measure = Box<dyn Fn(&Findings, Contender) -> Option<f64>>;

const BUDGET: u32 = 64 << 10;
const RIVALS: [Contender; 4] = [Contender::Rlsf, Contender::Talc, Contender::Llff, Contender::NewlibNano];
/// Knoll as built by default and, for code that wants no choice at run time, with one layout.
const KNOLL: [Contender; 5] = [
    Contender::KnollMap,
    Contender::KnollCompact,
    Contender::KnollWide,
    Contender::KnollOnlyMap,
    Contender::KnollOnlyCompact,
];

fn counts(findings: &Findings, machine: Machine, contender: Contender) -> Option<&Counts> {
    findings.counts.get(&(machine, contender))
}

fn worst(machine: Machine, call: &'static str, bound: f64) -> Target {
    let name = if machine == Machine::M4 { "M4" } else { "M0" };
    Target {
        what: format!("{name}, worst {call} over all workloads at 64 KB and traces"),
        bound,
        better: Better::Less,
        digits: 0,
        measure: Box::new(move |findings, contender| {
            Some(counts(findings, machine, contender)?.worst(BUDGET, call)?.worst as f64)
        }),
    }
}

fn targets(findings: &Findings) -> Vec<Target> {
    let mut list = vec![
        Target {
            what: "M4, malloc + free, mean, random 8 to 256 B at 70 % (a)".into(),
            bound: 105.0,
            better: Better::Less,
            digits: 1,
            measure: Box::new(|findings, contender| {
                let counts = counts(findings, Machine::M4, contender)?;
                Some(counts.of(BUDGET, "a", "malloc")?.mean + counts.of(BUDGET, "a", "free")?.mean)
            }),
        },
        worst(Machine::M4, "malloc", 110.0),
        worst(Machine::M4, "free", 105.0),
        Target {
            what: "highest occupancy without refusal, 8 B to 4 KB log-uniform (b), %".into(),
            bound: 67.0,
            better: Better::More,
            digits: 1,
            measure: Box::new(|findings, contender| {
                Some(findings.fit(contender)?.occupancy.get(&(BUDGET, 'b'))?.highest)
            }),
        },
        Target {
            what: "saturated occupancy, 8 to 256 B (a), %".into(),
            bound: 86.5,
            better: Better::More,
            digits: 1,
            measure: Box::new(|findings, contender| {
                Some(findings.fit(contender)?.occupancy.get(&(BUDGET, 'a'))?.saturated)
            }),
        },
        Target {
            what: "control block without the map, bytes".into(),
            bound: 256.0,
            better: Better::Less,
            digits: 0,
            measure: Box::new(|findings, contender| {
                let fit = findings.fit(contender)?;
                Some(f64::from(fit.control - fit.map))
            }),
        },
    ];
    let traces: Vec<String> =
        findings.fits.values().next().map(|fit| fit.smallest.keys().cloned().collect()).unwrap_or_default();
    for trace in traces {
        list.push(Target {
            what: format!("smallest heap / peak live, {trace}"),
            bound: 1.10,
            better: Better::Less,
            digits: 3,
            measure: Box::new(move |findings, contender| {
                Some(findings.fit(contender)?.smallest.get(&trace).filter(|found| found.bytes > 0)?.ratio())
            }),
        });
    }
    list.push(Target {
        what: "M4, code at -Os: init + malloc + free + realloc, bytes".into(),
        bound: 1250.0,
        better: Better::Less,
        digits: 0,
        measure: Box::new(|findings, contender| findings.size(Machine::M4, contender).map(|size| size as f64)),
    });
    list.push(worst(Machine::M0, "malloc", 190.0));
    list.push(worst(Machine::M0, "free", 170.0));
    list
}

impl Target {
    /// Compared as shown: a figure that rounds to the bound has met it.
    fn met(&self, value: f64) -> bool {
        let shown: f64 = format!("{value:.*}", self.digits).parse().unwrap_or(value);
        match self.better {
            Better::Less => shown <= self.bound,
            Better::More => shown >= self.bound,
        }
    }

    fn best_rival(&self, findings: &Findings) -> Option<(Contender, f64)> {
        let found = RIVALS.into_iter().filter_map(|rival| Some((rival, (self.measure)(findings, rival)?)));
        match self.better {
            Better::Less => found.min_by(|left, right| left.1.total_cmp(&right.1)),
            Better::More => found.max_by(|left, right| left.1.total_cmp(&right.1)),
        }
    }
}

/// One row a target: the bound, the best rival in the same run, and each Knoll with whether it met the bound.
pub fn table(findings: &Findings) -> Table {
    let heading = ["figure", "target", "best rival here"].into_iter().chain(KNOLL.iter().map(|one| one.name()));
    let mut table = Table::new("Targets and what was measured", heading);
    for target in targets(findings) {
        let digits = target.digits;
        let sign = if target.better == Better::Less { "≤" } else { "≥" };
        let rival = target
            .best_rival(findings)
            .map_or("-".into(), |(rival, value)| format!("{value:.digits$} {}", rival.name()));
        let mut cells = vec![format!("{sign} {}", target.bound), rival];
        cells.extend(KNOLL.iter().map(|one| match (target.measure)(findings, *one) {
            Some(value) => format!("{value:.digits$} {}", if target.met(value) { "met" } else { "missed" }),
            None => "-".into(),
        }));
        table.row(target.what, cells);
    }
    table
}

/// The same for the README: the two layouts that a firmware chooses between.
pub fn brief(findings: &Findings) -> Table {
    let shown = [Contender::KnollMap, Contender::KnollOnlyCompact];
    let heading = ["figure", "target", "best rival here", "map layout", "compact alone"];
    let mut table = Table::new("The figures in brief", heading);
    for target in targets(findings) {
        let digits = target.digits;
        let sign = if target.better == Better::Less { "≤" } else { "≥" };
        let rival = target
            .best_rival(findings)
            .map_or("-".into(), |(rival, value)| format!("{value:.digits$} {}", rival.name()));
        let mut cells = vec![format!("{sign} {}", target.bound), rival];
        cells.extend(shown.iter().map(|one| match (target.measure)(findings, *one) {
            Some(value) if target.met(value) => format!("**{value:.digits$}**"),
            Some(value) => format!("{value:.digits$}"),
            None => "-".into(),
        }));
        table.row(target.what, cells);
    }
    table
}

/// How many targets each Knoll has met, and how often it is at least as good as the best rival.
pub fn summary(findings: &Findings) -> String {
    let targets = targets(findings);
    let mut text = String::new();
    for contender in KNOLL {
        let values: Vec<(&Target, f64)> =
            targets.iter().filter_map(|target| Some((target, (target.measure)(findings, contender)?))).collect();
        if values.is_empty() {
            continue;
        }
        let met = values.iter().filter(|(target, value)| target.met(*value)).count();
        let ahead = values.iter().filter(|(target, value)| {
            target.best_rival(findings).is_some_and(|(_, rival)| match target.better {
                Better::Less => *value <= rival,
                Better::More => *value >= rival,
            })
        });
        text += &format!(
            "- {}: {met} of {} targets met; at least as good as the best rival in {}.\n",
            contender.name(),
            values.len(),
            ahead.count()
        );
    }
    text
}
