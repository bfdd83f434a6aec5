//! The sizes that small blocks come in.
//!
//! - 64 classes: steps of 16 bytes up to 256, then eight to each doubling up to 2 KB, then what 31, 30, …
//!   8 blocks to a page come to. What a request is rounded up by is less than 16 bytes, or at most about an
//!   eighth of it; and no page of large blocks has room left for one more.
//! - [`aligned_size`] has a class that is a multiple of the alignment: its blocks lie at multiples of it.
//! - [`Divisor`] tells a multiple of the size, and which one, by one multiplication.
//!
//! ```text
//!   class    0  1  2 …  15 | 16  17 …  23 | 24 … 31 | 32 …  39 | 40   41 …   56 …    63
//!   size    16 32 48 … 256 |288 320 … 512 |  … 1024 |  … 2048  |2112 2176 … 4368 … 8192
//! ```

/// The number of classes.
pub(super) const CLASSES: usize = 64;
/// No small block is larger.
pub(super) const LARGEST_SMALL: usize = 8192;
/// Small blocks are multiples of this, and at multiples of it.
pub(super) const GRANULE: usize = 16;
/// Up to here the step is one granule.
const FINE: usize = 256;

/// Above this a class is a fraction of a page.
const FRACTIONS: usize = 2048;
/// Bytes of a page.
const PAGE: usize = 1 << 16;

/// The class of so many bytes, at most [`LARGEST_SMALL`], by calculation.
const fn find_class(bytes: usize) -> usize {
    if bytes <= FINE {
        return (bytes + (bytes == 0) as usize - 1) / GRANULE;
    }
    if bytes > FRACTIONS {
        return 71 - PAGE / bytes.next_multiple_of(GRANULE);
    }
    let last = bytes - 1;
    let power = usize::BITS as usize - 1 - last.leading_zeros() as usize;
    // The power of two below, and the three bits after its first.
    16 + (power - 8) * 8 + (last >> (power - 3)) - 8
}

/// The class of each number of granules.
static TABLE: [u8; LARGEST_SMALL / GRANULE + 1] = {
    let mut table = [0; LARGEST_SMALL / GRANULE + 1];
    let mut n = 0;
    while n < table.len() {
        table[n] = find_class(n * GRANULE) as u8;
        n += 1;
    }
    table
};

/// The class of so many bytes, at most [`LARGEST_SMALL`].
#[inline(always)]
pub(super) fn class_of(bytes: usize) -> usize {
    match TABLE.get(bytes.div_ceil(GRANULE)) {
        Some(&class) => class as usize,
        None => CLASSES - 1,
    }
}

/// The size of a class's blocks, by calculation.
const fn find_size(class: usize) -> usize {
    if class < 16 {
        (class + 1) * GRANULE
    } else if class < 40 {
        (9 + (class - 16) % 8) << ((class - 16) / 8 + 5)
    } else {
        (PAGE / (71 - class)) & !(GRANULE - 1)
    }
}

/// The size of each class.
static SIZES: [u16; CLASSES] = {
    let mut sizes = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        sizes[class] = find_size(class) as u16;
        class += 1;
    }
    sizes
};

/// The size of a class's blocks, never 0; of what is no class, that of the last.
#[inline(always)]
pub(super) fn size_of_class(class: usize) -> usize {
    SIZES.get(class).map_or(LARGEST_SMALL, |&size| size as usize).max(1)
}

/// `bytes` or more whose class is a multiple of `align`, a power of two; None: no small block is.
#[inline(always)]
pub(super) fn aligned_size(align: usize, bytes: usize) -> Option<usize> {
    if align > LARGEST_SMALL || bytes > LARGEST_SMALL {
        return None;
    }
    let rounded = (bytes + (bytes == 0) as usize + align - 1) & !(align - 1);
    if rounded <= FRACTIONS {
        // Every multiple of the alignment has a class that is one.
        return Some(rounded);
    }
    aligned_fraction(align, rounded)
}

/// The least fraction of a page that is a multiple of `align` and not less than `bytes`.
#[inline(never)]
fn aligned_fraction(align: usize, bytes: usize) -> Option<usize> {
    (class_of(bytes.min(LARGEST_SMALL))..CLASSES)
        .map(size_of_class)
        .find(|size| *size >= bytes && size & (align - 1) == 0)
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

    /// Which block begins at the offset; None: none does. In assembly `Page::index_of` does the same.
    #[cfg(any(test, miri, loom, knoll_portable, not(all(target_arch = "x86_64", target_pointer_width = "64"))))]
    #[inline(always)]
    pub(super) fn divide(reciprocal: u64, limit: u32, offset: u16) -> Option<usize> {
        let product = (offset as u64).wrapping_mul(reciprocal);
        ((product as u32) < limit).then_some((product >> 32) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Miri looks at some of the numbers only: it is a thousand times slower, and this is arithmetic.
    const STRIDE: usize = if cfg!(miri) { 509 } else { 1 };

    #[test]
    fn every_size_has_the_tightest_class() {
        for bytes in (0..=LARGEST_SMALL).step_by(STRIDE) {
            let class = class_of(bytes);
            assert!(class < CLASSES && size_of_class(class) >= bytes.max(1), "{bytes}");
            assert!(class == 0 || size_of_class(class - 1) < bytes, "{bytes}");
        }
        assert_eq!((size_of_class(CLASSES - 1), class_of(LARGEST_SMALL)), (LARGEST_SMALL, CLASSES - 1));
    }

    #[test]
    fn an_aligned_size_is_a_multiple() {
        for align in (4..=13).map(|power| 1usize << power) {
            for bytes in (0..=LARGEST_SMALL).step_by(STRIDE) {
                let size = size_of_class(class_of(aligned_size(align, bytes).unwrap()));
                assert!(size % align == 0 && size >= bytes, "{bytes} at {align}");
            }
        }
        assert_eq!((aligned_size(16384, 1), aligned_size(16, 8193)), (None, None));
    }

    #[test]
    fn division_is_exact_and_ends_with_the_last_block() {
        for class in 0..CLASSES {
            let size = size_of_class(class);
            let count = (1 << 16) / size;
            let Divisor { reciprocal, limit } = Divisor::new(size, count);
            for offset in (0..=u16::MAX).step_by(STRIDE) {
                let (n, rest) = (offset as usize / size, offset as usize % size);
                let expected = (rest == 0 && n < count).then_some(n);
                assert_eq!(Divisor::divide(reciprocal, limit, offset), expected, "{offset} / {size}");
            }
        }
    }
}
