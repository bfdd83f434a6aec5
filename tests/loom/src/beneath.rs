//! What is alike beneath the library, whichever checker the threads are of: the words of each thread, threads to wait
//! for, the world that a scene happens in; and what the library's files want of the general heap.

/// `beneath!(loom)` in a test's `runtime`: all that is made of the checker's `thread_local` and `thread` alone.
macro_rules! beneath {
    ($checker:ident) => {
        use crate::hosted::world::World;
        use std::cell::Cell;
        use std::ffi::c_void;
        use std::ptr::null_mut;

        $checker::thread_local! {
            static WORDS: [Cell<*mut c_void>; 2] = [Cell::new(null_mut()), Cell::new(null_mut())];
        }

        pub(crate) fn word(number: usize) -> *mut c_void {
            WORDS.with(|own| own[number].get())
        }

        pub(crate) fn set_word(number: usize, word: *mut c_void) {
            WORDS.with(|own| own[number].set(word));
        }

        /// The system's atomic, of which the checker knows nothing: it changes while one thread runs.
        static WORLD: std::sync::atomic::AtomicPtr<World> = std::sync::atomic::AtomicPtr::new(null_mut());

        pub(crate) fn world() -> *const World {
            WORLD.load(std::sync::atomic::Ordering::Relaxed)
        }

        /// What the first thread's words led to was the last world's.
        pub(crate) fn set_world(world: *const World) {
            WORLD.store(world.cast_mut(), std::sync::atomic::Ordering::Relaxed);
            (0..2).for_each(|number| set_word(number, null_mut()));
        }

        pub(crate) struct Join($checker::thread::JoinHandle<()>);

        impl Join {
            pub(crate) fn join(self) {
                self.0.join().expect("the thread's own assertions");
            }
        }

        pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> Join {
            Join($checker::thread::spawn(work))
        }
    };
}

/// The answers to misuse.
pub mod heap {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum KnStatus {
        DoubleFree,
        Foreign,
    }
}
