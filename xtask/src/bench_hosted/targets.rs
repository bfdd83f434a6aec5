//! The targets of the design ("Figures to beat", hosted) and "no rival ahead", beside what was measured.

use super::operations::Operation;
use super::peers::Peer;
use super::programs::{Freer, Real, Threaded};
use super::{Findings, Grid};
use crate::bench::process::Said;
use crate::bench::table::Table;

/// How far a rival may be ahead in a program with threads.
const AHEAD: f64 = 1.05;
/// Peak of memory beside the C library's malloc.
const PEAK: f64 = 1.0;
/// What may be kept of the peak when all has been freed.
const KEPT: f64 = 5.0;

/// One of the design's figures: less is better.
struct Target {
    what: String,
    bound: f64,
    digits: usize,
    measure: Measure,
}

type Measure = Box<dyn Fn(&Findings, Peer) -> Option<f64>>;

fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    for operation in Operation::ALL {
        let Some(bound) = operation.bound() else { continue };
        targets.push(Target {
            what: format!("instructions: {}", operation.title()),
            bound,
            digits: 1,
            measure: Box::new(move |findings, peer| instructions(findings, operation, peer)),
        });
    }
    for program in Threaded::ALL {
        let measure = move |findings: &Findings, peer| {
            let rivals = Peer::ALL.into_iter().filter(|rival| rival.is_rival());
            let least = least(rivals.filter_map(|rival| Some((rival, time(&findings.threads, program, rival)?))))?.1;
            Some(time(&findings.threads, program, peer)? / least)
        };
        targets.push(Target {
            what: format!("time / that of the fastest rival: {}", program.title()),
            bound: AHEAD,
            digits: 2,
            measure: Box::new(measure),
        });
    }
    for program in Real::ALL {
        targets.push(Target {
            what: format!("peak of memory / glibc's: {}", program.name()),
            bound: PEAK,
            digits: 2,
            measure: Box::new(move |findings, peer| {
                Some(peak(&findings.programs, program, peer)? / peak(&findings.programs, program, Peer::Glibc)?)
            }),
        });
    }
    for freer in Freer::ALL {
        targets.push(Target {
            what: format!("kept of 300 MB freed {}, %", freer.title()),
            bound: KEPT,
            digits: 1,
            measure: Box::new(move |findings, peer| kept(findings, freer, peer)),
        });
    }
    targets
}

/// Instructions of an operation, all that it executes.
pub fn instructions(findings: &Findings, operation: Operation, peer: Peer) -> Option<f64> {
    Some(findings.operations.get(&(operation, peer))?.found()?.all)
}

/// Nanoseconds of an operation.
pub fn time<P: Copy + Ord>(grid: &Grid<P, Said>, program: P, peer: Peer) -> Option<f64> {
    Some(grid.get(&(program, peer))?.found()?.per_operation())
}

/// The highest resident set.
pub fn peak<P: Copy + Ord>(grid: &Grid<P, Said>, program: P, peer: Peer) -> Option<f64> {
    Some(grid.get(&(program, peer))?.found()?.peak_kb as f64)
}

/// What is resident when all has been freed, at once, in percent of the peak.
fn kept(findings: &Findings, freer: Freer, peer: Peer) -> Option<f64> {
    let said = findings.kept.get(&(freer, peer))?.found()?;
    Some(*said.numbers.get("freed")? as f64 * 100.0 / *said.numbers.get("peak")? as f64)
}

fn least(found: impl Iterator<Item = (Peer, f64)>) -> Option<(Peer, f64)> {
    found.min_by(|left, right| left.1.total_cmp(&right.1))
}

impl Target {
    /// Compared as shown: a figure that rounds to the bound has met it.
    fn met(&self, value: f64) -> bool {
        format!("{value:.*}", self.digits).parse().unwrap_or(value) <= self.bound
    }

    fn best_rival(&self, findings: &Findings) -> Option<(Peer, f64)> {
        let rivals = Peer::ALL.into_iter().filter(|peer| peer.is_rival());
        least(rivals.filter_map(|rival| Some((rival, (self.measure)(findings, rival)?))))
    }
}

/// One row a target: the bound, the best rival, Knoll.
pub fn table(findings: &Findings) -> Table {
    let mut table = Table::new("Targets and what was measured", ["", "target", "best rival here", "knoll", ""]);
    for target in targets() {
        let Some(mine) = (target.measure)(findings, Peer::Knoll) else { continue };
        let digits = target.digits;
        let rival = target.best_rival(findings);
        table.row(
            target.what.as_str(),
            [
                format!("≤ {}", target.bound),
                rival.map_or("-".into(), |(peer, value)| format!("{value:.digits$} {}", peer.name())),
                format!("{mine:.digits$}"),
                if target.met(mine) { "met" } else { "missed" }.into(),
            ],
        );
    }
    table
}

/// How many targets were met, where the best rival is ahead, and each miss, plainly.
pub fn summary(findings: &Findings) -> String {
    let (mut met, mut missed) = (0, Vec::new());
    for target in targets() {
        let Some(mine) = (target.measure)(findings, Peer::Knoll) else { continue };
        if target.met(mine) {
            met += 1;
        } else {
            missed.push(format!("{}: {mine:.*}, not {}", target.what, target.digits, target.bound));
        }
    }
    let mut text = format!("- {met} of {} targets met.\n", met + missed.len());
    let (mut ahead, mut behind) = (0, Vec::new());
    for operation in Operation::ALL {
        let rivals = Peer::ALL.into_iter().filter(|peer| peer.is_rival());
        let best = least(rivals.filter_map(|rival| Some((rival, instructions(findings, operation, rival)?))));
        let Some((mine, (peer, best))) = instructions(findings, operation, Peer::Knoll).zip(best) else { continue };
        if mine <= best {
            ahead += 1;
        } else {
            behind.push(format!("{} ({best:.1} {})", operation.title(), peer.name()));
        }
    }
    if ahead + behind.len() > 0 {
        text += &format!("- instructions: ahead of every rival in {ahead} of {} operations", ahead + behind.len());
        text += &if behind.is_empty() { ".\n".into() } else { format!("; behind in {}.\n", behind.join(", ")) };
    }
    if !missed.is_empty() {
        text += "\nMissed:\n\n";
    }
    missed.iter().fold(text, |text, line| text + "- " + line + ".\n")
}
