//! What a program measures of itself: `../measure.h`, and the programs' random numbers.

use std::ffi::{c_char, CString};

mod c {
    use std::ffi::c_char;
    extern "C" {
        pub fn measure_start(program: *const c_char, steps_file: *const c_char);
        pub fn measure_begin();
        pub static measure_recording: bool;
        pub fn measure_record();
        pub fn measure_skip();
        pub fn measure_end(operations: u64);
        pub fn measure_alive(alive: u64, expected: u64);
        pub fn measure_fail(message: *const c_char) -> !;
    }
}

/// The strings are kept to the end: the C side does not copy them.
pub fn start(program: &str, steps_file: &str) {
    let kept = |text: &str| -> *const c_char { CString::new(text).unwrap_or_default().into_raw() };
    // SAFETY: both are terminated strings that are never freed.
    unsafe { c::measure_start(kept(program), kept(steps_file)) }
}

pub fn begin() {
    // SAFETY: takes nothing.
    unsafe { c::measure_begin() }
}

#[inline]
pub fn step() {
    // SAFETY: one thread, and the variable is set by `start` alone.
    unsafe {
        if c::measure_recording {
            c::measure_record();
        }
    }
}

pub fn skip() {
    // SAFETY: takes nothing.
    unsafe { c::measure_skip() }
}

pub fn end(operations: u64) {
    // SAFETY: a number.
    unsafe { c::measure_end(operations) }
}

pub fn alive(alive: u64, expected: u64) {
    // SAFETY: two numbers.
    unsafe { c::measure_alive(alive, expected) }
}

pub fn fail(message: &str) -> ! {
    let message = CString::new(message).unwrap_or_default();
    // SAFETY: a terminated string, read before the process ends.
    unsafe { c::measure_fail(message.as_ptr()) }
}

/// xorshift64*, the upper half.
pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        Random(0x9E37_79B9_7F4A_7C15)
    }

    #[inline]
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }
}
