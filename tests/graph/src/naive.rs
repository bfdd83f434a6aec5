//! A collector so simple that it can be seen to be right, and what may be wrong with one.
//!
//! It has no colours, roots, slices or budgets: it knows every cell, and a collection asks of each
//! cyclic one whether the program or an acyclic cell holds it, or a cell that is held. With a [`Fault`]
//! planted it does one thing wrong now and then; `tests/counted_faults.rs` runs it with each of them,
//! and the world must notice. So the world's checks are themselves checked.

use crate::collector::{Collector, KnGcConfig, KnTracer, KnType, Numbers, KN_GC_ARC, KN_TYPE_ARRAY};
use crate::kinds::{KINDS, SHARED};
use crate::plan::Setup;
use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::c_void;
use std::ptr;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// A collection overlooks some of the garbage.
    OverlooksGarbage,
    /// The destroy callback of a cell in fifty is called twice.
    DestroysTwice,
    /// And not at all.
    DestroysNever,
    /// Cells in cycles are destroyed with their references still there.
    KeepsEdges,
    /// References to acyclic cells are cleared before destruction, too.
    ClearsAcyclic,
    /// What garbage referred to and what lives on keeps the count.
    KeepsCounts,
    /// A cell's reference to itself is taken for two.
    CountsTwice,
    /// What has one reference from outside is taken for garbage.
    FreesHeld,
    /// Between slices a count is one less.
    ShowsTrialCounts,
    /// Cells of count zero wait for the next one.
    Late,
    /// New cells are not all zero.
    Dirty,
    /// Cycles are collected though only counting is asked for.
    CollectsInArc,
    /// The memory of a cell in fifty is not given back.
    LosesMemory,
    /// A collection writes into a cell that lives on.
    Scribbles,
    /// What is acyclic and hangs off a cycle is not released.
    LosesTail,
    /// `take` leaves the pointer where it was.
    TakeLeaves,
    /// `assign` releases the old before it counts the new.
    AssignsInWrongOrder,
    /// Roots are left after a full collection.
    LeavesRoots,
    /// A release of a cell in fifty is forgotten.
    ForgetsRelease,
    /// The type of a cell is told wrong.
    MistakesType,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 20] = [
        Fault::OverlooksGarbage,
        Fault::DestroysTwice,
        Fault::DestroysNever,
        Fault::KeepsEdges,
        Fault::ClearsAcyclic,
        Fault::KeepsCounts,
        Fault::CountsTwice,
        Fault::FreesHeld,
        Fault::ShowsTrialCounts,
        Fault::Late,
        Fault::Dirty,
        Fault::CollectsInArc,
        Fault::LosesMemory,
        Fault::Scribbles,
        Fault::LosesTail,
        Fault::TakeLeaves,
        Fault::AssignsInWrongOrder,
        Fault::LeavesRoots,
        Fault::ForgetsRelease,
        Fault::MistakesType,
    ];
}

/// What is known of a cell beside its payload.
#[derive(Clone, Copy)]
struct Record {
    at: *mut u8,
    count: u32,
    kind: usize,
    bytes: usize,
}

/// See the head of this file.
pub struct Naive {
    fault: Fault,
    types: RefCell<Vec<*const KnType>>,
    cells: RefCell<BTreeMap<usize, Record>>,
    /// Cells of count zero.
    queue: RefCell<VecDeque<*mut u8>>,
    /// A callback may be running: nothing is destroyed in it.
    busy: Cell<bool>,
    config: Cell<(u32, u32)>,
    enabled: Cell<bool>,
    releases: Cell<u32>,
    allocations: Cell<usize>,
    chances: Cell<u32>,
    /// The cell whose count is shown wrong.
    shown: Cell<usize>,
    /// Cells that were destroyed too early.
    early: RefCell<BTreeSet<usize>>,
}

/// What a trace callback fills.
type Slots = Vec<*mut *mut u8>;

impl Naive {
    /// One time in `n`, if this fault is planted.
    fn errs(&self, fault: Fault, n: u32) -> bool {
        self.chances.set(self.chances.get() + u32::from(self.fault == fault));
        self.fault == fault && self.chances.get().is_multiple_of(n)
    }

    fn record(&self, cell: *mut u8) -> Record {
        self.cells.borrow()[&cell.addr()]
    }

    fn add(&self, cell: *mut u8, change: i32) -> u32 {
        let mut cells = self.cells.borrow_mut();
        let record = cells.get_mut(&cell.addr()).expect("a cell");
        record.count = record.count.checked_add_signed(change).expect("a count");
        record.count
    }

    /// The slots of a cell.
    fn slots(&self, cell: *mut u8) -> Slots {
        let Record { kind, bytes, .. } = self.record(cell);
        let descriptor = self.types.borrow()[kind];
        let mut slots = Slots::new();
        // SAFETY: the descriptor lives as long as the collector; offsets lie in the payload.
        unsafe {
            let descriptor = &*descriptor;
            for i in 0..descriptor.ref_count as usize {
                slots.push(cell.add(descriptor.ref_offsets.add(i).read() as usize).cast());
            }
            if descriptor.flags & KN_TYPE_ARRAY != 0 {
                let array = descriptor.size as usize..bytes;
                slots.extend(array.step_by(size_of::<*mut u8>()).map(|offset| cell.add(offset).cast::<*mut u8>()));
            }
            if let Some(trace) = descriptor.trace {
                trace(cell.cast(), ptr::from_mut(&mut slots).cast());
            }
        }
        slots
    }

    /// Destroys what waits, and what that leaves without references.
    fn work_off(&self) {
        if self.busy.replace(true) {
            return;
        }
        if !(self.fault == Fault::Late && self.queue.borrow().len() < 2) {
            self.destroy_waiting();
        }
        self.busy.set(false);
    }

    fn destroy_waiting(&self) {
        loop {
            let Some(cell) = self.queue.borrow_mut().pop_front() else { return };
            self.empty(cell);
            if self.record(cell).count > 0 {
                continue;
            }
            let Record { bytes, .. } = self.cells.borrow_mut().remove(&cell.addr()).expect("a cell");
            if !self.errs(Fault::LosesMemory, 50) {
                self.allocations.set(self.allocations.get() - 1);
            }
            // SAFETY: allocated with this layout.
            unsafe { dealloc(cell, layout(bytes)) };
        }
    }

    /// The destroy callback, then the children are released.
    fn empty(&self, cell: *mut u8) {
        let early = self.early.borrow_mut().remove(&cell.addr());
        if !early && !self.errs(Fault::DestroysNever, 50) {
            self.call_destroy(cell);
        }
        if self.errs(Fault::DestroysTwice, 50) {
            self.call_destroy(cell);
        }
        for slot in self.slots(cell) {
            // SAFETY: slots of a cell hold null or cells.
            self.drop_one(unsafe { slot.replace(ptr::null_mut()) });
        }
    }

    fn call_destroy(&self, cell: *mut u8) {
        let descriptor = self.types.borrow()[self.record(cell).kind];
        // SAFETY: the descriptor lives; the callback is of this type.
        unsafe {
            if let Some(destroy) = (*descriptor).destroy {
                destroy(cell.cast::<c_void>());
            }
        }
    }

    fn drop_one(&self, cell: *mut u8) {
        if !cell.is_null() && self.add(cell, -1) == 0 {
            self.queue.borrow_mut().push_back(cell);
        }
    }

    /// Cyclic cells that nothing else holds.
    fn garbage(&self) -> Vec<*mut u8> {
        let all: Vec<Record> = self.cells.borrow().values().copied().filter(|cell| !KINDS[cell.kind].acyclic).collect();
        let mut inside: BTreeMap<usize, u32> = BTreeMap::new();
        let mut edges: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for cell in &all {
            for slot in self.slots(cell.at) {
                // SAFETY: a slot of a live cell.
                let child = unsafe { slot.read() }.addr();
                if child != 0 {
                    let twice = self.fault == Fault::CountsTwice && child == cell.at.addr();
                    *inside.entry(child).or_default() += 1 + u32::from(twice);
                    edges.entry(cell.at.addr()).or_default().push(child);
                }
            }
        }
        let slack = u32::from(self.errs(Fault::FreesHeld, 5));
        let held = |cell: &&Record| cell.count > inside.get(&cell.at.addr()).copied().unwrap_or(0) + slack;
        let mut open: Vec<usize> = all.iter().filter(held).map(|cell| cell.at.addr()).collect();
        let mut kept: BTreeSet<usize> = open.iter().copied().collect();
        while let Some(at) = open.pop() {
            for &child in edges.get(&at).into_iter().flatten() {
                if kept.insert(child) {
                    open.push(child);
                }
            }
        }
        all.iter().map(|cell| cell.at).filter(|at| !kept.contains(&at.addr())).collect()
    }

    fn run(&self) {
        let arc = self.config.get().0 & KN_GC_ARC != 0;
        if arc && self.fault != Fault::CollectsInArc || self.busy.replace(true) {
            return;
        }
        // Some faults would go on for ever.
        for _ in 0..1000 {
            self.destroy_waiting();
            let garbage = self.garbage();
            if garbage.is_empty() || self.errs(Fault::OverlooksGarbage, 3) {
                break;
            }
            let members: BTreeSet<usize> = garbage.iter().map(|cell| cell.addr()).collect();
            // One reference of our own keeps each until its turn.
            for &cell in &garbage {
                self.add(cell, 1);
            }
            for &cell in &garbage {
                if self.fault == Fault::KeepsEdges {
                    self.early.borrow_mut().insert(cell.addr());
                    self.call_destroy(cell);
                }
                for slot in self.slots(cell) {
                    self.clear(slot, &members);
                }
            }
            for cell in garbage {
                self.drop_one(cell);
            }
            self.destroy_waiting();
        }
        if self.errs(Fault::Scribbles, 5) {
            if let Some(record) = self.cells.borrow().values().next() {
                // SAFETY: the payload has 8 bytes.
                unsafe { *record.at.add(4) ^= 1 };
            }
        }
        self.busy.set(false);
    }

    /// Removes a reference from a cell that is garbage.
    fn clear(&self, slot: *mut *mut u8, garbage: &BTreeSet<usize>) {
        // SAFETY: a slot of a cell that is still there.
        let child = unsafe { slot.read() };
        if child.is_null() {
            return;
        }
        let acyclic = KINDS[self.record(child).kind].acyclic;
        if acyclic && self.errs(Fault::LosesTail, 3) {
            // SAFETY: as above.
            return unsafe { slot.write(ptr::null_mut()) };
        }
        if acyclic && self.fault != Fault::ClearsAcyclic {
            return;
        }
        // SAFETY: as above.
        unsafe { slot.write(ptr::null_mut()) };
        if garbage.contains(&child.addr()) || !self.errs(Fault::KeepsCounts, 2) {
            self.drop_one(child);
        }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("layout")
}

impl Collector for Naive {
    fn create(setup: &Setup) -> Option<Naive> {
        Some(Naive {
            fault: setup.fault,
            types: RefCell::default(),
            cells: RefCell::default(),
            queue: RefCell::default(),
            busy: Cell::new(false),
            config: Cell::new((0, 128)),
            enabled: Cell::new(true),
            releases: Cell::new(0),
            allocations: Cell::new(0),
            chances: Cell::new(0),
            shown: Cell::new(0),
            early: RefCell::default(),
        })
    }

    unsafe fn register(&self, descriptor: *const KnType) -> u32 {
        self.types.borrow_mut().push(descriptor);
        self.types.borrow().len() as u32
    }

    unsafe fn new_cell(&self, kind: u32) -> *mut u8 {
        let descriptor = self.types.borrow()[kind as usize - 1];
        // SAFETY: the descriptor lives; the type is registered.
        unsafe { self.new_sized(kind, (*descriptor).size as usize) }
    }

    unsafe fn new_sized(&self, kind: u32, bytes: usize) -> *mut u8 {
        // SAFETY: no payload is empty.
        let at = unsafe { alloc_zeroed(layout(bytes)) };
        assert!(!at.is_null());
        if self.errs(Fault::Dirty, 20) {
            // SAFETY: inside the payload.
            unsafe { at.add(bytes - 1).write(1) };
        }
        self.allocations.set(self.allocations.get() + 1);
        self.cells.borrow_mut().insert(at.addr(), Record { at, count: 1, kind: kind as usize - 1, bytes });
        at
    }

    unsafe fn add_ref(&self, cell: *mut u8) {
        self.add(cell, 1);
    }

    unsafe fn release(&self, cell: *mut u8) {
        if self.errs(Fault::ForgetsRelease, 50) {
            return;
        }
        self.drop_one(cell);
        self.work_off();
        self.releases.set(self.releases.get() + 1);
        if self.releases.get() >= self.config.get().1 && self.enabled.get() {
            self.releases.set(0);
            self.run();
        }
    }

    unsafe fn assign(&self, slot: *mut *mut u8, cell: *mut u8) {
        // SAFETY: a slot of a live cell or a variable.
        let old = unsafe { slot.replace(cell) };
        let early = self.fault == Fault::AssignsInWrongOrder;
        if !cell.is_null() && !early {
            self.add(cell, 1);
        }
        if !old.is_null() {
            // SAFETY: the slot had a reference.
            unsafe { self.release(old) };
        }
        if !cell.is_null() && early && self.cells.borrow().contains_key(&cell.addr()) {
            self.add(cell, 1);
        }
    }

    unsafe fn take(&self, slot: *mut *mut u8) -> *mut u8 {
        // SAFETY: a slot of a live cell or a variable.
        let old = unsafe { slot.replace(ptr::null_mut()) };
        if self.errs(Fault::TakeLeaves, 2) {
            // SAFETY: as above.
            unsafe { slot.write(old) };
        }
        old
    }

    unsafe fn drop_reuse(&self, cell: *mut u8) -> *mut u8 {
        if self.record(cell).count != 1 {
            // SAFETY: the caller's.
            unsafe { self.release(cell) };
            return ptr::null_mut();
        }
        let outer = self.busy.replace(true);
        self.empty(cell);
        self.busy.set(outer);
        self.work_off();
        // SAFETY: the payload is as long; nobody refers to it.
        unsafe { cell.write_bytes(0, self.record(cell).bytes) };
        cell
    }

    unsafe fn count(&self, cell: *mut u8) -> u32 {
        let count = self.record(cell).count;
        count - u32::from(self.shown.get() == cell.addr() && count > 1)
    }

    unsafe fn size(&self, cell: *mut u8) -> usize {
        self.record(cell).bytes
    }

    unsafe fn kind_of(&self, cell: *mut u8) -> u32 {
        // What is no cell has no type.
        let known = self.cells.borrow().get(&cell.addr()).map_or(0, |record| record.kind as u32 + 1);
        known + u32::from(self.errs(Fault::MistakesType, 50))
    }

    unsafe fn visit(tracer: *mut KnTracer, slot: *mut *mut u8) {
        // SAFETY: `slots` passed it.
        unsafe { (*tracer.cast::<Slots>()).push(slot) };
    }

    fn collect(&self) {
        self.enabled.set(true);
        self.run();
    }

    fn partial(&self, limit: usize) {
        if limit == 0 {
            self.run();
        }
    }

    fn roots(&self) -> usize {
        usize::from(self.fault == Fault::LeavesRoots)
    }

    fn enable(&self) {
        self.enabled.set(true);
    }

    fn disable(&self) {
        self.enabled.set(false);
    }

    fn step(&self, _budget: usize) -> bool {
        if self.fault == Fault::ShowsTrialCounts && self.shown.get() == 0 {
            let cells = self.cells.borrow();
            self.shown.set(cells.values().find(|cell| cell.count > 1).map_or(0, |cell| cell.at.addr()));
            return false;
        }
        self.shown.set(0);
        self.run();
        true
    }

    fn configure(&self, config: &KnGcConfig) -> Result<(), String> {
        self.config.set((config.flags, if config.threshold == 0 { 128 } else { config.threshold }));
        Ok(())
    }

    fn complaint(&self) -> Option<String> {
        None
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn numbers(&self) -> Numbers {
        let cells = self.cells.borrow().values().filter(|cell| cell.kind != SHARED).count();
        Numbers { cells, pending: 0, longest: 0 }
    }

    fn room(&self) -> usize {
        usize::MAX
    }

    fn fill(&self, _leave: usize) {}

    fn drain(&self) {}

    fn retire(&self) -> Result<(), String> {
        match self.allocations.get() {
            0 => Ok(()),
            left => Err(format!("{left} allocations are left")),
        }
    }
}

impl Drop for Naive {
    fn drop(&mut self) {
        for record in self.cells.borrow().values() {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(record.at, layout(record.bytes)) };
        }
    }
}
