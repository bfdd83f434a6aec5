//! Traced memory for people and programs: numbers and a map, and the witness of what fragments it.
//!
//! Guarantees
//! * Reads only, allocates nothing; on Cortex-M3 the map needs 300 bytes of stack, the witness 500.
//! * The witness is JSON of a stable form (docs/witness.md): `version` changes when a member changes its meaning
//!   or goes. What pins and what its harm is, is as in `pins.rs`.
//! * Nothing is written of a heap whose blocks can't be told, or that is being marked.
//!
//! ```text
//!   {"format": "knoll-traced", "version": 1, "heap": "0x20000100", "granule": 16, "areas": 1, "total": 139008, "used": 9120,
//!   "free": 129888, "largest_free": 129600, "permille": 997, "blocks": 301, "finalisers": 2, "unswept": 0, "holes": 4,
//!   "histogram": [{"from": 32, "blocks": 3, "bytes": 288}, {"from": 65536, "blocks": 1, "bytes": 129600}],
//!   "pins": [{"address": "0x20000a40", "bytes": 64, "harm": 128}, …]}
//! ```
//! Costs: O(blocks), thrice.

use super::json::{key, Json, ELEMENT};
use super::picture;
use super::text::Write;
use crate::heap::KnStatus;
use crate::traced::{KnTraced, KnTracedStats, NOBODY};

/// How many pins are told.
const PINS: usize = 16;
/// Sizes of free runs, by powers of two.
const SIZES: usize = usize::BITS as usize;

/// Writes a traced heap's numbers and its map.
///
/// # Safety
/// `heap` is live, and nobody else uses it during the call.
pub(crate) unsafe fn dump_traced(heap: *mut KnTraced, write: Write<'_>) -> KnStatus {
    let mut stats = KnTracedStats::default();
    // SAFETY: the caller's word; drawing does not change the heap.
    unsafe {
        let status = KnTraced::stats(heap, &mut stats);
        if status != KnStatus::Ok {
            return status;
        }
        let parts: [(&[u8], usize); 6] = [
            (b"traced: ", stats.total),
            (b" bytes, ", stats.used),
            (b" used in ", stats.blocks),
            (b" blocks, ", stats.unswept),
            (b" to sweep, ", stats.free),
            (b" free, largest ", stats.largest_free),
        ];
        picture(&parts, stats.total, write, |draw| KnTraced::walk(heap, draw))
    }
}

/// Writes what pins a traced heap, as JSON.
///
/// # Safety
/// As [`dump_traced`].
pub(crate) unsafe fn dump_traced_fragmentation(heap: *mut KnTraced, write: Write<'_>) -> KnStatus {
    let mut stats = KnTracedStats::default();
    // SAFETY: the caller's word.
    let status = unsafe { KnTraced::stats(heap, &mut stats) };
    if status != KnStatus::Ok {
        return status;
    }
    let mut json = Json::new(write);
    json.open(ELEMENT, b"{");
    json.literal(key!("format"), b"\"knoll-traced\"");
    json.literal(key!("version"), b"1");
    json.address(key!("heap"), heap.addr());
    json.number(key!("granule"), stats.granule);
    json.number(key!("areas"), stats.areas);
    json.number(key!("total"), stats.total);
    json.number(key!("used"), stats.used);
    json.line();
    json.number(key!("free"), stats.free);
    json.number(key!("largest_free"), stats.largest_free);
    json.number(key!("permille"), permille(&stats));
    json.number(key!("blocks"), stats.blocks);
    json.number(key!("finalisers"), stats.finalisers);
    json.number(key!("unswept"), stats.unswept);
    // SAFETY: the caller's word.
    unsafe {
        holes(heap, &mut json);
        pins(heap, &mut json);
    }
    json.close(b"}");
    json.line();
    KnStatus::Ok
}

/// How much of what is free is in one piece.
fn permille(stats: &KnTracedStats) -> usize {
    match stats.free {
        0 => 1000,
        // Without an overflow, at the cost of some digits of a heap of megabytes on 32 bits.
        free if free > usize::MAX / 1000 => stats.largest_free / (free / 1000),
        free => stats.largest_free * 1000 / free,
    }
}

/// # Safety
/// As [`dump_traced`].
#[inline(never)]
unsafe fn holes(heap: *mut KnTraced, json: &mut Json<'_>) {
    let mut counts = [0usize; SIZES];
    let mut bytes = [0usize; SIZES];
    let mut holes = 0;
    // SAFETY: the caller's word.
    unsafe {
        let _ = KnTraced::each(heap, &mut |piece| {
            if !piece.used {
                let size = piece.bytes();
                let power = size.checked_ilog2().unwrap_or(0) as usize;
                holes += 1;
                if let (Some(count), Some(sum)) = (counts.get_mut(power), bytes.get_mut(power)) {
                    *count += 1;
                    *sum += size;
                }
            }
            true
        });
    }
    json.number(key!("holes"), holes);
    json.line();
    json.open(key!("histogram"), b"[");
    for (power, (&count, &sum)) in counts.iter().zip(&bytes).enumerate() {
        if count != 0 {
            json.open(ELEMENT, b"{");
            json.number(key!("from"), 1 << power);
            json.number(key!("blocks"), count);
            json.number(key!("bytes"), sum);
            json.close(b"}");
        }
    }
    json.close(b"]");
}

/// # Safety
/// As [`dump_traced`].
#[inline(never)]
unsafe fn pins(heap: *mut KnTraced, json: &mut Json<'_>) {
    let mut pins = [NOBODY; PINS];
    json.line();
    json.open(key!("pins"), b"[");
    // SAFETY: the caller's word.
    unsafe { KnTraced::survey_pins(heap, &mut pins) };
    for pin in pins.iter().take_while(|pin| pin.harm != 0) {
        json.open(ELEMENT, b"{");
        json.address(key!("address"), pin.start.addr());
        json.number(key!("bytes"), pin.size);
        json.number(key!("harm"), pin.harm);
        json.close(b"}");
    }
    json.close(b"]");
}
