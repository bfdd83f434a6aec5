//! 1000 workflows of which values stay (`benches/micropython/workflows.py`), and what is left of the heap in one piece.

use super::emulate::{Firmware, Heap, Stretch};
use super::{scripts, source};
use crate::bench;
use anyhow::{ensure, Context, Result};
use std::collections::BTreeMap;

/// What the program does for its heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    Plain,
    Threshold,
    Collect,
    KnollPlain,
    KnollAutomatic,
    KnollScope,
}

impl Policy {
    pub const ALL: [Policy; 6] = [
        Policy::Plain,
        Policy::Threshold,
        Policy::Collect,
        Policy::KnollPlain,
        Policy::KnollAutomatic,
        Policy::KnollScope,
    ];

    fn heap(self) -> Heap {
        match self {
            Policy::Plain | Policy::Threshold | Policy::Collect => Heap::Stock,
            Policy::KnollPlain | Policy::KnollAutomatic | Policy::KnollScope => Heap::Knoll,
        }
    }

    /// The program that says so.
    fn program(self) -> &'static str {
        match self {
            Policy::Plain | Policy::KnollPlain => "policy_plain.py",
            Policy::Threshold => "policy_threshold.py",
            Policy::Collect => "policy_collect.py",
            Policy::KnollAutomatic => "policy_automatic.py",
            Policy::KnollScope => "policy_scope.py",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Policy::Plain => "stock",
            Policy::Threshold => "stock, gc.threshold(20000)",
            Policy::Collect => "stock, gc.collect() before each value that stays",
            Policy::KnollPlain => "knoll, nothing said",
            Policy::KnollAutomatic => "knoll, after boot all is transient but what is said to stay",
            Policy::KnollScope => "knoll, a scope for each workflow, and what stays is said to",
        }
    }
}

/// What 1000 workflows left and took.
#[derive(Clone, Debug)]
pub struct Workflows {
    /// Largest free piece and all free bytes, behind so many workflows.
    pub after: BTreeMap<u32, (u64, u64)>,
    /// All of them together.
    pub stretch: Stretch,
}

impl Workflows {
    /// The largest free piece as a part of what is free, behind so many workflows.
    pub fn share(&self, workflows: u32) -> Option<f64> {
        self.after.get(&workflows).map(share)
    }

    /// The least of all that was looked at.
    pub fn least(&self) -> f64 {
        self.after.values().map(share).fold(1.0, f64::min)
    }
}

fn share((largest, free): &(u64, u64)) -> f64 {
    *largest as f64 / (*free).max(1) as f64
}

/// Each policy on the heap that it is for.
pub fn all(firmware: &[Firmware]) -> Result<BTreeMap<Policy, Workflows>> {
    let found = bench::side_by_side(
        2,
        &Policy::ALL,
        |policy| policy.title().into(),
        |policy| {
            let firmware = firmware.iter().find(|one| one.heap == policy.heap()).context("no firmware for it")?;
            one(firmware, *policy)
        },
    )?;
    Ok(Policy::ALL.into_iter().zip(found).collect())
}

fn one(firmware: &Firmware, policy: Policy) -> Result<Workflows> {
    let programs = scripts([source(policy.program()), source("workflows.py")]);
    let figures = firmware.run(&format!("workflows-{policy:?}"), &programs, &[])?;
    let after = read(&figures.output)?;
    ensure!(after.contains_key(&1000), "it did not come to the last workflow:\n{}", figures.output);
    let stretch = figures.marks.get(&1).context("it has no mark")?.clone();
    Ok(Workflows { after, stretch })
}

/// Reads `workflow N` and behind it what `micropython.mem_info` prints.
fn read(output: &str) -> Result<BTreeMap<u32, (u64, u64)>> {
    /// Bytes of MicroPython's blocks, in which it tells of the largest.
    const BLOCK: u64 = 16;
    let number = |line: &str, behind: &str| -> Option<u64> {
        let rest = line.split_once(behind)?.1.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let mut after = BTreeMap::new();
    let (mut workflow, mut free) = (None, None);
    for line in output.lines() {
        if let Some(found) = line.strip_prefix("workflow ") {
            workflow = Some(found.split(' ').next().unwrap_or_default().parse().context("a workflow's number")?);
        } else if line.starts_with("GC: ") {
            free = number(line, "free:");
        } else if let Some(largest) = number(line, "max free sz:") {
            let workflow = workflow.take().context("no workflow before it")?;
            after.insert(workflow, (largest * BLOCK, free.take().context("nothing said of free bytes")?));
        }
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_mem_info_prints_is_read() -> anyhow::Result<()> {
        let text = "workflow 20 4\nmem: total=25586, current=13827, peak=13827\nstack: 592 out of 10240\n\
                    GC: total: 140032, used: 2752, free: 1000\n No. of 1-blocks: 47, 2-blocks: 15, max blk sz: 19, max free sz: 50\n";
        assert_eq!(read(text)?, [(20, (800, 1000))].into());
        assert!(read("GC: total: 1, used: 1, free: 0\n max free sz: 1").is_err());
        Ok(())
    }
}
