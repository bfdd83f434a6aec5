//! Wrong order: left twice, used after the end, left from inside, jumped out of.

use crate::ground::{blank, named, text, told, Ground};
use knoll::arena::{KnArenaConfig, KnLeaveReport};
use knoll::capi::arena::{
    kn_arena_alloc, kn_arena_create, kn_arena_destroy, kn_arena_innermost, kn_arena_leave, kn_arena_mark,
    kn_arena_parent, kn_arena_rewind, kn_arena_unwind,
};
use knoll::heap::KnStatus;
use std::cell::Cell;
use std::ptr::null_mut;
use std::rc::Rc;

/// wal2json#10: an early return skips the inner leave.
#[test]
fn leaving_a_scope_leaves_what_is_inside() {
    let ground = Ground::new(60_000);
    let print = ground.print();
    let names = [c"session", c"query", c"row", c"field"];
    let scopes = names.map(|name| ground.enter(&named(name)));
    let run = Rc::new(Cell::new(0));
    for (index, &scope) in scopes.iter().enumerate() {
        let run = run.clone();
        assert_eq!(ground.cleanup(scope, move || run.set(run.get() * 10 + index + 1)), KnStatus::Ok);
    }
    let report = ground.leave(scopes[1]);
    assert_eq!(report.status, KnStatus::Order);
    assert_eq!((text(report.name), text(report.other), report.children), ("query", "field", 2));
    assert_eq!((report.cleanups, run.get()), (3, 432), "inner ones first");
    assert_eq!(told(), [KnStatus::Order]);
    // SAFETY: the heap is live, and so is the scope.
    unsafe {
        assert_eq!(kn_arena_innermost(ground.heap), scopes[0]);
        assert!(kn_arena_parent(scopes[0]).is_null());
    }
    assert_eq!(ground.leave(scopes[0]).status, KnStatus::Ok);
    assert_eq!((ground.print(), run.get()), (print, 4321));
    ground.finish();
}

/// wasmtime's `RootScope`: what is used after its scope is an answer, not undefined.
#[test]
fn a_scope_that_was_left_answers() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&KnArenaConfig { presize: 500, ..named(c"left") });
    // SAFETY: the arena is alive; afterwards its memory is the heap's, and readable.
    unsafe {
        let mark = kn_arena_mark(arena);
        assert_eq!(ground.leave(arena).status, KnStatus::Ok);
        let print = ground.print();
        let mut report: KnLeaveReport = blank();
        assert_eq!(kn_arena_leave(arena, &mut report), KnStatus::Order);
        assert_eq!(report.status, KnStatus::Order);
        assert_eq!(kn_arena_leave(arena, null_mut()), KnStatus::Order);
        assert_eq!(kn_arena_leave(null_mut(), null_mut()), KnStatus::Order);
        assert_eq!(kn_arena_rewind(arena, mark), KnStatus::Order);
        assert_eq!(kn_arena_unwind(ground.heap, arena), KnStatus::Order);
        kn_arena_destroy(arena);
        assert_eq!(ground.print(), print, "nothing was done");
        assert_eq!(told(), [KnStatus::Order; 6]);
    }
    ground.check();
    ground.finish();
}

/// pg_stat_monitor#634: a callback for a context that is no more.
#[test]
fn a_cleanup_of_a_scope_that_was_left_is_refused() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&named(c"gone"));
    ground.leave(arena);
    assert_eq!(ground.cleanup(arena, || panic!("run")), KnStatus::Order);
    assert_eq!(told(), [KnStatus::Order]);
    ground.finish();
}

/// Each kind of arena has its own end.
#[test]
fn the_wrong_end_for_an_arena_does_nothing() {
    let ground = Ground::new(60_000);
    // SAFETY: heap and arenas are live.
    unsafe {
        let standing = kn_arena_create(ground.heap, &named(c"standing"));
        let scope = ground.enter(&named(c"scope"));
        let print = ground.print();
        let report = ground.leave(standing);
        assert_eq!((report.status, text(report.name)), (KnStatus::Order, "standing"));
        kn_arena_destroy(scope);
        kn_arena_destroy(null_mut());
        assert_eq!(kn_arena_unwind(ground.heap, standing), KnStatus::Order);
        assert_eq!(ground.print(), print);
        assert_eq!(told(), [KnStatus::Order; 3]);
        assert!(!kn_arena_alloc(standing, 100).is_null() && !kn_arena_alloc(scope, 100).is_null());
        // A mark of another arena.
        assert_eq!(kn_arena_rewind(scope, kn_arena_mark(standing)), KnStatus::Order);
        assert_eq!(told(), [KnStatus::Order]);
        kn_arena_destroy(standing);
        ground.leave(scope);
    }
    ground.finish();
}

/// A mark that was gone back beyond.
#[test]
fn a_stale_mark_is_refused() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&named(c"marks"));
    // SAFETY: the arena is alive.
    unsafe {
        assert!(!kn_arena_alloc(arena, 100).is_null());
        let first = kn_arena_mark(arena);
        assert!(!kn_arena_alloc(arena, 100).is_null());
        let second = kn_arena_mark(arena);
        assert!(!kn_arena_alloc(arena, 100).is_null());
        assert_eq!(kn_arena_rewind(arena, first), KnStatus::Ok);
        assert!(!kn_arena_alloc(arena, 1000).is_null());
        let used = ground.stats(arena).used;
        assert_eq!(kn_arena_rewind(arena, second), KnStatus::Order);
        assert_eq!(ground.stats(arena).used, used);
        assert_eq!(told(), [KnStatus::Order]);
        assert_eq!(kn_arena_rewind(arena, first), KnStatus::Ok);
        assert_eq!(kn_arena_rewind(arena, first), KnStatus::Ok, "a mark holds as long as it is not gone back beyond");
        assert_eq!(ground.stats(arena).used, 104);
    }
    ground.leave(arena);
    ground.finish();
}

/// Nim#12616: scopes that were jumped out of are left by a plain call.
#[test]
fn scopes_that_were_jumped_out_of_are_left() {
    let ground = Ground::new(60_000);
    let run = Rc::new(Cell::new(0));
    let outer = ground.enter(&named(c"outer"));
    let print = ground.print();
    for round in 1..=3 {
        for _ in 0..round {
            let scope = ground.enter(&named(c"jumped out of"));
            let run = run.clone();
            ground.cleanup(scope, move || run.set(run.get() + 1));
        }
        // SAFETY: the heap is live.
        unsafe {
            assert_eq!(kn_arena_unwind(ground.heap, outer), KnStatus::Ok);
            assert_eq!(kn_arena_innermost(ground.heap), outer);
        }
        assert_eq!(ground.print(), print);
    }
    assert_eq!(run.get(), 6);
    // SAFETY: as above.
    unsafe {
        assert_eq!(kn_arena_unwind(ground.heap, null_mut()), KnStatus::Ok);
        assert!(kn_arena_innermost(ground.heap).is_null());
        assert_eq!(kn_arena_unwind(ground.heap, null_mut()), KnStatus::Ok);
    }
    ground.finish();
}
