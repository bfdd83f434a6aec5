//! What was found about one allocator, and how it is stored.

use super::emulate::Count;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Occupancy of one workload in one RAM budget, in percent of the budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct Occupancy {
    pub first: f64,
    pub saturated: f64,
    pub highest: f64,
}

/// The smallest heap in which a trace completes.
#[derive(Clone, Copy, Debug)]
pub struct Smallest {
    pub bytes: u32,
    pub peak: u32,
}

impl Smallest {
    /// Heap over peak live bytes.
    pub fn ratio(self) -> f64 {
        f64::from(self.bytes) / f64::from(self.peak)
    }
}

/// How memory is used: the same on every machine of this word size.
#[derive(Clone, Debug, Default)]
pub struct Fit {
    /// Metadata beside the blocks in a fresh heap of 64 KB, and how much of it is a map that grows with the heap.
    pub control: u32,
    pub map: u32,
    /// Bytes between blocks of workload a that are not payload, a block.
    pub overhead: f64,
    /// Largest single block of 65536 bytes.
    pub largest: u32,
    /// By RAM budget and workload.
    pub occupancy: BTreeMap<(u32, char), Occupancy>,
    /// By sizes of the first and second fill: payload of the second over RAM not held by survivors, in percent.
    pub shift: BTreeMap<(u32, u32), f64>,
    /// By trace.
    pub smallest: BTreeMap<String, Smallest>,
}

impl Fit {
    /// Takes in the driver's lines.
    pub fn read(&mut self, lines: &[Vec<String>]) -> Result<()> {
        for line in lines {
            self.line(line).with_context(|| format!("the driver's line: {}", line.join(" ")))?;
        }
        Ok(())
    }

    fn line(&mut self, words: &[String]) -> Result<()> {
        let number = |at: usize| -> Result<u32> { Ok(words.get(at).context("too short")?.parse()?) };
        match words.first().map(String::as_str) {
            Some("facts") => {
                self.control = number(3)?;
                self.map = number(5)?;
                self.overhead = f64::from(number(7)?) / 100.0;
                self.largest = number(9)?;
            }
            Some("occupancy") => {
                let workload = words[2].chars().next().context("no workload")?;
                let percent = |at| -> Result<f64> { Ok(f64::from(number(at)?) / 10.0) };
                let found = Occupancy { first: percent(4)?, saturated: percent(6)?, highest: percent(8)? };
                self.occupancy.insert((number(1)?, workload), found);
            }
            Some("shift") => {
                self.shift.insert((number(2)?, number(3)?), f64::from(number(5)?) / 10.0);
            }
            Some("smallest") => {
                self.smallest.insert(words[1].clone(), Smallest { bytes: number(3)?, peak: number(5)? });
            }
            _ => {}
        }
        Ok(())
    }
}

/// Counts of one allocator on one machine.
#[derive(Clone, Debug, Default)]
pub struct Counts(pub Vec<Count>);

impl Counts {
    /// A call's counts in a workload. A trace is found whatever its heap.
    pub fn of(&self, ram: u32, workload: &str, call: &str) -> Option<&Count> {
        let trace = workload.starts_with("trace:");
        self.0.iter().find(|one| (trace || one.ram == ram) && one.workload == workload && one.call == call)
    }

    /// The worst of a call over all workloads of a RAM budget, and that workload; traces belong to every budget.
    pub fn worst(&self, ram: u32, call: &str) -> Option<&Count> {
        let mine = |one: &&Count| (one.ram == ram || one.workload.starts_with("trace:")) && one.call == call;
        self.0.iter().filter(mine).max_by_key(|one| one.worst)
    }

    /// The workloads of a RAM budget and the traces, in the order in which they ran.
    pub fn workloads(&self, ram: u32) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for one in &self.0 {
            if (one.ram == ram || one.workload.starts_with("trace:")) && !names.contains(&one.workload.as_str()) {
                names.push(&one.workload);
            }
        }
        names
    }
}
