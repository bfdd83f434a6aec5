//! The targets of the design ("Figures to beat", counted) and "ahead of every rival", beside what was measured.

use super::peers::Peer;
use super::programs::Program;
use super::Findings;
use crate::bench::process::Outcome;
use crate::bench::table::Table;

/// Knoll's configurations, as the tables show them.
pub const KNOLL: [Peer; 6] =
    [Peer::Knoll, Peer::KnollCall, Peer::KnollArc, Peer::KnollSliced, Peer::KnollLazy, Peer::KnollBounded];

/// What is compared: less is better in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Instructions,
    Time,
    Memory,
    Step,
}

impl Figure {
    const ALL: [Figure; 4] = [Figure::Instructions, Figure::Time, Figure::Memory, Figure::Step];

    fn name(self) -> &'static str {
        match self {
            Figure::Instructions => "instructions",
            Figure::Time => "time",
            Figure::Memory => "peak, MB",
            Figure::Step => "longest step, µs",
        }
    }

    /// The figure of a peer in a program; none if the peer did not finish, or leaks what others free.
    pub fn of(self, findings: &Findings, program: Program, peer: Peer) -> Option<f64> {
        let key = (program, peer);
        if !program.is_done_by(peer) {
            return None;
        }
        match self {
            Figure::Instructions => findings.instructions.get(&key)?.found().copied(),
            Figure::Time => Some(findings.times.get(&key)?.found()?.per_operation()),
            Figure::Memory => Some(findings.times.get(&key)?.found()?.peak_kb as f64 / 1024.0),
            // Boehm collects while nodes are made, which is in no step of these programs.
            Figure::Step if peer.is_scanning() && matches!(program, Program::Trees | Program::List) => None,
            Figure::Step => Some(findings.steps.get(&key)?.found()?.microseconds),
        }
    }
}

/// One of the design's figures.
struct Target {
    what: &'static str,
    bound: f64,
    digits: usize,
    measure: fn(&Findings, Peer) -> Option<f64>,
}

const TARGETS: [Target; 4] = [
    Target {
        what: "trees: allocate, free and count, instructions a node",
        bound: 90.0,
        digits: 1,
        measure: |findings, peer| Figure::Instructions.of(findings, Program::Trees, peer),
    },
    Target {
        what: "churn: instructions a step",
        bound: 75.0,
        digits: 1,
        measure: |findings, peer| Figure::Instructions.of(findings, Program::Churn, peer),
    },
    Target {
        what: "list of 10^7 nodes dropped on 4 KB: bytes of stack used",
        bound: 4096.0,
        digits: 0,
        measure: |findings, peer| Some(findings.small_stack.get(&peer)?.found()?.numbers.get("stack").copied()? as f64),
    },
    Target {
        what: "beside: longest step, µs",
        bound: 250.0,
        digits: 0,
        measure: |findings, peer| Figure::Step.of(findings, Program::Beside, peer),
    },
];

impl Target {
    /// Compared as shown: a figure that rounds to the bound has met it.
    fn met(&self, value: f64) -> bool {
        format!("{value:.*}", self.digits).parse().unwrap_or(value) <= self.bound
    }

    /// The best of the peers that count and are not Knoll.
    fn best_rival(&self, findings: &Findings) -> Option<(Peer, f64)> {
        let rivals = Peer::ALL.into_iter().filter(|peer| peer.is_counted_rival());
        least(rivals.filter_map(|rival| Some((rival, (self.measure)(findings, rival)?))))
    }
}

fn least(found: impl Iterator<Item = (Peer, f64)>) -> Option<(Peer, f64)> {
    found.min_by(|left, right| left.1.total_cmp(&right.1))
}

/// One row a target, one column a configuration of Knoll.
pub fn table(findings: &Findings) -> Table {
    let heading = ["figure", "target", "best counted rival"].into_iter().chain(KNOLL.iter().map(|peer| peer.name()));
    let mut table = Table::new("Targets and what was measured", heading);
    for target in &TARGETS {
        let digits = target.digits;
        let rival =
            target.best_rival(findings).map_or("-".into(), |(peer, value)| format!("{value:.digits$} {}", peer.name()));
        let mut cells = vec![format!("≤ {}", target.bound), rival];
        cells.extend(KNOLL.iter().map(|peer| match (target.measure)(findings, *peer) {
            Some(value) => format!("{value:.digits$} {}", if target.met(value) { "met" } else { "missed" }),
            None => "-".into(),
        }));
        table.row(target.what, cells);
    }
    let mut cells = vec!["bounded".into(), "-".into()];
    cells.extend(KNOLL.iter().map(|peer| {
        let longest = findings.steps.get(&(Program::Beside, *peer)).and_then(Outcome::found);
        longest.and_then(|longest| longest.cells).map_or("-".into(), |cells| cells.to_string())
    }));
    table.row("beside: most cells that one call visited", cells);
    table
}

/// How Knoll as it comes stands to the best counted rival that does the same work, and to Boehm.
pub fn against_rivals(findings: &Findings) -> Table {
    let heading = ["", "knoll", "best counted rival", "", "boehm", ""];
    let mut table = Table::new("Ahead of every counted rival on each program, and of Boehm", heading);
    for program in Program::ALL {
        for figure in Figure::ALL {
            let Some(mine) = figure.of(findings, program, Peer::Knoll) else { continue };
            let shown = |value: f64| match figure {
                Figure::Time => format!("{:.2}", value / mine),
                Figure::Instructions | Figure::Memory => format!("{value:.1}"),
                Figure::Step => format!("{value:.0}"),
            };
            let verdict = |rival: f64| if mine < rival { "ahead" } else { "behind" }.to_owned();
            let rival = best_rival(findings, program, figure);
            let boehm = figure.of(findings, program, Peer::Boehm);
            table.row(
                format!("{}, {}", program.name(), figure.name()),
                [
                    shown(mine),
                    rival.map_or("-".into(), |(peer, value)| format!("{} {}", shown(value), peer.name())),
                    rival.map_or("-".into(), |(_, value)| verdict(value)),
                    boehm.map_or("-".into(), shown),
                    boehm.map_or("-".into(), verdict),
                ],
            );
        }
    }
    table
}

fn best_rival(findings: &Findings, program: Program, figure: Figure) -> Option<(Peer, f64)> {
    let rivals = Peer::ALL.into_iter().filter(|peer| peer.is_counted_rival());
    least(rivals.filter_map(|rival| Some((rival, figure.of(findings, program, rival)?))))
}

/// For the README: the targets, and each program's instructions beside the best counted rival's and Boehm's.
pub fn brief(findings: &Findings) -> Table {
    let heading = ["figure", "target", "best counted rival here", "boehm", "Knoll", "Knoll, both bounds"];
    let mut table = Table::new("The figures in brief", heading);
    for target in &TARGETS {
        let digits = target.digits;
        let of = |peer| (target.measure)(findings, peer);
        let shown = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.digits$}"));
        let judged = |peer| match of(peer) {
            Some(value) if target.met(value) => format!("**{value:.digits$}**"),
            value => shown(value),
        };
        let rival = target.best_rival(findings);
        let rival = rival.map_or("-".into(), |(peer, value)| format!("{value:.digits$} {}", peer.name()));
        table.row(
            target.what,
            [
                format!("≤ {}", target.bound),
                rival,
                shown(of(Peer::Boehm)),
                judged(Peer::Knoll),
                judged(Peer::KnollBounded),
            ],
        );
    }
    for program in [Program::List, Program::Ring, Program::Rings, Program::Beside] {
        let of = |peer| Figure::Instructions.of(findings, program, peer);
        let shown = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
        let rival = best_rival(findings, program, Figure::Instructions);
        let judged = |peer| match (of(peer), rival) {
            (Some(value), Some((_, best))) if value < best => format!("**{value:.1}**"),
            (value, _) => shown(value),
        };
        table.row(
            format!("{}: instructions a {}", program.name(), program.operation()),
            [
                "ahead".into(),
                rival.map_or("-".into(), |(peer, value)| format!("{value:.1} {}", peer.name())),
                shown(of(Peer::Boehm)),
                judged(Peer::Knoll),
                judged(Peer::KnollBounded),
            ],
        );
    }
    table
}

/// How many targets each configuration has met, and in how many figures Knoll is ahead.
pub fn summary(findings: &Findings) -> String {
    let mut text = String::new();
    for peer in KNOLL {
        let values: Vec<bool> =
            TARGETS.iter().filter_map(|target| Some(target.met((target.measure)(findings, peer)?))).collect();
        if !values.is_empty() {
            let met = values.iter().filter(|met| **met).count();
            text += &format!("- {}: {met} of {} targets met.\n", peer.name(), values.len());
        }
    }
    for figure in Figure::ALL {
        let ahead_of = |rival: &dyn Fn(Program) -> Option<f64>| {
            let pairs: Vec<bool> = Program::ALL
                .into_iter()
                .filter_map(|program| Some(figure.of(findings, program, Peer::Knoll)? < rival(program)?))
                .collect();
            format!("{} of {}", pairs.iter().filter(|ahead| **ahead).count(), pairs.len())
        };
        text += &format!(
            "- {}: knoll is ahead of the best counted rival in {} programs, of Boehm in {}.\n",
            figure.name(),
            ahead_of(&|program| best_rival(findings, program, figure).map(|(_, value)| value)),
            ahead_of(&|program| figure.of(findings, program, Peer::Boehm)),
        );
    }
    text
}
