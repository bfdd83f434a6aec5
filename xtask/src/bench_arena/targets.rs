//! The targets of the design for scopes and arenas, and the rivals, beside what was measured.

use super::calls::{self, PAIRS};
use super::peers::Peer;
use super::programs::Program;
use super::Findings;
use crate::bench::calls::MACHINES;
use crate::bench::process::Outcome;
use crate::bench::table::Table;

/// Instructions of an allocation, and of a pair of enter and leave.
const ALLOCATION: Bounds = Bounds { m4: 12.0, host: 8.0 };
const PAIR: Bounds = Bounds { m4: 120.0, host: 120.0 };

#[derive(Clone, Copy)]
struct Bounds {
    m4: f64,
    host: f64,
}

/// One of the design's figures.
struct Target {
    what: String,
    /// None: shown beside the others, not promised.
    bounds: Option<Bounds>,
    measure: Measure,
}

/// Finds the figure on a machine, by its name; `host` is this one.
type Measure = Box<dyn Fn(&Findings, &str) -> Option<f64>>;

/// A case of `calls.c` in the emulator; on the host a program of Knoll's where the case is in line.
fn case(what: &str, bounds: Option<Bounds>, name: &'static str, program: Option<Program>) -> Target {
    let measure = move |findings: &Findings, machine: &str| match (machine, program) {
        ("host", Some(program)) => findings.instructions.get(&(program, Peer::Knoll))?.found().copied(),
        ("host", None) => findings.host.get(name).copied(),
        _ => Some(findings.machines.get(machine)?.marks.get(name)?.mean),
    };
    Target { what: what.into(), bounds, measure: Box::new(measure) }
}

fn pair(which: &'static str) -> Target {
    let measure = move |findings: &Findings, machine: &str| match machine {
        "host" => calls::pair(&findings.host, which),
        _ => calls::pair(&calls::means(&findings.machines.get(machine)?.marks), which),
    };
    Target { what: format!("enter and leave, {which}"), bounds: Some(PAIR), measure: Box::new(measure) }
}

fn targets() -> Vec<Target> {
    let fixed = "kn_arena_allocInline 24 bytes inline";
    let sizes = "kn_arena_allocInline 8 to 256 bytes inline";
    let mut targets = vec![
        case("allocation of 24 bytes, inlined", Some(ALLOCATION), fixed, Some(Program::Fixed)),
        case("allocation of 8 to 256 bytes, inlined", Some(ALLOCATION), sizes, Some(Program::Sizes)),
        case("allocation of 24 bytes, a call", None, "kn_arena_alloc 24 bytes", None),
        case("counted cell without references", None, "GC_newIn leaf", None),
        case("counted cell with two references", None, "GC_newIn node", None),
    ];
    targets.extend(PAIRS.map(pair));
    targets
}

impl Target {
    fn bound(&self, machine: &str) -> Option<f64> {
        match machine {
            "m4" => Some(self.bounds?.m4),
            "host" => Some(self.bounds?.host),
            _ => None,
        }
    }

    /// Compared as shown: a figure that rounds to the bound has met it.
    fn met(&self, machine: &str, value: f64) -> Option<bool> {
        Some(format!("{value:.1}").parse().unwrap_or(value) <= self.bound(machine)?)
    }
}

/// Where the targets are measured: as [`Target::measure`] knows it, and as a reader does.
fn places() -> impl Iterator<Item = (&'static str, &'static str)> {
    MACHINES.into_iter().map(|(name, title, _)| (name, title)).chain([("host", "x86-64")])
}

/// One row a target, one column a machine.
pub fn table(findings: &Findings) -> Table {
    let heading = ["instructions", "target M4, x86-64"].into_iter().chain(places().map(|(_, title)| title));
    let mut table = Table::new("Targets and what was measured", heading);
    for target in targets() {
        let bounds = target.bounds.map_or("-".into(), |bounds| format!("≤ {}, ≤ {}", bounds.m4, bounds.host));
        let cells = places().map(|(place, _)| {
            let Some(value) = (target.measure)(findings, place) else { return "-".to_owned() };
            match target.met(place, value) {
                Some(met) => format!("{value:.1} {}", if met { "met" } else { "missed" }),
                None => format!("{value:.1}"),
            }
        });
        table.row(target.what.as_str(), [bounds].into_iter().chain(cells.collect::<Vec<_>>()));
    }
    let cells = places().map(|(place, _)| match beyond_the_mark(findings, place) {
        Some(bytes) => format!("{bytes} {}", if bytes == 0 { "met" } else { "missed" }),
        None => "-".into(),
    });
    table.row("bytes more behind a rewind than at the mark", ["0".into()].into_iter().chain(cells.collect::<Vec<_>>()));
    table
}

/// What a rewind of Knoll's did not give back.
fn beyond_the_mark(findings: &Findings, machine: &str) -> Option<i64> {
    if machine == "host" {
        let said = findings.footprints.get(&Peer::Knoll)?.found()?;
        return Some(*said.numbers.get("after")? as i64 - *said.numbers.get("mark")? as i64);
    }
    let results = &findings.machines.get(machine)?.results;
    Some(results.get("after")? - results.get("mark")?)
}

/// What an operation costs, of which less is better.
#[derive(Clone, Copy, PartialEq)]
pub enum Figure {
    Instructions,
    Time,
}

impl Figure {
    fn of(self, findings: &Findings, program: Program, peer: Peer) -> Option<f64> {
        match self {
            Figure::Instructions => findings.instructions.get(&(program, peer))?.found().copied(),
            Figure::Time => findings.times.get(&(program, peer))?.found().map(super::Said::per_operation),
        }
    }

    fn best_rival(self, findings: &Findings, program: Program) -> Option<(Peer, f64)> {
        let rivals = Peer::ALL.into_iter().filter(|peer| peer.is_rival());
        let found = rivals.filter_map(|rival| Some((rival, self.of(findings, program, rival)?)));
        found.min_by(|left, right| left.1.total_cmp(&right.1))
    }
}

/// Knoll beside the best of the rivals that do the same, and beside its own malloc, program by program.
pub fn against_rivals(findings: &Findings) -> Table {
    let heading =
        ["", "knoll", "best rival", "", "knoll-malloc", "time: best rival / knoll", "", "time: knoll-malloc / knoll"];
    let mut table = Table::new("Ahead of every rival, program by program", heading);
    for program in Program::ALL {
        let Some(mine) = Figure::Instructions.of(findings, program, Peer::Knoll) else { continue };
        let verdict = |ahead| if ahead { "ahead" } else { "behind" }.to_owned();
        let rival = Figure::Instructions.best_rival(findings, program);
        let base = Figure::Instructions.of(findings, program, Peer::KnollMalloc);
        let time = Figure::Time.of(findings, program, Peer::Knoll);
        let faster = Figure::Time.best_rival(findings, program).zip(time);
        let base_time = Figure::Time.of(findings, program, Peer::KnollMalloc).zip(time);
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        table.row(
            program.title(),
            [
                format!("{mine:.1}"),
                or_none(rival.map(|(peer, value)| format!("{value:.1} {}", peer.name()))),
                or_none(rival.map(|(_, value)| verdict(mine <= value))),
                or_none(base.map(|value| format!("{value:.1}"))),
                or_none(faster.map(|((peer, value), mine)| format!("{:.2} {}", value / mine, peer.name()))),
                or_none(faster.map(|((_, value), mine)| verdict(mine <= value))),
                or_none(base_time.map(|(value, mine)| format!("{:.2}", value / mine))),
            ],
        );
    }
    table
}

/// How many targets were met where, and in how many programs Knoll is ahead; then each miss, plainly.
pub fn summary(findings: &Findings) -> String {
    let mut text = String::new();
    let mut missed = Vec::new();
    for (place, title) in [("m4", "Cortex-M4"), ("host", "x86-64")] {
        let mut met = Vec::new();
        for target in targets() {
            let Some(value) = (target.measure)(findings, place) else { continue };
            let (Some(reached), Some(bound)) = (target.met(place, value), target.bound(place)) else { continue };
            met.push(reached);
            if !reached {
                missed.push(format!("{} on {title}: {value:.1}, not {bound}", target.what));
            }
        }
        if let Some(bytes) = beyond_the_mark(findings, place) {
            met.push(bytes == 0);
            if bytes != 0 {
                missed.push(format!("{bytes} bytes more behind a rewind than at the mark on {title}"));
            }
        }
        if !met.is_empty() {
            text += &format!("- {title}: {} of {} targets met.\n", met.iter().filter(|met| **met).count(), met.len());
        }
    }
    for (figure, name) in [(Figure::Instructions, "instructions"), (Figure::Time, "time")] {
        let (mut ahead, mut behind) = (0, Vec::new());
        for program in Program::ALL {
            let mine = figure.of(findings, program, Peer::Knoll);
            let Some((mine, (peer, best))) = mine.zip(figure.best_rival(findings, program)) else { continue };
            if mine <= best {
                ahead += 1;
            } else {
                behind.push(format!("{} ({:.1} times {})", program.title(), mine / best, peer.name()));
            }
        }
        if ahead + behind.len() > 0 {
            text += &format!("- {name}: ahead of the best rival in {ahead} of {} programs.\n", ahead + behind.len());
        }
        if !behind.is_empty() {
            missed.push(format!("{name}, behind the best rival: {}", behind.join("; ")));
        }
    }
    if !missed.is_empty() {
        text += "\nMissed:\n\n";
    }
    missed.iter().fold(text, |text, line| text + "- " + line + ".\n")
}

/// What a peer said of itself by a name.
pub fn number(outcome: Option<&Outcome<super::Said>>, name: &str) -> Option<u64> {
    outcome?.found()?.numbers.get(name).copied()
}
