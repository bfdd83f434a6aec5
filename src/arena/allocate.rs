//! Allocating in an arena: the next free bytes.
//!
//! Guarantees
//! * Every allocation is aligned to 8, or to what was asked for; nothing is before or between them.
//! * An allocation that fails changes nothing. Sizes that overflow fail.
//! * The last allocation grows where it lies, unless a mark was made behind its start: what a mark stands
//!   for is never changed by what comes later.
//!
//! ```text
//!   | used | used | at ->            | end       size <= end - at: at moves up
//! ```
//! Cost: five instructions where the size is known; see docs/arena-figures.md.

use core::ffi::c_char;
use core::ptr::{copy_nonoverlapping, null_mut};

use super::arena::{innermost, LEAVING};
use super::config::KnArenaStats;
use super::segment::round;
use super::KnArena;
use crate::heap::KnHeap;
use crate::memory::Source;

impl KnArena {
    /// `bytes` bytes, or null.
    ///
    /// # Safety
    /// `this` is a living arena of this thread.
    #[inline(always)]
    pub unsafe fn alloc(this: *mut Self, bytes: usize) -> *mut u8 {
        // SAFETY: what lies between `at` and `end` is the arena's, multiples of 8 both.
        unsafe {
            let at = (*this).at;
            if bytes > (*this).end.addr() - at.addr() {
                return Self::alloc_grown(this, bytes);
            }
            (*this).at = at.wrapping_add(round(bytes));
            at
        }
    }

    /// # Safety
    /// As [`KnArena::alloc`].
    #[cold]
    #[inline(never)]
    unsafe fn alloc_grown(this: *mut Self, bytes: usize) -> *mut u8 {
        // SAFETY: as there.
        unsafe {
            if !Self::is_usable(this) || !Self::grow(this, bytes, 8) {
                return null_mut();
            }
            let at = (*this).at;
            (*this).at = at.wrapping_add(round(bytes));
            Self::hide(this);
            at
        }
    }

    /// Whether the pointer is an arena that can be allocated from; the error hook is told if it is none.
    ///
    /// # Safety
    /// `this` is null or memory that can be read.
    unsafe fn is_usable(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if !Self::is_alive(this) {
                Self::refuse(this, c"no arena, or one that is no more");
                return false;
            }
            !Self::has(this, LEAVING)
        }
    }

    /// `count * size` bytes of zeros, or null.
    ///
    /// # Safety
    /// As [`KnArena::alloc`].
    pub unsafe fn calloc(this: *mut Self, count: usize, size: usize) -> *mut u8 {
        let Some(bytes) = count.checked_mul(size) else { return null_mut() };
        // SAFETY: the caller's word.
        unsafe {
            let at = Self::alloc(this, bytes);
            if !at.is_null() {
                at.write_bytes(0, bytes);
            }
            at
        }
    }

    /// `bytes` bytes at a multiple of `align`, or null; also when `align` is no power of two.
    ///
    /// # Safety
    /// As [`KnArena::alloc`].
    pub unsafe fn aligned_alloc(this: *mut Self, align: usize, bytes: usize) -> *mut u8 {
        if !align.is_power_of_two() {
            return null_mut();
        }
        // SAFETY: the caller's word.
        unsafe {
            if align <= 8 {
                return Self::alloc(this, bytes);
            }
            for _ in 0..2 {
                let skip = (*this).at.addr().wrapping_neg() & (align - 1);
                let room = (*this).end.addr() - (*this).at.addr();
                if skip <= room && bytes <= room - skip {
                    let at = (*this).at.wrapping_add(skip);
                    (*this).at = at.wrapping_add(round(bytes));
                    (*this).slack = (*this).slack.max(align);
                    Self::hide(this);
                    return at;
                }
                if !Self::is_usable(this) || !Self::grow(this, bytes, align) {
                    break;
                }
            }
            null_mut()
        }
    }

    /// An allocation of `old` bytes made `bytes` long, where it lies or as a copy; null, when it is as it was.
    ///
    /// # Safety
    /// As [`KnArena::alloc`]; `at` is null or an allocation of this arena that is `old` bytes long.
    pub unsafe fn resize(this: *mut Self, at: *mut u8, old: usize, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if at.is_null() {
                return Self::alloc(this, bytes);
            }
            let last = round(old.min(isize::MAX as usize)) == (*this).at.addr().wrapping_sub(at.addr());
            // Growing may not begin before a mark; giving back may not end before one.
            if last && at >= (*this).floor {
                let room = (*this).end.addr().wrapping_sub(at.addr());
                if bytes <= room && !Self::has(this, LEAVING) {
                    if bytes < old {
                        Self::note_peak(this);
                    }
                    (*this).at = at.wrapping_add(round(bytes));
                    Self::hide(this);
                    return at;
                }
            }
            if bytes <= round(old.min(isize::MAX as usize)) {
                return at;
            }
            let place = Self::alloc(this, bytes);
            if !place.is_null() {
                copy_nonoverlapping(at, place, old);
            }
            place
        }
    }

    /// A copy of `bytes` bytes and, if asked for, a zero behind; null when there is no memory.
    ///
    /// # Safety
    /// As [`KnArena::alloc`]; `from` can be read.
    pub unsafe fn copy(this: *mut Self, from: *const u8, bytes: usize, zero: bool) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            let Some(all) = bytes.checked_add(usize::from(zero)) else { return null_mut() };
            let at = Self::alloc(this, all);
            if !at.is_null() {
                copy_nonoverlapping(from, at, bytes);
                if zero {
                    at.wrapping_add(bytes).write(0);
                }
            }
            at
        }
    }

    /// Bytes of a text, at most `most`.
    ///
    /// # Safety
    /// `text` can be read to its zero, or for `most` bytes.
    pub unsafe fn length(text: *const c_char, most: usize) -> usize {
        let mut bytes = 0;
        // SAFETY: the caller's word.
        while bytes < most && unsafe { text.wrapping_add(bytes).read() } != 0 {
            bytes += 1;
        }
        bytes
    }

    /// Whether an address lies in the arena's memory, or in a scope that lies there.
    ///
    /// # Safety
    /// `this` is null or an arena's memory.
    pub unsafe fn contains(this: *const Self, address: *const u8) -> bool {
        // SAFETY: the caller's word.
        unsafe { Self::is_alive(this) && Self::spans(this, null_mut(), null_mut(), address.addr()) }
    }

    /// The innermost open scope of a heap, or null.
    ///
    /// # Safety
    /// `heap` is a live heap of this thread.
    pub unsafe fn innermost_of(heap: *mut KnHeap) -> *mut KnArena {
        // SAFETY: the caller's word.
        unsafe { innermost(Source::of(heap)) }
    }

    /// The scope around, or null.
    ///
    /// # Safety
    /// `this` is null or an arena's memory.
    pub unsafe fn parent(this: *const Self) -> *mut KnArena {
        // SAFETY: the caller's word.
        unsafe {
            if Self::is_alive(this) {
                (*this).outer
            } else {
                null_mut()
            }
        }
    }

    /// The name, null for what is no arena.
    ///
    /// # Safety
    /// As [`KnArena::parent`].
    pub unsafe fn name_of(this: *const Self) -> *const c_char {
        // SAFETY: the caller's word.
        unsafe {
            if Self::is_alive(this) {
                Self::name(this)
            } else {
                core::ptr::null()
            }
        }
    }

    /// The numbers; None for what is no arena.
    ///
    /// # Safety
    /// As [`KnArena::parent`].
    pub unsafe fn stats_of(this: *const Self) -> Option<KnArenaStats> {
        // SAFETY: the caller's word.
        unsafe { Self::is_alive(this).then(|| Self::stats(this)) }
    }

    /// The numbers.
    ///
    /// # Safety
    /// `this` is a living arena.
    unsafe fn stats(this: *const Self) -> KnArenaStats {
        // SAFETY: the caller's word.
        unsafe {
            let used = Self::used(this);
            let peak = Self::most(this);
            KnArenaStats {
                name: Self::name(this),
                used,
                peak,
                held: (*this).held,
                presize: (*this).config.presize,
                budget: (*this).config.budget,
                suggested: round(peak) + Self::waste(this),
                blocks: (*this).blocks,
                escapes: (*Self::books(this)).escapes,
                refused: (*Self::books(this)).refused,
                refused_by: (*Self::books(this)).refused_by,
                depth: Self::depth(this),
            }
        }
    }
}
