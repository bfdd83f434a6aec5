//! Any operations on any layout, held against the shadow: see `tests/shadow/src/shadow.rs`.
//!
//! The arena is a mapping of its own between pages that nobody may touch, so AddressSanitizer
//! is not needed to see an access outside it.

#![no_main]

use knoll::heap::KnLayout;
use knoll_shadow::op::Op;
use knoll_shadow::shadow::{Ground, Shadow, Shape};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    layout: u8,
    bytes: u16,
    offset: u8,
    second: u16,
    operations: Vec<Op>,
}

fuzz_target!(|input: Input| {
    let layout = [KnLayout::Map, KnLayout::Compact, KnLayout::Wide][usize::from(input.layout % 3)];
    // Mostly small heaps, where everything happens; now and then one with long blocks.
    let bytes = usize::from(if input.layout < 200 { input.bytes % 4096 } else { input.bytes });
    let shapes = vec![
        Shape { bytes, offset: usize::from(input.offset % 64) },
        Shape { bytes: 512 + usize::from(input.second % 2048), offset: usize::from(input.second % 64) },
    ];
    let Some(mut shadow) = Shadow::new(&Ground { layout, shapes, checked: true }) else {
        assert!(bytes < 512, "{layout:?} refuses {bytes} bytes");
        return;
    };
    for op in &input.operations {
        let op = op.tamed(24, bytes + 64);
        if let Err(why) = shadow.apply(op).and_then(|()| shadow.verify()) {
            panic!("{op:?}: {why}");
        }
    }
    if let Err(why) = shadow.finish(1) {
        panic!("at the end: {why}");
    }
});
