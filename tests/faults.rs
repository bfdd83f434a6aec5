//! Corruption: every byte of the heap's own records spoiled, every wrong pointer freed.
//!
//! A small heap with used and free blocks in many arrangements is made once and kept as an
//! image. Each case puts the image back, spoils one thing, does one call, and looks at what
//! became of it:
//!
//! | ending | meaning |
//! | --- | --- |
//! | detected | the call answered an error, or the hook was told |
//! | harmless | nothing detected, and nothing is wrong: `check` agrees, contents intact |
//! | latent | nothing detected, contents intact, but `check` finds the records spoiled |
//! | damage | a live block's contents, or memory outside the heap, were overwritten or given away |
//! | crash | the process died, or an assertion in the library failed |
//! | hang | the call did not return |
//!
//! The tables are printed and held against `tests/faults.txt`: fewer cases detected, or more of
//! what is bad, fails. A wrong pointer must always be refused, and then no byte of the heap may
//! have changed. The cases run in a child process ([`knoll_shadow::shield`]) between pages that
//! nobody may touch, and a part of them under Miri.

#![cfg(not(feature = "checks-none"))]

use knoll::heap::{KnBlock, KnHeap, KnHeapStats, KnLayout, KnStatus, KN_BLOCK_USED};
use knoll_shadow::arena::Arena;
use knoll_shadow::contents;
use knoll_shadow::layouts;
use knoll_shadow::numbers::config;
use knoll_shadow::shadow::ALIGN;
use knoll_shadow::shield::{self, Ending};
use std::ffi::{c_char, c_void};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many times the error hook was told something, in this process.
static REPORTS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_report(_: KnStatus, _: *const c_void, _: *const c_char) {
    REPORTS.fetch_add(1, Ordering::SeqCst);
}

/// A used block of the scene.
#[derive(Clone, Copy)]
struct Live {
    at: *mut u8,
    usable: usize,
    tag: usize,
}

impl Live {
    fn range(&self) -> (*mut u8, usize) {
        (self.at, self.usable)
    }
}

fn overlap(one: (*mut u8, usize), other: (*mut u8, usize)) -> bool {
    one.0.addr() < other.0.addr() + other.1 && other.0.addr() < one.0.addr() + one.1
}

/// What a byte of the arena is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Of the control block's fixed fields: pointers, extent, layout.
    Control,
    /// Behind them: the tally, the bitmap of bins, their heads, the map.
    Bins,
    /// Of a block's header, or of the one behind the last block.
    Header,
    /// Of a free block's two ends, where links and sizes are.
    Free,
    /// A live block's own, or of a free block's middle.
    Payload,
}

const PARTS: [(Part, &str); 4] = [
    (Part::Control, "control block"),
    (Part::Bins, "tally, bins, map"),
    (Part::Header, "headers"),
    (Part::Free, "free blocks' ends"),
];

/// A heap to be spoiled: its image, its live blocks and those freed.
struct Scene {
    arena: Arena,
    heap: *mut KnHeap,
    image: Vec<u8>,
    live: Vec<Live>,
    freed: Vec<*mut u8>,
    parts: Vec<Part>,
    /// Where the map lies, in the map layout.
    map: std::ops::Range<usize>,
}

impl Scene {
    /// Used and free blocks alternate in every way: free ones alone, beside the start and the
    /// end, several of one size, larger than any exact bin, cut from the top.
    fn new(layout: KnLayout) -> Scene {
        let arena = Arena::new(3000, 8);
        // SAFETY: the arena lives as long as the scene; so below.
        let heap = unsafe { KnHeap::create(arena.start(), arena.bytes(), &config(layout)) };
        assert!(!heap.is_null(), "{layout:?}");
        let sizes = [24, 1, 40, 24, 8, 100, 24, 300, 16, 56, 24, 8, 72, 410, 24, 33, 24, 250, 24, 61];
        let mut live = Vec::new();
        for (tag, &bytes) in sizes.iter().enumerate() {
            // SAFETY: the heap is live.
            let at = unsafe {
                if tag % 7 == 6 {
                    KnHeap::malloc_top(heap, bytes)
                } else {
                    KnHeap::malloc(heap, bytes)
                }
            };
            assert!(!at.is_null(), "{layout:?}: the scene needs a larger arena");
            // SAFETY: the block was just given.
            let usable = unsafe { KnHeap::usable_size(heap, at) };
            // SAFETY: the block is live and that long.
            unsafe { contents::write(at, usable, tag) };
            live.push(Live { at, usable, tag });
        }
        let mut freed = Vec::new();
        for tag in [0, 3, 5, 6, 7, 10, 13, 14, 17] {
            // SAFETY: the block is live.
            assert_eq!(unsafe { KnHeap::free(heap, live[tag].at) }, KnStatus::Ok);
            freed.push(live[tag].at);
        }
        live.retain(|block| !freed.contains(&block.at));
        let image = arena.bytes_now();
        let mut scene = Scene { arena, heap, image, live, freed, parts: Vec::new(), map: 0..0 };
        scene.parts = scene.name_parts();
        if layout == KnLayout::Map {
            // Two bits a granule and a few bytes more, right before the first block.
            let first = scene.parts.iter().rposition(|&part| part == Part::Bins).expect("a map") + 1;
            scene.map = first - (scene.arena.bytes() / ALIGN / 4 + 4)..first;
        }
        scene
    }

    /// Long blocks of every size that a map codes in its own way, and some very long ones.
    fn of_long_blocks(layout: KnLayout) -> Scene {
        let arena = Arena::new(200_000, 8);
        // SAFETY: as in `new`.
        let heap = unsafe { KnHeap::create(arena.start(), arena.bytes(), &config(layout)) };
        assert!(!heap.is_null(), "{layout:?}");
        let mut live = Vec::new();
        for (tag, bytes) in (150..1700).step_by(24).chain([4100, 9000, 17_000, 33_333]).enumerate() {
            // SAFETY: the heap is live.
            let at = unsafe { KnHeap::malloc(heap, bytes) };
            // SAFETY: so it is, and the block was just given or is null.
            let usable = unsafe { KnHeap::usable_size(heap, at) };
            assert!(usable >= bytes, "{layout:?}: the scene needs a larger arena");
            // SAFETY: the block is live and that long.
            unsafe { contents::write(at, usable, tag) };
            live.push(Live { at, usable, tag });
        }
        let image = arena.bytes_now();
        Scene { arena, heap, image, live, freed: Vec::new(), parts: Vec::new(), map: 0..0 }
    }

    fn name_parts(&self) -> Vec<Part> {
        let base = self.arena.start().addr();
        let mut blocks = Vec::new();
        // SAFETY: the heap is live.
        unsafe {
            KnHeap::walk(self.heap, &mut |block: &KnBlock| {
                blocks.push((block.start.addr() - base, block.size, block.state == KN_BLOCK_USED));
                true
            });
        }
        let first = blocks[0].0;
        // What a block takes beside its payload is the header of the next one.
        let one = self.live[0];
        let taken = blocks.iter().find(|block| block.0 == one.at.addr() - base).expect("a used block");
        let lead = taken.1 - one.usable;
        let control = self.heap.addr() - base;
        let mut parts = vec![Part::Payload; self.arena.bytes()];
        parts[first - lead..].fill(Part::Header);
        parts[control..first - lead].fill(Part::Bins);
        parts[control..control + size_of::<KnHeap>()].fill(Part::Control);
        for (start, size, used) in blocks {
            let end = start + size - lead;
            parts[start..end].fill(Part::Payload);
            if !used {
                parts[start..end.min(start + 16)].fill(Part::Free);
                parts[end - 8.min(end - start)..end].fill(Part::Free);
            }
        }
        parts
    }

    /// The heap as it was, and the hook set.
    fn reset(&self) {
        self.arena.restore(&self.image);
        REPORTS.store(0, Ordering::SeqCst);
    }

    fn poke(&self, offset: usize, value: u8) {
        assert!(offset < self.arena.bytes());
        // SAFETY: inside the arena.
        unsafe { self.arena.start().add(offset).write(value) };
    }

    /// Whether each live block that is not gone holds its contents and no guard byte has changed.
    fn intact(&self, gone: Gone) -> bool {
        self.live
            .iter()
            .filter(|block| gone.keeps(block))
            // SAFETY: the block is live and that long.
            .all(|block| unsafe { contents::compare(block.at, block.usable, block.tag) }.is_ok())
            && self.arena.check_guards().is_ok()
    }

    /// Whether a block lies in the arena apart from the live ones and those just taken.
    fn fits(&self, block: (*mut u8, usize), taken: &[(*mut u8, usize)]) -> bool {
        self.arena.holds(block.0.addr(), block.1)
            && !self.live.iter().any(|live| overlap(block, live.range()))
            && !taken.iter().any(|&other| overlap(block, other))
    }

    /// What `check` answers at the end of a case.
    fn sound(&self) -> bool {
        // SAFETY: the heap lives in the arena, spoiled or not: that is what is tested.
        unsafe { KnHeap::check(self.heap) == KnStatus::Ok }
    }

    /// The records that say which blocks are used: headers, and the map if there is one. A refused
    /// call may have put a free block elsewhere in its list, but must not have touched these. Read as
    /// plain memory: to ask the spoiled heap would be one more call that can go wrong.
    fn states(&self) -> Vec<u8> {
        let bytes = self.arena.bytes_now();
        let kept = |at: &usize| self.parts[*at] == Part::Header || self.map.contains(at);
        (0..bytes.len()).filter(kept).map(|at| bytes[at]).collect()
    }

    /// Does one call on a heap that was spoiled, and names what became of it.
    fn judge(&self, action: Action) -> Outcome {
        let before = self.states();
        let (refused, gone, given) = action.take(self);
        // What was refused must not have been done in part: each block is live, or not, as before.
        if gone == Gone::None && given.is_none() && self.states() != before {
            return Outcome::Damage;
        }
        if let Some((at, bytes)) = given {
            let kept = self.live.iter().filter(|block| gone.keeps(block));
            if !self.arena.holds(at.addr(), bytes) || kept.into_iter().any(|block| overlap((at, bytes), block.range()))
            {
                return Outcome::Damage;
            }
            // SAFETY: the block is live and that long.
            unsafe { contents::write(at, bytes, 999) };
        }
        if !self.intact(gone) {
            Outcome::Damage
        } else if refused || REPORTS.load(Ordering::SeqCst) > 0 {
            Outcome::Detected
        } else if self.sound() {
            Outcome::Harmless
        } else {
            Outcome::Latent
        }
    }

    /// Frees or reallocates what is no live block: it must be refused and nothing changed.
    fn judge_wrong(&self, action: Action) -> Outcome {
        let before = self.arena.bytes_now();
        let (refused, _, _) = action.take(self);
        let reported = REPORTS.load(Ordering::SeqCst) > 0;
        if refused && reported && self.arena.bytes_now() == before && self.arena.check_guards().is_ok() {
            Outcome::Detected
        } else {
            Outcome::Damage
        }
    }
}

/// One call.
#[derive(Clone, Copy, Debug)]
enum Action {
    Check,
    /// The heap's numbers, none of which may exceed its memory.
    Stats,
    /// Of the live block with this number.
    Free(usize),
    Malloc(usize),
    MallocTop(usize),
    Aligned(usize, usize),
    /// Of the live block with this number, to this many bytes.
    Realloc(usize, usize),
    /// Of any address.
    FreeAt(*mut u8),
    /// Likewise, to this many bytes.
    ReallocAt(*mut u8, usize),
    /// Blocks of this size until there are no more; all of them and all live ones freed.
    Churn(usize),
}

/// Which live blocks a call has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gone {
    None,
    One(*mut u8),
    All,
}

impl Gone {
    fn keeps(self, block: &Live) -> bool {
        match self {
            Gone::None => true,
            Gone::One(at) => at != block.at,
            Gone::All => false,
        }
    }
}

/// Was it refused; which live blocks are gone; which bytes were given.
type Answer = (bool, Gone, Option<(*mut u8, usize)>);

impl Action {
    /// The calls that every spoiled byte is tried with.
    fn all(scene: &Scene) -> Vec<Action> {
        let mut all = vec![Action::Check, Action::Stats];
        all.extend((0..scene.live.len()).map(Action::Free));
        all.extend([1, 24, 25, 60, 100, 260, 400].map(Action::Malloc));
        all.extend([8, 90].map(Action::MallocTop));
        all.push(Action::Aligned(64, 40));
        all.extend([16, 120].map(Action::Churn));
        all.extend((0..scene.live.len()).step_by(2).map(|index| Action::Realloc(index, 130)));
        all.extend((1..scene.live.len()).step_by(3).map(|index| Action::Realloc(index, 2)));
        all
    }

    fn take(self, scene: &Scene) -> Answer {
        let heap = scene.heap;
        let given = |at: *mut u8, bytes| (!at.is_null()).then_some((at, bytes));
        // SAFETY: the memory is the arena's; what the heap makes of it is what is tested.
        unsafe {
            match self {
                Action::Check => (KnHeap::check(heap) != KnStatus::Ok, Gone::None, None),
                Action::Stats => {
                    let mut stats = KnHeapStats::default();
                    let told = KnHeap::stats(heap, &mut stats) == KnStatus::Ok;
                    let most = stats.total.max(stats.used).max(stats.free).max(stats.largest_free);
                    let nonsense = told && most > scene.arena.bytes();
                    (false, Gone::None, nonsense.then_some((std::ptr::null_mut(), usize::MAX)))
                }
                Action::Free(index) => {
                    let at = scene.live[index].at;
                    let status = KnHeap::free(heap, at);
                    match status {
                        KnStatus::Ok => (false, Gone::One(at), None),
                        _ => (true, Gone::None, None),
                    }
                }
                Action::Malloc(bytes) => (false, Gone::None, given(KnHeap::malloc(heap, bytes), bytes)),
                Action::MallocTop(bytes) => (false, Gone::None, given(KnHeap::malloc_top(heap, bytes), bytes)),
                Action::Aligned(align, bytes) => {
                    (false, Gone::None, given(KnHeap::aligned_alloc(heap, align, bytes), bytes))
                }
                Action::Realloc(index, bytes) => {
                    let block = scene.live[index];
                    let at = KnHeap::realloc(heap, block.at, bytes);
                    let kept = block.usable.min(bytes);
                    if at.is_null() {
                        return (false, Gone::None, None);
                    }
                    // Outside the arena it must not be read; the judge sees that it is.
                    let lost = scene.arena.holds(at.addr(), kept) && contents::compare(at, kept, block.tag).is_err();
                    (false, Gone::One(block.at), if lost { Some((at, usize::MAX)) } else { given(at, bytes) })
                }
                Action::FreeAt(at) => (KnHeap::free(heap, at) != KnStatus::Ok, Gone::None, None),
                Action::ReallocAt(at, bytes) => {
                    let at = KnHeap::realloc(heap, at, bytes);
                    (at.is_null(), Gone::None, given(at, bytes))
                }
                Action::Churn(bytes) => {
                    let mut taken = Vec::new();
                    while let Some(at) = given(KnHeap::malloc(heap, bytes), bytes) {
                        taken.push(at);
                        if taken.len() > scene.arena.bytes() || !scene.fits(at, &taken[..taken.len() - 1]) {
                            return (false, Gone::None, Some((at.0, usize::MAX)));
                        }
                        at.0.write_bytes(0xee, bytes);
                    }
                    if !scene.intact(Gone::None) {
                        return (false, Gone::None, Some((std::ptr::null_mut(), 1)));
                    }
                    let all = scene.live.iter().map(|block| block.at).chain(taken.iter().map(|at| at.0));
                    let refused = all.filter(|&at| KnHeap::free(heap, at) != KnStatus::Ok).count();
                    (refused > 0, Gone::All, None)
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Outcome {
    Detected,
    Harmless,
    Latent,
    Damage,
}

/// How many cases ended in which way.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Counts {
    detected: usize,
    harmless: usize,
    latent: usize,
    damage: usize,
    crash: usize,
    hang: usize,
}

impl Counts {
    fn add(&mut self, ending: Ending) {
        let place = match ending {
            Ending::Returned(value) if value == Outcome::Detected as u8 => &mut self.detected,
            Ending::Returned(value) if value == Outcome::Harmless as u8 => &mut self.harmless,
            Ending::Returned(value) if value == Outcome::Latent as u8 => &mut self.latent,
            Ending::Returned(_) => &mut self.damage,
            Ending::Crashed => &mut self.crash,
            Ending::Hung => &mut self.hang,
        };
        *place += 1;
    }
}

impl Counts {
    fn cases(&self) -> usize {
        self.essence().iter().sum::<usize>() + self.harmless
    }

    /// What the table keeps.
    fn essence(&self) -> [usize; 5] {
        [self.detected, self.latent, self.damage, self.crash, self.hang]
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Counts { detected, harmless, latent, damage, crash, hang } = self;
        let all = self.cases();
        write!(f, "{all:8} {detected:9} {harmless:9} {latent:8} {damage:8} {crash:6} {hang:5}")
    }
}

/// Under Miri every `stride`th case is run, which is enough to meet each kind.
fn stride(cases: usize) -> usize {
    if cfg!(miri) {
        cases.div_ceil(60).max(1)
    } else {
        1
    }
}

/// Runs the cases in the shield, the error hook counting.
fn run<C: Copy + fmt::Debug>(scene: &Scene, cases: &[C], spoil: impl Fn(C) -> Outcome) -> Counts {
    knoll::capi::errors::kn_on_error(Some(count_report));
    let cases: Vec<C> = cases.iter().step_by(stride(cases.len())).copied().collect();
    let show = std::env::var("KNOLL_SHOW").unwrap_or_default();
    let mut counts = Counts::default();
    let endings = shield::run(cases.len(), |index| {
        scene.reset();
        spoil(cases[index]) as u8
    });
    for (case, ending) in cases.iter().zip(endings) {
        let shown = match ending {
            Ending::Returned(value) if value == Outcome::Damage as u8 => show.contains("damage"),
            Ending::Returned(value) if value == Outcome::Latent as u8 => show.contains("latent"),
            Ending::Crashed => show.contains("crash"),
            Ending::Hung => show.contains("hang"),
            Ending::Returned(_) => false,
        };
        if shown {
            println!("  {ending:?}: {case:?}");
        }
        counts.add(ending);
    }
    counts
}

/// What a byte becomes: each bit flipped, some, all; also nothing, one more, one less, but not where addresses
/// are, or guards made from them: those differ from run to run, and the number of cases must not.
fn spoiled_values(byte: u8, part: Part) -> Vec<u8> {
    let mut values: Vec<u8> = (0..8).map(|bit| byte ^ 1 << bit).collect();
    values.extend([byte ^ 0x55, !byte]);
    if part != Part::Control && !cfg!(feature = "checks-full") {
        values.extend([0, 0xff, byte.wrapping_add(1), byte.wrapping_sub(1)]);
    }
    values.sort_unstable();
    values.dedup();
    values.retain(|&value| value != byte);
    values
}

/// Spoils every byte of one part and tries every action on each.
fn spoil_part(layout: KnLayout, part: Part) -> Counts {
    let scene = Scene::new(layout);
    let mut cases = Vec::new();
    for (offset, _) in scene.parts.iter().enumerate().filter(|(_, &found)| found == part) {
        for value in spoiled_values(scene.image[offset], part) {
            cases.extend(Action::all(&scene).into_iter().map(|action| (offset, value, action)));
        }
    }
    run(&scene, &cases, |(offset, value, action)| {
        scene.poke(offset, value);
        scene.judge(action)
    })
}

/// A program that writes past the end of a block by some bytes, and then calls.
fn overflow(layout: KnLayout, bytes: usize) -> Counts {
    let scene = Scene::new(layout);
    let base = scene.arena.start().addr();
    let mut cases = Vec::new();
    for (index, block) in scene.live.iter().enumerate() {
        let end = block.at.addr() + block.usable - base;
        // What would spoil a neighbour's contents is the program's own loss: only records count.
        let records = |at: usize| scene.parts.get(at).is_some_and(|&part| part != Part::Payload);
        if !(end..end + bytes).all(records) {
            continue;
        }
        for value in [0x00, 0x41, 0xff] {
            cases.push((end, value, Action::Free(index)));
            cases.extend((0..scene.live.len()).map(|other| (end, value, Action::Free(other))));
            cases.push((end, value, Action::Realloc(index, 130)));
            cases.push((end, value, Action::Churn(16)));
            cases.push((end, value, Action::Check));
        }
    }
    run(&scene, &cases, |(end, value, action)| {
        (end..end + bytes).for_each(|at| scene.poke(at, value));
        scene.judge(action)
    })
}

/// Pointers around live ones and freed ones, as far as 64 bytes before and `reach` bytes behind.
fn wrong_pointers(scene: &Scene, reach: isize) -> Counts {
    let mut cases = Vec::new();
    let around = |at: *mut u8| (-64..=reach).map(move |distance| at.wrapping_offset(distance));
    let starts = scene.live.iter().map(|block| block.at).chain(scene.freed.iter().copied());
    let mut wrong: Vec<*mut u8> = starts.flat_map(around).collect();
    wrong.sort_unstable();
    wrong.dedup();
    wrong.retain(|&at| scene.live.iter().all(|block| block.at != at));
    for at in wrong {
        cases.extend([Action::FreeAt(at), Action::ReallocAt(at, 4), Action::ReallocAt(at, 500)]);
    }
    run(scene, &cases, |action| scene.judge_wrong(action))
}

/// Two blocks freed in either order, others or none freed between, and one of them again.
fn double_frees(layout: KnLayout) -> Counts {
    let scene = Scene::new(layout);
    let count = scene.live.len();
    let mut cases = Vec::new();
    for first in 0..count {
        for second in 0..count {
            for again in [first, second] {
                cases.push((first, second, again));
            }
        }
    }
    run(&scene, &cases, |(first, second, again)| {
        for index in if first == second { vec![first] } else { vec![first, second] } {
            // SAFETY: the block is live.
            assert_eq!(unsafe { KnHeap::free(scene.heap, scene.live[index].at) }, KnStatus::Ok);
        }
        scene.judge_wrong(Action::FreeAt(scene.live[again].at))
    })
}

/// What is known of each row, for each build: a line is `BUILD LAYOUT ROW: detected latent damage crash hang`.
const KNOWN: &str = include_str!("faults.txt");

/// The rows found, and what is wrong with them.
struct Table {
    layout: KnLayout,
    title: &'static str,
    rows: Vec<(String, Counts)>,
}

impl Table {
    fn new(layout: KnLayout, title: &'static str) -> Table {
        Table { layout, title, rows: Vec::new() }
    }

    fn row(&mut self, name: &str, counts: Counts) {
        let checks = if cfg!(feature = "checks-full") { "full" } else { "default" };
        if counts.cases() > 0 {
            self.rows.push((format!("{checks}-{} {:?} {name}", usize::BITS, self.layout), counts));
        }
    }

    fn print(&self) {
        const HEAD: [&str; 7] = ["cases", "detected", "harmless", "latent", "damage", "crash", "hang"];
        let [cases, detected, harmless, latent, damage, crash, hang] = HEAD;
        let mut text = format!(
            "\n{:<42}{cases:>8} {detected:>9} {harmless:>9} {latent:>8} {damage:>8} {crash:>6} {hang:>5}\n",
            self.title
        );
        for (name, counts) in &self.rows {
            text += &format!("  {name:<40}{counts}\n");
        }
        println!("{text}");
    }

    /// Fails if a row is worse than is known: fewer cases detected, or more of anything bad.
    fn hold(self) {
        self.print();
        if cfg!(miri) {
            return self.rows.iter().for_each(|(name, counts)| assert_eq!(counts.damage, 0, "{name}"));
        }
        // Where a build has one layout, the control block's field for it is ignored.
        let all = layouts!().count() == 4;
        let rows: Vec<_> = self.rows.into_iter().filter(|row| all || !row.0.contains("control")).collect();
        if std::env::var_os("KNOLL_UPDATE").is_some() {
            return learn(&rows);
        }
        let worse: Vec<_> = rows.iter().filter_map(|(name, found)| complaint(name, found)).collect();
        assert!(
            worse.is_empty(),
            "{worse:#?}\nKNOLL_SHOW=damage,latent,crash,hang names the cases; if it has to be so, \
             KNOLL_UPDATE=1 writes tests/faults.txt anew"
        );
    }
}

fn complaint(name: &str, found: &Counts) -> Option<String> {
    let now = found.essence();
    let Some(known) = KNOWN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')) else {
        return Some(format!("{name}: not in tests/faults.txt"));
    };
    let known: Vec<usize> = known.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let better = now[0] >= known[0] && now[1..].iter().zip(&known[1..]).all(|(now, known)| now <= known);
    if better && now[..] != known[..] {
        println!("{name}: {now:?} is better than {known:?}; KNOLL_UPDATE=1 writes tests/faults.txt anew");
    }
    (!better).then(|| format!("{name}: found {now:?}, known {known:?}"))
}

/// Writes the rows into the table.
fn learn(rows: &[(String, Counts)]) {
    static FILE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = FILE.lock().expect("no panic while writing");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults.txt");
    let old = std::fs::read_to_string(path).expect("tests/faults.txt");
    let (head, body): (Vec<&str>, Vec<&str>) = old.lines().partition(|line| line.starts_with('#'));
    let mut lines: std::collections::BTreeMap<String, String> =
        body.iter().filter_map(|line| line.split_once(':')).map(|(name, rest)| (name.into(), rest.into())).collect();
    for (name, counts) in rows {
        lines.insert(name.clone(), counts.essence().iter().map(|count| format!(" {count}")).collect());
    }
    let body: String = lines.iter().map(|(name, rest)| format!("{name}:{rest}\n")).collect();
    std::fs::write(path, format!("{}\n{body}", head.join("\n"))).expect("tests/faults.txt");
}

#[test]
fn spoiled_records_are_detected_or_harmless() {
    for layout in layouts!().filter(|&layout| layout != KnLayout::Auto) {
        let mut table = Table::new(layout, "each byte spoiled");
        for (part, name) in PARTS {
            // Under Miri a pointer with a spoiled byte is no pointer any more.
            if !(cfg!(miri) && matches!(part, Part::Control | Part::Bins)) {
                table.row(name, spoil_part(layout, part));
            }
        }
        table.hold();
    }
}

#[test]
fn overflows_are_detected_or_harmless() {
    for layout in layouts!().filter(|&layout| layout != KnLayout::Auto) {
        let mut table = Table::new(layout, "written past a block");
        for bytes in [1, 4, 8, 16] {
            table.row(&format!("overflow by {bytes}"), overflow(layout, bytes));
        }
        table.hold();
    }
}

#[test]
fn wrong_pointers_are_refused() {
    for layout in layouts!().filter(|&layout| layout != KnLayout::Auto) {
        let mut table = Table::new(layout, "freed wrongly");
        table.row("pointers within 64 bytes", wrong_pointers(&Scene::new(layout), 64));
        table.row("pointers into long blocks", wrong_pointers(&Scene::of_long_blocks(layout), 300));
        table.row("double frees", double_frees(layout));
        assert!(table.rows.iter().all(|row| row.1.detected == row.1.cases()), "{layout:?}: one was not refused");
        table.hold();
    }
}
