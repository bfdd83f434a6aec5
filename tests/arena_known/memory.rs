//! Where memory goes: marks, resizes, resets, budgets.

use crate::ground::{named, text, told, Ground};
use knoll::arena::{
    KnArena, KnArenaConfig, KN_ARENA_POISON, KN_ARENA_ZERO, KN_RESET_FREE, KN_RESET_KEEP, KN_RESET_LIMIT,
};
use knoll::capi::arena::{
    kn_arena_alloc, kn_arena_create, kn_arena_destroy, kn_arena_mark, kn_arena_reset_to, kn_arena_resize,
    kn_arena_rewind,
};
use knoll::heap::{KnHeap, KnStatus};
use knoll_shadow::contents;
use knoll_shadow::layouts;

fn alloc(arena: *mut KnArena, bytes: usize) -> *mut u8 {
    // SAFETY: the arena is alive.
    unsafe { kn_arena_alloc(arena, bytes) }.cast()
}

fn filled(arena: *mut KnArena, bytes: usize, tag: usize) -> *mut u8 {
    let at = alloc(arena, bytes);
    assert!(!at.is_null());
    // SAFETY: as many bytes were given.
    unsafe { contents::write(at, bytes, tag) };
    at
}

/// A hundred times a thousand bytes.
fn fill(arena: *mut KnArena) {
    for tag in 0..100 {
        filled(arena, 1000, tag);
    }
}

fn expect(at: *mut u8, bytes: usize, tag: usize) {
    // SAFETY: live memory that was filled.
    unsafe { contents::compare(at, bytes, tag) }.expect("contents");
}

fn rewind(arena: *mut KnArena, mark: knoll::arena::KnArenaMark) -> KnStatus {
    // SAFETY: the arena is alive.
    unsafe { kn_arena_rewind(arena, mark) }
}

fn resize(arena: *mut KnArena, at: *mut u8, old: usize, bytes: usize) -> *mut u8 {
    // SAFETY: the arena is alive, and so is the allocation.
    unsafe { kn_arena_resize(arena, at.cast(), old, bytes) }.cast()
}

fn write(at: *mut u8, bytes: usize, tag: usize) {
    // SAFETY: as many bytes were given.
    unsafe { contents::write(at, bytes, tag) };
}

fn mark(arena: *mut KnArena) -> knoll::arena::KnArenaMark {
    // SAFETY: the arena is alive.
    unsafe { kn_arena_mark(arena) }
}

fn destroy(arena: *mut KnArena) {
    // SAFETY: the arena is alive.
    unsafe { kn_arena_destroy(arena) };
}

fn reset_to(arena: *mut KnArena, mode: u32, limit: usize) {
    // SAFETY: the arena is alive.
    assert_eq!(unsafe { kn_arena_reset_to(arena, mode, limit) }, KnStatus::Ok);
}

fn free(ground: &Ground, block: *mut u8) {
    // SAFETY: a block of the heap.
    assert_eq!(unsafe { KnHeap::free(ground.heap, block) }, KnStatus::Ok);
}

fn create(ground: &Ground, config: &KnArenaConfig) -> *mut KnArena {
    // SAFETY: the heap is live.
    let arena = unsafe { kn_arena_create(ground.heap, config) };
    assert!(!arena.is_null());
    arena
}

/// bumpalo#105, #326: 64 bytes, a mark, 200 times 128 bytes, and back.
#[test]
fn going_back_to_a_mark_gives_back_what_was_taken() {
    for layout in layouts!() {
        for standing in [false, true] {
            let ground = Ground::on(layout, 200_000);
            let config = KnArenaConfig { presize: 1024, ..named(c"rollback") };
            let arena = if standing { create(&ground, &config) } else { ground.enter(&config) };
            let kept = filled(arena, 64, 1);
            for _ in 0..3 {
                let place = mark(arena);
                let (print, used, before) = (ground.print(), ground.used(), ground.stats(arena));
                for tag in 0..200 {
                    filled(arena, 128, tag);
                }
                assert!(ground.used() > used + 200 * 128 - 1024);
                assert_eq!(rewind(arena, place), KnStatus::Ok);
                let after = ground.stats(arena);
                assert_eq!((after.held, after.used), (before.held, before.used));
                assert_eq!((ground.print(), ground.used()), (print, used), "{layout:?}, standing: {standing}");
                expect(kept, 64, 1);
            }
            if standing {
                destroy(arena);
            } else {
                ground.leave(arena);
            }
            ground.finish();
        }
    }
}

/// bumpalo's manual: "including allocations originally made before … but then reallocated".
#[test]
fn what_was_grown_after_a_mark_is_whole_after_going_back() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&named(c"grown"));
    for (old, new) in [(40, 64), (40, 4000), (41, 300), (64, 8), (64, 0), (0, 64), (4000, 100)] {
        let at = filled(arena, old, 7);
        let place = mark(arena);
        let now: *mut u8 = resize(arena, at, old, new);
        expect(now, old.min(new), 7);
        assert!(
            now != at || old == 0 || new.next_multiple_of(8) <= old.next_multiple_of(8),
            "{old} grew in place to {new}"
        );
        if now != at {
            write(now, new, 9);
        }
        filled(arena, 80, 8);
        assert_eq!(rewind(arena, place), KnStatus::Ok);
        filled(arena, 200, 11);
        expect(at, if now == at { old.min(new) } else { old }, 7);
    }
    ground.leave(arena);
    ground.finish();
}

/// plugin-sdk-rs#72: the last allocation shrinks or is given back, then another comes.
#[test]
fn shrinking_the_last_allocation_frees_no_more_than_its_own() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&named(c"shrunk"));
    let first = filled(arena, 100, 1);
    let last = filled(arena, 500, 2);
    assert_eq!(resize(arena, last, 500, 30), last);
    let next = filled(arena, 100, 3);
    // Not the last any more: it stays where it is, and what is behind it too.
    assert_eq!(resize(arena, last, 30, 10), last);
    assert_eq!(resize(arena, first, 100, 0), first);
    filled(arena, 100, 4);
    expect(last, 10, 2);
    expect(next, 100, 3);
    ground.leave(arena);
    ground.finish();
}

/// zig#15985: resets that keep some memory, with allocations of all sizes in between.
#[test]
fn a_reset_that_keeps_memory_uses_none_that_it_gave_back() {
    let (few, rounds) = if cfg!(miri) { (1, 3) } else { (usize::MAX, 12) };
    for layout in layouts!().take(few) {
        for mode in [KN_RESET_KEEP, KN_RESET_FREE, KN_RESET_LIMIT] {
            let ground = Ground::on(layout, if cfg!(miri) { 40_000 } else { 120_000 });
            let before = ground.print();
            let config = KnArenaConfig { presize: 300, step: 500, ..named(c"kept") };
            let arena = create(&ground, &config);
            let begun = ground.stats(arena).held;
            for round in 0..rounds {
                let sizes = [10, 700, 1, 3000, 499, 501, 64, 2000, 0, 900];
                let all: Vec<(*mut u8, usize)> =
                    (0..=round).map(|index| sizes[index % 10]).map(|n| (filled(arena, n, n), n)).collect();
                // Blocks of others lie between, and some go.
                // SAFETY: the heap is live; so below.
                let others = [0; 3].map(|_| unsafe { KnHeap::malloc(ground.heap, 100) });
                free(&ground, others[1]);
                all.iter().for_each(|&(at, bytes)| expect(at, bytes, bytes));
                let held = ground.stats(arena).held;
                reset_to(arena, mode, 1500);
                let now = ground.stats(arena);
                assert_eq!(now.used, 0);
                match mode {
                    KN_RESET_KEEP => assert_eq!(now.held, held),
                    KN_RESET_FREE => assert_eq!(now.held, begun),
                    _ => assert!(now.held <= 1500 + begun && now.held <= held),
                }
                free(&ground, others[0]);
                free(&ground, others[2]);
                ground.check();
            }
            destroy(arena);
            assert_eq!(ground.print(), before, "{layout:?}, mode {mode}");
            ground.finish();
        }
    }
}

/// bumpalo#26, #305; apr#35; dvui#322: after one large job, memory goes back.
#[test]
fn memory_goes_back_to_the_heap_after_a_large_job() {
    let ground = Ground::new(200_000);
    let empty = ground.print();
    let arena = create(&ground, &KnArenaConfig { presize: 500, ..named(c"large job") });
    let small = ground.print();
    fill(arena);
    reset_to(arena, KN_RESET_FREE, 0);
    assert_eq!(ground.print(), small);
    fill(arena);
    destroy(arena);
    assert_eq!(ground.print(), empty);
    ground.finish();
}

/// protobuf#10294, #14571, lua-nginx-module#2036: loops in a long-lived arena stay where they are.
#[test]
fn a_loop_in_a_long_lived_arena_does_not_grow_it() {
    let ground = Ground::new(60_000);
    let arena = ground.enter(&KnArenaConfig { presize: 6000, ..named(c"connection") });
    let mut table = filled(arena, 10, 1);
    let mut bytes = 10;
    let rounds = if cfg!(miri) { 30 } else { 3000 };
    for round in 0..rounds {
        // The last allocation is set again and again, to other lengths.
        let next = 10 + round * 37 % 2000;
        table = resize(arena, table, bytes, next);
        expect(table, bytes.min(next).min(10), 1);
        write(table, next, 1);
        bytes = next;
        // Scratch memory of each round.
        let place = mark(arena);
        filled(arena, 1000, round);
        assert_eq!(rewind(arena, place), KnStatus::Ok);
        if round % 2 == 1 {
            // A mark was made behind it: it moves at its next growth; then the arena begins anew.
            reset_to(arena, KN_RESET_KEEP, 0);
            table = filled(arena, 10, 1);
            bytes = 10;
        }
    }
    let stats = ground.stats(arena);
    assert!(stats.held <= 6000 + 100 && stats.peak <= 6000, "held {}, peak {}", stats.held, stats.peak);
    ground.leave(arena);
    ground.finish();
}

/// sssd#7072, citus#767: each request allocates in the connection; the numbers tell where it lands.
#[test]
fn the_numbers_tell_which_scope_grows() {
    let ground = Ground::new(60_000);
    let connection = ground.enter(&KnArenaConfig { presize: 2000, ..named(c"connection") });
    let mut last = ground.stats(connection).used;
    for _ in 0..12 {
        let request = ground.enter(&KnArenaConfig { presize: 300, ..named(c"request") });
        filled(request, 200, 1);
        filled(connection, 40, 2);
        let report = ground.leave(request);
        assert_eq!((text(report.name), report.used), ("request", 200));
        let used = ground.stats(connection).used;
        assert_eq!(used, last + 40, "the growth of the connection is its own");
        last = used;
    }
    let report = ground.leave(connection);
    assert_eq!((text(report.name), report.used), ("connection", 12 * 40));
    assert!(report.suggested >= report.peak && report.peak >= 12 * 40);
    ground.finish();
}

/// talloc's memlimit: what inner scopes hold counts outside, too; the refusal names whose budget it was.
#[test]
fn inner_scopes_do_not_evade_a_budget() {
    let ground = Ground::new(100_000);
    let outer = ground.enter(&KnArenaConfig { presize: 1000, budget: 10_000, step: 256, ..named(c"outer") });
    let inner = ground.enter(&KnArenaConfig { budget: 50_000, step: 256, ..named(c"inner") });
    let mut given = 0;
    while !alloc(inner, 200).is_null() {
        given += 200;
        assert!(ground.stats(outer).held <= 10_000);
        assert!(given <= 10_000);
    }
    // In steps of 256 bytes a segment may hold one allocation of 200.
    assert!(given >= 7_000, "{given} bytes of a budget of 10,000");
    let stats = ground.stats(inner);
    assert_eq!((stats.refused, text(stats.refused_by)), (1, "outer"));
    // Whoever wants to enter with more is refused at once, and nothing changes.
    let print = ground.print();
    assert_eq!(ground.try_enter(&KnArenaConfig { presize: 9_000, ..named(c"third") }), Err(KnStatus::Budget));
    assert_eq!(ground.print(), print);
    ground.leave(inner);
    assert!(!alloc(outer, 2000).is_null(), "what the inner scope held counts no longer");
    ground.leave(outer);
    ground.finish();
}

/// lupa#211: budgets too small for anything.
#[test]
fn a_tiny_budget_is_an_answer() {
    let ground = Ground::new(60_000);
    let print = ground.print();
    for budget in 1..200 {
        let config = KnArenaConfig { budget, ..named(c"tiny") };
        match ground.try_enter(&config) {
            Ok(arena) => {
                while !alloc(arena, 8).is_null() {}
                let stats = ground.stats(arena);
                assert!(
                    stats.held <= budget.next_multiple_of(8) && stats.refused > 0,
                    "{} bytes held of {budget}",
                    stats.held
                );
                ground.leave(arena);
            }
            Err(status) => assert_eq!(status, KnStatus::Budget),
        }
        assert_eq!(ground.print(), print);
        let status = ground.try_enter(&KnArenaConfig { presize: budget + 8, ..config });
        assert_eq!(status, Err(KnStatus::Budget));
    }
    assert_eq!(ground.try_enter(&KnArenaConfig { presize: ground.bytes(), ..named(c"all") }), Err(KnStatus::NoMemory));
    assert_eq!(ground.try_enter(&KnArenaConfig { presize: usize::MAX, ..named(c"more") }), Err(KnStatus::NoMemory));
    assert_eq!(told(), []);
    ground.finish();
}

/// What goes is overwritten: a stale pointer reads poison, a secret is gone.
#[test]
fn what_goes_is_overwritten_if_asked_for() {
    for (flags, byte) in [(KN_ARENA_POISON, 0xDB), (KN_ARENA_ZERO, 0)] {
        let ground = Ground::new(60_000);
        let arena = ground.enter(&KnArenaConfig { presize: 2000, flags, ..named(c"secret") });
        let kept = filled(arena, 64, 1);
        let place = mark(arena);
        let gone = filled(arena, 500, 2).addr();
        assert_eq!(rewind(arena, place), KnStatus::Ok);
        assert!((gone..gone + 500).all(|at| ground.byte(at) == byte));
        expect(kept, 64, 1);
        let (kept, gone) = (kept.addr(), filled(arena, 500, 3).addr());
        ground.leave(arena);
        // The heap keeps its own words in what is free.
        let left = (kept..kept + 64).chain(gone..gone + 500).filter(|&at| ground.byte(at) != byte).count();
        assert!(left <= 32, "{left} bytes are left");
        ground.finish();
    }
}
