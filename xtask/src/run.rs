//! `cargo xtask run`: unmodified Lua 5.4 on Knoll, as a program on this machine and as firmware on an
//! emulated Cortex-M4, next to the same firmware on newlib's own allocators.
//!
//! - The script's output must be the same, byte for byte, from every program; else the command fails.
//! - It fails as well when a script does not end, when a heap is damaged, when blocks stay behind after Lua
//!   was closed, when Knoll writes outside its heap, and when Knoll's walk of its heap contradicts the log of
//!   what was allocated.
//! - Instructions are counted by the emulator, exactly: two runs give the same figures.
//!
//! ```text
//!   lua-src ──▶ build ──▶ execute ──▶ log ──▶ map ──▶ picture   target/run/heap-peak.svg
//!   examples/lua ──┘          └─────────────────────▶ tables    the terminal
//! ```
//!
//! Lisp, a device in C ([`workflow`]) and a wallet in MicroPython ([`micropython`]) come after it.
//!
//! Each firmware runs three times and more: measured; with a log of every call and a snapshot at the peak
//! that the first run found; and in ever smaller heaps, to find the smallest in which the script ends.

pub(crate) mod build;
mod execute;
mod log;
mod map;
mod micropython;
mod picture;
mod tables;

use crate::{lisp, util, workflow};
use anyhow::{bail, ensure, Context, Result};
use build::Allocator;
use console::style;
use execute::{Measured, Program, Report, Request, NO_MEMORY};
use indicatif::{ProgressBar, ProgressStyle};
use log::Log;
use map::HeapMap;
use picture::{Caption, Panel};
use std::path::PathBuf;
use std::time::Duration;
pub(crate) use tables::grouped;
use tables::{kilobytes, Column};

/// Run Lua on Knoll, on this machine and in the emulated Cortex-M4, and report side by side.
#[derive(clap::Args)]
pub struct Args {
    /// Only build, run and compare the outputs: no report, no picture.
    #[arg(long)]
    check: bool,
    /// A Lua script instead of examples/lua/work.lua. It must print the same on every machine.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Leave out the search for the smallest heaps.
    #[arg(long)]
    no_search: bool,
    /// Only the wallet in MicroPython.
    #[arg(long)]
    micropython: bool,
}

/// A firmware that has run, and what is known of it.
struct Subject {
    program: Program,
    report: Report,
    measured: Measured,
    log: Log,
    map: HeapMap,
    largest_at_peak: u64,
    smallest: Option<usize>,
}

/// Entry of the command.
pub fn run(args: Args) -> Result<()> {
    if args.micropython {
        return micropython::demonstrate();
    }
    let script = match &args.script {
        Some(script) => std::env::current_dir()?.join(script),
        None => build::example("work.lua"),
    };
    util::announce("Building: libknoll, Lua from the package lua-src, the program over both");
    let lua = build::LuaSources::find()?;
    let emulator = util::emu_binary()?;
    let host = build::host(&lua, &script)?;
    let allocators: &[Allocator] = if args.check {
        &[Allocator::Knoll, Allocator::Newlib]
    } else {
        &[Allocator::Knoll, Allocator::Newlib, Allocator::NewlibNano]
    };
    let mut programs = Vec::new();
    for &allocator in allocators {
        programs.push((allocator, build::firmware(&lua, &script, allocator, &emulator)?));
    }

    util::announce(format!("Running the script: {}", util::root_relative(&script)));
    let (outcome, host_report) = busy(&host.title(), || host.succeed(Request::default()))?;
    let expected = outcome.output;
    ensure!(!expected.is_empty(), "the script printed nothing: there is nothing to compare");
    done(&format!("{}: {} calls of the allocator", host.title(), grouped(host_report.events.into())));
    if !args.check {
        quote(&expected);
    }
    let mut measured = Vec::new();
    for (allocator, program) in programs {
        let knoll = allocator == Allocator::Knoll;
        let request = Request { measure: !args.check, watch: knoll && args.check, ..Request::default() };
        let (outcome, report) = busy(&program.title(), || program.succeed(request))?;
        same_output(&program.title(), &expected, &outcome.output)?;
        if let Some(measured) = &outcome.measured {
            let counted = [measured.malloc.count, measured.realloc.count, measured.free.count];
            let made = [report.mallocs, report.reallocs, report.frees].map(u64::from);
            ensure!(counted == made, "{}: {made:?} calls were made, {counted:?} measured", program.title());
        }
        let instructions = outcome.measured.as_ref().map_or(0, |measured| measured.instructions);
        done(&match instructions {
            0 if knoll => format!("{}: output the same, every write of Knoll where it may", program.title()),
            0 => format!("{}: output the same, byte for byte", program.title()),
            _ => format!("{}: output the same, {} instructions", program.title(), grouped(instructions)),
        });
        measured.push((program, report, outcome.measured));
    }
    let lines = expected.iter().filter(|&&byte| byte == b'\n').count();
    if args.check {
        println!(
            "Lua ran on Knoll on this machine and on the Cortex-M4, and on newlib there: {lines} lines of output, all the same."
        );
        return Ok(());
    }

    util::announce("Running again with a log of every call, and a snapshot of each heap at its peak");
    let host_request = Request { log: true, snapshot: Some(host_report.peak.event), ..Request::default() };
    let (_, host_again) = host.succeed(host_request)?;
    let mut subjects = Vec::new();
    for (program, report, measured) in measured {
        let measured = measured.context("the emulator measured nothing")?;
        let subject = busy(&program.title(), || look_closely(program, report, measured, &expected))?;
        done(&format!("{}: {} blocks at the peak", subject.program.title(), subject.map.facts().blocks));
        subjects.push(subject);
    }

    if !args.no_search {
        util::announce("Looking for the smallest heap in which the script still ends, to 1 KB");
        for subject in &mut subjects {
            let smallest = smallest_heap(&subject.program, &expected)?;
            done(&format!("{}: {}", subject.program.title(), kilobytes(smallest as u64)));
            subject.smallest = Some(smallest);
        }
    }

    let picture = draw(&subjects)?;
    let host_column = Column {
        title: "Knoll",
        place: "x86-64",
        report: host_report,
        largest_at_peak: host_again.snapshot.largest,
        measured: None,
        in_place: Some(host.log()?.resized_in_place()),
        smallest: None,
    };
    print_report(host_column, &subjects);
    summarise(&subjects, lines, &picture);
    if args.script.is_none() {
        tables::heading("A Lisp whose every object is a counted cell");
        lisp::demonstrate()?;
        tables::heading("A device whose every workflow has a scope");
        workflow::demonstrate()?;
        tables::heading("MicroPython, its heap on Knoll");
        micropython::demonstrate()?;
    }
    Ok(())
}

// ---------------------------------------------------------------- running

/// Shows that something is going on while `work` runs.
fn busy<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.set_style(ProgressStyle::with_template("    {spinner} {msg} … {elapsed}").expect("a valid template"));
    spinner.enable_steady_tick(Duration::from_millis(120));
    let outcome = work();
    spinner.finish_and_clear();
    outcome
}

fn done(what: &str) {
    util::note(format!("{} {what}", style("ok").green()));
}

/// The script's output, indented.
fn quote(output: &[u8]) {
    for line in String::from_utf8_lossy(output).lines() {
        println!("        {}", style(line).dim());
    }
}

/// Fails, naming the first line that differs.
pub(crate) fn same_output(title: &str, expected: &[u8], output: &[u8]) -> Result<()> {
    if expected == output {
        return Ok(());
    }
    let (expected, output) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(output));
    let mut theirs = output.lines();
    for (number, line) in expected.lines().enumerate() {
        let other = theirs.next().unwrap_or("(no such line)");
        if other != line {
            bail!("{title}: output differs in line {}\n  expected: {line}\n  printed:  {other}", number + 1);
        }
    }
    bail!("{title}: output goes on after the last line that was expected")
}

/// The second run of a firmware: log and snapshot, checked against each other and against the first run.
fn look_closely(program: Program, report: Report, measured: Measured, expected: &[u8]) -> Result<Subject> {
    let title = program.title();
    let peak = report.peak.event;
    let (outcome, again) = program.succeed(Request { log: true, snapshot: Some(peak), ..Request::default() })?;
    same_output(&title, expected, &outcome.output)?;
    let log = program.log()?;
    ensure!(log.len() == report.events as usize, "{title}: the log has {} calls of {}", log.len(), report.events);
    let blocks = log.blocks_after(peak as usize)?;
    let live: u64 = blocks.iter().map(|block| u64::from(block.size)).sum();
    ensure!(
        live == report.peak.live && blocks.len() == report.peak.blocks as usize,
        "{title}: the log has {live} bytes in {} blocks at the peak, the program counted {} in {}",
        blocks.len(),
        report.peak.live,
        report.peak.blocks
    );
    let capacity = program.heap as u32;
    let map = if again.snapshot.walked {
        HeapMap::from_walk(capacity, &blocks, &program.snapshot()?).with_context(|| title)?
    } else {
        HeapMap::from_gaps(capacity, &blocks)
    };
    let largest_at_peak = again.snapshot.largest;
    Ok(Subject { program, report, measured, log, map, largest_at_peak, smallest: None })
}

/// The smallest heap, to 1 KB, in which the script ends with the right output.
fn smallest_heap(program: &Program, expected: &[u8]) -> Result<usize> {
    const STEP: usize = 1024;
    let (mut too_small, mut enough) = (0, program.heap / STEP);
    let bar = ProgressBar::new(enough.ilog2().into()).with_message(program.title());
    bar.set_style(ProgressStyle::with_template("    {bar:24} {msg} … {elapsed}").expect("a valid template"));
    while enough - too_small > 1 {
        let middle = too_small + (enough - too_small) / 2;
        let outcome = program.execute(Request { heap: Some(middle * STEP), ..Request::default() })?;
        match outcome.status {
            0 => {
                same_output(&program.title(), expected, &outcome.output)?;
                enough = middle;
            }
            NO_MEMORY => too_small = middle,
            other => bail!("{} with {middle} KB: exit status {other}\n{}", program.title(), outcome.errors.trim_end()),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(enough * STEP)
}

// ---------------------------------------------------------------- reporting

fn draw(subjects: &[Subject]) -> Result<PathBuf> {
    let first = subjects.first().context("nothing was run")?;
    let panels = subjects.iter().map(|subject| {
        Ok(Panel {
            name: subject.program.name,
            map: HeapMap { capacity: subject.map.capacity, spans: subject.map.spans.clone() },
            timeline: subject.log.timeline(600)?,
            measured: subject.measured.clone(),
            largest: subject.largest_at_peak,
            smallest: subject.smallest,
        })
    });
    let panels = panels.collect::<Result<Vec<_>>>()?;
    let report = &first.report;
    let caption = Caption {
        title: format!("{} in {} of a Cortex-M4: the heap at its fullest", report.lua, kilobytes(report.heap)),
        subtitle: format!(
            "The same script and the same firmware over three allocators, after call {} of {}: Lua holds {} in {} blocks.",
            grouped(report.peak.event.into()),
            grouped(report.events.into()),
            kilobytes(report.peak.live),
            grouped(report.peak.blocks.into()),
        ),
        event: report.peak.event as usize,
        events: report.events as usize,
    };
    let folder = util::target_dir().join("run");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("heap-peak.svg");
    picture::draw(&path, &caption, &panels)?;
    Ok(path)
}

fn print_report(host: Column, subjects: &[Subject]) {
    let mut columns = vec![host];
    columns.extend(subjects.iter().map(|subject| Column {
        title: subject.program.name,
        place: "M4",
        report: subject.report.clone(),
        largest_at_peak: subject.largest_at_peak,
        measured: Some(subject.measured.clone()),
        in_place: Some(subject.log.resized_in_place()),
        smallest: subject.smallest,
    }));
    for subject in subjects {
        let facts = subject.map.facts();
        tables::heading(&format!("The heap of {} at its peak", subject.program.title()));
        for line in subject.map.draw(64, 8) {
            println!("  {line}");
        }
        println!(
            "          {} live in {} blocks, {} the allocator's own, {} free in {} pieces",
            kilobytes(facts.used.into()),
            grouped(facts.blocks.into()),
            kilobytes(facts.own.into()),
            kilobytes(facts.free.into()),
            grouped(facts.pieces.into()),
        );
    }
    println!("\n          {}", map::legend());
    tables::heading(&format!("{} on each allocator", columns[0].report.lua));
    println!("{}\n", tables::memory(&columns));
    println!("{}", tables::instructions(&columns));
}

/// What the reader should take home.
fn summarise(subjects: &[Subject], lines: usize, picture: &std::path::Path) {
    tables::heading("In short");
    println!("- The output is the same from {} programs, byte for byte (lines: {lines}).", subjects.len() + 1);
    let Some((knoll, others)) = subjects.split_first() else { return };
    let same = others.iter().all(|other| other.log.requests().eq(knoll.log.requests()));
    let calls = grouped(knoll.log.len() as u64);
    if same {
        println!("- Each allocator served the same {calls} calls: same order, same sizes.");
    } else {
        println!(
            "- Not every allocator saw the same {calls} calls: where one refused, Lua collected and went on otherwise."
        );
    }
    let lua = knoll.report.peak.blocks;
    println!(
        "- At the peak, Knoll's walk of its heap finds the {} blocks of the log where the log has them, and {} of the C library.",
        grouped(lua.into()),
        knoll.map.facts().blocks - lua
    );
    for other in others {
        println!("- Against {}: {}.", other.program.name, compare(knoll, other).join("; "));
    }
    println!("- The picture of the heaps: {}", util::root_relative(picture));
}

/// Knoll next to one other allocator, in words; also where Knoll is behind.
fn compare(knoll: &Subject, other: &Subject) -> Vec<String> {
    let (mine, theirs) = (&knoll.measured, &other.measured);
    let mut facts = vec![
        format!("{} of its instructions for all calls", percent(mine.allocator(), theirs.allocator())),
        format!("worst malloc {} to {}", grouped(mine.malloc.worst), grouped(theirs.malloc.worst)),
        format!("worst free {} to {}", grouped(mine.free.worst), grouped(theirs.free.worst)),
        format!(
            "largest free at the peak {} to {}",
            kilobytes(knoll.largest_at_peak),
            kilobytes(other.largest_at_peak)
        ),
    ];
    if let (Some(mine), Some(theirs)) = (knoll.smallest, other.smallest) {
        facts.push(format!("smallest heap {} to {}", kilobytes(mine as u64), kilobytes(theirs as u64)));
    }
    facts
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.0} %", 100.0 * part as f64 / whole.max(1) as f64)
}
