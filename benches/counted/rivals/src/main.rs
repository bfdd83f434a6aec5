//! The six programs of `../programs.c` in Rust: the same arguments, the same random numbers, the same steps.

mod measure;
mod peer;

use measure::Random;
use peer::{collect, collect_if_due, new_node, Node, Ref, NODE_VALUE};
use std::mem::ManuallyDrop;

const LIVE_DEPTH: u32 = 16;
const DEPTH: u32 = 14;
const RING: u64 = 1_000_000;
const SMALL_RING: u64 = 100;
const TABLE: usize = 131_072;
const GROUP: usize = 16;
const LIVE_LIST: u64 = 1_000_000;

/// One step has ended, with what the crate leaves to the program.
#[inline]
fn step() {
    collect_if_due();
    measure::step();
}

fn check(expected: u64) {
    if cfg!(feature = "check") {
        measure::alive(peer::alive(), expected);
    }
}

// ---------------------------------------------------------------- acyclic

fn tree(depth: u32) -> Ref<Node> {
    let node = new_node(None);
    if depth > 0 {
        *node.left.borrow_mut() = Some(tree(depth - 1));
        *node.right.borrow_mut() = Some(tree(depth - 1));
    }
    node
}

fn trees(count: u64) {
    let living = ManuallyDrop::new(tree(LIVE_DEPTH));
    measure::begin();
    for _ in 0..count {
        let dropped = tree(DEPTH);
        measure::skip();
        drop(dropped);
        step();
    }
    collect();
    measure::end(count * ((2 << DEPTH) - 1));
    check((2 << LIVE_DEPTH) - 1);
    let _ = living;
}

fn list_of(count: u64) -> Option<Ref<Node>> {
    let mut head = None;
    for _ in 0..count {
        head = Some(new_node(head));
    }
    head
}

fn list(count: u64) {
    measure::begin();
    let head = list_of(count);
    measure::skip();
    drop(head);
    step();
    collect();
    measure::end(count);
    check(0);
}

// ---------------------------------------------------------------- cycles

fn ring_of(count: u64) -> Ref<Node> {
    let first = new_node(None);
    let mut last = first.clone();
    for _ in 1..count {
        let node = new_node(Some(last.clone()));
        *last.right.borrow_mut() = Some(node.clone());
        last = node;
    }
    *last.right.borrow_mut() = Some(first.clone());
    *first.left.borrow_mut() = Some(last);
    first
}

fn ring(count: u64) {
    measure::begin();
    for _ in 0..count {
        let dropped = ring_of(RING);
        measure::skip();
        drop(dropped);
        collect();
        measure::step();
    }
    measure::end(count * RING);
    check(0);
}

fn rings(count: u64) {
    measure::begin();
    for _ in 0..count {
        drop(ring_of(SMALL_RING));
        step();
    }
    collect();
    measure::end(count * SMALL_RING);
    check(0);
}

/// How many nodes a walk from the table reaches. It marks them by their value.
fn reached(table: &[Ref<Node>]) -> u64 {
    let mut found: Vec<Ref<Node>> = Vec::new();
    let mark = |node: &Ref<Node>, found: &mut Vec<Ref<Node>>| match node.payload.0.replace(NODE_VALUE + 1) {
        NODE_VALUE => found.push(node.clone()),
        value if value == NODE_VALUE + 1 => {}
        _ => measure::fail("a node that can be reached was overwritten"),
    };
    for node in table {
        mark(node, &mut found);
    }
    let mut at = 0;
    while at < found.len() {
        let node = found[at].clone();
        for slot in [&node.left, &node.right] {
            if let Some(child) = &*slot.borrow() {
                mark(child, &mut found);
            }
        }
        at += 1;
    }
    let count = found.len() as u64;
    std::mem::forget(found);
    count
}

fn churn(count: u64) {
    let mut random = Random::new();
    let mut table = ManuallyDrop::new((0..TABLE).map(|_| new_node(None)).collect::<Vec<_>>());
    measure::begin();
    for _ in 0..count {
        let bits = random.bits();
        let at = bits as usize & (TABLE - 1);
        if bits >> 29 != 0 {
            let to = table[(at & !(GROUP - 1)) | ((bits >> 17) as usize & (GROUP - 1))].clone();
            let slot = if bits >> 21 & 1 != 0 { &table[at].left } else { &table[at].right };
            let old = slot.replace(Some(to));
            drop(old);
        } else {
            table[at] = new_node(None);
        }
        step();
    }
    collect();
    measure::end(count);
    if cfg!(feature = "check") {
        check(reached(&table));
    }
}

fn beside(count: u64) {
    let mut random = Random::new();
    let living = ManuallyDrop::new(list_of(LIVE_LIST));
    // Where its nodes are; these are not counted.
    let mut places: Vec<ManuallyDrop<Ref<Node>>> = Vec::with_capacity(LIVE_LIST as usize);
    let mut at: *const Option<Ref<Node>> = &*living;
    // SAFETY: the list lives to the end, and what is read from it is never dropped.
    while let Some(node) = unsafe { &*at } {
        // SAFETY: as above.
        places.push(unsafe { std::ptr::read(std::ptr::from_ref(node).cast()) });
        at = node.left.as_ptr();
    }
    measure::begin();
    for _ in 0..count {
        let one = new_node(None);
        let other = new_node(Some(one.clone()));
        *one.left.borrow_mut() = Some(other);
        let place = (u64::from(random.bits()) * LIVE_LIST) >> 32;
        *one.right.borrow_mut() = Some(Ref::clone(&places[place as usize]));
        drop(one);
        step();
    }
    collect();
    measure::end(count);
    check(places.len() as u64);
}

// ---------------------------------------------------------------- which

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, count, rest @ ..] = &arguments[..] else { measure::fail("programs PROGRAM COUNT [STEPS-FILE]") };
    let Ok(count) = count.parse() else { measure::fail("COUNT is a number") };
    measure::start(program, rest.first().map_or("", String::as_str));
    match program.as_str() {
        "trees" => trees(count),
        "list" => list(count),
        "ring" => ring(count),
        "rings" => rings(count),
        "churn" => churn(count),
        "beside" => beside(count),
        _ => measure::fail("no such program"),
    }
    // What still lives goes with the process: releasing it is no part of any program.
    std::process::exit(0);
}
