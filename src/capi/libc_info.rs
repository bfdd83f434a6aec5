//! libc's names for what is known of the process heap, and for what can be asked of it.
//!
//! - The figures of `mallinfo` and `malloc_info` are those of `kn_process_stats`, in the places where programs
//!   look for glibc's: `arena` is what the heap holds but for large blocks, in use (`uordblks`) or free
//!   (`fordblks`); `hblks` and `hblkhd` are the large blocks. What glibc has and this heap has not is 0.
//! - `mallopt` takes each parameter that glibc's manual names, and none has an effect: the thresholds are
//!   constants, memory goes back by itself, every thread has pages of its own, and each double free ends the
//!   process whatever `M_CHECK_ACTION` says. Programs set them to make glibc do what this heap does.
//! - Not here: `malloc_get_state` and `malloc_set_state`, by which Emacs once kept glibc's heap in its own
//!   file. glibc 2.34 took them, and its hooks, `mcheck` and `mtrace`, out of libc.
//!
//! As in `libc_names`, the functions are declared by `malloc.h` and no part of `knoll.h`.

use core::ffi::{c_char, c_int, c_void};

use crate::hosted::process::{self, ClassTotals};
use crate::hosted::report::{self, Room, Snapshot, Text};
use crate::port::set_errno;

/// glibc's `struct mallinfo2`; with `int`, `struct mallinfo`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Mallinfo<T> {
    /// Bytes in the heap, used and free, without large blocks.
    pub arena: T,
    /// Free blocks.
    pub ordblks: T,
    /// 0: glibc's fast bins.
    pub smblks: T,
    /// Large blocks.
    pub hblks: T,
    /// Their bytes.
    pub hblkhd: T,
    /// Most bytes ever mapped.
    pub usmblks: T,
    /// 0: glibc's fast bins.
    pub fsmblks: T,
    /// Bytes in use, without large blocks.
    pub uordblks: T,
    /// Bytes free.
    pub fordblks: T,
    /// Bytes that `malloc_trim` would give back.
    pub keepcost: T,
}

fn figures() -> Mallinfo<usize> {
    let Some(snapshot) = Snapshot::take() else { return Mallinfo::default() };
    let totals = &snapshot.totals;
    let (in_use, free) = (totals.small_bytes + totals.medium_used, snapshot.free());
    Mallinfo {
        arena: in_use + free,
        ordblks: snapshot.classes().map(|class| class.free).sum(),
        hblks: totals.large_blocks,
        hblkhd: totals.large_bytes,
        usmblks: totals.peak,
        uordblks: in_use,
        fordblks: free,
        keepcost: snapshot.waiting(),
        ..Mallinfo::default()
    }
}

/// glibc: figures of the heap; all 0 in a signal handler that interrupted the heap.
#[no_mangle]
pub extern "C" fn mallinfo2() -> Mallinfo<usize> {
    figures()
}

/// SVID's: as `mallinfo2`; what is larger than an `int` is `INT_MAX`.
#[no_mangle]
pub extern "C" fn mallinfo() -> Mallinfo<c_int> {
    let all = figures();
    let small = |figure: usize| c_int::try_from(figure).unwrap_or(c_int::MAX);
    Mallinfo {
        arena: small(all.arena),
        ordblks: small(all.ordblks),
        smblks: 0,
        hblks: small(all.hblks),
        hblkhd: small(all.hblkhd),
        usmblks: small(all.usmblks),
        fsmblks: 0,
        uordblks: small(all.uordblks),
        fordblks: small(all.fordblks),
        keepcost: small(all.keepcost),
    }
}

/// glibc: gives free memory back to the system, but for about `keep` bytes; 1 iff there was any.
#[no_mangle]
pub extern "C" fn malloc_trim(keep: usize) -> c_int {
    c_int::from(process::trim(keep))
}

/// glibc: figures of the heap as text on standard error; the table of `KNOLL_STATS`.
#[no_mangle]
pub extern "C" fn malloc_stats() {
    let mut room: Room = [0; size_of::<Room>()];
    report::write_statistics(&mut room, &mut report::write_error);
}

/// glibc: figures of the heap as XML to `stream`, in the form of glibc's. 0; -1 with `EINVAL` iff `options`
/// is not 0, with `EAGAIN` in a signal handler that interrupted the heap.
///
/// # Safety
/// `stream` is an open `FILE`.
#[no_mangle]
pub unsafe extern "C" fn malloc_info(options: c_int, stream: *mut c_void) -> c_int {
    extern "C" {
        fn fwrite(text: *const c_char, size: usize, count: usize, stream: *mut c_void) -> usize;
    }
    if options != 0 {
        set_errno(libc::EINVAL);
        return -1;
    }
    // Nothing is locked any more when the stream is written to: it may allocate.
    let Some(snapshot) = Snapshot::take() else {
        set_errno(libc::EAGAIN);
        return -1;
    };
    // SAFETY: the bytes are readable, and the caller's promise.
    let mut write = |text: &[u8]| unsafe { fwrite(text.as_ptr().cast(), 1, text.len(), stream) } == text.len();
    let mut room: Room = [0; size_of::<Room>()];
    write_xml(&snapshot, &mut Text::new(&mut room, &mut write));
    0
}

/// What is said at the end of the one heap, and of all heaps.
macro_rules! ends {
    ($more:literal) => {
        concat!(
            "<total type=\"fast\" count=\"0\" size=\"0\"/>\n<total type=\"rest\" count=\"#\" size=\"#\"/>\n",
            $more,
            "<system type=\"current\" size=\"#\"/>\n<system type=\"max\" size=\"#\"/>\n",
            "<aspace type=\"total\" size=\"#\"/>\n<aspace type=\"mprotect\" size=\"#\"/>\n",
        )
    };
}

fn write_xml(snapshot: &Snapshot, text: &mut Text<'_>) {
    let totals = &snapshot.totals;
    text.add(b"<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
    let mut blocks = 0;
    for &ClassTotals { size, free, .. } in snapshot.classes() {
        blocks += free;
        text.fill(
            b"  <size from=\"#\" to=\"#\" total=\"#\" count=\"#\"/>\n",
            &[size, size, free.wrapping_mul(size), free],
        );
    }
    text.add(b"</sizes>\n");
    let (free, mapped, peak) = (snapshot.free(), snapshot.mapped(), totals.peak);
    text.fill(ends!("").as_bytes(), &[blocks, free, mapped, peak, mapped, mapped]);
    text.add(b"</heap>\n");
    text.fill(
        ends!("<total type=\"mmap\" count=\"#\" size=\"#\"/>\n").as_bytes(),
        &[blocks, free, totals.large_blocks, totals.large_bytes, mapped, peak, mapped, mapped],
    );
    text.add(b"</malloc>\n");
    text.flush();
}

/// glibc: sets a parameter; 1 iff there is one of this number. See the head for what they do: nothing.
#[no_mangle]
pub extern "C" fn mallopt(parameter: c_int, _value: c_int) -> c_int {
    // M_MXFAST is 1; M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_CHECK_ACTION, M_PERTURB,
    // M_ARENA_TEST and M_ARENA_MAX are -1 to -8.
    c_int::from(matches!(parameter, -8..=-1 | 1))
}

// glibc's own names, as in `libc_names`.
#[cfg(target_os = "linux")]
core::arch::global_asm!(
    ".macro knoll_alias name, of",
    ".globl \\name",
    ".type \\name, %function",
    ".set \\name, \\of",
    ".endm",
    "knoll_alias __libc_mallinfo, mallinfo",
    "knoll_alias __libc_mallopt, mallopt",
    ".purgem knoll_alias",
);
