//! What an arena gives and takes along: raw memory, its growth, cleanups, weak slots.
//!
//! Null is answered only for a budget, for a fixed size, or because the heap has no room; what was copied, cleared or
//! grown has the contents that it must have; from an arena that is being ended nothing is got.

use super::{blank, Waiting, World};
use crate::model::{Aid, Item, WEAKS};
use knoll::arena::KnCleanup;
use knoll::capi::arena::{
    kn_arena_aligned_alloc, kn_arena_alloc, kn_arena_calloc, kn_arena_contains, kn_arena_memdup, kn_arena_on_leave,
    kn_arena_resize, kn_arena_strdup, kn_arena_strndup, kn_weak_set,
};
use knoll::heap::KnStatus;
use std::ptr::{self, null_mut};

impl World {
    /// Raw memory, in one of the ways that the library has, and what must be true of it.
    pub(super) fn alloc(&self, arena: u8, bytes: usize, how: u8) -> Option<Aid> {
        let aid = self.model.borrow().pick(arena)?;
        let bytes = bytes % (self.total / 10);
        let arena = self.ptr(aid);
        let text: Vec<u8> = (0..bytes).map(|index| 1 + (index * 7 % 250) as u8).chain([0]).collect();
        // SAFETY: the arena is alive; the text is longer than what is copied.
        let (at, align, whole) = unsafe {
            match how % 16 {
                0 => (kn_arena_calloc(arena, 1, bytes), 8, bytes),
                1 | 2 => {
                    let align = 1 << (how / 16 % 10);
                    (kn_arena_aligned_alloc(arena, align, bytes), align, bytes)
                }
                3 => (kn_arena_memdup(arena, text.as_ptr().cast(), bytes), 8, bytes),
                4 => (kn_arena_strdup(arena, text.as_ptr().cast()).cast(), 1, bytes + 1),
                5 => (kn_arena_strndup(arena, text.as_ptr().cast(), bytes / 2).cast(), 1, bytes / 2 + 1),
                _ => (kn_arena_alloc(arena, bytes), 8, bytes),
            }
        };
        let at: *mut u8 = at.cast();
        if at.is_null() {
            self.refused(aid, bytes + align);
            return Some(aid);
        }
        if self.is_ending(aid) && whole > 0 {
            self.fail(|| format!("arena {aid} is being ended and gave {bytes} bytes"));
        }
        if how.is_multiple_of(16) {
            self.expect_zero(at, bytes);
        } else if (3..=5).contains(&(how % 16)) {
            // SAFETY: the library gave as many bytes.
            let copy = unsafe { std::slice::from_raw_parts(at, whole) };
            let end = if how % 16 == 3 { whole } else { whole - 1 };
            if copy[..end] != text[..end] || end < whole && copy[end] != 0 {
                self.fail(|| format!("a copy of {end} bytes is not like its original"));
            }
        }
        // SAFETY: as above.
        if whole > 0 && !unsafe { kn_arena_contains(arena, at.cast()) } {
            self.fail(|| format!("arena {aid} denies {at:?}"));
        }
        let tag = self.fresh(at, whole, align);
        self.model.borrow_mut().arenas[aid].items.push(Item::Raw { at, bytes: whole, tag });
        Some(aid)
    }

    /// Makes one of an arena's allocations longer or shorter, counted from the latest.
    pub(super) fn resize(&self, arena: u8, back: usize, bytes: usize) -> Option<Aid> {
        let aid = self.model.borrow().pick(arena)?;
        let bytes = bytes % (self.total / 10);
        let raw: Vec<usize> = {
            let model = self.model.borrow();
            let items = &model.arenas[aid].items;
            (0..items.len()).rev().filter(|&index| matches!(items[index], Item::Raw { .. })).collect()
        };
        let index = *raw.get(back % raw.len().max(1))?;
        let Item::Raw { at, bytes: old, tag } = self.model.borrow().arenas[aid].items[index] else { return None };
        // SAFETY: the arena is alive, and so is the allocation.
        let now: *mut u8 = unsafe { kn_arena_resize(self.ptr(aid), at.cast(), old, bytes) }.cast();
        if now.is_null() {
            if bytes <= old && !self.is_ending(aid) {
                self.fail(|| format!("arena {aid} does not shrink {old} bytes to {bytes}"));
            }
            self.expect_contents(at, old, tag);
            self.refused(aid, bytes);
            return Some(aid);
        }
        self.expect_contents(now, old.min(bytes), tag);
        let marked = self.model.borrow().arenas[aid].marks.last().is_some_and(|mark| mark.items > index);
        if now == at && old > 0 && bytes.next_multiple_of(8) > old.next_multiple_of(8) && marked {
            self.fail(|| format!("{old} bytes from before a mark have grown in place to {bytes}"));
        }
        if now != at && bytes <= old {
            self.fail(|| format!("arena {aid} moved {old} bytes to shrink them to {bytes}"));
        }
        self.model.borrow_mut().unclaim(at, old);
        if bytes == 0 {
            self.forget_weak(aid, index);
        }
        let tag = self.fresh(now, bytes, 1);
        let mut model = self.model.borrow_mut();
        let items = &mut model.arenas[aid].items;
        // Nothing of what had no bytes lies before a mark.
        if now == at && !(old == 0 && marked) {
            items[index] = Item::Raw { at, bytes, tag };
        } else {
            items[index] = Item::Gone { at };
            items.push(Item::Raw { at: now, bytes, tag });
        }
        Some(aid)
    }

    /// Registers a cleanup whose record lies inside the arena, or outside.
    pub(super) fn cleanup(&self, arena: u8, inside: bool) -> Option<Aid> {
        let aid = self.model.borrow().pick(arena)?;
        let node = match inside {
            // SAFETY: the arena is alive.
            true => unsafe { kn_arena_alloc(self.ptr(aid), size_of::<KnCleanup>()) }.cast::<KnCleanup>(),
            false => Box::into_raw(Box::new(blank::<KnCleanup>())),
        };
        if node.is_null() {
            self.refused(aid, size_of::<KnCleanup>());
            return Some(aid);
        }
        let number = self.waiting.borrow().len();
        self.waiting.borrow_mut().push(Waiting { node, inside });
        if inside {
            let mut model = self.model.borrow_mut();
            if let Err(why) = model.claim(node.cast(), size_of::<KnCleanup>(), None, self.is_open()) {
                drop(model);
                self.fail(|| why);
                return Some(aid);
            }
            model.arenas[aid].items.push(Item::Other { at: node.cast(), bytes: size_of::<KnCleanup>() });
        }
        // SAFETY: a new node; it lives as long as the arena.
        let status = unsafe {
            node.write(KnCleanup {
                run: Some(super::callbacks::cleanup),
                context: ptr::without_provenance_mut(number),
                ..blank()
            });
            kn_arena_on_leave(self.ptr(aid), node)
        };
        match (status, self.is_ending(aid)) {
            (KnStatus::Ok, false) => self.model.borrow_mut().arenas[aid].cleanups.push(number),
            (KnStatus::Ok, true) => self.fail(|| "a cleanup was accepted by an arena that ends".to_owned()),
            (_, true) => self.forgive(KnStatus::Order),
            (status, false) => self.fail(|| format!("a cleanup was refused: {status:?}")),
        }
        Some(aid)
    }

    /// Lets a weak slot refer to something in an arena, or to nothing.
    pub(super) fn weak(&self, slot: u8, arena: u8, item: u8) {
        let slot = usize::from(slot) % WEAKS;
        let aid = self.model.borrow().pick(arena);
        let to = aid.filter(|&aid| item < u8::MAX && !self.is_ending(aid)).and_then(|aid| {
            let model = self.model.borrow();
            let items = &model.arenas[aid].items;
            let index = items.len().checked_sub(1 + usize::from(item) % items.len().max(1))?;
            let filled = match items[index] {
                Item::Raw { bytes, .. } => bytes > 0,
                Item::Cell(_) => true,
                Item::Other { .. } | Item::Gone { .. } => false,
            };
            filled.then(|| (aid, index, model.start_of(items[index])))
        });
        // SAFETY: the world's own slot; the arena is alive.
        let (status, target) = unsafe {
            let weak = self.weaks[slot];
            let status = match to {
                Some((aid, _, at)) => kn_weak_set(weak, self.ptr(aid), at.cast()),
                None => kn_weak_set(weak, null_mut(), null_mut()),
            };
            (status, (*weak).target)
        };
        let expected = to.map_or(null_mut(), |(_, _, at)| at);
        if status != KnStatus::Ok || target.cast() != expected {
            self.fail(|| format!("kn_weak_set to {expected:?} says {status:?}, the slot refers to {target:?}"));
        }
        self.model.borrow_mut().weaks[slot] = to.map(|(aid, index, _)| (aid, index));
    }

    /// Where something has no bytes any more, something else may begin: no weak slot is to refer there.
    fn forget_weak(&self, aid: Aid, item: usize) {
        for slot in 0..WEAKS {
            if self.model.borrow().weaks[slot] == Some((aid, item)) {
                self.weak(slot as u8, 0, u8::MAX);
            }
        }
    }
}
