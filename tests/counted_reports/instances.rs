//! Cells by type: in a heap of the thread's own, and in all threads over the process heap.

use super::ground::*;
use knoll::capi::counted::GC_newSized;

#[test]
fn instances_of_a_heap_of_its_own() {
    let _ground = Ground::new(64 << 10);
    let [foo, leaf, row, bar] = [&FOO, &LEAF, &ROW, &BAR].map(register);
    let mine = || -> String {
        let text = instances();
        // Other tests are at work in the process heap.
        let lines = text.lines().filter(|line| ["Foo", "Leaf", "Row", "Bar"].iter().any(|name| line.contains(name)));
        lines.map(|line| format!("{line}\n")).collect()
    };
    assert_eq!(mine(), "");
    let cells: Vec<_> = (0..5).map(|_| new(foo)).chain((0..2).map(|_| new(bar))).collect();
    let leaves: Vec<_> = (0..10).map(|_| new(leaf)).collect();
    let large = GC_newSized(row, 3 * WORD + 1000);
    let item = (size_of::<Item>() + 8).next_multiple_of(8);
    let large_bytes = (3 * WORD + 1000 + 8).next_multiple_of(8);
    let expected = format!(
        "[Heap] Row: #1; bytes: {large_bytes}\n[Heap] Leaf: #10; bytes: 320\n[Heap] Foo: #5; bytes: {}\n\
         [Heap] Bar: #2; bytes: {}\n",
        5 * item,
        2 * item
    );
    assert_eq!(mine(), expected);
    assert_eq!(stats().occupied, large_bytes + 320 + 7 * item);
    cells.into_iter().chain(leaves).for_each(unref);
    unref(large);
    assert_eq!(mine(), "");
}

#[cfg(unix)]
mod threads {
    use super::*;
    use knoll::counted::{KnType, KN_TYPE_SHARED};
    use std::sync::mpsc;

    static HERE: KnType = KnType { name: c"Here".as_ptr(), ..ITEM };
    static SHARED_HERE: KnType =
        KnType { name: c"SharedHere".as_ptr(), size: 56, flags: KN_TYPE_SHARED, ..KnType::PLAIN };

    fn line(name: &str) -> String {
        let head = format!("[Heap] {name}: ");
        let text = instances();
        assert!(text.lines().last().unwrap().starts_with("[Heap] total: #"));
        // The total is that of the lines, whatever other threads do.
        let numbers = |line: &str| -> [usize; 2] {
            let (_, rest) = line.rsplit_once(": #").unwrap();
            let (count, bytes) = rest.split_once("; bytes: ").unwrap();
            [count.parse().unwrap(), bytes.parse().unwrap()]
        };
        let mut lines: Vec<_> = text.lines().map(numbers).collect();
        let total = lines.pop().unwrap();
        assert_eq!(total, lines.iter().fold([0, 0], |sum, line| [sum[0] + line[0], sum[1] + line[1]]));
        let mut found = text.lines().filter_map(|line| line.strip_prefix(&head));
        let line = found.next().unwrap_or_default().to_owned();
        assert!(found.next().is_none() || name == "Passing", "{text}");
        line
    }

    #[test]
    fn instances_of_all_threads() {
        let item = (size_of::<Item>() + 8).next_multiple_of(8);
        let here = register(&HERE);
        assert_eq!(line("Here"), "");
        let mine = [new(here), new(here)];
        let (tell, told) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            let cells = [new(here), new(here), new(here)];
            let shared = new(register(&SHARED_HERE));
            tell.send(()).unwrap();
            wait.recv().unwrap();
            cells[1..].iter().for_each(|&cell| unref(cell));
            // One is left for good, as a leak is.
            (cells[0].addr(), shared.expose_provenance())
        });
        told.recv().unwrap();
        assert_eq!(line("Here"), format!("#5; bytes: {}", 5 * item));
        assert_eq!(line("SharedHere"), "#1; bytes: 64");
        // In a heap of this thread's own the type is the same line.
        {
            let _ground = Ground::new(16 << 10);
            let own = new(register(&HERE));
            assert_eq!(line("Here"), format!("#6; bytes: {}", 6 * item));
            unref(own);
        }
        go.send(()).unwrap();
        other.join().unwrap();
        assert_eq!(line("Here"), format!("#3; bytes: {}", 3 * item));
        mine.into_iter().for_each(unref);
        assert_eq!(line("Here"), format!("#1; bytes: {item}"));
    }

    /// Tables move, states come and go, and nothing is read that is gone.
    #[test]
    fn instances_while_threads_are_at_work() {
        static TYPES: [KnType; 40] = [const { KnType { name: c"Passing".as_ptr(), ..ITEM } }; 40];
        let rounds = if cfg!(miri) { 2 } else { 60 };
        std::thread::scope(|scope| {
            for worker in 0..3 {
                scope.spawn(move || {
                    for round in 0..rounds {
                        std::thread::spawn(move || {
                            let used = if cfg!(miri) { 12 } else { TYPES.len() };
                            let cells: Vec<_> = TYPES[..used]
                                .iter()
                                .skip(worker * round % 7)
                                .flat_map(|descriptor| {
                                    let id = register(descriptor);
                                    (0..3).map(move |_| new(id))
                                })
                                .collect();
                            cells.into_iter().for_each(unref);
                        })
                        .join()
                        .unwrap();
                    }
                });
            }
            for _ in 0..rounds {
                line("Passing");
            }
        });
        assert_eq!(line("Passing"), "");
    }
}
