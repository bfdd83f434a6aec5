//! Random orders of the steps of each scene, and of longer ones, by shuttle: `KNOLL_SCHEDULES` (500) of each.
//!
//! Half of the schedules switch threads anywhere, half at a few places only (probabilistic concurrency testing:
//! Burckhardt and others 2010).

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

/// Shuttle beneath the library.
mod runtime {
    use crate::hosted::world::World;
    pub(crate) use shuttle::sync::{atomic, Mutex};
    use std::cell::Cell;
    use std::ffi::c_void;
    use std::ptr::null_mut;

    pub(crate) const UNITS: usize = 40;

    shuttle::thread_local! {
        static WORDS: [Cell<*mut c_void>; 2] = [Cell::new(null_mut()), Cell::new(null_mut())];
    }

    pub(crate) fn word(number: usize) -> *mut c_void {
        WORDS.with(|own| own[number].get())
    }

    pub(crate) fn set_word(number: usize, word: *mut c_void) {
        WORDS.with(|own| own[number].set(word));
    }

    // All of shuttle's threads run in one of the system's.
    std::thread_local! {
        static WORLD: Cell<*const World> = const { Cell::new(null_mut()) };
    }

    pub(crate) fn world() -> *const World {
        WORLD.get()
    }

    pub(crate) fn set_world(world: *const World) {
        WORLD.set(world);
    }

    pub(crate) struct Join(shuttle::thread::JoinHandle<()>);

    impl Join {
        pub(crate) fn join(self) {
            self.0.join().expect("the thread's own assertions");
        }
    }

    pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> Join {
        Join(shuttle::thread::spawn(work))
    }

    /// One thread runs at a time, and sees all that was written.
    #[derive(Default)]
    pub(crate) struct Tracked;

    impl Tracked {
        pub(crate) fn write(&self) {}
    }
}

use hosted::{scenes, world};
use shuttle::rand::{thread_rng, Rng};
use std::time::Instant;

/// A number from the environment.
fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn below(limit: usize) -> usize {
    thread_rng().gen_range(0..limit)
}

/// In random orders, and in such with at most a few switches.
fn check(name: &str, schedules: usize, scene: impl Fn() + Clone + Send + Sync + 'static) {
    let begun = Instant::now();
    let alone = scene.clone();
    shuttle::check_random(move || world::with_world(&alone), schedules / 2);
    shuttle::check_pct(move || world::with_world(&scene), schedules - schedules / 2, 4);
    println!("{name}: {schedules} orders, {:.1?}", begun.elapsed());
}

#[test]
fn random_orders_of_every_scene() {
    let schedules = setting("KNOLL_SCHEDULES", 500);
    shuttle::check_random(|| world::with_world(scenes::measure), 1);
    for (name, scene) in scenes::ALL {
        check(name, schedules, scene);
    }
    check("a market of three threads", schedules, || scenes::a_market(3, 12, below));
    check("a market of four threads", schedules, || scenes::a_market(4, 30, below));
    println!("{} scenes, {} random orders", scenes::ALL.len() + 2, (scenes::ALL.len() + 2) * schedules);
}
