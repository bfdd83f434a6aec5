//! A node with two counted references, in the one crate that this build is for.
//!
//! dumpster collects when it thinks fit. bacon_rajan_cc never does by itself: here it does when 10,000 roots have come
//! together, as its users are told to arrange. Each program ends with a collection.

use std::cell::{Cell, RefCell};

#[cfg(feature = "bacon")]
pub use bacon_rajan_cc::Cc as Ref;
#[cfg(feature = "dumpster")]
pub use dumpster::unsync::Gc as Ref;

#[cfg(any(all(feature = "dumpster", feature = "bacon"), not(any(feature = "dumpster", feature = "bacon"))))]
compile_error!("choose one crate: --features dumpster or --features bacon");

pub const NODE_VALUE: u64 = 0x5A0DE;

/// The payload; with `check` it counts the nodes that are alive.
pub struct Payload(pub Cell<u64>);

pub struct Node {
    pub left: RefCell<Option<Ref<Node>>>,
    pub right: RefCell<Option<Ref<Node>>>,
    pub payload: Payload,
}

thread_local! {
    static NODES_ALIVE: Cell<u64> = const { Cell::new(0) };
}

#[cfg(feature = "check")]
impl Drop for Payload {
    fn drop(&mut self) {
        NODES_ALIVE.with(|alive| alive.set(alive.get() - 1));
    }
}

pub fn alive() -> u64 {
    NODES_ALIVE.with(Cell::get)
}

#[inline]
pub fn new_node(left: Option<Ref<Node>>) -> Ref<Node> {
    if cfg!(feature = "check") {
        NODES_ALIVE.with(|alive| alive.set(alive.get() + 1));
    }
    Ref::new(Node { left: RefCell::new(left), right: RefCell::new(None), payload: Payload(Cell::new(NODE_VALUE)) })
}

#[cfg(feature = "dumpster")]
// SAFETY: visits every reference that a node holds.
unsafe impl<V: dumpster::Visitor> dumpster::TraceWith<V> for Node {
    fn accept(&self, visitor: &mut V) -> Result<(), ()> {
        self.left.accept(visitor)?;
        self.right.accept(visitor)
    }
}

#[cfg(feature = "bacon")]
impl bacon_rajan_cc::Trace for Node {
    fn trace(&self, tracer: &mut bacon_rajan_cc::Tracer) {
        for slot in [&self.left, &self.right] {
            if let Some(node) = &*slot.borrow() {
                bacon_rajan_cc::Trace::trace(node, tracer);
            }
        }
    }
}

/// A full collection.
pub fn collect() {
    #[cfg(feature = "dumpster")]
    dumpster::unsync::collect();
    #[cfg(feature = "bacon")]
    bacon_rajan_cc::collect_cycles();
}

/// To be called after each step: a collection if the crate leaves it to the program, and enough has come together.
#[inline]
pub fn collect_if_due() {
    #[cfg(feature = "bacon")]
    if bacon_rajan_cc::number_of_roots_buffered() >= 10_000 {
        bacon_rajan_cc::collect_cycles();
    }
}
