//! Memory for a heap, with guards that show any access outside it.
//!
//! On Unix the arena lies at the end of its own pages in the middle of a large range of addresses that
//! nobody may touch, so a wild link faults instead of finding other memory:
//!
//! ```text
//!   │ no access, 64 GiB │ pattern │ the arena: any base, any size │ pattern < 64 B │ no access, 64 GiB │
//!                       └ page                                                   page ┘
//! ```
//!
//! Elsewhere, and under Miri, it is an allocation that ends where the arena ends: Miri itself
//! reports what leaves it. [`Arena::check_guards`] looks at the patterns.

use crate::contents;
use std::fmt;

/// What the bytes beside the arena hold.
const GUARD: u8 = 0xa5;
/// Arenas begin at this alignment plus the offset asked for.
const LINE: usize = 64;

/// One piece of memory that the caller gives to a heap.
pub struct Arena {
    reserve: Reserve,
    start: *mut u8,
    bytes: usize,
}

impl Arena {
    /// `bytes` of memory whose address is `offset` above a multiple of 64. The contents are
    /// noise, as in RAM after a reset.
    pub fn new(bytes: usize, offset: usize) -> Arena {
        let reserve = Reserve::new(bytes + offset % LINE);
        let (low, length) = reserve.usable();
        // The last place that leaves room for the arena and has the wanted offset.
        let skip = length - bytes - offset % LINE;
        let misaligned = (low.addr() + skip) % LINE;
        let head = skip - misaligned.min(skip) + offset % LINE;
        // SAFETY: `head + bytes <= length`, so all of it lies inside the reserve's usable bytes.
        let start = unsafe {
            low.write_bytes(GUARD, length);
            low.add(head)
        };
        // SAFETY: the memory is this long and nobody else uses it.
        unsafe { contents::write(start, bytes, bytes) };
        Arena { reserve, start, bytes }
    }

    /// The first byte.
    pub fn start(&self) -> *mut u8 {
        self.start
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all of `bytes` bytes at the address `at` lie inside.
    pub fn holds(&self, at: usize, bytes: usize) -> bool {
        let low = self.start.addr();
        at >= low && at - low <= self.bytes && bytes <= self.bytes - (at - low)
    }

    /// The contents, as they are now.
    pub fn bytes_now(&self) -> Vec<u8> {
        // SAFETY: the arena is initialised memory that this value owns; nobody writes meanwhile.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }.to_vec()
    }

    /// Puts contents back that [`Arena::bytes_now`] took, and the guards.
    pub fn restore(&self, contents: &[u8]) {
        assert_eq!(contents.len(), self.bytes);
        let (low, length) = self.reserve.usable();
        let head = self.start.addr() - low.addr();
        // SAFETY: the three pieces are the reserve's usable bytes; the source is not among them.
        unsafe {
            low.write_bytes(GUARD, head);
            self.start.copy_from_nonoverlapping(contents.as_ptr(), self.bytes);
            self.start.add(self.bytes).write_bytes(GUARD, length - head - self.bytes);
        }
    }

    /// Fails when a byte beside the arena has changed.
    pub fn check_guards(&self) -> Result<(), String> {
        let (low, length) = self.reserve.usable();
        let head = self.start.addr() - low.addr();
        for i in (0..head).chain(head + self.bytes..length) {
            // SAFETY: `i < length`.
            let found = unsafe { low.add(i).read() };
            if found != GUARD {
                let off = i as isize - head as isize;
                return Err(format!("guard byte at {off:+} of {self} was overwritten: {found:#04x}"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Arena {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "the region of {} bytes at ..{:03x}", self.bytes, self.start.addr() & 0xfff)
    }
}

#[cfg(all(unix, not(miri)))]
struct Reserve {
    all: *mut u8,
    all_bytes: usize,
    low: *mut u8,
    length: usize,
}

#[cfg(all(unix, not(miri)))]
impl Reserve {
    const PAGE: usize = 4096;
    /// As far as a 32-bit link of 16-byte granules reaches.
    const REACH: usize = if usize::BITS == 64 { 64 << 30 } else { 16 << 20 };

    fn new(bytes: usize) -> Reserve {
        let length = (bytes + LINE).next_multiple_of(Self::PAGE);
        let mut reach = Self::REACH;
        loop {
            let all_bytes = length + 2 * reach;
            // SAFETY: a new mapping at an address that the system picks.
            let all = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    all_bytes,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if all == libc::MAP_FAILED {
                // A limit on address space: take less of it.
                reach /= 4;
                assert!(reach >= Self::PAGE, "no address space for an arena of {bytes} bytes");
                continue;
            }
            let all = all.cast::<u8>();
            // SAFETY: `reach` and `length` are multiples of the page size inside the mapping.
            let low = unsafe { all.add(reach) };
            // SAFETY: as above.
            let opened = unsafe { libc::mprotect(low.cast(), length, libc::PROT_READ | libc::PROT_WRITE) };
            assert_eq!(opened, 0, "mprotect of an arena of {bytes} bytes");
            return Reserve { all, all_bytes, low, length };
        }
    }

    fn usable(&self) -> (*mut u8, usize) {
        (self.low, self.length)
    }
}

#[cfg(all(unix, not(miri)))]
impl Drop for Reserve {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.all.cast(), self.all_bytes) };
    }
}

#[cfg(not(all(unix, not(miri))))]
struct Reserve {
    low: *mut u8,
    layout: std::alloc::Layout,
}

#[cfg(not(all(unix, not(miri))))]
impl Reserve {
    fn new(bytes: usize) -> Reserve {
        let layout = std::alloc::Layout::from_size_align(bytes.max(1), LINE).expect("layout");
        // SAFETY: the size is not 0.
        let low = unsafe { std::alloc::alloc(layout) };
        assert!(!low.is_null(), "no memory for an arena of {bytes} bytes");
        Reserve { low, layout }
    }

    fn usable(&self) -> (*mut u8, usize) {
        (self.low, self.layout.size())
    }
}

#[cfg(not(all(unix, not(miri))))]
impl Drop for Reserve {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.low, self.layout) };
    }
}
