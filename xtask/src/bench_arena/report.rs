//! The tables of `cargo xtask bench-arena`, and `docs/arena-figures.md`.

use super::peers::Peer;
use super::programs::Program;
use super::targets::{self, number};
use super::{Findings, Grid};
use crate::bench::calls::MACHINES;
use crate::bench::process::Outcome;
use crate::bench::table::{self, Table};
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Everything, in the order in which a reader wants it.
pub fn all(findings: &Findings) -> Vec<Table> {
    let tables = [
        targets::table(findings),
        targets::against_rivals(findings),
        footprints(findings),
        memory(findings),
        grid("Instructions of an operation, x86-64", &findings.instructions, |_, count| format!("{count:.1}")),
        grid(
            "Processor time of an operation, as a multiple of knoll's in the same run",
            &findings.times,
            |program, said| match findings.times.get(&(program, Peer::Knoll)).and_then(Outcome::found) {
                Some(knoll) => format!("{:.2}", said.per_operation() / knoll.per_operation()),
                None => "-".into(),
            },
        ),
        destructors(findings),
        single_calls(findings),
    ];
    tables.into_iter().filter(|table| !table.is_empty()).collect()
}

/// One row a program, one column a peer.
fn grid<T>(title: &str, figures: &Grid<T>, show: impl Fn(Program, &T) -> String) -> Table {
    let peers: Vec<Peer> = Peer::ALL.into_iter().filter(|peer| figures.keys().any(|(_, one)| one == peer)).collect();
    let mut table = Table::new(title, std::iter::once("").chain(peers.iter().map(|peer| peer.name())));
    for program in Program::ALL.into_iter().filter(|program| figures.keys().any(|(one, _)| one == program)) {
        let cells = peers.iter().map(|peer| match figures.get(&(program, *peer)) {
            Some(Outcome::Found(value)) => show(program, value),
            Some(Outcome::Failed(_)) | None => "-".into(),
        });
        table.row(program.title(), cells.collect::<Vec<_>>());
    }
    table
}

fn or_none(bytes: Option<u64>) -> String {
    bytes.map_or("-".into(), |bytes| bytes.to_string())
}

/// What is held when 200 allocations of 128 bytes are taken back.
fn footprints(findings: &Findings) -> Table {
    let mut table = Table::new(
        "Footprint, bytes: 64 bytes and a mark, 200 allocations of 128 bytes, back to the mark; the 200 again, and a reset",
        ["", "at the mark", "most", "behind the rewind", "kept", "behind the reset", "when left"],
    );
    for (peer, outcome) in &findings.footprints {
        let of = |name: &str| number(Some(outcome), name);
        // The released bumpalo has no mark: its rewind is the end of another arena.
        let child = if *peer == Peer::Bumpalo { " (another arena)" } else { "" };
        let kept = of("after").zip(of("mark")).map(|(after, mark)| after.saturating_sub(mark));
        table.row(
            peer.name(),
            [
                or_none(of("mark")),
                or_none(of("most")),
                format!("{}{child}", or_none(of("after"))),
                or_none(kept),
                or_none(of("reset")),
                or_none(of("left")),
            ],
        );
    }
    for (machine, title, _) in MACHINES {
        let Some(report) = findings.machines.get(machine) else { continue };
        let of = |name: &str| report.results.get(name).and_then(|bytes| u64::try_from(*bytes).ok());
        let kept = of("after").zip(of("mark")).map(|(after, mark)| after.saturating_sub(mark));
        table.row(
            format!("knoll, {title}"),
            [
                or_none(of("mark")),
                or_none(of("most")),
                or_none(of("after")),
                or_none(kept),
                "-".into(),
                or_none(of("left")),
            ],
        );
    }
    table
}

/// What a mixed workflow takes.
fn memory(findings: &Findings) -> Table {
    let mut table = Table::new(
        "Memory of the mixed workflow, 20 times, bytes",
        ["", "most payload", "most held", "held / payload", "when left"],
    );
    for (peer, outcome) in &findings.memory {
        let of = |name: &str| number(Some(outcome), name);
        let ratio = of("peak").zip(of("payload")).map(|(peak, payload)| peak as f64 / payload.max(1) as f64);
        table.row(
            peer.name(),
            [
                or_none(of("payload")),
                or_none(of("peak")),
                ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
                or_none(of("left")),
            ],
        );
    }
    table
}

/// Leaving a scope that has to call something, by how often.
fn destructors(findings: &Findings) -> Table {
    let places = || MACHINES.map(|(name, title, _)| (name, title)).into_iter().chain([("host", "x86-64")]);
    let heading = places().flat_map(|(_, title)| ["cleanups", "destroy hooks"].map(|what| format!("{what}, {title}")));
    let mut table = Table::new(
        "Knoll: instructions of leaving a scope with n destructors, theirs included",
        std::iter::once("n".to_owned()).chain(heading),
    );
    if findings.machines.is_empty() {
        return table;
    }
    for (n, kinds) in [
        (0, ["0 cleanups", "0 cleanups"]),
        (1, ["1 cleanup", "1 destroy hook"]),
        (10, ["10 cleanups", "10 destroy hooks"]),
        (100, ["100 cleanups", "100 destroy hooks"]),
        (1000, ["1000 cleanups", "1000 destroy hooks"]),
    ] {
        let cells = places().flat_map(|(place, _)| {
            kinds.map(|kind| {
                let case = format!("kn_arena_leave {kind}");
                let mean = match place {
                    "host" => findings.host.get(&case).copied(),
                    _ => findings.machines.get(place).and_then(|report| Some(report.marks.get(&case)?.mean)),
                };
                mean.map_or("-".into(), |mean| format!("{mean:.0}"))
            })
        });
        table.row(n.to_string(), cells.collect::<Vec<_>>());
    }
    table
}

/// Each case of `calls.c` on every machine.
fn single_calls(findings: &Findings) -> Table {
    let machines: Vec<_> = MACHINES.iter().filter(|(name, ..)| findings.machines.contains_key(name)).collect();
    let heading = std::iter::once("").chain(machines.iter().map(|(_, title, _)| *title)).chain(["x86-64, mean"]);
    let mut table = Table::new("Knoll: instructions of a call, mean/worst", heading);
    let cases: Vec<&String> =
        findings.machines.values().next().map(|report| report.marks.keys().collect()).unwrap_or_default();
    for case in cases {
        let cells = machines.iter().map(|(name, ..)| {
            let count = findings.machines.get(name).and_then(|report| report.marks.get(case));
            count.map_or("-".into(), |count| format!("{:.1}/{}", count.mean, count.worst))
        });
        let host = findings.host.get(case).map_or("-".into(), |count| format!("{count:.1}"));
        table.row(case.as_str(), cells.chain([host]).collect::<Vec<_>>());
    }
    table
}

/// What a peer does not have or did not finish: one line for each reason of a peer.
pub fn failures(findings: &Findings) -> Vec<String> {
    // A program that fails does so for every figure.
    let mut programs: BTreeMap<(Peer, &str), Vec<&str>> = BTreeMap::new();
    for ((program, peer), outcome) in &findings.times {
        if let Outcome::Failed(why) = outcome {
            programs.entry((*peer, why.trim_start_matches("error "))).or_default().push(program.name());
        }
    }
    let line = |((peer, why), programs): (&(Peer, &str), &Vec<&str>)| {
        format!("- {} {why}: {}", peer.name(), programs.join(", "))
    };
    programs.iter().map(line).collect()
}

/// How often each program does its operation.
fn sizes() -> Table {
    let mut table = Table::new("Operations of a run", ["", "in the document as", "instructions", "time"]);
    for program in Program::ALL {
        table.row(
            program.name(),
            [program.title().to_owned(), program.counted().to_string(), program.timed().to_string()],
        );
    }
    table
}

/// `docs/arena-figures.md`: targets first, then how it was measured, then all tables.
pub fn document(findings: &Findings) -> Result<String> {
    let mut text = table::head(include_str!("figures-head.md"), &findings.commit);
    for (index, table) in all(findings).iter().enumerate() {
        let level = if index < 4 { "##" } else { "###" };
        if index == 2 {
            write!(text, "\n{}", targets::summary(findings))?;
        }
        if index == 4 {
            write!(
                text,
                "\n{}\n{}\n\n## What a peer does not have\n\n",
                include_str!("figures-method.md"),
                sizes().markdown()
            )?;
            let failures = table::lines_or(&failures(findings), "Nothing: every peer does every program.");
            writeln!(text, "{failures}\n\n## All tables")?;
        }
        text += &table.section(level);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::calls::{Count, Report};
    use crate::bench::process::Said;

    fn findings() -> Findings {
        let mut findings = Findings { commit: "abc".into(), ..Findings::default() };
        for (peer, count) in [(Peer::Knoll, 7.0), (Peer::Bumpalo, 8.0), (Peer::Talloc, 200.0)] {
            findings.instructions.insert((Program::Fixed, peer), Outcome::Found(count));
            let said = Said { operations: 10, nanoseconds: count as u64 * 10, ..Said::default() };
            findings.times.insert((Program::Fixed, peer), Outcome::Found(said));
        }
        let without = || Outcome::Failed("error has no cleanups".into());
        findings.times.insert((Program::Cleanups10, Peer::Bumpalo), without());
        let held = [("mark", 100), ("most", 900), ("after", 164), ("reset", 500), ("left", 0)];
        let numbers = held.map(|(name, value)| (name.to_owned(), value)).into();
        findings.footprints.insert(Peer::Knoll, Outcome::Found(Said { numbers, ..Said::default() }));
        let mut report = Report { marks: [].into(), results: [].into() };
        report.marks.insert("kn_arena_enter empty".into(), Count { mean: 70.0, worst: 70 });
        report.marks.insert("kn_arena_leave empty".into(), Count { mean: 50.1, worst: 51 });
        findings.machines.insert("m4", report);
        findings
    }

    #[test]
    fn targets_are_judged_and_misses_are_said() {
        let text = targets::table(&findings()).markdown();
        let row = |start: &str| text.lines().find(|line| line.starts_with(&format!("| {start}"))).unwrap_or_default();
        assert!(row("allocation of 24 bytes, inlined").contains("7.0 met"), "{text}");
        assert!(row("enter and leave, empty").contains("120.1 missed"), "{text}");
        assert!(row("bytes more behind a rewind").contains("64 missed"), "{text}");
        let summary = targets::summary(&findings());
        assert!(summary.contains("Cortex-M4: 0 of 1 targets met"), "{summary}");
        assert!(summary.contains("- enter and leave, empty on Cortex-M4: 120.1, not 120.\n"), "{summary}");
        assert!(summary.contains("instructions: ahead of the best rival in 1 of 1 programs"), "{summary}");
    }

    #[test]
    fn the_document_names_rivals_what_is_kept_and_what_is_missing() -> Result<()> {
        let text = document(&findings())?;
        assert!(text.contains("8.0 bumpalo") && text.contains("1.14 bumpalo") && text.contains("`abc`"), "{text}");
        assert!(text.contains("- bumpalo has no cleanups: cleanups-10"), "{text}");
        assert!(
            text.lines().any(|line| line.contains("| knoll ") && line.contains(" 164 | ") && line.contains(" 64 | ")),
            "{text}"
        );
        Ok(())
    }
}
