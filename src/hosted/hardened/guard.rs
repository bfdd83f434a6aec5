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
/// One in so many units of the space is closed.
pub(super) const GROUP: usize = 16;

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
    let page = page_bytes();
    let inside = bytes.checked_next_multiple_of(page)?;
    let all = port::reserve(inside.checked_add(align.max(page))?.checked_add(page)?)?;
    let start = all.start.wrapping_add(page);
    let start = start.wrapping_add(start.addr().wrapping_neg() & (align - 1));
    let base = start.wrapping_sub(page);
    // SAFETY: all of it is mapped, and nobody has its address. What lies around goes back.
    unsafe {
        let before = base.addr() - all.base.addr();
        let behind = all.bytes - before - inside - 2 * page;
        if before != 0 {
            port::unmap(Span { base: all.base, bytes: before, start: all.base });
        }
        if behind != 0 {
            let rest = start.wrapping_add(inside + page);
            port::unmap(Span { base: rest, bytes: behind, start: rest });
        }
        if !port::protect(start, inside, true) {
            port::unmap(Span { base, bytes: inside + 2 * page, start: base });
            return None;
        }
    }
    Some(Span { base, bytes: inside + page, start })
}

/// All that belongs to a large block's span.
fn whole(span: Span) -> Span {
    let behind = if span.base == span.start { 0 } else { page_bytes() };
    Span { base: span.base, bytes: span.bytes + behind, start: span.base }
}

/// As [`port::unmap`]; the addresses stay closed for a while.
///
/// # Safety
/// As there; the span came from [`map`] or [`remap`].
pub(crate) unsafe fn unmap(span: Span) {
    if span.base != span.start {
        GUARDED.fetch_sub(1, Ordering::Relaxed);
    }
    let all = whole(span);
    let page = page_bytes();
    let mut closed = all;
    // SAFETY: the caller's word.
    if all.bytes > LONGEST || !unsafe { port::close(all.base, all.bytes) } {
        // SAFETY: as above.
        return unsafe { port::unmap(all) };
    }
    let slot = &CLOSED[NEXT.fetch_add(1, Ordering::Relaxed) % LATELY];
    let packed = (all.base.addr() / page) as u64 | ((all.bytes / page) as u64) << PAGES_SHIFT;
    closed.bytes = 0;
    open(slot.swap(packed, Ordering::AcqRel));
}

/// Lets the system have closed addresses back.
fn open(packed: u64) {
    if packed == 0 {
        return;
    }
    let page = page_bytes();
    let base = core::ptr::with_exposed_provenance_mut(((packed & ((1 << PAGES_SHIFT) - 1)) as usize) * page);
    let bytes = (packed >> PAGES_SHIFT) as usize * page;
    // SAFETY: closed by `unmap`, and in no slot any more.
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
