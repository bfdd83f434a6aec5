//! Memory from the system: whole pages, zeroed, not resident until touched.
//!
//! - [`map`] returns pages aligned as asked, or `None` with `errno` set by the system.
//! - No call aborts: a failing `munmap` (the process has too many mappings to split one) still gives
//!   the memory back to the system, but for one page, and is tried again when another one succeeds.

use core::ffi::c_void;
use core::ptr::{null_mut, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// A mapping and the aligned address inside it.
///
/// ```text
/// base            start                     base + bytes
///  | unused (Miri) |  for use                    |
/// ```
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) base: *mut u8,
    pub(crate) bytes: usize,
    pub(crate) start: *mut u8,
}

impl Span {
    /// No mapping.
    pub(crate) const EMPTY: Span = Span { base: null_mut(), bytes: 0, start: null_mut() };

    /// Bytes from `start` to the end.
    pub(crate) fn usable(&self) -> usize {
        self.bytes - (self.start.addr() - self.base.addr())
    }
}

/// The size of a page, a power of two.
#[inline(never)]
pub(crate) fn page_bytes() -> usize {
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    let known = PAGE.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: no conditions; does not allocate.
    let asked = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = if asked > 0 { asked as usize } else { 4096 };
    PAGE.store(page, Ordering::Relaxed);
    page
}

/// `bytes` rounded up to whole pages; `None` when that is more than half the address space.
fn whole_pages(bytes: usize) -> Option<usize> {
    let page = page_bytes();
    let rounded = bytes.checked_add(page - 1)? & !(page - 1);
    (rounded <= isize::MAX as usize).then_some(rounded)
}

/// Maps at least `bytes` (not 0) zeroed bytes at a multiple of `align`, a power of two.
#[inline(never)]
pub(crate) fn map(bytes: usize, align: usize) -> Option<Span> {
    let page = page_bytes();
    let wanted = whole_pages(bytes)?;
    if align <= page {
        let base = map_anywhere(wanted)?.as_ptr();
        return Some(Span { base, bytes: wanted, start: base });
    }
    // One alignment more than needed contains an aligned start; what lies around it goes back.
    let roomy = whole_pages(wanted.checked_add(align - page)?)?;
    let base = map_anywhere(roomy)?.as_ptr();
    let before = base.addr().wrapping_neg() & (align - 1);
    // SAFETY: `before` < `align`, and `roomy` is `wanted` + `align` - one page; `before` is whole pages.
    let start = unsafe { base.add(before) };
    if cfg!(miri) {
        // Miri can't unmap a part of a mapping.
        return Some(Span { base, bytes: roomy, start });
    }
    let after = roomy - before - wanted;
    // SAFETY: both parts lie in the fresh mapping and nobody has their address.
    unsafe {
        if before != 0 {
            unmap_range(base, before);
        }
        if after != 0 {
            unmap_range(start.add(wanted), after);
        }
    }
    Some(Span { base: start, bytes: wanted, start })
}

fn map_anywhere(bytes: usize) -> Option<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous mapping at an address of the system's choice touches nothing.
    let at = unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        None
    } else {
        NonNull::new(at.cast())
    }
}

/// Gives a whole span back.
///
/// # Safety
/// `span` came from [`map`] or [`remap`], was not unmapped, and nobody uses its memory any more.
#[inline(never)]
pub(crate) unsafe fn unmap(span: Span) {
    // SAFETY: the caller's promise.
    unsafe { unmap_range(span.base, span.bytes) }
}

unsafe fn unmap_range(base: *mut u8, bytes: usize) {
    // SAFETY: whole pages of ours that nobody uses.
    unsafe {
        if libc::munmap(base.cast::<c_void>(), bytes) == 0 {
            if !REFUSED.load(Ordering::Relaxed).is_null() {
                unmap_refused();
            }
        } else {
            discard(base, bytes);
            let range = base.cast::<Range>();
            range.write(Range { next: null_mut(), bytes });
            keep_one_refused(range);
        }
    }
}

/// A range that the system refused to unmap: it says so itself, in its first page.
struct Range {
    next: *mut Range,
    bytes: usize,
}

/// The ranges that the system refused to unmap, to be tried again when it has unmapped another one.
static REFUSED: AtomicPtr<Range> = AtomicPtr::new(null_mut());

/// Tries the refused ranges again, until one is refused once more.
#[cold]
unsafe fn unmap_refused() {
    let mut first = REFUSED.swap(null_mut(), Ordering::Acquire);
    // SAFETY: a list of ranges of ours that nobody uses, and that only this call has now.
    unsafe {
        while !first.is_null() {
            let Range { next, bytes } = first.read();
            if libc::munmap(first.cast(), bytes) != 0 {
                return keep_refused(first);
            }
            first = next;
        }
    }
}

/// Puts a range to the others. Cost O(1). Who takes ranges takes all: whatever happened between the two steps, the
/// range that is first at the second has all others behind it.
///
/// # Safety
/// Nobody else has it.
unsafe fn keep_one_refused(range: *mut Range) {
    let mut first = REFUSED.load(Ordering::Relaxed);
    loop {
        // SAFETY: the caller's word.
        unsafe { (*range).next = first };
        match REFUSED.compare_exchange_weak(first, range, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => first = now,
        }
    }
}

/// Puts a list of ranges to the others.
///
/// # Safety
/// Nobody else has it, and the list has an end.
unsafe fn keep_refused(first: *mut Range) {
    while REFUSED.compare_exchange(null_mut(), first, Ordering::Release, Ordering::Relaxed).is_err() {
        let mut others = REFUSED.swap(null_mut(), Ordering::Acquire);
        // SAFETY: nobody else has either list: the others, one after the other, go in front of the second.
        unsafe {
            while !others.is_null() {
                let next = (*others).next;
                (*others).next = (*first).next;
                (*first).next = others;
                others = next;
            }
        }
    }
}

/// Lets the system have the memory of whole pages back; they stay mapped and read as zeros. False: it
/// refuses, as it does when they are locked in memory, and nothing is changed.
///
/// # Safety
/// The pages are ours and nobody needs their contents.
pub(crate) unsafe fn discard(base: *mut u8, bytes: usize) -> bool {
    // SAFETY: the caller's promise.
    !cfg!(miri) && unsafe { libc::madvise(base.cast(), bytes, libc::MADV_DONTNEED) == 0 }
}

/// Makes a span `bytes` long (not 0), moving it if it must and `may_move`; contents are kept up to
/// the shorter length, new bytes are zero. `None`: not possible, and the span is as before.
///
/// # Safety
/// `span` came from [`map`] or [`remap`] and was not unmapped; after success only the new span is valid.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) unsafe fn remap(span: Span, bytes: usize, may_move: bool) -> Option<Span> {
    let wanted = whole_pages(bytes)?;
    if wanted == span.bytes {
        return Some(span);
    }
    if span.base != span.start || (cfg!(miri) && !may_move) {
        return None;
    }
    let flags = if may_move { libc::MREMAP_MAYMOVE } else { 0 };
    // SAFETY: the whole of a mapping of ours, as the caller promises.
    let at = unsafe { libc::mremap(span.base.cast(), span.bytes, wanted, flags) };
    if at == libc::MAP_FAILED {
        return None;
    }
    Some(Span { base: at.cast(), bytes: wanted, start: at.cast() })
}

/// As on Linux, but there is no call that does it: only an unchanged length succeeds.
///
/// # Safety
/// As on Linux.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) unsafe fn remap(span: Span, bytes: usize, _may_move: bool) -> Option<Span> {
    (whole_pages(bytes)? == span.bytes).then_some(span)
}

/// Maps `bytes` zeroed bytes, whole pages, at just this address; false: something lies there already, or
/// the system refuses memory.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
pub(crate) fn map_at(at: *mut u8, bytes: usize) -> bool {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: replaces no mapping; before Linux 4.17 the address is a wish.
    let got = unsafe { libc::mmap(at.cast(), bytes, protection, flags, -1, 0) };
    if got != libc::MAP_FAILED && got != at.cast() {
        // SAFETY: mapped right now, and nobody has its address.
        unsafe { unmap_range(got.cast(), bytes) };
    }
    got == at.cast()
}
