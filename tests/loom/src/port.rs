//! The platform: a word for each thread, and who is told of errors.

use crate::heap::KnStatus;
use crate::hosted::world;
use crate::runtime;
use std::ffi::{c_void, CStr};
use std::sync::OnceLock;

type AtEnd = unsafe extern "C" fn(*mut c_void);

/// What is called at a thread's end.
pub(crate) static AT_END: OnceLock<AtEnd> = OnceLock::new();

pub(crate) struct Key;

impl Key {
    pub(crate) const fn new() -> Key {
        Key
    }

    pub(crate) fn make(&self, at_end: Option<AtEnd>) -> bool {
        AT_END.get_or_init(|| at_end.expect("a function"));
        true
    }

    pub(crate) fn set(&self, _value: *mut c_void) -> bool {
        true
    }
}

pub(crate) struct Errno;

impl Errno {
    pub(crate) fn keep() -> Errno {
        Errno
    }
}

impl Drop for Errno {
    fn drop(&mut self) {}
}

pub(crate) fn cache() -> *mut c_void {
    runtime::word(0)
}

pub(crate) fn set_cache(cache: *mut c_void, _limit: usize) {
    runtime::set_word(0, cache);
}

/// Who the calling thread is: what a thread that has ended was, if there is one, as the system's addresses are.
pub(crate) fn identity() -> usize {
    let known = runtime::word(1).addr();
    if known != 0 {
        return known;
    }
    let identity = world::take_identity();
    runtime::set_word(1, std::ptr::without_provenance_mut(identity));
    identity
}

/// The thread has ended.
pub(crate) fn give_identity() {
    let known = runtime::word(1).addr();
    if known != 0 {
        runtime::set_word(1, std::ptr::null_mut());
        world::give_identity(known);
    }
}

pub(crate) fn alone() -> bool {
    false
}

pub(crate) fn refuse(status: KnStatus, at: *const u8, _what: &'static CStr) {
    assert_eq!(status, KnStatus::DoubleFree);
    world::refused(at);
}
