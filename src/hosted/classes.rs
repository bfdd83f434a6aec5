//! The sizes that small blocks come in.
//!
//! - 56 classes: steps of 16 bytes up to 256, then eight to each doubling, up to 8 KB. What a request is
//!   rounded up by is less than 16 bytes, or less than an eighth of it.
//! - A class's size is a multiple of every alignment that it was asked for with: a size rounded up to the
//!   alignment has a class that is a multiple of it too.
//! - [`Divisor`] tells a multiple of the size, and which one, by one multiplication.
//!
//! ```text
//!   class    0  1  2 …  15 | 16  17 …  23 | 24  25 …   31 | …  55
//!   size    16 32 48 … 256 |288 320 … 512 |576 640 … 1024 | … 8192
//! ```

/// The number of classes.
pub(super) const CLASSES: usize = 56;
/// No small block is larger.
pub(super) const LARGEST_SMALL: usize = 8192;
/// Small blocks are multiples of this, and at multiples of it.
pub(super) const GRANULE: usize = 16;
/// Up to here the step is one granule.
const FINE: usize = 256;

/// The class of so many bytes, at most [`LARGEST_SMALL`].
#[inline(always)]
pub(super) const fn class_of(bytes: usize) -> usize {
    if bytes <= FINE {
        return (bytes + (bytes == 0) as usize - 1) / GRANULE;
    }
    let last = bytes - 1;
    let power = usize::BITS as usize - 1 - last.leading_zeros() as usize;
    // The power of two below, and the three bits after its first.
    16 + (power - 8) * 8 + (last >> (power - 3)) - 8
}

/// The size of a class's blocks.
#[inline(always)]
pub(super) const fn size_of_class(class: usize) -> usize {
    if class < 16 {
        (class + 1) * GRANULE
    } else {
        (9 + (class - 16) % 8) << ((class - 16) / 8 + 5)
    }
}

/// Division of an offset below 64 KB by a size, exactly: Lemire, Kaser, Kurz, "Faster remainder by
/// direct computation" (2019). With R = ⌈2³² / size⌉ the product offset × R has the quotient above bit 32;
/// below it an exact multiple number n leaves n × (R × size − 2³²), less than R, and anything else more.
/// Comparing with what the page's last block leaves refuses the rest behind it as well.
#[derive(Clone, Copy)]
pub(super) struct Divisor {
    pub reciprocal: u64,
    pub limit: u32,
}

impl Divisor {
    /// For `count` blocks of `size` bytes.
    pub(super) const fn new(size: usize, count: usize) -> Divisor {
        let reciprocal = (1u64 << 32).div_ceil(size as u64);
        let excess = reciprocal * size as u64 - (1 << 32);
        Divisor { reciprocal, limit: ((count as u64 - 1) * excess) as u32 + 1 }
    }

    /// Which block begins at the offset; None: none does.
    #[inline(always)]
    pub(super) fn divide(reciprocal: u64, limit: u32, offset: u16) -> Option<usize> {
        let product = (offset as u64).wrapping_mul(reciprocal);
        ((product as u32) < limit).then_some((product >> 32) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_tightest_class() {
        for bytes in 0..=LARGEST_SMALL {
            let class = class_of(bytes);
            assert!(class < CLASSES && size_of_class(class) >= bytes.max(1), "{bytes}");
            assert!(class == 0 || size_of_class(class - 1) < bytes, "{bytes}");
        }
        assert_eq!((size_of_class(CLASSES - 1), class_of(LARGEST_SMALL)), (LARGEST_SMALL, CLASSES - 1));
    }

    #[test]
    fn a_rounded_size_keeps_its_alignment() {
        for align in (4..=13).map(|power| 1usize << power) {
            for bytes in (align..=LARGEST_SMALL).step_by(align) {
                assert_eq!(size_of_class(class_of(bytes)) % align, 0, "{bytes} at {align}");
            }
        }
    }

    #[test]
    fn division_is_exact_and_ends_with_the_last_block() {
        for class in 0..CLASSES {
            let size = size_of_class(class);
            let count = (1 << 16) / size;
            let Divisor { reciprocal, limit } = Divisor::new(size, count);
            for offset in 0..=u16::MAX {
                let (n, rest) = (offset as usize / size, offset as usize % size);
                let expected = (rest == 0 && n < count).then_some(n);
                assert_eq!(Divisor::divide(reciprocal, limit, offset), expected, "{offset} / {size}");
            }
        }
    }
}
