//! A traced heap so simple that it can be seen to be right, and what may be wrong with one.
//!
//! It has one record for each granule, looks for free granules from one end to the other, and marks with a list that
//! grows. With a [`Fault`] planted it does one thing wrong now and then; `tests/traced_faults.rs` runs it with each of
//! them, and the world must notice. So the world's checks are themselves checked.

use crate::faults::Fault;
use crate::heap::{
    Heap, Hooks, KnTracedPin, KnTracedShort, Numbers, Run, KN_FINALISE, KN_LONG_LIVED, KN_NO_SCAN, KN_TRACED_INTERIOR,
    KN_TRACED_STRESS,
};
use crate::setup::{Ground, Setup};
use crate::slots::{Area, Block, Slot};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ptr;

const WORD: usize = size_of::<usize>();

/// The heap.
pub struct Naive {
    areas: RefCell<Vec<Area>>,
    setup: Setup,
    hooks: Hooks,
    collecting: Cell<bool>,
    ending: Cell<bool>,
    locks: Cell<usize>,
    scopes: Cell<usize>,
    lasting: Cell<usize>,
    threshold: Cell<usize>,
    since: Cell<usize>,
    collections: Cell<usize>,
    /// Of each area the first of the open scope's blocks.
    floors: RefCell<BTreeMap<usize, usize>>,
    grey: RefCell<Vec<(usize, usize, usize)>>,
    draining: Cell<bool>,
    ticks: Cell<usize>,
}

impl Naive {
    fn has(&self, fault: Fault) -> bool {
        self.setup.fault == fault
    }

    /// True now and then, if the fault is this one.
    fn now(&self, fault: Fault, every: usize) -> bool {
        if !self.has(fault) {
            return false;
        }
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get().is_multiple_of(every)
    }

    /// The area, the first granule and the block that this is the address of.
    fn head(&self, at: usize) -> Option<(usize, usize, Block)> {
        let areas = self.areas.borrow();
        let (number, slot) = areas.iter().enumerate().find_map(|(n, area)| Some((n, area.slot(at)?)))?;
        let found = areas[number].slots.borrow()[slot];
        let area = &areas[number];
        match found {
            Slot::Head(block) if area.at(slot).addr() == at => Some((number, slot, block)),
            Slot::Tail(back) if self.has(Fault::SizeOfInside) && area.at(slot).addr() == at => {
                let head = area.slots.borrow()[slot - back];
                match head {
                    Slot::Head(block) => Some((number, slot - back, block)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The same for a word that may point inside.
    fn holding(&self, word: usize) -> Option<(usize, usize, Block)> {
        let areas = self.areas.borrow();
        let word = if self.has(Fault::EndHolds) { word.saturating_sub(1) } else { word };
        let (number, slot) = areas.iter().enumerate().find_map(|(n, area)| Some((n, area.slot(word)?)))?;
        let slots = areas[number].slots.borrow();
        let first = match slots[slot] {
            Slot::Free => return None,
            Slot::Head(_) => slot,
            Slot::Tail(back) => slot - back,
        };
        let Slot::Head(block) = slots[first] else { return None };
        let start = areas[number].at(first).addr();
        let exact =
            word == start || self.has(Fault::EndHolds) && word + 1 == start + block.granules * areas[number].granule;
        let interior = self.setup.flags & KN_TRACED_INTERIOR != 0;
        let second = self.has(Fault::InteriorWrong) && slot == first + 1;
        (exact || interior != second).then_some((number, first, block))
    }

    fn put(&self, number: usize, slot: usize, block: Block) {
        self.areas.borrow()[number].slots.borrow_mut()[slot] = Slot::Head(block);
    }

    /// Makes a block's granules free.
    fn vacate(&self, number: usize, slot: usize, granules: usize) {
        let areas = self.areas.borrow();
        let mut slots = areas[number].slots.borrow_mut();
        let granules = if self.now(Fault::Leaks, 9) { granules.max(2) - 1 } else { granules };
        slots[slot..slot + granules].fill(Slot::Free);
    }

    fn occupy(&self, number: usize, slot: usize, block: Block) {
        let areas = self.areas.borrow();
        let mut slots = areas[number].slots.borrow_mut();
        slots[slot] = Slot::Head(block);
        for n in 1..block.granules {
            slots[slot + n] = Slot::Tail(n);
        }
    }

    fn place(&self, size: usize, flags: u32) -> Option<*mut u8> {
        let transient = self.scopes.get() > 0 && self.lasting.get() == 0 && flags & KN_LONG_LIVED == 0;
        let top =
            (transient || self.scopes.get() > 0 && self.has(Fault::LastingOnTop)) && !self.has(Fault::TransientBelow);
        if self.now(Fault::GivesUp, 40) {
            return None;
        }
        let count = if self.has(Fault::IgnoresArea) { 1 } else { self.areas.borrow().len() };
        for number in 0..count {
            let granule = self.areas.borrow()[number].granule;
            let mut granules = size.div_ceil(granule);
            if flags & KN_FINALISE != 0 {
                granules = granules.max(2);
            }
            let gaps = self.areas.borrow()[number].gaps();
            let fits = |(_, length): &&(usize, usize)| *length >= granules;
            let found = if top { gaps.iter().rev().find(fits) } else { gaps.iter().find(fits) };
            let Some(&(first, length)) = found else { continue };
            let mut slot = if top { first + length - granules } else { first };
            if slot > 0 && self.now(Fault::Overlaps, 50) {
                slot -= 1;
            }
            let flags = flags & (KN_FINALISE | KN_NO_SCAN);
            self.occupy(number, slot, Block { granules, requested: size, flags, marked: false, dead: false });
            let at = self.areas.borrow()[number].at(slot);
            if transient {
                let mut floors = self.floors.borrow_mut();
                let floor = floors.entry(number).or_insert(usize::MAX);
                *floor = (*floor).min(at.addr());
            }
            self.since.set(self.since.get() + granules * granule);
            // SAFETY: these granules are free and the area's.
            unsafe {
                at.write_bytes(0, granules * granule);
                if self.now(Fault::Dirty, 20) {
                    at.add(granules * granule - 1).write(1);
                }
                if self.now(Fault::WritesBeside, 50) {
                    let areas = self.areas.borrow();
                    let end = areas[number].arena.start().add(areas[number].arena.bytes());
                    // Unless nobody may touch what is there.
                    if end.addr() % 4096 != 0 {
                        end.write(1);
                    }
                }
            }
            return Some(at);
        }
        None
    }

    fn ask(&self) -> bool {
        self.since.set(0);
        // SAFETY: the hook and its context belong together.
        unsafe { (self.hooks.collect)(self.hooks.context) };
        true
    }

    fn tell(&self, request: usize, flags: u32) {
        if self.has(Fault::TellsNobody) {
            return;
        }
        let numbers = self.numbers().unwrap_or_default();
        let none = KnTracedPin { start: ptr::null(), size: 0, harm: 0 };
        let mut report = KnTracedShort {
            request: if self.has(Fault::ReportsWrong) { request + 1 } else { request },
            free: numbers.free,
            largest: numbers.largest_free,
            flags,
            pin_count: 0,
            pins: [none; 4],
        };
        let mut pins = Vec::new();
        for area in self.areas.borrow().iter() {
            for pair in area.gaps().windows(2) {
                let [(one, length), (other, behind)] = [pair[0], pair[1]];
                let size = (other - one - length) * area.granule;
                let harm = length.min(behind) * area.granule;
                pins.push(KnTracedPin { start: area.at(one + length).cast(), size, harm });
            }
        }
        pins.sort_by_key(|pin| if self.has(Fault::PinsWrong) { pin.harm } else { usize::MAX - pin.harm });
        for (place, pin) in report.pins.iter_mut().zip(pins) {
            *place = pin;
            report.pin_count += 1;
        }
        // SAFETY: the hook and its context belong together.
        unsafe { (self.hooks.on_short)(self.hooks.context, &report) };
    }

    fn mark_word(&self, word: usize) {
        let Some((number, slot, block)) = self.holding(word) else { return };
        if block.marked && !self.now(Fault::TracesTwice, 25) {
            return;
        }
        self.put(number, slot, Block { marked: true, ..block });
        if block.flags & KN_NO_SCAN == 0 || self.has(Fault::ScansFlat) {
            let depth = self.grey.borrow().len();
            if !self.has(Fault::MarksShallow) || depth < 5 {
                self.grey.borrow_mut().push((number, slot, block.granules));
            }
        }
    }

    fn look_into(&self, number: usize, slot: usize, granules: usize) {
        let (at, size) = {
            let areas = self.areas.borrow();
            (areas[number].at(slot), granules * areas[number].granule)
        };
        // SAFETY: a block of this size, initialised.
        let word = |byte: usize| unsafe { at.add(byte).cast::<usize>().read_unaligned() };
        if let Some(trace) = self.hooks.trace {
            // SAFETY: the hook and its context belong together.
            unsafe { trace(self.hooks.context, at.cast(), size) };
            return;
        }
        let mut end = if self.has(Fault::SkipsLastWord) { size - WORD } else { size };
        if self.has(Fault::SkipsFarWords) {
            end = end.min(60 * WORD);
        }
        for byte in (0..end).step_by(WORD) {
            self.mark_word(word(byte));
            // Half a word on: with words of 4 bytes, 4 bytes on would be the next word, which is looked at anyway.
            if self.has(Fault::Misaligned) && byte + WORD + WORD / 2 <= end {
                self.mark_word(word(byte + WORD / 2));
            }
        }
    }

    /// Every block: its area, its first granule, itself.
    fn blocks(&self) -> Vec<(usize, usize, Block)> {
        let mut all = Vec::new();
        for (number, area) in self.areas.borrow().iter().enumerate() {
            for (slot, what) in area.slots.borrow().iter().enumerate() {
                if let Slot::Head(block) = what {
                    all.push((number, slot, *block));
                }
            }
        }
        all
    }

    fn address(&self, number: usize, slot: usize) -> *mut u8 {
        self.areas.borrow()[number].at(slot)
    }

    fn sweep(&self, mut granules: usize) -> bool {
        for (number, slot, block) in self.blocks().into_iter().filter(|(.., block)| block.dead) {
            if granules == 0 {
                return self.has(Fault::StepLies);
            }
            self.vacate(number, slot, block.granules);
            granules = granules.saturating_sub(block.granules);
        }
        true
    }
}

impl Heap for Naive {
    fn create(setup: &Setup, hooks: &Hooks) -> Option<Naive> {
        let granule = if setup.granule == 0 { 16 } else { setup.granule as usize };
        let mut hooks = *hooks;
        if !setup.precise {
            hooks.trace = None;
        }
        let own = |ground: &Ground| match setup.fault {
            Fault::OneGranule => Area::new(&Ground { granule: 0, ..*ground }, granule),
            _ => Area::new(ground, granule),
        };
        Some(Naive {
            areas: RefCell::new(setup.grounds.iter().map(own).collect()),
            setup: setup.clone(),
            hooks,
            collecting: Cell::new(false),
            ending: Cell::new(false),
            locks: Cell::new(0),
            scopes: Cell::new(0),
            lasting: Cell::new(0),
            threshold: Cell::new(setup.threshold),
            since: Cell::new(0),
            collections: Cell::new(0),
            floors: RefCell::default(),
            grey: RefCell::default(),
            draining: Cell::new(false),
            ticks: Cell::new(0),
        })
    }

    fn add_area(&self, ground: &Ground) -> bool {
        let granule = self.areas.borrow()[0].granule;
        self.areas.borrow_mut().push(Area::new(ground, granule));
        true
    }

    fn alloc(&self, size: usize, flags: u32) -> *mut u8 {
        let locked = self.locks.get() > 0 && !self.has(Fault::IgnoresLock);
        if size == 0 || locked || self.collecting.get() && !self.has(Fault::AllocatesInFinaliser) {
            return ptr::null_mut();
        }
        let due = self.threshold.get() != 0 && self.since.get() >= self.threshold.get();
        let stress = self.setup.flags & KN_TRACED_STRESS != 0 && !self.has(Fault::Lazy);
        let mut asked = (stress || due && !self.has(Fault::IgnoresThreshold)) && self.ask();
        loop {
            if let Some(at) = self.place(size, flags) {
                return at;
            }
            self.sweep(usize::MAX);
            if let Some(at) = self.place(size, flags) {
                return at;
            }
            if asked || self.has(Fault::NeverAsks) || !self.ask() {
                break;
            }
            asked = true;
        }
        self.tell(size, flags);
        ptr::null_mut()
    }

    unsafe fn free(&self, block: *mut u8) {
        let closed = self.locks.get() > 0 || self.collecting.get();
        if closed && !self.ending.get() && !self.has(Fault::FreesLocked) {
            return;
        }
        if let Some((number, slot, block)) = self.head(block.addr()) {
            if self.ending.get() && self.has(Fault::LosesFreed) {
                self.put(number, slot, Block { flags: KN_NO_SCAN, marked: true, ..block });
            } else {
                self.vacate(number, slot, block.granules);
            }
        }
    }

    unsafe fn realloc(&self, at: *mut u8, size: usize, moves: bool) -> *mut u8 {
        if at.is_null() {
            return self.alloc(size, 0);
        }
        if self.locks.get() > 0 || self.collecting.get() {
            return ptr::null_mut();
        }
        if size == 0 {
            // SAFETY: the caller's.
            unsafe { self.free(at) };
            return ptr::null_mut();
        }
        let Some((number, slot, block)) = self.head(at.addr()) else { return ptr::null_mut() };
        let granule = self.areas.borrow()[number].granule;
        let mut granules = size.div_ceil(granule);
        if block.flags & KN_FINALISE != 0 {
            granules = granules.max(2);
        }
        let room = self.areas.borrow()[number].gaps().into_iter().find(|(first, _)| *first == slot + block.granules);
        let room = block.granules + room.map_or(0, |(_, length)| length);
        let stays = granules <= block.granules || granules <= room && !(moves && self.has(Fault::MovesAlways));
        if stays {
            let old = block.granules;
            if granules < old {
                self.vacate(number, slot + granules, old - granules);
            }
            self.occupy(number, slot, Block { granules, requested: size, ..block });
            if granules > old {
                self.since.set(self.since.get() + (granules - old) * granule);
                if !self.has(Fault::DirtyGrowth) {
                    // SAFETY: granules that are free and the area's.
                    unsafe { at.add(old * granule).write_bytes(0, (granules - old) * granule) };
                }
            }
            return at;
        }
        if !moves && !self.has(Fault::MovesAlways) {
            return ptr::null_mut();
        }
        let mut flags = block.flags;
        if self.has(Fault::ForgetsFlat) {
            flags &= !KN_NO_SCAN;
        }
        if self.has(Fault::ForgetsFinaliser) {
            flags &= !KN_FINALISE;
        }
        let new = self.alloc(size, flags);
        // It may have gone meanwhile, if the program does not hold it.
        if !new.is_null() {
            let mut bytes = (block.granules * granule).min(self.size(new.addr()));
            if self.has(Fault::CopiesTooLittle) {
                bytes -= WORD;
            }
            // SAFETY: two blocks of at least this size.
            unsafe { new.copy_from_nonoverlapping(at, bytes) };
            self.vacate(number, slot, block.granules);
        }
        new
    }

    fn size(&self, at: usize) -> usize {
        match self.head(at) {
            Some((_, _, block)) if block.dead => 0,
            Some((_, _, block)) if self.has(Fault::SizeAsRequested) => block.requested,
            Some((number, _, block)) => block.granules * self.areas.borrow()[number].granule,
            None => 0,
        }
    }

    fn flags(&self, at: usize) -> u32 {
        match self.head(at) {
            Some((_, _, block)) if self.has(Fault::FlagsWrong) => block.flags | KN_FINALISE,
            Some((_, _, block)) if !block.dead => block.flags,
            _ => 0,
        }
    }

    fn no_scan(&self, at: usize) -> bool {
        let Some((number, slot, block)) = self.head(at).filter(|(.., block)| !block.dead) else { return false };
        if !self.has(Fault::IgnoresNoScan) {
            self.put(number, slot, Block { flags: block.flags | KN_NO_SCAN, ..block });
        }
        true
    }

    fn start(&self) {
        self.sweep(usize::MAX);
        self.collecting.set(true);
        for (number, slot, block) in self.blocks() {
            self.put(number, slot, Block { marked: false, ..block });
        }
    }

    fn mark(&self, words: &[usize]) {
        let words = match words {
            [most @ .., _] if self.has(Fault::SkipsLastRoot) => most,
            _ => words,
        };
        for &word in words {
            self.mark_word(word);
            // The trace hook is here again: it need not go deeper.
            if self.draining.replace(true) {
                continue;
            }
            while let Some((number, slot, granules)) = {
                let next = self.grey.borrow_mut().pop();
                next
            } {
                self.look_into(number, slot, granules);
            }
            self.draining.set(false);
        }
    }

    fn is_marked(&self, at: usize) -> bool {
        let marked = |block: Block| if self.collecting.get() { block.marked } else { !block.dead };
        self.has(Fault::AllMarked) || self.head(at).is_some_and(|(_, _, block)| marked(block))
    }

    fn end(&self) {
        self.ending.set(true);
        let mut blocks = self.blocks();
        if self.now(Fault::Scribbles, 5) {
            if let Some((number, slot, _)) = blocks.iter().find(|(.., block)| block.marked) {
                // SAFETY: a block.
                unsafe { self.address(*number, *slot).add(3).write(0x99) };
            }
        }
        if self.now(Fault::SweepsLive, 8) {
            if let Some((number, slot, block)) = blocks.iter_mut().rev().find(|(.., block)| block.marked) {
                block.marked = false;
                self.put(*number, *slot, *block);
            }
        }
        let mut told = BTreeSet::new();
        for &(number, slot, block) in &blocks {
            let at = self.address(number, slot);
            let here = self.head(at.addr());
            let wrong = self.now(Fault::FinalisesLive, 30);
            if block.flags & KN_FINALISE == 0 || block.marked && !wrong || here.is_none() {
                continue;
            }
            if self.now(Fault::FinalisesNever, 6) {
                continue;
            }
            let times = if self.now(Fault::FinalisesTwice, 6) { 2 } else { 1 };
            for _ in 0..times {
                told.insert(at.addr());
                if self.has(Fault::FinalisesLate) {
                    // SAFETY: a block of at least two granules.
                    unsafe { at.write_bytes(0xdd, 8) };
                }
                // SAFETY: the hook and its context belong together.
                unsafe { (self.hooks.finalise)(self.hooks.context, at.cast()) };
            }
        }
        for (number, slot, block) in self.blocks() {
            if !block.marked && !self.now(Fault::KeepsGarbage, 25) {
                self.put(number, slot, Block { dead: true, ..block });
            }
        }
        if self.setup.slice == 0 {
            self.sweep(usize::MAX);
        }
        self.ending.set(false);
        self.collecting.set(false);
        self.since.set(0);
        self.collections.set(self.collections.get() + 1);
    }

    fn step(&self, granules: usize) -> bool {
        if self.collecting.get() {
            return false;
        }
        self.sweep(granules) && self.blocks().iter().all(|(.., block)| !block.dead) || self.has(Fault::StepLies)
    }

    fn lock(&self) {
        self.locks.set(self.locks.get() + 1);
    }

    fn unlock(&self) {
        self.locks.set(if self.has(Fault::LocksFlat) { 0 } else { self.locks.get().saturating_sub(1) });
    }

    fn is_locked(&self) -> bool {
        self.locks.get() > 0 || self.collecting.get()
    }

    fn scope_begin(&self) {
        self.scopes.set(self.scopes.get() + 1);
    }

    fn scope_end(&self) {
        self.scopes.set(self.scopes.get().saturating_sub(1));
        if self.scopes.get() == 0 {
            self.floors.borrow_mut().clear();
        }
    }

    fn lasting_begin(&self) {
        self.lasting.set(self.lasting.get() + 1);
    }

    fn lasting_end(&self) {
        self.lasting.set(self.lasting.get().saturating_sub(1));
    }

    fn is_transient(&self, at: usize) -> bool {
        let above =
            |(number, ..): (usize, usize, Block)| self.floors.borrow().get(&number).is_some_and(|floor| at >= *floor);
        self.has(Fault::AllTransient) || self.head(at).is_some_and(above)
    }

    fn set_threshold(&self, bytes: usize) {
        self.threshold.set(bytes);
        self.since.set(0);
    }

    fn numbers(&self) -> Result<Numbers, String> {
        let mut numbers = Numbers {
            collections: self.collections.get(),
            scopes: self.scopes.get(),
            since: if self.threshold.get() == 0 { 0 } else { self.since.get() },
            ..Numbers::default()
        };
        for area in self.areas.borrow().iter() {
            numbers.areas += 1;
            numbers.total += area.slots.borrow().len() * area.granule;
            for (_, length) in area.gaps() {
                numbers.free += length * area.granule;
                numbers.largest_free = match self.has(Fault::LargestWrong) {
                    true => length * area.granule,
                    false => numbers.largest_free.max(length * area.granule),
                };
            }
        }
        numbers.used = numbers.total - numbers.free;
        for (number, _, block) in self.blocks() {
            numbers.blocks += 1;
            numbers.one_granule += usize::from(block.granules == 1);
            numbers.two_granules += usize::from(block.granules == 2);
            numbers.largest_block = numbers.largest_block.max(block.granules * self.areas.borrow()[number].granule);
            numbers.unswept += usize::from(block.dead);
            numbers.finalisers += usize::from(block.flags & KN_FINALISE != 0 && !block.dead);
        }
        numbers.blocks += usize::from(self.now(Fault::MiscountsBlocks, 20));
        Ok(numbers)
    }

    fn check(&self) -> Result<(), String> {
        self.areas.borrow().iter().try_for_each(|area| area.arena.check_guards())
    }

    fn walk(&self) -> Result<Vec<Run>, String> {
        let mut runs = Vec::new();
        for area in self.areas.borrow().iter() {
            let slots = area.slots.borrow();
            let mut free = None;
            for (slot, what) in slots.iter().enumerate() {
                let at = area.at(slot).addr();
                match what {
                    Slot::Free if free.is_none() || self.has(Fault::WalkPieces) => {
                        free = Some(runs.len());
                        runs.push(Run { at, size: area.granule, used: false });
                    }
                    Slot::Free => runs[free.unwrap_or(0)].size += area.granule,
                    Slot::Head(block) => {
                        free = None;
                        runs.push(Run { at, size: block.granules * area.granule, used: true });
                    }
                    Slot::Tail(_) => {}
                }
            }
        }
        if self.has(Fault::WalkShort) {
            runs.pop();
        }
        Ok(runs)
    }

    fn holders(&self, at: usize) -> (usize, Vec<(usize, usize)>) {
        let mut found = Vec::new();
        for (number, slot, block) in self.blocks().into_iter().filter(|(.., block)| !block.dead) {
            let start = self.address(number, slot);
            let size = block.granules * self.areas.borrow()[number].granule;
            for byte in (0..size).step_by(WORD) {
                // SAFETY: inside a block, which is initialised.
                if unsafe { start.add(byte).cast::<usize>().read() } == at && block.flags & KN_NO_SCAN == 0 {
                    found.push((start.addr(), start.addr() + byte));
                }
            }
        }
        if self.has(Fault::HoldersShort) {
            found.pop();
        }
        (found.len(), found)
    }

    fn memories(&self) -> Vec<(usize, usize, usize)> {
        let areas = self.areas.borrow();
        let one = |(number, area): (usize, &Area)| {
            let ground = self.setup.grounds.get(number).map_or(0, |ground| ground.granule as usize);
            let granule = if ground == 0 { area.granule } else { ground };
            (area.arena.start().addr(), area.arena.bytes(), granule)
        };
        areas.iter().enumerate().map(one).collect()
    }

    fn complaint(&self) -> Option<String> {
        None
    }
}
