//! What the threads do. Each scene is short, so that all orders of its steps can be tried.

use super::page::NOBODY;
use super::sync::Ordering;
use super::{cache, process, world};
use crate::port::AT_END;
use crate::runtime::{self, spawn, Mutex};
use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

/// Pages of long blocks that a thread has before it detaches one: see `cache.rs`, and [`measure`].
static KEPT: OnceLock<usize> = OnceLock::new();
/// Sizes of which two blocks, or four, or 66, make a page.
const LONG: usize = 32 << 10;
const SHORT: usize = 16 << 10;
const TINY: usize = 992;

/// A block on its way to another thread.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Block(*mut u8);

// SAFETY: any thread may free a block.
unsafe impl Send for Block {}

/// None: no unit is free.
fn try_malloc(bytes: usize) -> Option<Block> {
    let at = match cache::take(bytes) {
        Some(at) => at.as_ptr(),
        None => cache::take_slowly(bytes),
    };
    (!at.is_null()).then(|| {
        world::born(at);
        Block(at)
    })
}

fn malloc(bytes: usize) -> Block {
    try_malloc(bytes).expect("memory")
}

fn free(block: Block) {
    world::dies(block.0);
    assert!(give(block), "the space does not know its block");
}

/// `free` without the model's knowing, for a mistake.
fn give(block: Block) -> bool {
    // SAFETY: a block of the space.
    unsafe { cache::give(block.0) || cache::give_slowly(block.0) }
}

/// What the system does at a thread's end.
fn end() {
    let cache = crate::port::cache();
    if let (Some(at_end), true) = (AT_END.get(), cache.addr() > 8) {
        // SAFETY: the thread's own cache, once.
        unsafe { at_end(cache) };
    }
    crate::port::give_identity();
}

/// A thread of the scene; at its end its pages are detached.
fn thread(work: impl FnOnce() + Send + 'static) -> runtime::Join {
    spawn(move || {
        work();
        end();
    })
}

/// The last thread ends too: no page may be left, and nobody was told of an error.
fn all_is_over() {
    end();
    assert_eq!(world::refusals(), 0, "an error was found where none was");
    nothing_is_left();
}

fn nothing_is_left() {
    let left = process::with_state(|state| {
        (state.pages.count, state.pages.space.taken(), state.pages.records.taken(), state.caches.cast::<c_void>())
    });
    let (pages, units, records, caches) = left.expect("the lock");
    assert_eq!((pages, units, records), (0, 0, 0), "pages, units and records that were forgotten");
    assert!(caches.is_null(), "a cache that was forgotten");
}

/// The scene before all others: finds out how many pages a thread keeps.
pub(crate) fn measure() {
    let mut blocks = Vec::new();
    let mut kept = 0;
    // SAFETY: the first unit's record, by its atomic owner.
    while blocks.is_empty() || unsafe { (*world::record(0)).owner.load(Ordering::Relaxed) } != NOBODY {
        blocks.extend([malloc(LONG), malloc(LONG)]);
        kept += 1;
    }
    blocks.into_iter().for_each(free);
    all_is_over();
    let _ = KEPT.set(kept - 1);
}

/// Long blocks that fill the current page and those beside it: the next one detaches the oldest page, whose blocks
/// are the first ones.
fn full() -> Vec<Block> {
    (0..KEPT.get().expect("measured") * (64 << 10) / LONG).map(|_| malloc(LONG)).collect()
}

/// The two blocks of a page, which is detached, and all others that live.
fn detached() -> (Block, Block, Vec<Block>) {
    let mut others = full();
    others.push(malloc(LONG));
    (others.remove(0), others.remove(0), others)
}

// ---------------------------------------------------------------- remote bits and their number

/// Two threads free the two blocks of a detached page: one of them gives the page back.
pub(crate) fn the_last_of_two_gives_the_page_back() {
    let (one, other, rest) = detached();
    let threads = [thread(move || free(one)), thread(move || free(other))];
    threads.into_iter().for_each(runtime::Join::join);
    let taken = process::with_state(|state| state.pages.space.taken());
    assert_eq!(taken.expect("the lock"), *KEPT.get().expect("measured"), "an empty page stayed");
    rest.into_iter().for_each(free);
    all_is_over();
}

/// The owner takes and gives while another thread gives to it: blocks come back to the owner.
pub(crate) fn the_owner_goes_on_while_others_free() {
    let (one, other) = (malloc(LONG), malloc(LONG));
    let thread = thread(move || free(one));
    free(other);
    let (third, fourth) = (malloc(LONG), malloc(LONG));
    thread.join();
    free(third);
    free(fourth);
    all_is_over();
}

/// Both threads take and give, each what the other took.
pub(crate) fn blocks_cross() {
    let mine = malloc(LONG);
    let theirs = malloc(LONG);
    let thread = thread(move || {
        let own = malloc(LONG);
        free(theirs);
        free(own);
    });
    let another = malloc(LONG);
    free(mine);
    thread.join();
    free(another);
    all_is_over();
}

// ---------------------------------------------------------------- detach

/// The owner runs out of blocks and detaches a page while two threads free all of it.
pub(crate) fn detached_while_two_threads_free_it() {
    let mut blocks = full();
    let (one, other) = (blocks.remove(0), blocks.remove(0));
    let threads = [thread(move || free(one)), thread(move || free(other))];
    blocks.push(malloc(LONG));
    threads.into_iter().for_each(runtime::Join::join);
    blocks.into_iter().for_each(free);
    all_is_over();
}

/// The owner detaches a page, another thread frees a block of it, a third wants one: whichever way, no block is
/// given out twice.
pub(crate) fn detached_freed_and_attached_at_once() {
    let mut blocks = full();
    let (one, other) = (blocks.remove(0), blocks.remove(0));
    let threads = [
        thread(move || free(one)),
        thread(move || {
            let block = malloc(LONG);
            free(block);
        }),
    ];
    blocks.push(malloc(LONG));
    threads.into_iter().for_each(runtime::Join::join);
    free(other);
    blocks.into_iter().for_each(free);
    all_is_over();
}

/// The same, and the third thread takes all that is free, while the first goes on taking.
pub(crate) fn detached_freed_and_used_up_at_once() {
    let mut blocks = full();
    let (one, other) = (blocks.remove(0), blocks.remove(0));
    let freeing = thread(move || {
        free(one);
        free(other);
    });
    let taking = thread(move || {
        let blocks = [malloc(LONG), malloc(LONG)];
        blocks.into_iter().for_each(free);
    });
    blocks.push(malloc(LONG));
    blocks.push(malloc(LONG));
    freeing.join();
    taking.join();
    blocks.into_iter().for_each(free);
    all_is_over();
}

// ---------------------------------------------------------------- a thread's end, and adoption

/// A thread ends while others free blocks of its page; the page is listed or given back, by one of them.
pub(crate) fn a_thread_ends_while_others_free() {
    let blocks: [Block; 3] = [malloc(SHORT), malloc(SHORT), malloc(SHORT)];
    let [one, other, last] = blocks;
    let threads = [thread(move || free(one)), thread(move || free(other))];
    end();
    threads.into_iter().for_each(runtime::Join::join);
    let taken = process::with_state(|state| state.pages.space.taken());
    assert_eq!(taken.expect("the lock"), 1, "a block lives");
    free(last);
    nothing_is_left();
    assert_eq!(world::refusals(), 0);
}

/// Two threads free the last blocks of two words of bits at once: one of them sees that the page is empty.
pub(crate) fn the_last_blocks_of_two_words() {
    let mut blocks: Vec<Block> = (0..(64 << 10) / TINY).map(|_| malloc(TINY)).collect();
    let (one, other) = (blocks.swap_remove(3), blocks.pop().expect("the second word's"));
    blocks.into_iter().for_each(free);
    end();
    let threads = [thread(move || free(one)), thread(move || free(other))];
    threads.into_iter().for_each(runtime::Join::join);
    nothing_is_left();
    assert_eq!(world::refusals(), 0);
}

/// A page that a thread's end has left gets its eighth free block while another thread looks for a page.
pub(crate) fn worth_attaching_at_this_moment() {
    let mut blocks: Vec<Block> = (0..(64 << 10) / TINY).map(|_| malloc(TINY)).collect();
    end();
    blocks.drain(..7).for_each(free);
    let last = blocks.pop().expect("a block");
    let one = blocks.remove(0);
    let adopting = thread(move || {
        let block = malloc(TINY);
        free(block);
    });
    let freeing = thread(move || {
        free(one);
        free(last);
    });
    adopting.join();
    freeing.join();
    blocks.into_iter().for_each(free);
    nothing_is_left();
    assert_eq!(world::refusals(), 0);
}

/// Two threads want a block at once; one page is listed. They get two blocks of one page or of two, never one.
pub(crate) fn two_threads_adopt() {
    let (one, other, rest) = detached();
    free(one);
    let adopt = || {
        let block = malloc(LONG);
        free(block);
    };
    let threads = [thread(adopt), thread(adopt)];
    threads.into_iter().for_each(runtime::Join::join);
    free(other);
    rest.into_iter().for_each(free);
    all_is_over();
}

/// A thread adopts a listed page while another frees its last block.
pub(crate) fn adopted_while_the_last_block_is_freed() {
    let (one, other, rest) = detached();
    free(one);
    let adopting = thread(move || {
        let blocks = [malloc(LONG), malloc(LONG)];
        blocks.into_iter().for_each(free);
    });
    let freeing = thread(move || free(other));
    adopting.join();
    freeing.join();
    rest.into_iter().for_each(free);
    all_is_over();
}

/// A page is given back and its unit is another class's page at once, while a thread that freed is on its way out.
pub(crate) fn a_unit_changes_its_class_under_a_freeing_thread() {
    let (one, other, rest) = detached();
    let threads = [
        thread(move || free(one)),
        thread(move || {
            free(other);
            let block = malloc(SHORT);
            free(block);
        }),
    ];
    threads.into_iter().for_each(runtime::Join::join);
    rest.into_iter().for_each(free);
    all_is_over();
}

// ---------------------------------------------------------------- mistakes

/// The owner and another thread free the same block. Somebody is told, perhaps when the bits meet; and no other block
/// is lost for it.
pub(crate) fn the_same_block_freed_by_two_threads() {
    let (one, other) = (malloc(LONG), malloc(LONG));
    world::dies(one.0);
    let thread = thread(move || assert!(give(one)));
    assert!(give(one));
    thread.join();
    // The other block lives: the page may not go.
    end();
    assert_eq!(world::refusals(), 1, "a block freed twice");
    let taken = process::with_state(|state| state.pages.space.taken());
    assert_eq!(taken.expect("the lock"), 1, "a block lives");
    free(other);
    nothing_is_left();
}

// ---------------------------------------------------------------- many steps

/// Threads that take blocks of both classes, free what they find in a common heap of blocks, end and begin again.
/// `pick` chooses a number below another. Too many orders to try them all.
pub(crate) fn a_market(threads: usize, steps: usize, pick: fn(usize) -> usize) {
    let heap = Arc::new(Mutex::new(Vec::<Block>::new()));
    for _generation in 0..2 {
        let visitors: Vec<runtime::Join> = (0..threads)
            .map(|_| {
                let heap = heap.clone();
                thread(move || {
                    for _ in 0..steps {
                        if pick(5) < 3 {
                            let block = try_malloc(if pick(3) == 0 { SHORT } else { LONG });
                            heap.lock().unwrap().extend(block);
                        } else {
                            let mut blocks = heap.lock().unwrap();
                            let block = (!blocks.is_empty()).then(|| pick(blocks.len())).map(|n| blocks.swap_remove(n));
                            drop(blocks);
                            block.into_iter().for_each(free);
                        }
                    }
                })
            })
            .collect();
        visitors.into_iter().for_each(runtime::Join::join);
    }
    let rest: Vec<Block> = heap.lock().unwrap().drain(..).collect();
    rest.into_iter().for_each(free);
    all_is_over();
}

/// A name and a scene each.
pub(crate) const ALL: [(&str, fn()); 13] = [
    ("the last of two gives the page back", the_last_of_two_gives_the_page_back),
    ("the owner goes on while others free", the_owner_goes_on_while_others_free),
    ("blocks cross", blocks_cross),
    ("detached while two threads free it", detached_while_two_threads_free_it),
    ("detached, freed and attached at once", detached_freed_and_attached_at_once),
    ("detached, freed and used up at once", detached_freed_and_used_up_at_once),
    ("a thread ends while others free", a_thread_ends_while_others_free),
    ("the last blocks of two words", the_last_blocks_of_two_words),
    ("worth attaching at this moment", worth_attaching_at_this_moment),
    ("two threads adopt", two_threads_adopt),
    ("adopted while the last block is freed", adopted_while_the_last_block_is_freed),
    ("a unit changes its class under a freeing thread", a_unit_changes_its_class_under_a_freeing_thread),
    ("the same block freed by two threads", the_same_block_freed_by_two_threads),
];
