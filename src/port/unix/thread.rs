//! Six words for each thread: its default heap, the counted state in use, its counted state over the
//! process heap, its scopes and what else it holds there, and its cache of small blocks. And who a thread
//! is, and whether it is the only one.
//!
//! - Reading never allocates, never calls the loader and works before the C library is set up.
//! - A new thread reads null.
//!
//! ```text
//!   +0  HEAP      its own default heap; null: the process heap
//!   +8  COUNTED   the counted state of that heap, so that nothing has to be asked on the way
//!   +16 PROCESS   its state over the process heap, kept while it has a heap of its own
//!   +24 SCOPE     its innermost scope over the process heap
//!   +32 HELD      its arenas, resident blocks and named roots there
//!   +40 CACHE     the pages that its small blocks come from
//!   +48 LIMIT     x86-64 only: requests below it are the cache's to serve; 0 without one, so that malloc
//!                 asks one question and not two
//! ```
//! On x86-64 and aarch64 Linux they are a symbol of initial-exec thread-local storage, declared and
//! accessed by inline assembly: stable Rust has no thread-local without `std`, and `std`'s goes
//! through `__tls_get_addr`, which may call malloc. 56 bytes with alignment 8 stay far below the
//! reserve that `dlopen` has for such storage. Elsewhere, and under Miri, pthread keys do it.
//!
//! Cost: two instructions to read (x86-64); one call with a pthread key.

#[cfg(all(target_os = "linux", target_pointer_width = "64", target_arch = "x86_64", not(miri)))]
mod slot {
    use core::arch::{asm, global_asm};
    use core::ffi::c_void;

    // The version is in the name: two versions of Knoll in one program must not share it. Weak,
    // because one program may contain several copies of this assembly (codegen units, rlib and test).
    global_asm!(
        ".pushsection .tbss.knoll_thread_0_1,\"awT\",@nobits",
        ".hidden knoll_thread_0_1",
        ".weak knoll_thread_0_1",
        ".type knoll_thread_0_1,@object",
        ".p2align 3",
        "knoll_thread_0_1:",
        ".zero 56",
        ".size knoll_thread_0_1,56",
        ".popsection",
    );

    #[inline(always)]
    pub(super) fn get<const WORD: usize>() -> *mut c_void {
        let value: *mut c_void;
        // SAFETY: reads this thread's copy of the symbol above, which has seven words.
        unsafe {
            asm!(
                "mov {0}, qword ptr [rip + knoll_thread_0_1@GOTTPOFF]",
                "mov {0}, qword ptr fs:[{0} + {1}]",
                out(reg) value,
                const WORD * 8,
                options(readonly, nostack, preserves_flags),
            );
        }
        value
    }

    #[inline(always)]
    pub(super) fn set<const WORD: usize>(value: *mut c_void) {
        // SAFETY: writes this thread's copy of the symbol above, which has seven words.
        unsafe {
            asm!(
                "mov {0}, qword ptr [rip + knoll_thread_0_1@GOTTPOFF]",
                "mov qword ptr fs:[{0} + {2}], {1}",
                out(reg) _,
                in(reg) value,
                const WORD * 8,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    pub(super) fn identity() -> usize {
        let pointer: usize;
        // SAFETY: the x86-64 ABI keeps the thread pointer's own address at its offset 0.
        unsafe {
            asm!("mov {0}, qword ptr fs:[0]", out(reg) pointer, options(readonly, nostack, preserves_flags));
        }
        pointer
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64", target_arch = "aarch64", not(miri)))]
mod slot {
    use core::arch::{asm, global_asm};
    use core::ffi::c_void;

    // As on x86-64.
    global_asm!(
        ".pushsection .tbss.knoll_thread_0_1,\"awT\",@nobits",
        ".hidden knoll_thread_0_1",
        ".weak knoll_thread_0_1",
        ".type knoll_thread_0_1,@object",
        ".p2align 3",
        "knoll_thread_0_1:",
        ".zero 48",
        ".size knoll_thread_0_1,48",
        ".popsection",
    );

    #[inline(always)]
    fn address() -> *mut *mut c_void {
        let at: *mut *mut c_void;
        // SAFETY: computes the address of this thread's copy of the symbol above.
        unsafe {
            asm!(
                "mrs {1}, tpidr_el0",
                "adrp {0}, :gottprel:knoll_thread_0_1",
                "ldr {0}, [{0}, #:gottprel_lo12:knoll_thread_0_1]",
                "add {0}, {0}, {1}",
                out(reg) at,
                out(reg) _,
                options(readonly, nostack, preserves_flags),
            );
        }
        at
    }

    #[inline(always)]
    pub(super) fn get<const WORD: usize>() -> *mut c_void {
        // SAFETY: this thread's own copy, which lives as long as the thread and has six words.
        unsafe { *address().add(WORD) }
    }

    #[inline(always)]
    pub(super) fn set<const WORD: usize>(value: *mut c_void) {
        // SAFETY: as in `get`.
        unsafe { *address().add(WORD) = value }
    }

    #[inline(always)]
    pub(super) fn identity() -> usize {
        let pointer: usize;
        // SAFETY: reads the thread pointer.
        unsafe { asm!("mrs {0}, tpidr_el0", out(reg) pointer, options(nomem, nostack, preserves_flags)) }
        pointer
    }
}

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri)
)))]
mod slot {
    use super::super::key::Key;
    use core::ffi::c_void;
    use core::ptr::{null_mut, without_provenance_mut};
    use core::sync::atomic::Ordering;

    /// The words, and behind them the round of destructors that the thread's end has come to.
    static KEYS: [Key; 7] = [const { Key::new() }; 7];
    const ROUND: usize = 6;
    /// Rounds in which destructors, whose order nobody knows, find the words as they were.
    const LAST: usize = 3;

    pub(super) fn get<const WORD: usize>() -> *mut c_void {
        match KEYS[WORD].0.load(Ordering::Acquire) {
            0 => null_mut(),
            // SAFETY: the key was created and is never deleted.
            key => unsafe { libc::pthread_getspecific((key - 1) as libc::pthread_key_t) },
        }
    }

    /// Does nothing iff the system has no key left.
    pub(super) fn set<const WORD: usize>(value: *mut c_void) {
        if value.is_null() {
            KEYS[WORD].set(value);
        } else if KEYS[ROUND].make(Some(next_round)) && KEYS[WORD].make(Some(keep::<WORD>)) {
            if get::<ROUND>().is_null() {
                KEYS[ROUND].set(without_provenance_mut(1));
            }
            KEYS[WORD].set(value);
        }
    }

    /// The end of a thread has set the round to null.
    unsafe extern "C" fn next_round(round: *mut c_void) {
        if round.addr() < LAST {
            KEYS[ROUND].set(without_provenance_mut(round.addr() + 1));
        }
    }

    /// The end of a thread has set the word to null.
    unsafe extern "C" fn keep<const WORD: usize>(value: *mut c_void) {
        if !get::<ROUND>().is_null() {
            KEYS[WORD].set(value);
        }
    }

    pub(super) fn identity() -> usize {
        // SAFETY: no conditions.
        let thread = unsafe { libc::pthread_self() as usize };
        // A pointer to the thread's record, except under Miri, where it is a small number.
        if cfg!(miri) {
            (thread + 1) * 2
        } else {
            thread
        }
    }
}

use crate::heap::KnHeap;
use core::ffi::c_void;

/// The words of a thread; see the module's head.
const HEAP: usize = 0;
const COUNTED: usize = 1;
const PROCESS: usize = 2;
#[cfg(feature = "arena")]
const SCOPE: usize = 3;
#[cfg(feature = "arena")]
const HELD: usize = 4;
const CACHE: usize = 5;
#[cfg(all(target_os = "linux", target_pointer_width = "64", target_arch = "x86_64", not(miri)))]
const LIMIT: usize = 6;

/// The calling thread's own default heap, or null.
#[inline(always)]
pub(crate) fn heap() -> *mut KnHeap {
    slot::get::<HEAP>().cast()
}

/// Sets the calling thread's own default heap and that heap's counted state; null: none, and the
/// state that the thread has over the process heap.
pub(super) fn set_heap(heap: *mut KnHeap, counted: *mut c_void) {
    slot::set::<HEAP>(heap.cast());
    slot::set::<COUNTED>(if heap.is_null() { slot::get::<PROCESS>() } else { counted });
}

/// The counted state of the calling thread's default heap; null: none yet.
#[cfg(feature = "counted")]
#[inline(always)]
pub(crate) fn counted() -> *mut c_void {
    slot::get::<COUNTED>()
}

/// Notes the counted state of the calling thread's default heap, whichever that is.
pub(crate) fn set_counted(state: *mut c_void) {
    slot::set::<COUNTED>(state);
}

/// The calling thread's counted state over the process heap; null: none.
#[cfg(feature = "counted")]
pub(crate) fn process_counted() -> *mut c_void {
    slot::get::<PROCESS>()
}

/// Notes the calling thread's counted state over the process heap.
#[cfg(feature = "counted")]
pub(crate) fn set_process_counted(state: *mut c_void) {
    slot::set::<PROCESS>(state);
    if heap().is_null() {
        set_counted(state);
    }
}

/// The calling thread's innermost scope over the process heap; null: none.
#[cfg(feature = "arena")]
#[inline(always)]
pub(crate) fn scope() -> *mut c_void {
    slot::get::<SCOPE>()
}

/// Notes the calling thread's innermost scope over the process heap.
#[cfg(feature = "arena")]
#[inline(always)]
pub(crate) fn set_scope(scope: *mut c_void) {
    slot::set::<SCOPE>(scope);
}

/// What the calling thread holds over the process heap; null: nothing.
#[cfg(feature = "arena")]
pub(crate) fn held() -> *mut c_void {
    slot::get::<HELD>()
}

/// Notes what the calling thread holds over the process heap.
#[cfg(feature = "arena")]
pub(crate) fn set_held(held: *mut c_void) {
    slot::set::<HELD>(held);
}

/// The calling thread's cache of small blocks, as `hosted` noted it.
#[inline(always)]
pub(crate) fn cache() -> *mut c_void {
    slot::get::<CACHE>()
}

/// Notes the calling thread's cache, and below which size it is to be asked first.
pub(crate) fn set_cache(cache: *mut c_void, limit: usize) {
    slot::set::<CACHE>(cache);
    #[cfg(all(target_os = "linux", target_pointer_width = "64", target_arch = "x86_64", not(miri)))]
    slot::set::<LIMIT>(core::ptr::without_provenance_mut(limit));
    let _ = limit;
}

// Older C libraries lack the symbol: its address is null there.
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64", not(any(miri, knoll_portable))))]
core::arch::global_asm!(".weak __libc_single_threaded");

/// True only if the process has no second thread: glibc's word for it, where it gives one (2.32).
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64", not(any(miri, knoll_portable))))]
#[inline(always)]
pub(crate) fn alone() -> bool {
    use core::arch::asm;
    let flag: *const u8;
    // SAFETY: reads the address that the loader found.
    unsafe {
        asm!("mov {0}, qword ptr [rip + __libc_single_threaded@GOTPCREL]", out(reg) flag,
            options(readonly, nostack, preserves_flags));
    }
    // SAFETY: null, or a byte of libc's that it sets to 0 before it makes a second thread.
    !flag.is_null() && unsafe { flag.read_volatile() } != 0
}

/// Elsewhere nobody says so.
#[cfg(not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64", not(any(miri, knoll_portable)))))]
#[inline(always)]
pub(crate) fn alone() -> bool {
    false
}

/// An even number that no other living thread has, never 0; a child of fork keeps its parent thread's.
#[inline(always)]
pub(crate) fn identity() -> usize {
    slot::identity()
}
