//! The loop in which most of a collection is spent: words, what they refer to, and what that refers to.
//!
//! Guarantees
//! * For heaps of one area whose blocks are held by their starts only and looked into word by word. It does what the
//!   general way in `mark.rs` does, entry by entry of the same stack.
//! * On Cortex-M3 and later it is written in assembly: the compiler spills what has room in registers, which is a
//!   quarter of all instructions. Elsewhere, and under Miri, it is the function in Rust below.
//!
//! ```text
//!   at .. end      | type | 4 | 1 | items |  words of the block that is looked into
//!                                    |
//!                  in the area?  a granule's start?  a head, not marked?  mark; to be looked into?
//!                                    |
//!   stack          | block, 1 granule | block, 2 granules | … |      the size, if the group's bits tell it
//! ```
//! Costs on Cortex-M3: 5 instructions for a word that is no pointer, some 36 for one that is, 12 for a block.

use super::heap::KnTraced;
use super::mark::Word;

#[cfg(not(all(target_arch = "arm", knoll_cortex_m, not(knoll_no_clz))))]
mod portable {
    use super::{KnTraced, Word};
    use crate::heap::bits::{lowest, WORD_BITS};
    use crate::traced::area::Area;
    use crate::traced::heap::STACK;
    use crate::traced::mark::REMAINDER;

    /// Looks at words and into all that they lead to.
    ///
    /// # Safety
    /// A heap of one area without interior pointers and trace function is being marked; the words are valid.
    #[inline(never)]
    pub unsafe fn trace_in_one(heap: *mut KnTraced, from: *const Word, to: *const Word) {
        // SAFETY: the caller's word; what is on the stack are blocks, or parts of them.
        unsafe {
            let area = &raw mut (*heap).area;
            let base = (*area).base;
            let span = (*area).count << Area::shift(area);
            let bottom = (&raw mut (*heap).stack).cast::<*mut u8>();
            let (mut at, mut end) = (from, to);
            loop {
                while at != end {
                    let offset = at.read().addr().wrapping_sub(base.addr());
                    at = at.add(1);
                    if offset >= span {
                        continue;
                    }
                    let granule = offset >> Area::shift(area);
                    if granule << Area::shift(area) != offset {
                        continue;
                    }
                    let group = &mut *Area::group(area, granule);
                    let place = granule % WORD_BITS;
                    let bit = 1 << place;
                    if group.heads & !group.marks & bit == 0 {
                        continue;
                    }
                    group.marks |= bit;
                    if group.scan & bit == 0 {
                        continue;
                    }
                    if (*heap).waiting == STACK {
                        Area::remember(area, granule);
                        continue;
                    }
                    // If the block ends in this group its size is known, and often small.
                    let behind = !group.tails() >> place >> 1;
                    let more = if behind == 0 { REMAINDER } else { lowest(behind) };
                    let known = if more + 1 < REMAINDER { more + 1 } else { 0 };
                    bottom.add((*heap).waiting).write(base.wrapping_add(offset | known));
                    (*heap).waiting += 1;
                }
                if (*heap).waiting == 0 {
                    break;
                }
                (*heap).waiting -= 1;
                let next = bottom.add((*heap).waiting).read();
                let (start, behind) = KnTraced::part(heap, area, next);
                at = start.cast();
                end = behind.cast();
            }
        }
    }
}

#[cfg(not(all(target_arch = "arm", knoll_cortex_m, not(knoll_no_clz))))]
pub(super) use portable::trace_in_one;

#[cfg(all(target_arch = "arm", knoll_cortex_m, not(knoll_no_clz)))]
mod thumb {
    use super::{KnTraced, Word};
    use crate::traced::area::Area;
    use crate::traced::heap::STACK;
    use crate::traced::mark::REMAINDER;
    use core::mem::offset_of;

    const _: () = assert!(REMAINDER == 7);
    const AREA: usize = offset_of!(KnTraced, area);

    /// Looks at words and into all that they lead to.
    ///
    /// # Safety
    /// A heap of one area without interior pointers and trace function is being marked; the words are valid.
    pub unsafe fn trace_in_one(heap: *mut KnTraced, from: *const Word, to: *const Word) {
        // SAFETY: the caller's word. The loop takes two words at a time, up to a multiple of 8; the words before
        // and behind get one beside them that is no address.
        unsafe {
            let (mut from, mut to) = (from, to);
            if from.addr() % 8 != 0 && from != to {
                trace_one(heap, from.read());
                from = from.add(1);
            }
            if to.addr() % 8 != 0 && from != to {
                to = to.sub(1);
                trace_one(heap, to.read());
            }
            trace_pairs(heap, from, to);
        }
    }

    /// Two words where the loop wants them.
    #[repr(align(8))]
    struct Pair([Word; 2]);

    /// Looks at a word, and into all that it leads to.
    ///
    /// # Safety
    /// As [`trace_in_one`].
    #[inline(never)]
    unsafe fn trace_one(heap: *mut KnTraced, word: Word) {
        let Pair(pair) = &Pair([word, core::ptr::null()]);
        // SAFETY: the caller's word.
        unsafe { trace_pairs(heap, pair.as_ptr(), pair.as_ptr().add(2)) }
    }

    /// What an entry of the stack says to look at: the start in the lower half, the end in the upper one.
    ///
    /// # Safety
    /// As [`KnTraced::part`].
    unsafe extern "C" fn part(heap: *mut KnTraced, entry: *mut u8) -> u64 {
        // SAFETY: the caller's word. Addresses alone: the loop below is not Rust.
        let (start, end) = unsafe { KnTraced::part(heap, &raw mut (*heap).area, entry) };
        start.addr() as u64 | (end.addr() as u64) << 32
    }

    /// Remembers a block that the stack has no room for.
    ///
    /// # Safety
    /// A block starts at the offset.
    unsafe extern "C" fn remember(heap: *mut KnTraced, offset: usize) {
        // SAFETY: the caller's word.
        unsafe { Area::remember(&raw mut (*heap).area, offset >> Area::shift(&raw const (*heap).area)) }
    }

    /// # Safety
    /// As [`trace_in_one`]; both addresses are multiples of 8.
    #[unsafe(naked)]
    unsafe extern "C" fn trace_pairs(heap: *mut KnTraced, from: *const Word, to: *const Word) {
        // r1 at, r2 end, r3 base, r4 span in bytes, r5 waiting entries' end, r6 groups, r7 shift
        // r8 offset, r9 place, r10 group, r11 heads, r12 scan, lr marks, r0 anything
        // sp: heap, the end of the stack, its beginning
        core::arch::naked_asm!(
            "push {{r4-r11, lr}}",
            "sub sp, #12",
            "str r0, [sp]",
            "addw r5, r0, #{stack}",
            "str r5, [sp, #8]",
            "add r3, r5, #{stack_bytes}",
            "str r3, [sp, #4]",
            "ldr r3, [r0, #{waiting}]",
            "add r5, r5, r3, lsl #2",
            "ldr r3, [r0, #{base}]",
            "ldr r4, [r0, #{count}]",
            "ldr r7, [r0, #{shift}]",
            "ldr r6, [r0, #{groups}]",
            "lsls r4, r7",
            "cmp r1, r2",
            "beq 6f",
            // The first word of a pair.
            "1:",
            "ldr r8, [r1], #4",
            "sub r8, r8, r3",
            "cmp r8, r4",
            "blo 4f",
            // The second.
            "2:",
            "ldr r8, [r1], #4",
            "sub r8, r8, r3",
            "cmp r8, r4",
            "blo 4f",
            "3:",
            "cmp r1, r2",
            "bne 1b",
            "b 6f",
            // An address of the area: of a head, not marked?
            "4:",
            // Bits below the granule become the highest: then it is more than the area has bytes.
            "ror r9, r8, r7",
            "cmp r9, r4",
            "bhs 5f",
            "lsrs r0, r9, #5",
            "add r10, r0, r0, lsl #1",
            "add r10, r6, r10, lsl #2",
            "ldm r10, {{r11, r12, lr}}",
            "and r9, r9, #31",
            "movs r0, #1",
            "lsls r0, r9",
            "tst r11, r0",
            "beq 5f",
            "tst lr, r0",
            "bne 5f",
            "orr lr, lr, r0",
            "str lr, [r10, #8]",
            "tst r12, r0",
            "beq 5f",
            "ldr r0, [sp, #4]",
            "cmp r5, r0",
            "beq 8f",
            // Granules behind it that are no tails, from the next one on.
            "orn r11, r11, r12",
            "lsr r11, r11, r9",
            "lsrs r11, r11, #1",
            "rbit r11, r11",
            "clz r11, r11",
            "add r8, r8, r3",
            "cmp r11, #6",
            "itt lo",
            "addlo r8, r8, r11",
            "addlo r8, r8, #1",
            "str r8, [r5], #4",
            "5:",
            "tst r1, #4",
            "bne 2b",
            "cmp r1, r2",
            "bne 1b",
            // The next entry.
            "6:",
            "ldr r0, [sp, #8]",
            "cmp r5, r0",
            "beq 9f",
            "ldr r8, [r5, #-4]!",
            "ands r9, r8, #7",
            "beq 7f",
            "bic r1, r8, #7",
            "cmp r9, #7",
            "beq 7f",
            "lsl r9, r9, r7",
            "add r2, r1, r9",
            "b 1b",
            // A block of unknown size, or a remainder.
            "7:",
            "subs r1, r5, r0",
            "ldr r0, [sp]",
            "lsrs r1, r1, #2",
            "str r1, [r0, #{waiting}]",
            "mov r1, r8",
            "bl {part}",
            "mov r2, r1",
            "mov r1, r0",
            "ldr r0, [sp]",
            "ldr r5, [r0, #{waiting}]",
            "ldr r3, [sp, #8]",
            "add r5, r3, r5, lsl #2",
            "ldr r3, [r0, #{base}]",
            "b 1b",
            // No room.
            "8:",
            "push {{r1, r2}}",
            "ldr r0, [sp, #8]",
            "mov r1, r8",
            "bl {remember}",
            "pop {{r1, r2}}",
            "ldr r0, [sp]",
            "ldr r3, [r0, #{base}]",
            "b 5b",
            "9:",
            "ldr r0, [sp]",
            "movs r1, #0",
            "str r1, [r0, #{waiting}]",
            "add sp, #12",
            "pop {{r4-r11, pc}}",
            stack = const offset_of!(KnTraced, stack),
            stack_bytes = const STACK * 4,
            waiting = const offset_of!(KnTraced, waiting),
            base = const AREA + offset_of!(Area, base),
            count = const AREA + offset_of!(Area, count),
            shift = const AREA + offset_of!(Area, shift),
            groups = const AREA + offset_of!(Area, groups),
            part = sym part,
            remember = sym remember,
        )
    }
}

#[cfg(all(target_arch = "arm", knoll_cortex_m, not(knoll_no_clz)))]
pub(super) use thumb::trace_in_one;
