//! The fragmentation witness: what keeps free memory from being one piece, for programs and for people.
//!
//! Guarantees
//! * Reads only, allocates nothing, works on a full heap, and on Cortex-M3 and M4 needs 300 bytes of stack, on M0
//!   350.
//! * For programs it is JSON of a stable form: docs/witness.md and docs/witness.schema.json say what each
//!   member is, and `version` changes when one changes its meaning or goes.
//! * Nothing is written of a heap whose blocks can't be told.
//!
//! ```text
//!   {"format": "knoll-fragmentation", "version": 1, …, "free": 31600, "permille": 961,
//!   "pins": [
//!   {"harm": 1200, "before": 1200, "after": 30400, "bytes": 48, "blocks": 1, "held": [
//!   {"address": "0x20001230", "bytes": 48, "kind": "raw", "name": null, "type": null}]}]}
//! ```
//! Costs: O(blocks) for the numbers, for each 8 sizes of the histogram, and for each 4 pins told.

use super::json::{key, Json, ELEMENT};
use super::owner::Owner;
use super::pins::{ByHarm, Pin};
use super::text::{name, number, Write};
use crate::heap::{power, Extent, KnHeap, KnStatus, POWERS};

/// How many pins are told.
const PINS: usize = 16;
/// How many blocks of a pin are told.
const HELD: usize = 4;
/// How many entries of the histogram are counted in one walk.
const SIZES: usize = 8;
/// No block is smaller than 2 to the power of this.
const LEAST: usize = 3;

/// Writes what pins the heap, as JSON.
///
/// # Safety
/// `heap` is live and nobody else uses it; `write` does not change it.
#[inline(always)]
pub(crate) unsafe fn dump_fragmentation(heap: *mut KnHeap, write: Write<'_>) -> KnStatus {
    let mut json = Json::new(write);
    // SAFETY: the caller's word.
    unsafe {
        let mut holes = 0;
        let status = numbers(heap, &mut holes, &mut json);
        if status != KnStatus::Ok {
            return status;
        }
        histogram(heap, holes, &mut json);
        pins(heap, &mut json);
    }
    json.close(b"}");
    json.line();
    KnStatus::Ok
}

/// What concerns the whole heap and each region; tells the number of free blocks.
///
/// # Safety
/// As [`dump_fragmentation`].
#[inline(never)]
unsafe fn numbers(heap: *mut KnHeap, holes: &mut usize, json: &mut Json<'_>) -> KnStatus {
    let mut sum = Extent::default();
    // SAFETY: the caller's word.
    let status = unsafe { KnHeap::extent(heap, &mut sum) };
    if status != KnStatus::Ok {
        return status;
    }
    *holes = sum.holes;
    json.open(ELEMENT, b"{");
    json.literal(key!("format"), b"\"knoll-fragmentation\"");
    json.literal(key!("version"), b"1");
    json.address(key!("heap"), heap.addr());
    extent(&sum, json);
    json.number(key!("permille"), sum.permille() as usize);
    json.open(key!("pinned"), b"{");
    json.number(key!("pins"), sum.pins);
    json.number(key!("blocks"), sum.pinned_blocks);
    json.number(key!("bytes"), sum.pinned_bytes);
    json.close(b"}");
    json.line();
    json.open(key!("regions"), b"[");
    let mut region = heap;
    // SAFETY: the caller's word.
    unsafe {
        let only = KnHeap::next_region(heap).is_null();
        while !region.is_null() && json.going() {
            if !only {
                sum = Extent::default();
                KnHeap::add_extent(region, &mut sum);
            }
            json.line();
            json.open(ELEMENT, b"{");
            json.address(key!("start"), region.addr());
            extent(&sum, json);
            json.close(b"}");
            region = KnHeap::next_region(region);
        }
    }
    json.close(b"]");
    KnStatus::Ok
}

/// The members that the heap and each region have.
#[inline(never)]
fn extent(extent: &Extent, json: &mut Json<'_>) {
    json.number(key!("total"), extent.total);
    json.number(key!("used"), extent.total - extent.free);
    json.number(key!("free"), extent.free);
    json.number(key!("largest_free"), extent.payload);
    json.number(key!("holes"), extent.holes);
}

/// # Safety
/// As [`dump_fragmentation`]; `holes` is the number of free blocks.
#[inline(never)]
unsafe fn histogram(heap: *mut KnHeap, holes: usize, json: &mut Json<'_>) {
    json.line();
    json.open(key!("histogram"), b"[");
    let mut low = LEAST;
    let mut left = holes;
    while left != 0 && low < POWERS && json.going() {
        let mut counts = [(0usize, 0usize); SIZES];
        // SAFETY: the caller's word.
        unsafe { count(heap, low, &mut counts) };
        for (index, &(blocks, bytes)) in counts.iter().enumerate() {
            if blocks != 0 {
                json.open(ELEMENT, b"{");
                json.number(key!("from"), 1 << (low + index));
                json.number(key!("blocks"), blocks);
                json.number(key!("bytes"), bytes);
                json.close(b"}");
                left = left.saturating_sub(blocks);
            }
        }
        low += SIZES;
    }
    json.close(b"]");
}

/// Counts the free blocks of some sizes.
///
/// # Safety
/// As [`dump_fragmentation`].
#[inline(never)]
unsafe fn count(heap: *mut KnHeap, low: usize, counts: &mut [(usize, usize); SIZES]) {
    // SAFETY: the caller's word.
    unsafe {
        KnHeap::each_hole(heap, &mut |_, _, bytes| {
            if let Some((blocks, sum)) = counts.get_mut(power(bytes).wrapping_sub(low)) {
                *blocks += 1;
                *sum += bytes;
            }
            true
        });
    }
}

/// # Safety
/// As [`dump_fragmentation`].
#[inline(never)]
unsafe fn pins(heap: *mut KnHeap, json: &mut Json<'_>) {
    json.line();
    json.open(key!("pins"), b"[");
    let mut pins = ByHarm::new();
    for _ in 0..PINS {
        // SAFETY: the caller's word.
        unsafe {
            let start = pins.next(heap);
            if start.is_null() || !json.going() {
                break;
            }
            one_pin(heap, start, json);
        }
    }
    json.close(b"]");
}

/// # Safety
/// As [`dump_fragmentation`]; one of the heap's pins starts there.
#[inline(never)]
unsafe fn one_pin(heap: *mut KnHeap, start: *mut u8, json: &mut Json<'_>) {
    // SAFETY: the caller's word.
    let blocks = unsafe { run(heap, start, json) };
    json.open(key!("held"), b"[");
    let mut start = start;
    for _ in 0..blocks.min(HELD) {
        // SAFETY: the caller's word: a used block starts there.
        start = start.wrapping_add(unsafe { held(heap, start, json) });
    }
    json.close(b"]");
    json.close(b"}");
}

/// What is to be said of a pin but for its blocks; how many it has.
///
/// # Safety
/// As [`one_pin`].
#[inline(never)]
unsafe fn run(heap: *mut KnHeap, start: *mut u8, json: &mut Json<'_>) -> usize {
    // SAFETY: the caller's word.
    let pin = unsafe { Pin::at(heap, start) };
    json.line();
    json.open(ELEMENT, b"{");
    json.number(key!("harm"), pin.harm());
    json.number(key!("before"), pin.before);
    json.number(key!("after"), pin.after);
    json.number(key!("bytes"), pin.bytes);
    json.number(key!("blocks"), pin.blocks);
    pin.blocks
}

/// A block of a pin; its bytes.
///
/// # Safety
/// As [`dump_fragmentation`]; one of the heap's used blocks starts there.
#[inline(always)]
unsafe fn held(heap: *mut KnHeap, start: *mut u8, json: &mut Json<'_>) -> usize {
    // SAFETY: the caller's word; names end with a NUL.
    unsafe {
        let bytes = place(heap, start, json);
        let owner = Owner::of(heap, start, bytes);
        json.string(key!("kind"), owner.kind);
        json.string(key!("name"), owner.name);
        json.string(key!("type"), owner.type_name);
        json.string(key!("site"), owner.site);
        cells(heap, &owner, json);
        json.close(b"}");
        bytes
    }
}

/// The cells of a page, by type.
///
/// # Safety
/// As [`held`]; `owner` is that of the block.
#[inline(never)]
unsafe fn cells(heap: *mut KnHeap, owner: &Owner, json: &mut Json<'_>) {
    json.open(key!("cells"), b"[");
    let mut n = 0;
    // SAFETY: the caller's word; names end with a NUL.
    unsafe {
        while let Some((name, cells)) = owner.cells(heap, n).filter(|_| json.going()) {
            json.open(ELEMENT, b"{");
            json.string(key!("type"), name);
            json.number(key!("cells"), cells);
            json.close(b"}");
            n += 1;
        }
    }
    json.close(b"]");
}

/// Where a block of a pin lies; its bytes.
///
/// # Safety
/// As [`held`].
#[inline(never)]
unsafe fn place(heap: *mut KnHeap, start: *mut u8, json: &mut Json<'_>) -> usize {
    // SAFETY: the caller's word.
    let bytes = unsafe { KnHeap::block_at(heap, start).map_or(0, |(bytes, _)| bytes) };
    json.line();
    json.open(ELEMENT, b"{");
    json.address(key!("address"), start.addr());
    json.number(key!("bytes"), bytes);
    bytes
}

/// Whether so many of 1000 free bytes lie in the largest free block of their region: `Ok`, or `Fragmented`,
/// and then lines that say what is in the way.
///
/// # Safety
/// As [`dump_fragmentation`].
pub(crate) unsafe fn check_fragmentation(heap: *mut KnHeap, least: u32, write: Option<Write<'_>>) -> KnStatus {
    let mut sum = Extent::default();
    // SAFETY: the caller's word.
    let status = unsafe { KnHeap::extent(heap, &mut sum) };
    if status != KnStatus::Ok {
        return status;
    }
    let found = sum.permille();
    if found >= least {
        return KnStatus::Ok;
    }
    if let Some(write) = write {
        let going = write(b"[Heap] fragmentation: ")
            && number(found as usize, 10, write)
            && write(b" of 1000 free bytes lie in the largest free block, ")
            && number(least as usize, 10, write)
            && write(b" are asked for\n");
        if going {
            // SAFETY: the caller's word.
            unsafe { lines(heap, write) };
        }
    }
    KnStatus::Fragmented
}

/// A line for each pin.
///
/// # Safety
/// As [`dump_fragmentation`].
#[inline(never)]
unsafe fn lines(heap: *mut KnHeap, write: Write<'_>) {
    let mut pins = ByHarm::new();
    for _ in 0..PINS {
        // SAFETY: the caller's word.
        unsafe {
            let start = pins.next(heap);
            if start.is_null() || !line(heap, start, write) {
                break;
            }
        }
    }
}

/// `[Heap] 1200 bytes cut off at 0x20001230 by 1 block, 48 bytes: raw`
///
/// # Safety
/// As [`one_pin`].
#[inline(never)]
unsafe fn line(heap: *mut KnHeap, start: *mut u8, write: Write<'_>) -> bool {
    // SAFETY: the caller's word.
    let pin = unsafe { Pin::at(heap, start) };
    let mut going = write(b"[Heap] ")
        && number(pin.harm(), 10, write)
        && write(b" bytes cut off at 0x")
        && number(start.addr(), 16, write)
        && write(b" by ")
        && number(pin.blocks, 10, write)
        && write(if pin.blocks == 1 { b" block, " } else { b" blocks, " })
        && number(pin.bytes, 10, write)
        && write(b" bytes");
    let mut start = start;
    for n in 0..pin.blocks.min(HELD) {
        going = going && write(if n == 0 { b": " } else { b", " });
        // SAFETY: the caller's word: a used block starts there.
        unsafe {
            let bytes = KnHeap::block_at(heap, start).map_or(0, |(bytes, _)| bytes);
            going = going && word(heap, start, bytes, write);
            start = start.wrapping_add(bytes);
        }
    }
    going && write(if pin.blocks > HELD { b", ...\n".as_slice() } else { b"\n" })
}

/// `raw`, `scope ui`, `cell Table`, `page (12 Node, 3 Leaf)`
///
/// # Safety
/// As [`held`].
#[inline(never)]
unsafe fn word(heap: *mut KnHeap, start: *mut u8, bytes: usize, write: Write<'_>) -> bool {
    // SAFETY: the caller's word; names end with a NUL.
    unsafe {
        let owner = Owner::of(heap, start, bytes);
        let mut going = name(owner.kind, write);
        for text in [owner.name, owner.type_name] {
            going = going && (text.is_null() || write(b" ") && name(text, write));
        }
        let mut n = 0;
        while let Some((text, cells)) = owner.cells(heap, n).filter(|_| going) {
            let before: &[u8] = if n == 0 { b" (" } else { b", " };
            going = write(before) && number(cells, 10, write) && write(b" ") && name(text, write);
            n += 1;
        }
        going && (n == 0 || write(b")"))
    }
}
