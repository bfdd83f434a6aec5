//! The tables of `cargo xtask bench-hosted`, and `docs/hosted-figures.md`.

use super::operations::Operation;
use super::peers::Peer;
use super::programs::{Freer, Real, Threaded};
use super::targets::{self, instructions, peak, time};
use super::{Findings, Grid};
use crate::bench::process::{Outcome, Said};
use crate::bench::table::Table;
use crate::util;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::Path;

/// Everything, in the order in which a reader wants it.
pub fn all(findings: &Findings) -> Vec<Table> {
    let megabytes = |kb: f64| format!("{:.1}", kb / 1024.0);
    let tables = [
        targets::table(findings),
        grid(
            "Instructions of an operation, x86-64",
            Operation::ALL.map(|operation| (operation, operation.title())),
            |operation, peer| instructions(findings, operation, peer).map(|count| format!("{count:.1}")),
        ),
        grid(
            "Threads: time of an operation by the clock, as a multiple of knoll's",
            Threaded::ALL.map(|program| (program, program.title())),
            |program, peer| beside(&findings.threads, program, peer, Peer::Knoll, time),
        ),
        grid(
            "Threads: processor time of an operation, as a multiple of knoll's",
            Threaded::ALL.map(|program| (program, program.title())),
            |program, peer| beside(&findings.threads, program, peer, Peer::Knoll, processor),
        ),
        grid(
            "Threads: peak of memory, MB",
            Threaded::ALL.map(|program| (program, program.title())),
            |program, peer| peak(&findings.threads, program, peer).map(megabytes),
        ),
        grid(
            "Real programs: processor time, as a multiple of glibc's",
            Real::ALL.map(|program| (program, program.name())),
            |program, peer| beside(&findings.programs, program, peer, Peer::Glibc, time),
        ),
        grid(
            "Real programs: peak of memory, as a multiple of glibc's",
            Real::ALL.map(|program| (program, program.name())),
            |program, peer| beside(&findings.programs, program, peer, Peer::Glibc, peak),
        ),
        grid(
            "Real programs: peak of memory, MB",
            Real::ALL.map(|program| (program, program.name())),
            |program, peer| peak(&findings.programs, program, peer).map(megabytes),
        ),
        kept(findings),
        startup(findings),
    ];
    tables.into_iter().filter(|table| !table.is_empty()).collect()
}

/// One row a program, one column a peer; rows of which nothing is known are left out.
fn grid<P: Copy>(
    title: &str,
    rows: impl IntoIterator<Item = (P, &'static str)>,
    show: impl Fn(P, Peer) -> Option<String>,
) -> Table {
    let mut table = Table::new(title, std::iter::once("").chain(Peer::ALL.iter().map(|peer| peer.name())));
    for (program, title) in rows {
        let cells: Vec<Option<String>> = Peer::ALL.iter().map(|peer| show(program, *peer)).collect();
        if cells.iter().any(Option::is_some) {
            table.row(title, cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".into())));
        }
    }
    table
}

/// A peer's figure as a multiple of another's.
fn beside<P: Copy + Ord>(
    figures: &Grid<P, Said>,
    program: P,
    peer: Peer,
    base: Peer,
    of: impl Fn(&Grid<P, Said>, P, Peer) -> Option<f64>,
) -> Option<String> {
    Some(format!("{:.2}", of(figures, program, peer)? / of(figures, program, base)?))
}

/// Nanoseconds of processor time of an operation, of all threads.
fn processor(figures: &Grid<Threaded, Said>, program: Threaded, peer: Peer) -> Option<f64> {
    let said = figures.get(&(program, peer))?.found()?;
    Some(*said.numbers.get("processor")? as f64 / said.operations.max(1) as f64)
}

/// What is resident at each point of the program that frees 300 MB.
fn kept(findings: &Findings) -> Table {
    const POINTS: [(&str, &str); 5] = [
        ("peak", "peak"),
        ("tenth", "9 of 10 freed"),
        ("freed", "all freed, at once"),
        ("later", "a second later"),
        ("trimmed", "malloc_trim(0)"),
    ];
    let heading = std::iter::once("").chain(POINTS.iter().map(|(_, title)| *title));
    let mut table = Table::new("300 MB freed: resident, MB", heading);
    for freer in Freer::ALL {
        for peer in Peer::ALL {
            let Some(Outcome::Found(said)) = findings.kept.get(&(freer, peer)) else { continue };
            let cells = POINTS
                .map(|(name, _)| said.numbers.get(name).map_or("-".into(), |kb| format!("{:.1}", *kb as f64 / 1024.0)));
            table.row(format!("{}, freed {}", peer.name(), freer.title()), cells);
        }
    }
    table
}

fn startup(findings: &Findings) -> Table {
    let mut table = Table::new("Start of a process: microseconds that the library adds", ["", "µs"]);
    for (peer, added) in &findings.startup.1 {
        table.row(peer.name(), [format!("{added:.0}")]);
    }
    table
}

/// What did not finish, and why: one line each.
pub fn failures(findings: &Findings) -> Vec<String> {
    fn of<P, T>(figures: &Grid<P, T>, name: impl Fn(&P) -> &'static str, lines: &mut Vec<String>) {
        for ((program, peer), outcome) in figures {
            if let Outcome::Failed(why) = outcome {
                lines.push(format!("- {}, {}: {why}", peer.name(), name(program)));
            }
        }
    }
    let mut lines = Vec::new();
    of(&findings.operations, |operation| operation.title(), &mut lines);
    of(&findings.threads, |program| program.title(), &mut lines);
    of(&findings.programs, |program| program.name(), &mut lines);
    of(&findings.kept, |freer| freer.title(), &mut lines);
    lines
}

/// Who is measured.
fn peers(findings: &Findings) -> Table {
    let mut table = Table::new("The allocators", ["", "from"]);
    for (peer, origin) in &findings.origins {
        table.row(peer.name(), [origin.clone()]);
    }
    table
}

/// `docs/hosted-figures.md`: targets first, then how it was measured, then all tables.
pub fn document(findings: &Findings, path: &Path) -> Result<()> {
    let mut text = String::from(include_str!("figures-head.md"));
    if !findings.commit.is_empty() {
        writeln!(text, "\nMeasured at commit `{}`.", findings.commit)?;
    }
    let tables = all(findings);
    for (index, table) in tables.iter().enumerate() {
        let level = if index == 0 { "##" } else { "###" };
        write!(text, "\n{level} {}\n\n{}\n", table.title, table.markdown())?;
        if index == 0 {
            let failures = failures(findings);
            let none = "Nothing: every allocator finished everything.".to_owned();
            write!(text, "\n{}\n{}", targets::summary(findings), include_str!("figures-method.md"))?;
            write!(text, "\n## The allocators\n\n{}\n\n## What did not finish\n\n", peers(findings).markdown())?;
            writeln!(text, "{}\n\n## All tables", if failures.is_empty() { none } else { failures.join("\n") })?;
        }
    }
    util::note(format!("writing {}", util::root_relative(path)));
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_hosted::operations::Counted;

    fn findings() -> Findings {
        let mut findings = Findings { commit: "abc".into(), ..Findings::default() };
        for (peer, count) in [(Peer::Knoll, 37.0), (Peer::Glibc, 131.0), (Peer::Snmalloc, 39.0)] {
            let counted = Counted { all: count, library: count };
            findings.operations.insert((Operation::Pair, peer), Outcome::Found(counted));
            let said = Said { operations: 10, nanoseconds: count as u64 * 10, peak_kb: 2048, ..Said::default() };
            findings.threads.insert((Threaded::Server, peer), Outcome::Found(said.clone()));
            findings.programs.insert((Real::Lua, peer), Outcome::Found(said));
            let numbers = [("peak", 1000), ("freed", count as u64)].map(|(name, kb)| (name.to_owned(), kb)).into();
            findings.kept.insert((Freer::Own, peer), Outcome::Found(Said { numbers, ..Said::default() }));
            findings.origins.insert(peer, "somewhere 1.0".into());
        }
        findings.programs.insert((Real::Redis, Peer::Rpmalloc), Outcome::Failed("SIGSEGV".into()));
        findings
    }

    #[test]
    fn targets_are_judged_beside_the_best_rival() {
        let mut findings = findings();
        let row = |findings: &Findings, start: &str| {
            let text = targets::table(findings).markdown();
            text.lines().find(|line| line.starts_with(&format!("| {start}"))).unwrap_or_default().to_owned()
        };
        let pair = row(&findings, "instructions: pair of 32 bytes, beside others");
        assert!(pair.contains("39.0 snmalloc") && pair.contains("37.0") && pair.contains("met"), "{pair}");
        let server = row(&findings, "time / that of the fastest rival: server");
        assert!(server.contains("0.95") && server.contains("met"), "{server}");
        assert!(
            row(&findings, "peak of memory / glibc's: lua").contains("1.00"),
            "{findings:?}",
            findings = findings.commit
        );
        let kept = row(&findings, "kept of 300 MB freed by the thread that allocated");
        assert!(kept.contains("3.7") && kept.contains("met"), "{kept}");

        let slow = Said { operations: 10, nanoseconds: 420, ..Said::default() };
        findings.threads.insert((Threaded::Server, Peer::Knoll), Outcome::Found(slow));
        let server = row(&findings, "time / that of the fastest rival: server");
        assert!(server.contains("1.08") && server.contains("missed"), "{server}");
        let summary = targets::summary(&findings);
        assert!(summary.contains("server (larson): 1.08, not 1.05.\n"), "{summary}");
        assert!(summary.contains("ahead of every rival in 1 of 1 operations"), "{summary}");
    }

    #[test]
    fn the_document_names_versions_and_what_crashed() -> Result<()> {
        let path = std::env::temp_dir().join(format!("knoll-{}-hosted-figures.md", std::process::id()));
        document(&findings(), &path)?;
        let text = std::fs::read_to_string(&path)?;
        std::fs::remove_file(&path)?;
        assert!(text.contains("somewhere 1.0") && text.contains("`abc`"), "{text}");
        assert!(text.contains("- rpmalloc, redis: SIGSEGV"), "{text}");
        Ok(())
    }
}
