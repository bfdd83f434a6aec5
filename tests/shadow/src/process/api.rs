//! The functions of the library under test, linked or loaded.

use knoll::capi::process::KnProcessStats;
use knoll::heap::KnStatus;
use std::cell::RefCell;
use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

type Hook = unsafe extern "C" fn(KnStatus, *const c_void, *const c_char);

/// `kn_malloc` and its family. The pointers are to C functions; each call's promise is C's.
#[derive(Clone, Copy)]
pub struct Api {
    /// `kn_malloc`.
    pub malloc: extern "C" fn(usize) -> *mut c_void,
    /// `kn_calloc`.
    pub calloc: extern "C" fn(usize, usize) -> *mut c_void,
    /// `kn_realloc`.
    pub realloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    /// `kn_aligned_alloc`.
    pub aligned_alloc: extern "C" fn(usize, usize) -> *mut c_void,
    /// `kn_free`.
    pub free: unsafe extern "C" fn(*mut c_void),
    /// `kn_usable_size`.
    pub usable_size: unsafe extern "C" fn(*const c_void) -> usize,
    /// `kn_process_check`.
    pub check: extern "C" fn() -> KnStatus,
    stats: unsafe extern "C" fn(*mut KnProcessStats) -> KnStatus,
    on_error: extern "C" fn(Option<Hook>),
}

thread_local! {
    /// What the error hook was told in this thread: it is called where the error is made.
    static TOLD: RefCell<Vec<(KnStatus, usize)>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn listen(status: KnStatus, at: *const c_void, _what: *const c_char) {
    TOLD.with_borrow_mut(|told| told.push((status, at.addr())));
}

impl Api {
    /// The library that `KNOLL_LIBRARY` names, else the one linked with this program. Its error hook is
    /// ours from now on.
    pub fn chosen() -> Api {
        static CHOSEN: OnceLock<Api> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let api = match std::env::var("KNOLL_LIBRARY") {
                Ok(path) => loaded::api(&path),
                Err(_) => linked(),
            };
            (api.on_error)(Some(listen));
            api
        })
    }

    /// The numbers of the process heap.
    pub fn stats(&self) -> KnProcessStats {
        let mut stats = KnProcessStats::default();
        // SAFETY: a place for the numbers.
        let status = unsafe { (self.stats)(&mut stats) };
        assert_eq!(status, KnStatus::Ok);
        stats
    }

    /// Frees what may be no block.
    pub fn free_wrong(&self, at: *mut u8) {
        // SAFETY: wrong pointers are refused; that is what is tested.
        unsafe { (self.free)(at.cast()) }
    }

    /// Resizes what may be no block.
    pub fn realloc_wrong(&self, at: *mut u8, bytes: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { (self.realloc)(at.cast(), bytes) }.cast()
    }

    /// Asks how long what may be no block is.
    pub fn usable_wrong(&self, at: *const u8) -> usize {
        // SAFETY: any address may be asked for.
        unsafe { (self.usable_size)(at.cast()) }
    }

    /// What the error hook hears of `work` in this thread.
    pub fn told(&self, work: impl FnOnce()) -> Vec<(KnStatus, usize)> {
        TOLD.with_borrow_mut(Vec::clear);
        work();
        TOLD.take()
    }
}

/// The library that this program is linked with.
fn linked() -> Api {
    use knoll::capi::default::*;
    use knoll::capi::errors::kn_on_error;
    use knoll::capi::process::{kn_process_check, kn_process_stats};
    Api {
        malloc: kn_malloc,
        calloc: kn_calloc,
        realloc: kn_realloc,
        aligned_alloc: kn_aligned_alloc,
        free: kn_free,
        usable_size: kn_usable_size,
        check: kn_process_check,
        stats: kn_process_stats,
        on_error: kn_on_error,
    }
}

#[cfg(not(miri))]
mod loaded {
    use super::Api;
    use std::ffi::{c_void, CString};

    /// One function of the library.
    ///
    /// # Safety
    /// `F` is the type of the function of that name.
    unsafe fn function<F: Copy>(library: *mut c_void, name: &str) -> F {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let symbol = CString::new(name).expect("a name");
        // SAFETY: an open library.
        let at = unsafe { libc::dlsym(library, symbol.as_ptr()) };
        assert!(!at.is_null(), "the library has no {name}");
        // SAFETY: the caller's promise.
        unsafe { std::mem::transmute_copy(&at) }
    }

    pub fn api(path: &str) -> Api {
        let name = CString::new(path).expect("a path");
        // SAFETY: it has no constructors.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!library.is_null(), "cannot load {path}");
        // SAFETY: the types are those of knoll.h.
        unsafe {
            Api {
                malloc: function(library, "kn_malloc"),
                calloc: function(library, "kn_calloc"),
                realloc: function(library, "kn_realloc"),
                aligned_alloc: function(library, "kn_aligned_alloc"),
                free: function(library, "kn_free"),
                usable_size: function(library, "kn_usable_size"),
                check: function(library, "kn_process_check"),
                stats: function(library, "kn_process_stats"),
                on_error: function(library, "kn_on_error"),
            }
        }
    }
}

#[cfg(miri)]
mod loaded {
    pub fn api(_path: &str) -> super::Api {
        panic!("an interpreter loads no library")
    }
}
