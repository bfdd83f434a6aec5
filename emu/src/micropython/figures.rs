//! What scripts cost: instructions between their marks, the collector's share, each entry point's calls.
//!
//! Guarantees
//! - The collector's share is inclusive: everything from an entry point's first instruction to its return, finalisers
//!   and a collection that an allocation starts included; nested entry points count once.
//! - Stock firmware and Knoll's give the same names: `gc_alloc` is `__wrap_gc_alloc` where that takes its place, and
//!   `__wrap_m_malloc`, which does its work, too.
//! - Only what happens between marks counts, so neither boot nor the compilation of a script does.
//!
//! ```text
//!   from machine import mem32
//!   mem32[0xE0000000] = 7          mark 7 begins
//!   work()
//!   mem32[0xE0000020] = 0          and ends: a few dozen instructions of the interpreter are counted with it
//! ```

use super::board::{shown, Board, Ending};
use super::firmware::{entry_point, Firmware};
use crate::fault::End;
use crate::machine::Finished;
use crate::measure::Subject;
use crate::profile::Line;
use crate::statistics::{Counts, Summary};
use crate::symbols::Symbols;
use crate::Options;
use anyhow::{bail, Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How many of the longest calls of an entry point are told.
const LONGEST: usize = 64;

/// What to run, and how.
pub struct Task {
    /// The firmware's ELF file.
    pub firmware: PathBuf,
    /// Scripts, run one after the other on one machine.
    pub scripts: Vec<PathBuf>,
    /// Instructions for each script.
    pub budget: u64,
    /// Watch Knoll's writes.
    pub watch: bool,
    /// Find where the instructions between marks go.
    pub profile: bool,
    /// Give no figures for the collector: then nothing is taken note of at its calls.
    pub plain: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// The ELF file.
    pub firmware: String,
    /// Whether Knoll is the collector.
    pub is_knoll: bool,
    /// What the scripts printed.
    pub output: String,
    /// From reset to the end.
    pub instructions: u64,
    /// By the mark's number.
    pub marks: BTreeMap<u32, Stretch>,
    /// Where the instructions went, hottest functions first.
    pub profile: Vec<Line>,
    /// Stores by Knoll that were checked.
    pub watched: Option<u64>,
}

/// What happened between a mark's beginnings and ends, all of them together.
#[derive(Debug, Default, Serialize)]
pub struct Stretch {
    /// How often it began and ended.
    pub times: u64,
    /// Instructions in all.
    pub instructions: u64,
    /// Of these, in the collector.
    pub collector: u64,
    /// The longest single stay in the collector.
    pub longest: u64,
    /// The entry points that were called.
    pub calls: BTreeMap<String, Calls>,
}

/// Calls of one entry point.
#[derive(Debug, Serialize)]
pub struct Calls {
    /// Instructions of a call.
    #[serde(flatten)]
    pub summary: Summary,
    /// The longest, longest first.
    pub longest: Vec<u64>,
    /// For allocations the same by the size asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sizes: BTreeMap<u32, Summary>,
}

/// Boots the firmware, runs the scripts, and gives what was found.
pub fn measure(task: &Task) -> Result<Figures> {
    let firmware = Firmware::load(&task.firmware)?;
    let is_knoll = firmware.is_knoll;
    let options = Options {
        exclude: if task.plain { Vec::new() } else { firmware.collector.clone() },
        watch: task.watch && is_knoll,
        stores_alone: true,
        journal: !task.plain,
        profile: task.profile,
        ..Options::default()
    };
    let mut board = Board::boot(firmware, &options)?;
    let mut output = Vec::new();
    for script in &task.scripts {
        let text = std::fs::read(script).with_context(|| format!("can't read {}", script.display()))?;
        output.extend(run_one(&mut board, script, &text, task.budget)?);
    }
    let image = Rc::clone(&board.machine.image);
    let finished = board.finish();
    Ok(Figures {
        firmware: task.firmware.display().to_string(),
        is_knoll,
        output: String::from_utf8_lossy(&output).replace("\r\n", "\n"),
        instructions: finished.instructions,
        marks: stretches(&finished),
        profile: hottest(&finished, &image.symbols),
        watched: finished.watched,
    })
}

/// What it printed; anything but an undisturbed end is an error.
fn run_one(board: &mut Board, script: &Path, text: &[u8], budget: u64) -> Result<Vec<u8>> {
    let outcome = board.run(text, budget)?;
    let name = script.display();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    match &outcome.end {
        Ending::Done if outcome.error.is_empty() => Ok(outcome.output),
        Ending::Done => bail!("{name}:\n{}{}", said(&outcome.output), said(&outcome.error)),
        Ending::Waits => bail!("{name} reads from the serial port:\n{}", said(&outcome.output)),
        Ending::Machine(End::Exit(0)) => Ok(outcome.output),
        Ending::Machine(end) => bail!("{name}: {end}\n{}{}", shown(end), said(&outcome.output)),
    }
}

/// Calls of one entry point, and those of an allocation by size.
#[derive(Default)]
struct Seen {
    all: Counts,
    sizes: BTreeMap<u32, Counts>,
}

fn stretches(finished: &Finished) -> BTreeMap<u32, Stretch> {
    let mut marks: BTreeMap<u32, Stretch> = BTreeMap::new();
    for (id, measured) in &finished.meter.marks {
        let found = measured.measurement();
        let collector = found.excluded;
        let instructions = found.instructions.total + collector;
        let times = found.instructions.count;
        marks.insert(*id, Stretch { times, instructions, collector, ..Stretch::default() });
    }
    // By mark and entry point.
    let mut calls: BTreeMap<(u32, &str), Seen> = BTreeMap::new();
    for noted in finished.meter.journal.iter().flatten() {
        let Subject::Excluded(index) = noted.subject else { continue };
        let name = entry_point(&finished.excluded[index]);
        let seen = calls.entry((noted.mark, name)).or_default();
        seen.all.add(noted.instructions);
        if name == "gc_alloc" {
            seen.sizes.entry(noted.arguments[0]).or_default().add(noted.instructions);
        }
    }
    for ((mark, name), Seen { all, sizes }) in calls {
        let stretch = marks.entry(mark).or_default();
        let (summary, longest) = (all.summary(), all.greatest(LONGEST));
        stretch.longest = stretch.longest.max(summary.worst);
        let sizes = sizes.into_iter().map(|(size, counts)| (size, counts.summary())).collect();
        stretch.calls.insert(name.to_owned(), Calls { summary, longest, sizes });
    }
    marks
}

fn hottest(finished: &Finished, symbols: &Symbols) -> Vec<Line> {
    match &finished.profile {
        Some(profile) => profile.hottest(symbols, 30, 12),
        None => Vec::new(),
    }
}

impl Figures {
    /// For people: marks, entry points, hot functions.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        for (id, stretch) in &self.marks {
            let share = 100.0 * stretch.collector as f64 / stretch.instructions.max(1) as f64;
            writeln!(
                out,
                "mark {id}: {} instructions, {} times; collector {} ({share:.1} %), longest {}",
                stretch.instructions, stretch.times, stretch.collector, stretch.longest
            )?;
            for (name, calls) in &stretch.calls {
                writeln!(out, "  {name:<18} {}", row(&calls.summary))?;
                for (size, summary) in &calls.sizes {
                    writeln!(out, "    {size:>8} bytes   {}", row(summary))?;
                }
            }
        }
        let total: u64 = self.profile.iter().map(|line| line.instructions).sum();
        for line in &self.profile {
            let share = 100.0 * line.instructions as f64 / total.max(1) as f64;
            writeln!(out, "{share:5.1} %  {:>12}  {}", line.instructions, line.function)?;
            for (address, times, instructions) in &line.blocks {
                writeln!(out, "           {instructions:>12} at {address:#x}, {times} times")?;
            }
        }
        Ok(())
    }
}

fn row(summary: &Summary) -> String {
    let Summary { count, p50, worst, total, .. } = summary;
    format!("{count:>8} calls, median {p50}, worst {worst}, total {total}")
}
