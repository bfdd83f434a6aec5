//! References into an arena, and out of it: escapes, promotion, what is released, what is forgotten.

use crate::ground::{destroyed, named, text, told, Ground, WORD};
use knoll::arena::{
    KnArena, KnArenaConfig, KnEscape, KnRootRange, KnTentative, KnWeakSlot, KN_ARENA_CHECK_LEAVE,
    KN_ARENA_CHECK_STORES, KN_ARENA_SITES, KN_ESCAPE_NULL, KN_ESCAPE_PROMOTE, KN_ESCAPE_REFUSE,
};
use knoll::capi::arena::{
    kn_arena_alloc, kn_arena_create, kn_arena_destroy, kn_arena_mark, kn_arena_rewind, kn_roots_add, kn_roots_remove,
    kn_weak_set,
};
use knoll::capi::arena_cells::{kn_arena_keep, kn_arena_promote, GC_newIn, GC_newInAt, GC_newTentative};
use knoll::counted::{self, Counted};
use knoll::heap::{KnHeap, KnStatus};
use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr::null_mut;

thread_local! {
    /// Escapes that were told.
    static ESCAPES: RefCell<Vec<KnEscape>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn escaped(escape: *const KnEscape, _: *mut c_void) {
    // SAFETY: the library's record.
    ESCAPES.with_borrow_mut(|escapes| escapes.push(unsafe { *escape }));
}

fn watched(name: &'static std::ffi::CStr) -> KnArenaConfig {
    ESCAPES.take();
    KnArenaConfig { on_escape: Some(escaped), ..named(name) }
}

fn new_in(arena: *mut KnArena, id: u32) -> *mut u8 {
    // SAFETY: the arena is alive.
    let cell: *mut u8 = unsafe { GC_newIn(arena, id) }.cast();
    assert!(!cell.is_null());
    cell
}

fn assign(slot: *mut *mut u8, cell: *mut u8) {
    // SAFETY: the slot is the test's, or a field of a living cell.
    unsafe { counted::assign(slot, cell) };
}

/// nginx-upstream-dynamic-servers#21: another module refers into a pool that has gone.
#[test]
fn what_refers_into_a_scope_is_told_and_becomes_null() {
    let ground = Ground::new(60_000);
    let cache = ground.new_cell(ground.pair);
    let config = KnArenaConfig { flags: KN_ARENA_SITES, ..watched(c"request") };
    let arena = ground.enter(&config);
    // SAFETY: the arena is alive.
    let session: *mut u8 = unsafe { GC_newInAt(arena, ground.node, 0, c"vm.c:881".as_ptr()) }.cast();
    ground.link(cache, 1, session);
    assert_eq!(ground.stats(arena).escapes, 1);
    // Stored again, and taken out, it counts once.
    (0..10).for_each(|_| ground.link(cache, 1, session));
    ground.link(cache, 0, session);
    ground.link(cache, 0, null_mut());
    assert_eq!(ground.stats(arena).escapes, 1);
    let report = ground.leave(arena);
    assert_eq!((report.status, report.escapes, report.nulled), (KnStatus::Ok, 1, 1));
    for escape in [report.first, ESCAPES.take()[0]] {
        assert_eq!(
            (text(escape.arena), text(escape.holder_type), text(escape.target_type)),
            ("request", "pair", "node")
        );
        assert_eq!((escape.holder.addr(), escape.target.addr()), (cache.addr(), session.addr()));
        assert_eq!((escape.offset, escape.slot.addr()), (WORD, cache.addr() + WORD));
        assert_eq!((text(escape.site), escape.action, escape.raw), ("vm.c:881", KN_ESCAPE_NULL, false));
    }
    assert!(ground.field(cache, 1).is_null());
    ground.release(cache);
    ground.finish();
}

/// A leave that is refused changes nothing; what refers into the scope can be taken out, and then it is left.
#[test]
fn a_leave_can_be_refused() {
    let ground = Ground::new(60_000);
    let cache = ground.new_cell(ground.pair);
    let arena = ground.enter(&KnArenaConfig { policy: KN_ESCAPE_REFUSE, ..watched(c"refuse") });
    let node = new_in(arena, ground.node);
    ground.link(node, 0, cache);
    ground.link(cache, 0, node);
    let print = ground.print();
    let report = ground.leave(arena);
    assert_eq!((report.status, report.escapes), (KnStatus::Escape, 1));
    assert_eq!(text(report.first.holder_type), "pair");
    assert_eq!((ground.print(), ground.field(cache, 0), ground.count(cache)), (print, node, 2));
    assert!(destroyed().is_empty());
    // SAFETY: the arena is alive.
    assert!(!unsafe { kn_arena_alloc(arena, 8) }.is_null());
    ground.link(cache, 0, null_mut());
    assert_eq!(ground.leave(arena).status, KnStatus::Ok);
    told();
    ground.release(cache);
    ground.finish();
}

/// APR's rule, checked at the store.
#[test]
fn a_store_that_escapes_is_told_at_once_if_asked_for() {
    let ground = Ground::new(60_000);
    let outer = ground.enter(&KnArenaConfig { flags: KN_ARENA_CHECK_STORES, ..named(c"outer") });
    let inner = ground.enter(&KnArenaConfig { flags: KN_ARENA_CHECK_STORES, ..named(c"inner") });
    let (old, young) = (new_in(outer, ground.pair), new_in(inner, ground.pair));
    ground.link(young, 0, old);
    ground.link(young, 1, young);
    assert_eq!(told(), []);
    ground.link(old, 0, young);
    assert_eq!(told(), [KnStatus::Escape]);
    let report = ground.leave(inner);
    assert_eq!((report.escapes, report.nulled), (1, 1));
    assert!(ground.field(old, 0).is_null());
    assert_eq!(ground.leave(outer).escapes, 0);
    ground.finish();
}

/// Stores that bypass GC_assign, in memory that the program names.
#[test]
fn raw_stores_are_found_if_asked_for() {
    let ground = Ground::new(60_000);
    let slots = Box::into_raw(Box::new([null_mut::<u8>(); 3]));
    // SAFETY: a range may be all zero; range and slots live as long as the heap.
    let range = unsafe {
        let blank: KnRootRange = std::mem::zeroed();
        let bytes = size_of_val(&*slots);
        Box::into_raw(Box::new(KnRootRange { start: slots.cast(), bytes, name: c"globals".as_ptr(), ..blank }))
    };
    // SAFETY: as above.
    unsafe {
        assert_eq!(kn_roots_add(ground.heap, range), KnStatus::Ok);
        assert_ne!(kn_roots_add(ground.heap, range), KnStatus::Ok, "twice");
        let arena = ground.enter(&KnArenaConfig { flags: KN_ARENA_CHECK_LEAVE, ..watched(c"checked") });
        let cell = new_in(arena, ground.pair);
        (*slots)[1] = cell;
        (*slots)[2] = std::ptr::without_provenance_mut(8);
        let report = ground.leave(arena);
        assert_eq!((report.escapes, report.nulled), (1, 1));
        assert_eq!(text(report.first.holder_type), "globals");
        assert_eq!((report.first.offset, report.first.raw), (WORD, true));
        assert_eq!(*slots, [null_mut(), null_mut(), std::ptr::without_provenance_mut(8)]);
        assert_eq!(kn_roots_remove(ground.heap, range), KnStatus::Ok);
        assert_ne!(kn_roots_remove(ground.heap, range), KnStatus::Ok, "twice");
        drop((Box::from_raw(range), Box::from_raw(slots)));
    }
    ground.finish();
}

/// openchange#374: what was taken over from a parent is freed with the parent. protobuf#8337: one reference
/// keeps all.
#[test]
fn what_was_promoted_outlives_its_scope_alone() {
    let ground = Ground::new(60_000);
    let print = ground.print();
    let arena = ground.enter(&KnArenaConfig { presize: 8000, ..named(c"workflow") });
    // SAFETY: the arena is alive; so below.
    assert!(!unsafe { kn_arena_alloc(arena, 5000) }.is_null());
    let shared = ground.new_cell(ground.pair);
    // A ring with a chord, and a reference outside; other cells that it does not reach.
    let cells = [0; 4].map(|_| new_in(arena, ground.pair));
    (0..4).for_each(|index| ground.link(cells[index], 0, cells[(index + 1) % 4]));
    ground.link(cells[2], 1, shared);
    ground.link(new_in(arena, ground.pair), 0, cells[0]);
    let mut out = null_mut();
    // SAFETY: as above.
    assert_eq!(unsafe { kn_arena_promote(arena, cells[0].cast(), &mut out) }, KnStatus::Ok);
    let out: *mut u8 = out.cast();
    assert_eq!((ground.count(out), ground.count(shared), ground.cells()), (2, 3, 5));
    ground.leave(arena);
    assert_eq!((ground.count(out), ground.count(shared)), (2, 2));
    let mut each = out;
    for index in 0..4 {
        assert_eq!(ground.field(each, 1), if index == 2 { shared } else { null_mut() });
        each = ground.field(each, 0);
    }
    assert_eq!(each, out, "a ring");
    // The arena's memory has gone back: only pages of cells are there.
    assert!(ground.used() < 30_000 && ground.print() != print);
    ground.release(out);
    ground.collect();
    assert_eq!((ground.cells(), ground.count(shared)), (1, 1));
    ground.release(shared);
    ground.finish();
}

/// The same by policy: all that escapes is copied, once, with what it refers to outside.
#[test]
fn escapes_are_promoted_by_policy() {
    let ground = Ground::new(60_000);
    let holders = [0; 2].map(|_| ground.new_cell(ground.pair));
    let shared = ground.new_cell(ground.pair);
    let arena = ground.enter(&KnArenaConfig { policy: KN_ESCAPE_PROMOTE, ..watched(c"promote") });
    let (root, leaf) = (new_in(arena, ground.pair), new_in(arena, ground.pair));
    ground.link(root, 0, leaf);
    ground.link(leaf, 0, root);
    ground.link(leaf, 1, shared);
    ground.link(holders[0], 0, root);
    ground.link(holders[0], 1, leaf);
    ground.link(holders[1], 0, root);
    let report = ground.leave(arena);
    assert_eq!((report.escapes, report.promoted, report.nulled), (3, 3, 0));
    assert!(ESCAPES.take().iter().all(|escape| escape.action == KN_ESCAPE_PROMOTE));
    let (root, leaf) = (ground.field(holders[0], 0), ground.field(holders[0], 1));
    assert_eq!(ground.field(holders[1], 0), root);
    assert_eq!((ground.field(root, 0), ground.field(leaf, 0), ground.field(leaf, 1)), (leaf, root, shared));
    assert_eq!((ground.count(root), ground.count(leaf), ground.count(shared)), (3, 2, 2));
    for cell in [holders[0], holders[1], shared] {
        ground.release(cell);
    }
    ground.collect();
    ground.finish();
}

/// upb#378: taking over fails before anything is touched.
#[test]
fn a_promotion_that_fails_changes_nothing() {
    let ground = Ground::new(30_000);
    let arena = ground.enter(&KnArenaConfig { presize: 4000, ..named(c"fails") });
    let cells = [0; 30].map(|_| new_in(arena, ground.pair));
    (0..30).for_each(|index| ground.link(cells[index], 0, cells[(index + 1) % 30]));
    let mut out = null_mut();
    // SAFETY: arenas and cells are alive; so below.
    unsafe {
        // A type with a destroy can't be copied.
        ground.link(cells[29], 1, new_in(arena, ground.node));
        let print = ground.print();
        assert_eq!(kn_arena_promote(arena, cells[0].cast(), &mut out), KnStatus::Unsupported);
        assert_eq!((ground.print(), out, ground.cells()), (print, null_mut(), 0));
        ground.link(cells[29], 1, null_mut());
        // No cell of this arena.
        let outside = ground.new_cell(ground.pair);
        assert_eq!(kn_arena_promote(arena, outside.cast(), &mut out), KnStatus::Foreign);
        ground.release(outside);
        // Memory for none, some, nearly all of the copies.
        for leave in (0..3000).step_by(if cfg!(miri) { 700 } else { 60 }) {
            let mut ballast = Vec::new();
            let spare = KnHeap::malloc(ground.heap, leave);
            for bytes in [1000, 200, 60, 8] {
                while let Some(block) = std::ptr::NonNull::new(KnHeap::malloc(ground.heap, bytes)) {
                    ballast.push(block);
                }
            }
            KnHeap::free(ground.heap, spare);
            let before = ground.cells();
            let status = kn_arena_promote(arena, cells[0].cast(), &mut out);
            (0..30).for_each(|index| assert_eq!(ground.field(cells[index], 0), cells[(index + 1) % 30]));
            ground.check();
            match status {
                KnStatus::Ok => {
                    assert_eq!(ground.cells(), before + 30);
                    ground.release(out.cast());
                    ground.collect();
                }
                status => {
                    assert_eq!((status, ground.cells()), (KnStatus::NoMemory, before), "{leave} bytes left");
                }
            }
            ground.free(ballast);
        }
    }
    told();
    ground.leave(arena);
    ground.finish();
}

/// wasmtime#9669: what goes releases what it referred to, and so on.
#[test]
fn what_a_scope_held_alone_goes_with_it() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&named(c"holder"));
    let mut list = null_mut();
    for _ in 0..50 {
        let cell = ground.new_cell(ground.node);
        ground.link(cell, 0, list);
        ground.release(list);
        list = cell;
    }
    ground.link(new_in(arena, ground.pair), 1, list);
    ground.release(list);
    assert_eq!(ground.cells(), 50);
    assert_eq!(ground.leave(arena).released, 1);
    assert_eq!((ground.cells(), destroyed().len()), (0, 50));
    ground.finish();
}

/// wasmtime#13316: each thing that remembers an address in the arena forgets it.
#[test]
fn nothing_remembers_what_has_gone() {
    let ground = Ground::new(60_000);
    // SAFETY: nodes may be all zero; they and the arenas are alive where they are used.
    unsafe {
        let weak: [*mut KnWeakSlot; 3] = [0; 3].map(|_| Box::into_raw(Box::new(std::mem::zeroed())));
        let tentative: [*mut KnTentative; 2] = [0; 2].map(|_| Box::into_raw(Box::new(std::mem::zeroed())));
        let outer = ground.enter(&named(c"outer"));
        let standing = kn_arena_create(ground.heap, &named(c"standing"));
        for arena in [standing, outer] {
            let before = new_in(arena, ground.pair);
            let mark = kn_arena_mark(arena);
            let after = new_in(arena, ground.pair);
            assert_eq!(kn_weak_set(weak[0], arena, before.cast()), KnStatus::Ok);
            assert_eq!(kn_weak_set(weak[1], arena, after.cast()), KnStatus::Ok);
            // One that lies in the arena itself, and refers to another.
            let inside: *mut KnWeakSlot = kn_arena_alloc(arena, size_of::<KnWeakSlot>()).cast();
            inside.write(std::mem::zeroed());
            let other = if arena == outer { standing } else { outer };
            let far = new_in(other, ground.pair);
            assert_eq!(kn_weak_set(inside, other, far.cast()), KnStatus::Ok);
            assert_eq!(kn_weak_set(weak[2], arena, inside.cast()), KnStatus::Ok);
            assert_eq!(kn_weak_set(weak[2], null_mut(), null_mut()), KnStatus::Ok);
            assert!((*weak[2]).target.is_null());
            // Cells outside that go unless they are kept.
            let cells = tentative.map(|node| GC_newTentative(arena, ground.node, node));
            assert_eq!(kn_arena_keep(tentative[0]), cells[0]);
            assert!(kn_arena_keep(tentative[0]).is_null(), "kept twice");
            destroyed();
            assert_eq!(kn_arena_rewind(arena, mark), KnStatus::Ok);
            assert_eq!(destroyed(), [cells[1].addr()]);
            assert!(kn_arena_keep(tentative[1]).is_null(), "kept after it has gone");
            assert_eq!(((*weak[0]).target, (*weak[1]).target), (before.cast(), null_mut()));
            assert!(!kn_arena_alloc(arena, 3000).is_null());
            match arena == standing {
                true => kn_arena_destroy(arena),
                false => drop(ground.leave(arena)),
            }
            assert!((*weak[0]).target.is_null());
            assert_eq!(ground.count(cells[0].cast()), 1);
            ground.release(cells[0].cast());
            if arena == standing {
                break;
            }
        }
        ground.leave(outer);
        weak.iter().for_each(|&slot| drop(Box::from_raw(slot)));
        tentative.iter().for_each(|&node| drop(Box::from_raw(node)));
    }
    ground.finish();
}

/// A cycle through an arena is no leak: its part outside goes when the arena does.
#[test]
fn a_cycle_through_a_scope_goes_with_it() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&named(c"cycle"));
    let (inside, outside) = (new_in(arena, ground.pair), ground.new_cell(ground.node));
    ground.link(inside, 0, outside);
    ground.link(outside, 0, inside);
    ground.release(outside);
    ground.collect();
    assert_eq!((ground.cells(), ground.stats(arena).escapes), (1, 1));
    let report = ground.leave(arena);
    assert_eq!((report.released, report.nulled), (1, 1));
    assert_eq!((ground.cells(), destroyed().len()), (0, 1));
    ground.finish();
}

/// A garbage cycle outside that refers into the scope, collected before, while, and after it is left.
#[test]
fn garbage_outside_that_refers_inside_is_no_danger() {
    for when in 0..3 {
        let ground = Ground::new(60_000);
        let arena = ground.enter(&watched(c"garbage"));
        let ring = [0; 3].map(|_| ground.new_cell(ground.node));
        (0..3).for_each(|index| ground.link(ring[index], 0, ring[(index + 1) % 3]));
        ring.iter().for_each(|&cell| ground.link(cell, 1, new_in(arena, ground.pair)));
        ring.iter().for_each(|&cell| ground.release(cell));
        match when {
            0 => ground.collect(),
            // SAFETY: the state is live.
            1 => drop(unsafe { Counted::step(ground.state, 2) }),
            _ => {}
        }
        let report = ground.leave(arena);
        assert_eq!(report.escapes, if when == 0 { 0 } else { 3 });
        ground.collect();
        assert_eq!((ground.cells(), destroyed().len()), (0, 3));
        ground.finish();
    }
}

/// A reference that is moved out of its slot, or whose holder dies, is an escape no more.
#[test]
fn what_has_been_taken_out_does_not_escape() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&watched(c"moved"));
    let cell = new_in(arena, ground.pair);
    let holder = ground.new_cell(ground.pair);
    let mut local = null_mut();
    ground.link(holder, 0, cell);
    assign(&mut local, cell);
    assert_eq!(ground.stats(arena).escapes, 2);
    assign(&mut local, null_mut());
    assert_eq!(ground.stats(arena).escapes, 1);
    ground.release(holder);
    assert_eq!(ground.stats(arena).escapes, 0);
    let report = ground.leave(arena);
    assert_eq!((report.escapes, report.counted), (0, 0));
    assert!(ESCAPES.take().is_empty());
    ground.finish();
}
/// An older cell of the same arena that refers behind a mark is not counted, and must not be counted back.
#[test]
fn a_rewind_keeps_the_count_of_what_stays() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&KnArenaConfig { flags: KN_ARENA_CHECK_LEAVE, ..watched(c"rewound") });
    let old = [0; 2].map(|_| new_in(arena, ground.pair));
    let holder = ground.new_cell(ground.pair);
    (0..2).for_each(|field| ground.link(holder, field, old[field]));
    // SAFETY: the arena is alive.
    let mark = unsafe { kn_arena_mark(arena) };
    let young = new_in(arena, ground.pair);
    ground.link(old[0], 0, young);
    ground.link(old[1], 1, young);
    // SAFETY: as above.
    assert_eq!(unsafe { kn_arena_rewind(arena, mark) }, KnStatus::Ok);
    assert!(ground.field(old[0], 0).is_null() && ground.field(old[1], 1).is_null());
    assert_eq!(ground.stats(arena).escapes, 2);
    assert_eq!(ground.leave(arena).nulled, 2);
    ground.release(holder);
    ground.finish();
}
