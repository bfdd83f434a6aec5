//! Garbage cycles: each piece has a line, and nothing else has.

use super::ground::*;
use knoll::capi::accounting::*;
use knoll::capi::counted::*;
use knoll::capi::heap::{kn_heap_free, kn_heap_malloc};
use knoll::counted::*;
use knoll::heap::KnStatus;
use std::ffi::c_void;
use std::sync::atomic::Ordering;

/// A ring by `other`, the last one's `parent` the first, which the caller owns.
fn ring(ids: &[KnTypeId]) -> Vec<*mut c_void> {
    let cells: Vec<_> = ids.iter().map(|&id| new(id)).collect();
    for pair in cells.windows(2) {
        put(pair[0], 1, pair[1]);
    }
    put(cells[cells.len() - 1], 0, share(cells[0]));
    cells
}

#[test]
fn a_cycle_is_told_when_it_is_garbage() {
    let _ground = Ground::new(64 << 10);
    let [foo, bar] = [&FOO, &BAR].map(register);
    let cells = ring(&[bar, foo, foo, foo]);
    unref(share(cells[0]));
    assert_eq!(cycles(), "");
    unref(cells[0]);
    assert_eq!(cycles(), "3 Foo and 1 Bar, closed by Foo.parent\n");
    // Whatever lies where: the root says from where it is seen.
    for (n, expected) in [(1, "Bar.other"), (2, "Foo.other"), (3, "Foo.other")] {
        GC_runOrc();
        let cells = ring(&[bar, foo, foo, foo]);
        share(cells[n]);
        unref(cells[0]);
        GC_runOrc();
        assert_eq!(cycles(), "");
        unref(cells[n]);
        assert_eq!(cycles(), format!("3 Foo and 1 Bar, closed by {expected}\n"));
    }
    GC_runOrc();
    assert_eq!((cycles(), stats().cells), (String::new(), 0));
}

#[test]
fn each_piece_has_a_line() {
    let _ground = Ground::new(64 << 10);
    let [foo, bar, leaf, row, chest] = [&FOO, &BAR, &LEAF, &ROW, &CHEST].map(register);
    configure(KnGcConfig { threshold: 1000, bytes_floor: usize::MAX, ..KnGcConfig::default() });
    // By itself.
    let alone = new(foo);
    put(alone, 1, share(alone));
    unref(alone);
    // Two rings, one holding the other, with a leaf; a live ring that the second holds.
    let (one, two, live) = (ring(&[foo, bar]), ring(&[bar, bar, bar]), ring(&[foo, foo]));
    put(one[0], 0, share(two[1]));
    put(two[0], 0, new(leaf));
    put(two[1], 0, share(live[0]));
    unref(two[0]);
    unref(one[0]);
    // By an element, by what is traced.
    let elements = GC_newSized(row, size_of::<Item>() + 4 * WORD);
    put(elements, 5, share(elements));
    unref(elements);
    let box_of = new(chest);
    put(box_of, 1, share(box_of));
    unref(box_of);
    let expected = "1 Foo, closed by Foo.other
4 Bar, 1 Foo and 1 Leaf, closed by Bar.parent
1 Row, closed by Row[2]
1 Chest, closed by Chest (traced)
";
    assert_eq!(cycles(), expected);
    // SAFETY: `take_text` is made for the context.
    let part = read_some(30, |write, context| unsafe { GC_reportCycles(write, context) });
    assert_eq!(part, expected[..30]);
    // In the middle of a collection too, whose set has the counts; the roots of it say no more what closes.
    unref(share(live[0]));
    let pieces = |text: &str| {
        let mut pieces: Vec<_> = text.lines().map(|line| line.split_once(", closed").unwrap().0.to_owned()).collect();
        pieces.sort_unstable();
        pieces
    };
    for _ in 0..3 {
        assert!(!GC_step(2));
        assert_eq!(pieces(&cycles()), pieces(expected));
    }
    GC_runOrc();
    assert_eq!(stats().cells, 2);
    assert_eq!(cycles(), "");
    unref(live[0]);
    assert_eq!(cycles(), "2 Foo, closed by Foo.parent\n");
}

#[test]
fn cycles_that_no_collection_frees_are_told() {
    let _ground = Ground::new(64 << 10);
    let [foo, wrong] = [&FOO, &WRONG].map(register);
    unref(ring(&[wrong, foo])[0]);
    configure(KnGcConfig { flags: KN_GC_ARC, ..KnGcConfig::default() });
    unref(ring(&[foo, foo, foo])[0]);
    GC_runOrc();
    assert_eq!(stats().cells, 5);
    let text = cycles();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("1 Foo and 1 Wrong, closed by ") || lines[0].starts_with("1 Wrong and 1 Foo, closed by ")
    );
    assert!(lines[1].starts_with("3 Foo, closed by Foo."));
}

#[test]
fn what_waits_is_no_cycle_but_holds_one() {
    let _ground = Ground::new(64 << 10);
    let [foo, hooked, late] = [&FOO, &HOOKED, &LATE].map(register);
    configure(KnGcConfig { frees_per_unref: 1, ..KnGcConfig::default() });
    let (first, second, third) = (new(foo), new(late), new(foo));
    put(first, 0, second);
    put(second, 0, ring(&[hooked, hooked])[0]);
    put(second, 1, third);
    // Of the third it is not the first reference that closes.
    let (above, below) = (new(foo), new(foo));
    put(third, 0, share(above));
    put(third, 1, below);
    put(above, 0, share(below));
    put(below, 1, above);
    unref(first);
    let traces = LATE_TRACES.load(Ordering::Relaxed);
    assert_eq!(stats().pending, 1);
    let text = cycles();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["2 Hooked, closed by Hooked.parent", "3 Foo, closed by Foo.other"]);
    // What dies is not asked for its references; nobody's destroy has run.
    assert_eq!(LATE_TRACES.load(Ordering::Relaxed), traces);
    assert_eq!(DESTROYED.load(Ordering::Relaxed), 0);
    GC_runOrc();
    assert_eq!((stats().cells, DESTROYED.load(Ordering::Relaxed)), (0, 2));
}

#[test]
fn without_memory_nothing_is_told() {
    let ground = Ground::new(32 << 10);
    let foo = register(&FOO);
    unref(ring(&[foo, foo])[0]);
    let mut taken = Vec::new();
    for size in (0..=14).rev().map(|bit| 1 << bit) {
        loop {
            // SAFETY: this thread's heap.
            let block = unsafe { kn_heap_malloc(ground.heap, size) };
            if block.is_null() {
                break;
            }
            taken.push(block);
        }
    }
    let before = (stats(), blocks());
    let mut reader = Reader::new(usize::MAX);
    // SAFETY: `take_text` is made for the context.
    let status = unsafe { GC_reportCycles(Some(take_text), (&raw mut reader).cast()) };
    assert_eq!((status, reader.text.as_str()), (KnStatus::NoMemory, ""));
    assert_eq!((stats(), blocks()), before);
    // The other reports need none.
    assert!(instances().contains("[Heap] Foo: #"));
    // SAFETY: blocks of this heap.
    unsafe { kn_heap_free(ground.heap, taken[0]) };
    assert_eq!(cycles(), "2 Foo, closed by Foo.parent\n");
}

#[test]
fn contradictions_are_not_reported_on() {
    let _ground = Ground::new(32 << 10);
    let foo = register(&FOO);
    let (holder, object) = (new(foo), new(foo));
    put(holder, 0, object);
    put(holder, 1, object);
    // SAFETY: `take_text` is made for the context.
    let status = unsafe { GC_reportCycles(Some(take_text), (&raw mut *Box::new(Reader::new(0))).cast()) };
    assert_eq!((GC_check(), status), (KnStatus::Corrupt, KnStatus::Corrupt));
    // Who holds it is what one wants to know then.
    let expected = format!("Foo.parent at {holder:?} (count 1)\nFoo.other at {holder:?} (count 1)\n");
    assert_eq!(holders(object), expected + "references from elsewhere: 0\n");
    share(object);
    unref(holder);
}

#[test]
fn a_deep_one_needs_no_stack() {
    let count = if cfg!(miri) { 300 } else { 200_000 };
    let work = move || {
        let _ground = Ground::new(count * 96 + (64 << 10));
        let foo = register(&FOO);
        configure(KnGcConfig { bytes_floor: usize::MAX, ..KnGcConfig::default() });
        let cells = ring(&vec![foo; count]);
        for pair in cells.windows(2) {
            if pair[1] != cells[count - 1] {
                put(pair[1], 0, share(pair[0]));
            }
        }
        unref(cells[0]);
        let text = cycles();
        assert_eq!(text, format!("{count} Foo, closed by Foo.parent\n"));
        GC_runOrc();
        assert_eq!(stats().cells, 0);
    };
    std::thread::Builder::new().stack_size(64 << 10).spawn(work).unwrap().join().unwrap();
}
