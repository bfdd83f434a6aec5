//! What the tests stand on: types of cells, a heap for each test, a reader of text.
//!
//! * A [`Ground`] is the thread's default heap as long as it lives; at its end everything in it must be
//!   sound.
//! * [`cycles`] requires besides that nothing changed by telling.

use knoll::capi::accounting::*;
use knoll::capi::counted::*;
use knoll::capi::default::{kn_heap_default, kn_heap_use};
use knoll::capi::heap::kn_heap_create;
use knoll::capi::insight::{kn_heap_check, kn_heap_stats, KnWriteFn};
use knoll::counted::*;
use knoll::heap::{KnHeap, KnHeapStats, KnStatus};
use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

pub const WORD: usize = size_of::<usize>();
pub const MISUSE_IS_SEEN: bool = !cfg!(feature = "checks-none");

#[repr(C)]
pub struct Item {
    parent: *mut c_void,
    other: *mut c_void,
    note: usize,
}

#[repr(C)]
pub struct Chest {
    inside: [*mut c_void; 3],
}

/// Descriptors are read only.
pub struct Names<const N: usize>([*const c_char; N]);
// SAFETY: constant text.
unsafe impl<const N: usize> Sync for Names<N> {}

pub static ITEM_OFFSETS: [u32; 2] = [offset_of!(Item, parent) as u32, offset_of!(Item, other) as u32];
pub static ITEM_NAMES: Names<2> = Names([c"parent".as_ptr(), c"other".as_ptr()]);

pub const ITEM: KnType = KnType {
    size: size_of::<Item>() as u32,
    ref_count: 2,
    ref_offsets: &raw const ITEM_OFFSETS as *const u32,
    ref_names: &raw const ITEM_NAMES as *const *const c_char,
    ..KnType::PLAIN
};
pub static FOO: KnType = KnType { name: c"Foo".as_ptr(), ..ITEM };
pub static HOOKED: KnType = KnType { name: c"Hooked".as_ptr(), destroy: Some(destroyed), ..ITEM };
pub static BAR: KnType = KnType { name: c"Bar".as_ptr(), ..ITEM };
pub static WRONG: KnType = KnType { name: c"Wrong".as_ptr(), flags: KN_TYPE_ACYCLIC, ..ITEM };
pub static BARE: KnType = KnType { ref_names: null(), ..ITEM };
pub static LEAF: KnType = KnType { name: c"Leaf".as_ptr(), size: 24, ..KnType::PLAIN };
pub static ROW: KnType = KnType {
    name: c"Row".as_ptr(),
    size: size_of::<Item>() as u32,
    flags: KN_TYPE_ARRAY,
    ref_count: 1,
    ref_offsets: &raw const ITEM_OFFSETS as *const u32,
    ..KnType::PLAIN
};
pub static CHEST: KnType =
    KnType { name: c"Chest".as_ptr(), size: size_of::<Chest>() as u32, trace: Some(trace_chest), ..KnType::PLAIN };
pub static LATE: KnType = KnType { name: c"Late".as_ptr(), trace: Some(trace_late), ..ITEM };
pub static SHARED: KnType = KnType { name: c"Shared".as_ptr(), size: 40, flags: KN_TYPE_SHARED, ..KnType::PLAIN };

pub static DESTROYED: AtomicUsize = AtomicUsize::new(0);

pub unsafe extern "C" fn destroyed(_object: *mut c_void) {
    DESTROYED.fetch_add(1, Ordering::Relaxed);
}

pub static LATE_TRACES: AtomicUsize = AtomicUsize::new(0);

/// A cell without references, whose callback wants it alive.
pub unsafe extern "C" fn trace_late(_object: *mut c_void, _tracer: *mut KnTracer) {
    LATE_TRACES.fetch_add(1, Ordering::Relaxed);
}

pub unsafe extern "C" fn trace_chest(object: *mut c_void, tracer: *mut KnTracer) {
    let chest = object.cast::<Chest>();
    for n in 0..3 {
        // SAFETY: a cell of this type.
        unsafe { GC_visit(tracer, (&raw mut (*chest).inside).cast::<*mut c_void>().add(n)) };
    }
}

// ---------------------------------------------------------------- heaps and cells

/// A heap of the thread's own for one test.
pub struct Ground {
    pub heap: *mut KnHeap,
    _memory: Vec<u128>,
}

impl Ground {
    pub fn new(bytes: usize) -> Ground {
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
pub fn blocks() -> usize {
    let mut stats = KnHeapStats::default();
    // SAFETY: this thread's heap.
    assert_eq!(unsafe { kn_heap_stats(kn_heap_default(), &mut stats) }, KnStatus::Ok);
    stats.blocks
}

pub fn register(descriptor: &'static KnType) -> KnTypeId {
    // SAFETY: a good descriptor that lives for ever.
    let id = unsafe { GC_registerType(descriptor) };
    assert_ne!(id, 0);
    id
}

pub fn new(id: KnTypeId) -> *mut c_void {
    let object = GC_new(id);
    assert!(!object.is_null());
    object
}

/// Puts a reference that the caller owns into a field of an Item; the field was empty.
pub fn put(holder: *mut c_void, field: usize, object: *mut c_void) {
    // SAFETY: cells of these tests.
    unsafe {
        let slot = holder.cast::<*mut c_void>().add(field);
        assert!(slot.read().is_null());
        slot.write(object);
    }
}

pub fn share(object: *mut c_void) -> *mut c_void {
    // SAFETY: a cell of these tests.
    unsafe { GC_ref(object) }
}

pub fn unref(object: *mut c_void) {
    // SAFETY: a cell of these tests, whose reference the caller owns.
    unsafe { GC_unref(object) }
}

pub fn stats() -> KnGcStats {
    let mut stats = KnGcStats::default();
    // SAFETY: valid for a write.
    assert_eq!(unsafe { GC_stats(&mut stats) }, KnStatus::Ok);
    assert_eq!(stats.total, stats.occupied + stats.free);
    assert_eq!((stats.total, stats.occupied), (GC_getTotalMem(), GC_getOccupiedMem()));
    assert_eq!(stats.free, GC_getFreeMem());
    stats
}

pub fn configure(config: KnGcConfig) {
    // SAFETY: a configuration.
    assert_eq!(unsafe { GC_configure(&config) }, KnStatus::Ok);
}

// ---------------------------------------------------------------- text

/// Takes at most `room` bytes.
pub struct Reader {
    pub text: String,
    room: usize,
    /// Took less than it was given: wants to hear no more.
    full: bool,
}

impl Reader {
    pub fn new(room: usize) -> Reader {
        Reader { text: String::new(), room, full: false }
    }
}

pub unsafe extern "C" fn take_text(context: *mut c_void, text: *const c_char, length: usize) -> usize {
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

pub fn read_some(room: usize, report: impl FnOnce(KnWriteFn, *mut c_void) -> KnStatus) -> String {
    let mut reader = Reader::new(room);
    assert_eq!(report(Some(take_text), (&raw mut reader).cast()), KnStatus::Ok);
    reader.text
}

pub fn read(report: impl FnOnce(KnWriteFn, *mut c_void) -> KnStatus) -> String {
    read_some(usize::MAX, report)
}

pub fn cycles() -> String {
    let before = (stats(), blocks());
    // SAFETY: `take_text` is made for the context.
    let text = read(|write, context| unsafe { GC_reportCycles(write, context) });
    // It tells, and does nothing.
    assert_eq!((stats(), blocks()), before);
    assert_eq!(GC_check(), KnStatus::Ok);
    text
}

pub fn holders(object: *mut c_void) -> String {
    // SAFETY: a cell of these tests.
    read(|write, context| unsafe { GC_whoHolds(object, write, context) })
}

pub fn instances() -> String {
    // SAFETY: as above.
    read(|write, context| unsafe { kn_dump_instances(write, context) })
}

pub fn statistics() -> String {
    let mut buffer = [0u8; 2048];
    // SAFETY: a buffer of that length.
    let length = unsafe { GC_getStatistics(buffer.as_mut_ptr().cast(), buffer.len()) };
    assert_eq!(buffer[length], 0);
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}
