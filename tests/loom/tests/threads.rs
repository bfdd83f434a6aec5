//! Each scene in the system's threads, `KNOLL_ROUNDS` times; meant for Miri, which sees races and has its own
//! schedule for each seed.

#[macro_use]
#[path = "../src/beneath.rs"]
mod beneath;
#[path = "../src/hosted.rs"]
mod hosted;
#[path = "../src/port.rs"]
mod port;

use beneath::heap;

/// The system beneath the library.
mod runtime {
    beneath!(std);
    use std::cell::UnsafeCell;
    pub(crate) use std::sync::{atomic, Mutex};

    pub(crate) const UNITS: usize = 40;

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
