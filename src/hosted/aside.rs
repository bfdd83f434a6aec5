//! What a thread does that must not wait for the lock.
//!
//! Two such threads exist: one that holds a lock of libc while another thread forks (the fork holds
//! the heap's lock and waits for libc's), and a signal handler that interrupted its own thread inside
//! the heap. libc's malloc deadlocks in the second case, and most that replace it in the first.
//!
//! - They allocate by a mapping and free by a note; the next holder of the lock settles the notes, in
//!   the order in which they were left.
//! - The heap is neither read nor changed, and a note is left by one atomic store, so a process copied
//!   at any moment has all of a note or nothing.
//! - Without memory for a note, an allocation answers null and a freed block stays allocated.
//!
//! ```text
//!   NOTES --> | next | freed at | --> | next | made: span, align | --> null      a page each
//! ```
//!
//! Cost: two system calls; a page for each note until it is settled. A block stays a mapping of its
//! own, of whole pages, until it is freed.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::mappings::Large;
use crate::port::{self, Errno, Span};

/// What the next holder of the lock has to do.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// Enter a large block into the table.
    Made(Large),
    /// Free a block.
    Freed(*mut u8),
}

struct Note {
    next: *mut Note,
    /// The note's own page.
    page: Span,
    what: What,
}

/// The last note left.
static NOTES: AtomicPtr<Note> = AtomicPtr::new(null_mut());

/// A block outside the heap; null without memory.
#[cold]
pub(super) fn allocate(align: usize, bytes: usize) -> *mut u8 {
    let _errno = Errno::keep();
    let Some(span) = port::map(bytes.max(1), align) else { return null_mut() };
    if leave(What::Made(Large { span, align })) {
        return span.start;
    }
    // SAFETY: mapped above, and nobody has its address.
    unsafe { port::unmap(span) };
    null_mut()
}

/// Has the block at `at` freed by the next holder of the lock.
#[cold]
pub(super) fn free(at: *mut u8) {
    let _errno = Errno::keep();
    leave(What::Freed(at));
}

/// Leaves a note; false without memory.
pub(super) fn leave(what: What) -> bool {
    let Some(page) = port::map(size_of::<Note>(), 1) else { return false };
    let note = page.start.cast::<Note>();
    // SAFETY: a fresh page, which a note fits.
    unsafe { note.write(Note { next: null_mut(), page, what }) };
    let mut last = NOTES.load(Ordering::Relaxed);
    loop {
        // SAFETY: nobody else has the note yet.
        unsafe { (*note).next = last };
        match NOTES.compare_exchange_weak(last, note, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(now) => last = now,
        }
    }
}

/// True iff notes wait.
#[inline(always)]
pub(super) fn any() -> bool {
    !NOTES.load(Ordering::Relaxed).is_null()
}

/// The bytes usable at `at`, if a note says that it was made and none that it was freed since.
///
/// # Safety
/// Nobody settles notes meanwhile.
pub(super) unsafe fn usable_size(at: *const u8) -> Option<usize> {
    let mut note = NOTES.load(Ordering::Acquire);
    while !note.is_null() {
        // SAFETY: notes stay until they are settled, and never change.
        let Note { next, what, .. } = unsafe { &*note };
        match what {
            What::Made(large) if large.span.start.cast_const() == at => return Some(large.span.usable()),
            What::Freed(freed) if freed.cast_const() == at => return None,
            _ => note = *next,
        }
    }
    None
}

/// Takes all notes and hands each to `settle`, the oldest first.
pub(super) fn settle_all(mut settle: impl FnMut(What)) {
    let mut newest = NOTES.swap(null_mut(), Ordering::Acquire);
    let mut oldest: *mut Note = null_mut();
    while !newest.is_null() {
        // SAFETY: a note that was left and that only this call has now; turns the list around.
        unsafe {
            let next = (*newest).next;
            (*newest).next = oldest;
            oldest = newest;
            newest = next;
        }
    }
    while !oldest.is_null() {
        // SAFETY: as above; the note is copied before its page goes.
        unsafe {
            let Note { next, page, what } = oldest.read();
            oldest = next;
            port::unmap(page);
            settle(what);
        }
    }
}
