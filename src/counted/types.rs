//! Types as data: what the program says of its cells, and which types can't be part of a cycle.
//!
//! Guarantees
//! * A descriptor stays the program's and is never copied or written; it must live as long as the heap.
//! * A bad descriptor is refused as a whole: nothing is registered, the error hook is told why.
//! * The same descriptor registered again gets the same number.
//! * A type is held to be acyclic only if the program says so, if it is shared, or if no chain of
//!   registered types leads from it back to it. What is not known counts as leading anywhere.
//!
//! ```text
//!   records:  | none | Record 1 | Record 2 | … |     index = KnTypeId
//!                        |
//!                        +--> KnType (the program's)
//!                        hot fields copied: word and kind at birth, size class, slots, live cells
//! ```
//! Costs: registering is O(types) for the search of the descriptor, and for types that tell their
//! fields' types O(types x fields) for each round of the search for a way back. A record is 64 bytes
//! on 64-bit targets, 44 on 32-bit ones.

use core::ffi::{c_char, c_void};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicUsize};

use super::cell::{ACYCLIC, HEADER, KEY, ONE, TYPE};
use super::pages::{cell_bytes, class_for, class_of, Page, SINGLE_CLASS};
use super::settings::KN_GC_TORTURE;
use super::state::Counted;
use super::trace::KnTracer;
use crate::heap::KnStatus;
use crate::port;

/// A registered type; 0 is none. Valid for the heap that it was registered in.
pub type KnTypeId = u32;

/// Cells of the type are never part of a cycle, by the program's word.
pub const KN_TYPE_ACYCLIC: u32 = 1;
/// Always-active data: its cells lie apart from others, at the heap's bottom end, and refer to resident cells
/// only (docs/resident.md). With KN_TYPE_SHARED it has no effect.
pub const KN_TYPE_RESIDENT: u32 = 2;
/// Counted atomically, from any thread. Such cells are acyclic, and refer to none but shared cells.
pub const KN_TYPE_SHARED: u32 = 4;
/// Behind its first `size` bytes the payload is an array of references, to its end.
pub const KN_TYPE_ARRAY: u32 = 8;

const FLAGS: u32 = KN_TYPE_ACYCLIC | KN_TYPE_RESIDENT | KN_TYPE_SHARED | KN_TYPE_ARRAY;

/// What a cell's type is. All zero behind `size` is a type without references.
///
/// The descriptor stays the program's; it and all it points to must not change or go while the heap
/// is in use. It can be constant, in flash.
#[repr(C)]
pub struct KnType {
    /// For reports; NULL: "?".
    pub name: *const c_char,
    /// Bytes of the payload; with GC_newSized the least.
    pub size: u32,
    /// KN_TYPE_ACYCLIC, KN_TYPE_RESIDENT, KN_TYPE_SHARED, KN_TYPE_ARRAY.
    pub flags: u32,
    /// How many fields hold a counted reference or NULL.
    pub ref_count: u32,
    /// Where they lie, in bytes from the payload's start, each a multiple of a pointer's size.
    pub ref_offsets: *const u32,
    /// Called once before the cell's memory goes, its references still in place; NULL: nothing to do.
    pub destroy: Option<unsafe extern "C" fn(object: *mut c_void)>,
    /// Calls GC_visit for every slot that the offsets and KN_TYPE_ARRAY do not name; NULL: there is none.
    pub trace: Option<unsafe extern "C" fn(object: *mut c_void, tracer: *mut KnTracer)>,
    /// Names of the fields, for reports: `ref_count` of them, or NULL.
    pub ref_names: *const *const c_char,
    /// The only type that each field may refer to, NULL for any: `ref_count` of them, or NULL.
    pub ref_types: *const *const KnType,
    /// The only type that the array's elements may refer to; NULL: any.
    pub array_type: *const KnType,
}

// SAFETY: descriptors are only read.
unsafe impl Sync for KnType {}

impl KnType {
    /// A type of `size` bytes without references, to be filled in.
    /// cbindgen:ignore
    pub const PLAIN: KnType = KnType {
        name: core::ptr::null(),
        size: 0,
        flags: 0,
        ref_count: 0,
        ref_offsets: core::ptr::null(),
        destroy: None,
        trace: None,
        ref_names: core::ptr::null(),
        ref_types: core::ptr::null(),
        array_type: core::ptr::null(),
    };
}

/// As [`SIMPLE`], without references.
pub(crate) const PLAIN: u32 = 1;
/// Sizes differ from cell to cell, so `bytes` is counted.
pub(crate) const VARIABLE: u32 = 2;
/// Its cells lie in pages, have no callback and no array: their end is references released and memory
/// given back.
pub(crate) const SIMPLE: u32 = 64;
/// What is freed is overwritten.
pub(crate) const POISONED: u32 = 128;
/// Its slots lie side by side.
pub(crate) const DENSE: u32 = 1024;
/// The descriptor's flags that are asked for often.
pub(crate) const ARRAY: u32 = 256;
pub(crate) const SHARED_TYPE: u32 = 512;
pub(crate) const RESIDENT_TYPE: u32 = 2048;
/// Acyclic only until proven: a type that it names is not registered yet.
const WAITING: u32 = 4;
/// Mark of the search for a way back.
const REACHED: u32 = 8;
const EXPANDED: u32 = 16;

/// A registered type, in the order of use.
#[repr(C)]
pub(crate) struct Record {
    /// `kind` of its cells, less the address.
    pub kind: u32,
    /// `word` of a cell at birth.
    pub word: u32,
    /// Size class of cells of `size`.
    pub class: u16,
    pub traits: u16,
    /// Where its slots begin, if they lie side by side.
    pub first: u32,
    /// Cells alive or waiting. Written by its thread alone, read by dumps of others.
    pub live: AtomicUsize,
    /// Bytes of those cells, if they vary.
    pub bytes: AtomicUsize,
    pub offsets: *const u32,
    pub references: u32,
    /// Bytes of the payload in words of 8 bytes, which a new cell has zeroed.
    pub clear: u32,
    pub descriptor: *const KnType,
    /// The page that new cells come from; one without room if that is not for the fast path to know.
    pub open: *mut Page,
}

impl Record {
    /// Bytes of the payload.
    ///
    /// # Safety
    /// `this` is a record of a state.
    #[inline(always)]
    pub unsafe fn size(this: *const Self) -> usize {
        // SAFETY: the caller's word; descriptors live as long.
        unsafe { (*(*this).descriptor).size as usize }
    }

    /// Bytes of all cells of a type. Reads what never changes, and atomically what does: any thread may ask.
    ///
    /// # Safety
    /// `this` is a record of a state.
    pub unsafe fn occupied(this: *const Self) -> usize {
        // SAFETY: the caller's word. No reference to the whole record, whose owner may write to it.
        unsafe {
            let size = Self::size(this);
            match (*this).bytes.load(Relaxed) {
                // No cells, or all of one size.
                0 => (*this).live.load(Relaxed) * cell_bytes(class_of(size + HEADER), size),
                bytes => bytes,
            }
        }
    }

    #[inline(always)]
    pub fn one_more(&self) {
        self.live.store(self.live.load(Relaxed).wrapping_add(1), Relaxed);
    }

    #[inline(always)]
    pub fn one_less(&self) {
        self.live.store(self.live.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    pub fn count_bytes(&self, bytes: usize, more: bool) {
        let before = self.bytes.load(Relaxed);
        self.bytes.store(if more { before.wrapping_add(bytes) } else { before.wrapping_sub(bytes) }, Relaxed);
    }

    /// One shared cell more or less.
    #[cfg(not(unix))]
    pub fn count_cell(&mut self, bytes: usize, more: bool) {
        // SAFETY: a record of this thread's state.
        unsafe { Self::vary(self, self.open) };
        self.count_bytes(bytes, more);
        if more {
            self.one_more();
        } else {
            self.one_less();
        }
    }

    /// The record of a type that has no cells yet.
    ///
    /// # Safety
    /// The descriptor is a good one.
    pub unsafe fn of(descriptor: *const KnType, id: KnTypeId) -> Record {
        // SAFETY: the caller's word.
        let KnType { size, flags, ref_count, ref_offsets, destroy, trace, .. } = unsafe { descriptor.read() };
        // SAFETY: the offsets are as many.
        let offset = |n: u32| unsafe { ref_offsets.wrapping_add(n as usize).read() };
        let dense = (1..ref_count).all(|n| offset(n) == offset(n - 1) + size_of::<usize>() as u32);
        let fixed = flags & (KN_TYPE_SHARED | KN_TYPE_ARRAY) == 0;
        let resident = flags & (KN_TYPE_RESIDENT | KN_TYPE_SHARED) == KN_TYPE_RESIDENT;
        let class = if fixed { class_for(size as usize, resident) } else { SINGLE_CLASS };
        let simple = class != SINGLE_CLASS && trace.is_none() && destroy.is_none();
        let trait_if = |condition: bool, mark: u32| if condition { mark as u16 } else { 0 };
        Record {
            kind: KEY | id,
            word: ONE,
            class,
            traits: trait_if(simple, SIMPLE)
                | trait_if(dense, DENSE)
                | trait_if(simple && ref_count == 0, PLAIN)
                | trait_if(flags & KN_TYPE_ARRAY != 0, ARRAY)
                | trait_if(flags & KN_TYPE_SHARED != 0, SHARED_TYPE)
                | trait_if(resident, RESIDENT_TYPE),
            first: if ref_count > 0 { offset(0) } else { 0 },
            live: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            offsets: ref_offsets,
            references: ref_count,
            clear: size.next_multiple_of(8),
            descriptor,
            open: core::ptr::null_mut(),
        }
    }

    #[inline(always)]
    pub fn has(&self, traits: u32) -> bool {
        u32::from(self.traits) & traits != 0
    }

    /// # Safety
    /// `this` is a record of a state of this thread. (By pointer: a reference to the whole record would be in
    /// the way of dumps of other threads.)
    #[inline(always)]
    pub unsafe fn add(this: *mut Self, traits: u32) {
        // SAFETY: the caller's word.
        unsafe { (*this).traits |= traits as u16 };
    }

    /// What is freed is overwritten, or no longer; that is not for the fast paths.
    ///
    /// # Safety
    /// As [`Record::add`].
    pub unsafe fn poison(this: *mut Self, on: bool) {
        // SAFETY: the caller's word.
        unsafe {
            let traits = Self::of((*this).descriptor, 0).traits & (SIMPLE | PLAIN) as u16;
            (*this).traits &= !((POISONED | SIMPLE | PLAIN) as u16);
            if on {
                Self::add(this, POISONED);
            } else if !(*this).has(VARIABLE) {
                (*this).traits |= traits;
            }
        }
    }

    /// Size varies from now on; `empty` is a page without room.
    ///
    /// # Safety
    /// As [`Record::add`].
    pub unsafe fn vary(this: *mut Self, empty: *mut Page) {
        // SAFETY: the caller's word.
        unsafe {
            if !(*this).has(VARIABLE) {
                (*this).bytes.store(Self::occupied(this), Relaxed);
                Self::add(this, VARIABLE);
                // The fast paths count no bytes.
                (*this).class = SINGLE_CLASS;
                (*this).open = empty;
                (*this).traits &= !((SIMPLE | PLAIN) as u16);
            }
        }
    }
}

/// Why a descriptor is bad, if it is.
///
/// # Safety
/// `descriptor` points to one, or is null.
unsafe fn flaw(descriptor: *const KnType) -> Option<&'static core::ffi::CStr> {
    if descriptor.is_null() || descriptor.addr() % align_of::<KnType>() != 0 {
        return Some(c"GC_registerType: no descriptor");
    }
    // SAFETY: the caller's word.
    unsafe {
        let KnType { size, flags, ref_count, ref_offsets, .. } = *descriptor;
        if flags & !FLAGS != 0 {
            return Some(c"GC_registerType: unknown flags");
        }
        if size > i32::MAX as u32 - 64 {
            return Some(c"GC_registerType: size too large");
        }
        if ref_count as usize > size as usize / size_of::<usize>() || ref_count > 0 && ref_offsets.is_null() {
            return Some(c"GC_registerType: more references than size or offsets give");
        }
        if flags & KN_TYPE_ARRAY != 0 && size as usize % size_of::<usize>() != 0 {
            return Some(c"GC_registerType: the array is not aligned");
        }
        for n in 0..ref_count as usize {
            let offset = ref_offsets.add(n).read() as usize;
            if offset % size_of::<usize>() != 0 || offset > size as usize - size_of::<usize>() {
                return Some(c"GC_registerType: a reference outside the payload or not aligned");
            }
            // A slot named twice would be counted twice.
            if (0..n).any(|earlier| ref_offsets.add(earlier).read() as usize == offset) {
                return Some(c"GC_registerType: an offset given twice");
            }
        }
        None
    }
}

impl Counted {
    /// The number of a type; 0 when the descriptor is bad, which the error hook is told, or there is no
    /// memory.
    ///
    /// # Safety
    /// `this` is a live state of this thread, `descriptor` null or a descriptor that lives as long.
    pub unsafe fn register(this: *mut Self, descriptor: *const KnType) -> KnTypeId {
        // SAFETY: the caller's word.
        unsafe {
            if let Some(what) = flaw(descriptor) {
                port::report(KnStatus::Invalid, descriptor.cast(), what);
                return 0;
            }
            #[cfg(unix)]
            if (*this).source.heap().is_null() {
                // One number for all threads over the process heap.
                let Some(index) = crate::hosted::collectors::register_type(descriptor.cast()) else { return 0 };
                return if index < TYPE && Self::catch_up(this, index + 1) { index + 1 } else { 0 };
            }
            for id in 1..(*this).types {
                if (*Self::record(this, id)).descriptor == descriptor {
                    return id;
                }
            }
            Self::append(this, descriptor)
        }
    }

    /// Takes over what other threads registered, up to `id`: whether that is known now.
    ///
    /// # Safety
    /// As [`Counted::register`].
    #[cfg(unix)]
    #[cold]
    pub(super) unsafe fn catch_up(this: *mut Self, id: KnTypeId) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if !(*this).source.heap().is_null() || id > crate::hosted::collectors::types() {
                return id < (*this).types;
            }
            for next in (*this).types..=id {
                let descriptor = crate::hosted::collectors::type_at(next - 1).cast::<KnType>();
                if descriptor.is_null() || Self::append(this, descriptor) == 0 {
                    return false;
                }
            }
            true
        }
    }

    /// A heap's state knows all its types.
    ///
    /// # Safety
    /// As [`Counted::register`].
    #[cfg(not(unix))]
    #[cold]
    pub(super) unsafe fn catch_up(this: *mut Self, id: KnTypeId) -> bool {
        // SAFETY: the caller's word.
        unsafe { id < (*this).types }
    }

    /// The record of a type.
    ///
    /// # Safety
    /// `id < types` of a live state.
    #[inline(always)]
    pub(super) unsafe fn record(this: *mut Self, id: KnTypeId) -> *mut Record {
        // SAFETY: the caller's word.
        unsafe { (*this).records.wrapping_add(id as usize) }
    }

    /// The number above that of every type known.
    ///
    /// # Safety
    /// `this` is a live state of this thread, or of one that can't end now.
    pub(crate) unsafe fn known_types(this: *mut Self) -> KnTypeId {
        // SAFETY: the caller's word; the owner writes it atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*this).types).load(Acquire) }
    }

    /// The cells of a type, those that wait included, and their bytes.
    ///
    /// # Safety
    /// As [`Counted::known_types`], whose answer is above `id`; of another thread's state within
    /// `collectors::each`, so that the table stays where it is.
    pub(crate) unsafe fn tally(this: *mut Self, id: KnTypeId) -> (usize, usize) {
        // SAFETY: the caller's word.
        unsafe {
            let record = Self::record(this, id);
            ((*record).live.load(Relaxed), Record::occupied(record))
        }
    }

    /// What the program said of a type.
    ///
    /// # Safety
    /// As [`Counted::tally`].
    pub(crate) unsafe fn descriptor(this: *mut Self, id: KnTypeId) -> *const KnType {
        // SAFETY: the caller's word.
        unsafe { (*Self::record(this, id)).descriptor }
    }

    /// The record of a cell's type.
    ///
    /// # Safety
    /// `object` is a cell of this state.
    #[inline(always)]
    pub(crate) unsafe fn record_of(this: *mut Self, object: *const u8) -> *mut Record {
        // SAFETY: the caller's word.
        unsafe { Self::record(this, super::cell::type_id(object)) }
    }

    /// # Safety
    /// As [`Counted::register`], with a good descriptor.
    unsafe fn append(this: *mut Self, descriptor: *const KnType) -> KnTypeId {
        // SAFETY: the caller's word; the table has room for what is written.
        unsafe {
            let id = (*this).types;
            if id > TYPE {
                return 0;
            }
            if id == (*this).type_room && !Self::grow_types(this) {
                return 0;
            }
            let record = Self::record(this, id);
            record.write(Record::of(descriptor, id));
            if (*record).has(RESIDENT_TYPE) && !Self::prepare_residents(this) {
                return 0;
            }
            (*record).open = Self::open_page(this, (*record).class);
            if !(*this).settings.busy_new() {
                (*this).ready = id + 1;
            }
            if (*descriptor).trace.is_some() {
                (*this).traced_types = true;
            }
            if (*this).settings.has(KN_GC_TORTURE) {
                Record::poison(Self::record(this, id), true);
            }
            if (*Self::record(this, id)).has(ARRAY) {
                Record::vary(Self::record(this, id), &raw mut (*this).empty);
            }
            // Dumps of other threads read the number, and then the record.
            AtomicU32::from_ptr(&raw mut (*this).types).store(id + 1, Release);
            Self::infer(this, id);
            for earlier in 1..id {
                if (*Self::record(this, earlier)).has(WAITING) {
                    Self::infer(this, earlier);
                }
            }
            id
        }
    }

    /// Makes the table twice as large.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    unsafe fn grow_types(this: *mut Self) -> bool {
        // SAFETY: the new table holds what the old one did. Other threads' dumps read the old one only
        // while they have the list's lock.
        unsafe {
            let room = (*this).type_room * 2;
            let table = (*this).source.take(room as usize * size_of::<Record>()).cast::<Record>();
            if table.is_null() {
                return false;
            }
            let old = (*this).records;
            core::ptr::copy_nonoverlapping(old, table, (*this).types as usize);
            let swap = || (*this).records = table;
            #[cfg(unix)]
            let swapped = crate::hosted::collectors::exclusively(swap).is_some();
            #[cfg(not(unix))]
            let swapped = {
                swap();
                true
            };
            if swapped {
                (*this).type_room = room;
            }
            (*this).source.give(if swapped { old.cast() } else { table.cast() });
            swapped
        }
    }

    /// Finds out whether cells of the type can be part of a cycle, as far as that is known now. Only cells
    /// that are born later profit: taking a cell for cyclic is always right.
    ///
    /// # Safety
    /// `id` is a type of this state.
    unsafe fn infer(this: *mut Self, id: KnTypeId) {
        // SAFETY: the caller's word.
        unsafe {
            let record = Self::record(this, id);
            (*record).traits &= !(WAITING as u16);
            let declared = (*(*record).descriptor).flags & (KN_TYPE_ACYCLIC | KN_TYPE_SHARED) != 0;
            let acyclic = declared || Self::leads_nowhere(this, id);
            if acyclic || (*this).settings.arc() {
                (*record).word |= ACYCLIC;
            }
            if acyclic {
                Record::add(record, INFERRED);
            }
        }
    }

    /// Whether no chain of types leads from `id` back to it.
    ///
    /// # Safety
    /// As [`Counted::infer`].
    unsafe fn leads_nowhere(this: *mut Self, id: KnTypeId) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            for each in 1..(*this).types {
                (*Self::record(this, each)).traits &= !((REACHED | EXPANDED) as u16);
            }
            let mut answer = Self::expand(this, id, id);
            let mut again = true;
            while again && answer == Some(true) {
                again = false;
                for each in 1..(*this).types {
                    let record = Self::record(this, each);
                    if (*record).has(REACHED) && !(*record).has(EXPANDED) {
                        Record::add(record, EXPANDED);
                        again = true;
                        answer = Self::expand(this, each, id);
                        if answer != Some(true) {
                            break;
                        }
                    }
                }
            }
            if answer.is_none() {
                Record::add(Self::record(this, id), WAITING);
            }
            answer == Some(true)
        }
    }

    /// Marks the types that `id` refers to: Some(false) when `home` is among them or one may be anything,
    /// None when one is not registered yet.
    ///
    /// # Safety
    /// As [`Counted::infer`].
    unsafe fn expand(this: *mut Self, id: KnTypeId, home: KnTypeId) -> Option<bool> {
        // SAFETY: the caller's word; descriptors are good.
        unsafe {
            let record = Self::record(this, id);
            let descriptor = (*record).descriptor;
            // Declared acyclic: no cycle passes through it. Shared: as if it did not refer at all.
            if id != home && (*descriptor).flags & (KN_TYPE_ACYCLIC | KN_TYPE_SHARED) != 0 {
                return Some(true);
            }
            if (*descriptor).trace.is_some() {
                return Some(false);
            }
            let array = (*record).has(ARRAY);
            if (*record).references > 0 && (*descriptor).ref_types.is_null()
                || array && (*descriptor).array_type.is_null()
            {
                return Some(false);
            }
            let fields = (0..(*record).references as usize).map(|n| (*descriptor).ref_types.add(n).read());
            for target in fields.chain(array.then_some((*descriptor).array_type)) {
                if target.is_null() {
                    return Some(false);
                }
                let mut found = 0;
                for each in 1..(*this).types {
                    if (*Self::record(this, each)).descriptor == target {
                        found = each;
                        break;
                    }
                }
                if found == home {
                    return Some(false);
                }
                if found == 0 {
                    return None;
                }
                Record::add(Self::record(this, found), REACHED);
            }
            Some(true)
        }
    }
}

/// Acyclic by word or by inference, not by the configuration.
pub(crate) const INFERRED: u32 = 32;
