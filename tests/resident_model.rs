//! Always-active cells and blocks against a naive model: what GC_assign refuses, what the whole-heap check finds, and
//! the chains that it tells.
//!
//! `KNOLL_OPS` sets the number of operations, `KNOLL_SEED` where they begin. What is compared:
//! * GC_assign refuses exactly the references from a resident cell to one that is not; a refusal changes nothing and
//!   is told once, with the slot.
//! * kn_resident_check finds exactly the references that raw stores brought about, in cells and in blocks.
//! * Each chain that it tells is one that there is, and begins where no resident cell holds it, if there is such a
//!   cell among those that lead there.
//! * Cells and blocks keep their contents; at the end nothing is left.

use knoll::capi::errors::kn_on_error;
use knoll::capi::resident::{kn_resident_alloc_named, kn_resident_check, kn_resident_free, kn_resident_realloc};
use knoll::counted::{self, Counted, KnType, KN_TYPE_ARRAY, KN_TYPE_RESIDENT};
use knoll::heap::{KnHeap, KnHeapConfig, KnLayout, KnStatus};
use knoll_shadow::layouts;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_char, c_void, CStr};

const WORD: usize = size_of::<usize>();
/// Slots of the fixed kinds.
const FIXED: usize = 3;

thread_local! {
    static TOLD: RefCell<Vec<(KnStatus, usize)>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn told(status: KnStatus, at: *const c_void, _what: *const c_char) {
    TOLD.with_borrow_mut(|told| told.push((status, at.addr())));
}

/// What was told since the last question.
fn reports() -> Vec<(KnStatus, usize)> {
    TOLD.with_borrow_mut(std::mem::take)
}

/// The kinds of cells: small, large and of varying size, each resident or not.
const NAMES: [&CStr; 6] = [c"Small", c"Large", c"Row", c"ActiveSmall", c"ActiveLarge", c"ActiveRow"];
const FIELDS: [&CStr; FIXED] = [c"one", c"two", c"three"];

static OFFSETS: [u32; FIXED] = [0, WORD as u32, 2 * WORD as u32];

struct FieldNames([*const c_char; FIXED]);
// SAFETY: names are only read.
unsafe impl Sync for FieldNames {}
static FIELD_NAMES: FieldNames = FieldNames([FIELDS[0].as_ptr(), FIELDS[1].as_ptr(), FIELDS[2].as_ptr()]);

struct Kinds {
    types: Vec<KnType>,
}

impl Kinds {
    fn new() -> Kinds {
        let types = (0..6).map(|n| {
            let array = n % 3 == 2;
            let flags = if n >= 3 { KN_TYPE_RESIDENT } else { 0 } | if array { KN_TYPE_ARRAY } else { 0 };
            KnType {
                name: NAMES[n].as_ptr(),
                size: if n % 3 == 1 { 100 * WORD as u32 } else { (FIXED * WORD) as u32 },
                flags,
                ref_count: FIXED as u32,
                ref_offsets: OFFSETS.as_ptr(),
                ref_names: FIELD_NAMES.0.as_ptr(),
                ..KnType::PLAIN
            }
        });
        Kinds { types: types.collect() }
    }
}

/// A cell as the model has it.
struct Cell {
    at: *mut u8,
    kind: usize,
    slots: Vec<Option<usize>>,
    /// References of the test's own.
    held: usize,
}

impl Cell {
    fn resident(&self) -> bool {
        self.kind >= 3
    }

    fn slot(&self, n: usize) -> *mut *mut u8 {
        self.at.cast::<*mut u8>().wrapping_add(n)
    }

    fn slot_name(&self, n: usize) -> String {
        let kind = NAMES[self.kind].to_str().unwrap();
        match FIELDS.get(n) {
            Some(field) => format!("{kind}.{}", field.to_str().unwrap()),
            None => format!("{kind}[{}]", n - FIXED),
        }
    }
}

struct Block {
    at: *mut usize,
    words: Vec<usize>,
}

struct World {
    heap: *mut KnHeap,
    state: *mut Counted,
    ids: Vec<u32>,
    cells: BTreeMap<usize, Cell>,
    blocks: Vec<Block>,
    next: usize,
    random: u64,
    counts: Counts,
}

#[derive(Default, Debug)]
struct Counts {
    refused: usize,
    stored: usize,
    lines: usize,
    long: usize,
    block_lines: usize,
    clean: usize,
}

impl World {
    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.random >> 33) as usize) % limit.max(1)
    }

    /// A cell that the test may touch.
    fn any(&mut self) -> Option<usize> {
        let reached: Vec<usize> = self.reached().into_iter().collect();
        (!reached.is_empty()).then(|| reached[self.below(reached.len())])
    }

    fn reached(&self) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut pending: Vec<usize> = self.cells.iter().filter(|(_, cell)| cell.held > 0).map(|(&id, _)| id).collect();
        while let Some(id) = pending.pop() {
            if reached.insert(id) {
                pending.extend(self.cells[&id].slots.iter().flatten());
            }
        }
        reached
    }

    fn step(&mut self) {
        match self.below(20) {
            0..=4 => self.make(),
            5..=11 => self.assign(),
            12..=13 => self.let_go(),
            14 => self.store(),
            15 => self.mend(),
            16 => self.block(),
            17 => self.write_block(),
            _ => self.verify(),
        }
    }

    fn make(&mut self) {
        let kind = self.below(6);
        let more = if kind % 3 == 2 { [0, 1, 4, 70][self.below(4)] } else { 0 };
        let bytes = (FIXED + more) * WORD;
        // SAFETY: a live state, and one of its types.
        let at = unsafe { Counted::new_sized(self.state, self.ids[kind], if more == 0 { 0 } else { bytes }) };
        if at.is_null() {
            return;
        }
        // SAFETY: a living cell.
        let words = unsafe { counted::size_of_cell(at) } / WORD;
        let slots = if kind % 3 == 2 { words } else { FIXED };
        self.cells.insert(self.next, Cell { at, kind, slots: vec![None; slots], held: 1 });
        self.next += 1;
    }

    fn assign(&mut self) {
        let (Some(holder), Some(child)) = (self.any(), self.any()) else { return };
        let child = (self.below(5) != 0).then_some(child);
        let n = self.below(self.cells[&holder].slots.len());
        let slot = self.cells[&holder].slot(n);
        let refused = self.cells[&holder].resident() && child.is_some_and(|child| !self.cells[&child].resident());
        let target = child.map_or(std::ptr::null_mut(), |child| self.cells[&child].at);
        // SAFETY: a slot of a living cell, and a living cell or null.
        unsafe {
            let before = slot.read();
            counted::assign(slot, target);
            assert_eq!(slot.read(), if refused { before } else { target });
        }
        if refused {
            assert_eq!(reports(), [(KnStatus::Resident, slot.addr())]);
            self.counts.refused += 1;
        } else {
            assert_eq!(reports(), []);
            self.cells.get_mut(&holder).unwrap().slots[n] = child;
        }
    }

    fn let_go(&mut self) {
        let held: Vec<usize> = self.cells.iter().filter(|(_, cell)| cell.held > 0).map(|(&id, _)| id).collect();
        if held.len() > 6 {
            let id = held[self.below(held.len())];
            let cell = self.cells.get_mut(&id).unwrap();
            cell.held -= 1;
            // SAFETY: a reference of the test's.
            unsafe { counted::release(cell.at) };
        }
    }

    /// What a program does that does not use GC_assign.
    fn store(&mut self) {
        let (Some(holder), Some(child)) = (self.any(), self.any()) else { return };
        let n = self.below(self.cells[&holder].slots.len());
        if self.cells[&holder].slots[n].is_some() {
            return;
        }
        // SAFETY: as in assign.
        unsafe { self.cells[&holder].slot(n).write(counted::add_ref(self.cells[&child].at)) };
        let wrong = self.cells[&holder].resident() && !self.cells[&child].resident();
        self.counts.stored += usize::from(wrong);
        self.cells.get_mut(&holder).unwrap().slots[n] = Some(child);
    }

    /// Puts a wrong reference right.
    fn mend(&mut self) {
        for (holder, n) in self.violations() {
            if self.below(2) == 0 {
                // SAFETY: as in assign.
                unsafe { counted::assign(self.cells[&holder].slot(n), std::ptr::null_mut()) };
                self.cells.get_mut(&holder).unwrap().slots[n] = None;
            }
        }
        assert_eq!(reports(), []);
    }

    fn block(&mut self) {
        let words = self.below(40);
        // SAFETY: blocks of the heap.
        unsafe {
            if self.blocks.len() < 4 {
                let at = kn_resident_alloc_named(self.heap, words * WORD, c"table".as_ptr()).cast::<usize>();
                if !at.is_null() {
                    self.blocks.push(Block { at, words: vec![0; words] });
                }
            } else if self.below(2) == 0 {
                let n = self.below(self.blocks.len());
                let at = kn_resident_realloc(self.heap, self.blocks[n].at.cast(), words * WORD).cast::<usize>();
                if !at.is_null() {
                    self.blocks[n].words.resize(words, 0);
                    self.blocks[n].at = at;
                }
            } else {
                let n = self.below(self.blocks.len());
                let at = self.blocks.swap_remove(n).at.cast();
                kn_resident_free(self.heap, at);
                assert_eq!(reports(), []);
                kn_resident_free(self.heap, at);
                assert_eq!(reports(), [(KnStatus::Foreign, at.addr())]);
            }
        }
    }

    fn write_block(&mut self) {
        let child = self.any();
        let (n, what) = (self.below(4), self.below(4));
        let value = match (what, child) {
            (0, Some(child)) => self.cells[&child].at.addr(),
            (1, Some(child)) => self.cells[&child].at.addr() + WORD,
            _ => what,
        };
        let Some(words) = self.blocks.get(n).map(|block| block.words.len()) else { return };
        if words > 0 {
            let index = self.below(words);
            self.blocks[n].words[index] = value;
            // SAFETY: a word of the block.
            unsafe { self.blocks[n].at.add(index).write(value) };
        }
    }

    /// Slots of resident cells that refer to others.
    fn violations(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for id in self.reached() {
            let cell = &self.cells[&id];
            for (n, child) in cell.slots.iter().enumerate() {
                if cell.resident() && child.is_some_and(|child| !self.cells[&child].resident()) {
                    found.push((id, n));
                }
            }
        }
        found
    }

    fn verify(&mut self) {
        // SAFETY: the state is live; no callback is under way.
        unsafe {
            Counted::collect(self.state);
            assert_eq!(Counted::check(self.state), KnStatus::Ok);
            assert_eq!(KnHeap::check(self.heap), KnStatus::Ok);
        }
        let reached = self.reached();
        self.cells.retain(|id, _| reached.contains(id));
        // SAFETY: as above.
        assert_eq!(unsafe { Counted::stats(self.state) }.cells, self.cells.len());
        for cell in self.cells.values() {
            for (n, child) in cell.slots.iter().enumerate() {
                // SAFETY: a slot of a living cell.
                let found = unsafe { cell.slot(n).read() };
                assert_eq!(found, child.map_or(std::ptr::null_mut(), |child| self.cells[&child].at));
            }
        }
        for block in &self.blocks {
            // SAFETY: the block holds as many words.
            let found: Vec<usize> = (0..block.words.len()).map(|n| unsafe { block.at.add(n).read() }).collect();
            assert_eq!(found, block.words);
        }
        self.verify_check();
        assert_eq!(reports(), []);
    }

    fn verify_check(&mut self) {
        let text = self.check();
        let mut expected: Vec<(String, usize)> = Vec::new();
        for (id, n) in self.violations() {
            let cell = &self.cells[&id];
            expected.push((cell.slot_name(n), self.cells[&cell.slots[n].unwrap()].at.addr()));
        }
        for block in &self.blocks {
            for (n, &word) in block.words.iter().enumerate() {
                let hit = |cell: &&Cell| {
                    // SAFETY: a living cell.
                    let bytes = unsafe { counted::size_of_cell(cell.at) };
                    !cell.resident() && (cell.at.addr()..cell.at.addr() + bytes).contains(&word)
                };
                if let Some(cell) = self.cells.values().find(hit) {
                    expected.push((format!("block \"table\"+{}", n * WORD), cell.at.addr()));
                    self.counts.block_lines += 1;
                }
            }
        }
        let mut found = Vec::new();
        for line in text.lines() {
            let (names, rest) = line.rsplit_once(": not resident, at 0x").unwrap_or_else(|| panic!("{line}"));
            let address = usize::from_str_radix(rest, 16).unwrap();
            let links: Vec<&str> = names.split(" -> ").collect();
            let (&target, links) = links.split_last().unwrap();
            let child = self.cells.iter().find(|(_, cell)| cell.at.addr() == address);
            let (child, cell) = child.unwrap_or_else(|| panic!("no cell: {line}"));
            assert_eq!(target, NAMES[cell.kind].to_str().unwrap(), "{line}");
            found.push((links.last().unwrap().to_string(), address));
            if !links[0].starts_with("block") {
                self.verify_chain(*child, links, line);
                self.counts.lines += 1;
                self.counts.long += usize::from(links.len() > 2);
            }
        }
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{text}");
        // SAFETY: the heap is live.
        let silent = unsafe { kn_resident_check(self.heap, None, std::ptr::null_mut()) };
        assert_eq!(silent, if found.is_empty() { KnStatus::Ok } else { KnStatus::Resident });
        self.counts.clean += usize::from(found.is_empty());
    }

    /// What the check writes; its answer must fit.
    fn check(&self) -> String {
        unsafe extern "C" fn take(context: *mut c_void, text: *const c_char, length: usize) -> usize {
            // SAFETY: the context is the string below; the text is as long.
            unsafe {
                let piece = std::slice::from_raw_parts(text.cast::<u8>(), length);
                (*context.cast::<String>()).push_str(std::str::from_utf8(piece).unwrap());
            }
            length
        }
        let mut text = String::new();
        // SAFETY: the heap is live; the writer touches no cell.
        let status = unsafe { kn_resident_check(self.heap, Some(take), (&raw mut text).cast()) };
        assert_eq!(status, if text.is_empty() { KnStatus::Ok } else { KnStatus::Resident });
        text
    }

    /// Residents that hold a cell, with the slot's name.
    fn holders(&self, child: usize) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (&id, cell) in self.cells.iter().filter(|(_, cell)| cell.resident()) {
            for (n, slot) in cell.slots.iter().enumerate() {
                if *slot == Some(child) {
                    found.push((id, cell.slot_name(n)));
                }
            }
        }
        found
    }

    fn verify_chain(&self, child: usize, links: &[&str], line: &str) {
        let mut at = BTreeSet::from([child]);
        let mut ancestors = BTreeSet::new();
        for link in links.iter().rev() {
            let before = at.iter().flat_map(|&child| self.holders(child));
            at = before.filter(|(_, name)| name == link).map(|(id, _)| id).collect();
            assert!(!at.is_empty(), "no such chain: {line}");
        }
        let mut pending: Vec<usize> = at.iter().copied().collect();
        while let Some(id) = pending.pop() {
            if ancestors.insert(id) {
                pending.extend(self.holders(id).into_iter().map(|(id, _)| id));
            }
        }
        let is_top = |id: &usize| self.holders(*id).is_empty();
        let begins = at.iter().any(is_top) || !ancestors.iter().any(is_top);
        assert!(begins, "it begins in the middle: {line}");
    }
}

fn run(layout: KnLayout, bytes: usize, seed: u64, operations: usize) -> Counts {
    let kinds = Kinds::new();
    let mut memory = vec![0u64; bytes / 8];
    let config = KnHeapConfig { layout, flags: 0 };
    // SAFETY: the memory is the test's, and outlives the heap; hooks and types too.
    unsafe {
        kn_on_error(Some(told));
        let heap = KnHeap::create(memory.as_mut_ptr().cast(), bytes, &config);
        let state = Counted::of(heap);
        let ids = kinds.types.iter().map(|kind| Counted::register(state, kind)).collect();
        let mut world = World {
            heap,
            state,
            ids,
            cells: BTreeMap::new(),
            blocks: Vec::new(),
            next: 0,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            counts: Counts::default(),
        };
        for _ in 0..operations {
            world.step();
        }
        world.verify();
        for cell in world.cells.values() {
            for _ in 0..cell.held {
                counted::release(cell.at);
            }
        }
        for block in &world.blocks {
            kn_resident_free(heap, block.at.cast());
        }
        assert!(Counted::retire(state), "cells are left");
        let mut stats = Default::default();
        KnHeap::stats(heap, &mut stats);
        assert_eq!((stats.used, stats.blocks), (0, 0));
        world.counts
    }
}

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn always_active_data_follows_its_model() {
    let operations = setting("KNOLL_OPS", if cfg!(miri) { 240 } else { 60_000 });
    let first = setting("KNOLL_SEED", 1);
    let length = if cfg!(miri) { 120 } else { 600 };
    let layouts: Vec<KnLayout> = layouts!().collect();
    let mut sum = Counts::default();
    for number in 0..operations.div_ceil(length) {
        let seed = first + number;
        let bytes = if cfg!(miri) || seed % 3 == 0 { 24 * 1024 } else { 120_000 };
        let counts = run(layouts[seed % layouts.len()], bytes, seed as u64, length);
        sum.refused += counts.refused;
        sum.stored += counts.stored;
        sum.lines += counts.lines;
        sum.long += counts.long;
        sum.block_lines += counts.block_lines;
        sum.clean += counts.clean;
    }
    println!("{operations} operations from seed {first}: {sum:?}");
    assert!(sum.refused > 0 && (cfg!(miri) || sum.lines > 0 && sum.long > 0 && sum.block_lines > 0 && sum.clean > 0));
}

/// Over the process heap each thread has its own cells and blocks, and checks those.
#[test]
#[cfg(unix)]
fn each_thread_checks_what_is_its_own() {
    use knoll::capi::counted::{GC_assign, GC_new, GC_ref, GC_registerType, GC_unref};
    use knoll::capi::default::kn_heap_default;
    if cfg!(miri) {
        // The process heap asks the system for memory.
        return;
    }
    /// Types of the process heap live as long as it does.
    struct Forever(&'static Kinds);
    // SAFETY: descriptors are only read.
    unsafe impl Sync for Forever {}
    let kinds = Forever(Box::leak(Box::new(Kinds::new())));
    let threads = 3;
    std::thread::scope(|scope| {
        for wrong in 0..threads {
            let kinds = &kinds;
            scope.spawn(move || {
                let types = &{ kinds }.0.types;
                // SAFETY: this thread's cells and blocks; the types live for ever.
                unsafe {
                    kn_on_error(Some(told));
                    let heap = kn_heap_default();
                    let (other, resident) = (GC_registerType(&types[0]), GC_registerType(&types[3]));
                    let (leaf, table) = (GC_new(other), GC_new(resident).cast::<*mut c_void>());
                    let block = kn_resident_alloc_named(heap, 4 * WORD, c"own".as_ptr()).cast::<*mut c_void>();
                    GC_assign(table, leaf);
                    assert_eq!(reports(), [(KnStatus::Resident, table.addr())]);
                    assert_eq!(kn_resident_check(heap, None, std::ptr::null_mut()), KnStatus::Ok);
                    match wrong {
                        0 => table.write(GC_ref(leaf)),
                        1 => block.write(leaf),
                        _ => {}
                    }
                    let expected = if wrong < 2 { KnStatus::Resident } else { KnStatus::Ok };
                    assert_eq!(kn_resident_check(heap, None, std::ptr::null_mut()), expected);
                    GC_assign(table, std::ptr::null_mut());
                    GC_unref(table.cast());
                    GC_unref(leaf);
                    assert_eq!(kn_resident_check(heap, None, std::ptr::null_mut()), KnStatus::Ok);
                    kn_resident_free(heap, block.cast());
                    assert_eq!(reports(), []);
                }
            });
        }
    });
}
