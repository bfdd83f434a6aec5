//! A heap's used blocks as one number, made apart from the library's own fingerprint.
//!
//! It is a sum over used blocks, so what is allocated adds a term and what is freed takes it away, in
//! whatever order: a program that frees what it has allocated has a sum of 0.

use knoll::heap::{KnBlock, KnHeap, KnStatus, KN_BLOCK_USED};

/// The sum over the used blocks of a live heap.
///
/// # Safety
/// `heap` is live.
pub unsafe fn print_of(heap: *mut KnHeap) -> Result<u64, String> {
    let mut sum = 0u64;
    // SAFETY: the caller's word; the visitor does not touch the heap.
    let status = unsafe {
        KnHeap::walk(heap, &mut |block: &KnBlock| {
            if block.state == KN_BLOCK_USED {
                sum = sum.wrapping_add(mix(block.start.addr() as u64, block.size as u64));
            }
            true
        })
    };
    match status {
        KnStatus::Ok => Ok(sum),
        status => Err(format!("walk says {status:?}")),
    }
}

/// A block's term: splitmix64 over address and size.
fn mix(start: u64, size: u64) -> u64 {
    let mut z = start.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ size.rotate_left(40);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
