//! Every order of the steps of each scene, by loom.
//!
//! Scenes of two threads are tried completely; of three with at most `KNOLL_PREEMPTIONS` (2) preemptions, a bound under
//! which almost all known bugs of this kind show (Musuvathi, Qadeer 2007).

#[macro_use]
#[path = "../src/beneath.rs"]
mod beneath;
#[path = "../src/hosted.rs"]
mod hosted;
#[path = "../src/port.rs"]
mod port;

use beneath::heap;

/// Loom beneath the library.
mod runtime {
    beneath!(loom);
    pub(crate) use loom::sync::Mutex;
    /// Each is some of loom's objects.
    pub(crate) const UNITS: usize = 8;

    pub(crate) mod atomic {
        use loom::sync::atomic::AtomicUsize as Looms;
        pub(crate) use loom::sync::atomic::{AtomicPtr, Ordering};

        /// Loom's, with two differences, for what loom does not model:
        /// - A plain store is a swap. Else a store and a concurrent read-modify-write could be seen in either order
        ///   later, though the second has read what was before the first.
        /// - A load in the order of all threads (`SeqCst`) reads what was written last, as a read-modify-write does.
        pub(crate) struct AtomicUsize(Looms);

        impl AtomicUsize {
            pub(crate) fn new(value: usize) -> AtomicUsize {
                AtomicUsize(Looms::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> usize {
                match order {
                    Ordering::SeqCst => self.0.fetch_or(0, order),
                    _ => self.0.load(order),
                }
            }

            pub(crate) fn store(&self, value: usize, order: Ordering) {
                self.0.swap(value, order);
            }
        }

        impl std::ops::Deref for AtomicUsize {
            type Target = Looms;

            fn deref(&self) -> &Looms {
                &self.0
            }
        }
    }

    /// Memory whose accesses have to be ordered.
    #[derive(Default)]
    pub(crate) struct Tracked(loom::cell::UnsafeCell<()>);

    impl Tracked {
        pub(crate) fn write(&self) {
            self.0.with_mut(|_| ());
        }
    }
}

use hosted::{scenes, world};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// A number from the environment.
fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn every_order_of_every_scene() {
    let bound = setting("KNOLL_PREEMPTIONS", 2);
    loom::model(|| world::with_world(scenes::measure));
    let mut all = 0;
    for (name, scene) in scenes::ALL {
        let begun = Instant::now();
        let executions = Arc::new(AtomicUsize::new(0));
        let mut model = loom::model::Builder::new();
        model.max_branches = 100_000;
        model.preemption_bound = Some(bound);
        let count = executions.clone();
        model.check(move || {
            count.fetch_add(1, Ordering::Relaxed);
            world::with_world(scene);
        });
        let count = executions.load(Ordering::Relaxed);
        println!("{name}: {count} orders, {:.1?}", begun.elapsed());
        all += count;
    }
    println!("{} scenes, {all} orders with at most {bound} preemptions", scenes::ALL.len());
}
