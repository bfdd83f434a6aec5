//! The malloc of the process under wrong pointers and overwritten memory: the matrix.
//!
//! - Each address within 64 KB of small, medium and large blocks, live and freed, at the edges of their pages and
//!   regions, and of memory that was never ours, is passed to `free`, `realloc` and `usable_size`. All that are no
//!   live block are refused through the error hook, once each, with `errno` kept; what was freed and is small, as a
//!   double free. Nothing has changed afterwards: every live block is intact, and the heap's check agrees.
//! - Each byte beside medium blocks (their headers, the links in free ones) is spoiled in each bit, and then a
//!   call made, in a child process: nothing is damaged, nothing crashes.
//! - Freed small blocks are overwritten: harmless, because nothing of the allocator's lies in them.
//!
//! The counts are printed as tables. `KNOLL_LIBRARY` names a `libknoll.so` to do it to.

#![cfg(all(unix, not(feature = "checks-none")))]

use knoll::heap::KnStatus;
use knoll_shadow::contents;
use knoll_shadow::process::api::Api;
use knoll_shadow::shield::{self, Ending};
use std::collections::BTreeMap;
use std::fmt;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

const KB: usize = 1 << 10;
/// How far from a block wrong pointers are tried. Full checks walk a heap at each call.
const REACH: isize = if cfg!(miri) {
    40
} else if cfg!(feature = "checks-full") {
    300
} else {
    64 << 10
};

/// One test at a time: the process heap is everybody's.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Small,
    Medium,
    Large,
    /// Never ours.
    Elsewhere,
}

/// A block of the scene, live or freed, or an address that never was one.
#[derive(Clone, Copy)]
struct Block {
    kind: Kind,
    at: *mut u8,
    usable: usize,
    tag: usize,
    live: bool,
}

// SAFETY: blocks of the process heap; the tests take turns.
unsafe impl Send for Block {}

/// Blocks of every kind, a part of them freed.
struct Scene {
    api: Api,
    blocks: Vec<Block>,
}

impl Scene {
    /// Small blocks of sizes that divide a page and that don't, each more than fills one; medium blocks with free
    /// ones between; large ones.
    fn new() -> Scene {
        let mut scene = Scene { api: Api::chosen(), blocks: Vec::new() };
        let small: &[usize] = if cfg!(miri) { &[48] } else { &[16, 48, 112, 256, 576, 1000, 4096, 7000, 8192] };
        for &bytes in small {
            let count = if cfg!(miri) { 6 } else { 64 * KB / bytes * 3 / 2 };
            (0..count).for_each(|_| scene.add(Kind::Small, bytes));
        }
        let medium: &[usize] = &[9000, 8 * KB + 16, 20_000, 33_333, 64 * KB, 100_000, 10_000, 12_345, 127 * KB, 9001];
        (0..if cfg!(miri) { 1 } else { 2 })
            .for_each(|_| medium.iter().for_each(|&bytes| scene.add(Kind::Medium, bytes)));
        for bytes in [200 * KB, 128 * KB, 1024 * KB, 300_000] {
            scene.add(Kind::Large, bytes);
        }
        // Every third: alone between live ones; and some in a row.
        let count = scene.blocks.len();
        let freed = |index: &usize| index % 3 == 1 || (index % 64 > 40 && index % 64 < 46);
        (0..count).filter(freed).collect::<Vec<_>>().into_iter().for_each(|index| scene.free(index));
        scene.sound("the scene");
        scene
    }

    fn add(&mut self, kind: Kind, bytes: usize) {
        let at = (self.api.malloc)(bytes).cast::<u8>();
        assert!(!at.is_null(), "memory for the scene");
        let (usable, tag) = (self.api.usable_wrong(at), self.blocks.len());
        // SAFETY: a new block, that long.
        unsafe { contents::write(at, usable, tag) };
        self.blocks.push(Block { kind, at, usable, tag, live: true });
    }

    fn free(&mut self, index: usize) {
        let block = &mut self.blocks[index];
        block.live = false;
        let told = self.api.told(|| self.api.free_wrong(block.at));
        assert_eq!(told, [], "a live block was refused");
    }

    /// Live blocks that are not what they were.
    fn damaged(&self) -> usize {
        let intact = |block: &Block| {
            let same = self.api.usable_wrong(block.at) == block.usable;
            // SAFETY: a live block, all of it written.
            same && unsafe { contents::compare(block.at, block.usable, block.tag) }.is_ok()
        };
        self.blocks.iter().filter(|block| block.live).filter(|block| !intact(block)).count()
    }

    fn sound(&self, after: &str) {
        assert_eq!(self.damaged(), 0, "live blocks damaged after {after}");
        assert_eq!((self.api.check)(), KnStatus::Ok, "the heap's check after {after}");
    }

    /// Frees what lives.
    fn end(mut self) {
        let live: Vec<usize> = (0..self.blocks.len()).filter(|&index| self.blocks[index].live).collect();
        live.into_iter().for_each(|index| self.free(index));
        assert_eq!((self.api.check)(), KnStatus::Ok, "the heap's check at the end");
    }
}

// ---------------------------------------------------------------- wrong pointers

/// What became of the wrong pointers of one row.
#[derive(Clone, Copy, Default)]
struct Refused {
    pointers: usize,
    double_free: usize,
    foreign: usize,
    realloc: usize,
    usable: usize,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Refused { pointers, double_free, foreign, realloc, usable } = self;
        write!(f, "{pointers:9} {double_free:12} {foreign:12} {realloc:9} {usable:9}")
    }
}

fn errno() -> *mut i32 {
    // SAFETY: no conditions.
    #[cfg(target_os = "linux")]
    return unsafe { libc::__errno_location() };
    // SAFETY: no conditions.
    #[cfg(not(target_os = "linux"))]
    return unsafe { libc::__error() };
}

/// Blocks from which pointers are tried: of each kind and state those at the edges of pages, and some more.
fn anchors(scene: &Scene) -> Vec<Block> {
    let mut chosen: BTreeMap<(Kind, bool, usize, u8), Block> = BTreeMap::new();
    for (index, block) in scene.blocks.iter().enumerate() {
        let address = block.at.addr();
        let edge = match block.kind {
            Kind::Small if address.is_multiple_of(64 * KB) => 0,
            Kind::Small if address / (64 * KB) != (address + 2 * block.usable) / (64 * KB) => 1,
            Kind::Small if address.is_multiple_of(4 * KB) => 2,
            Kind::Small => 3,
            _ => index as u8,
        };
        // Of three sizes of small blocks, all edges; of the others none.
        let wanted = [48, 1024, 8192].contains(&block.usable) || block.kind != Kind::Small;
        if wanted {
            chosen.entry((block.kind, block.live, block.usable, edge)).or_insert(*block);
        }
    }
    chosen.into_values().collect()
}

/// Addresses that were never ours.
fn elsewhere() -> Vec<*mut u8> {
    static STATIC: [u64; 100] = [7; 100];
    let local = [0u64; 100];
    let boxed = Box::new([0u64; 100]);
    let top = usize::MAX - (REACH as usize) - 1;
    let mut found = vec![
        (&raw const STATIC).cast_mut().cast::<u8>(),
        (&raw const local).cast_mut().cast(),
        (&raw const *boxed).cast_mut().cast(),
        // Around null nothing may be tried but what is not null.
        null_mut::<u8>().wrapping_add(REACH as usize + 1),
        null_mut::<u8>().wrapping_add(top),
        null_mut::<u8>().wrapping_add(isize::MAX as usize),
        null_mut::<u8>().wrapping_add(1 << (usize::BITS - 9)),
    ];
    if !cfg!(miri) {
        let code: fn() -> Vec<*mut u8> = elsewhere;
        found.push(code as *mut u8);
        #[cfg(target_pointer_width = "64")]
        found.extend(
            [1usize << 46, 1 << 47, 1 << 48, 0xffff_8000_0000_0000].map(|at| null_mut::<u8>().wrapping_add(at)),
        );
    }
    found
}

/// Passes every address within reach of an anchor to the three functions.
fn around(scene: &Scene, anchor: &Block, starts: &BTreeMap<usize, Block>) -> Refused {
    let api = &scene.api;
    let mut count = Refused::default();
    for distance in -REACH..=REACH {
        let at = anchor.at.wrapping_offset(distance);
        let known = starts.get(&at.addr());
        if known.is_some_and(|block| block.live) {
            continue;
        }
        count.pointers += 1;
        // SAFETY: this thread's own errno.
        unsafe { *errno() = 4321 };
        let told = api.told(|| api.free_wrong(at));
        // SAFETY: as above.
        assert_eq!(unsafe { *errno() }, 4321, "errno after free of {at:p}");
        match told[..] {
            [(KnStatus::DoubleFree, address)] if address == at.addr() => count.double_free += 1,
            [(KnStatus::Foreign, address)] if address == at.addr() => count.foreign += 1,
            _ => panic!("free({at:p}), {distance} from {:?} {:p}: the hook heard {told:x?}", anchor.kind, anchor.at),
        }
        if let Some(Block { kind: Kind::Small, .. }) = known {
            assert_eq!(told[0].0, KnStatus::DoubleFree, "{at:p} was freed, {distance} from {:p}", anchor.at);
        }
        let told = api.told(|| assert!(api.realloc_wrong(at, 100).is_null(), "realloc({at:p}) gave memory"));
        assert!(told.len() == 1 && told[0].1 == at.addr(), "realloc({at:p}): the hook heard {told:x?}");
        count.realloc += 1;
        assert_eq!(api.usable_wrong(at), 0, "usable_size({at:p})");
        count.usable += 1;
    }
    count
}

#[test]
fn wrong_pointers_are_refused_and_change_nothing() {
    let _turn = turn();
    let scene = Scene::new();
    let starts: BTreeMap<usize, Block> = scene.blocks.iter().map(|block| (block.at.addr(), *block)).collect();
    let elsewhere =
        elsewhere().into_iter().map(|at| Block { kind: Kind::Elsewhere, at, usable: 0, tag: 0, live: false });
    let mut rows: BTreeMap<(Kind, bool), (usize, Refused)> = BTreeMap::new();
    for anchor in anchors(&scene).into_iter().chain(elsewhere) {
        let count = around(&scene, &anchor, &starts);
        scene.sound("wrong pointers");
        let (anchors, row) = rows.entry((anchor.kind, anchor.live)).or_default();
        *anchors += 1;
        row.pointers += count.pointers;
        row.double_free += count.double_free;
        row.foreign += count.foreign;
        row.realloc += count.realloc;
        row.usable += count.usable;
    }
    println!(
        "\n{:<24}{:>9} {:>9} {:>12} {:>12} {:>9} {:>9}",
        "wrong pointers around", "anchors", "pointers", "double free", "foreign", "realloc", "usable 0"
    );
    for ((kind, live), (anchors, row)) in &rows {
        let state = match (kind, live) {
            (Kind::Elsewhere, _) => "memory that is not ours".to_owned(),
            (kind, live) => format!("{kind:?}, {}", if *live { "live" } else { "freed" }).to_lowercase(),
        };
        println!("{state:<24}{anchors:>9} {row}");
        assert!(row.pointers == row.double_free + row.foreign && row.pointers == row.realloc);
    }
    let all: usize = rows.values().map(|(_, row)| row.pointers).sum();
    println!("{all} wrong pointers, {} calls, all refused\n", all * 3);
    assert!(REACH < 1000 || all > 1_000_000);
    scene.end();
}

// ---------------------------------------------------------------- freed memory overwritten

#[test]
fn freed_small_blocks_hold_nothing_of_the_allocators() {
    let _turn = turn();
    let mut scene = Scene::new();
    let mut overwritten = 0;
    for pattern in [0x00, 0xff, 0x41] {
        for block in scene.blocks.iter().filter(|block| !block.live && block.kind == Kind::Small) {
            // SAFETY: not ours any more, which is the test; the page is mapped, for live blocks lie in it.
            unsafe { block.at.write_bytes(pattern, block.usable) };
            overwritten += block.usable;
        }
        scene.sound("freed blocks were overwritten");
        // All that is free is given out again, and freed again.
        let from = scene.blocks.len();
        for size in scene.blocks.iter().filter(|block| !block.live).map(|block| block.usable).collect::<Vec<_>>() {
            scene.add(Kind::Small, size);
        }
        scene.sound("freed blocks were overwritten and given out");
        (from..scene.blocks.len()).for_each(|index| scene.free(index));
        scene.blocks.truncate(from);
        scene.sound("freed blocks were overwritten, given out and freed");
    }
    println!("\n{overwritten} bytes of freed small blocks overwritten: all harmless\n");
    scene.end();
}

// ---------------------------------------------------------------- bytes beside medium blocks

/// What is done after a byte was spoiled.
#[derive(Clone, Copy, Debug)]
enum Action {
    Free(usize),
    Grow(usize),
    Shrink(usize),
    Malloc(usize),
    Churn,
    Check,
}

#[repr(u8)]
enum Outcome {
    Detected,
    Harmless,
    Latent,
    Damage,
}

#[derive(Default)]
struct Outcomes {
    detected: usize,
    harmless: usize,
    latent: usize,
    bad: Vec<String>,
}

impl Outcomes {
    fn add(&mut self, ending: Ending, case: impl FnOnce() -> String) {
        match ending {
            Ending::Returned(value) if value == Outcome::Detected as u8 => self.detected += 1,
            Ending::Returned(value) if value == Outcome::Harmless as u8 => self.harmless += 1,
            Ending::Returned(value) if value == Outcome::Latent as u8 => self.latent += 1,
            other => self.bad.push(format!("{other:?}: {}", case())),
        }
    }
}

impl Scene {
    /// Whether `bytes` at `at` meet a live block.
    fn meets(&self, at: *mut u8, bytes: usize, but: usize) -> bool {
        let met = |block: &Block| {
            at.addr() < block.at.addr() + block.usable && block.at.addr() < at.addr() + bytes && block.live
        };
        self.blocks.iter().enumerate().any(|(index, block)| index != but && met(block))
    }

    /// Does the action and says how it ended. The process is not used afterwards.
    fn judge(&mut self, action: Action) -> Outcome {
        let api = self.api;
        let mut bad = false;
        let told = api.told(|| match action {
            Action::Free(index) => {
                self.blocks[index].live = false;
                api.free_wrong(self.blocks[index].at);
            }
            Action::Grow(index) | Action::Shrink(index) => {
                let old = self.blocks[index];
                let grows = matches!(action, Action::Grow(_));
                let bytes = if grows { old.usable * 5 / 4 } else { old.usable / 2 };
                let at = api.realloc_wrong(old.at, bytes);
                if at.is_null() {
                    return;
                }
                self.blocks[index].live = false;
                // SAFETY: realloc says that so much is valid there.
                bad = self.meets(at, bytes, index)
                    || unsafe { contents::compare(at, bytes.min(old.usable), old.tag) }.is_err();
            }
            Action::Malloc(bytes) => {
                let at = (api.malloc)(bytes).cast::<u8>();
                bad = !at.is_null() && self.meets(at, bytes, usize::MAX);
            }
            Action::Churn => {
                let mut taken = Vec::new();
                for bytes in [9000, 40_000, 100_000, 8200, 20_000, 9000, 60_000, 120_000] {
                    let at = (api.malloc)(bytes).cast::<u8>();
                    if !at.is_null() {
                        bad |= self.meets(at, bytes, usize::MAX);
                        // SAFETY: a block, or what the library takes for one: damage shows below.
                        unsafe { at.write_bytes(0xee, bytes) };
                        taken.push(at);
                    }
                }
                taken.into_iter().for_each(|at| api.free_wrong(at));
            }
            Action::Check => {}
        });
        let live = self.blocks.iter().filter(|block| block.live && block.kind != Kind::Small);
        // SAFETY: live blocks.
        bad |= live.into_iter().any(|block| unsafe { contents::compare(block.at, block.usable, block.tag) }.is_err());
        let consistent = (api.check)() == KnStatus::Ok;
        match (bad, told.is_empty(), consistent) {
            (true, ..) => Outcome::Damage,
            (false, false, _) => Outcome::Detected,
            (false, true, false) if matches!(action, Action::Check) => Outcome::Detected,
            (false, true, true) => Outcome::Harmless,
            (false, true, false) => Outcome::Latent,
        }
    }
}

/// Bytes beside a medium block that belong to no live one: its header, the next one's, and the ends of free ones.
fn records(scene: &Scene, index: usize, links: bool) -> Vec<*mut u8> {
    let block = scene.blocks[index];
    let header = 2 * size_of::<usize>() as isize;
    let end = block.usable as isize;
    let places: Vec<isize> = match (links, block.live) {
        (false, _) => (-header..0).chain(end..end + header).collect(),
        (true, false) => (0..2 * header).chain(end - header..end).collect(),
        (true, true) => Vec::new(),
    };
    let places = places.into_iter().map(|place| block.at.wrapping_offset(place));
    places.filter(|&at| !scene.meets(at, 1, usize::MAX)).collect()
}

fn spoil(scene: &mut Scene, links: bool) -> (usize, Outcomes) {
    let medium: Vec<usize> =
        (0..scene.blocks.len()).filter(|&index| scene.blocks[index].kind == Kind::Medium).collect();
    let live = |scene: &Scene, index: usize| scene.blocks.get(index).is_some_and(|block| block.live);
    let (mut cases, mut outcomes) = (0, Outcomes::default());
    // The first, the last, and those between that have free neighbours on one side or on both.
    let chosen = medium.iter().filter(|&&index| scene.blocks[index].live != links).take(6).chain(medium.last());
    for index in chosen.copied().collect::<Vec<usize>>() {
        let near = [index, index.wrapping_sub(1), index + 1];
        let near: Vec<usize> = near.into_iter().filter(|&near| medium.contains(&near) && live(scene, near)).collect();
        let mut actions: Vec<Action> = near.iter().map(|&near| Action::Free(near)).collect();
        actions.extend(near.first().map(|&near| Action::Grow(near)));
        actions.extend(near.first().map(|&near| Action::Shrink(near)));
        actions.extend([Action::Malloc(9000), Action::Churn, Action::Check]);
        for at in records(scene, index, links) {
            // SAFETY: a byte of the heap's own beside a block, so mapped.
            let byte = unsafe { at.read() };
            let mut values = [0, 1, 2, 3, 4, 5, 6, 7].map(|bit| byte ^ 1 << bit).to_vec();
            values.extend([!byte, 0, 0xff, b'A']);
            values.sort_unstable();
            values.dedup();
            for value in values.into_iter().filter(|&value| value != byte) {
                // Each action by turns: every byte meets every one, every value some.
                let turn = cases % 3;
                for &action in actions.iter().skip(turn).step_by(3) {
                    let ending = shield::run(1, |_| {
                        // SAFETY: as above.
                        unsafe { at.write(value) };
                        scene.judge(action) as u8
                    });
                    outcomes.add(ending[0], || format!("{at:p} was {byte:#04x}, is {value:#04x}: {action:?}"));
                }
                cases += 1;
            }
        }
    }
    (cases, outcomes)
}

#[test]
#[cfg(not(miri))] // Miri has no processes
fn bytes_beside_medium_blocks_are_guarded() {
    let _turn = turn();
    let mut scene = Scene { api: Api::chosen(), blocks: Vec::new() };
    for bytes in [9000, 10_000, 20_000, 9000, 8500, 12_000, 30_000, 9000, 40_000, 9000, 10_000, 11_000, 9000, 9500] {
        scene.add(Kind::Medium, bytes);
    }
    [1, 4, 5, 8, 10].into_iter().for_each(|index| scene.free(index));
    scene.sound("the scene");
    println!(
        "\n{:<28}{:>9} {:>9} {:>9} {:>9} {:>9} {:>14}",
        "bytes spoiled beside medium", "spoiled", "calls", "detected", "harmless", "latent", "damage, crash"
    );
    let mut worst = Vec::new();
    for (name, links) in [("headers", false), ("links in free blocks", true)] {
        let (cases, outcomes) = spoil(&mut scene, links);
        let Outcomes { detected, harmless, latent, bad } = outcomes;
        let calls = detected + harmless + latent + bad.len();
        println!("{name:<28}{cases:>9} {calls:>9} {detected:>9} {harmless:>9} {latent:>9} {:>14}", bad.len());
        assert!(cases > 100 && detected > cases / 10, "{name}: the bytes are no records");
        worst.extend(bad);
    }
    println!();
    assert!(worst.is_empty(), "{} of them bad: {:#?}", worst.len(), &worst[..worst.len().min(20)]);
    scene.sound("all that was done to copies");
    scene.end();
}
