//! The text of kn_dump_fragmentation: it keeps to its schema, and what it says is so.

use crate::ground::{grounds, step, Ground};
use crate::schema::Schema;
use knoll::capi::witness::{kn_dump_fragmentation, kn_fragmentation, kn_fragmentation_check};
use knoll::heap::{KnBlock, KnFragmentation, KnHeap, KnLayout, KnStatus, KN_BLOCK_FREE, KN_BLOCK_USED};
use knoll_shadow::layouts;
use knoll_shadow::random::Random;
use serde_json::Value;
use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

/// How many pins are told, and how many blocks of each.
const PINS: usize = 16;
const HELD: usize = 4;

/// Takes text up to `most` bytes.
struct Sink {
    text: Vec<u8>,
    most: usize,
}

unsafe extern "C" fn take(context: *mut c_void, text: *const c_char, length: usize) -> usize {
    // SAFETY: the sink of the call below, and the text that it is given.
    unsafe {
        let sink = &mut *context.cast::<Sink>();
        let taken = length.min(sink.most - sink.text.len());
        sink.text.extend_from_slice(std::slice::from_raw_parts(text.cast(), taken));
        taken
    }
}

fn dump_at_most(heap: *mut KnHeap, most: usize) -> String {
    let mut sink = Sink { text: Vec::new(), most };
    // SAFETY: a live heap of this thread.
    let status = unsafe { kn_dump_fragmentation(heap, Some(take), (&raw mut sink).cast()) };
    assert_eq!(status, KnStatus::Ok);
    String::from_utf8(sink.text).expect("UTF-8")
}

/// The text as JSON, which keeps to the schema.
pub fn dump(heap: *mut KnHeap) -> Value {
    let text = dump_at_most(heap, usize::MAX);
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
    // Miri would read the schema for a minute.
    let verdict = if cfg!(miri) { Ok(()) } else { Schema::of_the_witness().verify(&json) };
    if let Err(error) = verdict {
        panic!("{error} in {text}");
    }
    json
}

fn lines(heap: *mut KnHeap, least: u32) -> (KnStatus, String) {
    let mut sink = Sink { text: Vec::new(), most: usize::MAX };
    // SAFETY: a live heap of this thread.
    let status = unsafe { kn_fragmentation_check(heap, least, Some(take), (&raw mut sink).cast()) };
    (status, String::from_utf8(sink.text).expect("UTF-8"))
}

pub fn number(json: &Value) -> usize {
    json.as_u64().unwrap_or_else(|| panic!("{json} is no number")) as usize
}

pub fn address(json: &Value) -> usize {
    let digits = json.as_str().and_then(|text| text.strip_prefix("0x"));
    usize::from_str_radix(digits.expect("an address"), 16).expect("an address")
}

/// A run of used blocks between free ones, as a walk shows it.
struct Run {
    before: usize,
    after: usize,
    blocks: Vec<KnBlock>,
}

impl Run {
    fn harm(&self) -> usize {
        self.before.min(self.after)
    }

    fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.size).sum()
    }
}

/// The pins in the order in which they are to be told.
fn runs(ground: &Ground) -> Vec<Run> {
    let mut runs = Vec::new();
    for region in ground.regions() {
        let mut before = 0;
        let mut blocks = Vec::new();
        for block in region {
            if block.state == KN_BLOCK_USED {
                blocks.push(block);
                continue;
            }
            let blocks = std::mem::take(&mut blocks);
            if before != 0 {
                assert!(!blocks.is_empty(), "two free blocks touch");
                runs.push(Run { before, after: block.size, blocks });
            }
            before = block.size;
        }
    }
    runs.sort_by_key(|run| (usize::MAX - run.harm(), run.blocks[0].start.addr()));
    runs
}

/// Every member, against a walk.
fn compare(ground: &Ground, json: &Value) {
    let mut numbers = KnFragmentation::default();
    // SAFETY: a live heap.
    assert_eq!(unsafe { kn_fragmentation(ground.heap, &mut numbers) }, KnStatus::Ok);
    assert_eq!(address(&json["heap"]), ground.heap.addr());
    assert_eq!(number(&json["total"]), numbers.total);
    assert_eq!(number(&json["used"]), numbers.used);
    assert_eq!(number(&json["free"]), numbers.free);
    assert_eq!(number(&json["largest_free"]), numbers.largest_free);
    assert_eq!(number(&json["permille"]), numbers.permille as usize);
    assert_eq!(number(&json["holes"]), numbers.holes);

    let told = json["histogram"].as_array().expect("histogram");
    let there: Vec<usize> = (0..24).filter(|&power| numbers.histogram[power] != 0).collect();
    assert_eq!(told.len(), there.len());
    for (entry, power) in told.iter().zip(there) {
        assert_eq!(number(&entry["from"]), 1 << power);
        assert_eq!(number(&entry["blocks"]), numbers.histogram[power]);
        assert_eq!(number(&entry["bytes"]), numbers.histogram_bytes[power]);
    }

    let regions = ground.regions();
    let told = json["regions"].as_array().expect("regions");
    assert_eq!(told.len(), regions.len());
    for (entry, blocks) in told.iter().zip(regions) {
        let free = || blocks.iter().filter(|block| block.state == KN_BLOCK_FREE);
        assert_eq!(number(&entry["total"]), blocks.iter().map(|block| block.size).sum::<usize>());
        assert_eq!(number(&entry["free"]), free().map(|block| block.size).sum::<usize>());
        assert_eq!(number(&entry["holes"]), free().count());
        assert!(address(&entry["start"]) < blocks[0].start.addr());
    }

    let runs = runs(ground);
    assert_eq!(number(&json["pinned"]["pins"]), runs.len());
    assert_eq!(number(&json["pinned"]["blocks"]), runs.iter().map(|run| run.blocks.len()).sum::<usize>());
    assert_eq!(number(&json["pinned"]["bytes"]), runs.iter().map(Run::bytes).sum::<usize>());
    let pins = json["pins"].as_array().expect("pins");
    assert_eq!(pins.len(), runs.len().min(PINS));
    for (pin, run) in pins.iter().zip(&runs) {
        assert_eq!(number(&pin["harm"]), run.harm());
        assert_eq!(number(&pin["before"]), run.before);
        assert_eq!(number(&pin["after"]), run.after);
        assert_eq!(number(&pin["bytes"]), run.bytes());
        assert_eq!(number(&pin["blocks"]), run.blocks.len());
        let held = pin["held"].as_array().expect("held");
        assert_eq!(held.len(), run.blocks.len().min(HELD));
        for (told, block) in held.iter().zip(&run.blocks) {
            assert_eq!(address(&told["address"]), block.start.addr());
            assert_eq!(number(&told["bytes"]), block.size);
        }
    }
}

#[test]
fn as_a_walk_finds_it() {
    let mut pins = 0;
    grounds(|ground| {
        let mut random = Random::new(31);
        let mut live = Vec::new();
        for index in 0..if cfg!(miri) { 4 } else { 300 } {
            step(&ground, &mut random, &mut live);
            if index % 4 == 3 {
                let json = dump(ground.heap);
                compare(&ground, &json);
                pins = pins.max(number(&json["pinned"]["pins"]));
                assert_eq!(
                    json["pins"].to_string().matches("\"raw\"").count() == 0,
                    number(&json["pinned"]["pins"]) == 0
                );
            }
        }
    });
    assert!(cfg!(miri) || pins > 15, "at most {pins} pins");
}

#[test]
fn a_full_heap_and_one_that_is_checkered() {
    for layout in layouts!() {
        let ground = Ground::new(layout, &[if cfg!(miri) { 2_500 } else { 6_000 }]);
        // SAFETY: a live heap, blocks of this test's.
        unsafe {
            let mut blocks = Vec::new();
            loop {
                let block = KnHeap::malloc(ground.heap, 20);
                if block.is_null() {
                    break;
                }
                blocks.push(block);
            }
            let full = dump(ground.heap);
            compare(&ground, &full);
            let before = ground.fingerprint();
            for block in blocks.iter().step_by(2) {
                KnHeap::free(ground.heap, *block);
            }
            let checkered = dump(ground.heap);
            compare(&ground, &checkered);
            assert!(cfg!(miri) || number(&checkered["pinned"]["pins"]) > PINS);
            assert!(number(&checkered["permille"]) < 200);
            // As there was nothing free, none can have been taken in between either.
            for block in blocks.iter().step_by(2).rev() {
                assert!(!block.is_null() && !KnHeap::malloc(ground.heap, 20).is_null());
            }
            assert_eq!(ground.fingerprint(), before);
        }
    }
}

#[test]
fn a_reader_that_has_enough_ends_it() {
    let ground = Ground::new(KnLayout::Auto, &[if cfg!(miri) { 3_000 } else { 8_000 }]);
    let mut random = Random::new(32);
    let mut live = Vec::new();
    for _ in 0..if cfg!(miri) { 15 } else { 60 } {
        step(&ground, &mut random, &mut live);
    }
    let whole = dump_at_most(ground.heap, usize::MAX);
    let cut = if cfg!(miri) { whole.len() / 2 } else { 1 };
    for most in (0..whole.len()).step_by(cut) {
        assert_eq!(dump_at_most(ground.heap, most), whole[..most]);
    }
}

#[test]
fn the_check_of_a_test_suite() {
    for layout in layouts!() {
        let ground = Ground::new(layout, &[8_000]);
        assert_eq!(lines(ground.heap, 1000), (KnStatus::Ok, String::new()));
        // SAFETY: a live heap, blocks of this test's.
        unsafe {
            let low = KnHeap::malloc(ground.heap, 2_000);
            let pin = KnHeap::malloc(ground.heap, 40);
            let pinned = KnHeap::malloc(ground.heap, 40);
            KnHeap::free(ground.heap, low);
            let mut numbers = KnFragmentation::default();
            assert_eq!(kn_fragmentation(ground.heap, &mut numbers), KnStatus::Ok);
            assert!((600..800).contains(&numbers.permille), "{}", numbers.permille);
            assert_eq!(lines(ground.heap, numbers.permille), (KnStatus::Ok, String::new()));
            let (status, text) = lines(ground.heap, 970);
            assert_eq!(status, KnStatus::Fragmented);
            let run = &runs(&ground)[0];
            let expected = format!(
                "[Heap] fragmentation: {} of 1000 free bytes lie in the largest free block, 970 are asked for\n\
                 [Heap] {} bytes cut off at {pin:p} by 2 blocks, {} bytes: raw, raw\n",
                numbers.permille,
                run.harm(),
                run.bytes(),
            );
            assert_eq!(text, expected);
            assert_eq!(kn_fragmentation_check(ground.heap, 970, None, null_mut()), KnStatus::Fragmented);
            KnHeap::free(ground.heap, pin);
            KnHeap::free(ground.heap, pinned);
            assert_eq!(lines(ground.heap, 1000), (KnStatus::Ok, String::new()));
        }
    }
}

#[test]
fn bad_arguments_are_answered() {
    let ground = Ground::new(KnLayout::Auto, &[4_000]);
    let mut sink = Sink { text: Vec::new(), most: 0 };
    // SAFETY: null is answered.
    unsafe {
        assert_eq!(kn_dump_fragmentation(null_mut(), Some(take), (&raw mut sink).cast()), KnStatus::Invalid);
        assert_eq!(kn_dump_fragmentation(ground.heap, None, null_mut()), KnStatus::Invalid);
    }
}

#[test]
fn nothing_is_written_of_a_spoiled_heap() {
    if cfg!(miri) || !cfg!(feature = "layout-wide") {
        return;
    }
    let ground = Ground::new(KnLayout::Wide, &[4_000]);
    let mut sink = Sink { text: Vec::new(), most: usize::MAX };
    let mut out = KnFragmentation { holes: 77, ..KnFragmentation::default() };
    // SAFETY: a live heap; the bytes before the payload are the block's header.
    unsafe {
        let block = KnHeap::malloc(ground.heap, 56);
        block.sub(4).cast::<u32>().write(u32::MAX);
        let status = kn_dump_fragmentation(ground.heap, Some(take), (&raw mut sink).cast());
        assert_eq!((status, sink.text.len()), (KnStatus::Corrupt, 0));
        assert_eq!(kn_fragmentation_check(ground.heap, 0, Some(take), (&raw mut sink).cast()), KnStatus::Corrupt);
        assert_eq!(kn_fragmentation(ground.heap, &mut out), KnStatus::Corrupt);
        assert_eq!((out.holes, sink.text.len()), (77, 0));
    }
}
