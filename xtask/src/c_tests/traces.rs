//! Makes the compact form of the recorded traces, which `c_tests/replay.c` plays.
//!
//! - A trace's block numbers, which are never used twice, become slots, which are: the player's
//!   table needs as many entries as blocks are ever alive at once.
//! - Nothing is left out and the order is kept: decoding gives the trace again.
//! - A malformed trace is refused with its name and line.
//!
//! ```text
//!   "KNT1"  slots  operations  peak live bytes          numbers: LEB128, 7 bits a byte
//!   each operation: slot * 4 + kind, and the size       kind: 0 free (no size), 1 allocate, 2 resize
//! ```

use anyhow::{bail, Context, Result};
use flate2::read::GzDecoder;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The traces in `traces/`, shortest name first in the alphabet.
pub const NAMES: [&str; 5] = ["cjson-gateway", "duktape-app", "lua-events", "lua-json", "micropython-workflow"];

/// Writes the compact form of all traces into `directory`; their paths.
pub fn compact_all(traces: &Path, directory: &Path) -> Result<Vec<PathBuf>> {
    NAMES.iter().map(|name| compact_one(&traces.join(format!("{name}.trace.gz")), directory, name)).collect()
}

fn compact_one(source: &Path, directory: &Path, name: &str) -> Result<PathBuf> {
    let file = std::fs::File::open(source).with_context(|| format!("cannot open {}", source.display()))?;
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).with_context(|| format!("cannot unpack {}", source.display()))?;
    let compact = compact(&text).with_context(|| format!("in {}", source.display()))?;
    let path = directory.join(format!("{name}.trace"));
    std::fs::write(&path, compact).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The compact form of a trace's text.
fn compact(text: &str) -> Result<Vec<u8>> {
    let mut live: HashMap<u32, (u32, u64)> = HashMap::new();
    let mut vacant: Vec<u32> = Vec::new();
    let (mut slots, mut operations) = (0u32, 0u64);
    let (mut bytes, mut peak) = (0u64, 0u64);
    let mut body = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = || format!("line {}: {line:?}", number + 1);
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().with_context(place)?;
        let id: u32 = words.next().with_context(place)?.parse().with_context(place)?;
        let size: u64 = match words.next() {
            Some(word) if kind != "f" => word.parse().with_context(place)?,
            None if kind == "f" => 0,
            _ => bail!("{}: too many or too few words", place()),
        };
        let code = match kind {
            "a" => {
                let slot = vacant.pop().unwrap_or_else(|| {
                    slots += 1;
                    slots - 1
                });
                if live.insert(id, (slot, size)).is_some() {
                    bail!("{}: the block is alive already", place());
                }
                bytes += size;
                slot * 4 + 1
            }
            "r" => {
                let (slot, old) = live.get_mut(&id).with_context(place)?;
                bytes = bytes - *old + size;
                *old = size;
                *slot * 4 + 2
            }
            "f" => {
                let (slot, old) = live.remove(&id).with_context(place)?;
                bytes -= old;
                vacant.push(slot);
                slot * 4
            }
            _ => bail!("{}: no such operation", place()),
        };
        put(&mut body, u64::from(code));
        if kind != "f" {
            put(&mut body, size);
        }
        operations += 1;
        peak = peak.max(bytes);
    }
    let mut whole = b"KNT1".to_vec();
    put(&mut whole, u64::from(slots));
    put(&mut whole, operations);
    put(&mut whole, peak);
    whole.extend(body);
    Ok(whole)
}

/// Appends a number, 7 bits a byte, least significant first.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::compact;

    #[test]
    fn slots_are_used_again() {
        let compacted = compact("a 0 10\na 1 300\nf 0\na 2 5\nr 2 7\n").unwrap();
        let expected = [
            &b"KNT1"[..],
            &[2, 5],
            &[0xB6, 0x02], // peak 310
            &[1, 10],
            &[5, 0xAC, 0x02],
            &[0],
            &[1, 5],
            &[2, 7],
        ];
        assert_eq!(compacted, expected.concat());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["a 0", "f 0", "a 0 1\na 0 1", "x 1 2", "r 3 4", "a 0 1 2\nf 0 1", "a -1 2"] {
            assert!(compact(text).is_err(), "{text}");
        }
    }
}
