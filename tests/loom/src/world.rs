//! What a scene happens in: memory, records, the lock; and what is known of each block from outside.

use super::page::{Kind, Page, UNIT};
use super::pages::Pages;
use super::process::{Mappings, State};
use super::sync::{AtomicPtr, AtomicUsize};
use crate::runtime::{self, Mutex, Tracked, UNITS};
use std::alloc::Layout;
use std::collections::HashMap;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize as Plain, Ordering};
use std::sync::Arc;

/// One block's place.
#[derive(Default)]
struct Place {
    live: AtomicBool,
    /// Its contents, as far as the checker knows: who comes next has to see who was before.
    contents: Tracked,
}

/// One execution's own.
pub(crate) struct World {
    memory: *mut u8,
    records: *mut Page,
    lock: Mutex<State>,
    /// By address.
    places: std::sync::Mutex<HashMap<usize, Arc<Place>>>,
    refused: Plain,
    /// Of threads that have ended, and how many there ever were: whoever takes one comes after the thread that had it.
    identities: Mutex<(Vec<usize>, usize)>,
}

// SAFETY: the library's records say what may be shared; everything else is atomic or locked.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

fn space() -> Layout {
    Layout::from_size_align(UNITS * UNIT, UNIT).expect("a layout")
}

fn records() -> Layout {
    Layout::array::<Page>(UNITS).expect("a layout")
}

impl World {
    fn new() -> World {
        // SAFETY: the layouts are not empty.
        let (memory, units) = unsafe { (std::alloc::alloc(space()), std::alloc::alloc(records()).cast::<Page>()) };
        for index in 0..UNITS {
            let page = Page {
                owner: AtomicUsize::new(0),
                reciprocal: 0,
                limit: 0,
                size: 0,
                words: AtomicPtr::new(null_mut()),
                shared: AtomicPtr::new(null_mut()),
                last: 0,
                next: 0,
                previous: 0,
                capacity: 0,
                count: 0,
                class: 0,
                kind: Kind::Fresh,
                listed: false,
            };
            // SAFETY: so many records were allocated.
            unsafe { units.add(index).write(page) };
        }
        World {
            memory,
            records: units,
            lock: Mutex::new(State { pages: Pages::new(), mappings: Mappings, caches: null_mut() }),
            places: std::sync::Mutex::default(),
            refused: Plain::new(0),
            identities: Mutex::new((Vec::new(), 0)),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: allocated with these layouts; the scene is over.
        unsafe {
            std::alloc::dealloc(self.memory, space());
            std::alloc::dealloc(self.records.cast(), records());
        }
    }
}

/// Runs a scene in a world of its own.
pub(crate) fn with_world(scene: impl FnOnce()) {
    let world = Box::into_raw(Box::new(World::new()));
    runtime::set_world(world);
    scene();
    runtime::set_world(null_mut());
    // SAFETY: made above, and all of the scene's threads have ended.
    drop(unsafe { Box::from_raw(world) });
}

fn world() -> &'static World {
    // SAFETY: a scene runs, and its world lives as long.
    unsafe { &*runtime::world() }
}

pub(super) fn memory() -> *mut u8 {
    world().memory
}

pub(super) fn record(index: usize) -> *mut Page {
    assert!(index < UNITS);
    // SAFETY: there are so many.
    unsafe { world().records.add(index) }
}

pub(super) fn with_state<R>(work: impl FnOnce(&mut State) -> R) -> R {
    work(&mut world().lock.lock().unwrap())
}

fn place(at: *const u8) -> Arc<Place> {
    world().places.lock().unwrap().entry(at.addr()).or_default().clone()
}

/// The block at `at` was given out.
pub(super) fn born(at: *const u8) {
    let place = place(at);
    assert!(!place.live.swap(true, Ordering::Relaxed), "a block was given out twice");
    place.contents.write();
}

/// The block at `at` is about to be given back.
pub(super) fn dies(at: *const u8) {
    let place = place(at);
    place.contents.write();
    assert!(place.live.swap(false, Ordering::Relaxed), "the scene frees twice");
}

/// A unit goes back.
pub(super) fn nothing_lives_in(index: usize) {
    let unit = memory().addr() + index * UNIT..memory().addr() + (index + 1) * UNIT;
    let places = world().places.lock().unwrap();
    let lives = |(at, place): (&usize, &Arc<Place>)| unit.contains(at) && place.live.load(Ordering::Relaxed);
    assert!(!places.iter().any(lives), "a page was given back, and a block of it lives");
}

pub(crate) fn refused(_at: *const u8) {
    world().refused.fetch_add(1, Ordering::Relaxed);
}

/// How often the error hook would have been told.
pub(super) fn refusals() -> usize {
    world().refused.load(Ordering::Relaxed)
}

/// An even number that no living thread has; the one that was given back last.
pub(crate) fn take_identity() -> usize {
    let (free, count) = &mut *world().identities.lock().unwrap();
    free.pop().unwrap_or_else(|| {
        *count += 1;
        *count * 64
    })
}

pub(crate) fn give_identity(identity: usize) {
    world().identities.lock().unwrap().0.push(identity);
}
