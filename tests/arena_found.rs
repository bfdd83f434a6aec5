//! Sequences that the random nests have found: what failed once, as short as it became.

use knoll::heap::KnLayout;
use knoll_graph::tuning::MANUAL;
use knoll_nest::op::Op;
use knoll_nest::world::{Setup, World};
use knoll_shadow::layouts;
use knoll_shadow::script::replay;

/// On every layout, verified after each operation.
fn repeat(operations: &[Op]) {
    // Miri takes a tenth of a second for an operation that is verified.
    let few = if cfg!(miri) { 1 } else { usize::MAX };
    for layout in layouts!().take(few) {
        for (bytes, cells) in [(12_000, true), (9_000, false), (24_000, true), (60_000, true)].into_iter().take(few) {
            let setup = Setup {
                layout,
                bytes,
                tuning: MANUAL,
                cells,
                unruly: false,
                seed: 1,
                verify_every: if cfg!(miri) { 64 } else { 1 },
            };
            if let Err(why) = replay::<World>(&setup, operations) {
                panic!("{layout:?}, {bytes} bytes: {why}");
            }
        }
    }
    assert!(layouts!().any(|layout| layout == KnLayout::Auto));
}

/// A hole that a scope inside has left in memory that a rewind then gave back.
#[test]
fn a_hole_goes_with_a_rewind() {
    repeat(&[
        Op::Enter { shape: 13, presize: 59 },
        Op::NewIn { arena: 209, var: 132, kind: 222, length: 201 },
        Op::NewIn { arena: 144, var: 116, kind: 155, length: 149 },
        Op::Mark { arena: 101 },
        Op::Enter { shape: 242, presize: 57 },
        Op::Alloc { arena: 235, bytes: 271, how: 250 },
        Op::Enter { shape: 36, presize: 63 },
        Op::Leave { out: 0 },
        Op::Leave { out: 0 },
        Op::Rewind { arena: 4, back: 0 },
        Op::NewIn { arena: 149, var: 33, kind: 98, length: 149 },
        Op::Enter { shape: 4, presize: 81 },
        Op::Enter { shape: 237, presize: 62 },
        Op::Leave { out: 0 },
        Op::Alloc { arena: 66, bytes: 19, how: 158 },
        Op::Leave { out: 0 },
        Op::Enter { shape: 102, presize: 34 },
    ]);
}

/// An array outside that dies takes its references into a scope along.
#[test]
fn an_array_outside_counts_back_what_it_referred_to() {
    repeat(&[
        Op::Enter { shape: 118, presize: 45 },
        Op::New { var: 7, kind: 4, length: 218 },
        Op::NewIn { arena: 96, var: 9, kind: 13, length: 233 },
        Op::Store { var: 7, field: 230, from: 9 },
        Op::NewIn { arena: 149, var: 7, kind: 142, length: 84 },
    ]);
}

/// A scope that a hard budget allows no more than its presize, and others carved out of it.
#[test]
fn budgets_hold_to_the_byte() {
    repeat(&[
        Op::Enter { shape: 6, presize: 291 },
        Op::Enter { shape: 149, presize: 14 },
        Op::Enter { shape: 36, presize: 16 },
        Op::Enter { shape: 36, presize: 12 },
        Op::Leave { out: 0 },
        Op::Alloc { arena: 64, bytes: 5, how: 15 },
        Op::Resize { arena: 64, item: 0, bytes: 20 },
    ]);
}

/// References into an inner scope that lies in the memory of one that refuses to be left.
#[test]
fn an_inner_scope_in_refusing_memory_answers_for_itself() {
    repeat(&[
        Op::Create { shape: 194, presize: 0 },
        Op::Enter { shape: 191, presize: 0 },
        Op::Enter { shape: 174, presize: 23 },
        Op::NewIn { arena: 31, var: 9, kind: 104, length: 125 },
        Op::NewIn { arena: 22, var: 11, kind: 250, length: 77 },
        Op::Store { var: 9, field: 166, from: 11 },
        Op::Enter { shape: 187, presize: 29 },
        Op::NewIn { arena: 4, var: 5, kind: 72, length: 16 },
        Op::NewIn { arena: 219, var: 11, kind: 139, length: 87 },
        Op::Store { var: 11, field: 123, from: 5 },
        Op::Leave { out: 2 },
    ]);
}

/// A free-standing arena that kept memory over a reset, marked, grown and rewound.
#[test]
fn a_rewind_keeps_what_a_reset_kept() {
    repeat(&[
        Op::Create { shape: 42, presize: 30 },
        Op::Alloc { arena: 120, bytes: 1, how: 130 },
        Op::Reset { arena: 6, mode: 7, limit: 442 },
        Op::Mark { arena: 214 },
        Op::Alloc { arena: 214, bytes: 73, how: 54 },
        Op::Rewind { arena: 214, back: 0 },
    ]);
}
