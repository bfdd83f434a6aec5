//! The library's files, over stubs of what they rest on.

#[path = "../../../src/hosted/bits.rs"]
pub mod bits;
#[path = "../../../src/hosted/cache.rs"]
pub mod cache;
#[path = "../../../src/hosted/page.rs"]
pub mod page;
#[path = "../../../src/hosted/pages.rs"]
pub mod pages;

#[path = "scenes.rs"]
pub mod scenes;
#[path = "world.rs"]
pub mod world;

#[path = "../../../src/hosted/classes.rs"]
mod real_classes;

/// Three classes: a page has 66 blocks, in two words of bits, or 4, or 2.
pub mod classes {
    pub(super) use super::real_classes::{Divisor, GRANULE};

    const SIZES: [usize; CLASSES] = [992, 16 << 10, 32 << 10];
    pub(super) const CLASSES: usize = 3;
    pub(super) const LARGEST_SMALL: usize = SIZES[CLASSES - 1];

    pub(super) const fn class_of(bytes: usize) -> usize {
        (bytes > SIZES[0]) as usize + (bytes > SIZES[1]) as usize
    }

    pub(super) const fn size_of_class(class: usize) -> usize {
        SIZES[class]
    }

    /// No scene asks for an alignment.
    pub(super) fn aligned_size(_align: usize, _bytes: usize) -> Option<usize> {
        None
    }
}

/// The atomics of the runtime.
pub mod sync {
    pub(super) use crate::runtime::atomic::{AtomicPtr, AtomicUsize, Ordering};
}

/// Records of any length. Those given back are taken again, the last one first.
pub mod records {
    use std::alloc::Layout;

    pub(super) const LINE: usize = 64;
    pub(super) const MOST_LINES: usize = 1 << 16;
    /// Loom's atomics are longer than the system's.
    const LONGER: usize = 16;

    pub(super) struct Records {
        all: Vec<(*mut u8, Layout)>,
        free: Vec<(usize, *mut u8)>,
    }

    impl Records {
        pub(super) const fn new() -> Records {
            Records { all: Vec::new(), free: Vec::new() }
        }

        pub(super) fn take(&mut self, lines: usize) -> *mut u8 {
            if let Some(place) = self.free.iter().rposition(|record| record.0 == lines) {
                return self.free.remove(place).1;
            }
            let layout = Layout::from_size_align(lines * LINE * LONGER, LINE).expect("a layout");
            // SAFETY: the layout is not empty.
            let at = unsafe { std::alloc::alloc_zeroed(layout) };
            self.all.push((at, layout));
            at
        }

        pub(super) unsafe fn give(&mut self, at: *mut u8, lines: usize) {
            assert!(self.free.iter().all(|record| record.1 != at), "a record given back twice");
            self.free.push((lines, at));
        }

        /// Records that somebody has.
        pub(super) fn taken(&self) -> usize {
            self.all.len() - self.free.len()
        }
    }

    impl Drop for Records {
        fn drop(&mut self) {
            // SAFETY: allocated with these layouts; the scene is over.
            self.all.iter().for_each(|&(at, layout)| unsafe { std::alloc::dealloc(at, layout) });
        }
    }
}

/// The lock, and what it guards.
pub mod process {
    use super::cache::Cache;
    use super::pages::Pages;
    use super::world;

    /// Large blocks: there are none.
    pub(super) struct Mappings;

    impl Mappings {
        pub(super) fn reserve(&mut self) -> bool {
            true
        }
    }

    pub(super) struct State {
        pub pages: Pages,
        pub mappings: Mappings,
        pub caches: *mut Cache,
    }

    /// Waiting for the lock could last for ever: not here.
    #[derive(Debug)]
    pub(super) struct Busy;

    pub(super) fn with_state<R>(work: impl FnOnce(&mut State) -> R) -> Result<R, Busy> {
        world::with_state(|state| Ok(work(state)))
    }

    pub(super) fn with_pages<R>(work: impl FnOnce(&mut Pages) -> R) -> Result<R, Busy> {
        with_state(|state| work(&mut state.pages))
    }
}

/// Nothing forks.
pub mod fork {
    pub(super) fn register_once() {}
}

/// Nothing is asked for by the environment.
pub mod environment {
    pub(super) fn look() {}
}

/// The feature `hardened` is not there.
pub mod hardened {
    pub(super) const HARDENED: bool = false;

    pub(super) struct Keep;

    impl Keep {
        pub(super) fn new() -> Keep {
            Keep
        }

        pub(super) fn release(&self, _give: &mut dyn FnMut(*mut u8)) {}
    }

    pub(super) fn choose(free: usize) -> usize {
        free.trailing_zeros() as usize
    }

    pub(super) fn choose_word(_count: usize) -> usize {
        0
    }

    pub(super) unsafe fn clear(_index: usize) {}
}

/// A few units, and who has them.
pub mod space {
    use super::page::{Page, UNIT};
    use super::world;
    use crate::runtime::UNITS;

    pub(super) fn unit_of(at: *const u8) -> Option<*mut Page> {
        let offset = at.addr().wrapping_sub(world::memory().addr());
        (offset < UNITS * UNIT).then(|| world::record(offset / UNIT))
    }

    pub(super) unsafe fn record(index: usize) -> *mut Page {
        world::record(index)
    }

    pub(super) fn index_of(page: *const Page) -> usize {
        (page.addr() - world::record(0).addr()) / size_of::<Page>()
    }

    pub(super) unsafe fn memory(index: usize) -> *mut u8 {
        world::memory().wrapping_add(index * UNIT)
    }

    /// A list of units that complains of what is in it twice, or is not.
    pub(super) struct List(Vec<usize>);

    impl List {
        pub(super) const EMPTY: List = List(Vec::new());

        pub(super) fn first(&self) -> Option<usize> {
            self.0.last().copied()
        }

        pub(super) unsafe fn push(&mut self, index: usize) {
            assert!(!self.0.contains(&index), "a page listed twice");
            self.0.push(index);
        }

        pub(super) unsafe fn remove(&mut self, index: usize) {
            let place = self.0.iter().position(|&listed| listed == index);
            self.0.remove(place.expect("a page that is listed"));
        }
    }

    pub(super) struct Space(Vec<bool>);

    impl Space {
        pub(super) const fn new() -> Space {
            Space(Vec::new())
        }

        pub(super) fn units(&self) -> usize {
            self.0.len()
        }

        pub(super) fn taken(&self) -> usize {
            self.0.iter().filter(|&&taken| taken).count()
        }

        /// The lowest one, so that what was given back is used anew at once.
        pub(super) fn take(&mut self) -> Option<usize> {
            let index = self.0.iter().position(|&taken| !taken).unwrap_or(self.0.len());
            if index == UNITS {
                return None;
            }
            self.0.resize(self.0.len().max(index + 1), false);
            self.0[index] = true;
            Some(index)
        }

        pub(super) unsafe fn give(&mut self, index: usize, count: usize) {
            assert!(count == 1 && self.0[index], "a unit given back twice");
            world::nothing_lives_in(index);
            self.0[index] = false;
        }
    }
}
