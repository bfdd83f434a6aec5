//! Shared cells: counted from any thread.
//!
//! Guarantees
//! * Counting is atomic; where the processor has no atomic addition, under the platform's lock (on bare
//!   metal the interrupt mask).
//! * The thread that gives up the last reference destroys the cell, with everything the others wrote visible.
//! * Their memory is the process heap's (on bare metal the default heap's), so any thread can give it back.
//! * They belong to no state: no root, no search, no list; they may refer to shared cells only.
//!
//! ```text
//!   | Single: descriptor, owner = null, bytes | 1 count 01 … | kind | payload |
//! ```
//! Cost: one atomic operation to count; a block of the heap to make.
//!
//! Source: the last release acquires, as in Boost's shared_ptr (Williams, "C++ Concurrency in
//! Action").

use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

use super::cell::{
    header, CellHeader, ACYCLIC, COUNT, DEAD, FINALISED, HEADER, IMMORTAL, ONE, RUNNING, SHARED, SINGLE,
};
use super::pages::{single_of, Single, SINGLE_LEAD};
use super::state::{current, Counted};
use super::types::{KnType, KnTypeId, Record};
use crate::heap::KnStatus;
use crate::memory::Source;
use crate::port;

/// Counts above this are no longer counted.
const FULL: u32 = COUNT / 2;

/// Adds to the word of a shared cell and answers what it was.
///
/// # Safety
/// `object` is a shared cell.
#[inline(always)]
unsafe fn add(object: *mut u8, by: u32, order: Ordering) -> u32 {
    // SAFETY: the caller's word; every access of a shared word is atomic.
    let word = unsafe { AtomicU32::from_ptr(&raw mut (*header(object)).word) };
    #[cfg(target_has_atomic = "32")]
    return word.fetch_add(by, order);
    #[cfg(not(target_has_atomic = "32"))]
    port::Lock::new().with(|| {
        let _ = order;
        let before = word.load(Ordering::Relaxed);
        word.store(before.wrapping_add(by), Ordering::Relaxed);
        before
    })
}

/// A new shared cell.
///
/// # Safety
/// `id` is a shared type of the state.
pub(super) unsafe fn new_shared(this: *mut Counted, id: KnTypeId, payload: usize) -> *mut u8 {
    // SAFETY: the block holds all that is written.
    unsafe {
        let record = Counted::record(this, id);
        let bytes = (payload + HEADER).next_multiple_of(8);
        let single = Source::new(null_mut()).take(size_of::<Single>() + bytes).cast::<Single>();
        if single.is_null() {
            return null_mut();
        }
        let _ = single.expose_provenance();
        single.write(Single::shared((*record).descriptor, bytes));
        let object = single.cast::<u8>().wrapping_add(SINGLE_LEAD);
        object.write_bytes(0, bytes - HEADER);
        let kind = (*record).kind ^ (object.addr() as u32) << 13 | SINGLE;
        header(object).write(CellHeader { word: SHARED | ACYCLIC | ONE, kind });
        tally((*record).descriptor, bytes, true);
        object
    }
}

/// Counts the living shared cells of a type.
///
/// # Safety
/// `descriptor` is a registered type's.
unsafe fn tally(descriptor: *const KnType, bytes: usize, born: bool) {
    #[cfg(unix)]
    if let Some(index) = crate::hosted::collectors::register_type(descriptor.cast()) {
        let cells = crate::hosted::collectors::shared_count(index);
        let sum = crate::hosted::collectors::shared_bytes(index);
        if born {
            cells.fetch_add(1, Ordering::Relaxed);
            sum.fetch_add(bytes, Ordering::Relaxed);
        } else {
            cells.fetch_sub(1, Ordering::Relaxed);
            sum.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
    // There the type's own record has them, the default heap's.
    #[cfg(not(unix))]
    // SAFETY: the caller's word.
    unsafe {
        let this = current();
        if !this.is_null() {
            let id = Counted::register(this, descriptor);
            port::Lock::new().with(|| (*Counted::record(this, id)).count_cell(bytes, born));
        }
    }
}

/// GC_ref.
///
/// # Safety
/// `object` is a shared cell.
pub(super) unsafe fn add_ref(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        let before = add(object, ONE, Ordering::Relaxed);
        if before & COUNT >= FULL {
            AtomicU32::from_ptr(&raw mut (*header(object)).word).store(IMMORTAL | ACYCLIC, Ordering::Relaxed);
        }
    }
}

/// GC_unref.
///
/// # Safety
/// `object` is a shared cell.
pub(super) unsafe fn release(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        let before = add(object, ONE.wrapping_neg(), Ordering::Release);
        if before & COUNT > ONE {
            return;
        }
        if before & COUNT == 0 {
            add(object, ONE, Ordering::Relaxed);
            return port::report(KnStatus::DoubleFree, object, c"GC_unref");
        }
        // What the others did to the cell came before their releases. (An acquire fence says the same, but
        // not to ThreadSanitizer.)
        let _ = AtomicU32::from_ptr(&raw mut (*header(object)).word).load(Ordering::Acquire);
        let this = current();
        if this.is_null() {
            // Nothing is counted on this thread, and there is no memory for it: without the list.
            let mut none = null_mut();
            return destroy(null_mut(), object, &mut none);
        }
        Counted::wait(this, object);
        Counted::drain(this, (*this).settings.frees_per_release);
    }
}

/// Destroys a shared cell that nothing refers to; `running` says what is under way.
///
/// # Safety
/// `object` is a shared cell that waited, its seal in place.
pub(super) unsafe fn destroy(this: *mut Counted, object: *mut u8, running: &mut *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        let head = header(object);
        let descriptor = (*single_of(object)).descriptor();
        let record = Record::of(descriptor, (*head).kind & super::cell::TYPE);
        (*head).word = RUNNING;
        *running = object;
        if (*head).kind & FINALISED == 0 {
            (*head).kind |= FINALISED;
            if let Some(destroy) = (*descriptor).destroy {
                call(this, || destroy(object.cast()));
            }
        }
        if !revive(object) {
            super::trace::each_named(&record, object, |slot| Counted::drop_slot(slot));
            call(this, || super::trace::by_callback(&record, object, &mut |slot| Counted::drop_slot(slot)));
            *running = null_mut();
            if !revive(object) {
                give(object);
            }
        }
        *running = null_mut();
    }
}

/// Runs code of the program's, for a state if there is one.
///
/// # Safety
/// As [`Counted::call`].
unsafe fn call(this: *mut Counted, callback: impl FnOnce()) {
    if this.is_null() {
        callback();
    } else {
        // SAFETY: the caller's word.
        unsafe { Counted::call(this, callback) };
    }
}

/// Makes a cell whose destroy took a reference to it a shared one again; whether it did.
///
/// # Safety
/// `object` is a shared cell whose word is RUNNING with a count.
pub(super) unsafe fn revive(object: *mut u8) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        let word = (*header(object)).word;
        if word & COUNT == 0 || word & DEAD != DEAD {
            return false;
        }
        let word = SHARED | ACYCLIC | word & COUNT;
        AtomicU32::from_ptr(&raw mut (*header(object)).word).store(word, Ordering::Release);
        true
    }
}

/// Gives a shared cell's memory back.
///
/// # Safety
/// `object` is a shared cell that is not used any more.
pub(super) unsafe fn give(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        let single = single_of(object);
        tally((*single).descriptor(), (*single).bytes(), false);
        header(object).write(CellHeader { word: super::cell::FREE, kind: super::cell::dead_single(object) });
        Source::new(null_mut()).give(single.cast());
    }
}
