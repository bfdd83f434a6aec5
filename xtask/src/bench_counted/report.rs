//! The tables of `cargo xtask bench-counted`, and `docs/counted-figures.md`.

use super::calls::MACHINES;
use super::peers::Peer;
use super::programs::{size, Program, Purpose};
use super::targets;
use super::{Findings, Grid};
use crate::bench::process::Outcome;
use crate::bench::table::{self, Table};
use anyhow::Result;
use std::fmt::Write as _;

/// Everything, in the order in which a reader wants it.
pub fn all(findings: &Findings) -> Vec<Table> {
    let tables = [
        targets::table(findings),
        targets::against_rivals(findings),
        grid("Instructions of an operation", &findings.instructions, |_, count| format!("{count:.1}")),
        times(findings),
        grid("Peak of memory (VmHWM), MB", &findings.times, |_, said| format!("{:.1}", said.peak_kb as f64 / 1024.0)),
        grid("Longest step, µs", &findings.steps, |_, longest| match longest.cells {
            Some(cells) => format!("{} ({cells})", microseconds(longest.microseconds)),
            None => microseconds(longest.microseconds),
        }),
        grid("Nodes alive at the end, and how many there should be", &findings.alive, |_, said| {
            let number = |name: &str| said.numbers.get(name).map_or("?".into(), u64::to_string);
            let (alive, expected) = (number("alive"), number("expected"));
            if alive == expected {
                format!("{alive} exact")
            } else {
                format!("{alive} of {expected}")
            }
        }),
        stacks(findings),
        single_calls(findings),
    ];
    tables.into_iter().filter(|table| !table.is_empty()).collect()
}

fn microseconds(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// One row a peer, one column a program. A peer that leaks the garbage of a program has a † there.
fn grid<T>(title: &str, figures: &Grid<T>, show: impl Fn(Program, &T) -> String) -> Table {
    let programs: Vec<Program> =
        Program::ALL.into_iter().filter(|program| figures.keys().any(|(one, _)| one == program)).collect();
    let heading = std::iter::once(String::new())
        .chain(programs.iter().map(|program| format!("{} ({})", program.name(), program.operation())));
    let mut table = Table::new(title, heading);
    for peer in Peer::ALL.into_iter().filter(|peer| figures.keys().any(|(_, one)| one == peer)) {
        let cells = programs.iter().map(|program| match figures.get(&(*program, peer)) {
            Some(Outcome::Found(value)) if program.is_done_by(peer) => show(*program, value),
            Some(Outcome::Found(value)) => format!("{} †", show(*program, value)),
            Some(Outcome::Failed(_)) => "failed".into(),
            None => "-".into(),
        });
        table.row(peer.name(), cells.collect::<Vec<_>>());
    }
    table
}

fn times(findings: &Findings) -> Table {
    grid(
        "Processor time of an operation, as a multiple of knoll's in the same run",
        &findings.times,
        |program, said| match findings.times.get(&(program, Peer::Knoll)).and_then(Outcome::found) {
            Some(knoll) => format!("{:.2}", said.per_operation() / knoll.per_operation()),
            None => "-".into(),
        },
    )
}

fn stacks(findings: &Findings) -> Table {
    let mut table = Table::new(
        "The list of 10^7 nodes dropped: with a stack of 8 MB, and on one of 4 KB (bytes of it used)",
        ["", "8 MB", "4 KB"],
    );
    for (peer, usual) in &findings.usual_stack {
        let usual = match usual {
            Outcome::Found(_) => "done".to_owned(),
            Outcome::Failed(why) => why.clone(),
        };
        let small = match findings.small_stack.get(peer) {
            Some(Outcome::Found(said)) => said.numbers.get("stack").map_or("?".into(), u64::to_string),
            Some(Outcome::Failed(why)) => why.clone(),
            None => "-".into(),
        };
        table.row(peer.name(), [usual, small]);
    }
    table
}

fn single_calls(findings: &Findings) -> Table {
    let machines: Vec<_> = MACHINES.iter().filter(|(name, ..)| findings.calls.contains_key(name)).collect();
    let heading = std::iter::once("").chain(machines.iter().map(|(_, title, _)| *title));
    let mut table = Table::new("Knoll on Cortex-M: instructions of a call, mean/worst; bytes of code", heading);
    let cases: Vec<&String> =
        findings.calls.values().next().map(|calls| calls.cases.keys().collect()).unwrap_or_default();
    for case in cases {
        let cells = machines.iter().map(|(name, ..)| {
            let count = findings.calls.get(name).and_then(|calls| calls.cases.get(case));
            count.map_or("-".into(), |count| format!("{:.1}/{}", count.mean, count.worst))
        });
        table.row(case.as_str(), cells.collect::<Vec<_>>());
    }
    if !machines.is_empty() {
        let sizes = |pick: fn(&(u64, u64)) -> u64| {
            let size = |name| findings.calls.get(name).map_or("-".into(), |calls| pick(&calls.code).to_string());
            machines.iter().map(|(name, ..)| size(name)).collect::<Vec<_>>()
        };
        table.row("code beside the manual heap, -Os: counting", sizes(|size| size.0));
        table.row("code beside the manual heap, -Os: counting and collector", sizes(|size| size.1));
    }
    table
}

/// What did not finish, and why: one line each.
pub fn failures(findings: &Findings) -> Vec<String> {
    fn of<T>(figures: &Grid<T>, what: &str, lines: &mut Vec<String>) {
        for ((program, peer), outcome) in figures {
            if let Outcome::Failed(why) = outcome {
                lines.push(format!("- {} in {}, {what}: {why}", peer.name(), program.name()));
            }
        }
    }
    let mut lines = Vec::new();
    of(&findings.instructions, "instructions", &mut lines);
    of(&findings.times, "time and memory", &mut lines);
    of(&findings.steps, "steps", &mut lines);
    of(&findings.alive, "live nodes", &mut lines);
    lines
}

/// How large the programs were, and for whom smaller.
fn sizes() -> Table {
    let mut table =
        Table::new("Arguments of the programs", ["", "time, memory", "instructions", "steps", "bacon_rajan_cc"]);
    for program in Program::ALL {
        let of = |purpose, peer| size(program, purpose, peer).to_string();
        let slow = [Purpose::Time, Purpose::Instructions, Purpose::Steps].map(|purpose| of(purpose, Peer::Bacon));
        let mine = [Purpose::Time, Purpose::Instructions, Purpose::Steps].map(|purpose| of(purpose, Peer::Knoll));
        let smaller = if slow == mine { "the same".into() } else { slow.join(", ") };
        table.row(program.name(), mine.into_iter().chain([smaller]));
    }
    table
}

/// `docs/counted-figures.md`: targets first, then how it was measured, then all tables.
pub fn document(findings: &Findings) -> Result<String> {
    let mut text = table::head(include_str!("figures-head.md"), &findings.commit);
    let tables = all(findings);
    for (index, table) in tables.iter().enumerate() {
        let level = if index < 2 { "##" } else { "###" };
        if index == 2 {
            write!(text, "\n{}\n{}", targets::summary(findings), include_str!("figures-method.md"))?;
            write!(text, "\n{}\n\n## What did not finish\n\n", sizes().markdown())?;
            let failures = table::lines_or(&failures(findings), "Nothing: every peer finished every program.");
            writeln!(text, "{failures}\n\n## All tables")?;
        }
        text += &table.section(level);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::process::Said;

    fn findings() -> Findings {
        let mut findings = Findings { commit: "abc".into(), ..Findings::default() };
        for (peer, count) in [(Peer::Knoll, 80.0), (Peer::CountMimalloc, 90.0), (Peer::NimOrc, 170.0)] {
            findings.instructions.insert((Program::Trees, peer), Outcome::Found(count));
            findings.instructions.insert((Program::Churn, peer), Outcome::Found(count));
            let said = Said { operations: 10, nanoseconds: count as u64, peak_kb: 2048, ..Said::default() };
            findings.times.insert((Program::Trees, peer), Outcome::Found(said));
        }
        findings.instructions.insert((Program::List, Peer::NimOrc), Outcome::Failed("signal 9".into()));
        findings
    }

    #[test]
    fn a_peer_that_leaks_is_marked_and_is_no_rival() {
        let text = grid("t", &findings().instructions, |_, count| format!("{count}")).markdown();
        assert!(text.contains("90 †") && text.contains("failed"), "{text}");
        let brief = targets::brief(&findings()).markdown();
        let churn = brief.lines().find(|line| line.contains("churn")).unwrap_or_default();
        assert!(churn.contains("170.0 nim-orc") && churn.contains(" 80.0 "), "{brief}");
        let trees = brief.lines().find(|line| line.contains("trees")).unwrap_or_default();
        assert!(trees.contains("90.0 count-mimalloc") && trees.contains("**80.0**"), "{brief}");
    }

    #[test]
    fn the_document_names_misses_failures_and_commit() -> Result<()> {
        let text = document(&findings())?;
        assert!(text.contains("80.0 met") && text.contains("80.0 missed") && text.contains("`abc`"), "{text}");
        assert!(text.contains("- nim-orc in list, instructions: signal 9"), "{text}");
        Ok(())
    }
}
