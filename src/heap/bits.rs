//! Bit searches that stay cheap where the processor has none.
//!
//! Guarantees
//! * `log2(x)` is the position of the highest set bit of `x`, `lowest(x)` of the lowest; both
//!   want `x != 0` and are total (they answer something, never panic) for 0.
//! * On Cortex-M0 and RV32 without Zbb neither calls a library routine: `log2` is a lookup in a
//!   32-byte table, `lowest` a multiplication by a de Bruijn sequence and a second such table.
//!
//! Costs: one or two instructions where the processor has them; elsewhere at most three compares and a
//! table, and one multiplication and a table.
//!
//! Source: Leiserson, Prokop, Randall, "Using de Bruijn sequences to index a 1 in a computer
//! word" (1998).

/// Number of bits in one word of the bin bitmap.
pub(crate) const WORD_BITS: usize = usize::BITS as usize;

/// Position of the highest set bit.
#[cfg(not(knoll_no_clz))]
#[inline(always)]
pub(crate) fn log2(x: usize) -> usize {
    (WORD_BITS - 1) ^ x.leading_zeros() as usize
}

/// Position of the lowest set bit.
#[cfg(not(knoll_no_clz))]
#[inline(always)]
pub(crate) fn lowest(x: usize) -> usize {
    x.trailing_zeros() as usize
}

#[cfg(knoll_no_clz)]
static LOG2_OF_5_BITS: [u8; 32] =
    [0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4];

#[cfg(knoll_no_clz)]
static LOWEST_BY_DE_BRUIJN: [u8; 32] = [
    0, 1, 28, 2, 29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4, 8, 31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6, 11, 5, 10,
    9,
];

/// Position of the highest set bit.
#[cfg(knoll_no_clz)]
#[inline(always)]
pub(crate) fn log2(x: usize) -> usize {
    let (mut high, mut x) = (0, x);
    if x >= 1 << 20 {
        x >>= 20;
        high = 20;
    }
    if x >= 1 << 10 {
        x >>= 10;
        high += 10;
    }
    if x >= 1 << 5 {
        x >>= 5;
        high += 5;
    }
    // SAFETY: the mask keeps the index below 32, the table's length.
    high + usize::from(unsafe { *LOG2_OF_5_BITS.get_unchecked(x & 31) })
}

/// Position of the lowest set bit.
#[cfg(knoll_no_clz)]
#[inline(always)]
pub(crate) fn lowest(x: usize) -> usize {
    let one = (x & x.wrapping_neg()) as u32;
    // SAFETY: a 32-bit value shifted right by 27 is below 32, the table's length.
    usize::from(unsafe { *LOWEST_BY_DE_BRUIJN.get_unchecked((one.wrapping_mul(0x077C_B531) >> 27) as usize) })
}
