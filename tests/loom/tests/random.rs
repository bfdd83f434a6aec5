//! Random orders of the steps of each scene, and of longer ones, by shuttle: `KNOLL_SCHEDULES` (500) of each.
//!
//! Half of the schedules switch threads anywhere, half at a few places only (probabilistic concurrency testing:
//! Burckhardt and others 2010).

#[macro_use]
#[path = "../src/beneath.rs"]
mod beneath;
#[path = "../src/hosted.rs"]
mod hosted;
#[path = "../src/port.rs"]
mod port;

use beneath::heap;

/// Shuttle beneath the library.
mod runtime {
    beneath!(shuttle);
    pub(crate) use shuttle::sync::{atomic, Mutex};

    pub(crate) const UNITS: usize = 40;

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
