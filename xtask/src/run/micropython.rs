//! The wallet of `micropython/app` in MicroPython's firmware, on MicroPython's own collector and on Knoll's traced heap:
//! 1000 workflows on a heap of 140 KB each, side by side.
//!
//! - Both firmwares have the same interpreter and the same application, frozen in; they differ in the heap, and in what
//!   `trezor.utils` finds to mark a workflow with.
//! - What the workflows answered and what the device remembers must be the same; no workflow may run out of memory on
//!   Knoll; and its largest free block must be at least [`TARGET`] of what is free after every workflow. Else the command
//!   fails.
//! - The figures are MicroPython's own: `micropython.mem_info()` after each workflow, and at the end also the largest
//!   buffer that can be allocated, found by trying. The map is that of `micropython.mem_info(1)`.

use super::map::{legend, HeapMap, Span, State};
use super::tables::grouped;
use super::{done, same_output};
use crate::micropython::build::{firmware, Heap};
use crate::util::{self, announce, program};
use anyhow::{bail, ensure, Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;

const WORKFLOWS: usize = 1000;
/// More instructions than it needs: a loop ends here.
const BUDGET: &str = "40G";
/// A MicroPython block on a 32-bit machine, in which its reports count.
const BLOCK: u32 = 16;
/// Largest free block over free memory, in percent, that Knoll must keep after each workflow.
const TARGET: f64 = 95.0;
/// After how many workflows the table has a column.
const COLUMNS: [usize; 4] = [1, 10, 100, WORKFLOWS];

/// What a firmware said of itself.
struct Told {
    /// After each workflow: free bytes, and those of the largest free block.
    after: Vec<(u32, u32)>,
    /// At the end: free bytes, and the largest buffer that could be allocated.
    tried: (u32, u32),
    failed: u32,
    /// What must be the same on both.
    answers: String,
    map: HeapMap,
    instructions: u64,
}

/// Builds both, runs both at once, compares and reports.
pub fn demonstrate() -> Result<()> {
    announce("Building: MicroPython's firmware for the Cortex-M3, with its own heap and with Knoll's");
    let firmwares = [firmware(Heap::Stock, None, 0)?, firmware(Heap::Knoll, None, 0)?];
    announce(format!("Running a wallet in Python: {WORKFLOWS} workflows on a heap of 140 KB"));
    let emulator = util::emu_binary()?;
    let bars = MultiProgress::new();
    let told = std::thread::scope(|scope| {
        let run = |heap: Heap, elf| {
            let bar = bars.add(ProgressBar::new(WORKFLOWS as u64).with_message(title(heap)));
            let style = ProgressStyle::with_template("    {bar:24} {msg}: {pos} workflows … {elapsed}");
            bar.set_style(style.expect("a valid template"));
            let emulator = &emulator;
            scope.spawn(move || {
                let told = run_device(emulator, elf, &bar).with_context(|| title(heap));
                bar.finish_and_clear();
                told
            })
        };
        let (stock, knoll) = (run(Heap::Stock, &firmwares[0]), run(Heap::Knoll, &firmwares[1]));
        [stock, knoll].map(|run| run.join().expect("run_device does not panic"))
    });
    let [stock, knoll] = told;
    let (stock, knoll) = (stock?, knoll?);
    check(&stock, &knoll)?;
    report(&stock, &knoll);
    Ok(())
}

fn title(heap: Heap) -> &'static str {
    match heap {
        Heap::Stock => "MicroPython's own heap",
        Heap::Knoll => "Knoll",
    }
}

// ---------------------------------------------------------------- running

/// The device over its serial port, as a person would run it.
fn run_device(emulator: &Path, elf: &Path, bar: &ProgressBar) -> Result<Told> {
    let mut command = program(emulator, [Path::new("mpy-serve"), elf]);
    command.args(["--count", "--budget", BUDGET]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", util::display(&command)))?;
    let mut input = child.stdin.take().context("no input")?;
    write!(input, "import device; device.run({WORKFLOWS})\r\n")?;
    // Its end is that of the session.
    drop(input);
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        if line.starts_with("workflow ") {
            bar.inc(1);
        }
        lines.push(line);
    }
    let mut errors = String::new();
    child.stderr.take().context("no errors")?.read_to_string(&mut errors)?;
    let status = child.wait()?;
    let tail = || lines[lines.len().saturating_sub(8)..].join("\n");
    ensure!(status.success(), "{status}\n{}\n{errors}", tail());
    let instructions = errors.lines().find_map(|line| line.strip_prefix("instructions: "));
    let instructions = instructions.context("the emulator counted nothing")?.trim().parse()?;
    read(&lines, instructions).with_context(tail)
}

/// Understands what `device.run` prints.
fn read(lines: &[String], instructions: u64) -> Result<Told> {
    let value =
        |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"));
    let tried = numbers(value("largest ")?);
    ensure!(tried.len() == 2, "largest: two numbers are expected");
    let mut after = Vec::new();
    let mut free = 0;
    for line in lines {
        if let Some(rest) = line.strip_prefix("GC: total:") {
            free = *numbers(rest).get(2).context("GC: three numbers are expected")?;
        } else if line.starts_with(" No. of 1-blocks:") {
            let blocks = *numbers(line).last().context("a number is expected")?;
            after.push((free, blocks * BLOCK));
        }
    }
    // The last is that of the map.
    after.pop();
    ensure!(after.len() == WORKFLOWS, "{} workflows were run", after.len());
    Ok(Told {
        after,
        tried: (tried[0], tried[1]),
        failed: value("failed ")?.parse()?,
        answers: format!("remembered {}\ndigest {}\n", value("remembered ")?, value("digest ")?),
        map: map_of(lines)?,
        instructions,
    })
}

/// The numbers of a line, in order; a `1-block` is a name.
fn numbers(line: &str) -> Vec<u32> {
    line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
}

/// From the table that `micropython.mem_info(1)` prints: a character for each block, `.` for a free one.
fn map_of(lines: &[String]) -> Result<HeapMap> {
    let start = lines.iter().position(|line| line.starts_with("GC memory layout;")).context("no map")?;
    let mut map = HeapMap { capacity: 0, spans: Vec::new() };
    for line in &lines[start + 1..] {
        if let Some(count) = line.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(" lines all free)")) {
            push(&mut map, count.parse::<u32>()? * 64 * BLOCK, State::Free);
        } else if let Some((_, kinds)) = line.split_once(": ").filter(|(offset, _)| offset.len() == 8) {
            for kind in kinds.chars() {
                push(&mut map, BLOCK, if kind == '.' { State::Free } else { State::Used });
            }
        } else {
            break;
        }
    }
    ensure!(map.capacity > 0, "the map is empty");
    Ok(map)
}

fn push(map: &mut HeapMap, size: u32, state: State) {
    match map.spans.last_mut() {
        Some(last) if last.state == state => last.size += size,
        _ => map.spans.push(Span { offset: map.capacity, size, state }),
    }
    map.capacity += size;
}

// ---------------------------------------------------------------- comparing

/// Percent of what is free that is in one piece.
fn share(&(free, largest): &(u32, u32)) -> f64 {
    f64::from(largest) * 100.0 / f64::from(free.max(1))
}

/// The lowest share after any workflow, and after which.
fn least(told: &Told) -> (f64, usize) {
    let shares = told.after.iter().map(share).zip(1..);
    shares.min_by(|one, other| one.0.total_cmp(&other.0)).unwrap_or((0.0, 0))
}

fn check(stock: &Told, knoll: &Told) -> Result<()> {
    ensure!(knoll.failed == 0, "Knoll: {} workflows ran out of memory", knoll.failed);
    if stock.failed == 0 {
        same_output("Knoll", stock.answers.as_bytes(), knoll.answers.as_bytes())?;
        done("both answered and remember the same");
    }
    let (least, number) = least(knoll);
    if least < TARGET {
        bail!(
            "Knoll: after workflow {number} only {least:.1} % of the free memory is in one piece, less than {TARGET} %"
        );
    }
    Ok(())
}

fn report(stock: &Told, knoll: &Told) {
    println!();
    let (left, right) = (stock.map.draw(44, 12), knoll.map.draw(44, 12));
    println!("  {:<53} {}", format!("after {WORKFLOWS} workflows: {}", title(Heap::Stock)), title(Heap::Knoll));
    for (left, right) in left.iter().zip(&right) {
        println!("  {left}  {right}");
    }
    println!("\n          {}\n", legend());
    let mut heads = vec!["free memory in one piece".to_owned()];
    heads.extend(COLUMNS.iter().map(|count| format!("n = {count}")));
    heads.extend(["least", "free", "largest", "out of memory", "instructions"].map(str::to_owned));
    let mut table = util::new_table(heads);
    for (heap, told) in [(Heap::Stock, stock), (Heap::Knoll, knoll)] {
        let mut row = vec![title(heap).to_owned()];
        row.extend(COLUMNS.iter().map(|&count| format!("{:.1} %", share(&told.after[count - 1]))));
        row.push(format!("{:.1} %", least(told).0));
        row.extend([told.tried.0, told.tried.1, told.failed].map(|number| grouped(number.into())));
        row.push(grouped(told.instructions));
        table.add_row(row);
    }
    println!("{table}\n");
    println!(
        "- After {WORKFLOWS} workflows the largest buffer that Python gets is {} of {} free bytes ({:.1} %), on MicroPython's own heap {} of {} ({:.1} %).",
        grouped(knoll.tried.1.into()),
        grouped(knoll.tried.0.into()),
        share(&knoll.tried),
        grouped(stock.tried.1.into()),
        grouped(stock.tried.0.into()),
        share(&stock.tried),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_map_is_as_long_as_the_heap() {
        let text = "GC memory layout; from 20:\n00000000: MD..hh==\n       (2 lines all free)\n00000880: h=..\nend\n";
        let map = map_of(&lines(text)).unwrap();
        assert_eq!(map.capacity, 16 * (8 + 128 + 4));
        let facts = map.facts();
        assert_eq!((facts.used, facts.largest, facts.pieces), (16 * 8, 16 * 128, 3));
    }

    #[test]
    fn numbers_are_whole_words() {
        assert_eq!(
            numbers(" No. of 1-blocks: 200, 2-blocks: 37, max blk sz: 45, max free sz: 8102"),
            [200, 37, 45, 8102]
        );
        assert_eq!(numbers(" 139552, used: 9712, free: 129840"), [139552, 9712, 129840]);
    }
}
