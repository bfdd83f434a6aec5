//! What is written into blocks: noise that names its block and its place in it.
//!
//! A block of tag `t` holds a table of noise from place `t * 389` on, again and again. The
//! table's length is prime, so the same bytes at a shifted place differ, and writing and
//! comparing cost what `memcpy` and `memcmp` do.

use crate::random::Random;
use std::sync::LazyLock;

const LENGTH: usize = 4093;

static NOISE: LazyLock<[u8; LENGTH]> = LazyLock::new(|| {
    let mut random = Random::new(4093);
    std::array::from_fn(|_| random.bits() as u8)
});

/// The pieces of the table that make `bytes` bytes of tag `tag`, with their places.
fn pieces(bytes: usize, tag: usize) -> impl Iterator<Item = (usize, &'static [u8])> {
    let mut done = 0;
    let mut from = tag.wrapping_mul(389) % LENGTH;
    std::iter::from_fn(move || {
        let piece = &NOISE[from..][..(LENGTH - from).min(bytes - done)];
        let place = done;
        done += piece.len();
        from = 0;
        (!piece.is_empty()).then_some((place, piece))
    })
}

/// Fills a block that the heap has just returned.
///
/// # Safety
/// `at` is valid for writes of `bytes` bytes.
pub unsafe fn write(at: *mut u8, bytes: usize, tag: usize) {
    for (place, piece) in pieces(bytes, tag) {
        // SAFETY: `place + piece.len() <= bytes`, the size of the caller's block.
        unsafe { at.add(place).copy_from_nonoverlapping(piece.as_ptr(), piece.len()) };
    }
}

/// Fails with the first byte that is not what [`write`] wrote.
///
/// # Safety
/// `at` is valid for reads of `bytes` bytes, all of them initialised.
pub unsafe fn compare(at: *const u8, bytes: usize, tag: usize) -> Result<(), String> {
    for (place, piece) in pieces(bytes, tag) {
        // SAFETY: as in `write`; the block is initialised.
        let found = unsafe { std::slice::from_raw_parts(at.add(place), piece.len()) };
        if found != piece {
            let wrong = (0..piece.len()).find(|&i| found[i] != piece[i]).unwrap_or(0);
            return Err(format!(
                "byte {} of {bytes} is {:#04x}, was {:#04x}",
                place + wrong,
                found[wrong],
                piece[wrong]
            ));
        }
    }
    Ok(())
}
