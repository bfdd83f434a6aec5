//! An arena, in the one crate that this build is for; `../peer.h` in Rust.
//!
//! Both crates know that every size is a multiple of 8, which is the least alignment they are told: so they allocate as
//! fast as they can. Both run no cleanups: what is in an arena is not dropped.
//! bumpalo, as released, has no mark: a scope in an arena is another arena. bump-scope goes back to a checkpoint.

use std::alloc::Layout;

#[cfg(any(all(feature = "bumpalo", feature = "bump-scope"), not(any(feature = "bumpalo", feature = "bump-scope"))))]
compile_error!("choose one crate: --features bumpalo or --features bump-scope");

const ALIGN: usize = 8;

#[inline(always)]
fn layout(size: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and no program asks for more than the half of the addresses.
    unsafe { Layout::from_size_align_unchecked(size, ALIGN) }
}

#[cfg(feature = "bumpalo")]
mod one {
    use super::{layout, ALIGN};
    use allocator_api2::alloc::Allocator;
    use arena_rivals::measure::fail;
    use std::ptr::NonNull;

    pub struct Arena(bumpalo::Bump<ALIGN>);

    impl Arena {
        #[inline(always)]
        pub fn enter(presize: usize) -> Arena {
            match presize {
                0 => Arena(bumpalo::Bump::with_min_align()),
                _ => Arena(bumpalo::Bump::with_min_align_and_capacity(presize)),
            }
        }

        #[inline(always)]
        pub fn alloc(&self, size: usize) -> *mut u8 {
            self.0.alloc_layout(layout(size)).as_ptr()
        }

        /// Another arena.
        #[inline(always)]
        pub fn within<R>(&mut self, presize: usize, work: impl FnOnce(&mut Arena) -> R) -> R {
            work(&mut Arena::enter(presize))
        }

        /// What is allocated in the work goes at its end.
        #[inline(always)]
        pub fn tail<R>(&mut self, work: impl FnOnce(&mut Arena) -> R) -> R {
            self.within(0, work)
        }

        #[inline(always)]
        pub fn reset(&mut self) {
            self.0.reset();
        }

        /// What was allocated last gets longer.
        #[inline(always)]
        pub fn resize(&self, at: *mut u8, old: usize, size: usize) -> *mut u8 {
            let at = NonNull::new(at).unwrap_or_else(|| fail("no memory"));
            // SAFETY: it was allocated here with the old layout.
            match unsafe { Allocator::grow(&&self.0, at, layout(old), layout(size)) } {
                Ok(grown) => grown.as_ptr().cast(),
                Err(_) => fail("no memory"),
            }
        }
    }
}

#[cfg(feature = "bump-scope")]
mod one {
    use super::{layout, ALIGN};
    use arena_rivals::measure::fail;
    use bump_scope::alloc::{Allocator, Global};
    use bump_scope::settings::{BumpAllocatorSettings, BumpSettings};
    use bump_scope::traits::BumpAllocatorTyped;
    use std::ptr::NonNull;

    type Settings = <BumpSettings as BumpAllocatorSettings>::WithMinimumAlignment<ALIGN>;

    pub struct Arena(bump_scope::Bump<Global, Settings>);

    impl Arena {
        #[inline(always)]
        pub fn enter(presize: usize) -> Arena {
            match presize {
                0 => Arena(bump_scope::Bump::new()),
                _ => Arena(bump_scope::Bump::with_capacity(layout(presize))),
            }
        }

        #[inline(always)]
        pub fn alloc(&self, size: usize) -> *mut u8 {
            self.0.allocate_layout(layout(size)).as_ptr()
        }

        /// The same arena, up to a checkpoint.
        #[inline(always)]
        pub fn within<R>(&mut self, _presize: usize, work: impl FnOnce(&mut Arena) -> R) -> R {
            self.tail(work)
        }

        /// What is allocated in the work goes at its end.
        #[inline(always)]
        pub fn tail<R>(&mut self, work: impl FnOnce(&mut Arena) -> R) -> R {
            let checkpoint = self.0.checkpoint();
            let result = work(self);
            // SAFETY: the checkpoint is this arena's, and what was allocated since is used no more.
            unsafe { self.0.reset_to(checkpoint) };
            result
        }

        #[inline(always)]
        pub fn reset(&mut self) {
            self.0.reset();
        }

        /// What was allocated last gets longer.
        #[inline(always)]
        pub fn resize(&self, at: *mut u8, old: usize, size: usize) -> *mut u8 {
            let at = NonNull::new(at).unwrap_or_else(|| fail("no memory"));
            // SAFETY: it was allocated here with the old layout.
            match unsafe { Allocator::grow(&&self.0, at, layout(old), layout(size)) } {
                Ok(grown) => grown.as_ptr().cast(),
                Err(_) => fail("no memory"),
            }
        }
    }
}

pub use one::Arena;

/// Bytes in use of the malloc beneath, as `../peers/beneath.h` asks it.
pub fn held() -> usize {
    #[repr(C)]
    struct Mallinfo2 {
        arena: usize,
        ordblks: usize,
        smblks: usize,
        hblks: usize,
        hblkhd: usize,
        usmblks: usize,
        fsmblks: usize,
        uordblks: usize,
        fordblks: usize,
        keepcost: usize,
    }
    extern "C" {
        fn mallinfo2() -> Mallinfo2;
    }
    // SAFETY: glibc's function and its structure.
    let now = unsafe { mallinfo2() };
    now.uordblks + now.hblkhd
}
