//! Destruction: what happens to a cell that nothing refers to.
//!
//! Guarantees
//! * First the type's `destroy`, once in a cell's life, its references still in place; then the references
//!   are released; then the memory goes. Cells that this sets free follow, one after the other.
//! * No recursion and no memory: what waits is linked through the dead headers. A list of 10^7 cells
//!   and a tree of any depth need the stack of one call.
//! * A `destroy` or `trace` that drops references adds to what waits; nothing of the same heap is destroyed
//!   inside it.
//!   One that takes a reference to its own cell keeps the cell. One that jumps away (longjmp) leaves its
//!   cell to be finished by the next call; its `destroy` does not run again.
//! * With a budget a call destroys so many cells, and the rest waits for the next one.
//!
//! ```text
//!   die --> near (on the stack, 16) --> destroyed      running: its callbacks are under way
//!             | full, or callbacks
//!             v
//!   waiting --> | cell | --> | cell | --> …            link in count and seal
//! ```
//!
//! Cost: O(1) a cell and O(1) a reference.

use core::mem::MaybeUninit;
use core::ptr::null_mut;

use super::cell::{
    header, link, load_word, reseal, set_link, ACYCLIC, COUNT, FINALISED, FREE, ONE, PURPLE, ROOT, RUNNING, SINGLE,
    SPECIAL, TYPE,
};
use super::count::{count_down, count_down_dropped, special_drop};
use super::pages::{owner, SINGLE_LEAD};
use super::settings::KN_GC_TORTURE;
use super::state::Counted;
use super::trace::{by_callback, each_named, is_traced, Slot};
use super::types::{Record, PLAIN, SIMPLE};
use crate::memory;

/// Dead cells that a call holds on its stack before they wait in the list.
const NEAR: usize = 16;

impl Counted {
    /// The last reference to a cell went.
    ///
    /// # Safety
    /// `object` is an ordinary cell of this state with a count of 1.
    pub(super) unsafe fn die(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            if (*header(object)).word & ROOT != 0 {
                Self::remove_root(this, object);
            }
            let budget = (*this).settings.frees_per_release;
            let record = Self::record_of(this, object);
            if (*record).has(PLAIN) && budget == u32::MAX {
                return Self::give(this, object, record);
            }
            if !Self::enter(this) {
                return Self::wait(this, object);
            }
            Self::destroy_from(this, object, budget);
            Self::leave(this);
        }
    }

    /// Puts a cell before those that wait.
    ///
    /// # Safety
    /// `object` is a cell of this state that is no root.
    #[inline(always)]
    pub(super) unsafe fn wait(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            set_link(object, (*this).waiting.addr());
            (*this).waiting = object;
            (*this).pending += 1;
        }
    }

    /// Destroys at most so many of the cells that wait, unless a call further up does.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub(super) unsafe fn drain(this: *mut Self, budget: u32) {
        // SAFETY: the caller's word.
        unsafe {
            if !Self::enter(this) {
                return;
            }
            Self::destroy_waiting(this, budget);
            Self::leave(this);
        }
    }

    /// Makes a cell whose destroy has run an ordinary one again if something refers to it; whether it did.
    ///
    /// # Safety
    /// `object` is a cell whose word is RUNNING with a count.
    pub(super) unsafe fn revive(this: *mut Self, object: *mut u8) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if owner(object).is_null() {
                return super::shared::revive(object);
            }
            let head = header(object);
            let count = (*head).word & COUNT;
            if count == 0 {
                return false;
            }
            let acyclic = (*Self::record_of(this, object)).word & ACYCLIC;
            (*head).word = count | acyclic;
            // What refers to it now may be a cycle through itself.
            if acyclic == 0 && !(*this).settings.arc() {
                (*head).word |= PURPLE;
                Self::push_root(this, object);
            }
            true
        }
    }

    /// Destroys cells that wait; [`Counted::enter`] was called.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn destroy_waiting(this: *mut Self, budget: u32) {
        // SAFETY: the caller's word.
        unsafe {
            if !(*this).waiting.is_null() {
                Self::destroy_from(this, null_mut(), budget);
            }
        }
    }

    /// Destroys a dead cell, if one is given, and cells that wait; [`Counted::enter`] was called.
    ///
    /// # Safety
    /// As there; `object` is null or a cell of this state with its seal and one reference that is gone.
    #[inline(never)]
    unsafe fn destroy_from(this: *mut Self, object: *mut u8, budget: u32) {
        // SAFETY: what waits are dead cells of this state.
        unsafe {
            // Dead cells that need not wait in the list. No callback runs while there is one here.
            let mut near = MaybeUninit::<[*mut u8; NEAR]>::uninit();
            let near = near.as_mut_ptr().cast::<*mut u8>();
            let mut count = usize::from(!object.is_null());
            near.write(object);
            let mut left = budget;
            loop {
                if left == 0 {
                    return Self::wait_all(this, near, count);
                }
                left -= 1;
                let object = if count > 0 {
                    count -= 1;
                    near.wrapping_add(count).read()
                } else {
                    let object = Self::first_waiting(this);
                    if object.is_null() {
                        return;
                    }
                    object
                };
                let kind = (*header(object)).kind;
                let record = Self::record(this, kind & TYPE);
                if kind & SINGLE != 0 || !(*record).has(SIMPLE) {
                    Self::wait_all(this, near, count);
                    count = 0;
                    Self::destroy(this, object);
                    continue;
                }
                each_named(record, object, |slot| {
                    let child = slot.read();
                    if child.is_null() {
                        return;
                    }
                    let word = load_word(child);
                    // The last reference to an ordinary cell that is no root.
                    if word & !(PURPLE | ACYCLIC) != ONE {
                        count_down_dropped(child);
                    } else if count < NEAR {
                        // One reference too few counted, and it comes here twice: then it is refused.
                        (*header(child)).word = RUNNING;
                        near.wrapping_add(count).write(child);
                        count += 1;
                    } else {
                        Self::wait(this, child);
                    }
                });
                (*record).one_less();
                Self::give_to_page(this, object);
            }
        }
    }

    /// # Safety
    /// `count` cells at `cells` are dead ones of this state, with their seals.
    #[inline(never)]
    unsafe fn wait_all(this: *mut Self, cells: *const *mut u8, count: usize) {
        for n in 0..count {
            // SAFETY: the caller's word.
            unsafe { Self::wait(this, cells.wrapping_add(n).read()) };
        }
    }

    /// Takes the first of the cells that wait, with its seal; null when there is none.
    ///
    /// # Safety
    /// `this` is a live state.
    #[inline(always)]
    unsafe fn first_waiting(this: *mut Self) -> *mut u8 {
        // SAFETY: links lead from one waiting cell to the next.
        unsafe {
            let object = (*this).waiting;
            if !object.is_null() {
                let next = link(object);
                (*this).waiting = if next == 0 { null_mut() } else { memory::at((*this).source.heap(), next) };
                (*this).pending -= 1;
                reseal(object);
            }
            object
        }
    }

    /// Destroys a cell of a type with callbacks or an array, one with a block of its own, or a shared one.
    ///
    /// # Safety
    /// `object` is dead and out of the list, its seal in place.
    #[inline(never)]
    unsafe fn destroy(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            if (*header(object)).kind & SINGLE != 0 && owner(object).is_null() {
                return super::shared::destroy(this, object, &mut (*this).running);
            }
            if !Self::destroy_by_callbacks(this, object) {
                return;
            }
            let record = Self::record_of(this, object);
            each_named(record, object, |slot| Self::drop_slot(slot));
            Self::give(this, object, record);
        }
    }

    /// Releases what a slot of a dead cell refers to, and leaves null: this may be done again after a
    /// callback jumped away.
    ///
    /// # Safety
    /// `slot` is one of a cell that is being destroyed.
    pub(super) unsafe fn drop_slot(slot: Slot) {
        // SAFETY: the caller's word.
        unsafe {
            let child = slot.read();
            if !child.is_null() {
                slot.write(null_mut());
                Self::drop_child(child);
            }
        }
    }

    /// One reference less to a cell, from one that is being destroyed: what dies waits.
    ///
    /// # Safety
    /// `child` is a cell.
    #[inline(always)]
    pub(super) unsafe fn drop_child(child: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            let word = load_word(child);
            if word < ONE * 2 && word & ROOT == 0 {
                if word >= ONE {
                    return Self::wait(owner(child), child);
                }
                return special_drop(child);
            }
            count_down_dropped(child);
        }
    }

    /// Runs the type's destroy and trace callbacks; false when the cell lives on, or is finished elsewhere.
    ///
    /// # Safety
    /// As [`Counted::destroy`].
    #[inline(never)]
    unsafe fn destroy_by_callbacks(this: *mut Self, object: *mut u8) -> bool {
        // SAFETY: the caller's word. Whatever the callbacks do, `running` says what to finish.
        unsafe {
            let head = header(object);
            (*head).word = RUNNING;
            (*this).running = object;
            let record = Self::record_of(this, object);
            if (*head).kind & FINALISED == 0 {
                (*head).kind |= FINALISED;
                if let Some(destroy) = (*(*record).descriptor).destroy {
                    Self::call(this, || destroy(object.cast()));
                    if Self::revive(this, object) {
                        (*this).running = null_mut();
                        return false;
                    }
                }
            }
            // A callback may have registered types: the table may have moved.
            let record = Self::record_of(this, object);
            if is_traced(record) {
                Self::call(this, || by_callback(record, object, &mut |slot| Self::drop_slot(slot)));
                if Self::revive(this, object) {
                    (*this).running = null_mut();
                    return false;
                }
            }
            (*this).running = null_mut();
            true
        }
    }

    /// What [`super::drop_reuse`] does with a last reference.
    ///
    /// # Safety
    /// `object` is an ordinary cell of this state, or one under search, with a count of 1.
    pub(super) unsafe fn reuse(this: *mut Self, object: *mut u8) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if !Self::enter(this) {
                // From a callback: the memory can't be waited for.
                count_down(object);
                return null_mut();
            }
            Self::forget(this, object);
            let whole = Self::destroy_contents(this, object);
            if whole {
                let record = Self::record_of(this, object);
                (*header(object)).word = (*record).word;
                (*header(object)).kind &= !FINALISED;
                object.write_bytes(0, super::pages::bytes_of(object) - super::cell::HEADER);
            }
            Self::destroy_waiting(this, (*this).settings.frees_per_release);
            Self::leave(this);
            if whole {
                object
            } else {
                null_mut()
            }
        }
    }

    /// Destroys a cell but for its memory; false when it lives on.
    ///
    /// # Safety
    /// `object` is a cell that nothing knows of; [`Counted::enter`] was called.
    unsafe fn destroy_contents(this: *mut Self, object: *mut u8) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if !Self::destroy_by_callbacks(this, object) {
                return false;
            }
            let record = Self::record_of(this, object);
            each_named(record, object, |slot| Self::drop_slot(slot));
            true
        }
    }

    /// Takes a cell out of everything that knows of it: roots, search.
    ///
    /// # Safety
    /// `object` is a cell of this state, ordinary, immortal or under search.
    pub(super) unsafe fn forget(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            let head = header(object);
            if (*head).word & SPECIAL != 0 {
                Self::leave_search(this, object);
            }
            if (*head).word & (SPECIAL | ROOT) == ROOT {
                Self::remove_root(this, object);
                (*head).word &= !ROOT;
            }
        }
    }

    /// What an allocation does besides: some of the lazy work; in torture a collection and a check.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    #[cold]
    pub(super) unsafe fn before_new(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).settings.frees_per_new != 0 && !(*this).waiting.is_null() {
                Self::drain(this, (*this).settings.frees_per_new);
            }
            if (*this).settings.has(KN_GC_TORTURE) && !Self::is_inside(this) {
                Self::torture(this);
            }
        }
    }
}

const _: () = assert!(FREE & RUNNING == RUNNING && SINGLE_LEAD % 8 == 0);

/// As types.rs says; on 64-bit targets its index becomes an address by a shift.
const _: () = assert!(size_of::<Record>() == if cfg!(target_pointer_width = "64") { 64 } else { 44 });
