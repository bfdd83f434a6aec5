//! Reports on counted memory: exact texts for small graphs, and random graphs against a naive search.
//!
//! Each test has a heap of its own, which is its thread's default, but for those of the process heap.

use knoll::capi::accounting::*;
use knoll::capi::counted::*;
use knoll::capi::default::{kn_heap_default, kn_heap_use};
use knoll::capi::heap::{kn_heap_create, kn_heap_malloc};
use knoll::capi::insight::{kn_heap_check, kn_heap_stats, KnWriteFn};
use knoll::counted::*;
use knoll::heap::{KnHeap, KnHeapStats, KnStatus};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

const WORD: usize = size_of::<usize>();
const MISUSE_IS_SEEN: bool = !cfg!(feature = "checks-none");

// ---------------------------------------------------------------- types

#[repr(C)]
struct Item {
    parent: *mut c_void,
    other: *mut c_void,
    note: usize,
}

#[repr(C)]
struct Chest {
    inside: [*mut c_void; 3],
}

/// Descriptors are read only.
struct Names<const N: usize>([*const c_char; N]);
// SAFETY: constant text.
unsafe impl<const N: usize> Sync for Names<N> {}

static ITEM_OFFSETS: [u32; 2] = [offset_of!(Item, parent) as u32, offset_of!(Item, other) as u32];
static ITEM_NAMES: Names<2> = Names([c"parent".as_ptr(), c"other".as_ptr()]);

const ITEM: KnType = KnType {
    size: size_of::<Item>() as u32,
    ref_count: 2,
    ref_offsets: &raw const ITEM_OFFSETS as *const u32,
    ref_names: &raw const ITEM_NAMES as *const *const c_char,
    ..KnType::PLAIN
};
static FOO: KnType = KnType { name: c"Foo".as_ptr(), ..ITEM };
static HOOKED: KnType = KnType { name: c"Hooked".as_ptr(), destroy: Some(destroyed), ..ITEM };
static BAR: KnType = KnType { name: c"Bar".as_ptr(), ..ITEM };
static WRONG: KnType = KnType { name: c"Wrong".as_ptr(), flags: KN_TYPE_ACYCLIC, ..ITEM };
static BARE: KnType = KnType { ref_names: null(), ..ITEM };
static LEAF: KnType = KnType { name: c"Leaf".as_ptr(), size: 24, ..KnType::PLAIN };
static ROW: KnType = KnType {
    name: c"Row".as_ptr(),
    size: size_of::<Item>() as u32,
    flags: KN_TYPE_ARRAY,
    ref_count: 1,
    ref_offsets: &raw const ITEM_OFFSETS as *const u32,
    ..KnType::PLAIN
};
static CHEST: KnType =
    KnType { name: c"Chest".as_ptr(), size: size_of::<Chest>() as u32, trace: Some(trace_chest), ..KnType::PLAIN };
static LATE: KnType = KnType { name: c"Late".as_ptr(), trace: Some(trace_late), ..ITEM };
static SHARED: KnType = KnType { name: c"Shared".as_ptr(), size: 40, flags: KN_TYPE_SHARED, ..KnType::PLAIN };

static DESTROYED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn destroyed(_object: *mut c_void) {
    DESTROYED.fetch_add(1, Ordering::Relaxed);
}

static LATE_TRACES: AtomicUsize = AtomicUsize::new(0);

/// A cell without references, whose callback wants it alive.
unsafe extern "C" fn trace_late(_object: *mut c_void, _tracer: *mut KnTracer) {
    LATE_TRACES.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn trace_chest(object: *mut c_void, tracer: *mut KnTracer) {
    let chest = object.cast::<Chest>();
    for n in 0..3 {
        // SAFETY: a cell of this type.
        unsafe { GC_visit(tracer, (&raw mut (*chest).inside).cast::<*mut c_void>().add(n)) };
    }
}

// ---------------------------------------------------------------- the ground

/// A heap of the thread's own for one test.
struct Ground {
    heap: *mut KnHeap,
    _memory: Vec<u128>,
}

impl Ground {
    fn new(bytes: usize) -> Ground {
        let mut memory = vec![0u128; bytes / 16];
        // SAFETY: the memory lives as long as the heap is the default.
        let heap = unsafe { kn_heap_create(memory.as_mut_ptr().cast(), bytes) };
        assert!(!heap.is_null());
        // SAFETY: as above.
        unsafe { kn_heap_use(heap) };
        Ground { heap, _memory: memory }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(GC_check(), KnStatus::Ok);
            // SAFETY: this thread's heap.
            assert_eq!(unsafe { kn_heap_check(self.heap) }, KnStatus::Ok);
        }
        // SAFETY: nobody uses the heap after this.
        unsafe { kn_heap_use(null_mut()) };
    }
}

/// Blocks in use in the thread's heap.
fn blocks() -> usize {
    let mut stats = KnHeapStats::default();
    // SAFETY: this thread's heap.
    assert_eq!(unsafe { kn_heap_stats(kn_heap_default(), &mut stats) }, KnStatus::Ok);
    stats.blocks
}

fn register(descriptor: &'static KnType) -> KnTypeId {
    // SAFETY: a good descriptor that lives for ever.
    let id = unsafe { GC_registerType(descriptor) };
    assert_ne!(id, 0);
    id
}

fn new(id: KnTypeId) -> *mut c_void {
    let object = GC_new(id);
    assert!(!object.is_null());
    object
}

/// Puts a reference that the caller owns into a field of an Item; the field was empty.
fn put(holder: *mut c_void, field: usize, object: *mut c_void) {
    // SAFETY: cells of these tests.
    unsafe {
        let slot = holder.cast::<*mut c_void>().add(field);
        assert!(slot.read().is_null());
        slot.write(object);
    }
}

fn share(object: *mut c_void) -> *mut c_void {
    // SAFETY: a cell of these tests.
    unsafe { GC_ref(object) }
}

fn unref(object: *mut c_void) {
    // SAFETY: a cell of these tests, whose reference the caller owns.
    unsafe { GC_unref(object) }
}

fn stats() -> KnGcStats {
    let mut stats = KnGcStats::default();
    // SAFETY: valid for a write.
    assert_eq!(unsafe { GC_stats(&mut stats) }, KnStatus::Ok);
    assert_eq!(stats.total, stats.occupied + stats.free);
    assert_eq!((stats.total, stats.occupied), (GC_getTotalMem(), GC_getOccupiedMem()));
    assert_eq!(stats.free, GC_getFreeMem());
    stats
}

fn configure(config: KnGcConfig) {
    // SAFETY: a configuration.
    assert_eq!(unsafe { GC_configure(&config) }, KnStatus::Ok);
}

// ---------------------------------------------------------------- text

/// Takes at most `room` bytes.
struct Reader {
    text: String,
    room: usize,
    /// Took less than it was given: wants to hear no more.
    full: bool,
}

impl Reader {
    fn new(room: usize) -> Reader {
        Reader { text: String::new(), room, full: false }
    }
}

unsafe extern "C" fn take(context: *mut c_void, text: *const c_char, length: usize) -> usize {
    // SAFETY: what `read_some` gave, and text of that length.
    unsafe {
        let reader = &mut *context.cast::<Reader>();
        if reader.full {
            reader.text.push_str("told after the end");
            return 0;
        }
        let taken = length.min(reader.room - reader.text.len());
        let bytes = std::slice::from_raw_parts(text.cast::<u8>(), taken);
        reader.text.push_str(std::str::from_utf8(bytes).unwrap());
        reader.full = taken < length;
        taken
    }
}

fn read_some(room: usize, report: impl FnOnce(KnWriteFn, *mut c_void) -> KnStatus) -> String {
    let mut reader = Reader::new(room);
    assert_eq!(report(Some(take), (&raw mut reader).cast()), KnStatus::Ok);
    reader.text
}

fn read(report: impl FnOnce(KnWriteFn, *mut c_void) -> KnStatus) -> String {
    read_some(usize::MAX, report)
}

// SAFETY, for these four: `take` is made for the context.
fn cycles() -> String {
    let before = (stats(), blocks());
    let text = read(|write, context| unsafe { GC_reportCycles(write, context) });
    // It tells, and does nothing.
    assert_eq!((stats(), blocks()), before);
    assert_eq!(GC_check(), KnStatus::Ok);
    text
}

fn holders(object: *mut c_void) -> String {
    // SAFETY: a cell of these tests.
    read(|write, context| unsafe { GC_whoHolds(object, write, context) })
}

fn instances() -> String {
    // SAFETY: as above.
    read(|write, context| unsafe { kn_dump_instances(write, context) })
}

fn statistics() -> String {
    let mut buffer = [0u8; 2048];
    // SAFETY: a buffer of that length.
    let length = unsafe { GC_getStatistics(buffer.as_mut_ptr().cast(), buffer.len()) };
    assert_eq!(buffer[length], 0);
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

// ---------------------------------------------------------------- numbers

const NOTHING: &str = "[GC] total memory: 0
[GC] occupied memory: 0
[GC] free memory: 0
[GC] collector's buffers: 0
[GC] cells: 0
[GC] pending: 0
[GC] roots: 0
[GC] threshold: 0
[GC] collections: 0
[GC] steps: 0
[GC] visited: 0
[GC] freed: 0
[GC] longest step: 0
";

#[test]
fn without_a_cell_all_is_nothing() {
    let _ground = Ground::new(16 << 10);
    assert_eq!(stats(), KnGcStats::default());
    assert_eq!(statistics(), NOTHING);
    assert_eq!(GC_check(), KnStatus::Ok);
    assert_eq!(cycles(), "");
    // Asking made nothing.
    assert_eq!(blocks(), 0);
    // SAFETY: NULL is refused.
    unsafe {
        assert_eq!(GC_stats(null_mut()), KnStatus::Invalid);
        assert_eq!(GC_reportCycles(None, null_mut()), KnStatus::Invalid);
        assert_eq!(kn_dump_instances(None, null_mut()), KnStatus::Invalid);
        assert_eq!(GC_whoHolds(null(), Some(take), null_mut()), KnStatus::Invalid);
    }
}

#[test]
fn statistics_tell_each_number() {
    let _ground = Ground::new(64 << 10);
    let foo = register(&FOO);
    let cells: Vec<_> = (0..3).map(|_| new(foo)).collect();
    unref(share(cells[1]));
    let now = stats();
    assert_eq!((now.cells, now.roots, now.pending, now.threshold), (3, 1, 0, 128));
    assert_eq!(now.occupied, 3 * (size_of::<Item>() + 8).next_multiple_of(8));
    let expected = format!(
        "[GC] total memory: {}\n[GC] occupied memory: {}\n[GC] free memory: {}\n[GC] collector's buffers: {}\n\
         [GC] cells: 3\n[GC] pending: 0\n[GC] roots: 1\n[GC] threshold: 128\n[GC] collections: 0\n[GC] steps: 0\n\
         [GC] visited: 0\n[GC] freed: 0\n[GC] longest step: 0\n",
        now.total, now.occupied, now.free, now.buffers
    );
    assert_eq!(statistics(), expected);
    for cell in cells {
        unref(cell);
    }
}

#[test]
fn statistics_keep_to_the_rule_of_snprintf() {
    let _ground = Ground::new(16 << 10);
    // SAFETY: NULL with no room; buffers of the length given.
    unsafe {
        assert_eq!(GC_getStatistics(null_mut(), 0), NOTHING.len());
        for room in 0..NOTHING.len() + 3 {
            let mut buffer = vec![b'#'; NOTHING.len() + 4];
            assert_eq!(GC_getStatistics(buffer.as_mut_ptr().cast(), room), NOTHING.len());
            let taken = NOTHING.len().min(room.saturating_sub(1));
            assert_eq!(&buffer[..taken], &NOTHING.as_bytes()[..taken]);
            if room > 0 {
                assert_eq!(buffer[taken], 0);
            }
            assert!(buffer[taken + usize::from(room > 0)..].iter().all(|&byte| byte == b'#'), "{room}");
        }
    }
}

// ---------------------------------------------------------------- who holds a cell

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
        assert_eq!(GC_whoHolds(first, Some(take), null_mut()), KnStatus::Foreign);
        assert_eq!(GC_whoHolds(second, Some(take), null_mut()), KnStatus::Foreign);
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

// ---------------------------------------------------------------- garbage cycles

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
    // SAFETY: `take` is made for the context.
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
    // SAFETY: `take` is made for the context.
    let status = unsafe { GC_reportCycles(Some(take), (&raw mut reader).cast()) };
    assert_eq!((status, reader.text.as_str()), (KnStatus::NoMemory, ""));
    assert_eq!((stats(), blocks()), before);
    // The other reports need none.
    assert!(instances().contains("[Heap] Foo: #"));
    // SAFETY: blocks of this heap.
    unsafe { knoll::capi::heap::kn_heap_free(ground.heap, taken[0]) };
    assert_eq!(cycles(), "2 Foo, closed by Foo.parent\n");
}

#[test]
fn contradictions_are_not_reported_on() {
    let _ground = Ground::new(32 << 10);
    let foo = register(&FOO);
    let (holder, object) = (new(foo), new(foo));
    put(holder, 0, object);
    put(holder, 1, object);
    // SAFETY: `take` is made for the context.
    let status = unsafe { GC_reportCycles(Some(take), (&raw mut *Box::new(Reader::new(0))).cast()) };
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

// ---------------------------------------------------------------- random graphs

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// What the report must say, found in another way: each piece of garbage with a cycle, by type.
fn naive(edges: &[[usize; 2]], kinds: &[usize], held: &[bool]) -> BTreeMap<[usize; 3], usize> {
    const NOBODY: usize = usize::MAX;
    let count = kinds.len();
    let mut alive = held.to_vec();
    let mut again = true;
    while again {
        again = false;
        for n in 0..count {
            let from_life = alive[n];
            for &to in edges[n].iter().filter(|&&to| from_life && to != NOBODY) {
                again |= !alive[to];
                alive[to] = true;
            }
        }
    }
    // What leads to a cycle of garbage or is one: what is left when those without garbage below go.
    let mut acyclic = alive.clone();
    again = true;
    while again {
        again = false;
        for n in 0..count {
            if !acyclic[n] && edges[n].iter().all(|&to| to == NOBODY || acyclic[to]) {
                acyclic[n] = true;
                again = true;
            }
        }
    }
    let mut piece: Vec<usize> = (0..count).collect();
    again = true;
    while again {
        again = false;
        for n in (0..count).filter(|&n| !alive[n]) {
            for &to in edges[n].iter().filter(|&&to| to != NOBODY && !alive[to]) {
                let least = piece[n].min(piece[to]);
                again |= piece[n] != least || piece[to] != least;
                piece[n] = least;
                piece[to] = least;
            }
        }
    }
    let mut found: BTreeMap<usize, ([usize; 3], bool)> = BTreeMap::new();
    for n in (0..count).filter(|&n| !alive[n]) {
        let entry = found.entry(piece[n]).or_default();
        entry.0[kinds[n]] += 1;
        entry.1 |= !acyclic[n];
    }
    let mut counts = BTreeMap::new();
    for (kinds, _) in found.into_values().filter(|&(_, cyclic)| cyclic) {
        *counts.entry(kinds).or_default() += 1;
    }
    counts
}

/// The numbers of a line, by type.
fn parse(line: &str) -> [usize; 3] {
    let (kinds, closer) = line.split_once(", closed by ").expect(line);
    assert!(closer.ends_with(".parent") || closer.ends_with(".other"), "{line}");
    let mut counts = [0; 3];
    let mut last = usize::MAX;
    for part in kinds.replace(" and ", ", ").split(", ") {
        let (count, name) = part.split_once(' ').expect(line);
        let count = count.parse().expect(line);
        assert!(count <= last, "{line}");
        last = count;
        counts[["Foo", "Bar", "Wrong"].iter().position(|&known| known == name).expect(line)] = count;
    }
    counts
}

#[test]
fn random_graphs_agree_with_a_naive_search() {
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    let mut told = 0;
    for round in 0..if cfg!(miri) { 6 } else { 400 } {
        let _ground = Ground::new(128 << 10);
        let ids = [&FOO, &BAR, &WRONG].map(register);
        GC_disableOrc();
        let count = 1 + random.below(if cfg!(miri) { 24 } else { 120 });
        let kinds: Vec<usize> = (0..count).map(|_| random.below(2)).collect();
        let cells: Vec<_> = kinds.iter().map(|&kind| new(ids[kind])).collect();
        let mut edges = vec![[usize::MAX; 2]; count];
        for _ in 0..random.below(if round % 2 == 0 { count } else { 3 * count }) {
            // In some rounds references lead nearby only: many pieces.
            let reach = if round % 4 < 2 { 5.min(count) } else { count };
            let (from, field) = (random.below(count), random.below(2));
            let to = (from / reach * reach + random.below(reach)).min(count - 1);
            if edges[from][field] == usize::MAX {
                edges[from][field] = to;
                put(cells[from], field, share(cells[to]));
            }
        }
        let live = if round % 3 == 0 { 0 } else { count / 30 + 1 };
        let mut held = vec![false; count];
        for _ in 0..live {
            held[random.below(count)] = true;
        }
        // A cell that nothing refers to goes at once, and its edges with it.
        let mut counts = vec![0; count];
        edges.iter().flatten().filter(|&&to| to != usize::MAX).for_each(|&to| counts[to] += 1);
        let mut gone: Vec<usize> = (0..count).filter(|&n| counts[n] == 0 && !held[n]).collect();
        while let Some(n) = gone.pop() {
            for to in std::mem::replace(&mut edges[n], [usize::MAX; 2]) {
                if to != usize::MAX {
                    counts[to] -= 1;
                    if counts[to] == 0 && !held[to] {
                        gone.push(to);
                    }
                }
            }
        }
        let expected = naive(&edges, &kinds, &held);
        for n in (0..count).filter(|&n| !held[n]) {
            unref(cells[n]);
        }
        let mut found = BTreeMap::new();
        let text = cycles();
        text.lines().for_each(|line| *found.entry(parse(line)).or_default() += 1);
        assert_eq!(found, expected, "round {round}");
        told += found.values().sum::<usize>();
        let garbage: usize = found.iter().map(|(kinds, times)| kinds.iter().sum::<usize>() * times).sum();
        let before = stats().cells;
        GC_runOrc();
        assert_eq!(before - stats().cells, garbage, "round {round}");
    }
    println!("{told} cycles told");
    assert!(cfg!(miri) || told > 800, "{told}");
}

// ---------------------------------------------------------------- instances

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
