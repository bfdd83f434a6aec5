//! The header of a cell: two words before the payload.
//!
//! Guarantees
//! * One signed comparison tells the ordinary case from every other, for counting up and down.
//! * A pointer that is not a cell's is told apart with a chance of error of 1 in 65,536, a dead cell
//!   for certain as long as its memory is still a cell's.
//!
//! ```text
//!          31  30                          5  4   3     2       1      0
//!   word  +---+-----------------------------+-------+--------+------+------+
//!         | S | count                       | state |acyclic |purple| root |   S = 0
//!         +---+-----------------------------+-------+--------+------+------+
//!         | 1 | a one, zeros                | 00    immortal               |
//!         | 1 | a one, the way to its arena | 00    in an arena (scoped.rs)
//!         | 1 | count                       | 01    shared: counted atomically
//!         | 1 | index of its entry          | 10    under search (search.rs)
//!         | 1 | link                        | 11 0  waiting for destruction
//!         | 1 | count                       | 11 1 0 0  its destroy runs
//!         | 1 | 0                           | 11 1 0 1  free memory
//!          31          16   15       14      13                            0
//!   kind  +--------------+--------+---------+------------------------------+
//!         | seal         | single |finalised| type                         |
//!         +--------------+--------+---------+------------------------------+
//! ```
//! The seal is made of the address; while the cell is a root, its place is the low half of the
//! root's index; while it waits, of the link's low 16 bits. *Purple* (Bacon and Rajan, "Concurrent
//! Cycle Collection in Reference Counted Systems", ECOOP 2001) says that the last thing that happened
//! to the count was going down. In an ordinary cell `state` is used by the whole-heap passes only.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use super::types::KnTypeId;

/// What `GC_refcount` answers for an immortal cell.
pub const KN_IMMORTAL: u32 = (1 << 27) - 1;

/// One reference in `word`.
pub(crate) const ONE: u32 = 32;
pub(crate) const ROOT: u32 = 1;
pub(crate) const PURPLE: u32 = 2;
pub(crate) const ACYCLIC: u32 = 4;
pub(crate) const STATE: u32 = 3 << 3;
pub(crate) const SPECIAL: u32 = 1 << 31;
/// The states of a special word.
pub(crate) const SHARED: u32 = SPECIAL | 1 << 3;
pub(crate) const SEARCHED: u32 = SPECIAL | 2 << 3;
pub(crate) const DEAD: u32 = SPECIAL | 3 << 3;
pub(crate) const RUNNING: u32 = DEAD | 4;
pub(crate) const FREE: u32 = DEAD | 5;
/// Counting it up or down leaves it negative.
pub(crate) const IMMORTAL: u32 = SPECIAL | 1 << 30;
/// The count in any word that has one.
pub(crate) const COUNT: u32 = !(SPECIAL | (ONE - 1));

pub(crate) const TYPE: u32 = (1 << 14) - 1;
pub(crate) const FINALISED: u32 = 1 << 14;
pub(crate) const SINGLE: u32 = 1 << 15;
/// What every seal is mixed with, so that memory of zeros is no cell.
/// (One that a comparison can hold: two instructions less at each verification on Cortex-M3 and M4.)
pub(crate) const KEY: u32 = if cfg!(knoll_no_clz) { 0xA5C3 << 16 } else { 0xA5 << 24 };

/// Bytes of the header.
pub(crate) const HEADER: usize = size_of::<CellHeader>();

/// The two words before a payload.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct CellHeader {
    pub word: u32,
    pub kind: u32,
}

/// The header of the cell whose payload is at `object`.
#[inline(always)]
pub(crate) fn header(object: *const u8) -> *mut CellHeader {
    object.wrapping_sub(HEADER).cast_mut().cast()
}

/// The seal of a cell at this address, in place.
#[inline(always)]
pub(crate) fn seal(object: *const u8) -> u32 {
    // Payloads are aligned to 8: bits 3 to 18 of the address come to lie in the upper half.
    ((object.addr() as u32) << 13 ^ KEY) & !0xFFFF
}

/// The word of a cell that may be a shared one, which other threads count.
///
/// # Safety
/// The 8 bytes before `object` can be read.
#[inline(always)]
pub(crate) unsafe fn load_word(object: *const u8) -> u32 {
    // SAFETY: the caller's word.
    unsafe { AtomicU32::from_ptr(&raw mut (*header(object)).word).load(Relaxed) }
}

/// The type of a cell.
///
/// # Safety
/// `object` is a cell, alive or waiting.
#[inline(always)]
pub(crate) unsafe fn type_id(object: *const u8) -> KnTypeId {
    // SAFETY: the caller's word.
    unsafe { (*header(object)).kind & TYPE }
}

/// Puts the seal back where a root's index or a link was.
///
/// # Safety
/// `object` is a cell.
#[inline(always)]
pub(crate) unsafe fn reseal(object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        let header = header(object);
        (*header).kind = (*header).kind & 0xFFFF | seal(object);
    }
}

/// The kind of a cell whose block of its own went back to the heap: certainly not sealed.
#[inline(always)]
pub(crate) fn dead_single(object: *const u8) -> u32 {
    !seal(object) & !0xFFFF | SINGLE
}

/// Whether the seal is this address's. False for roots and waiting cells too: they carry none.
///
/// # Safety
/// The 8 bytes before `object` can be read.
#[inline(always)]
pub(crate) unsafe fn sealed(object: *const u8) -> bool {
    // SAFETY: the caller's word.
    unsafe { ((*header(object)).kind >> 16) as u16 ^ (object.addr() >> 3) as u16 == (KEY >> 16) as u16 }
}

/// Makes a cell one that waits, with the address of the next one that does, or 0, in its header.
///
/// # Safety
/// `object` is a cell whose count is no longer needed.
#[inline(always)]
pub(crate) unsafe fn set_link(object: *mut u8, next: usize) {
    let link = next >> 3;
    // SAFETY: the caller's word. User addresses have at most 47 bits, so a link at most 44.
    unsafe {
        let header = header(object);
        (*header).kind = (*header).kind & 0xFFFF | (link as u32) << 16;
        let high = link >> 16;
        (*header).word = DEAD | ((high as u32) << 5 & COUNT) | (high >> 26) as u32 & 3;
    }
}

/// The address that [`set_link`] wrote.
///
/// # Safety
/// `object` is a cell that waits.
#[inline(always)]
pub(crate) unsafe fn link(object: *const u8) -> usize {
    // SAFETY: the caller's word.
    unsafe {
        let CellHeader { word, kind } = *header(object);
        let high = ((word & COUNT) >> 5) as usize | ((word & 3) as usize) << 26;
        (high << 16 | (kind >> 16) as usize) << 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_survives_the_header() {
        let mut memory = [0u64; 2];
        let object = memory.as_mut_ptr().wrapping_add(1).cast::<u8>();
        let most = if usize::BITS == 64 { 0x7FFF_FFFF_FFF8u64 } else { 0xFFFF_FFF8 };
        for bit in 3..if usize::BITS == 64 { 47 } else { 32 } {
            for address in [1u64 << bit, most - (1 << bit), most] {
                let address = (address & most) as usize;
                // SAFETY: `object` has a header before it.
                unsafe {
                    (*header(object)).kind = SINGLE | 77;
                    set_link(object, address);
                    assert_eq!(link(object), address);
                    assert_eq!(type_id(object), 77);
                    assert_eq!((*header(object)).word & (DEAD | 4), DEAD);
                }
            }
        }
    }

    #[test]
    fn immortal_is_no_other_state() {
        assert_eq!(IMMORTAL & STATE, 0);
        assert_eq!(IMMORTAL & SPECIAL, SPECIAL);
    }
}
