//! Counting: up, down, moving, and all that is out of the ordinary.
//!
//! Guarantees
//! * Up is a load, an addition, a mask, a test and a store, down has one test more, for every cell that is
//!   neither immortal, shared, under search nor dying; the same is inline in the C header.
//! * A pointer that is not a living cell's is reported and changes nothing.
//! * Zero is reached once: the cell goes to `destroy.rs`, whatever it was before.
//!
//! ```text
//!   word + 1, not purple   < 0 ?  --> special_ref      (signed: special words are negative)
//!   word                   < 2 ?  --> special_release
//!                          purple; neither root nor acyclic ? --> first_root
//! ```
//! Costs: O(1), but for what a last reference sets free, and for the collection that a root may start.

use core::ptr::null_mut;

use super::cell::{
    dead_single, header, load_word, sealed, type_id, ACYCLIC, COUNT, DEAD, FREE, IMMORTAL, KN_IMMORTAL, ONE, PURPLE,
    ROOT, RUNNING, SEARCHED, SHARED, SINGLE, SPECIAL, STATE, TYPE,
};
use super::pages::{bytes_of, likely_page, owner};
use super::resident;
use super::shared;
use super::state::Counted;
use super::types::KnTypeId;
use crate::heap::{KnStatus, CHECKED, FULLY};
use crate::port;

/// What a counting call found at a pointer.
#[derive(PartialEq, Eq)]
enum Found {
    Cell,
    Dead,
    Foreign,
}

/// Whether a pointer is a living cell's.
///
/// # Safety
/// The 8 bytes before it can be read.
#[inline(always)]
unsafe fn find(object: *const u8) -> Found {
    // SAFETY: the caller's word.
    unsafe {
        if object.addr() & 7 == 0 && sealed(object) {
            return Found::Cell;
        }
        find_unsealed(object)
    }
}

/// Free, waiting and registered cells carry no seal.
///
/// # Safety
/// As [`find`].
#[cold]
#[inline(never)]
unsafe fn find_unsealed(object: *const u8) -> Found {
    if object.addr() & 7 != 0 {
        return Found::Foreign;
    }
    // SAFETY: as there; a page is recognised before its record is believed.
    unsafe {
        let word = load_word(object);
        if (*header(object)).kind == dead_single(object) {
            return Found::Dead;
        }
        // Those with a block of their own keep their seals, but while they wait.
        if (*header(object)).kind & SINGLE != 0 && word != FREE {
            return if word & RUNNING == DEAD { Found::Dead } else { Found::Foreign };
        }
        let Some(state) = likely_page(object) else { return Found::Foreign };
        if word & DEAD == DEAD {
            return Found::Dead;
        }
        if Counted::root_index(state, object).is_some() {
            return Found::Cell;
        }
        Found::Foreign
    }
}

/// As [`find`]; a cell whose destroy runs is dead as long as nothing refers to it.
///
/// # Safety
/// As [`find`].
unsafe fn find_counted(object: *const u8) -> Found {
    // SAFETY: the caller's word.
    unsafe {
        let found = find(object);
        if found == Found::Cell && load_word(object) & !PURPLE == RUNNING {
            return Found::Dead;
        }
        found
    }
}

/// Whether a reference to `object` is one to a cell that lives, or whose destroy runs.
///
/// # Safety
/// As [`find`].
pub(super) unsafe fn is_living(object: *const u8) -> bool {
    // SAFETY: the caller's word.
    unsafe { find(object) == Found::Cell && load_word(object) & FREE != FREE }
}

/// Tells of a pointer that is no living cell's; true if it is one.
///
/// # Safety
/// As [`find`].
#[inline(always)]
unsafe fn is_cell(object: *const u8, what: &'static core::ffi::CStr) -> bool {
    if !CHECKED {
        return true;
    }
    // SAFETY: the caller's word.
    unsafe {
        match find(object) {
            Found::Cell => !FULLY || owned(object, what),
            found => {
                refuse(object, found, what);
                false
            }
        }
    }
}

#[cold]
#[inline(never)]
fn refuse(object: *const u8, found: Found, what: &'static core::ffi::CStr) {
    let status = if found == Found::Dead { KnStatus::DoubleFree } else { KnStatus::Foreign };
    // The hook may jump away, from the middle of a destruction too.
    let state = port::counted().cast::<Counted>();
    if state.is_null() {
        port::report(status, object, what);
    } else {
        // SAFETY: the calling thread's state.
        unsafe { Counted::call(state, || port::report(status, object, what)) };
    }
}

/// Whether the calling thread may count this cell; `checks-full` only.
///
/// # Safety
/// `object` is a cell.
unsafe fn owned(object: *const u8, what: &'static core::ffi::CStr) -> bool {
    #[cfg(unix)]
    // SAFETY: the caller's word.
    unsafe {
        #[cfg(feature = "arena")]
        if super::scoped::is_scoped(object) {
            return true;
        }
        let state = owner(object);
        if !state.is_null() && (*state).source.heap().is_null() && state.cast() != port::process_counted() {
            port::report(KnStatus::Order, object, what);
            return false;
        }
    }
    let _ = (object, what);
    true
}

/// One reference more. Answers its argument; null does nothing.
///
/// # Safety
/// `object` is null or a cell that this thread may count.
#[inline(always)]
pub unsafe fn add_ref(object: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        if !object.is_null() && is_cell(object, c"GC_ref") {
            count_up(object);
        }
    }
    object
}

/// # Safety
/// `object` is a cell.
#[inline(always)]
unsafe fn count_up(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        let word = load_word(object).wrapping_add(ONE) & !PURPLE;
        if (word as i32) < 0 {
            return special_ref(object);
        }
        (*header(object)).word = word;
    }
}

/// One reference more to a cell whose word is special, or whose count is at its end.
///
/// # Safety
/// `object` is a cell.
#[cold]
#[inline(never)]
pub unsafe fn special_ref(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        let head = header(object);
        let word = load_word(object);
        if word & SPECIAL == 0 {
            // A count that is full: the cell stays for ever, its root entry would too.
            if word & ROOT != 0 {
                Counted::remove_root(owner(object), object);
            }
            (*head).word = IMMORTAL | ACYCLIC;
            return;
        }
        match word & (SPECIAL | STATE) {
            SHARED => shared::add_ref(object),
            SEARCHED => Counted::searched_ref(owner(object), object),
            DEAD if word & FREE == RUNNING => (*head).word = word + ONE,
            DEAD => refuse(object, Found::Dead, c"GC_ref"),
            _ => {}
        }
    }
}

/// One reference less; null does nothing.
///
/// # Safety
/// `object` is null or a cell, and the caller owns the reference that goes.
#[inline(always)]
pub unsafe fn release(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        if !object.is_null() && is_cell(object, c"GC_unref") {
            count_down(object);
        }
    }
}

/// # Safety
/// `object` is a cell.
#[inline(always)]
pub(super) unsafe fn count_down(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe { count_down_or(object, |object| special_release(object)) }
}

/// [`count_down`] for a reference that a cell held which is being destroyed.
///
/// # Safety
/// `object` is a cell.
#[inline(always)]
pub(super) unsafe fn count_down_dropped(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe { count_down_or(object, |object| special_drop(object)) }
}

/// One reference less, or what `special` does with a last one and with special cells.
///
/// # Safety
/// `object` is a cell.
#[inline(always)]
unsafe fn count_down_or(object: *mut u8, special: impl FnOnce(*mut u8)) {
    // SAFETY: the caller's word.
    unsafe {
        let before = load_word(object);
        if (before as i32) < 2 * ONE as i32 {
            return special(object);
        }
        let word = before - ONE;
        (*header(object)).word = word | PURPLE;
        if word & (ROOT | ACYCLIC) == 0 {
            first_root(object);
        }
    }
}

/// Registers a cell that lost a reference, and starts a collection if it is time.
///
/// # Safety
/// `object` is an ordinary cell that is no root.
#[inline(never)]
pub unsafe fn first_root(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        let this = owner(object);
        Counted::push_root(this, object);
        if (*this).roots.len >= (*this).trip {
            Counted::tripped(this);
        }
    }
}

/// One reference less of a last one, or of a cell whose word is special.
///
/// # Safety
/// `object` is a cell.
#[inline(never)]
pub unsafe fn special_release(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        let head = header(object);
        let word = load_word(object);
        if word & SPECIAL == 0 {
            if word < ONE {
                return refuse(object, Found::Dead, c"GC_unref");
            }
            return Counted::die(owner(object), object);
        }
        match word & (SPECIAL | STATE) {
            SHARED => shared::release(object),
            SEARCHED => Counted::searched_release(owner(object), object),
            DEAD if word & FREE == RUNNING && word & COUNT != 0 => (*head).word = word - ONE,
            DEAD => refuse(object, Found::Dead, c"GC_unref"),
            _ => {}
        }
    }
}

/// Makes a slot refer to a cell, or to none: the new one gains a reference before the old one loses
/// it, so both may be the same.
///
/// # Safety
/// `slot` holds null or a reference that it owns; `object` is null or a cell.
#[inline(always)]
pub unsafe fn assign(slot: *mut *mut u8, object: *mut u8) {
    // SAFETY: the caller's word. What is out of the ordinary is done from the start elsewhere, as the last thing
    // here: so there is no frame.
    unsafe {
        if !object.is_null() {
            let unaligned = if CHECKED { object.addr() as u32 & 7 } else { 0 };
            if unaligned | port::any_resident() != 0 || CHECKED && !sealed(object) {
                return assign_slowly(slot, object);
            }
            let word = load_word(object).wrapping_add(ONE) & !PURPLE;
            if (word as i32) < 0 {
                return assign_slowly(slot, object);
            }
            (*header(object)).word = word;
        }
        let before = slot.read();
        slot.write(object);
        if before.is_null() {
            return;
        }
        if CHECKED && !(before.addr() & 7 == 0 && sealed(before)) {
            return release_slowly(before);
        }
        count_down_from(slot, before);
    }
}

/// # Safety
/// As [`release`].
#[cold]
#[inline(never)]
unsafe fn release_slowly(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe { release(object) }
}

/// As [`assign`], whatever the cell is.
///
/// # Safety
/// As there.
#[cold]
#[inline(never)]
unsafe fn assign_slowly(slot: *mut *mut u8, object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        if !is_cell(object, c"GC_assign") || !resident::allowed(slot, object) {
            return;
        }
        #[cfg(feature = "arena")]
        if super::scoped::is_scoped(object) {
            crate::arena::KnArena::stored(slot, object);
        } else {
            count_up(object);
        }
        #[cfg(not(feature = "arena"))]
        count_up(object);
        let before = slot.read();
        slot.write(object);
        if !before.is_null() && is_cell(before, c"GC_assign") {
            count_down_from(slot, before);
        }
    }
}

/// One reference less to a cell that a slot referred to.
///
/// # Safety
/// `object` is a cell; the slot has been written.
#[inline(always)]
unsafe fn count_down_from(slot: *mut *mut u8, object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe { count_down_or(object, |object| special_release_from(slot, object)) }
}

/// As [`special_release`], for a reference that a slot held.
///
/// # Safety
/// As there.
#[inline(never)]
unsafe fn special_release_from(slot: *mut *mut u8, object: *mut u8) {
    let _ = slot;
    // SAFETY: the caller's word.
    unsafe {
        #[cfg(feature = "arena")]
        if super::scoped::is_scoped(object) {
            return crate::arena::KnArena::overwritten(slot, object);
        }
        special_release(object);
    }
}

/// A cell that is being destroyed held a reference to one that is not ordinary.
///
/// # Safety
/// As [`special_release`].
#[cold]
#[inline(never)]
pub(super) unsafe fn special_drop(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        #[cfg(feature = "arena")]
        if super::scoped::is_scoped(object) {
            return crate::arena::KnArena::dropped(object);
        }
        special_release(object);
    }
}

/// Takes the reference out of a slot and leaves null; no count changes.
///
/// # Safety
/// As [`assign`].
#[inline(always)]
pub unsafe fn take(slot: *mut *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        let object = slot.read();
        slot.write(null_mut());
        if !object.is_null() && (load_word(object) as i32) < 0 {
            #[cfg(feature = "arena")]
            if super::scoped::is_scoped(object) {
                crate::arena::KnArena::overwritten(slot, object);
                return object;
            }
            special_take(object);
        }
        object
    }
}

/// A reference is in the program's hands that was in a slot: a search must not take the cell for
/// one that only slots refer to.
///
/// # Safety
/// `object` is a cell.
#[cold]
#[inline(never)]
pub unsafe fn special_take(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        if load_word(object) & (SPECIAL | STATE) == SEARCHED {
            Counted::touched(owner(object), object);
        }
    }
}

/// The number of references; [`KN_IMMORTAL`] if they are no longer counted, 0 for null.
///
/// # Safety
/// `object` is null or a cell.
pub unsafe fn count(object: *const u8) -> u32 {
    if object.is_null() {
        return 0;
    }
    // SAFETY: the caller's word.
    unsafe {
        if CHECKED && find(object) != Found::Cell {
            return 0;
        }
        let word = load_word(object);
        if word & SPECIAL == 0 {
            return word >> 5;
        }
        match word & (SPECIAL | STATE) {
            SHARED => (word & COUNT) >> 5,
            SEARCHED => Counted::searched_word(owner(object), object) >> 5,
            DEAD => 0,
            _ => KN_IMMORTAL,
        }
    }
}

/// Grain's decRef: as [`release`]; a count of zero goes to the error hook in Grain's words.
///
/// # Safety
/// As [`release`].
pub unsafe fn dec_ref(object: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        if !object.is_null() {
            match find_counted(object) {
                Found::Cell => count_down(object),
                Found::Dead => {
                    port::report(KnStatus::DoubleFree, object, c"DecRefError: Reference count of zero");
                }
                found => refuse(object, found, c"GC_decRef"),
            }
        }
    }
    object
}

/// Grain's decRefIgnoreZeros: as [`dec_ref`], silent on a count of zero.
///
/// # Safety
/// As [`release`].
pub unsafe fn dec_ref_ignore_zeros(object: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        if !object.is_null() {
            match find_counted(object) {
                Found::Cell => count_down(object),
                Found::Dead => {}
                found => refuse(object, found, c"GC_decRefIgnoreZeros"),
            }
        }
    }
    object
}

/// Grain's free: ends a cell whatever its count. Its references are not released, its destroy not called.
///
/// # Safety
/// `object` is null or a cell that is not used any more.
pub unsafe fn end(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        if object.is_null() || !is_cell(object, c"GC_freeObject") {
            return;
        }
        let word = load_word(object);
        if word & (SPECIAL | STATE) == SHARED {
            return shared::give(object);
        }
        // It goes with its arena.
        #[cfg(feature = "arena")]
        if super::scoped::is_scoped_word(word) {
            return;
        }
        let this = owner(object);
        if word & DEAD == DEAD {
            return refuse(object, Found::Dead, c"GC_freeObject");
        }
        Counted::forget(this, object);
        let record = Counted::record_of(this, object);
        Counted::give(this, object, record);
    }
}

/// Whether the caller's reference is the only one.
///
/// # Safety
/// As [`count`].
pub unsafe fn is_unique(object: *const u8) -> bool {
    // SAFETY: the caller's word.
    unsafe { count(object) == 1 }
}

/// Gives a reference up for the cell's memory: if it is the last one, destroys the contents and answers
/// the cell, zeroed, with a count of 1; else gives the reference up and answers null.
///
/// # Safety
/// As [`release`].
pub unsafe fn drop_reuse(object: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        if object.is_null() || !is_cell(object, c"GC_dropReuse") {
            return null_mut();
        }
        let word = load_word(object);
        if word & (SPECIAL | STATE) == SHARED || count(object) != 1 {
            count_down(object);
            return null_mut();
        }
        Counted::reuse(owner(object), object)
    }
}

/// Bytes that may be used at a cell.
///
/// # Safety
/// As [`count`].
pub unsafe fn size_of_cell(object: *const u8) -> usize {
    // SAFETY: the caller's word.
    unsafe {
        if object.is_null() || CHECKED && find(object) != Found::Cell {
            return 0;
        }
        #[cfg(feature = "arena")]
        if super::scoped::is_scoped(object) {
            return crate::arena::KnArena::size_of_cell(object.cast_mut());
        }
        bytes_of(object) - super::cell::HEADER
    }
}

/// The type of a cell; 0 if it is none.
///
/// # Safety
/// As [`count`].
pub unsafe fn type_of(object: *const u8) -> KnTypeId {
    const { assert!(TYPE < KN_IMMORTAL) };
    // SAFETY: the caller's word.
    unsafe {
        if object.is_null() || CHECKED && find(object) != Found::Cell {
            return 0;
        }
        type_id(object)
    }
}
