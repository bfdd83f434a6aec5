//! The collector's numbers: what they tell, and how they are cut off.

use super::ground::*;
use knoll::capi::accounting::*;
use knoll::counted::KnGcStats;
use knoll::heap::KnStatus;
use std::ptr::{null, null_mut};

const NOTHING: &str = "[GC] total memory: 0
[GC] occupied memory: 0
[GC] free memory: 0
[GC] collector's buffers: 0
[GC] cells: 0
[GC] pending: 0
[GC] roots: 0
[GC] threshold: 0
[GC] collections: 0
[GC] steps: 0
[GC] visited: 0
[GC] freed: 0
[GC] longest step: 0
";

#[test]
fn without_a_cell_all_is_nothing() {
    let _ground = Ground::new(16 << 10);
    assert_eq!(stats(), KnGcStats::default());
    assert_eq!(statistics(), NOTHING);
    assert_eq!(GC_check(), KnStatus::Ok);
    assert_eq!(cycles(), "");
    // Asking made nothing.
    assert_eq!(blocks(), 0);
    // SAFETY: NULL is refused.
    unsafe {
        assert_eq!(GC_stats(null_mut()), KnStatus::Invalid);
        assert_eq!(GC_reportCycles(None, null_mut()), KnStatus::Invalid);
        assert_eq!(kn_dump_instances(None, null_mut()), KnStatus::Invalid);
        assert_eq!(GC_whoHolds(null(), Some(take_text), null_mut()), KnStatus::Invalid);
    }
}

#[test]
fn statistics_tell_each_number() {
    let _ground = Ground::new(64 << 10);
    let foo = register(&FOO);
    let cells: Vec<_> = (0..3).map(|_| new(foo)).collect();
    unref(share(cells[1]));
    let now = stats();
    assert_eq!((now.cells, now.roots, now.pending, now.threshold), (3, 1, 0, 128));
    assert_eq!(now.occupied, 3 * (size_of::<Item>() + 8).next_multiple_of(8));
    let expected = format!(
        "[GC] total memory: {}\n[GC] occupied memory: {}\n[GC] free memory: {}\n[GC] collector's buffers: {}\n\
         [GC] cells: 3\n[GC] pending: 0\n[GC] roots: 1\n[GC] threshold: 128\n[GC] collections: 0\n[GC] steps: 0\n\
         [GC] visited: 0\n[GC] freed: 0\n[GC] longest step: 0\n",
        now.total, now.occupied, now.free, now.buffers
    );
    assert_eq!(statistics(), expected);
    for cell in cells {
        unref(cell);
    }
}

#[test]
fn statistics_keep_to_the_rule_of_snprintf() {
    let _ground = Ground::new(16 << 10);
    // SAFETY: NULL with no room; buffers of the length given.
    unsafe {
        assert_eq!(GC_getStatistics(null_mut(), 0), NOTHING.len());
        for room in 0..NOTHING.len() + 3 {
            let mut buffer = vec![b'#'; NOTHING.len() + 4];
            assert_eq!(GC_getStatistics(buffer.as_mut_ptr().cast(), room), NOTHING.len());
            let taken = NOTHING.len().min(room.saturating_sub(1));
            assert_eq!(&buffer[..taken], &NOTHING.as_bytes()[..taken]);
            if room > 0 {
                assert_eq!(buffer[taken], 0);
            }
            assert!(buffer[taken + usize::from(room > 0)..].iter().all(|&byte| byte == b'#'), "{room}");
        }
    }
}
