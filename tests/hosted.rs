//! The default heap on an operating system: `kn_malloc` and its family.
//!
//! Every block is filled with a pattern of its own and checked byte by byte before it goes. The
//! process heap, the error hook and the resident set are the whole process's, so the tests take turns.

#![cfg(unix)]

use knoll::capi::default::*;
use knoll::capi::errors::{kn_on_error, kn_status_str, kn_version};
use knoll::capi::heap::*;
use knoll::capi::insight::*;
use knoll::capi::process::*;
use knoll::heap::{KnHeap, KnStatus};
use std::ffi::{c_char, c_void, CStr};
use std::ptr::{null_mut, NonNull};
use std::sync::{mpsc, Mutex, MutexGuard, PoisonError};

/// One test at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much to do: Miri is a thousand times slower, and full checks walk the heap at each call.
fn times(full: usize) -> usize {
    match (cfg!(miri), cfg!(feature = "checks-full")) {
        (true, _) => full.div_ceil(500),
        (_, true) => full.div_ceil(50),
        _ => full,
    }
}

/// A build in which misuse is not looked for.
const UNCHECKED: bool = cfg!(feature = "checks-none");
/// Alignment of every block.
const ALIGN: usize = 2 * size_of::<usize>();
const KB: usize = 1 << 10;
const MB: usize = 1 << 20;

/// A block of the default heap that knows its contents. Freed by whoever has it last.
struct Block {
    at: NonNull<u8>,
    bytes: usize,
    fill: u8,
}

// SAFETY: a block of the process heap may be used and freed by any thread.
unsafe impl Send for Block {}

impl Block {
    fn new(bytes: usize, fill: u8) -> Block {
        Block::at(kn_malloc(bytes), bytes, fill)
    }

    fn at(at: *mut c_void, bytes: usize, fill: u8) -> Block {
        let at = NonNull::new(at.cast::<u8>()).expect("memory");
        assert_eq!(at.addr().get() % ALIGN, 0, "alignment of {bytes} bytes");
        // SAFETY: a live block.
        assert!(unsafe { kn_usable_size(at.as_ptr().cast()) } >= bytes);
        // SAFETY: the block holds `bytes`.
        unsafe { at.write_bytes(fill, bytes) };
        Block { at, bytes, fill }
    }

    fn intact(&self) -> bool {
        // SAFETY: the block holds `bytes`, all of them written.
        all_are(unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.bytes) }, self.fill)
    }

    fn resized(self, bytes: usize) -> Block {
        assert!(self.intact());
        let (at, fill, kept) = (self.at, self.fill, self.bytes.min(bytes));
        std::mem::forget(self);
        // SAFETY: a live block of the default heap, used only through the result from now on.
        let at = unsafe { kn_realloc(at.as_ptr().cast(), bytes) };
        let moved = Block { at: NonNull::new(at.cast()).expect("memory"), bytes: kept, fill };
        assert!(moved.intact(), "bytes kept from {kept} to {bytes}");
        std::mem::forget(moved);
        Block::at(at, bytes, fill)
    }

    fn pointer(&self) -> *mut c_void {
        self.at.as_ptr().cast()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        assert!(self.intact(), "a live block of {} bytes was written to", self.bytes);
        // SAFETY: a live block, and this is its last use.
        unsafe { kn_free(self.pointer()) };
    }
}

/// True iff every byte is `fill`; Miri looks at the ends and at some between.
fn all_are(bytes: &[u8], fill: u8) -> bool {
    let step = if cfg!(miri) { 4091 } else { 1 };
    bytes.iter().step_by(step).chain(bytes.last()).all(|&byte| byte == fill)
}

/// The numbers of the process heap, whose records are in order, and its medium blocks' heap's too. What the hardened
/// build keeps of freed blocks for this thread is free then, as it is in the other builds.
fn heap_is_sound() -> KnProcessStats {
    if cfg!(feature = "hardened") {
        kn_process_trim(usize::MAX);
    }
    assert_eq!(kn_process_check(), KnStatus::Ok);
    let mut stats = KnProcessStats::default();
    // SAFETY: a live heap, and tests take turns.
    unsafe {
        assert_eq!(kn_heap_check(kn_heap_default()), KnStatus::Ok);
        assert_eq!(kn_process_stats(&mut stats), KnStatus::Ok);
    }
    stats
}

// ---------------------------------------------------------------- the error hook

/// What the hook was told since it was set.
static TOLD: Mutex<Vec<(KnStatus, usize, String)>> = Mutex::new(Vec::new());

unsafe extern "C" fn listen(status: KnStatus, at: *const c_void, what: *const c_char) {
    // A hook may use the heap that the error was found in.
    let block = kn_malloc(100);
    // SAFETY: allocated above; `what` is a text that lives for ever.
    let what = unsafe {
        kn_free(block);
        CStr::from_ptr(what)
    };
    TOLD.lock().unwrap().push((status, at.addr(), what.to_str().unwrap().to_owned()));
}

/// What `work` makes the hook hear.
fn errors_of(work: impl FnOnce()) -> Vec<(KnStatus, usize)> {
    kn_on_error(Some(listen));
    TOLD.lock().unwrap().clear();
    work();
    kn_on_error(None);
    TOLD.lock().unwrap().drain(..).map(|(status, at, _)| (status, at)).collect()
}

#[test]
fn misuse_is_told_and_changes_nothing() {
    if UNCHECKED {
        return;
    }
    let _turn = turn();
    let (block, wall) = (Block::new(100, 1), Block::new(100, 2));
    let before = heap_is_sound();

    let gone = Block::new(200, 3).pointer();
    // SAFETY: misuse is what is tested: the pointers are refused.
    let told = errors_of(|| unsafe { kn_free(gone) });
    assert_eq!(told, [(KnStatus::DoubleFree, gone.addr())]);

    let mut local = [0u64; 32];
    let local = (&raw mut local).cast::<u8>().wrapping_add(64).cast::<c_void>();
    // SAFETY: as above.
    let told = errors_of(|| unsafe { kn_free(local) });
    assert_eq!(told, [(KnStatus::Foreign, local.addr())]);
    // SAFETY: as above.
    let told = errors_of(|| assert!(unsafe { kn_realloc(local, 400) }.is_null()));
    assert_eq!(told, [(KnStatus::Foreign, local.addr())]);
    // SAFETY: any address may be asked for.
    assert_eq!(unsafe { kn_usable_size(local) }, 0);

    for inside in [1, 8, 16, 48] {
        let at = block.pointer().cast::<u8>().wrapping_add(inside).cast();
        // SAFETY: as above.
        let told = errors_of(|| unsafe { kn_free(at) });
        assert_eq!(told.len(), 1, "{inside} bytes inside a block");
        assert_eq!(told[0].1, at.addr());
    }

    let large = Block::new(MB, 4).pointer();
    // SAFETY: as above.
    let told = errors_of(|| unsafe { kn_free(large) });
    assert_eq!(told, [(KnStatus::Foreign, large.addr())]);

    let after = heap_is_sound();
    assert_eq!((before.used, before.blocks), (after.used, after.blocks));
    drop((block, wall));
}

#[test]
fn no_hook_no_trouble() {
    if UNCHECKED {
        return;
    }
    let _turn = turn();
    let gone = Block::new(300, 3).pointer();
    // SAFETY: misuse is what is tested: the pointer is refused.
    unsafe { kn_free(gone) };
    heap_is_sound();
}

// ---------------------------------------------------------------- sizes

#[test]
fn zero_and_too_much() {
    let _turn = turn();
    let (a, b) = (Block::new(0, 0), Block::new(0, 0));
    assert_ne!(a.at, b.at);
    let zeroed = Block::at(kn_calloc(0, 7), 0, 0);
    assert_ne!(a.at, zeroed.at);
    const HALF: usize = isize::MAX as usize;
    for bytes in [usize::MAX, usize::MAX - 4095, HALF + 1, HALF] {
        assert!(kn_malloc(bytes).is_null());
        assert!(kn_calloc(1, bytes).is_null());
        assert!(kn_calloc(bytes, 16).is_null());
        assert!(kn_aligned_alloc(64, bytes).is_null());
        // SAFETY: a live block, unchanged by the failure.
        assert!(unsafe { kn_realloc(a.pointer(), bytes) }.is_null());
    }
    for align in [0, 3, 24, HALF] {
        assert!(kn_aligned_alloc(align, 8).is_null(), "alignment {align}");
    }
    assert!(kn_aligned_alloc(HALF + 1, 8).is_null());
    // SAFETY: null is no block.
    unsafe {
        kn_free(null_mut());
        assert_eq!(kn_usable_size(null_mut()), 0);
    }
}

#[test]
fn every_size_around_the_large_limit() {
    let _turn = turn();
    let mut blocks: Vec<Block> = Vec::new();
    let (from, to) = if cfg!(miri) { (128 * KB - 2, 128 * KB + 2) } else { (127 * KB, 129 * KB) };
    for bytes in from..to {
        blocks.push(Block::new(bytes, bytes as u8));
        if blocks.len() > 40 {
            blocks.swap_remove(bytes % 40);
        }
    }
    drop(blocks);
    heap_is_sound();
}

#[test]
fn calloc_is_zero_in_used_memory() {
    let _turn = turn();
    for bytes in [1, 30, 1000, 60 * KB, 300 * KB] {
        drop(Block::new(bytes, 0xFF));
        let at = kn_calloc(bytes, 1);
        assert!(!at.is_null());
        // SAFETY: a block of `bytes`; Block takes it over.
        assert!(all_are(unsafe { std::slice::from_raw_parts(at.cast::<u8>(), bytes) }, 0));
        drop(Block::at(at, bytes, 1));
    }
}

#[test]
fn alignments_to_a_megabyte() {
    let _turn = turn();
    let most = if cfg!(miri) { 64 * KB } else { MB };
    let mut align = 1;
    while align <= most {
        for bytes in [1, 100, align, 200 * KB] {
            let block = Block::at(kn_aligned_alloc(align, bytes), bytes, 5);
            assert_eq!(block.at.addr().get() % align, 0);
            let block = block.resized(bytes * 2 + 1).resized(bytes.div_ceil(3));
            drop(block);
        }
        align *= 2;
    }
    let large = Block::at(kn_aligned_alloc(64 * KB, 200 * KB), 200 * KB, 6).resized(700 * KB);
    assert_eq!(large.at.addr().get() % (64 * KB), 0, "a large block keeps its alignment when it moves");
    drop(large);
    heap_is_sound();
}

#[test]
fn realloc_from_a_byte_to_megabytes_and_back() {
    let _turn = turn();
    let most = if cfg!(miri) { 300 * KB } else { 20 * MB };
    let (mut block, mut wall) = (Block::new(1, 7), Vec::new());
    let mut bytes = 1;
    while bytes < most {
        wall.push(Block::new(50, 8));
        bytes = bytes * 3 / 2 + 1;
        block = block.resized(bytes);
    }
    while bytes > 1 {
        bytes = bytes * 3 / 5;
        block = block.resized(bytes.max(1));
    }
    drop((block, wall));
    heap_is_sound();
}

// ---------------------------------------------------------------- growth and return

#[test]
fn the_heap_grows_and_all_of_it_merges_again() {
    let _turn = turn();
    drop(Block::new(120 * KB, 9));
    let before = heap_is_sound();
    let mut blocks: Vec<Block> = (0..times(40_000)).map(|n| Block::new(n * 37 % 700, n as u8)).collect();
    let grown = heap_is_sound();
    // Blocks of no bytes are addresses without memory in the hardened build.
    let with_memory = blocks.iter().filter(|block| !cfg!(feature = "hardened") || block.bytes != 0).count();
    assert_eq!(grown.blocks, before.blocks + with_memory);
    assert!(cfg!(miri) || cfg!(feature = "checks-full") || grown.pages > before.pages + 200);
    while let Some(block) = (!blocks.is_empty()).then(|| blocks.swap_remove(blocks.len() * 5 / 7)) {
        drop(block);
    }
    let after = heap_is_sound();
    assert_eq!((before.used, before.blocks), (after.used, after.blocks));
    // What was small blocks of many sizes now serves blocks of one, as many bytes, and nothing more is mapped
    // but for the pages that this thread keeps of each size.
    let others: Vec<Block> = (0..times(40_000) / 5).map(|n| Block::new(1400, n as u8)).collect();
    let mapped = heap_is_sound().mapped;
    assert!(mapped <= grown.mapped + 100 * 64 * KB, "{} KB, {} KB before", mapped / KB, grown.mapped / KB);
    drop(others);
    // And one of nearly the largest size that is not large has room where one was before.
    let regions = heap_is_sound().regions;
    drop(Block::new(120 * KB, 9));
    assert_eq!(heap_is_sound().regions, regions);
}

#[test]
fn medium_blocks_need_more_regions_and_merge_again() {
    let _turn = turn();
    let before = heap_is_sound();
    let mut blocks: Vec<Block> = (0..times(400)).map(|n| Block::new(9 * KB + n * 137 % (100 * KB), n as u8)).collect();
    let grown = heap_is_sound();
    assert!(cfg!(miri) || cfg!(feature = "checks-full") || grown.regions > 1);
    while let Some(block) = (!blocks.is_empty()).then(|| blocks.swap_remove(blocks.len() * 5 / 7)) {
        drop(block);
    }
    let after = heap_is_sound();
    assert_eq!((before.used, before.blocks), (after.used, after.blocks));
    // What was medium blocks now serves one of nearly the largest size that is not large.
    let regions = after.regions;
    drop(Block::new(120 * KB, 9));
    assert_eq!(heap_is_sound().regions, regions);
}

#[test]
#[cfg(all(target_os = "linux", not(miri)))] // Miri has no /proc
fn memory_goes_back_to_the_system() {
    let _turn = turn();
    if cfg!(feature = "checks-full") {
        return; // full checks fill free memory and so keep it
    }
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4 * KB
    };
    // What earlier tests left free and resident would serve this one.
    kn_process_trim(0);
    let before = resident();
    let large: Vec<Block> = (0..20).map(|n| Block::new(2 * MB, n)).collect();
    assert!(resident() >= before + 39 * MB);
    drop(large);
    assert!(resident() < before + 4 * MB, "large blocks: {} KB stay", (resident() - before) / KB);

    let small: Vec<Block> = (0..60_000).map(|n| Block::new(1000, n as u8)).collect();
    let most = resident();
    assert!(most >= before + 56 * MB, "{} KB", (most - before) / KB);
    drop(small);
    // The stock is 8 MB, and 1/32 of what is in use; beside it the thread's own pages and the records.
    let kept = resident().saturating_sub(before);
    assert!(kept < 10 * MB, "small blocks: {} of {} KB stay", kept / KB, (most - before) / KB);
    kn_process_trim(0);
    let kept = resident().saturating_sub(before);
    assert!(kept < 3 * MB, "small blocks: {} of {} KB stay after a trim", kept / KB, (most - before) / KB);
}

#[test]
fn many_large_blocks_in_the_table() {
    let _turn = turn();
    let count = times(2000).max(300);
    let mut blocks: Vec<_> = (0..count).map(|_| NonNull::new(kn_malloc(128 * KB)).expect("memory")).collect();
    let mut next = 12345usize;
    while !blocks.is_empty() {
        next = next.wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7FFF_FFFF;
        let at = blocks.swap_remove(next % blocks.len());
        // SAFETY: a live block, freed once; then it is asked for, which any address may be.
        unsafe {
            assert_eq!(kn_usable_size(at.as_ptr()), 128 * KB);
            kn_free(at.as_ptr());
            assert_eq!(kn_usable_size(at.as_ptr()), 0);
        }
    }
}

// ---------------------------------------------------------------- threads

#[test]
fn blocks_are_freed_by_other_threads() {
    let _turn = turn();
    let before = heap_is_sound();
    std::thread::scope(|scope| {
        let mut first: Option<mpsc::Receiver<Block>> = None;
        let mut threads = Vec::new();
        for thread in 0..4usize {
            let (sender, receiver) = mpsc::sync_channel(64);
            let inbox = first.replace(receiver);
            threads.push(scope.spawn(move || {
                let mut own = Vec::new();
                for n in 0..times(20_000) {
                    let bytes = if n % 300 == 0 { 150 * KB } else { (n * (thread + 3)) % 900 };
                    own.push(Block::new(bytes, n as u8));
                    if own.len() > 30 {
                        let block = own.swap_remove(n % 30);
                        // The last thread's channel has nobody to read it: then the block is freed here.
                        let _ = if n % 3 == 0 { sender.send(block.resized(n % 500)) } else { sender.send(block) };
                    }
                    if let Some(inbox) = &inbox {
                        drop(inbox.try_recv());
                    }
                }
                drop(sender);
                inbox.into_iter().flatten().for_each(drop);
            }));
        }
        first.into_iter().flatten().for_each(drop);
        // A scope waits for closures alone; what a thread keeps of freed blocks goes back when it has ended, which
        // is what joining waits for.
        threads.into_iter().for_each(|thread| thread.join().expect("a thread that does not panic"));
    });
    let after = heap_is_sound();
    assert_eq!((before.used, before.blocks), (after.used, after.blocks));
}

/// A timer's handler allocates and frees in the middle of the main program's calls. libc's malloc may
/// deadlock there; Knoll's must not, and must lose nothing.
#[test]
#[cfg(all(target_os = "linux", not(miri)))] // Miri has no signals
fn a_signal_handler_may_allocate() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static FAILURES: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn handler(_number: i32) {
        for bytes in [24, 3000, 200 * KB] {
            let at = kn_malloc(bytes).cast::<u8>();
            if at.is_null() {
                FAILURES.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // SAFETY: a new block of `bytes`.
            unsafe {
                at.write_bytes(0xEE, bytes.min(3000));
                kn_free(at.cast());
            }
        }
        RUNS.fetch_add(1, Ordering::Relaxed);
    }

    let _turn = turn();
    let before = heap_is_sound();
    // The process's other threads wait for their turn in libc; the signal is this thread's alone.
    // SAFETY: a handler that calls only what it may; the timer is deleted below.
    let timer = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &action, null_mut()), 0);
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGUSR2;
        event.sigev_notify_thread_id = libc::syscall(libc::SYS_gettid) as i32;
        let mut timer: libc::timer_t = std::mem::zeroed();
        assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
        let mut often: libc::itimerspec = std::mem::zeroed();
        often.it_interval.tv_nsec = 500_000;
        often.it_value.tv_nsec = 500_000;
        assert_eq!(libc::timer_settime(timer, 0, &often, null_mut()), 0);
        timer
    };
    let mut blocks: Vec<Block> = Vec::with_capacity(200);
    let mut n = 0usize;
    while RUNS.load(Ordering::Relaxed) < 1500 {
        n += 1;
        if blocks.len() == 200 {
            blocks.swap_remove(n % 200);
        }
        blocks.push(Block::new(if n % 50 == 0 { 140 * KB } else { n % 300 }, n as u8));
    }
    // SAFETY: made above; a signal on its way finds the handler still there.
    unsafe { libc::timer_delete(timer) };
    drop(blocks);
    assert_eq!(FAILURES.load(Ordering::Relaxed), 0);
    drop(Block::new(1, 1)); // settles what the last signal left aside
    let after = heap_is_sound();
    assert_eq!((before.used, before.blocks), (after.used, after.blocks));
}

// ---------------------------------------------------------------- the thread's own default heap

#[test]
fn a_thread_may_have_a_heap_of_its_own() {
    let _turn = turn();
    let shared = kn_heap_default();
    assert!(!shared.is_null());
    let outside = Block::new(100, 1);
    let mut memory = vec![0u64; 4096];
    let bytes = memory.len() * 8;
    let span = memory.as_mut_ptr_range();
    let inside = |block: &Block| span.contains(&block.at.as_ptr().cast::<u64>().cast_const().cast_mut());
    // SAFETY: the memory outlives the heap's use; blocks are freed while their heap is the default.
    unsafe {
        let own: *mut KnHeap = kn_heap_create(span.start.cast(), bytes);
        assert!(!own.is_null());
        assert_eq!(kn_heap_use(own), shared);
        assert_eq!(kn_heap_default(), own);
        let block = Block::new(300, 2).resized(500);
        assert!(inside(&block));
        assert!(inside(&Block::at(kn_calloc(3, 50), 150, 3)));
        assert!(inside(&Block::at(kn_aligned_alloc(64, 50), 50, 3)));
        assert!(kn_malloc(bytes).is_null(), "a heap of one's own does not grow");
        // Blocks of the process heap are known, whatever the thread's heap.
        let outside = outside.resized(2000);
        assert!(!inside(&outside));
        drop(outside);
        // Other threads do not see it.
        std::thread::scope(|scope| {
            let other = scope.spawn(|| (kn_heap_default().addr(), Block::new(300, 4)));
            let (heap, block) = other.join().unwrap();
            assert_eq!(heap, shared.addr());
            drop(block);
        });
        if !UNCHECKED {
            let gone = Block::new(60, 5).pointer();
            assert_eq!(errors_of(|| kn_free(gone)), [(KnStatus::DoubleFree, gone.addr())]);
        }
        drop(block);
        assert_eq!(kn_heap_check(own), KnStatus::Ok);
        assert_eq!(kn_heap_use(null_mut()), own);
        assert_eq!(kn_heap_default(), shared);
        assert_eq!(kn_heap_use(shared), shared);
    }
    assert!(!inside(&Block::new(300, 6)));
}

#[test]
fn kn_init_gives_the_thread_a_heap() {
    let _turn = turn();
    let mut memory = vec![0u64; 2048];
    let bytes = memory.len() * 8;
    let at = memory.as_mut_ptr().cast::<c_void>();
    // SAFETY: the memory outlives the heap's use.
    unsafe {
        assert_eq!(kn_init(null_mut(), 100), KnStatus::Invalid);
        assert_eq!(kn_init(at, 8), KnStatus::NoMemory);
        assert_eq!(kn_init(at, bytes), KnStatus::Ok);
        let block = kn_malloc(1000);
        assert!((at.addr()..at.addr() + bytes).contains(&block.addr()));
        kn_free(block);
        kn_heap_use(null_mut());
    }
}

#[test]
fn small_answers() {
    unsafe extern "C" fn enter() -> usize {
        0
    }
    unsafe extern "C" fn leave(_state: usize) {}
    assert_eq!(kn_lock_use(Some(enter), None), KnStatus::Invalid);
    assert_eq!(kn_lock_use(Some(enter), Some(leave)), KnStatus::Unsupported);
    assert_eq!(kn_lock_use(None, None), KnStatus::Unsupported);
    // SAFETY: texts that live for ever.
    let text = |at: *const c_char| unsafe { CStr::from_ptr(at) }.to_str().unwrap();
    assert_eq!(text(kn_version()), env!("CARGO_PKG_VERSION"));
    assert_eq!(text(kn_status_str(0)), "ok");
    assert_eq!(text(kn_status_str(KnStatus::DoubleFree as i32)), "double free");
    for unknown in [1, -12, i32::MAX, i32::MIN] {
        assert_eq!(text(kn_status_str(unknown)), "unknown status");
    }
}
