//! The log of every allocation a program made, and what can be read from it: which blocks lived at any
//! moment and where, how the live bytes and the reach of the heap went up and down.
//!
//! The program writes four little-endian words for each call (`examples/lua/recorder.h`): its kind, the
//! block's offset in the heap before and after it, the size asked for.

use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

const NOWHERE: u32 = u32::MAX;

/// What Lua asked of the allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Malloc,
    Realloc,
    Free,
}

/// One call of the allocator. `to` is `None` when it freed, or was refused.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub kind: Kind,
    pub from: Option<u32>,
    pub to: Option<u32>,
    pub size: u32,
}

/// A live block: where its payload starts in the heap's memory, and how many bytes were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    pub offset: u32,
    pub size: u32,
}

/// The state after one event.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub event: usize,
    /// Bytes asked for in live blocks.
    pub live: u32,
    /// Where the highest live block ends: the memory that the heap has in use, holes included.
    pub reach: u32,
}

/// Every call of one run, in order.
pub struct Log {
    events: Vec<Event>,
}

impl Log {
    /// Reads a log file.
    pub fn read(path: &Path) -> Result<Log> {
        let events = words(path)?.chunks(4).map(event).collect::<Result<Vec<_>>>();
        Ok(Log { events: events.with_context(|| path.display().to_string())? })
    }

    /// How many calls.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Kinds and sizes, without the addresses: the same for every allocator that serves the same run.
    pub fn requests(&self) -> impl Iterator<Item = (Kind, u32)> + '_ {
        self.events.iter().map(|event| (event.kind, event.size))
    }

    /// How many reallocs left the block where it was.
    pub fn resized_in_place(&self) -> usize {
        let stayed = |event: &&Event| event.kind == Kind::Realloc && event.from == event.to;
        self.events.iter().filter(stayed).count()
    }

    /// The live blocks after `count` events, in the order of addresses.
    pub fn blocks_after(&self, count: usize) -> Result<Vec<Block>> {
        let mut live = Live::default();
        for event in &self.events[..count.min(self.events.len())] {
            live.apply(event)?;
        }
        Ok(live.blocks.iter().map(|(&offset, &size)| Block { offset, size }).collect())
    }

    /// About `points` moments, evenly spread, each the fullest of its stretch: no peak is lost.
    pub fn timeline(&self, points: usize) -> Result<Vec<Moment>> {
        let stretch = self.events.len().div_ceil(points).max(1);
        let mut live = Live::default();
        let mut moments = Vec::with_capacity(points + 1);
        for (start, events) in self.events.chunks(stretch).enumerate() {
            let mut fullest = Moment { event: start * stretch, live: 0, reach: 0 };
            for (index, event) in events.iter().enumerate() {
                live.apply(event)?;
                if live.bytes >= fullest.live {
                    fullest.live = live.bytes;
                    fullest.event = start * stretch + index;
                }
                fullest.reach = fullest.reach.max(live.reach());
            }
            moments.push(fullest);
        }
        Ok(moments)
    }
}

/// The blocks that live at one moment, by offset.
#[derive(Default)]
struct Live {
    blocks: BTreeMap<u32, u32>,
    bytes: u32,
}

impl Live {
    fn apply(&mut self, event: &Event) -> Result<()> {
        let keeps = event.kind == Kind::Realloc && event.to.is_none();
        if let (Some(from), false) = (event.from, keeps) {
            let Some(size) = self.blocks.remove(&from) else {
                bail!("{:?} of offset {from}, where no block lives", event.kind);
            };
            self.bytes -= size;
        }
        if let Some(to) = event.to {
            if let Some((&offset, &size)) = self.blocks.range(..to.saturating_add(event.size.max(1))).next_back() {
                if offset.saturating_add(size.max(1)) > to {
                    bail!("{} bytes were given at {to}, inside the live block at {offset}", event.size);
                }
            }
            self.blocks.insert(to, event.size);
            self.bytes += event.size;
        }
        Ok(())
    }

    fn reach(&self) -> u32 {
        self.blocks.last_key_value().map_or(0, |(offset, size)| offset + size)
    }
}

fn event(words: &[u32]) -> Result<Event> {
    let &[kind, from, to, size] = words else { bail!("the log ends inside an entry") };
    let kind = match kind {
        1 => Kind::Malloc,
        2 => Kind::Realloc,
        3 => Kind::Free,
        other => bail!("unknown kind of call {other} in the log"),
    };
    let place = |offset: u32| (offset != NOWHERE).then_some(offset);
    Ok(Event { kind, from: place(from), to: place(to), size })
}

/// A block that the allocator's own walk found at the snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Walked {
    pub offset: u32,
    pub size: u32,
    pub used: bool,
}

/// Reads a snapshot file: offset, size and state of each block.
pub fn read_snapshot(path: &Path) -> Result<Vec<Walked>> {
    let words = words(path)?;
    if words.len() % 3 != 0 {
        bail!("{} ends inside an entry", path.display());
    }
    Ok(words.chunks(3).map(|block| Walked { offset: block[0], size: block[1], used: block[2] == 1 }).collect())
}

fn words(path: &Path) -> Result<Vec<u32>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() % 4 != 0 {
        bail!("{} ends inside a word", path.display());
    }
    Ok(bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(kind: Kind, from: Option<u32>, to: Option<u32>, size: u32) -> Event {
        Event { kind, from, to, size }
    }

    #[test]
    fn blocks_follow_the_calls() {
        let log = Log {
            events: vec![
                call(Kind::Malloc, None, Some(0), 16),
                call(Kind::Malloc, None, Some(24), 8),
                call(Kind::Realloc, Some(0), Some(40), 32),
                call(Kind::Realloc, Some(24), None, 9000),
                call(Kind::Free, Some(40), None, 0),
            ],
        };
        let after = |count| log.blocks_after(count).unwrap();
        assert_eq!(after(2), [Block { offset: 0, size: 16 }, Block { offset: 24, size: 8 }]);
        assert_eq!(after(4), [Block { offset: 24, size: 8 }, Block { offset: 40, size: 32 }]);
        assert_eq!(after(5), [Block { offset: 24, size: 8 }]);
        assert_eq!(log.resized_in_place(), 0);
        let timeline = log.timeline(1).unwrap();
        assert_eq!((timeline.len(), timeline[0].live, timeline[0].reach), (1, 40, 72));
    }

    #[test]
    fn an_overlap_is_refused() {
        let log = Log { events: vec![call(Kind::Malloc, None, Some(8), 16), call(Kind::Malloc, None, Some(16), 8)] };
        assert!(log.blocks_after(2).is_err());
        let log = Log { events: vec![call(Kind::Malloc, None, Some(16), 16), call(Kind::Malloc, None, Some(8), 16)] };
        assert!(log.blocks_after(2).is_err());
    }
}
