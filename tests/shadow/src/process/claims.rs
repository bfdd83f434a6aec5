//! Which addresses belong to live blocks: an interval map for all threads.
//!
//! A block is entered when it was given out and taken out before it is freed, so an entry that meets
//! another is memory given out twice. The map is cut into shards by 64 KB of address, each with a lock of
//! its own, so that threads seldom wait for each other here and meet in the library instead.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const UNIT: usize = 64 << 10;
const SHARDS: usize = 61;

/// From a piece's first address to its end. A piece lies in one unit.
type Pieces = BTreeMap<usize, usize>;

/// The live blocks of a process.
pub struct Claims([Mutex<Pieces>; SHARDS]);

impl Default for Claims {
    fn default() -> Claims {
        Claims(std::array::from_fn(|_| Mutex::default()))
    }
}

/// What `start..end` is in each unit that it touches.
fn pieces(start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut from = start;
    std::iter::from_fn(move || {
        let piece = (from, end.min((from / UNIT + 1) * UNIT));
        from = piece.1;
        (piece.0 < end).then_some(piece)
    })
}

impl Claims {
    fn shard(&self, at: usize) -> MutexGuard<'_, Pieces> {
        self.0[at / UNIT % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters `bytes` at `at`; fails when any of them belong to a live block.
    pub fn take(&self, at: usize, bytes: usize) -> Result<(), String> {
        for (start, end) in pieces(at, at + bytes) {
            let mut shard = self.shard(start);
            if let Some((&other, &other_end)) = shard.range(..end).next_back() {
                if other_end > start {
                    return Err(format!("{bytes} bytes at {at:#x} lie in a live block's {other:#x}..{other_end:#x}"));
                }
            }
            shard.insert(start, end);
        }
        Ok(())
    }

    /// Takes out what [`Claims::take`] entered.
    pub fn release(&self, at: usize, bytes: usize) -> Result<(), String> {
        for (start, end) in pieces(at, at + bytes) {
            if self.shard(start).remove(&start) != Some(end) {
                return Err(format!("{bytes} bytes at {at:#x} were not entered"));
            }
        }
        Ok(())
    }

    /// Whether `at` lies in a live block.
    pub fn holds(&self, at: usize) -> bool {
        self.shard(at).range(..=at).next_back().is_some_and(|(_, &end)| at < end)
    }
}
