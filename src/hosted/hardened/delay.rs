//! What the hardened build keeps for each thread: its freed blocks on their way back, and its generator.
//!
//! - A small block that was freed waits until so many others were freed by the same thread: [`SHORT`] of up
//!   to 512 bytes, [`LONG`] of more. So its address does not come back soon, and is then one of those from
//!   which the next one is chosen at random.
//! - While it waits it counts as used, to the pages and in statistics, and as free to who frees it again.
//! - A thread's end, a trim and a request that the system refuses let all of them go.
//! - A signal handler may free: a place changes by one atomic operation, which gives what was there.
//!
//! Cost: two atomic operations, and up to 384 KB of blocks a thread.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::random::Random;

/// Blocks that wait, of up to [`SHORT_BYTES`] and of more.
const SHORT: usize = 256;
const LONG: usize = 32;
const SHORT_BYTES: usize = 512;

/// What is kept for a thread.
pub(in crate::hosted) struct Keep {
    pub(super) random: Random,
    short: Ring<SHORT>,
    long: Ring<LONG>,
}

struct Ring<const PLACES: usize> {
    next: AtomicUsize,
    places: [AtomicPtr<u8>; PLACES],
}

impl Keep {
    pub(in crate::hosted) fn new() -> Keep {
        super::tail::begin();
        Keep { random: Random::new(), short: Ring::new(), long: Ring::new() }
    }

    /// Has a freed block of so many bytes wait; the block that need not any longer, or null.
    #[inline(always)]
    pub(super) fn delay(&self, at: *mut u8, bytes: usize) -> *mut u8 {
        if bytes <= SHORT_BYTES {
            self.short.turn(at)
        } else {
            self.long.turn(at)
        }
    }

    /// Shows all blocks that wait; they do no longer.
    pub(in crate::hosted) fn release(&self, visit: &mut dyn FnMut(*mut u8)) {
        self.short.empty(visit);
        self.long.empty(visit);
    }
}

impl<const PLACES: usize> Ring<PLACES> {
    fn new() -> Ring<PLACES> {
        Ring { next: AtomicUsize::new(0), places: [const { AtomicPtr::new(null_mut()) }; PLACES] }
    }

    #[inline(always)]
    fn turn(&self, at: *mut u8) -> *mut u8 {
        // Another thread never does; a signal handler may get the same place.
        let n = self.next.load(Ordering::Relaxed);
        self.next.store(n.wrapping_add(1), Ordering::Relaxed);
        self.places[n % PLACES].swap(at, Ordering::Relaxed)
    }

    fn empty(&self, visit: &mut dyn FnMut(*mut u8)) {
        for place in &self.places {
            let at = place.swap(null_mut(), Ordering::Relaxed);
            if !at.is_null() {
                visit(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    #[test]
    fn each_block_comes_out_once_and_not_soon() {
        let keep = Keep::new();
        let at = |n: usize| core::ptr::without_provenance_mut::<u8>(16 * n);
        let mut out: Vec<usize> = (1..=1000).map(|n| keep.delay(at(n), 16 + n % 2 * 1000).addr() / 16).collect();
        assert!(out.iter().take(2 * LONG).all(|&n| n == 0));
        keep.release(&mut |at| out.push(at.addr() / 16));
        keep.release(&mut |_| panic!("twice"));
        out.retain(|&n| n != 0);
        out.sort_unstable();
        assert!(out.into_iter().eq(1..=1000));
    }
}
