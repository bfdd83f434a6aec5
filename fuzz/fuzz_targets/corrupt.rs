//! A heap whose records are spoiled in any way: no crash, and no write outside its memory.
//!
//! By default a program overflows its blocks, up to 40 bytes, and frees any address. With the
//! feature `full` (`checks-full`) it also writes to any byte behind the control block, as after
//! a use of freed memory. What the heap hands out may be wrong afterwards; where it writes may not.

#![no_main]

use knoll::heap::{KnHeap, KnLayout};
use knoll_shadow::arena::Arena;
use knoll_shadow::numbers::{config, stats_of};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, arbitrary::Arbitrary)]
enum Step {
    Malloc(u16),
    Top(u16),
    Aligned(u8, u16),
    Calloc(u16),
    Realloc(u8, u16),
    Free(u8),
    FreeAnywhere(u16),
    /// One byte of the region changes.
    Spoil(u16, u8),
    /// Bytes behind a block change.
    Overflow(u8, u8, u8),
    Check,
}

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    layout: u8,
    bytes: u16,
    offset: u8,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let layout = [KnLayout::Map, KnLayout::Compact, KnLayout::Wide][usize::from(input.layout % 3)];
    let bytes = 512 + usize::from(input.bytes % 8192);
    let arena = Arena::new(bytes, usize::from(input.offset % 64));
    // SAFETY: the arena outlives the heap; what the heap makes of spoiled memory is the question.
    unsafe {
        let heap = KnHeap::create(arena.start(), bytes, &config(layout));
        assert!(!heap.is_null());
        let records = stats_of(heap).expect("stats").overhead;
        let spoil = |at: usize, value: u8| {
            if (records..bytes).contains(&at) {
                arena.start().add(at).write(value);
            }
        };
        let mut blocks: Vec<(*mut u8, usize)> = Vec::new();
        let mut keep = |blocks: &mut Vec<(*mut u8, usize)>, at: *mut u8, size: usize| {
            if !at.is_null() {
                assert!(arena.holds(at.addr(), size), "{size} bytes at {at:?} are outside {arena}");
                at.write_bytes(0x5a, size);
                blocks.push((at, size));
            }
        };
        for step in &input.steps {
            match *step {
                Step::Malloc(size) => keep(&mut blocks, KnHeap::malloc(heap, size.into()), size.into()),
                Step::Top(size) => keep(&mut blocks, KnHeap::malloc_top(heap, size.into()), size.into()),
                Step::Calloc(size) => keep(&mut blocks, KnHeap::calloc(heap, 1, size.into()), size.into()),
                Step::Aligned(shift, size) => {
                    let at = KnHeap::aligned_alloc(heap, 1 << (shift % 12), size.into());
                    keep(&mut blocks, at, size.into());
                }
                Step::Realloc(index, size) if !blocks.is_empty() => {
                    let index = usize::from(index) % blocks.len();
                    let at = KnHeap::realloc(heap, blocks[index].0, size.into());
                    if !at.is_null() {
                        blocks.swap_remove(index);
                        keep(&mut blocks, at, size.into());
                    }
                }
                Step::Free(index) if !blocks.is_empty() => {
                    let (at, _) = blocks.swap_remove(usize::from(index) % blocks.len());
                    KnHeap::free(heap, at);
                }
                Step::FreeAnywhere(offset) => {
                    KnHeap::free(heap, arena.start().wrapping_add(usize::from(offset)));
                }
                Step::Spoil(at, value) if cfg!(feature = "full") => spoil(usize::from(at), value),
                Step::Overflow(index, length, value) if !blocks.is_empty() => {
                    let (at, size) = blocks[usize::from(index) % blocks.len()];
                    let end = at.addr() - arena.start().addr() + size;
                    (end..end + usize::from(length % 40)).for_each(|at| spoil(at, value));
                }
                Step::Check => {
                    KnHeap::check(heap);
                    KnHeap::walk(heap, &mut |_| true);
                    stats_of(heap).expect("stats");
                }
                Step::Realloc(..) | Step::Free(_) | Step::Overflow(..) | Step::Spoil(..) => {}
            }
        }
    }
    arena.check_guards().expect("no write outside the region");
});
