//! Cells in arenas: as counting sees them, and what arenas need to know of cells.
//!
//! Guarantees
//! * A cell in an arena is counted by nobody: its word is that of an immortal cell, with the way to its arena
//!   where others have a count. It is never a root, never searched, never waits.
//! * Only [`super::assign`], and what empties a slot, look further: whether the slot lies outside.
//!
//! ```text
//!   word   | 1 | 1 | distance to the segment / 8: 25 bits | 00 | forwarded | linked | long |
//!
//!   | next | hdr | payload |                 linked: cells with references or a destroy (32-bit: next and site)
//!   | size | site | next | hdr | payload |   long: of a size of its own, or with a site
//!   | hdr | payload |                        others
//! ```
//! Cost: a bit test for others' cells; no memory but the prefix.

use core::ffi::c_char;
use core::ptr::null_mut;

use super::cell::{
    header, load_word, sealed, type_id, CellHeader, ACYCLIC, HEADER, IMMORTAL, ONE, PURPLE, ROOT, SPECIAL, STATE,
};
use super::state::Counted;
use super::trace::{by_callback, Slot};
use super::types::{KnType, KnTypeId, Record, ARRAY, KN_TYPE_RESIDENT, KN_TYPE_SHARED, RESIDENT_TYPE, SIMPLE};
use crate::heap::{KnHeap, KnStatus};
use crate::port;

/// The cell is in its arena's list, its link before the header.
pub(crate) const LINKED: u32 = PURPLE;
/// Its size and site are before the link.
pub(crate) const LONG: u32 = ROOT;
/// A copy of it is being made: its distance is a number in the list of copies.
pub(crate) const FORWARDED: u32 = ACYCLIC;

const WORD64: bool = cfg!(target_pointer_width = "64");
const WORD: usize = size_of::<usize>();
/// Bytes before the header.
const SHORT_PREFIX: usize = 8;
const LONG_PREFIX: usize = if WORD64 { 24 } else { 16 };
/// The distances that a word can hold; one less, so that counting does not run over.
const MOST_DISTANCE: usize = ((1 << 25) - 2) * 8;

/// The field that others' counts lie in.
const DISTANCE: u32 = !(IMMORTAL | (ONE - 1));

/// Whether a word is that of a cell in an arena.
#[inline(always)]
pub(crate) fn is_scoped_word(word: u32) -> bool {
    word & (IMMORTAL | STATE) == IMMORTAL && word & DISTANCE != 0
}

/// Whether a cell lies in an arena.
///
/// # Safety
/// The 8 bytes before `object` can be read.
#[inline(always)]
pub(crate) unsafe fn is_scoped(object: *const u8) -> bool {
    // SAFETY: the caller's word.
    is_scoped_word(unsafe { load_word(object) })
}

/// Whether a cell of an arena starts at an address in it.
///
/// # Safety
/// The 8 bytes before `object` can be read.
pub(crate) unsafe fn is_cell(object: *const u8) -> bool {
    // SAFETY: the caller's word.
    unsafe { object.addr() & 7 == 0 && is_scoped(object) && sealed(object) }
}

/// The start of the segment that a cell lies in.
///
/// # Safety
/// `object` is a cell in an arena, not forwarded.
#[inline(always)]
pub(crate) unsafe fn segment(object: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe { object.wrapping_sub(((load_word(object) & DISTANCE) / ONE) as usize * 8) }
}

/// What GC_newIn has to know of a type without callbacks whose cells are of one size.
pub(crate) struct Plain {
    record: *mut Record,
    payload: usize,
    prefix: usize,
}

impl Plain {
    /// How a cell of a type is to be made; None: by [`Shape`], if at all.
    ///
    /// # Safety
    /// `heap` is null or a live heap, this thread's.
    #[inline(always)]
    pub unsafe fn of(heap: *mut KnHeap, id: KnTypeId) -> Option<Plain> {
        // SAFETY: the caller's word.
        unsafe {
            let state = Counted::existing(heap);
            if state.is_null() || id >= (*state).ready {
                return None;
            }
            let record = Counted::record(state, id);
            // Resident and shared types, and number 0, are not simple.
            if !(*record).has(SIMPLE) || (*record).has(RESIDENT_TYPE) {
                return None;
            }
            let prefix = if (*record).references != 0 { SHORT_PREFIX } else { 0 };
            Some(Plain { record, payload: ((*record).clear as usize).max(8), prefix })
        }
    }

    /// Bytes that the cell takes in all.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        self.prefix + HEADER + self.payload
    }

    /// Whether the cell belongs into its arena's list.
    #[inline(always)]
    pub fn is_linked(&self) -> bool {
        self.prefix != 0
    }

    /// Makes the cell at `at`; null when its segment starts too far away.
    ///
    /// # Safety
    /// As [`Shape::make`].
    #[inline(always)]
    pub unsafe fn make(&self, at: *mut u8, segment: *mut u8) -> *mut u8 {
        let object = at.wrapping_add(self.prefix + HEADER);
        let distance = object.addr() - segment.addr();
        if distance > MOST_DISTANCE {
            return null_mut();
        }
        // SAFETY: the caller's word.
        unsafe {
            let marks = if self.prefix != 0 { LINKED } else { 0 };
            let word = IMMORTAL | marks | ((distance / 8) as u32 * ONE);
            let kind = (*self.record).kind ^ (object.addr() as u32) << 13;
            header(object).write(CellHeader { word, kind });
            super::allocate::clear(object, self.payload);
        }
        object
    }

    /// Links the cell.
    ///
    /// # Safety
    /// It was made so.
    #[inline(always)]
    pub unsafe fn link(&self, object: *mut u8, next: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            link(object).write(next);
            if !WORD64 {
                field(object, 2).write(0);
            }
        }
    }
}

/// What GC_newIn has to know.
pub(crate) struct Shape {
    id: KnTypeId,
    record: *mut Record,
    payload: usize,
    prefix: usize,
    marks: u32,
    /// It has a destroy callback.
    pub destroyed: bool,
}

impl Shape {
    /// How a cell of a type is to be made in an arena of a heap; None, and the error hook is told, when there is
    /// no such type or its cells can't lie there; None also without memory for the types' list.
    ///
    /// # Safety
    /// `heap` is null or a live heap, this thread's.
    #[inline(always)]
    pub unsafe fn of(heap: *mut KnHeap, id: KnTypeId, bytes: usize, sites: bool) -> Option<Shape> {
        // SAFETY: the caller's word.
        unsafe {
            let state = state(heap);
            if state.is_null() || bytes > i32::MAX as usize / 2 || !Counted::knows(state, id) {
                return None;
            }
            let record = Counted::record(state, id);
            let size = Record::size(record);
            let descriptor = (*record).descriptor;
            if (*descriptor).flags & (KN_TYPE_SHARED | KN_TYPE_RESIDENT) != 0 {
                port::report(KnStatus::Invalid, null_mut(), c"GC_newIn: shared or resident cells live outside");
                return None;
            }
            let array = (*record).has(ARRAY);
            let callbacks = (*descriptor).destroy.is_some() || (*descriptor).trace.is_some();
            let linked = (*record).references != 0 || array || callbacks;
            let long = sites || bytes > size || array;
            let payload = (bytes.max(size).max(1) + 7) & !7;
            let (prefix, marks) = match (linked, long) {
                (_, true) => (LONG_PREFIX, if linked { LINKED | LONG } else { LONG }),
                (true, false) => (SHORT_PREFIX, LINKED),
                (false, false) => (0, 0),
            };
            Some(Shape { id, record, payload, prefix, marks, destroyed: (*descriptor).destroy.is_some() })
        }
    }

    /// Bytes that the cell takes in all.
    pub fn bytes(&self) -> usize {
        self.prefix + HEADER + self.payload
    }

    /// Whether the cell belongs into its arena's list.
    pub fn is_linked(&self) -> bool {
        self.marks & LINKED != 0
    }

    /// Makes the cell at `at`, a multiple of 8; null when its segment starts too far away.
    ///
    /// # Safety
    /// As many bytes are writable there, in the segment that starts at `segment`.
    #[inline(always)]
    pub unsafe fn make(&self, at: *mut u8, segment: *mut u8, next: *mut u8, site: *const c_char) -> *mut u8 {
        let object = at.wrapping_add(self.prefix + HEADER);
        let distance = object.addr() - segment.addr();
        if distance > MOST_DISTANCE {
            return null_mut();
        }
        // SAFETY: the caller's word.
        unsafe {
            if self.marks & LONG != 0 {
                field(object, 2).write(site.addr());
                field(object, 3).write(self.payload);
            } else if !WORD64 && self.marks & LINKED != 0 {
                field(object, 2).write(site.addr());
            }
            if self.prefix != 0 {
                link(object).write(next);
            }
            let word = IMMORTAL | self.marks | ((distance / 8) as u32 * ONE);
            let kind = (*self.record).kind ^ (object.addr() as u32) << 13;
            header(object).write(CellHeader { word, kind });
            super::allocate::clear(object, self.payload);
            debug_assert!(type_id(object) == self.id);
        }
        object
    }
}

/// Word `n` before the header.
fn field(object: *mut u8, n: usize) -> *mut usize {
    object.wrapping_sub(HEADER + n * WORD).cast()
}

/// Where the link of a linked cell lies.
fn link(object: *mut u8) -> *mut *mut u8 {
    object.wrapping_sub(HEADER + WORD).cast()
}

/// The next cell of an arena's list.
///
/// # Safety
/// `object` is a linked cell.
pub(crate) unsafe fn next(object: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe { link(object).read() }
}

/// The place in the program that made a cell, or null.
///
/// # Safety
/// `object` is a cell in an arena.
pub(crate) unsafe fn site(object: *mut u8) -> *const c_char {
    // SAFETY: the caller's word. A site is a text of the program's, which lives for ever.
    unsafe {
        let marks = load_word(object) & (LONG | LINKED);
        if marks & LONG != 0 || !WORD64 && marks & LINKED != 0 {
            field(object, 2).cast::<*const c_char>().read()
        } else {
            core::ptr::null()
        }
    }
}

/// Bytes of the payload.
///
/// # Safety
/// `object` is a cell in an arena, of one of this heap's types.
pub(crate) unsafe fn payload(record: *const Record, object: *mut u8) -> usize {
    // SAFETY: the caller's word.
    unsafe {
        if load_word(object) & LONG != 0 {
            field(object, 3).read()
        } else {
            (Record::size(record).max(1) + 7) & !7
        }
    }
}

/// The state that the cells of a heap's arenas have their types in.
///
/// # Safety
/// `heap` is null, the process heap, or a live heap, this thread's.
unsafe fn state(heap: *mut KnHeap) -> *mut Counted {
    #[cfg(unix)]
    let heap = if heap.is_null() { crate::hosted::process_heap() } else { heap };
    // SAFETY: the caller's word.
    unsafe { Counted::of(heap) }
}

/// The record of a cell's type.
///
/// # Safety
/// `object` is a cell in an arena of the heap.
unsafe fn record(heap: *mut KnHeap, object: *mut u8) -> *mut Record {
    // SAFETY: its type is known there.
    unsafe { Counted::record(Counted::existing(heap), type_id(object)) }
}

/// What the program said of a cell's type.
///
/// # Safety
/// `object` is a cell in an arena of the heap.
pub(crate) unsafe fn descriptor(heap: *mut KnHeap, object: *mut u8) -> *const KnType {
    // SAFETY: the caller's word.
    unsafe { (*record(heap, object)).descriptor }
}

/// Bytes of the payload of a cell in an arena.
///
/// # Safety
/// As [`descriptor`].
pub(crate) unsafe fn size(heap: *mut KnHeap, object: *mut u8) -> usize {
    // SAFETY: the caller's word.
    unsafe { payload(record(heap, object), object) }
}

/// Calls `visit` with each slot that the type's data names.
///
/// # Safety
/// As [`descriptor`].
pub(crate) unsafe fn each_named(heap: *mut KnHeap, object: *mut u8, visit: &mut dyn FnMut(Slot)) {
    // SAFETY: the caller's word.
    unsafe { super::trace::each_named(record(heap, object), object, visit) };
}

/// Whether the type has a trace callback.
///
/// # Safety
/// As [`descriptor`].
pub(crate) unsafe fn is_traced(heap: *mut KnHeap, object: *mut u8) -> bool {
    // SAFETY: the caller's word.
    unsafe { super::trace::is_traced(record(heap, object)) }
}

/// Runs the type's trace callback.
///
/// # Safety
/// As [`descriptor`].
pub(crate) unsafe fn each_traced(heap: *mut KnHeap, object: *mut u8, mut visit: &mut dyn FnMut(Slot)) {
    // SAFETY: the caller's word.
    unsafe { by_callback(record(heap, object), object, &mut visit) };
}

/// Notes the number of a cell's copy in its word; the word as it was.
///
/// # Safety
/// `object` is a cell in an arena that is not forwarded; `index` is below 2^25 - 2.
pub(crate) unsafe fn forward(object: *mut u8, index: usize) -> u32 {
    // SAFETY: the caller's word.
    unsafe {
        let before = (*header(object)).word;
        (*header(object)).word = before & !DISTANCE | FORWARDED | ((index as u32 + 1) * ONE);
        before
    }
}

/// The number of a cell's copy, if it has one.
///
/// # Safety
/// `object` is a cell in an arena.
pub(crate) unsafe fn forwarded(object: *mut u8) -> Option<usize> {
    // SAFETY: the caller's word.
    let word = unsafe { load_word(object) };
    (word & FORWARDED != 0).then_some(((word & DISTANCE) / ONE) as usize - 1)
}

/// Puts a cell's word back.
///
/// # Safety
/// `word` is what [`forward`] answered.
pub(crate) unsafe fn restore(object: *mut u8, word: u32) {
    // SAFETY: the caller's word.
    unsafe { (*header(object)).word = word };
}

/// Whether cells of a type can be copied: no code of the program's knows where they lie.
///
/// # Safety
/// As [`descriptor`].
pub(crate) unsafe fn is_copyable(heap: *mut KnHeap, object: *mut u8) -> bool {
    // SAFETY: the caller's word.
    let KnType { destroy, trace, .. } = unsafe { descriptor(heap, object).read() };
    destroy.is_none() && trace.is_none()
}

/// A new ordinary cell of the same type and size, without running code of the program's; null without memory.
///
/// # Safety
/// As [`descriptor`].
pub(crate) unsafe fn new_like(heap: *mut KnHeap, object: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        let state = Counted::existing(heap);
        let record = Counted::record(state, type_id(object));
        Counted::new_quietly(state, type_id(object), payload(record, object))
    }
}

/// Ends a cell that [`new_like`] made and nobody has seen.
///
/// # Safety
/// As that says.
pub(crate) unsafe fn end_new(heap: *mut KnHeap, object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        let state = Counted::existing(heap);
        Counted::give(state, object, Counted::record_of(state, object));
    }
}

/// Whether a slot lies in a resident cell, which may not refer to an ordinary one.
///
/// # Safety
/// As [`collect`]; the slot can be read.
pub(crate) unsafe fn is_resident_slot(heap: *mut KnHeap, slot: Slot) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        let state = Counted::existing(heap);
        !state.is_null() && !(*state).resident.is_null() && super::resident::holds(state, slot.cast())
    }
}

/// Makes room by what a collection of the heap gives back; whether it may have helped.
///
/// # Safety
/// `heap` is null or a live heap, this thread's.
pub(crate) unsafe fn collect(heap: *mut KnHeap) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        let state = Counted::existing(heap);
        !state.is_null() && Counted::make_room(state)
    }
}

/// A new cell on the heap.
///
/// # Safety
/// As [`collect`].
pub(crate) unsafe fn new_outside(heap: *mut KnHeap, id: KnTypeId) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        let state = state(heap);
        if state.is_null() {
            return null_mut();
        }
        Counted::new_cell(state, id)
    }
}

/// Runs `work`, which may call code of the program's, while nothing is destroyed; then what waits is.
///
/// # Safety
/// As [`collect`].
pub(crate) unsafe fn undisturbed(heap: *mut KnHeap, work: impl FnOnce()) {
    // SAFETY: the caller's word.
    unsafe {
        let state = Counted::existing(heap);
        let mine = !state.is_null() && Counted::enter(state);
        work();
        if mine {
            Counted::destroy_waiting(state, (*state).settings.frees_per_release);
            Counted::leave(state);
        }
    }
}

/// How often the heap's counted memory has run code of the program's.
///
/// # Safety
/// As [`collect`].
pub(crate) unsafe fn calls(heap: *mut KnHeap) -> usize {
    // SAFETY: the caller's word.
    unsafe {
        let state = Counted::existing(heap);
        if state.is_null() {
            0
        } else {
            (*state).calls
        }
    }
}

/// Runs code of the program's, which may use counted memory and may jump away.
///
/// # Safety
/// As [`collect`].
pub(crate) unsafe fn call(heap: *mut KnHeap, callback: impl FnOnce()) {
    // SAFETY: the caller's word.
    unsafe {
        let state = Counted::existing(heap);
        if state.is_null() {
            callback();
        } else {
            Counted::call(state, callback);
        }
    }
}

/// Calls `visit` with each slot of each cell of the heap: the cell, its descriptor, whether it is dead, the slot.
///
/// # Safety
/// As [`collect`]. `visit` may write the slot; it makes and frees no cells.
pub(crate) unsafe fn each_outside(heap: *mut KnHeap, visit: &mut dyn FnMut(*mut u8, *const KnType, bool, Slot)) {
    // SAFETY: the caller's word.
    unsafe {
        let state = Counted::existing(heap);
        if state.is_null() {
            return;
        }
        Counted::each_cell(state, |object| {
            let dead = load_word(object) & super::cell::DEAD == super::cell::DEAD;
            let descriptor = (*Counted::record_of(state, object)).descriptor;
            Counted::each_slot(state, object, |slot| visit(object, descriptor, dead, slot));
            true
        });
    }
}

impl Counted {
    /// The state of a heap, if there is one.
    ///
    /// # Safety
    /// `heap` is null, for the process heap, or a live heap; this thread's.
    pub(crate) unsafe fn existing(heap: *mut KnHeap) -> *mut Counted {
        #[cfg(unix)]
        if heap.is_null() {
            return port::process_counted().cast();
        }
        // SAFETY: the caller's word.
        unsafe { (*heap).counted.cast() }
    }
}

const _: () = assert!(SPECIAL & IMMORTAL == SPECIAL && SHORT_PREFIX % 8 == 0 && LONG_PREFIX % 8 == 0);
