//! The programs of `../programs.c` in Rust: the same arguments, the same random numbers, the same allocations.

mod peer;

use arena_rivals::measure::{self, fail, Random};
use peer::{held, Arena};
use std::arch::asm;
use std::ffi::c_char;

const BULK: u64 = 16384;
const SIZES: u64 = 16384;
const MOST_SIZE: u32 = 256;
const MIXED_INNER: u32 = 8;
const MIXED_BLOCKS: u32 = 40;
const FILLED: usize = 300;

/// A random multiple of 8, from 8 to most.
fn random_size(random: &mut Random, most: u32) -> usize {
    8 + ((u64::from(random.bits()) * u64::from(most / 8)) >> 32) as usize * 8
}

/// The program may use the memory, and change any other: nothing is kept in registers across an allocation.
#[inline(always)]
fn used(mut pointer: *mut u8) -> *mut u8 {
    // SAFETY: no instruction.
    unsafe { asm!("/* {0} */", inout(reg) pointer, options(nostack, preserves_flags)) };
    pointer
}

/// The program may change the arena as well: what it knows of itself is in memory, as that of a C peer is.
#[inline(always)]
fn known(arena: &Arena) {
    used(std::ptr::from_ref(arena).cast_mut().cast());
}

/// The work sixteen times over, as the C programs write it.
macro_rules! sixteen {
    ($work:expr) => {
        four!(four!($work))
    };
}
macro_rules! four {
    ($work:expr) => {{
        $work;
        $work;
        $work;
        $work
    }};
}

fn number(name: &str, value: usize) {
    extern "C" {
        fn measure_number(name: *const c_char, value: u64);
    }
    let name = std::ffi::CString::new(name).unwrap_or_default();
    // SAFETY: a terminated string, read before the call returns.
    unsafe { measure_number(name.as_ptr(), value as u64) }
}

// ---------------------------------------------------------------- allocating

#[inline(always)]
fn allocate_bulk(arena: &Arena) {
    known(arena);
    for _ in 0..BULK / 16 {
        sixteen!(used(arena.alloc(24)));
    }
}

fn fixed(count: u64) {
    let mut arena = Arena::enter(BULK as usize * 24);
    measure::begin();
    for _ in 0..count / BULK {
        allocate_bulk(&arena);
        arena.reset();
    }
    measure::end(count);
}

/// The loop of fixed alone.
fn fixed_idle(count: u64) {
    let arena = Arena::enter(BULK as usize * 24);
    known(&arena);
    let mut last = std::ptr::null_mut();
    for _ in 0..count / 16 {
        sixteen!(last = used(last));
    }
}

fn bulk(count: u64) {
    measure::begin();
    for _ in 0..count {
        allocate_bulk(&Arena::enter(BULK as usize * 24));
    }
    measure::end(count);
}

fn chosen_sizes() -> (Vec<u16>, usize) {
    let mut random = Random::new();
    let sizes: Vec<u16> = (0..SIZES).map(|_| random_size(&mut random, MOST_SIZE) as u16).collect();
    let sum = sizes.iter().map(|size| usize::from(*size)).sum();
    (sizes, sum)
}

/// Shows each of sixteen sizes to the work.
macro_rules! each_of_sixteen {
    ($sizes:expr, $work:expr) => {{
        let mut next = $sizes.as_ptr();
        sixteen!({
            // SAFETY: it is read sixteen times, and there are sixteen.
            $work(usize::from(unsafe { *next }));
            next = next.wrapping_add(1);
        });
    }};
}

fn sizes(count: u64) {
    let (sizes, sum) = chosen_sizes();
    let mut arena = Arena::enter(sum);
    measure::begin();
    for _ in 0..count / SIZES {
        known(&arena);
        for sizes in sizes.chunks_exact(16) {
            each_of_sixteen!(sizes, |size| used(arena.alloc(size)));
        }
        arena.reset();
    }
    measure::end(count);
}

/// The loop alone, which reads each size.
fn sizes_idle(count: u64) {
    let (sizes, sum) = chosen_sizes();
    let arena = Arena::enter(sum);
    known(&arena);
    for _ in 0..count / SIZES {
        for sizes in sizes.chunks_exact(16) {
            each_of_sixteen!(sizes, |size| used(size as *mut u8));
        }
    }
}

// ---------------------------------------------------------------- entering and leaving

fn pair(count: u64, presize: usize) {
    measure::begin();
    for _ in 0..count {
        let arena = Arena::enter(presize);
        known(&arena);
        used(arena.alloc(64));
    }
    measure::end(count);
}

fn nested(count: u64) {
    let mut outer = Arena::enter(8192);
    known(&outer);
    used(outer.alloc(64));
    measure::begin();
    for _ in 0..count {
        outer.within(512, |arena| {
            known(arena);
            used(arena.alloc(64))
        });
    }
    measure::end(count);
}

fn thousand(count: u64) {
    measure::begin();
    for _ in 0..count {
        let arena = Arena::enter(0);
        known(&arena);
        for _ in 0..1000 {
            used(arena.alloc(24));
        }
    }
    measure::end(count);
}

// ---------------------------------------------------------------- a part of an arena

fn rewind(count: u64) {
    let mut arena = Arena::enter(8192);
    known(&arena);
    used(arena.alloc(64));
    measure::begin();
    for _ in 0..count {
        arena.tail(|inner| {
            known(inner);
            for _ in 0..10 {
                used(inner.alloc(64));
            }
        });
    }
    measure::end(count);
}

fn reset(count: u64) {
    let mut arena = Arena::enter(8192);
    known(&arena);
    used(arena.alloc(64));
    measure::begin();
    for _ in 0..count {
        for _ in 0..10 {
            used(arena.alloc(64));
        }
        arena.reset();
    }
    measure::end(count);
}

/// A string of `least` bytes, `by` more each time.
#[inline(always)]
fn grown(arena: &Arena, least: usize, most: usize, by: usize) {
    let mut text = arena.alloc(least);
    for length in (least..most).step_by(by) {
        text = used(arena.resize(text, length, length + by));
    }
}

fn grow(count: u64) {
    measure::begin();
    for _ in 0..count {
        let arena = Arena::enter(4096);
        known(&arena);
        grown(&arena, 16, 1024, 16);
    }
    measure::end(count);
}

// ---------------------------------------------------------------- all of it

/// What the program asked for and still uses, and what the crate holds: the most of each.
#[derive(Default)]
struct Memory {
    random: Option<Random>,
    looking: bool,
    payload: usize,
    payload_most: usize,
    held_at_start: usize,
    held_most: usize,
}

impl Memory {
    #[inline(always)]
    fn asked(&mut self, arena: &Arena, size: usize) {
        self.payload += size;
        used(arena.alloc(size));
    }

    #[inline(always)]
    fn size(&mut self, most: u32) -> usize {
        random_size(self.random.get_or_insert_with(Random::new), most)
    }

    fn look(&mut self) {
        self.held_most = self.held_most.max(held() - self.held_at_start);
        self.payload_most = self.payload_most.max(self.payload);
    }

    fn workflow(&mut self) {
        self.payload = 0;
        let mut outer = Arena::enter(0);
        known(&outer);
        self.asked(&outer, 1024);
        for _ in 0..MIXED_INNER {
            let before = self.payload;
            self.asked(&outer, 32);
            outer.within(0, |inner| {
                known(inner);
                for _ in 0..MIXED_BLOCKS {
                    let size = self.size(512);
                    self.asked(inner, size);
                }
                grown(inner, 16, 400, 24);
                self.payload += 400;
                inner.tail(|scratch| {
                    known(scratch);
                    for _ in 0..MIXED_BLOCKS {
                        let size = self.size(128);
                        self.asked(scratch, size);
                    }
                    if self.looking {
                        self.look();
                    }
                });
            });
            self.payload = before + 32;
        }
    }
}

fn mixed(count: u64) {
    let mut memory = Memory::default();
    measure::begin();
    for _ in 0..count {
        memory.workflow();
    }
    measure::end(count);
}

fn memory(count: u64) {
    let mut memory = Memory { looking: true, held_at_start: held(), ..Memory::default() };
    for _ in 0..count {
        memory.workflow();
    }
    number("payload", memory.payload_most);
    number("peak", memory.held_most);
    number("left", held() - memory.held_at_start);
}

/// Both ways back: the tail of an arena, and, the only one that bumpalo has, all of it.
fn footprint() {
    let start = held();
    let now = || held() - start;
    let fill = |arena: &Arena| {
        for _ in 0..200 {
            used(arena.alloc(128));
        }
    };
    let mut arena = Arena::enter(1024);
    used(arena.alloc(64));
    number("mark", now());
    arena.tail(|inner| {
        fill(inner);
        number("most", now());
    });
    number("after", now());
    fill(&arena);
    arena.reset();
    number("reset", now());
    drop(arena);
    number("left", now());
}

// ---------------------------------------------------------------- proof that it is done

/// Memory that was filled: where, how long, with what.
struct Filled(*mut u8, usize, u8);

impl Filled {
    fn new(arena: &Arena, size: usize, with: u8) -> Filled {
        let at = arena.alloc(size);
        if at as usize & 7 != 0 {
            fail("not aligned to 8");
        }
        // SAFETY: that much was allocated.
        unsafe { at.write_bytes(with, size) };
        Filled(at, size, with)
    }

    fn verify(&self) {
        // SAFETY: it was allocated and filled, and its arena lives.
        if unsafe { std::slice::from_raw_parts(self.0, self.1) }.iter().any(|byte| *byte != self.2) {
            fail("memory was overwritten");
        }
    }
}

fn verify(count: u64) {
    let mut random = Random::new();
    let mut filled = |arena: &Arena, with: u8| -> Vec<Filled> {
        (0..FILLED)
            .map(|i| Filled::new(arena, random_size(&mut random, MOST_SIZE), (i as u8).wrapping_add(with)))
            .collect()
    };
    let verify = |filled: &[Filled]| filled.iter().for_each(Filled::verify);
    for i in 0..count {
        let mut arena = Arena::enter(if i & 1 != 0 { 4096 } else { 0 });
        known(&arena);
        let outer = filled(&arena, 0);
        arena.within(if i & 2 != 0 { 512 } else { 0 }, |within| verify(&filled(within, 128)));
        verify(&outer);
        arena.tail(|rest| verify(&filled(rest, 64)));
        verify(&outer);
        let text = Filled::new(&arena, 16, b's');
        let mut at = text.0;
        for length in (16..1024).step_by(16) {
            at = arena.resize(at, length, length + 16);
            // SAFETY: it is that long now.
            unsafe { at.add(length).write_bytes(b's', 16) };
        }
        Filled(at, 1024, b's').verify();
        arena.reset();
        Filled::new(&arena, 64, 7).verify();
    }
    number("verified", count as usize);
}

// ---------------------------------------------------------------- which

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, count, ..] = &arguments[..] else { fail("programs PROGRAM COUNT") };
    let Ok(count) = count.parse() else { fail("COUNT is a number") };
    measure::start(program, "");
    match program.as_str() {
        "fixed" => fixed(count),
        "fixed-idle" => fixed_idle(count),
        "sizes" => sizes(count),
        "sizes-idle" => sizes_idle(count),
        "bulk" => bulk(count),
        "pair" => pair(count, 0),
        "presized" => pair(count, 4096),
        "nested" => nested(count),
        "thousand" => thousand(count),
        "rewind" => rewind(count),
        "reset" => reset(count),
        "grow" => grow(count),
        "mixed" => mixed(count),
        "memory" => memory(count),
        "footprint" => footprint(),
        "verify" => verify(count),
        _ if program.starts_with("cleanups-") => fail("has no cleanups"),
        _ => fail("no such program"),
    }
}
