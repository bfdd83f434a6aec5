//! Addresses without rights: mappings that nobody may read or write, which cost no memory.
//!
//! - Nothing here aborts: what the system refuses is told, and everything is as before.
//! - `errno` is what the system left; the callers keep it.

use core::ptr::null_mut;

use super::pages::Span;

/// Closed and nowhere accounted for.
const CLOSED: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// `bytes` of addresses, whole pages, without rights; None: the system refuses them.
pub(crate) fn reserve(bytes: usize) -> Option<Span> {
    if cfg!(miri) {
        return None; // it knows no memory without rights
    }
    // SAFETY: a fresh mapping at an address of the system's choice touches nothing.
    let at = unsafe { libc::mmap(null_mut(), bytes, libc::PROT_NONE, CLOSED, -1, 0) };
    (at != libc::MAP_FAILED).then_some(Span { base: at.cast(), bytes, start: at.cast() })
}

/// Takes (or gives) the rights to whole pages; false: the system refuses.
///
/// # Safety
/// The pages are ours, and nobody uses them when their rights are taken.
pub(crate) unsafe fn protect(at: *mut u8, bytes: usize, usable: bool) -> bool {
    let rights = if usable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
    // SAFETY: the caller's promise.
    unsafe { libc::mprotect(at.cast(), bytes, rights) == 0 }
}

/// Gives the memory of whole pages back and keeps their addresses, without rights; false: the system refuses.
///
/// # Safety
/// The pages are ours, and nobody uses them any more.
pub(crate) unsafe fn close(at: *mut u8, bytes: usize) -> bool {
    // SAFETY: the caller's promise: it replaces what is ours.
    let got = unsafe { libc::mmap(at.cast(), bytes, libc::PROT_NONE, CLOSED | libc::MAP_FIXED, -1, 0) };
    got != libc::MAP_FAILED
}

/// Takes addresses that nobody has, without rights; false: somebody has them, or the system refuses.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn close_free(at: *mut u8, bytes: usize) -> bool {
    let flags = CLOSED | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: replaces no mapping; before Linux 4.17 the address is a wish.
    let got = unsafe { libc::mmap(at.cast(), bytes, libc::PROT_NONE, flags, -1, 0) };
    if got != libc::MAP_FAILED && got != at.cast() {
        // SAFETY: mapped right now, and nobody has its address.
        unsafe { libc::munmap(got, bytes) };
    }
    got == at.cast()
}

/// Elsewhere there is no call that does not replace what lies there.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn close_free(_at: *mut u8, _bytes: usize) -> bool {
    false
}

/// Moves pages to `to`, where they become `to_bytes` long and replace what was there; false: it can't be
/// done, and everything is as before.
///
/// # Safety
/// Both ranges are whole pages of ours, apart from each other; nobody uses what is at `to`.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) unsafe fn move_pages(from: *mut u8, bytes: usize, to: *mut u8, to_bytes: usize) -> bool {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let to = to.cast::<core::ffi::c_void>();
    // SAFETY: the caller's promise.
    unsafe { libc::mremap(from.cast(), bytes, to_bytes, flags, to) != libc::MAP_FAILED }
}

/// Elsewhere there is no call that does it.
///
/// # Safety
/// None needed.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) unsafe fn move_pages(_from: *mut u8, _bytes: usize, _to: *mut u8, _to_bytes: usize) -> bool {
    false
}
