//! Pages that nobody may touch: around large blocks, where they were until lately, and among pages of
//! small blocks.
//!
//! - A large block lies between two of them: the first byte before its first page and the first behind its
//!   last are faults of the processor.
//! - A large block that was freed leaves its addresses closed behind it: using it is a fault, until as many
//!   others were freed as [`LATELY`] says, or memory is short.
//! - Every [`GROUP`]th unit of the space is closed.
//! - The number of mappings stays bounded: only so many large blocks at a time have guards ([`MOST`]).
//!
//! ```text
//!   | closed page | the block's pages | closed page |
//!   ^ base        ^ start                           ^ base + bytes + a page
//! ```
//! Costs: a system call more to make a large block, none more to free it; a block that grows is moved, by
//! moving its pages to other addresses.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::port::{self, page_bytes, Span};

/// Large blocks that have guards, at most; each is two mappings more.
const MOST: usize = 4096;
/// Large blocks whose addresses stay closed, and the longest of them.
const LATELY: usize = 64;
const LONGEST: usize = 64 << 20;
/// One in so many units of the space is closed, as long as they are no more than [`MOST`].
const GROUP: usize = 64;

/// Large blocks that have guards.
static GUARDED: AtomicUsize = AtomicUsize::new(0);
/// Closed addresses: number of the first page, and how many in the upper bits; 0: none.
static CLOSED: [AtomicU64; LATELY] = [const { AtomicU64::new(0) }; LATELY];
static NEXT: AtomicUsize = AtomicUsize::new(0);
const PAGES_SHIFT: u32 = 40;

/// As [`port::map`], with guards around if there may be more.
pub(crate) fn map(bytes: usize, align: usize) -> Option<Span> {
    if GUARDED.fetch_add(1, Ordering::Relaxed) < MOST {
        if let Some(span) = surrounded(bytes, align) {
            return Some(span);
        }
    }
    GUARDED.fetch_sub(1, Ordering::Relaxed);
    port::map(bytes, align)
}

/// A mapping between two closed pages.
fn surrounded(bytes: usize, align: usize) -> Option<Span> {
    let inside = bytes.checked_next_multiple_of(page_bytes())?;
    let span = closed(inside, align)?;
    // SAFETY: mapped right now.
    if !unsafe { port::protect(span.start, inside, true) } {
        // SAFETY: as above, and nobody has its address.
        unsafe { port::unmap(whole(span)) };
        return None;
    }
    Some(span)
}

/// Addresses for so many bytes, whole pages, and a page before and one behind; all of it closed.
fn closed(inside: usize, align: usize) -> Option<Span> {
    let page = page_bytes();
    let all = port::reserve(inside.checked_add(align.max(page))?.checked_add(page)?)?;
    let first = all.start.wrapping_add(page);
    let start = first.wrapping_add(first.addr().wrapping_neg() & (align - 1));
    let span = Span { base: start.wrapping_sub(page), bytes: inside + page, start };
    let kept = whole(span);
    let before = span.base.addr() - all.base.addr();
    let rest = kept.base.wrapping_add(kept.bytes);
    let behind = all.bytes - before - kept.bytes;
    // SAFETY: what lies around is mapped, and nobody has its address.
    unsafe {
        if before != 0 {
            port::unmap(Span { base: all.base, bytes: before, start: all.base });
        }
        if behind != 0 {
            port::unmap(Span { base: rest, bytes: behind, start: rest });
        }
    }
    Some(span)
}

/// Whether a large block has guards.
fn is_guarded(span: Span) -> bool {
    span.base != span.start
}

/// All that belongs to a large block's span.
fn whole(span: Span) -> Span {
    let behind = if is_guarded(span) { page_bytes() } else { 0 };
    Span { base: span.base, bytes: span.bytes + behind, start: span.base }
}

/// As [`port::unmap`]; the addresses stay closed for a while.
///
/// # Safety
/// As there; the span came from [`map`] or [`remap`].
pub(crate) unsafe fn unmap(span: Span) {
    if is_guarded(span) {
        GUARDED.fetch_sub(1, Ordering::Relaxed);
    }
    let all = whole(span);
    // SAFETY: the caller's word.
    unsafe {
        if all.bytes <= LONGEST && port::close(all.base, all.bytes) {
            keep_closed(all);
        } else {
            port::unmap(all);
        }
    }
}

/// As [`port::remap`]; a block that has guards has them afterwards.
///
/// # Safety
/// As there; the span came from [`map`] or [`remap`].
pub(crate) unsafe fn remap(span: Span, bytes: usize, may_move: bool) -> Option<Span> {
    if !is_guarded(span) {
        // SAFETY: the caller's word.
        return unsafe { port::remap(span, bytes, may_move) };
    }
    let inside = bytes.checked_next_multiple_of(page_bytes())?;
    if inside == span.usable() {
        return Some(span);
    }
    if !may_move {
        return None;
    }
    let new = closed(inside, 1)?;
    // SAFETY: the block's pages, and addresses that are ours and closed.
    unsafe {
        if !port::move_pages(span.start, span.usable(), new.start, inside) {
            port::unmap(whole(new));
            return None;
        }
    }
    let old = whole(span);
    // Another thread may have mapped something there in between.
    if old.bytes <= LONGEST && port::close_free(span.start, span.usable()) {
        keep_closed(old);
    } else {
        let (page, behind) = (page_bytes(), span.start.wrapping_add(span.usable()));
        // SAFETY: the two guards.
        unsafe {
            port::unmap(Span { base: span.base, bytes: page, start: span.base });
            port::unmap(Span { base: behind, bytes: page, start: behind });
        }
    }
    Some(new)
}

/// Keeps addresses closed until as many others are.
fn keep_closed(all: Span) {
    let page = page_bytes();
    let slot = &CLOSED[NEXT.fetch_add(1, Ordering::Relaxed) % LATELY];
    let first = (all.base.expose_provenance() / page) as u64;
    open(slot.swap(first | ((all.bytes / page) as u64) << PAGES_SHIFT, Ordering::AcqRel));
}

/// Lets the system have closed addresses back.
fn open(packed: u64) {
    if packed == 0 {
        return;
    }
    let page = page_bytes();
    let first = (packed & ((1 << PAGES_SHIFT) - 1)) as usize;
    let base = core::ptr::with_exposed_provenance_mut(first * page);
    let bytes = (packed >> PAGES_SHIFT) as usize * page;
    // SAFETY: closed by `keep_closed`'s callers, and in no slot any more.
    unsafe { port::unmap(Span { base, bytes, start: base }) };
}

/// Lets the system have all closed addresses back; true iff there were some.
pub(crate) fn open_all() -> bool {
    CLOSED.iter().fold(false, |any, slot| {
        let packed = slot.swap(0, Ordering::AcqRel);
        open(packed);
        any || packed != 0
    })
}

/// Whether a unit of the space is one that nobody gets.
pub(in crate::hosted) fn is_closed(index: usize) -> bool {
    index % GROUP == GROUP - 1 && index / GROUP < MOST
}

/// Addresses without rights, for ever.
pub(super) fn reserve(bytes: usize) -> Option<Span> {
    port::reserve(bytes)
}
