//! Numbers that a program's author does not know in advance.
//!
//! - The first one comes from the system. Where that gives none, addresses serve, which differ from run
//!   to run.
//! - Each thread goes on from a seed of its own: a linear congruential generator, of which the upper bits
//!   are used (Knuth, TAOCP 2, 3.3.4). It is no secret to one who sees many of them; it is cheap.
//!
//! Cost: a multiplication; a system call for a thread's first.

use core::sync::atomic::{AtomicUsize, Ordering};

/// A seed.
#[cold]
pub(super) fn seed() -> usize {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut random = [0usize; 1];
    from_system(&mut random);
    let places = (&raw const random).addr() ^ (&raw const CALLS).addr().rotate_left(21);
    random[0] ^ (places ^ calls.rotate_left(48)).wrapping_mul(MULTIPLIER)
}

/// Leaves the number as it is where the system has none.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
fn from_system(random: &mut [usize; 1]) {
    let _errno = crate::port::Errno::keep();
    // SAFETY: the number's own bytes; the call does not wait.
    unsafe {
        libc::syscall(libc::SYS_getrandom, random.as_mut_ptr(), size_of_val(random), libc::GRND_NONBLOCK);
    }
}

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
fn from_system(_random: &mut [usize; 1]) {}

const MULTIPLIER: usize = 0x5851_F42D_4C95_7F2D_u64 as usize;
const INCREMENT: usize = 0x1405_7B7E_F767_814F_u64 as usize;

/// A thread's generator. A signal handler that interrupts it may get the same number.
pub(super) struct Random(AtomicUsize);

impl Random {
    pub(super) fn new() -> Random {
        Random(AtomicUsize::new(seed()))
    }

    /// The next number, less than 2^bits.
    #[inline(always)]
    pub(super) fn next(&self, bits: u32) -> usize {
        let state = self.0.load(Ordering::Relaxed).wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        self.0.store(state, Ordering::Relaxed);
        state >> (usize::BITS - bits)
    }

    /// One of the bits that are set, among the lowest one and the [`NEAR`] - 1 that follow it; there is one.
    #[inline(always)]
    pub(super) fn bit_of(&self, word: usize) -> usize {
        let lowest = word.trailing_zeros();
        let near = (word >> lowest) & ((1 << NEAR) - 1);
        let turn = self.next(NEAR.trailing_zeros()) as u32;
        // What follows the turn, and behind it what comes before.
        let turned = (near | near << NEAR) >> turn;
        (lowest + ((turned.trailing_zeros() + turn) & (NEAR - 1))) as usize
    }
}

/// Blocks among which one is chosen: what lies further apart costs a program more than the choice is worth.
const NEAR: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_near_bit_comes_and_no_other() {
        let random = Random::new();
        for word in [1, 1 << (usize::BITS - 1), usize::MAX, 0b1010_0110, usize::MAX / 3, usize::MAX << 10] {
            let mut seen = 0;
            for _ in 0..1000 {
                seen |= 1 << random.bit_of(word);
            }
            let near = ((1 << NEAR) - 1) << word.trailing_zeros();
            assert_eq!(seen, word & near, "{word:b}");
        }
    }
}
