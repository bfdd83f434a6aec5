//! Reports that are asked for by the environment, in the shared library.
//!
//! - `KNOLL_STATS=1`: when the process ends by `exit`, its numbers go to standard error; a value with a
//!   `/` in it names a file, to whose end they are added. A child of fork that exits tells its own.
//! - `KNOLL_DUMP_SIGNAL=N`: signal N has the numbers and a map of the heap written to standard error. A
//!   program that handles the signal itself, or ignores it, keeps its way.
//! - No constructor: the variables are looked at in the first slow path of an allocation after libc has
//!   been given its environment, and at the end of the process. A program that allocates nothing by then
//!   has no handler for the signal.
//! - A program with more rights than its user is asked nothing: libc's `secure_getenv`.
//! - Many programs close standard error before the process ends: it is kept open under another number, and
//!   written to only if that is still the same file.
//!
//! Cost: a load in a slow path; with `KNOLL_STATS=1` a file descriptor.

use core::ffi::{c_char, c_int, CStr};
use core::mem::MaybeUninit;
use core::ptr::null;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use super::report;
use crate::port::Errno;

/// Set when the environment was looked at.
static SEEN: AtomicBool = AtomicBool::new(false);

/// More than any signal's number.
const TOO_LARGE: usize = 1 << 20;

/// Standard error under another number, or its own; -1: there is none; 0: nobody looked.
static ERRORS: AtomicI32 = AtomicI32::new(0);
/// Which file that is.
static DEVICE: AtomicUsize = AtomicUsize::new(0);
static FILE: AtomicUsize = AtomicUsize::new(0);
/// The number is out of the way of programs that count on low ones.
const HIGH: c_int = 1000;

/// The value of a variable, if it has one that is neither empty nor 0.
fn asked(name: &CStr) -> Option<&'static CStr> {
    extern "C" {
        fn secure_getenv(name: *const c_char) -> *const c_char;
    }
    // SAFETY: a name that ends with a NUL; libc's answer lives while nobody changes the variable.
    let value = unsafe {
        let value = secure_getenv(name.as_ptr());
        if value.is_null() {
            return None;
        }
        CStr::from_ptr(value)
    };
    (!matches!(value.to_bytes(), b"" | b"0")).then_some(value)
}

/// Looks at the environment, once it is there and once for the process. Called in a slow path of the
/// allocation, without the heap's lock; leaves `errno` as it was.
#[inline]
pub(super) fn look() {
    if !SEEN.load(Ordering::Relaxed) {
        look_once();
    }
}

#[cold]
fn look_once() {
    extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: libc's own variable, which it sets before the first thread is made.
    if unsafe { (&raw const environ).read() }.is_null() || SEEN.swap(true, Ordering::Relaxed) {
        return;
    }
    let _errno = Errno::keep();
    if asked(c"KNOLL_STATS").is_some() {
        keep_errors();
    }
    if let Some(value) = asked(c"KNOLL_DUMP_SIGNAL") {
        let mut number = 0;
        for &digit in value.to_bytes() {
            // What is no number is a number too large for a signal.
            number = if digit.is_ascii_digit() { number * 10 + usize::from(digit - b'0') } else { TOO_LARGE };
            number = number.min(TOO_LARGE);
        }
        handle(number as c_int);
    }
}

// ---------------------------------------------------------------- at the end

/// Room for all numbers: they are written at once, so that those of other processes do not come between.
const ROOM: usize = 6 << 10;

/// Run by libc at `exit`, after the program's own functions for that.
#[used]
#[link_section = ".fini_array"]
static AT_EXIT: extern "C" fn() = at_exit;

extern "C" fn at_exit() {
    #[cfg(feature = "hardened")]
    super::hardened::at_exit();
    let Some(value) = asked(c"KNOLL_STATS") else { return };
    let mut room = [0; ROOM];
    if value.to_bytes().contains(&b'/') {
        let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_CLOEXEC;
        // SAFETY: a path that ends with a NUL.
        let file = unsafe { libc::open(value.as_ptr(), flags, 0o644 as libc::c_uint) };
        if file >= 0 {
            report::write_statistics(&mut room, &mut |text| report::write_to(file, text));
            // SAFETY: opened above.
            unsafe { libc::close(file) };
        }
    } else if let Some(errors) = kept_errors() {
        report::write_statistics(&mut room, &mut |text| report::write_to(errors, text));
    }
}

/// What tells files apart.
fn identity(descriptor: c_int) -> Option<(usize, usize)> {
    let mut about = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: room for an answer, which is read when there is one.
    unsafe {
        (libc::fstat(descriptor, about.as_mut_ptr()) == 0).then(|| {
            let about = about.assume_init_ref();
            (about.st_dev as usize, about.st_ino as usize)
        })
    }
}

fn keep_errors() {
    let mut kept = -1;
    if let Some((device, file)) = identity(libc::STDERR_FILENO) {
        // SAFETY: no conditions; -1 where so high a number is not allowed.
        let other = unsafe { libc::fcntl(libc::STDERR_FILENO, libc::F_DUPFD_CLOEXEC, HIGH) };
        kept = if other < 0 { libc::STDERR_FILENO } else { other };
        DEVICE.store(device, Ordering::Relaxed);
        FILE.store(file, Ordering::Relaxed);
    }
    ERRORS.store(kept, Ordering::Release);
}

/// Standard error, wherever it is. A program may have closed all its files and opened others since.
fn kept_errors() -> Option<c_int> {
    let kept = ERRORS.load(Ordering::Acquire);
    if kept == 0 {
        return Some(libc::STDERR_FILENO);
    }
    let before = (DEVICE.load(Ordering::Relaxed), FILE.load(Ordering::Relaxed));
    [kept, libc::STDERR_FILENO].into_iter().find(|&descriptor| identity(descriptor) == Some(before))
}

// ---------------------------------------------------------------- on a signal

/// Has the signal handled, unless the program does.
fn handle(number: c_int) {
    // SAFETY: zeros are a valid action; libc refuses numbers that are no signal that can be handled.
    unsafe {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        if libc::sigaction(number, null(), &mut before) != 0 || before.sa_sigaction != libc::SIG_DFL {
            return;
        }
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigaction(number, &action, core::ptr::null_mut());
    }
}

/// Calls nothing but `write` and `getpid`, and waits for the heap's lock only where another thread has it.
extern "C" fn on_signal(_number: c_int) {
    let _errno = Errno::keep();
    report::write_all(&mut report::write_error);
}
