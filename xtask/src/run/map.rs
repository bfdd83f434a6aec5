//! The heap at one moment as a strip of spans, its figures, and its drawing in characters.
//!
//! ```text
//!   offset 0                                                             capacity
//!   ┌────────┬──────────┬───┬──────┬──────────────┬──────────┬───────────────────┐
//!   │ Own    │ Used 24  │Own│Used 8│ Free         │ Used 310 │ Free              │
//!   └────────┴──────────┴───┴──────┴──────────────┴──────────┴───────────────────┘
//! ```
//!
//! - Spans are adjacent, never empty, and cover the whole heap.
//! - `Used` is what Lua asked for; `Own` what the allocator takes for itself: control block, headers, maps,
//!   rounding; `Free` what it could still give.
//! - Knoll tells by its walk which blocks are free. Of an allocator without a walk, a gap between two live
//!   blocks of less than [`SMALLEST_FREE`] bytes is its own, a greater one is free.

use super::log::{Block, Walked};
use anyhow::{bail, Result};
use console::style;

/// The smallest free block that newlib's allocators have.
pub const SMALLEST_FREE: u32 = 16;

/// What a span of the heap is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Used,
    Own,
    Free,
}

/// A stretch of the heap in one state; a used one is one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub offset: u32,
    pub size: u32,
    pub state: State,
}

/// The whole heap at one moment.
pub struct HeapMap {
    pub capacity: u32,
    pub spans: Vec<Span>,
}

/// Sums over a map, in bytes but for the counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    pub used: u32,
    pub blocks: u32,
    pub own: u32,
    pub free: u32,
    pub pieces: u32,
    pub largest: u32,
}

impl HeapMap {
    /// From the live blocks alone.
    pub fn from_gaps(capacity: u32, blocks: &[Block]) -> HeapMap {
        let mut map = HeapMap { capacity, spans: Vec::new() };
        for block in blocks {
            map.gap(block.offset);
            map.push(block.size, State::Used);
        }
        map.gap(capacity);
        map
    }

    /// From the live blocks and the allocator's walk; an error when the two contradict each other.
    pub fn from_walk(capacity: u32, blocks: &[Block], walk: &[Walked]) -> Result<HeapMap> {
        let mut map = HeapMap { capacity, spans: Vec::new() };
        let mut expected = blocks.iter().peekable();
        for walked in walk {
            if walked.offset < map.end() || walked.offset.saturating_add(walked.size) > capacity {
                bail!("the walk gives the block at {} out of order or outside the heap", walked.offset);
            }
            map.push(walked.offset - map.end(), State::Own);
            if !walked.used {
                map.push(walked.size, State::Free);
                continue;
            }
            // A used block that is not Lua's is the C library's (printf's work space).
            let lua = expected.next_if(|block| block.offset == walked.offset);
            let asked = lua.map_or(walked.size, |block| block.size);
            if asked > walked.size {
                bail!("the walk gives {} bytes at {}, Lua was given {asked}", walked.size, walked.offset);
            }
            map.push(asked, State::Used);
            map.push(walked.size - asked, State::Own);
        }
        if let Some(block) = expected.next() {
            bail!("the walk does not know the live block of {} bytes at {}", block.size, block.offset);
        }
        map.push(capacity - map.end(), State::Own);
        Ok(map)
    }

    fn end(&self) -> u32 {
        self.spans.last().map_or(0, |span| span.offset + span.size)
    }

    fn push(&mut self, size: u32, state: State) {
        let offset = self.end();
        match self.spans.last_mut() {
            _ if size == 0 => {}
            Some(last) if last.state == state && state != State::Used => last.size += size,
            _ => self.spans.push(Span { offset, size, state }),
        }
    }

    fn gap(&mut self, until: u32) {
        let size = until.saturating_sub(self.end());
        self.push(size, if size < SMALLEST_FREE { State::Own } else { State::Free });
    }

    /// Adds it all up.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for span in &self.spans {
            match span.state {
                State::Used => {
                    facts.used += span.size;
                    facts.blocks += 1;
                }
                State::Own => facts.own += span.size,
                State::Free => {
                    facts.free += span.size;
                    facts.pieces += 1;
                    facts.largest = facts.largest.max(span.size);
                }
            }
        }
        facts
    }

    /// For each of `count` equal cells, how much of it is free: 0.0 to 1.0.
    fn free_shares(&self, count: u32) -> Vec<f64> {
        let cell = f64::from(self.capacity) / f64::from(count);
        let mut shares = vec![0.0; count as usize];
        for span in self.spans.iter().filter(|span| span.state == State::Free) {
            let (start, end) = (f64::from(span.offset), f64::from(span.offset + span.size));
            let mut index = (start / cell) as usize;
            while index < shares.len() && (index as f64) * cell < end {
                let from = start.max(index as f64 * cell);
                let to = end.min((index + 1) as f64 * cell);
                shares[index] += (to - from) / cell;
                index += 1;
            }
        }
        shares
    }

    /// Draws the map as rows of shaded characters, lowest addresses first.
    pub fn draw(&self, columns: u32, rows: u32) -> Vec<String> {
        let shares = self.free_shares(columns * rows);
        let row_bytes = self.capacity / rows;
        let line = |(row, cells): (usize, &[f64])| {
            let drawn: String = cells.iter().map(|&free| shade(free).to_string()).collect();
            format!("{:>4} KB {drawn}", row as u32 * row_bytes / 1024)
        };
        shares.chunks(columns as usize).enumerate().map(line).collect()
    }
}

/// The character for a cell of which `free` (0.0 to 1.0) is free.
fn shade(free: f64) -> console::StyledObject<char> {
    match free {
        free if free < 0.02 => style('█').color256(29),
        free if free < 0.25 => style('▓').color256(71),
        free if free < 0.60 => style('▒').color256(143),
        free if free < 0.98 => style('░').color256(180),
        _ => style('·').color256(244),
    }
}

/// What the characters of [`HeapMap::draw`] mean.
pub fn legend() -> String {
    let entry = |free: f64, meaning: &str| format!("{} {meaning}", shade(free));
    [
        entry(0.0, "full"),
        entry(0.2, "up to 25 % free"),
        entry(0.5, "up to 60 %"),
        entry(0.9, "mostly free"),
        entry(1.0, "free"),
    ]
    .join("   ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: [Block; 3] =
        [Block { offset: 8, size: 20 }, Block { offset: 32, size: 8 }, Block { offset: 80, size: 16 }];

    #[test]
    fn gaps_are_own_or_free_by_their_size_and_all_is_covered() {
        let map = HeapMap::from_gaps(128, &BLOCKS);
        let facts = map.facts();
        assert_eq!((facts.used, facts.blocks, facts.own), (44, 3, 12));
        assert_eq!((facts.free, facts.pieces, facts.largest), (72, 2, 40));
        assert_eq!(map.end(), 128);
    }

    #[test]
    fn a_walk_must_know_every_live_block() {
        let walked = |offset, size, used| Walked { offset, size, used };
        let walk = [walked(8, 24, true), walked(32, 8, true), walked(40, 40, false), walked(80, 16, true)];
        let facts = HeapMap::from_walk(128, &BLOCKS, &walk).unwrap().facts();
        assert_eq!((facts.used, facts.own, facts.free, facts.largest), (44, 44, 40, 40));
        assert!(HeapMap::from_walk(128, &BLOCKS, &walk[1..]).is_err());
        assert!(HeapMap::from_walk(90, &BLOCKS, &walk).is_err());
    }

    #[test]
    fn shares_add_up_to_the_free_bytes() {
        let map = HeapMap::from_gaps(128, &BLOCKS);
        let sum: f64 = map.free_shares(7).iter().sum();
        assert!((sum * 128.0 / 7.0 - f64::from(map.facts().free)).abs() < 1e-6);
    }
}
