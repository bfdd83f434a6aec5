//! What runs when an arena ends: cleanups, destroy callbacks, and what they do meanwhile.

use crate::ground::{besides, blank, destroyed, named, told, Ground};
use knoll::arena::{KnArena, KnLeaveReport, KN_RESET_FREE, KN_RESET_KEEP, KN_RESET_LIMIT};
use knoll::capi::arena::{
    kn_arena_alloc, kn_arena_create, kn_arena_destroy, kn_arena_leave, kn_arena_mark, kn_arena_reset,
    kn_arena_reset_to, kn_arena_rewind, kn_arena_unwind,
};
use knoll::capi::arena_cells::GC_newIn;
use knoll::counted;
use knoll::heap::{KnHeap, KnStatus};
use std::cell::{Cell, RefCell};
use std::ptr::null_mut;
use std::rc::Rc;

fn new_in(arena: *mut KnArena, id: u32) -> *mut u8 {
    // SAFETY: the arena is alive.
    let cell: *mut u8 = unsafe { GC_newIn(arena, id) }.cast();
    assert!(!cell.is_null());
    cell
}

/// The ways in which all that is in an arena can end.
#[derive(Clone, Copy, Debug)]
enum Way {
    Leave,
    LeaveOuter,
    Unwind,
    RewindScope,
    ResetScope,
    Destroy,
    Rewind,
    Reset,
    ResetTo(u32),
}

const WAYS: [Way; 11] = [
    Way::Leave,
    Way::LeaveOuter,
    Way::Unwind,
    Way::RewindScope,
    Way::ResetScope,
    Way::Destroy,
    Way::Rewind,
    Way::Reset,
    Way::ResetTo(KN_RESET_KEEP),
    Way::ResetTo(KN_RESET_FREE),
    Way::ResetTo(KN_RESET_LIMIT),
];

/// bumpalo#147, #133, meilisearch#6212, nginx's reset: on every way out everything runs, once, the newest
/// first.
#[test]
fn every_way_out_runs_cleanups_and_destroys() {
    for way in WAYS {
        let ground = Ground::new(60_000);
        let outer = ground.enter(&named(c"outer"));
        let standing = matches!(way, Way::Destroy | Way::Rewind | Way::Reset | Way::ResetTo(_));
        let arena = match standing {
            // SAFETY: the heap is live.
            true => unsafe { kn_arena_create(ground.heap, &named(c"standing")) },
            false => ground.enter(&named(c"inner")),
        };
        // SAFETY: the arena is alive.
        let mark = unsafe { kn_arena_mark(arena) };
        let print = ground.print();
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in 0..3 {
            let order = order.clone();
            let status = ground.cleanup(arena, move || order.borrow_mut().push((number, destroyed().len())));
            assert_eq!(status, KnStatus::Ok);
        }
        let outside = ground.new_cell(ground.node);
        let cells: Vec<*mut u8> = (0..40).map(|index| new_in(arena, [ground.node, ground.pair][index % 2])).collect();
        cells.iter().for_each(|&cell| ground.link(cell, 1, outside));
        assert_eq!(ground.count(outside), 41);
        // SAFETY: the arenas are alive.
        unsafe {
            match way {
                Way::Leave => drop(ground.leave(arena)),
                Way::LeaveOuter => {
                    assert_eq!(ground.leave(outer).status, KnStatus::Order);
                    assert_eq!(told(), [KnStatus::Order]);
                }
                Way::Unwind => assert_eq!(kn_arena_unwind(ground.heap, outer), KnStatus::Ok),
                Way::RewindScope | Way::Rewind => assert_eq!(kn_arena_rewind(arena, mark), KnStatus::Ok),
                Way::ResetScope | Way::Reset => kn_arena_reset(arena),
                Way::Destroy => kn_arena_destroy(arena),
                Way::ResetTo(mode) => assert_eq!(kn_arena_reset_to(arena, mode, 100), KnStatus::Ok),
            }
        }
        assert_eq!(order.take(), [(2, 0), (1, 0), (0, 0)], "{way:?}");
        let nodes: Vec<usize> = cells.iter().step_by(2).rev().map(|cell| cell.addr()).collect();
        assert_eq!(destroyed(), nodes, "{way:?}");
        assert_eq!(ground.count(outside), 1, "{way:?}");
        if matches!(way, Way::RewindScope | Way::Rewind) {
            // Less the page of the cell outside, which came later.
            assert!(ground.stats(arena).used == 0 && ground.print() != print);
        }
        // Nothing runs twice.
        if !matches!(way, Way::LeaveOuter) {
            ground.leave(outer);
        }
        if standing && !matches!(way, Way::Destroy) {
            // SAFETY: as above.
            unsafe { kn_arena_destroy(arena) };
        }
        told();
        assert!(order.take().is_empty() && destroyed().is_empty());
        ground.release(outside);
        assert_eq!(destroyed(), [outside.addr()]);
        ground.finish();
    }
}

/// talloc: a destructor that answers -1 keeps its memory. Here it has no say, and can't leave either.
#[test]
fn a_cleanup_can_not_keep_its_arena() {
    let ground = Ground::new(60_000);
    let print = ground.print();
    let arena = ground.enter(&named(c"stubborn"));
    let answers = Rc::new(RefCell::new(Vec::new()));
    let heap = ground.heap;
    let (kept, address) = (answers.clone(), arena);
    ground.cleanup(arena, move || {
        // SAFETY: the arena is alive while it is left.
        unsafe {
            let mut report: KnLeaveReport = blank();
            kept.borrow_mut().push(kn_arena_leave(address, &mut report));
            kept.borrow_mut().push(kn_arena_unwind(heap, null_mut()));
            assert!(kn_arena_alloc(address, 8).is_null());
            assert_eq!(KnHeap::check(heap), KnStatus::Ok);
        }
    });
    let report = ground.leave(arena);
    assert_eq!((report.status, report.cleanups), (KnStatus::Ok, 1));
    assert_eq!(answers.take(), [KnStatus::Order; 2]);
    assert!(told().iter().all(|&status| status == KnStatus::Order));
    assert_eq!(ground.print(), print);
    ground.finish();
}

/// libobjc2#217: what is released while a pool is emptied puts something else into it.
#[test]
fn a_destroy_that_stores_references_while_it_is_left_leaks_none() {
    let ground = Ground::new(60_000);
    let before = ground.cells();
    let arena = ground.enter(&named(c"pool"));
    // Cells of the arena, older and newer than the one that is destroyed; it gives each a reference.
    let older = new_in(arena, ground.pair);
    let node = new_in(arena, ground.node);
    let newer = new_in(arena, ground.pair);
    let (state, pair) = (ground.state, ground.pair);
    besides(move |cell| {
        assert_eq!(cell, node);
        for holder in [older, node, newer] {
            for field in 0..2 {
                // SAFETY: the cells lie in the arena that is left, and are alive until it has ended.
                unsafe {
                    let outside = counted::Counted::new_cell(state, pair);
                    counted::assign(holder.cast::<*mut u8>().add(field), outside);
                    counted::release(outside);
                }
            }
        }
    });
    let report = ground.leave(arena);
    assert_eq!((report.destroyed, report.released), (1, 6));
    assert_eq!(ground.cells(), before);
    ground.finish();
}

/// The same when a cell outside, which the arena alone held, is destroyed by the end of the arena.
#[test]
fn a_release_that_stores_references_while_it_is_left_leaks_none() {
    for place in 0..3 {
        for field in 0..2 {
            let ground = Ground::new(60_000);
            let before = ground.cells();
            let arena = ground.enter(&named(c"pool"));
            let cells = [0; 3].map(|_| new_in(arena, ground.pair));
            let outside = ground.new_cell(ground.node);
            ground.link(cells[1], field, outside);
            ground.release(outside);
            let (state, pair) = (ground.state, ground.pair);
            besides(move |_| {
                for field in 0..2 {
                    // SAFETY: as above.
                    unsafe {
                        let other = counted::Counted::new_cell(state, pair);
                        counted::assign(cells[place].cast::<*mut u8>().add(field), other);
                        counted::release(other);
                    }
                }
            });
            ground.leave(arena);
            assert_eq!(destroyed(), [outside.addr()]);
            assert_eq!(ground.cells(), before, "stored in cell {place}, released from field {field}");
            ground.finish();
        }
    }
}

/// ceph#52273: a finalizer that allocates in what is being closed, and elsewhere.
#[test]
fn a_destroy_allocates_elsewhere_only() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&named(c"closing"));
    new_in(arena, ground.node);
    let kept = Rc::new(Cell::new(null_mut()));
    let (heap, block, id) = (ground.heap, kept.clone(), ground.pair);
    besides(move |_| {
        // SAFETY: heap and arena are live.
        unsafe {
            block.set(KnHeap::malloc(heap, 100));
            assert!(kn_arena_alloc(arena, 16).is_null() && GC_newIn(arena, id).is_null());
            // A scope of its own, which it forgets.
            let mut inner = null_mut();
            let status = knoll::capi::arena::kn_arena_enter(heap, &named(c"forgotten"), &mut inner);
            assert_eq!(status, KnStatus::Ok);
            assert!(!kn_arena_alloc(inner, 500).is_null());
        }
    });
    assert_eq!(ground.leave(arena).destroyed, 1);
    assert!(told().iter().all(|&status| status == KnStatus::Order));
    // SAFETY: the heap is live.
    unsafe {
        assert!(knoll::capi::arena::kn_arena_innermost(ground.heap).is_null(), "what it forgot was left");
        assert_eq!(KnHeap::free(ground.heap, kept.get()), KnStatus::Ok);
    }
    ground.finish();
}

/// wasmtime#8899: what was pushed must be popped even when there is no memory.
#[test]
fn leaving_needs_no_memory() {
    let ground = Ground::new(30_000);
    let outer = ground.enter(&named(c"outer"));
    let inner = ground.enter(&named(c"inner"));
    let outside = ground.new_cell(ground.pair);
    for arena in [outer, inner] {
        let cells = [0; 8].map(|_| new_in(arena, ground.node));
        cells.iter().for_each(|&cell| ground.link(cell, 0, outside));
        // Escapes, too.
        ground.link(outside, usize::from(arena == inner), cells[3]);
        ground.cleanup(arena, || ());
    }
    let mut ballast = Vec::new();
    for bytes in [1000, 100, 8] {
        // SAFETY: the heap is live.
        while let Some(block) = std::ptr::NonNull::new(unsafe { KnHeap::malloc(ground.heap, bytes) }) {
            ballast.push(block);
        }
    }
    let report = ground.leave(inner);
    assert_eq!((report.status, report.cleanups, report.destroyed, report.released), (KnStatus::Ok, 1, 8, 8));
    assert_eq!((report.escapes, report.nulled), (1, 1));
    let report = ground.leave(outer);
    assert_eq!((report.status, report.destroyed, report.released, report.nulled), (KnStatus::Ok, 8, 8, 1));
    assert_eq!(ground.count(outside), 1);
    ground.free(ballast);
    ground.release(outside);
    ground.finish();
}
