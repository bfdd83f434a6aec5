//! The space: one range of addresses for all pages of small blocks, in units of 64 KB.
//!
//! - It begins at an address that is found when it is first needed, far below what the system gives to
//!   others, and grows upwards, so it is one mapping, or few, however large it becomes.
//! - Whether an address lies in it, and the record of its unit, take a subtraction, a comparison and a
//!   shift: no foreign memory is read.
//! - Of the units that were given back at most 128 + 1/32 of those in use are resident; the others' memory
//!   is the system's at once, and nobody waits for a lock while the system takes it.
//! - A unit serves everything again: a page of any class, or with its neighbours a run for what the system
//!   refuses to map.
//! - Where it can't begin or grow, its callers do without.
//!
//! ```text
//!   records: | 64 | 64 | 64 | …  grows with the space, from 1 MB + 64 bytes a unit it may have below it
//!   space:   | unit 0 | unit 1 | unit 2 | … mapped | ---> grows        …        others' mappings
//!             ^ base                                                             ^ what mmap gives
//!             \_________________ 1 TB, 64 GB, 4 GB, or less where less is free _/
//! ```
//! Costs: taking and giving a unit O(1), a system call for each MB or eighth that it grows by and for each
//! run of units whose memory goes back. 64 bytes of record a unit.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use super::hardened::{guard, HARDENED};
use super::page::{Kind, Page, UNIT};
use crate::port;

/// What the fast paths know of the space. Null and 0 until it begins. `base` and `bytes` come first.
#[repr(C)]
struct Window {
    base: AtomicPtr<u8>,
    bytes: AtomicUsize,
    records: AtomicPtr<Page>,
}

static WINDOW: Window =
    Window { base: AtomicPtr::new(null_mut()), bytes: AtomicUsize::new(0), records: AtomicPtr::new(null_mut()) };

/// Units that it grows by at least, and at most.
const GROWTH: (usize, usize) = (16, 1024);
/// Units that stay resident when they are free, beside a share of those in use.
const KEPT: usize = 128;
/// That share.
const KEPT_SHARE: usize = 32;

/// Set while more units are free and resident than stay so: [`super::process`] looks when it has left the lock.
static EXCESS: AtomicBool = AtomicBool::new(false);

/// True iff memory waits to be returned by [`Space::excess`]. It is the caller's to return from then on.
#[inline(always)]
pub(super) fn has_excess() -> bool {
    EXCESS.load(Ordering::Relaxed) && EXCESS.swap(false, Ordering::Relaxed)
}

/// Units in a row whose memory the system gets: free, but in no list.
#[derive(Clone, Copy)]
pub(super) struct Excess {
    first: usize,
    count: usize,
}

impl Excess {
    /// Lets the system have it. To be done without the lock.
    pub(super) fn discard(self) {
        let _errno = port::Errno::keep();
        // SAFETY: free units in no list, so nobody uses them before `Space::cleaned`.
        unsafe {
            if !port::discard(memory(self.first), self.count * UNIT) && HARDENED {
                memory(self.first).write_bytes(0, self.count * UNIT);
            }
        }
    }
}

/// The record of the unit in which `at` lies; None: not in the space.
#[inline(always)]
pub(super) fn unit_of(at: *const u8) -> Option<*mut Page> {
    let offset = offset_of(at)?;
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable))))]
    {
        let mut page = core::ptr::without_provenance_mut::<u8>(offset / UNIT * size_of::<Page>());
        // SAFETY: so many units are mapped, and the record of each; adds their beginning in place.
        unsafe {
            core::arch::asm!(
                "add {page}, qword ptr [rip + {window} + 16]",
                page = inout(reg) page,
                window = sym WINDOW,
                options(nostack, readonly),
            );
        }
        Some(page.cast())
    }
    #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable)))))]
    // SAFETY: so many units are mapped, and the record of each.
    Some(unsafe { WINDOW.records.load(Ordering::Relaxed).add(offset / UNIT) })
}

/// How far behind the space's beginning `at` lies; None: not in the space.
#[inline(always)]
fn offset_of(at: *const u8) -> Option<usize> {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable))))]
    {
        let mut offset = at.addr();
        // SAFETY: reads the two words in place, which atomic loads would not.
        unsafe {
            core::arch::asm!(
                "sub {offset}, qword ptr [rip + {window}]",
                offset = inout(reg) offset,
                window = sym WINDOW,
                options(nostack, readonly),
            );
            core::arch::asm!(
                "cmp {offset}, qword ptr [rip + {window} + 8]",
                "jae {outside}",
                offset = in(reg) offset,
                window = sym WINDOW,
                outside = label { return None },
                options(nostack, readonly),
            );
        }
        Some(offset)
    }
    #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable)))))]
    {
        let offset = at.addr().wrapping_sub(WINDOW.base.load(Ordering::Relaxed).addr());
        (offset < WINDOW.bytes.load(Ordering::Relaxed)).then_some(offset)
    }
}

/// The record of unit `index`.
///
/// # Safety
/// The unit is mapped.
pub(super) unsafe fn record(index: usize) -> *mut Page {
    // SAFETY: the caller's word.
    unsafe { WINDOW.records.load(Ordering::Relaxed).add(index) }
}

/// The number of the unit whose record this is.
pub(super) fn index_of(page: *const Page) -> usize {
    (page.addr() - WINDOW.records.load(Ordering::Relaxed).addr()) / size_of::<Page>()
}

/// The memory of unit `index`.
///
/// # Safety
/// The unit is mapped.
#[inline(always)]
pub(super) unsafe fn memory(index: usize) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe { WINDOW.base.load(Ordering::Relaxed).add(index * UNIT) }
}

/// A pointer to an address in the space, with its provenance; None: not in the space.
#[cfg(all(miri, feature = "counted"))]
pub(super) fn pointer_to(address: usize) -> Option<*mut u8> {
    let offset = offset_of(core::ptr::without_provenance(address))?;
    Some(WINDOW.base.load(Ordering::Relaxed).wrapping_add(offset))
}

/// A doubly linked list of units.
#[derive(Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl List {
    pub(super) const EMPTY: List = List { first: 0, last: 0 };

    /// The first unit.
    pub(super) fn first(&self) -> Option<usize> {
        (self.first as usize).checked_sub(1)
    }

    fn last(&self) -> Option<usize> {
        (self.last as usize).checked_sub(1)
    }

    /// Puts a unit in front.
    ///
    /// # Safety
    /// The unit is mapped, in no list, and the lock is held.
    pub(super) unsafe fn push(&mut self, index: usize) {
        let me = index as u32 + 1;
        // SAFETY: the caller's word, and units in lists are mapped.
        unsafe {
            let page = record(index);
            ((*page).next, (*page).previous) = (self.first, 0);
            match self.first() {
                Some(first) => (*record(first)).previous = me,
                None => self.last = me,
            }
        }
        self.first = me;
    }

    /// Takes a unit out.
    ///
    /// # Safety
    /// The unit is in this list, and the lock is held.
    pub(super) unsafe fn remove(&mut self, index: usize) {
        // SAFETY: the caller's word, and units in lists are mapped.
        unsafe {
            let page = record(index);
            let (next, previous) = ((*page).next, (*page).previous);
            match (previous as usize).checked_sub(1) {
                Some(previous) => (*record(previous)).next = next,
                None => self.first = next,
            }
            match (next as usize).checked_sub(1) {
                Some(next) => (*record(next)).previous = previous,
                None => self.last = previous,
            }
            ((*page).next, (*page).previous) = (0, 0);
        }
    }
}

/// What the lock guards of the space. All zero: not begun.
pub(super) struct Space {
    /// Units that are mapped, those of them that were ever used, and those that can be.
    mapped: usize,
    used: usize,
    most: usize,
    /// Bytes of records that are mapped.
    records: usize,
    /// Free units.
    clean: List,
    dirty: List,
    clean_count: usize,
    dirty_count: usize,
    /// It could not begin, and is not tried again.
    refused: bool,
}

impl Space {
    pub(super) const fn new() -> Space {
        Space {
            mapped: 0,
            used: 0,
            most: 0,
            records: 0,
            clean: List::EMPTY,
            dirty: List::EMPTY,
            clean_count: 0,
            dirty_count: 0,
            refused: false,
        }
    }

    /// Units that were ever used: those whose records mean something.
    pub(super) fn units(&self) -> usize {
        self.used
    }

    /// Bytes that are mapped.
    pub(super) fn bytes(&self) -> usize {
        self.mapped * UNIT + self.records
    }

    /// Free units that are perhaps resident.
    pub(super) fn dirty(&self) -> usize {
        self.dirty_count
    }

    /// Free units.
    pub(super) fn free(&self) -> usize {
        self.clean_count + self.dirty_count
    }

    /// A unit; None without memory. Its contents are anything.
    pub(super) fn take(&mut self) -> Option<usize> {
        // SAFETY: under the lock; the lists hold units that are mapped and free.
        unsafe {
            if let Some(index) = self.dirty.first() {
                self.dirty.remove(index);
                self.dirty_count -= 1;
                return Some(index);
            }
            if let Some(index) = self.clean.first() {
                self.clean.remove(index);
                self.clean_count -= 1;
                return Some(index);
            }
        }
        self.fresh(1)
    }

    /// `count` units in a row that were never used.
    fn fresh(&mut self, count: usize) -> Option<usize> {
        if self.mapped - self.used < count && !self.grow(count) {
            return None;
        }
        if HARDENED && count == 1 && guard::is_closed(self.used) {
            // SAFETY: mapped, and never used. Refused, it is a unit that nobody uses all the same.
            unsafe {
                (*record(self.used)).kind = Kind::Run;
                port::protect(memory(self.used), UNIT, false);
            }
            self.used += 1;
            return self.fresh(1);
        }
        let index = self.used;
        self.used += count;
        Some(index)
    }

    /// `count` units in a row, noted as a run; None without memory. Their contents are anything.
    pub(super) fn take_run(&mut self, count: usize) -> Option<usize> {
        let first = self.find_run(count).or_else(|| self.fresh(count))?;
        for index in first..first + count {
            // SAFETY: mapped, and the caller's from now on.
            unsafe { (*record(index)).kind = Kind::Run };
        }
        Some(first)
    }

    /// As many free units in a row, out of their lists.
    #[cold]
    fn find_run(&mut self, count: usize) -> Option<usize> {
        if self.free() < count {
            return None;
        }
        let mut found = 0;
        for index in 0..self.used {
            // SAFETY: used units are mapped.
            let kind = unsafe { (*record(index)).kind };
            found = if matches!(kind, Kind::Clean | Kind::Dirty) { found + 1 } else { 0 };
            if found == count {
                let first = index + 1 - count;
                (first..=index).for_each(|index| self.unlist(index));
                return Some(first);
            }
        }
        None
    }

    fn unlist(&mut self, index: usize) {
        // SAFETY: a free unit is in the list that its kind names; under the lock.
        unsafe {
            if (*record(index)).kind == Kind::Dirty {
                self.dirty.remove(index);
                self.dirty_count -= 1;
            } else {
                self.clean.remove(index);
                self.clean_count -= 1;
            }
        }
    }

    /// Takes back `count` units.
    ///
    /// # Safety
    /// They came from [`Space::take`] or [`Space::take_run`], and nobody uses them any more.
    pub(super) unsafe fn give(&mut self, first: usize, count: usize) {
        for index in first..first + count {
            // SAFETY: the caller's word.
            unsafe {
                (*record(index)).kind = Kind::Dirty;
                self.dirty.push(index);
            }
        }
        self.dirty_count += count;
        if self.dirty_count > self.kept() {
            EXCESS.store(true, Ordering::Relaxed);
        }
    }

    /// Free units that may be resident.
    fn kept(&self) -> usize {
        KEPT + (self.used - self.free()) / KEPT_SHARE
    }

    /// Takes units out of their list whose memory is to go back, as long as more than `kept` are resident;
    /// None as for those that may be.
    pub(super) fn excess(&mut self, kept: Option<usize>) -> Option<Excess> {
        if self.dirty_count <= kept.unwrap_or_else(|| self.kept()) {
            return None;
        }
        let index = self.dirty.last()?;
        let is_dirty = |index: usize| {
            // SAFETY: used units are mapped.
            index < self.used && unsafe { (*record(index)).kind } == Kind::Dirty
        };
        // Neighbours go in the same system call.
        let (mut first, mut end) = (index, index + 1);
        while first > 0 && is_dirty(first - 1) {
            first -= 1;
        }
        while is_dirty(end) {
            end += 1;
        }
        for index in first..end {
            self.unlist(index);
            // SAFETY: as above; under the lock.
            unsafe { (*record(index)).kind = Kind::Run };
        }
        Some(Excess { first, count: end - first })
    }

    /// Notes that the system has the memory.
    pub(super) fn cleaned(&mut self, excess: Excess) {
        for index in excess.first..excess.first + excess.count {
            // SAFETY: taken out by `excess`; under the lock.
            unsafe {
                (*record(index)).kind = Kind::Clean;
                self.clean.push(index);
            }
        }
        self.clean_count += excess.count;
    }

    /// Maps at least `count` units more; false without memory.
    #[cold]
    fn grow(&mut self, count: usize) -> bool {
        let _errno = port::Errno::keep();
        if self.most == 0 && !self.begin() {
            return false;
        }
        let lacking = count.saturating_sub(self.mapped - self.used);
        if lacking == 0 {
            return true;
        }
        let mut more = (self.mapped / 8).clamp(GROWTH.0, GROWTH.1).max(lacking).min(self.most - self.mapped);
        while more >= lacking {
            if self.extend(more) {
                return true;
            }
            if more == lacking {
                break;
            }
            more = (more / 2).max(lacking);
        }
        false
    }

    fn extend(&mut self, more: usize) -> bool {
        let mapped = self.mapped + more;
        if !self.reach(mapped) {
            return false;
        }
        self.mapped = mapped;
        WINDOW.bytes.store(mapped * UNIT, Ordering::Release);
        true
    }
}

/// Linux: memory at an address of our choice.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
mod place {
    use super::*;

    /// Distances from what the system gives to others, in units of 1 MB.
    #[cfg(target_pointer_width = "64")]
    const DISTANCES: [usize; 4] = [1 << 20, 1 << 16, 1 << 12, 1 << 9];
    #[cfg(not(target_pointer_width = "64"))]
    const DISTANCES: [usize; 3] = [768, 384, 96];
    /// Where the space begins is a multiple of this, and the records' memory grows by it.
    const STEP: usize = 1 << 20;
    const RECORDS_STEP: usize = 64 << 10;

    impl Space {
        /// Looks for a place; false: there is none, or no memory.
        pub(super) fn begin(&mut self) -> bool {
            if self.refused {
                return false;
            }
            let Some(probe) = port::map(1, 1) else { return false };
            let others = probe.start.addr();
            // SAFETY: mapped right now, to see where.
            unsafe { port::unmap(probe) };
            // Most systems hand out addresses downwards, so there is room below; some upwards, from far below.
            let below = DISTANCES.map(|megabytes| (others.checked_sub(megabytes * STEP), megabytes * STEP));
            let above = DISTANCES.map(|megabytes| (others.checked_add(megabytes * STEP), megabytes * STEP));
            for (base, distance) in below.into_iter().chain(above) {
                // Half of it is for the space, as much of the rest as is needed for records.
                let Some(base) = base.map(|base| base & !(STEP - 1)) else { continue };
                let most = distance / 2 / UNIT;
                let room = (most * size_of::<Page>()).next_multiple_of(STEP) + STEP;
                let Some(records) = base.checked_sub(room).filter(|&records| records > STEP) else { continue };
                if self.begin_at(at(base), at(records), most) {
                    return true;
                }
            }
            self.refused = true;
            false
        }

        fn begin_at(&mut self, base: *mut u8, records: *mut u8, most: usize) -> bool {
            if !port::map_at(base, GROWTH.0 * UNIT) {
                return false;
            }
            if !port::map_at(records, RECORDS_STEP) {
                // SAFETY: mapped above, and nobody has its address.
                unsafe { port::unmap(port::Span { base, bytes: GROWTH.0 * UNIT, start: base }) };
                return false;
            }
            WINDOW.records.store(records.cast(), Ordering::Relaxed);
            WINDOW.base.store(base, Ordering::Relaxed);
            (self.most, self.records, self.mapped) = (most, RECORDS_STEP, GROWTH.0);
            WINDOW.bytes.store(GROWTH.0 * UNIT, Ordering::Release);
            true
        }

        /// Maps the units below `mapped` that are not mapped yet, and their records.
        pub(super) fn reach(&mut self, mapped: usize) -> bool {
            if mapped <= self.mapped {
                return true;
            }
            let records = (mapped * size_of::<Page>()).next_multiple_of(RECORDS_STEP);
            if records > self.records {
                let end = WINDOW.records.load(Ordering::Relaxed).cast::<u8>().wrapping_add(self.records);
                if !port::map_at(end, records - self.records) {
                    return false;
                }
                self.records = records;
            }
            let end = WINDOW.base.load(Ordering::Relaxed).wrapping_add(self.mapped * UNIT);
            port::map_at(end, (mapped - self.mapped) * UNIT)
        }
    }

    fn at(address: usize) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(address)
    }
}

/// Elsewhere: one mapping, which does not grow.
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
mod place {
    use super::*;

    /// Units.
    const WHOLE: usize = if cfg!(miri) { 64 } else { 1024 };

    impl Space {
        pub(super) fn begin(&mut self) -> bool {
            if self.refused {
                return false;
            }
            self.refused = true;
            let Some(space) = port::map(WHOLE * UNIT, UNIT) else { return false };
            let Some(records) = port::map(WHOLE * size_of::<Page>(), size_of::<Page>()) else {
                // SAFETY: mapped above, and nobody has its address.
                unsafe { port::unmap(space) };
                return false;
            };
            WINDOW.records.store(records.start.cast(), Ordering::Relaxed);
            WINDOW.base.store(space.start, Ordering::Relaxed);
            (self.most, self.records) = (WHOLE, records.bytes);
            true
        }

        pub(super) fn reach(&mut self, mapped: usize) -> bool {
            mapped <= self.most
        }
    }
}
