//! The callbacks of the types: they find the world that runs in this thread and tell it.
//!
//! A callback must not unwind, so whatever it finds wrong it leaves with the world, which tells it
//! at the end of the operation.

use crate::collector::{Collector, KnTracer};
use crate::world::World;
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

/// The two callbacks.
#[derive(Clone, Copy)]
pub struct Callbacks {
    /// The cell is about to go.
    pub destroy: unsafe extern "C" fn(*mut c_void),
    /// The references that offsets do not tell.
    pub trace: unsafe extern "C" fn(*mut c_void, *mut KnTracer),
}

impl Callbacks {
    /// Those for a world of this collector.
    pub fn of<C: Collector>() -> Callbacks {
        Callbacks { destroy: destroy::<C>, trace: trace::<C> }
    }
}

thread_local! {
    /// The world that runs in this thread, a `World` of some collector, or null.
    static CURRENT: Cell<*const ()> = const { Cell::new(ptr::null()) };
}

/// While it lives, callbacks in this thread find the world; the one before comes back with its end.
pub struct Entered(*const ());

impl Entered {
    /// Enters a world.
    pub fn new<C: Collector>(world: &World<C>) -> Entered {
        Entered(CURRENT.replace(ptr::from_ref(world).cast()))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

unsafe extern "C" fn destroy<C: Collector>(cell: *mut c_void) {
    // SAFETY: worlds register these callbacks for their own collector, and enter before they use it.
    unsafe { (*CURRENT.get().cast::<World<C>>()).destroyed(cell.cast()) };
}

unsafe extern "C" fn trace<C: Collector>(cell: *mut c_void, tracer: *mut KnTracer) {
    // SAFETY: as above.
    unsafe { (*CURRENT.get().cast::<World<C>>()).traced(cell.cast(), tracer) };
}
