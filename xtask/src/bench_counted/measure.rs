//! Running a peer's program for one figure, and what may come of it.
//!
//! - Instructions: cachegrind without its caches counts every instruction of the process; the same run with nothing to
//!   do is subtracted. Repeatable to about one in ten thousand.
//! - Time: processor time that the program measures of its own work; the caller takes the least of several runs.
//! - Memory: VmHWM of the same process, at the end of the work.
//! - Longest step: the processor time of every step is recorded in several runs. A step of a peer that does the same
//!   at the same step each time counts with the least of its runs; the longest of these is the figure. So what the
//!   machine adds now here, now there, falls out, and what belongs to the step remains.
//! - A peer that crashes or does not end is a result, not a failure of the bench.

use super::peers::Peer;
use super::programs::{size, Program, Purpose};
use crate::bench::process::{command, finish, said, Outcome, Said, LARGE_STACK, USUAL_STACK};
use crate::bench::valgrind::{count_instructions, of_an_operation};
use anyhow::{Context, Result};
use std::path::Path;

fn stack(peer: Peer) -> &'static str {
    if peer.recurses() {
        LARGE_STACK
    } else {
        USUAL_STACK
    }
}

/// One run for time and memory.
pub fn time(peer: Peer, program: Program, built: &Path) -> Result<Outcome<Said>> {
    let count = size(program, Purpose::Time, peer).to_string();
    said(finish(&mut command(built, stack(peer), &[], &[program.name(), &count, "", peer.configuration()]))?)
}

/// A run in which the peer and a walk from the roots count what is alive.
pub fn alive(peer: Peer, program: Program, built: &Path) -> Result<Outcome<Said>> {
    time(peer, program, built)
}

/// The list of 10^7 nodes with the stack that a process usually has.
pub fn usual_stack(peer: Peer, built: &Path) -> Result<Outcome<Said>> {
    let arguments = [Program::List.name(), "10000000", "", peer.configuration()];
    said(finish(&mut command(built, USUAL_STACK, &[], &arguments))?)
}

/// The list of 10^7 nodes dropped on a stack of 4 KB; C programs only.
pub fn small_stack(peer: Peer, built: &Path) -> Result<Outcome<Said>> {
    let arguments = ["small-stack", "10000000", "", peer.configuration()];
    said(finish(&mut command(built, USUAL_STACK, &[], &arguments))?)
}

/// Instructions of an operation.
pub fn instructions(peer: Peer, program: Program, built: &Path) -> Result<Outcome<f64>> {
    let count = size(program, Purpose::Instructions, peer);
    let run = |count: u64| {
        count_instructions(built, stack(peer), &[program.name(), &count.to_string(), "", peer.configuration()])
    };
    of_an_operation(run(count)?, run(0)?)
}

/// The longest step.
#[derive(Clone, Debug, PartialEq)]
pub struct Longest {
    pub microseconds: f64,
    /// The most cells that one call visited: Knoll only.
    pub cells: Option<u64>,
}

/// Records the steps of several runs.
pub fn steps(peer: Peer, program: Program, built: &Path, runs: u32) -> Result<Outcome<Longest>> {
    let count = size(program, Purpose::Steps, peer).to_string();
    let file = built.with_extension("steps");
    let path = file.display().to_string();
    let mut record: Option<Vec<u32>> = None;
    let mut cells = None;
    for _ in 0..runs {
        let arguments = [program.name(), &count, &path, peer.configuration()];
        match said(finish(&mut command(built, stack(peer), &[], &arguments))?)? {
            Outcome::Found(said) => cells = said.numbers.get("longest_cells").copied(),
            Outcome::Failed(why) => return Ok(Outcome::Failed(why)),
        }
        let bytes = std::fs::read(&file)?;
        let steps =
            bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect();
        record = Some(match record {
            None => steps,
            Some(known) => least(peer, &known, &steps),
        });
    }
    std::fs::remove_file(&file)?;
    let longest = record.unwrap_or_default().into_iter().max().context("no step was recorded")?;
    Ok(Outcome::Found(Longest { microseconds: f64::from(longest) / 1000.0, cells }))
}

/// Two records as one: step by step the lesser, or the record whose longest step is the lesser.
fn least(peer: Peer, known: &[u32], steps: &[u32]) -> Vec<u32> {
    if peer.repeats() && known.len() == steps.len() {
        return known.iter().zip(steps).map(|(left, right)| *left.min(right)).collect();
    }
    let longest = |record: &[u32]| record.iter().max().copied().unwrap_or_default();
    if longest(known) <= longest(steps) { known } else { steps }.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_falls_out_of_records_that_repeat_and_no_pause_falls_out_of_others() {
        assert_eq!(least(Peer::Knoll, &[1, 900, 5], &[700, 2, 6]), [1, 2, 5]);
        assert_eq!(least(Peer::Boehm, &[1, 900, 5], &[700, 2, 6]), [700, 2, 6]);
    }
}
