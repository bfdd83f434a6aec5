//! The fewest operations that still fail, by delta debugging (Zeller, Hildebrandt 2002).
//!
//! Pieces of the sequence are left out, ever smaller ones, as long as what remains fails. A
//! panic in the library counts as a failure; a crash of the process ends the shrinking too.

use crate::op::Op;
use crate::shadow::{Ground, Shadow};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

/// No shrinking goes on for longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Sequences no longer than this are verified after every operation.
const SHORT: usize = 2000;

/// Runs the operations on a new heap and returns what goes wrong, if anything does.
pub fn replay(ground: &Ground, operations: &[Op]) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let Some(mut shadow) = Shadow::new(ground) else { return Ok(()) };
        for (index, &op) in operations.iter().enumerate() {
            shadow.apply(op).map_err(|why| format!("at {index}, {op:?}: {why}"))?;
            if operations.len() <= SHORT {
                shadow.verify().map_err(|why| format!("after {index}, {op:?}: {why}"))?;
            }
        }
        shadow.finish(0).map(|_| ())
    }));
    outcome.unwrap_or_else(|_| Err("the library panicked".into()))
}

/// A subsequence that fails and the way it does; None if the whole passes.
pub fn shrink(ground: &Ground, operations: &[Op]) -> Option<(Vec<Op>, String)> {
    fewest(operations, |operations| replay(ground, operations))
}

/// The same for operations of any kind: `replay` tells whether, and how, some of them fail.
pub fn fewest<T: Clone>(operations: &[T], replay: impl Fn(&[T]) -> Result<(), String>) -> Option<(Vec<T>, String)> {
    let begun = Instant::now();
    let mut fewest = operations.to_vec();
    let mut why = replay(&fewest).err()?;
    let mut piece = fewest.len().div_ceil(2);
    while piece > 0 && begun.elapsed() < PATIENCE {
        let mut from = 0;
        while from < fewest.len() && begun.elapsed() < PATIENCE {
            let to = (from + piece).min(fewest.len());
            let rest = [&fewest[..from], &fewest[to..]].concat();
            match replay(&rest) {
                Err(other) => (fewest, why) = (rest, other),
                Ok(()) => from = to,
            }
        }
        piece /= 2;
    }
    Some((fewest, why))
}
