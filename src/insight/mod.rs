//! Insight: what a heap looks like, for people.
//!
//! Guarantees
//! * Reads only, allocates nothing, uses less than 200 bytes of stack; works on a heap that is full.
//! * Everything is read through [`KnHeap::walk`] and [`KnHeap::stats`]; nothing here knows a layout.
//!
//! ```text
//!   heap: 65284 bytes, 41208 used in 512 blocks, peak 48000, 24076 free, largest at least 19800
//!   20000100  ################################+++##########################..#########
//! ```
//!
//! A cell is as many bytes as make a map of about [`CELLS`] cells. What counted memory looks like is in
//! `cells.rs` and `instances.rs`; what fragments a heap in `witness.rs`, with `pins.rs` and `owner.rs`; traced memory in `traced.rs`.

#[cfg(feature = "counted")]
mod cells;
#[cfg(all(feature = "arena", feature = "counted"))]
mod chains;
#[cfg(feature = "counted")]
mod instances;
mod json;
#[cfg(feature = "counted")]
mod order;
mod owner;
mod pins;
#[cfg(feature = "arena")]
mod residents;
mod text;
#[cfg(feature = "traced")]
mod traced;
mod witness;

#[cfg(feature = "counted")]
pub(crate) use cells::{report_cycles, statistics, who_holds};
#[cfg(feature = "counted")]
pub(crate) use instances::dump_instances;
#[cfg(feature = "arena")]
pub(crate) use residents::check_residents;
pub(crate) use text::Write;
#[cfg(feature = "traced")]
pub(crate) use traced::{dump_traced, dump_traced_fragmentation};
pub(crate) use witness::{check_fragmentation, dump_fragmentation};

use text::number;

use crate::heap::{KnBlock, KnHeap, KnHeapStats, KnStatus, KN_BLOCK_USED};

/// About how many cells a map has.
const CELLS: usize = 1024;
/// Cells in a line.
const LINE: usize = 64;

/// A cell of the map: what has been seen of it.
#[derive(Clone, Copy, Default)]
struct Cell {
    used: bool,
    free: bool,
}

/// The line being drawn.
struct Map<'a> {
    write: Write<'a>,
    /// Bytes of a cell.
    unit: usize,
    /// Where the run of blocks that touch each other began, and where the next block is expected.
    origin: usize,
    reached: usize,
    /// Which cell is being filled, and with what.
    index: usize,
    cell: Cell,
    going: bool,
}

impl Map<'_> {
    fn text(&mut self, text: &[u8]) {
        self.going = self.going && (self.write)(text);
    }

    /// Draws the cell that is full.
    fn flush(&mut self) {
        if self.index % LINE == 0 {
            self.text(b"\n");
            let at = self.origin + self.index * self.unit;
            self.going = self.going && number(at, 16, self.write);
            self.text(b"  ");
        }
        self.text(match (self.cell.used, self.cell.free) {
            (true, true) => b"+",
            (true, false) => b"#",
            _ => b".",
        });
        self.index += 1;
        self.cell = Cell::default();
    }

    fn block(&mut self, block: &KnBlock) -> bool {
        let start = block.start.addr();
        if start != self.reached {
            // Another region.
            if self.reached != 0 {
                self.flush();
            }
            self.origin = start;
            self.index = 0;
            self.cell = Cell::default();
        }
        self.reached = start + block.size;
        loop {
            if block.state == KN_BLOCK_USED {
                self.cell.used = true;
            } else {
                self.cell.free = true;
            }
            if self.reached - self.origin < (self.index + 1) * self.unit {
                return self.going;
            }
            self.flush();
            if self.reached - self.origin == self.index * self.unit || !self.going {
                return self.going;
            }
        }
    }
}

/// Writes numbers, a text before each, and a map of `total` bytes that a walk shows.
#[inline(always)]
fn picture(
    parts: &[(&[u8], usize)],
    total: usize,
    write: Write<'_>,
    walk: impl FnOnce(&mut dyn FnMut(&KnBlock) -> bool) -> KnStatus,
) -> KnStatus {
    for &(text, value) in parts {
        if !write(text) || !number(value, 10, write) {
            return KnStatus::Ok;
        }
    }
    let unit = (total / CELLS).next_power_of_two().max(16);
    let mut map = Map { write, unit, origin: 0, reached: 0, index: 0, cell: Cell::default(), going: true };
    let status = walk(&mut |block| map.block(block));
    if map.cell.used || map.cell.free {
        map.flush();
    }
    map.text(b"\n");
    status
}

/// Writes a heap's numbers and its map.
///
/// # Safety
/// `heap` is live, and nobody else uses it during the call.
pub(crate) unsafe fn dump(heap: *mut KnHeap, write: Write<'_>) -> KnStatus {
    let mut stats = KnHeapStats::default();
    // SAFETY: the caller's word.
    unsafe { KnHeap::stats(heap, &mut stats) };
    let parts: [(&[u8], usize); 6] = [
        (b"heap: ", stats.total),
        (b" bytes, ", stats.used),
        (b" used in ", stats.blocks),
        (b" blocks, peak ", stats.peak),
        (b", ", stats.free),
        (b" free, largest at least ", stats.largest_free),
    ];
    // SAFETY: the caller's word; drawing does not change the heap.
    picture(&parts, stats.total, write, |draw| unsafe { KnHeap::walk(heap, draw) })
}
