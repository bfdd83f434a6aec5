//! libc's names, on the process heap: what makes `LD_PRELOAD=libknoll.so` work.
//!
//! - Every allocating entry point of glibc is here, because a program whose `malloc` is ours and
//!   whose `pvalloc` is libc's frees one's blocks in the other and crashes.
//! - `errno` is `ENOMEM` after a failure for lack of memory, `EINVAL` after a bad alignment, and
//!   untouched otherwise, by `free` too; `posix_memalign` never touches it.
//! - `realloc(p, 0)` frees `p` and answers NULL, as glibc's does.
//! - These names always mean the process heap, whatever heap `kn_heap_use` gave the thread: libc
//!   itself allocates in one thread and frees in another.
//! - Nothing here has a constructor, opens a file or takes a lock before the first allocation: the
//!   loader calls `calloc` before anything of this library could have been set up.
//! - A program may have a `malloc`, `realloc` and `free` of its own, and none of the others:
//!   `reallocarray`, `cfree` and C23's two call `realloc` and `free` by their names, as glibc's do. Nothing
//!   else calls a function here by its name.
//! - `__libc_malloc` and the like, by which such a program reaches the malloc behind its own, are the
//!   same functions.
//!
//! Not here: C++'s `operator new` and `delete`. Those of libstdc++ and libc++ call `malloc` and `free`, and
//! they alone can call the new-handler and throw. Nor `reallocf`, `malloc_size`, `malloc_good_size`, `vfree`:
//! no libc of Linux has them, so no program there asks for them, but libbsd's and the like, which call
//! `realloc` and `free`.
//!
//! The functions are declared, and documented for C, by `stdlib.h` and `malloc.h`: they are no part
//! of `knoll.h`.

use core::ffi::{c_int, c_void};
use core::hint::black_box;
use core::ptr::null_mut;

use crate::hosted::process;
#[cfg(knoll_quick)]
use crate::hosted::process::place;
use crate::port::{page_bytes, set_errno};

/// Hands a block out; null becomes `ENOMEM`.
#[inline(always)]
fn given(at: *mut u8) -> *mut c_void {
    if at.is_null() {
        set_errno(libc::ENOMEM);
    }
    at.cast()
}

/// C11 7.22.3.4.
///
/// # Safety
/// None needed; the name is libc's.
#[cfg(not(knoll_quick))]
#[no_mangle]
pub unsafe extern "C" fn malloc(bytes: usize) -> *mut c_void {
    malloc_slowly(bytes)
}

/// C11 7.22.3.4. What `hosted::cache` does, in assembly: the compiler neither searches nor compares in
/// place what may change between two instructions.
///
/// # Safety
/// None needed; the name is libc's.
#[cfg(knoll_quick)]
#[no_mangle]
#[unsafe(naked)]
pub unsafe extern "C" fn malloc(bytes: usize) -> *mut c_void {
    core::arch::naked_asm!(
        // Is it the cache's, and is there one?
        "mov rdx, qword ptr [rip + knoll_thread_0_1@GOTTPOFF]",
        "cmp rdi, qword ptr fs:[rdx + 48]",
        "jae {slowly}",
        "mov rdx, qword ptr fs:[rdx + 40]",
        // The cursor for so many granules.
        "lea rax, [rdi + 15]",
        "shr rax, 4",
        "mov rcx, qword ptr [rdx + 8 * rax + {current}]",
        // The lowest bit of its word, unless a signal handler takes it in between.
        "2:",
        "mov rdx, qword ptr [rcx + {word}]",
        "bsf rsi, qword ptr [rdx]",
        "jz {slowly}",
        "btr qword ptr [rdx], rsi",
        "jnc 2b",
        "mov rax, qword ptr [rcx + {base}]",
        "cmp qword ptr [rcx + {word}], rdx",
        "jne 3f",
        "imul rsi, qword ptr [rcx + {size}]",
        "add rax, rsi",
        "ret",
        // A signal handler moved the cursor, so the base may be another word's.
        "3:",
        "bts qword ptr [rdx], rsi",
        "jmp 2b",
        current = const place::CURRENT,
        word = const place::WORD,
        base = const place::BASE,
        size = const place::SIZE,
        slowly = sym malloc_slowly,
    )
}

/// `malloc` where it is not in assembly, and the rest of it where it is.
#[inline(never)]
extern "C" fn malloc_slowly(bytes: usize) -> *mut c_void {
    match process::malloc_quickly(bytes) {
        Some(at) => at.as_ptr().cast(),
        None => malloc_more_slowly(bytes),
    }
}

/// The rest of `malloc`, apart, so that the quick part needs no stack.
#[inline(never)]
fn malloc_more_slowly(bytes: usize) -> *mut c_void {
    given(process::malloc_slowly(bytes))
}

/// C11 7.22.3.2.
///
/// # Safety
/// None needed; the name is libc's.
#[no_mangle]
pub unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let Some(bytes) = count.checked_mul(size) else { return given(null_mut()) };
    match process::calloc_quickly(bytes) {
        Some(at) => at.as_ptr().cast(),
        None => calloc_slowly(bytes),
    }
}

/// The rest of `calloc`.
#[inline(never)]
fn calloc_slowly(bytes: usize) -> *mut c_void {
    given(process::calloc_slowly(bytes))
}

/// C11 7.22.3.5; 0 bytes free the block.
///
/// # Safety
/// `at` is null or a block that nobody else uses; after success only the result is valid.
#[no_mangle]
pub unsafe extern "C" fn realloc(at: *mut c_void, bytes: usize) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe {
        match process::realloc_quickly(at.cast(), bytes) {
            Some(at) => at.as_ptr().cast(),
            None => realloc_slowly(at, bytes),
        }
    }
}

/// The rest of `realloc`.
///
/// # Safety
/// As `realloc`.
#[inline(never)]
unsafe fn realloc_slowly(at: *mut c_void, bytes: usize) -> *mut c_void {
    if bytes == 0 && !at.is_null() {
        // SAFETY: the caller's promise.
        unsafe { process::free(at.cast()) };
        return null_mut();
    }
    // SAFETY: the caller's promise.
    given(unsafe { process::realloc_slowly(at.cast(), bytes) })
}

/// glibc: `realloc(at, count * size)`, `ENOMEM` when the product overflows.
///
/// # Safety
/// As `realloc`.
#[no_mangle]
pub unsafe extern "C" fn reallocarray(at: *mut c_void, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller's promise. Whose function this is the compiler can't know.
        Some(bytes) => unsafe { black_box(realloc as unsafe extern "C" fn(_, _) -> _)(at, bytes) },
        None => given(null_mut()),
    }
}

/// C11 7.22.3.3.
///
/// # Safety
/// Nobody uses the block any more.
#[no_mangle]
pub unsafe extern "C" fn free(at: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { process::free(at.cast()) }
}

/// Calls the program's `free`, if it has one.
///
/// # Safety
/// As `free`.
unsafe fn free_by_name(at: *mut c_void) {
    // SAFETY: the caller's promise. Whose function this is the compiler can't know.
    unsafe { black_box(free as unsafe extern "C" fn(_))(at) }
}

/// SunOS's `free`, which glibc dropped in 2.26; old programs still ask for it.
///
/// # Safety
/// As `free`.
#[no_mangle]
pub unsafe extern "C" fn cfree(at: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { free_by_name(at) }
}

/// C23 7.24.3.4; the size is not needed, but the hardened build verifies it.
///
/// # Safety
/// As `free`.
#[no_mangle]
pub unsafe extern "C" fn free_sized(at: *mut c_void, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if process::is_of_size(at.cast(), bytes) {
            free_by_name(at);
        }
    }
}

/// C23 7.24.3.5; as `free_sized`.
///
/// # Safety
/// As `free`.
#[no_mangle]
pub unsafe extern "C" fn free_aligned_sized(at: *mut c_void, _align: usize, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if process::is_of_size(at.cast(), bytes) {
            free_by_name(at);
        }
    }
}

/// C11 7.22.3.1, with any size; `EINVAL` when the alignment is no power of two.
///
/// # Safety
/// None needed; the name is libc's.
#[no_mangle]
pub unsafe extern "C" fn aligned_alloc(align: usize, bytes: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        set_errno(libc::EINVAL);
        return null_mut();
    }
    given(process::aligned_alloc(align, bytes))
}

/// SunOS's: an alignment that is no power of two is rounded up to one, as in glibc.
///
/// # Safety
/// None needed; the name is libc's.
#[no_mangle]
pub unsafe extern "C" fn memalign(align: usize, bytes: usize) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => given(process::aligned_alloc(align, bytes)),
        None => {
            set_errno(libc::EINVAL);
            null_mut()
        }
    }
}

/// POSIX: stores the block at `out` and answers 0; or answers `EINVAL` or `ENOMEM` and stores nothing.
///
/// # Safety
/// `out` is writable.
#[no_mangle]
pub unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, align: usize, bytes: usize) -> c_int {
    if !align.is_power_of_two() || align % size_of::<*mut c_void>() != 0 {
        return libc::EINVAL;
    }
    let at = process::aligned_alloc(align, bytes);
    if at.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's promise.
    unsafe { out.write(at.cast()) };
    0
}

/// BSD's: at a page.
///
/// # Safety
/// None needed; the name is libc's.
#[no_mangle]
pub unsafe extern "C" fn valloc(bytes: usize) -> *mut c_void {
    given(process::aligned_alloc(page_bytes(), bytes))
}

/// System V's: at a page, whole pages, at least one.
///
/// # Safety
/// None needed; the name is libc's.
#[no_mangle]
pub unsafe extern "C" fn pvalloc(bytes: usize) -> *mut c_void {
    match bytes.max(1).checked_next_multiple_of(page_bytes()) {
        Some(whole) => given(process::aligned_alloc(page_bytes(), whole)),
        None => given(null_mut()),
    }
}

/// glibc: the bytes that may be used; 0 for null.
///
/// # Safety
/// Nobody frees the block meanwhile.
#[no_mangle]
pub unsafe extern "C" fn malloc_usable_size(at: *mut c_void) -> usize {
    // SAFETY: the caller's promise.
    unsafe { process::usable_size(at.cast()) }
}

// glibc's own names for the functions above. A second definition would be a second copy of each.
#[cfg(target_os = "linux")]
core::arch::global_asm!(
    ".macro knoll_alias name, of",
    ".globl \\name",
    ".type \\name, %function",
    ".set \\name, \\of",
    ".endm",
    "knoll_alias __libc_malloc, malloc",
    "knoll_alias __libc_calloc, calloc",
    "knoll_alias __libc_realloc, realloc",
    "knoll_alias __libc_reallocarray, reallocarray",
    "knoll_alias __libc_free, free",
    "knoll_alias __libc_memalign, memalign",
    "knoll_alias __libc_valloc, valloc",
    "knoll_alias __libc_pvalloc, pvalloc",
    "knoll_alias __posix_memalign, posix_memalign",
    ".purgem knoll_alias",
);
