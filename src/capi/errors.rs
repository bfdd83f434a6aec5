//! Errors: the names of statuses, the hook that is told, and the version of the library.

use core::ffi::{c_char, c_void, CStr};

use crate::heap::KnStatus;
use crate::port;

/// The hook of `kn_on_error`: what went wrong, the pointer at fault (may be NULL), and where it was
/// found, in English. The text lives for ever.
pub type KnErrorFn = Option<unsafe extern "C" fn(status: KnStatus, at: *const c_void, what: *const c_char)>;

/// The name of a status, in English.
///
/// @return a text that lives for ever; `"unknown status"` for a number that is no KnStatus. Never NULL.
///
/// Cost: O(1). Thread and interrupt rule: any thread, any time.
#[no_mangle]
pub extern "C" fn kn_status_str(status: i32) -> *const c_char {
    const ALL: [KnStatus; 12] = [
        KnStatus::Ok,
        KnStatus::Invalid,
        KnStatus::NoMemory,
        KnStatus::DoubleFree,
        KnStatus::Foreign,
        KnStatus::Corrupt,
        KnStatus::Order,
        KnStatus::Unsupported,
        KnStatus::Escape,
        KnStatus::Budget,
        KnStatus::Fragmented,
        KnStatus::Resident,
    ];
    let known = ALL.iter().find(|known| **known as i32 == status);
    known.map_or(c"unknown status", |known| known.name()).as_ptr()
}

/// Sets the function that is told of errors in the use of memory: a double free, a pointer that is no
/// block, a heap that was written over, scopes left in the wrong order. NULL: none.
///
/// After the hook returns the call that found the error does nothing more: the heap is as it was
/// before it. The hook is called without any lock of the library held, so it may allocate and free.
/// Without a hook errors change nothing either; except that in the shared library, which stands in
/// for libc's malloc, an error in the process heap prints one line and aborts, as libc does.
///
/// Cost: O(1). Ownership: the function stays the caller's. Thread and interrupt rule: one hook for the
/// whole program; it is called in the thread or handler that made the error.
#[no_mangle]
pub extern "C" fn kn_on_error(hook: KnErrorFn) {
    port::set_error_hook(hook);
}

/// The version of the library, `"major.minor.patch"`.
///
/// @return a text that lives for ever; never NULL.
///
/// Cost: O(1). Thread and interrupt rule: any thread, any time.
#[no_mangle]
pub extern "C" fn kn_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}
