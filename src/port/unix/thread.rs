//! One pointer for each thread: its default heap. And who a thread is.
//!
//! - Reading it never allocates, never calls the loader and works before the C library is set up.
//! - A new thread reads null.
//!
//! On x86-64 and aarch64 Linux the pointer is a symbol of initial-exec thread-local storage, declared
//! and read by inline assembly: stable Rust has no thread-local without `std`, and `std`'s goes
//! through `__tls_get_addr`, which may call malloc. Eight bytes with alignment 8 stay far below the
//! reserve that `dlopen` has for such storage. Elsewhere, and under Miri, a pthread key does it.
//!
//! Cost: two instructions to read (x86-64); one call with a pthread key.

#[cfg(all(target_os = "linux", target_pointer_width = "64", target_arch = "x86_64", not(miri)))]
mod slot {
    use crate::heap::KnHeap;
    use core::arch::{asm, global_asm};

    // The version is in the name: two versions of Knoll in one program must not share it. Weak,
    // because one program may contain several copies of this assembly (codegen units, rlib and test).
    global_asm!(
        ".pushsection .tbss.knoll_thread_heap_0_1,\"awT\",@nobits",
        ".hidden knoll_thread_heap_0_1",
        ".weak knoll_thread_heap_0_1",
        ".type knoll_thread_heap_0_1,@object",
        ".p2align 3",
        "knoll_thread_heap_0_1:",
        ".zero 8",
        ".size knoll_thread_heap_0_1,8",
        ".popsection",
    );

    #[inline(always)]
    pub(super) fn get() -> *mut KnHeap {
        let heap: *mut KnHeap;
        // SAFETY: reads this thread's copy of the symbol above.
        unsafe {
            asm!(
                "mov {0}, qword ptr [rip + knoll_thread_heap_0_1@GOTTPOFF]",
                "mov {0}, qword ptr fs:[{0}]",
                out(reg) heap,
                options(readonly, nostack, preserves_flags),
            );
        }
        heap
    }

    pub(super) fn set(heap: *mut KnHeap) {
        // SAFETY: writes this thread's copy of the symbol above.
        unsafe {
            asm!(
                "mov {0}, qword ptr [rip + knoll_thread_heap_0_1@GOTTPOFF]",
                "mov qword ptr fs:[{0}], {1}",
                out(reg) _,
                in(reg) heap,
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
    use crate::heap::KnHeap;
    use core::arch::{asm, global_asm};

    // As on x86-64.
    global_asm!(
        ".pushsection .tbss.knoll_thread_heap_0_1,\"awT\",@nobits",
        ".hidden knoll_thread_heap_0_1",
        ".weak knoll_thread_heap_0_1",
        ".type knoll_thread_heap_0_1,@object",
        ".p2align 3",
        "knoll_thread_heap_0_1:",
        ".zero 8",
        ".size knoll_thread_heap_0_1,8",
        ".popsection",
    );

    #[inline(always)]
    fn address() -> *mut *mut KnHeap {
        let at: *mut *mut KnHeap;
        // SAFETY: computes the address of this thread's copy of the symbol above.
        unsafe {
            asm!(
                "mrs {1}, tpidr_el0",
                "adrp {0}, :gottprel:knoll_thread_heap_0_1",
                "ldr {0}, [{0}, #:gottprel_lo12:knoll_thread_heap_0_1]",
                "add {0}, {0}, {1}",
                out(reg) at,
                out(reg) _,
                options(readonly, nostack, preserves_flags),
            );
        }
        at
    }

    #[inline(always)]
    pub(super) fn get() -> *mut KnHeap {
        // SAFETY: this thread's own copy, which lives as long as the thread.
        unsafe { *address() }
    }

    pub(super) fn set(heap: *mut KnHeap) {
        // SAFETY: as in `get`.
        unsafe { *address() = heap }
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
    use crate::heap::KnHeap;
    use core::ptr::null_mut;
    use core::sync::atomic::{AtomicUsize, Ordering};

    /// The pthread key plus 1; 0: no thread has set its heap yet, so all of them have none.
    static KEY: AtomicUsize = AtomicUsize::new(0);

    pub(super) fn get() -> *mut KnHeap {
        match KEY.load(Ordering::Acquire) {
            0 => null_mut(),
            // SAFETY: the key was created and is never deleted.
            key => unsafe { libc::pthread_getspecific((key - 1) as libc::pthread_key_t).cast() },
        }
    }

    /// Does nothing iff the system has no key left.
    pub(super) fn set(heap: *mut KnHeap) {
        if KEY.load(Ordering::Acquire) == 0 {
            let mut key: libc::pthread_key_t = 0;
            // SAFETY: the key's place is valid; no destructor: a thread's heap is not the thread's.
            if unsafe { libc::pthread_key_create(&mut key, None) } != 0 {
                return;
            }
            let mine = key as usize + 1;
            if KEY.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: created above, and nobody else has seen it.
                unsafe { libc::pthread_key_delete(key) };
            }
        }
        let key = KEY.load(Ordering::Acquire) - 1;
        // SAFETY: the key was created and is never deleted.
        unsafe { libc::pthread_setspecific(key as libc::pthread_key_t, heap.cast()) };
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

/// The calling thread's own default heap, or null.
#[inline(always)]
pub(crate) fn heap() -> *mut KnHeap {
    slot::get()
}

/// Sets the calling thread's own default heap; null: none.
pub(super) fn set_heap(heap: *mut KnHeap) {
    slot::set(heap);
}

/// An even number that no other living thread has, never 0; a child of fork keeps its parent thread's.
#[inline(always)]
pub(super) fn identity() -> usize {
    slot::identity()
}
