//! The heap: a chain of regions behind the calls of the C contract.
//!
//! Guarantees
//! * Regions are tried in the order in which they were added; each may have a layout of its own.
//! * A moved block keeps its contents and every alignment up to [`KEPT_ALIGNMENT`] that its address
//!   had; a failed `realloc` leaves the block as it was.
//! * Every refusal is told to the error hook once, and answered by status or null.
//!
//! ```text
//!   KnHeap (in region 0) --next--> control block (in region 1) --next--> … --> null
//! ```
//!
//! Costs: a call's cost in one region (see docs/figures.md), and a range test or a failed search for
//! each region that is passed over.

use core::ptr::{copy_nonoverlapping, null_mut};

use super::layout::{KnHeap, KnHeapConfig, KnLayout, Layout, Region};
use super::status::KnStatus;
use super::{allocate, found, guard, release};
use super::{CompactLayout, MapLayout, WideLayout};
use crate::port;

/// A block that `realloc` moves stays aligned to what its address was aligned to, up to this.
pub(crate) const KEPT_ALIGNMENT: usize = 64;

const MAP: bool = cfg!(feature = "layout-map");
const COMPACT: bool = cfg!(feature = "layout-compact");
const WIDE: bool = cfg!(feature = "layout-wide");
const _: () =
    assert!(MAP || COMPACT || WIDE, "at least one of the features layout-map, layout-compact, layout-wide is needed");

/// Runs `$work` with `$region` bound to the control block `$this`, seen through its layout.
macro_rules! in_layout {
    ($this:expr, $region:ident => $work:expr) => {{
        let this = $this;
        let layout = (*this).layout;
        if MAP && (!COMPACT && !WIDE || layout == KnLayout::Map as u8) {
            let $region = Region::<MapLayout>::new(this);
            $work
        } else if COMPACT && (!WIDE || layout == KnLayout::Compact as u8) {
            let $region = Region::<CompactLayout>::new(this);
            $work
        } else {
            let $region = Region::<WideLayout>::new(this);
            $work
        }
    }};
}
pub(super) use in_layout;

/// The layout whose code a call has in line: the build's only one, or the one that `Auto` mostly means.
#[cfg(all(feature = "layout-map", not(any(feature = "layout-compact", feature = "layout-wide"))))]
type Usual = MapLayout;
#[cfg(all(feature = "layout-compact", not(any(feature = "layout-map", feature = "layout-wide"))))]
type Usual = CompactLayout;
#[cfg(all(feature = "layout-wide", not(any(feature = "layout-map", feature = "layout-compact"))))]
type Usual = WideLayout;
#[cfg(knoll_layouts)]
#[cfg(target_pointer_width = "64")]
type Usual = WideLayout;
#[cfg(knoll_layouts)]
#[cfg(all(not(target_pointer_width = "64"), knoll_no_clz))]
type Usual = CompactLayout;
#[cfg(knoll_layouts)]
#[cfg(all(not(target_pointer_width = "64"), not(knoll_no_clz)))]
type Usual = MapLayout;

/// Whether the region has the usual layout, and the build too.
#[inline(always)]
unsafe fn is_usual(this: *mut KnHeap) -> bool {
    let (built, others) = match Usual::KIND {
        KnLayout::Map => (MAP, COMPACT || WIDE),
        KnLayout::Compact => (COMPACT, MAP || WIDE),
        _ => (WIDE, MAP || COMPACT),
    };
    // There a jump more is worth less than one more copy of the code.
    const PLAIN: bool = cfg!(any(target_pointer_width = "64", knoll_small));
    // SAFETY: the callers' word: a live region.
    built && !PLAIN && (!others || unsafe { (*this).layout } == Usual::KIND as u8)
}

/// The layout that `Auto` means for so many bytes.
fn choose(bytes: usize) -> KnLayout {
    let fits = |most: usize, granule: usize| bytes / granule <= most;
    let map = MAP && fits(MapLayout::MOST, MapLayout::GRANULE);
    let compact = COMPACT && fits(CompactLayout::MOST, CompactLayout::GRANULE);
    // Where unaligned loads or bit searches are dear, headers cost least.
    let prefer_header = cfg!(knoll_no_clz);
    if WIDE && cfg!(target_pointer_width = "64") {
        KnLayout::Wide
    } else if compact && prefer_header {
        KnLayout::Compact
    } else if map {
        KnLayout::Map
    } else if WIDE {
        KnLayout::Wide
    } else if MAP {
        KnLayout::Map
    } else {
        KnLayout::Compact
    }
}

/// The bytes that a moved block is to be aligned to.
#[inline(always)]
fn kept_alignment(at: *const u8) -> usize {
    let address = at.addr() | KEPT_ALIGNMENT;
    address & address.wrapping_neg()
}

impl KnHeap {
    /// Makes a heap in memory that the caller owns; null iff it is too small or the layout is not in
    /// this build. Memory beyond what the layout can address is left unused.
    ///
    /// # Safety
    /// `memory` is valid for reads and writes of `bytes` bytes, and nobody else uses them while the
    /// heap is in use.
    pub unsafe fn create(memory: *mut u8, bytes: usize, config: &KnHeapConfig) -> *mut KnHeap {
        if memory.is_null() || bytes > isize::MAX as usize {
            return null_mut();
        }
        let layout = match config.layout {
            KnLayout::Auto => choose(bytes),
            chosen => chosen,
        };
        // SAFETY: the caller's word.
        unsafe {
            match layout {
                KnLayout::Map if MAP => found::found::<MapLayout>(memory, bytes),
                KnLayout::Compact if COMPACT => found::found::<CompactLayout>(memory, bytes),
                KnLayout::Wide if WIDE => found::found::<WideLayout>(memory, bytes),
                _ => null_mut(),
            }
        }
    }

    /// Adds memory to a heap: `Ok`, or `Invalid` iff it is too small.
    ///
    /// # Safety
    /// As [`KnHeap::create`]; `this` is a live heap.
    pub unsafe fn add_region(this: *mut Self, memory: *mut u8, bytes: usize, config: &KnHeapConfig) -> KnStatus {
        // SAFETY: the caller's word; the chain ends in null.
        unsafe {
            let region = Self::create(memory, bytes, config);
            if region.is_null() {
                return KnStatus::Invalid;
            }
            let mut last = this;
            while !(*last).next.is_null() {
                last = (*last).next;
            }
            (*last).next = region;
            KnStatus::Ok
        }
    }

    /// Takes a region out of a heap that the heap does not begin in; false: `memory` is not the start of one.
    ///
    /// # Safety
    /// As [`KnHeap::malloc`]; no block of the region is used, and nobody has a pointer into it.
    #[cfg(unix)]
    pub(crate) unsafe fn remove_region(this: *mut Self, memory: *mut u8) -> bool {
        let mut each = this;
        // SAFETY: the chain's links are regions of this heap, or null.
        unsafe {
            while !(*each).next.is_null() {
                if (*each).next.cast() == memory {
                    (*each).next = (*(*each).next).next;
                    return true;
                }
                each = (*each).next;
            }
        }
        false
    }

    /// At least `bytes` bytes, or null. A size of 0 gives a block of its own.
    ///
    /// # Safety
    /// `this` is a live heap that no other thread or interrupt uses during the call.
    #[inline]
    pub unsafe fn malloc(this: *mut Self, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if !guard::before(this) {
                return null_mut();
            }
            in_layout!(this, region => malloc_in(region, bytes))
        }
    }

    /// [`KnHeap::malloc`] with the usual layout's code in line, for the one place that wants it.
    ///
    /// # Safety
    /// As [`KnHeap::malloc`].
    #[inline(always)]
    pub(crate) unsafe fn malloc_in_line(this: *mut Self, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if !is_usual(this) {
                return Self::malloc(this, bytes);
            }
            if !guard::before(this) {
                return null_mut();
            }
            malloc_here(Region::<Usual>::new(this), bytes)
        }
    }

    /// As [`KnHeap::malloc`], from the region's top end: for what dies soon.
    ///
    /// # Safety
    /// As [`KnHeap::malloc`].
    #[inline]
    pub unsafe fn malloc_top(this: *mut Self, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if !guard::before(this) {
                return null_mut();
            }
            in_layout!(this, region => malloc_top_in(region, bytes))
        }
    }

    /// `count * size` bytes of zeros; null when there is no room or the product overflows.
    ///
    /// # Safety
    /// As [`KnHeap::malloc`].
    pub unsafe fn calloc(this: *mut Self, count: usize, size: usize) -> *mut u8 {
        let Some(bytes) = count.checked_mul(size) else {
            return null_mut();
        };
        // SAFETY: the block holds `bytes` bytes.
        unsafe {
            let at = Self::malloc(this, bytes);
            if !at.is_null() {
                at.write_bytes(0, bytes);
            }
            at
        }
    }

    /// At least `bytes` bytes at a multiple of `align`; null when there is no room or `align` is no
    /// power of two.
    ///
    /// # Safety
    /// As [`KnHeap::malloc`].
    pub unsafe fn aligned_alloc(this: *mut Self, align: usize, bytes: usize) -> *mut u8 {
        if !align.is_power_of_two() {
            return null_mut();
        }
        // SAFETY: the caller's word.
        unsafe {
            if !guard::before(this) {
                return null_mut();
            }
            in_layout!(this, region => aligned_in(region, align, bytes))
        }
    }

    /// Gives a block back: `Ok` (also for null), or why it is refused; then nothing has changed and
    /// the error hook was told.
    ///
    /// # Safety
    /// As [`KnHeap::malloc`]; the block's bytes are not used afterwards.
    #[inline]
    pub unsafe fn free(this: *mut Self, at: *mut u8) -> KnStatus {
        if at.is_null() {
            return KnStatus::Ok;
        }
        // SAFETY: the caller's word.
        unsafe {
            if !guard::before(this) {
                return KnStatus::Corrupt;
            }
            guard::dying(this, at);
            in_layout!(this, region => free_in(region, at))
        }
    }

    /// [`KnHeap::free`] with the usual layout's code in line, for the one place that wants it.
    ///
    /// # Safety
    /// As [`KnHeap::free`].
    #[inline(always)]
    pub(crate) unsafe fn free_in_line(this: *mut Self, at: *mut u8) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            if super::FULLY || !is_usual(this) {
                return Self::free(this, at);
            }
            // Null is in no region: `free_in_next` knows it.
            free_here(Region::<Usual>::new(this), at)
        }
    }

    /// Resizes a block to `bytes` bytes, moving it where it must: the block, or null, when it is as
    /// it was. A null block is allocated; a size of 0 leaves the smallest block.
    ///
    /// # Safety
    /// As [`KnHeap::free`], if the answer is not null.
    #[inline(always)]
    pub unsafe fn realloc(this: *mut Self, at: *mut u8, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if at.is_null() {
                return Self::malloc(this, bytes);
            }
            if !guard::before(this) {
                return null_mut();
            }
            in_layout!(this, region => realloc_in(this, region, at, bytes))
        }
    }

    /// As [`KnHeap::realloc`], with an alignment of its own for a block that moves.
    ///
    /// # Safety
    /// As [`KnHeap::realloc`].
    pub unsafe fn aligned_realloc(this: *mut Self, at: *mut u8, align: usize, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if at.is_null() || !align.is_power_of_two() {
                return Self::aligned_alloc(this, align, bytes);
            }
            let aligned = at.addr() & (align - 1) == 0;
            if aligned && align <= KEPT_ALIGNMENT {
                return Self::realloc(this, at, bytes);
            }
            let old = Self::block_size(this, at);
            if old == 0 {
                Self::refuse(this, at);
                return null_mut();
            }
            if aligned && bytes <= guard::unpadded(old) {
                return Self::realloc(this, at, bytes);
            }
            Self::relocate(this, at, guard::unpadded(old), align, bytes)
        }
    }

    /// Copies a used block of `old` bytes to a new one and gives it back.
    ///
    /// # Safety
    /// As [`KnHeap::realloc`]; the block holds `old` bytes.
    unsafe fn relocate(this: *mut Self, at: *mut u8, old: usize, align: usize, bytes: usize) -> *mut u8 {
        // SAFETY: the new block is another one and holds `bytes` bytes.
        unsafe {
            let place = Self::aligned_alloc(this, align, bytes);
            if !place.is_null() {
                copy_nonoverlapping(at, place, old.min(bytes));
                in_layout!(this, region => free_in(region, at));
            }
            place
        }
    }

    /// Bytes that a used block holds, at least what was asked for; 0 for null and for anything that
    /// is not a used block of this heap.
    ///
    /// # Safety
    /// As [`KnHeap::malloc`].
    pub unsafe fn usable_size(this: *mut Self, at: *const u8) -> usize {
        // SAFETY: the caller's word.
        unsafe { guard::unpadded(Self::block_size(this, at)) }
    }

    /// Bytes of the used block at `at`, 0 when there is none.
    ///
    /// # Safety
    /// As [`KnHeap::malloc`].
    pub(super) unsafe fn block_size(this: *mut Self, at: *const u8) -> usize {
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                let size = in_layout!(each, region => region.index_of(at).map(|block| release::usable(region, block)));
                if let Some(size) = size {
                    return size;
                }
                each = (*each).next;
            }
        }
        0
    }

    /// Tells the error hook what is wrong with a pointer that was refused, and answers it: free
    /// already, foreign, or its block's records are spoiled. The only call that is not bounded: it
    /// walks the region to be exact.
    ///
    /// # Safety
    /// As [`KnHeap::malloc`].
    #[cold]
    #[inline(never)]
    unsafe fn refuse(this: *mut Self, at: *const u8) -> KnStatus {
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                let verdict = in_layout!(each, region => {
                    region.index_of(at).map(|block| super::check::verdict(region, block))
                });
                if let Some(status) = verdict {
                    return refuse(status, at);
                }
                each = (*each).next;
            }
        }
        refuse(KnStatus::Foreign, at)
    }

    /// Whether `at` points into one of the heap's regions.
    ///
    /// # Safety
    /// As [`KnHeap::malloc`].
    pub unsafe fn contains(this: *mut Self, at: *const u8) -> bool {
        let mut each = this;
        while !each.is_null() {
            // SAFETY: the chain's links are regions of this heap, or null.
            unsafe {
                if Self::spans(each, at.addr()) {
                    return true;
                }
                each = (*each).next;
            }
        }
        false
    }

    /// The pointer to an address in one of the heap's blocks, with its region's provenance.
    ///
    /// # Safety
    /// `this` is a live heap, and the address in a block of it.
    #[cfg(all(miri, feature = "counted"))]
    pub(crate) unsafe fn pointer_to(this: *mut Self, address: usize) -> *mut u8 {
        let mut each = this;
        // SAFETY: the chain's links are regions of this heap, or null, and one holds the address.
        unsafe {
            while !(*each).next.is_null() && !Self::spans(each, address) {
                each = (*each).next;
            }
        }
        each.cast::<u8>().with_addr(address)
    }

    /// Whether one region's blocks reach over the address.
    ///
    /// # Safety
    /// `region` is a live region.
    unsafe fn spans(region: *mut Self, address: usize) -> bool {
        // SAFETY: the caller's word.
        let (low, high) = unsafe {
            in_layout!(region, region => (
                region.granule(region.first()).addr(),
                region.granule(region.end()).addr(),
            ))
        };
        (low..high).contains(&address)
    }
}

// One function for each layout, so that each has the registers to itself; what is not its region's
// business goes on to the next region by a call in tail position.

/// # Safety
/// As [`KnHeap::malloc`].
#[inline(never)]
pub(super) unsafe fn malloc_in<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe { malloc_here(region, bytes) }
}

/// # Safety
/// As [`KnHeap::malloc`].
#[inline(always)]
unsafe fn malloc_here<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        let at = allocate::allocate(region, guard::padded(bytes));
        guard::fresh(region.this, at);
        at
    }
}

/// # Safety
/// As [`KnHeap::malloc_top`].
#[inline(never)]
unsafe fn malloc_top_in<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        let at = allocate::allocate_top(region, guard::padded(bytes));
        let next = (*region.this).next;
        if at.is_null() && !next.is_null() {
            return KnHeap::malloc_top(next, bytes);
        }
        guard::fresh(region.this, at);
        at
    }
}

/// Asks the next region, if there is one. `bytes` has its padding already.
///
/// # Safety
/// `this` is a live region.
#[cold]
#[inline(never)]
pub(super) unsafe fn malloc_in_next(this: *mut KnHeap, bytes: usize) -> *mut u8 {
    // SAFETY: the chain's links are regions of this heap, or null.
    unsafe {
        let next = (*this).next;
        if next.is_null() {
            null_mut()
        } else {
            in_layout!(next, region => malloc_in(region, guard::unpadded(bytes)))
        }
    }
}

/// # Safety
/// As [`KnHeap::aligned_alloc`]; `align` is a power of two.
#[inline(never)]
unsafe fn aligned_in<L: Layout>(region: Region<L>, align: usize, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's word; the chain's links are regions of this heap, or null.
    unsafe {
        if align <= L::GRANULE {
            return malloc_in(region, bytes);
        }
        let at = allocate::allocate_aligned(region, align, guard::padded(bytes));
        if at.is_null() {
            let next = (*region.this).next;
            if next.is_null() {
                return null_mut();
            }
            return KnHeap::aligned_alloc(next, align, bytes);
        }
        guard::fresh(region.this, at);
        at
    }
}

/// # Safety
/// As [`KnHeap::free`].
#[inline(never)]
unsafe fn free_in<L: Layout>(region: Region<L>, at: *mut u8) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe { free_here(region, at) }
}

/// # Safety
/// As [`KnHeap::free`].
#[inline(always)]
unsafe fn free_here<L: Layout>(region: Region<L>, at: *mut u8) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe {
        match region.index_of(at) {
            Some(block) => match release::release(region, block) {
                Ok(_) => KnStatus::Ok,
                Err(_) => KnHeap::refuse(region.this, at),
            },
            None => free_in_next(region.this, at),
        }
    }
}

/// # Safety
/// As [`KnHeap::free`].
#[cold]
#[inline(never)]
unsafe fn free_in_next(this: *mut KnHeap, at: *mut u8) -> KnStatus {
    // SAFETY: the chain's links are regions of this heap, or null.
    unsafe {
        let next = (*this).next;
        if at.is_null() {
            KnStatus::Ok
        } else if next.is_null() {
            refuse(KnStatus::Foreign, at)
        } else {
            in_layout!(next, region => free_in(region, at))
        }
    }
}

/// Resizes a block of `region`, one of the regions of `heap`.
///
/// # Safety
/// As [`KnHeap::realloc`].
#[inline(never)]
unsafe fn realloc_in<L: Layout>(heap: *mut KnHeap, region: Region<L>, at: *mut u8, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        let Some(block) = region.index_of(at) else {
            return realloc_in_next(heap, region.this, at, bytes);
        };
        match release::resize(region, block, guard::padded(bytes)) {
            Ok(true) => {
                let place = region.granule(block);
                guard::fresh(region.this, place);
                place
            }
            Ok(false) => grow_elsewhere(heap, region, at, bytes),
            Err(_) => {
                KnHeap::refuse(region.this, at);
                null_mut()
            }
        }
    }
}

/// # Safety
/// As [`KnHeap::realloc`]; `this` is one of the regions of `heap`.
#[cold]
#[inline(never)]
unsafe fn realloc_in_next(heap: *mut KnHeap, this: *mut KnHeap, at: *mut u8, bytes: usize) -> *mut u8 {
    // SAFETY: the chain's links are regions of this heap, or null.
    unsafe {
        let next = (*this).next;
        if next.is_null() {
            refuse(KnStatus::Foreign, at);
            return null_mut();
        }
        in_layout!(next, region => realloc_in(heap, region, at, bytes))
    }
}

/// Moves a block that can't grow where it is.
///
/// # Safety
/// As [`KnHeap::realloc`]; `at` is a used block of `region`.
#[inline(never)]
unsafe fn grow_elsewhere<L: Layout>(heap: *mut KnHeap, region: Region<L>, at: *mut u8, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        let align = kept_alignment(at);
        let Some(block) = region.index_of(at) else {
            return null_mut();
        };
        let old = guard::unpadded(release::usable(region, block));
        match release::slide(region, block, guard::padded(bytes), align) {
            Ok(place) if place.is_null() => KnHeap::relocate(heap, at, old, align, bytes),
            Ok(place) => {
                guard::fresh(region.this, place);
                place
            }
            Err(_) => {
                KnHeap::refuse(region.this, at);
                null_mut()
            }
        }
    }
}

/// Tells the error hook, and answers the status.
#[cold]
#[inline(never)]
fn refuse(status: KnStatus, at: *const u8) -> KnStatus {
    port::report(status, at, status.name());
    status
}
