//! A heap that was made by kn_traced_create_plain does all that one with the same configuration does, and refuses what it
//! can't do; a second area makes it one that marks in the general way.

use knoll::capi::traced::*;
use knoll::traced::{KnTracedConfig, KnTracedShort, KN_NO_SCAN, KN_TRACED_INTERIOR};
use std::ffi::c_void;
use std::ptr::{null, null_mut};

const BYTES: usize = 4096;

unsafe extern "C" fn nobody_traces(_: *mut c_void, _: *mut c_void, _: usize) {}

unsafe extern "C" fn note(context: *mut c_void, report: *const KnTracedShort) {
    // SAFETY: the test's own variable; a report.
    unsafe { *context.cast::<KnTracedShort>() = *report };
}

#[test]
fn what_needs_more_is_refused() {
    let mut memory = vec![0u64; BYTES / 8];
    let at: *mut c_void = memory.as_mut_ptr().cast();
    let interior = KnTracedConfig { flags: KN_TRACED_INTERIOR, ..KnTracedConfig::DEFAULT };
    let precise = KnTracedConfig { trace: Some(nobody_traces), ..KnTracedConfig::DEFAULT };
    // SAFETY: memory of the test's.
    unsafe {
        for config in [&interior, &precise] {
            assert!(kn_traced_create_plain(at, BYTES, config).is_null());
            assert!(!kn_traced_create(at, BYTES, config).is_null());
        }
        assert!(kn_traced_create_plain(null_mut(), BYTES, null()).is_null());
        assert!(kn_traced_create_plain(at, 100, null()).is_null());
        assert!(!kn_traced_create_plain(at, BYTES, null()).is_null());
    }
}

#[test]
fn chains_over_two_areas_live_and_die() {
    let mut memory = vec![0u64; BYTES / 8];
    let mut more = vec![0u64; BYTES / 8];
    // SAFETY: numbers and null pointers.
    let mut short: KnTracedShort = unsafe { std::mem::zeroed() };
    let config = KnTracedConfig { on_short: Some(note), context: (&raw mut short).cast(), ..KnTracedConfig::DEFAULT };
    // SAFETY: memory of the test's; blocks are used while they live.
    unsafe {
        let heap = kn_traced_create_plain(memory.as_mut_ptr().cast(), BYTES, &config);
        for areas in 1..3 {
            // A chain of all that there is room for.
            let mut first: *mut c_void = null_mut();
            let mut length = 0;
            loop {
                let next = kn_traced_alloc(heap, 24, 0).cast::<*mut c_void>();
                if next.is_null() {
                    break;
                }
                *next = first;
                first = next.cast();
                length += 1;
            }
            assert!(length > areas * 80, "{length} blocks in {areas} areas");
            // The report of a plain heap is of the request alone.
            assert_eq!((short.request, short.flags, short.free, short.pin_count), (24, 0, 0, 0));
            for (root, dead) in [(first, 0), (null_mut(), length)] {
                kn_traced_collect_start(heap);
                kn_traced_mark(heap, &root, 1);
                kn_traced_collect_end(heap);
                assert_eq!(kn_traced_freed(heap), dead);
                assert_eq!(kn_traced_check(heap) as i32, 0);
            }
            let text = kn_traced_alloc(heap, 24, KN_NO_SCAN);
            kn_traced_free(heap, text);
            if areas == 1 {
                assert_eq!(kn_traced_add_area(heap, more.as_mut_ptr().cast(), BYTES, 8) as i32, 0);
            }
        }
    }
}
