//! The types of counted objects over the process heap: one number for all threads.
//!
//! - The same descriptor gets the same index, whichever thread registers it; an index never changes and
//!   never goes away.
//! - Readers take no lock, nor does who registers a type that is there: an entry is complete before its
//!   index is given out.
//! - Each type has two counters for its shared cells, which any thread may count.
//! - A process copied at any moment has a type or has it not.
//!
//! ```text
//!   TABLE --> | entry 0 | entry 1 | ... | entry 16383 |    one mapping, resident as far as it is used
//!               descriptor, shared cells, their bytes,
//!               first: of the chain of this bucket    } entries 0 to 2^n - 1 are the buckets too, as many
//!               next: in the chain that it is in      } as the types rounded up to a power of two
//! ```
//! A chain leads from higher indices to lower ones, before and after the number of buckets doubles, so
//! whoever follows one meanwhile comes to an end: at the type, or without it and looks again with the lock.
//!
//! Cost: a registration looks at about one entry, and at all of them when their number has doubled.
//! 32 bytes a type on 64-bit targets, 16 on 32-bit ones; 512 or 256 KB of address space.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicUsize, Ordering};

use super::collectors::exclusively;
use crate::port::{self, Errno};

/// Entries of the table, a power of two: as many types as 14 bits can tell apart, with none among them.
const ROOM: usize = 1 << 14;
/// Types at most.
const MOST: usize = ROOM - 1;

struct Entry {
    descriptor: AtomicPtr<c_void>,
    shared: AtomicUsize,
    bytes: AtomicUsize,
    /// Index + 1 of the first entry in this bucket; 0: none. Changed under the lock, as `next`.
    first: AtomicU16,
    /// Index + 1 of the next entry in the chain that this one is in; 0: none.
    next: AtomicU16,
}

/// What there is of a type that does not exist.
static NONE: Entry = Entry {
    descriptor: AtomicPtr::new(null_mut()),
    shared: AtomicUsize::new(0),
    bytes: AtomicUsize::new(0),
    first: AtomicU16::new(0),
    next: AtomicU16::new(0),
};

/// A table. All zero: no type.
struct Types {
    /// `ROOM` entries, once there is a type.
    table: AtomicPtr<Entry>,
    /// How many of them are types.
    count: AtomicU32,
}

static TYPES: Types = Types::new();

/// The index of the type that `descriptor` describes; `None`: the table is full, or no memory.
pub(crate) fn register_type(descriptor: *const c_void) -> Option<u32> {
    TYPES.register(descriptor)
}

/// The descriptor of type `index`; null: there is none.
pub(crate) fn type_at(index: u32) -> *const c_void {
    TYPES.entry(index as usize).descriptor()
}

/// How many types there are.
pub(crate) fn types() -> u32 {
    TYPES.count.load(Ordering::Acquire)
}

/// How many shared cells of type `index` are alive; whoever makes or frees one counts it here.
pub(crate) fn shared_count(index: u32) -> &'static AtomicUsize {
    &TYPES.entry(index as usize).shared
}

/// The bytes of these cells.
pub(crate) fn shared_bytes(index: u32) -> &'static AtomicUsize {
    &TYPES.entry(index as usize).bytes
}

/// In the child of a fork that found another thread in the middle of a registration.
pub(super) fn in_child() {
    TYPES.forget_unfinished();
}

impl Types {
    const fn new() -> Types {
        Types { table: AtomicPtr::new(null_mut()), count: AtomicU32::new(0) }
    }

    fn register(&self, descriptor: *const c_void) -> Option<u32> {
        let known = self.find(descriptor, self.count.load(Ordering::Acquire) as usize);
        known.or_else(|| self.add(descriptor))
    }

    #[cold]
    fn add(&self, descriptor: *const c_void) -> Option<u32> {
        let _errno = Errno::keep();
        exclusively(|| {
            if self.table.load(Ordering::Relaxed).is_null() {
                let table = port::map(ROOM * size_of::<Entry>(), 1)?;
                self.table.store(table.start.cast(), Ordering::Release);
            }
            let count = self.count.load(Ordering::Relaxed) as usize;
            if let Some(known) = self.find(descriptor, count) {
                return Some(known);
            }
            if count == MOST {
                return None;
            }
            self.entry(count).descriptor.store(descriptor.cast_mut(), Ordering::Relaxed);
            if count.is_power_of_two() {
                self.chain_all(count + 1); // twice the buckets from now on
            } else {
                self.link(count, count + 1);
            }
            self.count.store(count as u32 + 1, Ordering::Release);
            Some(count as u32)
        })
        .flatten()
    }

    fn entry(&self, index: usize) -> &'static Entry {
        let table = self.table.load(Ordering::Acquire);
        if table.is_null() || index >= ROOM {
            return &NONE;
        }
        // SAFETY: the mapping holds `ROOM` entries, for which zeros are valid, and is never unmapped.
        unsafe { &*table.add(index) }
    }

    /// The index of `descriptor` among the first `count` types.
    fn find(&self, descriptor: *const c_void, count: usize) -> Option<u32> {
        let mut place = self.entry(bucket(descriptor, count)).first.load(Ordering::Acquire);
        while place != 0 {
            let index = usize::from(place - 1);
            let entry = self.entry(index);
            // One that is being added may be met before it counts.
            if entry.descriptor() == descriptor && index < count {
                return Some(index as u32);
            }
            place = entry.next.load(Ordering::Acquire);
        }
        None
    }

    /// Makes the chains of the first `count` types. The caller holds the lock.
    fn chain_all(&self, count: usize) {
        for index in 0..count.next_power_of_two() {
            self.entry(index).first.store(0, Ordering::Relaxed);
        }
        for index in 0..count {
            self.link(index, count);
        }
    }

    /// Puts type `index` at the front of its bucket's chain. The caller holds the lock.
    fn link(&self, index: usize, count: usize) {
        let entry = self.entry(index);
        let bucket = self.entry(bucket(entry.descriptor(), count));
        entry.next.store(bucket.first.load(Ordering::Relaxed), Ordering::Release);
        bucket.first.store(index as u16 + 1, Ordering::Release);
    }

    /// Makes the chains as if the registration under way had not begun. Nobody else uses the table.
    fn forget_unfinished(&self) {
        let count = self.count.load(Ordering::Relaxed) as usize;
        if !self.table.load(Ordering::Relaxed).is_null() {
            self.entry(count).descriptor.store(null_mut(), Ordering::Relaxed);
            self.chain_all(count);
        }
    }
}

impl Entry {
    fn descriptor(&self) -> *const c_void {
        self.descriptor.load(Ordering::Relaxed)
    }
}

/// Where the chain of `descriptor` begins when there are `count` types: Fibonacci hashing.
fn bucket(descriptor: *const c_void, count: usize) -> usize {
    let spread = (descriptor.addr() as u32 >> 3).wrapping_mul(0x9E37_79B9) >> 16;
    spread as usize & (count.next_power_of_two() - 1)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::collections::HashMap;
    use std::vec::Vec;

    #[test]
    fn one_index_for_a_descriptor_until_the_table_is_full() {
        static DESCRIPTORS: [u64; ROOM] = [0; ROOM];
        let at = |n: usize| (&raw const DESCRIPTORS[n]).cast::<c_void>();
        let most = if cfg!(miri) { 70 } else { MOST };
        let types = Types::new();
        let count = || types.count.load(Ordering::Acquire);
        assert!(types.entry(0).descriptor().is_null());

        // Several threads register the same ones, each in an order of its own.
        let found: Vec<Vec<(usize, u32)>> = std::thread::scope(|scope| {
            let types = &types;
            let register = |thread: usize| {
                let each = move |n: usize| {
                    let n = n * (2 * thread + 1) % most;
                    (n, types.register(at(n)).expect("room"))
                };
                scope.spawn(move || (0..most / 2).map(each).collect())
            };
            let threads: Vec<_> = (0..4).map(register).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let indices: HashMap<usize, u32> = found.iter().flatten().copied().collect();
        let mut taken: Vec<u32> = indices.values().copied().collect();
        taken.sort_unstable();
        assert!(taken.iter().copied().eq(0..count()), "each index once");
        for (n, index) in found.into_iter().flatten() {
            assert_eq!((indices[&n], types.entry(index as usize).descriptor()), (index, at(n)));
        }

        for n in 0..most {
            types.register(at(n)).expect("room");
        }
        assert_eq!(count() as usize, most);
        if most == MOST {
            assert_eq!(types.register(at(MOST)), None);
        }
        assert!(types.entry(most).descriptor().is_null() && types.entry(usize::MAX).descriptor().is_null());

        // A fork met a registration: a descriptor that is not counted yet, half of the chains.
        let first = types.register(at(0));
        types.count.fetch_sub(1, Ordering::Relaxed);
        for index in 0..most / 2 {
            types.entry(index).first.store(0, Ordering::Relaxed);
        }
        types.forget_unfinished();
        assert!(types.entry(most - 1).descriptor().is_null());
        assert_eq!(types.register(at(0)), first);
        let all: Vec<u32> = (0..most).filter_map(|n| types.register(at(n))).collect();
        assert!(indices.iter().all(|(&n, &index)| all[n] == index));
        assert_eq!(count() as usize, most);
    }

    #[test]
    fn what_is_no_type_has_counters_too() {
        shared_count(u32::MAX).fetch_add(1, Ordering::Relaxed);
        assert_eq!(shared_bytes(u32::MAX).load(Ordering::Relaxed), 0);
        assert!(type_at(u32::MAX).is_null());
    }
}
