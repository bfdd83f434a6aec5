//! Trial deletion on a part of the graph, in steps.
//!
//! Guarantees
//! * A cell is found to be garbage only if every reference to it comes from garbage found with it. That
//!   is sound for any set of cells: where the set ends, its edges count as references from outside.
//! * Counts stay exact all the time: what is subtracted on trial is subtracted in the entries.
//! * The program may run between two steps, and change the graph. It keeps one rule: a reference leaves
//!   a slot by GC_assign, GC_move or GC_unref. Each of them, and GC_ref, marks its cell as touched.
//! * Without memory for more entries the set stays as it is, and what can't be decided stays a root.
//! * All slots that the collector looks at are null in a garbage cell before any destructor runs.
//!
//! ```text
//!   header of a cell in the set: | 1 | index | 10 … |      entries:
//!                                       |          +------+-----------------+-------+
//!                                       +--------> | cell | word, colour    | trial |
//!                                                  +------+-----------------+-------+
//!   Load     a root becomes an entry            trial = count
//!   Count    each edge inside the set           trial of its target - 1     (gray)
//!            then, if each root brings a number of cells along at most, the next root
//!   Blacken  trial > 0, or touched, and all that they reach                 (black)
//!   Sever    what is left is white: its edges are removed
//!   Bury     white cells wait for destruction, black ones get their word back
//! ```
//! Why the steps may be apart: let W be what is left. No cell of W was touched, so each kept all its
//! references; and for each, as many references as it has were seen in slots of the set. A reference
//! seen in a slot stays there, or its leaving would have touched the cell. So all references to W lie in
//! slots of the set, none of them in a black cell, or the target were black. Nothing outside leads to W.
//!
//! Costs: 16 bytes an entry (12 on 32-bit targets); O(cells + edges) of the set. If no trial count is
//! left, Blacken is skipped.
//!
//! Sources: Lins, "Cyclic reference counting with lazy mark-scan" (1992); Bacon and Rajan (2001); the
//! set of entries instead of recursion, and the removal of edges before disposal, as in Nim's ORC.

use core::ptr::null_mut;

use super::cell::{header, ACYCLIC, COUNT, ONE, PURPLE, ROOT, SEARCHED, SPECIAL, STATE};
use super::count::special_release;
use super::state::Counted;
use super::trace::{by_callback, each_named, is_traced, slot, slots, Slot};
use super::types::SIMPLE;

/// A cell of the set.
#[repr(C)]
pub(crate) struct Entry {
    /// Null: it died meanwhile.
    pub(super) cell: *mut u8,
    /// Its word, with a colour in the place of the state, and [`INPUT`].
    pub(super) word: u32,
    /// Gray: references not yet found inside; pending: the next pending entry.
    pub(super) trial: u32,
}

pub(super) const COLOUR: u32 = STATE;
pub(super) const GRAY: u32 = 0;
const PENDING: u32 = 1 << 3;
const BLACK: u32 = 2 << 3;
/// It was a root. (A cell of the set is not acyclic, so the flag's place is free.)
const INPUT: u32 = ACYCLIC;
const NONE: u32 = u32::MAX;
/// Entries for which there is room at first, and after a collection.
const FIRST_ROOM: usize = 64;
const KEPT_ROOM: usize = if cfg!(target_pointer_width = "64") { 1 << 14 } else { 128 };
/// Slots looked at for the price of a cell.
const SLOTS_A_UNIT: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    Idle = 0,
    Load,
    Count,
    Blacken,
    Sever,
    Bury,
}

/// A search, or none.
#[repr(C)]
pub(crate) struct Search {
    pub entries: *mut Entry,
    pub len: usize,
    room: usize,
    /// Most entries, most that each root brings along, and the most for the present one.
    limit: usize,
    reach: usize,
    bound: usize,
    /// Roots from this index on are the input.
    first_root: usize,
    /// Entry and slot that are next.
    pub(super) cursor: usize,
    pub(super) next_slot: usize,
    /// References to gray entries not yet found inside.
    pub(super) total: usize,
    /// First pending entry, and the one being scanned, or `NONE`.
    pub(super) pending: u32,
    pub(super) current: u32,
    pub phase: Phase,
    /// Some edge leads out of the set that could have been followed.
    pub truncated: bool,
    /// A trace callback runs.
    pub(super) in_callback: bool,
    /// A cell died meanwhile: what it referred to was held for alive, perhaps wrongly.
    pub(super) uncertain: bool,
    touched: bool,
    /// White cells buried.
    pub found: usize,
    /// Cells that were in the set of the last search, and its roots.
    pub seen: usize,
    pub inputs: usize,
}

impl Search {
    /// Whether it has no memory of its own.
    pub fn is_empty(&self) -> bool {
        self.room == 0
    }

    /// Its memory, as room for so many pointers, while no search is under way.
    pub fn lend(&self) -> (*mut *mut u8, usize) {
        (self.entries.cast(), self.room * size_of::<Entry>() / size_of::<usize>())
    }

    /// Bytes of its memory.
    pub fn bytes(&self) -> usize {
        self.room * size_of::<Entry>()
    }
}

impl Counted {
    /// # Safety
    /// The index is below `len`.
    #[inline(always)]
    pub(super) unsafe fn entry(this: *mut Self, index: usize) -> *mut Entry {
        // SAFETY: the caller's word.
        unsafe { (*this).search.entries.wrapping_add(index) }
    }

    /// The entry of a cell whose word says SEARCHED, if it is in this state's set.
    ///
    /// # Safety
    /// `this` is a live state.
    #[inline(always)]
    pub(super) unsafe fn entry_of(this: *mut Self, object: *mut u8, word: u32) -> Option<usize> {
        let index = ((word & COUNT) >> 5) as usize;
        // SAFETY: the index is tested before it is used.
        unsafe { (index < (*this).search.len && (*Self::entry(this, index)).cell == object).then_some(index) }
    }

    /// Begins a search with the roots from `first_root` on, for at most `limit` cells, and at most `reach`
    /// for each root.
    ///
    /// # Safety
    /// No search is under way; [`Counted::enter`] was called.
    pub(super) unsafe fn begin_search(this: *mut Self, first_root: usize, limit: usize, reach: usize) {
        // SAFETY: the caller's word.
        unsafe {
            let search = &raw mut (*this).search;
            (*search).len = 0;
            (*search).limit = limit.min((*this).settings.visited_limit as usize);
            (*search).reach = reach;
            (*search).bound = 0;
            (*search).first_root = first_root;
            (*search).cursor = 0;
            (*search).next_slot = 0;
            (*search).total = 0;
            (*search).pending = NONE;
            (*search).current = NONE;
            (*search).truncated = false;
            (*search).in_callback = false;
            (*search).uncertain = false;
            (*search).touched = false;
            (*search).found = 0;
            (*search).inputs = 0;
            (*search).phase = Phase::Load;
        }
    }

    /// Goes on with a search for so many visits; whether it has ended. Adds what it used to `*used`.
    ///
    /// # Safety
    /// [`Counted::enter`] was called.
    pub(super) unsafe fn run_search(this: *mut Self, budget: usize, used: &mut usize) -> bool {
        let mut left = budget;
        // SAFETY: entries and roots below their lengths are live.
        unsafe {
            while left > 0 && (*this).search.phase != Phase::Idle {
                left = match (*this).search.phase {
                    Phase::Load => Self::load(this, left),
                    Phase::Count => Self::scan(this, left, Phase::Blacken, Self::subtract),
                    Phase::Blacken => Self::blacken(this, left),
                    Phase::Sever => Self::scan(this, left, Phase::Bury, Self::sever),
                    _ => Self::bury(this, left),
                };
            }
            *used += budget - left;
            (*this).search.phase == Phase::Idle
        }
    }

    // ------------------------------------------------------------------ the phases

    /// # Safety
    /// As [`Counted::run_search`].
    unsafe fn load(this: *mut Self, mut left: usize) -> usize {
        // SAFETY: as there.
        unsafe {
            while left > 0 {
                // With a reach, each root's cells are scanned before the next root. Else all roots join the set before
                // any scan: a reference to one that is stored later, perhaps in a cell already scanned, touches it.
                let all = (*this).roots.len <= (*this).search.first_root;
                if (all || (*this).search.reach != usize::MAX) && (*this).search.cursor < (*this).search.len {
                    (*this).search.phase = Phase::Count;
                    break;
                }
                if all {
                    Self::next_phase(this, Phase::Blacken);
                    break;
                }
                left -= 1;
                (*this).search.inputs += 1;
                let object = Self::pop_root(this);
                let word = (*header(object)).word;
                if word & SPECIAL != 0 {
                    // Reached from another root already.
                    if let Some(index) = Self::entry_of(this, object, word) {
                        let entry = Self::entry(this, index);
                        // If the program touched it meanwhile, it is a candidate of the next search.
                        let spent = if (*entry).word & COLOUR == GRAY { ROOT | PURPLE } else { ROOT };
                        (*entry).word = (*entry).word & !spent | INPUT;
                    }
                    continue;
                }
                (*header(object)).word = word & !ROOT;
                // Referred to anew since it lost a reference: no longer a candidate.
                if word & PURPLE == 0 {
                    continue;
                }
                let search = &raw mut (*this).search;
                (*search).bound = (*search).len.saturating_add((*search).reach).min((*search).limit);
                if !Self::include(this, object, word & !(ROOT | PURPLE) | INPUT, word >> 5) {
                    // No room for it: it stays a root.
                    Self::push_root(this, object);
                    (*this).search.truncated = true;
                    Self::next_phase(this, Phase::Blacken);
                    break;
                }
            }
            left
        }
    }

    /// # Safety
    /// As [`Counted::run_search`].
    unsafe fn next_phase(this: *mut Self, phase: Phase) {
        // SAFETY: as there.
        unsafe {
            let search = &raw mut (*this).search;
            (*search).cursor = 0;
            (*search).next_slot = 0;
            (*search).phase = phase;
            // No reference from outside, nothing touched: all of it is garbage.
            if phase == Phase::Blacken && (*search).total == 0 && !(*search).touched {
                (*search).phase = Phase::Sever;
            }
        }
    }

    /// Makes a cell a member of the set; false when it is full or there is no memory.
    ///
    /// # Safety
    /// `object` is an ordinary cell of this state.
    #[inline(always)]
    unsafe fn include(this: *mut Self, object: *mut u8, word: u32, trial: u32) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let index = (*this).search.len;
            if index >= (*this).search.bound || index >= (*this).search.room && !Self::grow_search(this) {
                return false;
            }
            (*this).search.len = index + 1;
            Self::entry(this, index).write(Entry { cell: object, word, trial });
            (*this).search.total += trial as usize;
            (*header(object)).word = SEARCHED | (index as u32) << 5;
            true
        }
    }

    /// # Safety
    /// `this` is a live state.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn grow_search(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let search = &raw mut (*this).search;
            let mut room = ((*search).room * 2).max(FIRST_ROOM);
            while room > (*search).room + 8 {
                let grown = (*this).source.resize((*search).entries.cast(), room * size_of::<Entry>());
                if !grown.is_null() {
                    (*search).entries = grown.cast();
                    (*search).room = room;
                    return true;
                }
                room = (*search).room + (room - (*search).room) / 2;
            }
            false
        }
    }

    /// Calls `visit` for each slot of each entry that is gray, from where it stopped last.
    ///
    /// # Safety
    /// As [`Counted::run_search`].
    #[inline(always)]
    unsafe fn scan(this: *mut Self, mut left: usize, after: Phase, visit: unsafe fn(*mut Self, Slot)) -> usize {
        // SAFETY: as there. The callbacks find a consistent state: the cursor moves when a cell is done.
        unsafe {
            let mut index = (*this).search.cursor;
            while left > 0 {
                if index >= (*this).search.len {
                    (*this).search.cursor = index;
                    if after == Phase::Blacken && (*this).search.reach != usize::MAX {
                        (*this).search.phase = Phase::Load;
                    } else {
                        Self::next_phase(this, after);
                    }
                    return left;
                }
                let Entry { cell, word, .. } = Self::entry(this, index).read();
                if cell.is_null() || after != Phase::Blacken && word & COLOUR != GRAY {
                    left -= 1;
                } else {
                    let record = Self::record_of(this, cell);
                    if (*record).has(SIMPLE) && (*record).references as usize <= SLOTS_A_UNIT {
                        left -= 1;
                        each_named(record, cell, |slot| visit(this, slot));
                    } else {
                        (*this).search.cursor = index;
                        let (done, spent) = Self::scan_parts(this, cell, left, visit);
                        left -= spent;
                        if !done {
                            return left;
                        }
                        (*this).search.next_slot = 0;
                    }
                }
                index += 1;
            }
            (*this).search.cursor = index;
            left
        }
    }

    /// Visits the slots of one cell from `next_slot` on: whether all, and what it cost.
    ///
    /// # Safety
    /// As [`Counted::scan`].
    #[inline(always)]
    unsafe fn scan_cell(
        this: *mut Self,
        cell: *mut u8,
        left: usize,
        visit: unsafe fn(*mut Self, Slot),
    ) -> (bool, usize) {
        // SAFETY: as there.
        unsafe {
            let record = Self::record_of(this, cell);
            if (*record).has(SIMPLE) && (*record).references as usize <= SLOTS_A_UNIT {
                each_named(record, cell, |slot| visit(this, slot));
                return (true, 1);
            }
            Self::scan_parts(this, cell, left, visit)
        }
    }

    /// [`Counted::scan_cell`] for a cell that can be long, or has a trace callback.
    ///
    /// # Safety
    /// As [`Counted::scan`].
    #[inline(never)]
    unsafe fn scan_parts(
        this: *mut Self,
        cell: *mut u8,
        left: usize,
        visit: unsafe fn(*mut Self, Slot),
    ) -> (bool, usize) {
        // SAFETY: as there.
        unsafe {
            let record = Self::record_of(this, cell);
            let all = slots(record, cell);
            let from = (*this).search.next_slot;
            let to = all.min(from.saturating_add(left.saturating_mul(SLOTS_A_UNIT)));
            for n in from..to {
                visit(this, slot(record, cell, n));
            }
            let spent = (1 + (to - from) / SLOTS_A_UNIT).min(left);
            if to < all {
                (*this).search.next_slot = to;
                return (false, spent);
            }
            if (*this).traced_types && is_traced(record) {
                (*this).search.in_callback = true;
                Self::call(this, || by_callback(record, cell, &mut |slot| visit(this, slot)));
                (*this).search.in_callback = false;
            }
            (true, spent)
        }
    }

    /// Count: one reference to the slot's cell was found inside the set, which it joins if it can.
    ///
    /// # Safety
    /// `slot` is one of a cell of the set.
    #[inline(always)]
    unsafe fn subtract(this: *mut Self, slot: Slot) {
        // SAFETY: the caller's word.
        unsafe {
            let child = slot.read();
            if child.is_null() {
                return;
            }
            let word = (*header(child)).word;
            if (word as i32) < 0 {
                if word & (SPECIAL | STATE) == SEARCHED {
                    if let Some(index) = Self::entry_of(this, child, word) {
                        let entry = Self::entry(this, index);
                        if (*entry).word & COLOUR == GRAY && (*entry).trial > 0 {
                            (*entry).trial -= 1;
                            (*this).search.total -= 1;
                        }
                    }
                }
            } else if word & ACYCLIC == 0 && word >= ONE {
                // A registered root that is no input stays one; its mark is in the saved word.
                if !Self::include(this, child, word & !(PURPLE * u32::from(word & ROOT == 0)), (word >> 5) - 1) {
                    (*this).search.truncated = true;
                }
            }
        }
    }

    /// # Safety
    /// As [`Counted::run_search`].
    unsafe fn blacken(this: *mut Self, mut left: usize) -> usize {
        // SAFETY: as there.
        unsafe {
            while left > 0 {
                if (*this).search.current != NONE || (*this).search.pending != NONE {
                    left -= Self::blacken_one(this, left);
                    continue;
                }
                let index = (*this).search.cursor;
                if index >= (*this).search.len {
                    Self::next_phase(this, Phase::Sever);
                    break;
                }
                left -= 1;
                (*this).search.cursor = index + 1;
                let Entry { word, trial, .. } = Self::entry(this, index).read();
                if word & COLOUR == GRAY && trial > 0 {
                    Self::revive_entry(this, index);
                }
            }
            left
        }
    }

    /// Makes what one live cell refers to pending; what it cost.
    ///
    /// # Safety
    /// One is current or pending.
    #[inline(always)]
    unsafe fn blacken_one(this: *mut Self, left: usize) -> usize {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).search.current == NONE {
                let index = (*this).search.pending;
                let entry = Self::entry(this, index as usize);
                (*this).search.pending = (*entry).trial;
                (*entry).word = (*entry).word & !COLOUR | BLACK;
                (*this).search.current = index;
                (*this).search.next_slot = 0;
            }
            let cell = (*Self::entry(this, (*this).search.current as usize)).cell;
            if cell.is_null() {
                (*this).search.current = NONE;
                return 1;
            }
            let (done, spent) = Self::scan_cell(this, cell, left, Self::reach);
            if done {
                (*this).search.current = NONE;
                (*this).search.next_slot = 0;
            }
            spent
        }
    }

    /// Blacken: a live cell refers to the slot's cell.
    ///
    /// # Safety
    /// As [`Counted::subtract`].
    #[inline(always)]
    pub(super) unsafe fn reach(this: *mut Self, slot: Slot) {
        // SAFETY: the caller's word.
        unsafe {
            let child = slot.read();
            if child.is_null() {
                return;
            }
            let word = (*header(child)).word;
            if word & (SPECIAL | STATE) == SEARCHED {
                if let Some(index) = Self::entry_of(this, child, word) {
                    if (*Self::entry(this, index)).word & COLOUR == GRAY {
                        Self::revive_entry(this, index);
                    }
                }
            }
        }
    }

    /// A gray entry becomes pending.
    ///
    /// # Safety
    /// The index is below `len`.
    #[inline(always)]
    pub(super) unsafe fn revive_entry(this: *mut Self, index: usize) {
        // SAFETY: the caller's word.
        unsafe {
            let entry = Self::entry(this, index);
            (*entry).word |= PENDING;
            (*entry).trial = (*this).search.pending;
            (*this).search.pending = index as u32;
            (*this).search.touched = true;
        }
    }

    /// Sever: an edge of a garbage cell goes.
    ///
    /// # Safety
    /// As [`Counted::subtract`].
    #[inline(always)]
    unsafe fn sever(this: *mut Self, slot: Slot) {
        // SAFETY: the caller's word.
        unsafe {
            let child = slot.read();
            if child.is_null() {
                return;
            }
            let word = (*header(child)).word;
            if word & (SPECIAL | STATE) == SEARCHED {
                if let Some(index) = Self::entry_of(this, child, word) {
                    slot.write(null_mut());
                    let entry = Self::entry(this, index);
                    if (*entry).word & COUNT != 0 {
                        (*entry).word -= ONE;
                    }
                    // It lives by what was seen; if not all was seen, it may be garbage in a larger set.
                    let undecided = (*this).search.truncated || (*this).search.uncertain;
                    if (*entry).word & COLOUR != GRAY && undecided {
                        (*entry).word |= PURPLE;
                    }
                }
            } else if word & (SPECIAL | ACYCLIC) == 0 {
                slot.write(null_mut());
                if word < 2 * ONE {
                    return special_release(child);
                }
                // It is alive as far as that was looked at; whether it is the next look at everything tells.
                (*header(child)).word = (word - ONE) | PURPLE;
                if word & ROOT == 0 {
                    Self::keep_root(this, child);
                }
            }
            // Acyclic and shared cells are the destructor's to see, and released after it.
        }
    }

    /// # Safety
    /// As [`Counted::run_search`].
    unsafe fn bury(this: *mut Self, mut left: usize) -> usize {
        // SAFETY: as there.
        unsafe {
            while left > 0 {
                let index = (*this).search.cursor;
                if index >= (*this).search.len {
                    Self::end_search(this);
                    break;
                }
                left -= 1;
                (*this).search.cursor = index + 1;
                let Entry { cell, word, .. } = Self::entry(this, index).read();
                if cell.is_null() {
                    continue;
                }
                if word & COLOUR != GRAY && word & COUNT != 0 {
                    Self::give_word_back(this, index, (*this).search.truncated);
                    continue;
                }
                Self::entry(this, index).write(Entry { cell: null_mut(), word, trial: 0 });
                if word & ROOT != 0 {
                    Self::remove_root(this, cell);
                }
                Self::wait(this, cell);
                (*this).search.found += 1;
            }
            left
        }
    }

    /// A cell leaves the set alive.
    ///
    /// # Safety
    /// The index is that of an entry with a cell.
    pub(super) unsafe fn give_word_back(this: *mut Self, index: usize, undecided: bool) {
        // SAFETY: the caller's word.
        unsafe {
            let Entry { cell, word, .. } = Self::entry(this, index).read();
            (*Self::entry(this, index)).cell = null_mut();
            (*header(cell)).word = word & (COUNT | ROOT | PURPLE);
            if word & ROOT == 0 && word & PURPLE != 0 {
                // It lost a reference meanwhile: a root like any other.
                Self::push_root(this, cell);
            } else if word & ROOT == 0 && word & INPUT != 0 && undecided {
                (*header(cell)).word |= PURPLE;
                Self::keep_root(this, cell);
            }
        }
    }

    /// # Safety
    /// As [`Counted::run_search`].
    pub(super) unsafe fn end_search(this: *mut Self) {
        // SAFETY: as there.
        unsafe {
            let search = &raw mut (*this).search;
            (*search).seen = (*search).len;
            (*this).visited += (*search).len;
            (*this).freed += (*search).found;
            (*this).collections += 1;
            (*search).phase = Phase::Idle;
            (*search).pending = NONE;
            (*search).current = NONE;
            (*search).len = 0;
            if (*search).room > KEPT_ROOM {
                let least = (*this).source.resize((*search).entries.cast(), FIRST_ROOM * size_of::<Entry>());
                if !least.is_null() {
                    (*search).entries = least.cast();
                    (*search).room = FIRST_ROOM;
                }
            }
        }
    }
}
