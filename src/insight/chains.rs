//! How always-active data comes to refer to something: a chain of cells, found against the references.
//!
//! Guarantees
//! * A chain begins with a resident cell that no other holds; where all hold each other, with one that something
//!   else holds. Of several chains a short one is told.
//! * Of a chain of more than 32 cells the end is told, and its beginning:
//!   `List.first -> (470 more) -> Item.next -> …`.
//! * No memory but the stack, no recursion.
//!
//! ```text
//!   links:  | Entry.owner | Cache[3] | Storage.cache |      breadth first; each link names the one it leads to
//!                 ^------------'  ^---------'
//! ```
//! Cost: O(cells and references) for each cell that is looked at on the way, 32 of them at most, and then for each
//! cell further up. 600 bytes of stack on 32-bit targets.

use core::ffi::c_char;

use super::cells::slot_name;
use super::residents::Check;
use crate::counted::{self, scoped, Counted, Reference};

/// Cells of a chain that are told one by one.
const MOST: usize = 32;

/// A reference on the way to a culprit.
#[derive(Clone, Copy)]
struct Step {
    holder: *mut u8,
    slot: u32,
    /// The link that it leads to.
    toward: u32,
}

/// What is known of the ways that lead to a culprit.
struct Steps {
    links: [Step; MOST],
    count: usize,
    /// There was no room for all.
    overflowed: bool,
}

impl Steps {
    fn get(&self, n: usize) -> Option<Step> {
        self.links.get(..self.count)?.get(n).copied()
    }

    fn knows(&self, holder: *mut u8) -> bool {
        self.links.iter().take(self.count).any(|link| link.holder == holder)
    }

    fn add(&mut self, link: Step) {
        match self.links.get_mut(self.count) {
            Some(place) => {
                *place = link;
                self.count += 1;
            }
            None => self.overflowed = true,
        }
    }
}

/// The first reference of a cell, from a slot on, that a resident cell must not hold.
///
/// # Safety
/// `holder` is a cell of the state.
unsafe fn next_culprit(state: *mut Counted, holder: *mut u8, from: usize) -> Option<(u32, *mut u8)> {
    let mut found = None;
    // SAFETY: the caller's word.
    unsafe {
        Counted::each_reference_of(state, holder, &mut |slot, child| {
            if slot >= from && found.is_none() && Counted::judge(child) != Reference::Good {
                found = Some((slot as u32, child));
            }
        });
    }
    found
}

/// Calls `visit` with each reference of a resident cell to another cell: holder, slot, cell; until it answers false.
///
/// # Safety
/// `state` is a live state of this thread.
unsafe fn each_resident_reference(state: *mut Counted, visit: &mut dyn FnMut(*mut u8, u32, *mut u8) -> bool) {
    // SAFETY: the caller's word.
    unsafe {
        Counted::every_cell(state, &mut |holder| {
            let mut going = true;
            if Counted::is_active(state, holder) {
                Counted::each_reference_of(state, holder, &mut |slot, child| {
                    going = going && visit(holder, slot as u32, child);
                });
            }
            going
        });
    }
}

impl Check<'_> {
    /// Looks at all references of resident cells; false when the search is to end.
    ///
    /// # Safety
    /// The check's heap is live and this thread's; so for all that follow.
    pub(super) unsafe fn cells(&mut self) -> bool {
        let state = self.state;
        let mut going = true;
        // SAFETY: the caller's word.
        unsafe {
            if state.is_null() || !Counted::has_residents(state) {
                return true;
            }
            Counted::every_cell(state, &mut |holder| {
                let mut from = 0;
                while going && Counted::is_active(state, holder) {
                    let Some((slot, child)) = next_culprit(state, holder, from) else { break };
                    self.sound = false;
                    going = self.way_to(holder, slot) && self.culprit(child);
                    from = slot as usize + 1;
                }
                going
            });
        }
        going
    }

    /// `Cache[3]`.
    ///
    /// # Safety
    /// `holder` is a cell of the state, `slot` the number of one of its slots.
    unsafe fn slot(&mut self, holder: *mut u8, slot: u32) -> bool {
        let state = self.state;
        // SAFETY: the caller's word.
        self.write.as_mut().is_some_and(|write| unsafe { slot_name(state, holder, slot as usize, *write) })
    }

    /// Tells how a cell is reached, and its slot: `Storage.cache -> Cache[3] -> `.
    ///
    /// # Safety
    /// As [`Check::slot`].
    unsafe fn way_to(&mut self, holder: *mut u8, slot: u32) -> bool {
        if self.write.is_none() {
            return false;
        }
        let first = Step { holder, slot, toward: 0 };
        let mut ways = Steps { links: [first; MOST], count: 1, overflowed: false };
        // SAFETY: the caller's word; links are slots of resident cells.
        unsafe {
            let mut n = self.find_top(&mut ways);
            loop {
                let Some(link) = ways.get(n) else { return false };
                if !(self.slot(link.holder, link.slot) && self.text(b" -> ")) {
                    return false;
                }
                if n == 0 {
                    return true;
                }
                n = link.toward as usize;
            }
        }
    }

    /// Finds where a chain is to begin: the number of its first link. Tells what is before, if that is not it.
    ///
    /// # Safety
    /// As [`Check::way_to`].
    unsafe fn find_top(&mut self, ways: &mut Steps) -> usize {
        // SAFETY: the caller's word.
        unsafe {
            let mut held_outside = None;
            let mut n = 0;
            while let Some(link) = ways.get(n) {
                let mut held = 0usize;
                each_resident_reference(self.state, &mut |holder, slot, child| {
                    if child == link.holder {
                        held += 1;
                        if !ways.knows(holder) {
                            ways.add(Step { holder, slot, toward: n as u32 });
                        }
                    }
                    true
                });
                if held == 0 {
                    return n;
                }
                if held_outside.is_none() && counted::count(link.holder) as usize > held {
                    held_outside = Some(n);
                }
                n += 1;
            }
            let last = ways.count - 1;
            if let (true, None, Some(link)) = (ways.overflowed, held_outside, ways.get(last)) {
                self.beginning(link.holder);
            }
            held_outside.unwrap_or(last)
        }
    }

    /// Tells where a chain begins that is too long: `List.first -> (470 more) -> `.
    ///
    /// # Safety
    /// As [`Check::slot`].
    unsafe fn beginning(&mut self, cell: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            // No way without a circle has more.
            let mut most = 0usize;
            Counted::every_cell(self.state, &mut |_| {
                most += 1;
                true
            });
            let (mut at, mut top, mut steps) = (cell, None, 0usize);
            while steps < most {
                let mut next = None;
                each_resident_reference(self.state, &mut |holder, slot, child| {
                    let found = child == at && holder != at;
                    if found {
                        next = Some((holder, slot));
                    }
                    !found
                });
                let Some((holder, slot)) = next else { break };
                top = Some((holder, slot));
                at = holder;
                steps += 1;
            }
            if let Some((holder, slot)) = top {
                let more = if steps < most { steps - 1 } else { 0 };
                let _ = self.slot(holder, slot)
                    && self.text(b" -> (")
                    && (more == 0 || self.number(more, 10) && self.text(b" "))
                    && self.text(b"more) -> ");
            }
        }
    }

    /// Tells what a resident cell must not refer to: the line's end.
    ///
    /// # Safety
    /// `child` was in a slot of a cell.
    pub(super) unsafe fn culprit(&mut self, child: *mut u8) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if Counted::judge(child) == Reference::Dangling {
                return self.text(b"?: no living cell") && self.at(child.addr()) && self.text(b"\n");
            }
            if scoped::is_scoped(child) {
                let state = self.state;
                return self.name((*Counted::descriptor(state, counted::type_of(child))).name)
                    && self.in_arena(child.addr())
                    && self.made_at(scoped::site(child))
                    && self.text(b"\n");
            }
            let owner = counted::owner(child);
            self.name((*Counted::descriptor(owner, counted::type_of(child))).name)
                && self.text(b": not resident")
                && self.at(child.addr())
                && self.text(b"\n")
        }
    }

    /// `, allocated at sign.c:40`, if that is known.
    ///
    /// # Safety
    /// As [`Check::name`].
    unsafe fn made_at(&mut self, site: *const c_char) -> bool {
        // SAFETY: the caller's word.
        site.is_null() || self.text(b", allocated at ") && unsafe { self.name(site) }
    }
}
