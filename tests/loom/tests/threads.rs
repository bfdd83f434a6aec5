//! Each scene in the system's threads, `KNOLL_ROUNDS` times; meant for Miri, which sees races and has its own
//! schedule for each seed.

#[path = "../src/hosted.rs"]
mod hosted;
#[path = "../src/port.rs"]
mod port;

mod heap {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum KnStatus {
        DoubleFree,
        Foreign,
    }
}

/// The system beneath the library.
mod runtime {
    use crate::hosted::world::World;
    use std::cell::{Cell, UnsafeCell};
    use std::ffi::c_void;
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicPtr, Ordering};
    pub(crate) use std::sync::{atomic, Mutex};

    pub(crate) const UNITS: usize = 40;

    std::thread_local! {
        static WORDS: [Cell<*mut c_void>; 2] = const { [Cell::new(null_mut()), Cell::new(null_mut())] };
    }

    pub(crate) fn word(number: usize) -> *mut c_void {
        WORDS.with(|own| own[number].get())
    }

    pub(crate) fn set_word(number: usize, word: *mut c_void) {
        WORDS.with(|own| own[number].set(word));
    }

    static WORLD: AtomicPtr<World> = AtomicPtr::new(null_mut());

    pub(crate) fn world() -> *const World {
        WORLD.load(Ordering::Relaxed)
    }

    pub(crate) fn set_world(world: *const World) {
        WORLD.store(world.cast_mut(), Ordering::Relaxed);
        (0..2).for_each(|number| set_word(number, null_mut()));
    }

    pub(crate) struct Join(std::thread::JoinHandle<()>);

    impl Join {
        pub(crate) fn join(self) {
            self.0.join().expect("the thread's own assertions");
        }
    }

    pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> Join {
        Join(std::thread::spawn(work))
    }

    /// Plain memory, written: two writes that nothing orders are a race.
    #[derive(Default)]
    pub(crate) struct Tracked(UnsafeCell<usize>);

    impl Tracked {
        pub(crate) fn write(&self) {
            // SAFETY: a block's owner writes; that there is one at a time is what is tested.
            unsafe { self.0.get().write(self.0.get().read().wrapping_add(1)) };
        }
    }
}

use hosted::{scenes, world};
use std::cell::Cell;
use std::time::Instant;

/// A number from the environment.
fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Numbers of this thread's own; threads that begin with the same ones meet at different times.
fn below(limit: usize) -> usize {
    std::thread_local! {
        static STATE: Cell<usize> = const { Cell::new(12345) };
    }
    let next = STATE.get().wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7FFF_FFFF;
    STATE.set(next);
    (next >> 8) % limit
}

#[test]
fn every_scene_in_threads() {
    let rounds = setting("KNOLL_ROUNDS", if cfg!(miri) { 1 } else { 200 });
    let begun = Instant::now();
    world::with_world(scenes::measure);
    for _ in 0..rounds {
        for (_, scene) in scenes::ALL {
            world::with_world(scene);
        }
        world::with_world(|| scenes::a_market(3, if cfg!(miri) { 10 } else { 100 }, below));
    }
    println!("{} scenes, {rounds} times, {:.1?}", scenes::ALL.len() + 1, begun.elapsed());
}
