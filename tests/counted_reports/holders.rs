//! Who holds a cell.

use super::ground::*;
use knoll::capi::accounting::GC_whoHolds;
use knoll::capi::counted::{GC_newSized, GC_runOrc};
use knoll::counted::KnGcConfig;
use knoll::heap::KnStatus;
use std::ptr::null_mut;

#[test]
fn each_reference_has_a_line() {
    let _ground = Ground::new(64 << 10);
    let [foo, bare, row, chest] = [&FOO, &BARE, &ROW, &CHEST].map(register);
    let object = new(foo);
    assert_eq!(holders(object), "references from elsewhere: 1\n");
    let holder = new(foo);
    put(holder, 0, share(object));
    put(holder, 1, share(object));
    share(holder);
    let nameless = new(bare);
    put(nameless, 1, share(object));
    let elements = GC_newSized(row, size_of::<Item>() + 20 * WORD);
    put(elements, 3 + 12, share(object));
    put(elements, 0, share(object));
    let box_of = new(chest);
    put(box_of, 2, share(object));
    let own = share(object);
    put(object, 1, own);
    let text = holders(object);
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.pop(), Some("references from elsewhere: 1"));
    lines.sort_unstable();
    let mut expected = vec![
        format!("?+{WORD} at {nameless:?} (count 1)"),
        format!("Chest (traced) at {box_of:?} (count 1)"),
        format!("Foo.other at {holder:?} (count 2)"),
        format!("Foo.other at {object:?} (count 8)"),
        format!("Foo.parent at {holder:?} (count 2)"),
        format!("Row+0 at {elements:?} (count 1)"),
        format!("Row[12] at {elements:?} (count 1)"),
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    // As much as the reader takes.
    // SAFETY: a cell of this test.
    let part = read_some(10, |write, context| unsafe { GC_whoHolds(object, write, context) });
    assert_eq!(part, text[..10]);
}

#[test]
fn only_living_cells_are_held() {
    if !MISUSE_IS_SEEN {
        return;
    }
    let _ground = Ground::new(64 << 10);
    let foo = register(&FOO);
    configure(KnGcConfig { frees_per_unref: 1, ..KnGcConfig::default() });
    let (first, second, third) = (new(foo), new(foo), new(foo));
    put(second, 0, third);
    put(first, 0, second);
    // The first is gone, the second waits; the third is still its.
    unref(first);
    assert_eq!(stats().pending, 1);
    // SAFETY: memory of cells.
    unsafe {
        assert_eq!(GC_whoHolds(first, Some(take_text), null_mut()), KnStatus::Foreign);
        assert_eq!(GC_whoHolds(second, Some(take_text), null_mut()), KnStatus::Foreign);
    }
    assert_eq!(holders(third), format!("Foo.parent at {second:?} (count 0)\nreferences from elsewhere: 0\n"));
    GC_runOrc();
    assert_eq!(stats().cells, 0);
}

#[test]
fn immortal_and_shared_cells_are_held_too() {
    let _ground = Ground::new(64 << 10);
    let [foo, shared] = [&FOO, &SHARED].map(register);
    let (holder, object) = (new(foo), new(shared));
    put(holder, 1, share(object));
    assert_eq!(holders(object), format!("Foo.other at {holder:?} (count 1)\nreferences from elsewhere: 1\n"));
    unref(holder);
    unref(object);
    if cfg!(miri) {
        return;
    }
    let (holder, object) = (new(foo), new(foo));
    put(holder, 0, object);
    put(holder, 1, holder);
    put(object, 1, object);
    for cell in [holder, object] {
        for _ in 0..1 << 26 {
            share(cell);
        }
    }
    let text = holders(object);
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.pop(), Some("references from elsewhere: not counted"));
    lines.sort_unstable();
    assert_eq!(lines, [format!("Foo.other at {object:?} (immortal)"), format!("Foo.parent at {holder:?} (immortal)")]);
    assert_eq!(cycles(), "");
}
