//! What differs between block layouts, and what a region's control block holds.
//!
//! Guarantees
//! * The allocation algorithm ([`super::allocate`], [`super::release`]) is written once, against the
//!   [`Layout`] trait; a layout only says where a block's size and its neighbours' state are recorded.
//! * Everything a region needs lies in the memory that its owner gave: there is no static.
//! * Each pointer is derived from the region's own pointer, never from an integer.
//!
//! Design. A region is an array of *granules* (8 bytes, 16 on 64-bit hosts), counted from the
//! control block on. A block is a run of granules, named by the index of its first one. Index 0, the
//! control block's own, stands for "none"; indices from [`Link::BINS`] up stand for "head of bin k"
//! where a list's first block keeps its `previous` link:
//!
//! ```text
//!   control block                       granules
//!  +--------------------+-------+------+----+----+----+--- … ---+
//!  | KnHeap | tally peak| words | heads| map| i0 | i1 |         |
//!  +--------------------+-------+------+----+----+----+--- … ---+
//!   ^ this                              (map layout only)       ^ end
//!   granule i lies at  this + i * GRANULE
//! ```
//!
//! A free block starts with its two links, `previous` before `next`, so that the first byte
//! which an overflowing neighbour writes spoils the link that is verified before use.
//!
//! Costs: on 32-bit targets 24 bytes, two tallies of 4 or 8, a bitmap of one bit for each possible
//! bin, and one link for each bin that the region can need; see docs/figures.md for the sums.

use core::ffi::c_void;
use core::marker::PhantomData;

use super::bits::WORD_BITS;
use super::status::KnStatus;
use super::CHECKED;

/// How blocks are laid out in a region; chosen when the region is made.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnLayout {
    /// The library chooses: headerless up to about 510 KB on 32-bit targets (a 4-byte header up
    /// to 256 KB on Cortex-M0), an 8-byte header for larger regions and on 64-bit hosts.
    Auto = 0,
    /// No header: 2 bits for each granule in a map beside the blocks. Least memory for small
    /// blocks. Regions of at most 65,279 granules (510 KB on 32-bit targets, 1 MB on 64-bit).
    Map = 1,
    /// A 4-byte header and 16-bit links: fewest instructions. Regions of at most 32,767 granules
    /// (256 KB on 32-bit targets, 512 KB on 64-bit).
    Compact = 2,
    /// An 8-byte header, 32-bit links and 16-byte granules: regions up to 32 GB.
    Wide = 3,
}

/// How a region is to be made; all zero asks for the defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KnHeapConfig {
    /// The block layout.
    pub layout: KnLayout,
    /// Reserved, 0.
    pub flags: u32,
}

impl KnHeapConfig {
    /// A configuration from C's numbers; None for a layout that does not exist.
    pub(crate) fn from_numbers(layout: i32, flags: u32) -> Option<KnHeapConfig> {
        let layout = match layout {
            0 => KnLayout::Auto,
            1 => KnLayout::Map,
            2 => KnLayout::Compact,
            3 => KnLayout::Wide,
            _ => return None,
        };
        Some(KnHeapConfig { layout, flags })
    }

    /// What `kn_heap_create` uses.
    /// cbindgen:ignore
    pub const DEFAULT: KnHeapConfig = KnHeapConfig { layout: KnLayout::Auto, flags: 0 };
}

/// A heap, and the control block of its first region.
///
/// Further regions have control blocks of the same form in their own memory, chained by `next`.
/// The fields behind it (tally, bitmap, bin heads) depend on the region's layout.
#[repr(C, align(8))]
pub struct KnHeap {
    /// The heap's next region, or null.
    pub(crate) next: *mut KnHeap,
    /// The map, in the map layout; null in the others.
    pub(crate) map: *mut u8,
    /// Index of the first granule that a block can start at.
    pub(crate) first: u32,
    /// Index behind the last granule.
    pub(crate) end: u32,
    /// One of [`KnLayout`], never `Auto`.
    pub(crate) layout: u8,
    /// How many bins there are.
    pub(crate) bins: u8,
    pub(crate) reserved: u16,
    /// What `counted` keeps for the heap, in the first region's control block; null until first needed.
    /// The heap never looks behind it.
    pub(crate) counted: *mut c_void,
    /// The innermost scope of `arena`; null: none is open.
    pub(crate) scope: *mut c_void,
    /// What `arena` keeps a list of for the heap: free-standing arenas, resident blocks, named roots.
    pub(crate) held: *mut c_void,
}

/// Used granules and used blocks in one word, so that one addition counts both and one
/// comparison finds the peak.
pub(crate) trait Tally: Copy + PartialOrd {
    fn plus(self, granules: usize) -> Self;
    fn minus(self, granules: usize) -> Self;
    /// `granules` more, the same number of blocks.
    fn grown(self, granules: usize) -> Self;
    /// `granules` less, the same number of blocks.
    fn shrunk(self, granules: usize) -> Self;
    fn granules(self) -> usize;
    fn blocks(self) -> usize;
}

macro_rules! tally {
    ($word:ty, $half:literal) => {
        impl Tally for $word {
            #[inline(always)]
            fn plus(self, granules: usize) -> Self {
                self.wrapping_add((granules as $word) << $half).wrapping_add(1)
            }
            #[inline(always)]
            fn minus(self, granules: usize) -> Self {
                self.wrapping_sub((granules as $word) << $half).wrapping_sub(1)
            }
            #[inline(always)]
            fn grown(self, granules: usize) -> Self {
                self.wrapping_add((granules as $word) << $half)
            }
            #[inline(always)]
            fn shrunk(self, granules: usize) -> Self {
                self.wrapping_sub((granules as $word) << $half)
            }
            #[inline(always)]
            fn granules(self) -> usize {
                (self >> $half) as usize
            }
            #[inline(always)]
            fn blocks(self) -> usize {
                (self & (((1 as $word) << $half) - 1)) as usize
            }
        }
    };
}
tally!(u32, 16);
tally!(u64, 32);

/// The integer in which granule indices and sizes are stored.
pub(crate) trait Link: Copy + 'static {
    /// Bytes of one link.
    const BYTES: usize = size_of::<Self>();
    /// Indices from here up stand for bins; none names a block.
    const BINS: usize;
    /// How a region counts what is used.
    type Tally: Tally;
    fn of(index: usize) -> Self;
    fn get(self) -> usize;
}

impl Link for u16 {
    const BINS: usize = 0xFF00;
    type Tally = u32;
    #[inline(always)]
    fn of(index: usize) -> Self {
        index as u16
    }
    #[inline(always)]
    fn get(self) -> usize {
        usize::from(self)
    }
}

impl Link for u32 {
    const BINS: usize = 0xFFFF_FF00;
    type Tally = u64;
    #[inline(always)]
    fn of(index: usize) -> Self {
        index as u32
    }
    #[inline(always)]
    fn get(self) -> usize {
        self as usize
    }
}

/// What the records of a used block say of it.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    /// Its size in granules.
    pub size: usize,
    /// Whether a free block follows.
    pub right_is_free: bool,
    /// What the layout has at hand of the left neighbour.
    pub clue: usize,
}

/// Where a block's size and state are recorded. Sizes and indices in granules throughout.
pub(crate) trait Layout: Sized + 'static {
    type Link: Link;
    /// Which layout this is, as the control block stores it.
    const KIND: KnLayout;
    /// Bytes of a granule, and the alignment of payloads.
    const GRANULE: usize;
    /// Bytes of header before each payload.
    const LEAD: usize;
    /// Largest number of granules in a region.
    const MOST: usize;

    /// Whether [`Layout::inspect`] may be asked of indices below `first` too, and refuses them.
    const KNOWS_ALL: bool;

    /// Bytes of map that a region up to `end` needs beside the blocks.
    fn map_bytes(end: usize) -> usize;

    /// Writes the records of an empty region: one free block from `first` to `end`.
    ///
    /// # Safety
    /// The control block's fields are set and the map, if any, is zero.
    unsafe fn found(region: Region<Self>);

    /// Reads the records of the used block at `block`, verifying them.
    ///
    /// # Safety
    /// `block` is an index of the region.
    unsafe fn inspect(region: Region<Self>, block: usize) -> Result<Used, KnStatus>;

    /// Size of the free block right behind a used one, 0 when that is used; None when the records are
    /// contradictory.
    ///
    /// # Safety
    /// `used` is what [`Layout::inspect`] or [`Layout::give`] just answered for `block`.
    #[inline(always)]
    unsafe fn right(region: Region<Self>, block: usize, used: Used) -> Option<usize> {
        if !used.right_is_free {
            return Some(0);
        }
        // SAFETY: by the block's records a free one starts there.
        unsafe {
            let size = Self::free_size(region, block + used.size);
            (!CHECKED || Self::ends_agree(region, block + used.size, size)).then_some(size)
        }
    }

    /// Size of the free block right before a used one, 0 when that is used; None when the records are
    /// contradictory.
    ///
    /// # Safety
    /// As [`Layout::right`].
    unsafe fn left(region: Region<Self>, block: usize, used: Used) -> Option<usize>;

    /// Records that `size` granules at `at` become used, inside the free block of `whole` granules
    /// at `block`. What is left before and behind stays free; its size is set by
    /// [`Layout::set_free_size`] when it is linked.
    ///
    /// # Safety
    /// `block <= at` and `at + size <= block + whole`, the records are consistent.
    unsafe fn take(region: Region<Self>, block: usize, whole: usize, at: usize, size: usize);

    /// As [`Layout::inspect`], and records that the block becomes free and one with its free
    /// neighbours, whose sizes are still to be asked. A refusal changes nothing.
    ///
    /// # Safety
    /// As [`Layout::inspect`].
    unsafe fn give(region: Region<Self>, block: usize) -> Result<Used, KnStatus>;

    /// Takes [`Layout::give`] back.
    ///
    /// # Safety
    /// `used` is what [`Layout::give`] just answered for `block`.
    unsafe fn take_back(region: Region<Self>, block: usize, used: Used);

    /// Records a new size for a used block that keeps its place; the granules it loses, or what it
    /// leaves of its right neighbour, become one free block with that neighbour.
    ///
    /// # Safety
    /// `used` is what [`Layout::inspect`] just answered, and `size` is neither 0 nor more than the
    /// block and its free right neighbour have.
    unsafe fn resize(region: Region<Self>, block: usize, used: Used, size: usize);

    /// Size of a free block.
    ///
    /// # Safety
    /// A free block starts at `block`.
    unsafe fn free_size(region: Region<Self>, block: usize) -> usize;

    /// Records the size of a free block at both of its ends.
    ///
    /// # Safety
    /// The granules `block .. block + size` are one free block.
    unsafe fn set_free_size(region: Region<Self>, block: usize, size: usize);

    /// Whether a free block of `size` granules at `block` lies in the region and its far end says the
    /// same size.
    ///
    /// # Safety
    /// `first <= block < end`.
    unsafe fn ends_agree(region: Region<Self>, block: usize, size: usize) -> bool;

    /// The free block that ends at the region's end, as its size, or 0.
    ///
    /// # Safety
    /// The records are consistent.
    unsafe fn free_at_end(region: Region<Self>) -> usize;

    /// Whether the first block's records say that no free block lies before it.
    ///
    /// # Safety
    /// `first < end`.
    unsafe fn begins_well(region: Region<Self>) -> bool;

    /// Size of the block that starts at `block`, and whether it is used; for walking, so it
    /// verifies what it reads.
    ///
    /// # Safety
    /// `first <= block < end`.
    unsafe fn measure(region: Region<Self>, block: usize) -> Result<(usize, bool), KnStatus>;

    /// As [`Layout::measure`], in a bounded number of steps: of the records inside a block it verifies
    /// only that the size which they give ends in the region.
    ///
    /// # Safety
    /// As [`Layout::measure`].
    #[inline(always)]
    unsafe fn stride(region: Region<Self>, block: usize) -> Result<(usize, bool), KnStatus> {
        // SAFETY: the caller's word.
        unsafe { Self::measure(region, block) }
    }
}

/// A region seen through its layout: a pointer to its control block.
pub(crate) struct Region<L> {
    pub this: *mut KnHeap,
    layout: PhantomData<L>,
}

impl<L> Clone for Region<L> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<L> Copy for Region<L> {}

impl<L: Layout> Region<L> {
    /// What a head's `previous` link is: this and the bin's number.
    pub const BINS: usize = <L::Link as Link>::BINS;
    /// How many bins a region can have at most: sizes up to 2^16 or 2^32 granules.
    pub const MOST_BINS: usize = if <L::Link as Link>::BYTES == 2 { 120 } else { 248 };
    /// Words of the bin bitmap.
    pub const WORDS: usize = Self::MOST_BINS.div_ceil(WORD_BITS);

    const TALLY: usize = size_of::<KnHeap>();
    const WORDS_AT: usize = Self::TALLY + 2 * size_of::<<L::Link as Link>::Tally>();
    /// Where the bin heads start, in bytes from the control block.
    pub const HEADS_AT: usize = Self::WORDS_AT + Self::WORDS * size_of::<usize>();

    #[inline(always)]
    pub fn new(this: *mut KnHeap) -> Self {
        Region { this, layout: PhantomData }
    }

    /// The first byte of granule `index`, which is a block's payload.
    #[inline(always)]
    pub fn granule(self, index: usize) -> *mut u8 {
        self.this.cast::<u8>().wrapping_add(index * L::GRANULE)
    }

    /// The granule whose first byte is at `at`, if it is one that [`Layout::inspect`] may be asked of.
    ///
    /// # Safety
    /// `self` is a live region.
    #[inline(always)]
    pub unsafe fn index_of(self, at: *const u8) -> Option<usize> {
        let distance = at.addr().wrapping_sub(self.this.addr());
        // A misaligned pointer rotates its low bits to the top and fails the range test.
        let index = distance.rotate_right(L::GRANULE.trailing_zeros());
        // SAFETY: the caller vouches for the region.
        unsafe { ((L::KNOWS_ALL || index >= self.first()) && index < self.end()).then_some(index) }
    }

    /// Whether `index`, read from memory that users can spoil, may be followed: what lies there is
    /// at least the region's own.
    ///
    /// # Safety
    /// `self` is a live region.
    #[inline(always)]
    pub unsafe fn holds(self, index: usize) -> bool {
        // SAFETY: the caller vouches for the region.
        index < unsafe { self.end() }
    }

    /// Whether `size` granules from `block` on, at least one, end in the region.
    ///
    /// # Safety
    /// `self` is a live region and `block` one of its indices.
    #[inline(always)]
    pub unsafe fn spans(self, block: usize, size: usize) -> bool {
        // SAFETY: the caller vouches for the region.
        size != 0 && block + size <= unsafe { self.end() }
    }

    /// # Safety
    /// `self` is a live region.
    #[inline(always)]
    pub unsafe fn first(self) -> usize {
        // SAFETY: the caller vouches for the region.
        unsafe { (*self.this).first as usize }
    }

    /// # Safety
    /// `self` is a live region.
    #[inline(always)]
    pub unsafe fn end(self) -> usize {
        // SAFETY: the caller vouches for the region.
        unsafe { (*self.this).end as usize }
    }

    #[inline(always)]
    fn behind(self, offset: usize) -> *mut u8 {
        self.this.cast::<u8>().wrapping_add(offset)
    }

    /// What is used now.
    #[inline(always)]
    pub fn tally(self) -> *mut <L::Link as Link>::Tally {
        self.behind(Self::TALLY).cast()
    }

    /// The highest tally so far.
    #[inline(always)]
    pub fn peak(self) -> *mut <L::Link as Link>::Tally {
        self.tally().wrapping_add(1)
    }

    /// Word `n` of the bitmap of bins that hold a block.
    #[inline(always)]
    pub fn word(self, n: usize) -> *mut usize {
        self.behind(Self::WORDS_AT).cast::<usize>().wrapping_add(n)
    }

    /// The first block of bin `n`, 0 when it is empty.
    #[inline(always)]
    pub fn head(self, n: usize) -> *mut L::Link {
        self.behind(Self::HEADS_AT).cast::<L::Link>().wrapping_add(n)
    }

    /// Field `n` of the free block at `block`: 0 is the previous link, 1 the next one.
    #[inline(always)]
    pub fn field(self, block: usize, n: usize) -> *mut L::Link {
        self.granule(block).cast::<L::Link>().wrapping_add(n)
    }
}
