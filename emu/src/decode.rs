//! Just enough Thumb decoding to count and to walk back: lengths, calls, end marks.
//!
//! Guarantees
//! - `length` is right for every Thumb instruction of ARMv6-M and ARMv7-M: the first halfword
//!   alone decides (top five bits 11101, 11110 or 11111 start a 32-bit one).
//! - `Block::of` counts each instruction of a straight piece of code once, those in an IT
//!   block too whether their condition holds or not, as a pipeline does.
//! - `stack_change` knows each way in which compilers move SP by a constant.

/// The hint `KNOLL_MARK_END` executes: unallocated in every architecture, so a no-operation.
pub const MARK_END: u16 = 0xBF50;
/// A branch to itself: where code with nothing left to do waits for ever.
pub const ENDLESS_LOOP: [u8; 2] = 0xE7FE_u16.to_le_bytes();

/// Bytes of the instruction whose first halfword this is: 2 or 4.
pub const fn length(first: u16) -> usize {
    if first >> 11 >= 0b11101 {
        4
    } else {
        2
    }
}

/// One instruction: its offset in the code it came from, and its halfwords (the second is 0
/// for a 16-bit one).
#[derive(Clone, Copy)]
pub struct Instruction {
    /// Bytes from the start of the code.
    pub offset: usize,
    /// First halfword.
    pub first: u16,
    /// Second halfword of a 32-bit instruction, else 0.
    pub second: u16,
}

/// The instructions of `code`, in order. A 32-bit one cut off at the end counts as one.
pub fn instructions(code: &[u8]) -> impl Iterator<Item = Instruction> + '_ {
    let halfword = |at: usize| match code.get(at..at + 2) {
        Some(pair) => u16::from_le_bytes([pair[0], pair[1]]),
        None => 0,
    };
    let mut offset = 0;
    std::iter::from_fn(move || {
        if offset + 2 > code.len() {
            return None;
        }
        let first = halfword(offset);
        let bytes = length(first);
        let second = if bytes == 4 { halfword(offset + 2) } else { 0 };
        let instruction = Instruction { offset, first, second };
        offset += bytes;
        Some(instruction)
    })
}

/// What counting needs to know of one basic block.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Block {
    /// How many instructions it has.
    pub instructions: u32,
    /// Whether `KNOLL_MARK_END` is among them.
    pub has_mark: bool,
    /// Whether an IT instruction is among them.
    pub has_it: bool,
    /// The lowest SP reaches in it, relative to SP at its start: zero or negative.
    pub lowest_stack: i32,
}

impl Block {
    /// Decodes a block's code.
    pub fn of(code: &[u8]) -> Block {
        let mut block = Block::default();
        let mut stack = 0;
        for instruction in instructions(code) {
            block.instructions += 1;
            block.has_mark |= instruction.first == MARK_END;
            block.has_it |= is_it(instruction.first);
            stack += stack_change(instruction);
            block.lowest_stack = block.lowest_stack.min(stack);
        }
        block
    }
}

/// How many instructions of `code` begin before byte `offset`.
pub fn count_before(code: &[u8], offset: usize) -> u32 {
    instructions(code).take_while(|instruction| instruction.offset < offset).map(|_| 1).sum()
}

/// Whether the four bytes before a return address hold a call: BL, or BLX by register.
pub fn is_after_call(before: [u8; 4]) -> bool {
    let early = u16::from_le_bytes([before[0], before[1]]);
    let late = u16::from_le_bytes([before[2], before[3]]);
    let branch_with_link = early >> 11 == 0b11110 && late & 0xD000 == 0xD000;
    let branch_by_register = late & 0xFF87 == 0x4780;
    branch_with_link || branch_by_register
}

/// Whether an instruction that begins so accesses words and takes no unaligned address, on any
/// Cortex-M: LDM, STM, PUSH, POP, LDRD, STRD, VLDR, VSTR, VLDM and VSTM.
pub fn needs_alignment(first: u16) -> bool {
    match first >> 12 {
        0b1100 => true,                     // 16-bit LDM, STM
        0b1011 => first & 0x0600 == 0x0400, // PUSH, POP
        0b1110 => first & 0xFE00 == 0xE800 || first & 0xFE00 == 0xEC00,
        _ => false,
    }
}

/// Whether an instruction that begins so is IT, which makes up to four behind it conditional.
pub fn is_it(first: u16) -> bool {
    first & 0xFF00 == 0xBF00 && first & 0xF != 0
}

/// By how much an instruction moves SP, for all the forms that take a constant: PUSH, POP,
/// ADD/SUB SP, STMDB/LDMIA SP!, STR/LDR and STRD/LDRD with write-back, VPUSH/VPOP.
pub fn stack_change(instruction: Instruction) -> i32 {
    let Instruction { first, second, .. } = instruction;
    let words = |list: u16| 4 * list.count_ones() as i32;
    match first {
        _ if first & 0xFE00 == 0xB400 => -words(first & 0x1FF),
        _ if first & 0xFE00 == 0xBC00 => words(first & 0x1FF),
        _ if first & 0xFF80 == 0xB080 => -4 * i32::from(first & 0x7F),
        _ if first & 0xFF80 == 0xB000 => 4 * i32::from(first & 0x7F),
        0xE92D => -words(second),
        0xE8BD => words(second),
        // STR/LDR Rt, [SP, #-imm8]! and [SP], #imm8.
        0xF84D | 0xF85D if second & 0x0900 == 0x0900 => {
            let bytes = i32::from(second & 0xFF);
            if second & 0x0200 == 0 {
                -bytes
            } else {
                bytes
            }
        }
        // STRD/LDRD with write-back: P U 1 W 0/1 in the first halfword.
        _ if first & 0xFE6F == 0xE86D => {
            let bytes = 4 * i32::from(second & 0xFF);
            if first & 0x0080 == 0 {
                -bytes
            } else {
                bytes
            }
        }
        // VPUSH and VPOP: the second halfword's low byte is a number of words.
        0xED2D | 0xED6D if second & 0x0E00 == 0x0A00 => -4 * i32::from(second & 0xFF),
        0xECBD | 0xECFD if second & 0x0E00 == 0x0A00 => 4 * i32::from(second & 0xFF),
        // ADD.W, SUB.W, ADDW and SUBW SP, SP, #constant.
        _ if second & 0x8F00 == 0x0D00 => match first & !0x0410 {
            0xF1AD => -modified_constant(first, second),
            0xF10D => modified_constant(first, second),
            _ => match first & !0x0400 {
                0xF2AD => -plain_constant(first, second),
                0xF20D => plain_constant(first, second),
                _ => 0,
            },
        },
        _ => 0,
    }
}

fn plain_constant(first: u16, second: u16) -> i32 {
    let i = u32::from(first >> 10 & 1);
    let imm3 = u32::from(second >> 12 & 7);
    let imm8 = u32::from(second & 0xFF);
    (i << 11 | imm3 << 8 | imm8) as i32
}

fn modified_constant(first: u16, second: u16) -> i32 {
    let imm12 = plain_constant(first, second) as u32;
    let byte = imm12 & 0xFF;
    let value = match imm12 >> 8 {
        0 => byte,
        1 => byte << 16 | byte,
        2 => byte << 24 | byte << 8,
        3 => byte << 24 | byte << 16 | byte << 8 | byte,
        _ => (0x80 | imm12 & 0x7F).rotate_right(imm12 >> 7),
    };
    value as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(halfwords: &[u16]) -> Vec<u8> {
        halfwords.iter().flat_map(|h| h.to_le_bytes()).collect()
    }

    #[test]
    fn counts_both_lengths() {
        // push {r4, lr}; bl +0; it ne; movne r0, #1; pop {r4, pc}
        let block = Block::of(&code(&[0xB510, 0xF000, 0xF800, 0xBF18, 0x2001, 0xBD10]));
        assert_eq!(block.instructions, 5);
        assert_eq!(block.lowest_stack, -8);
        assert!(!block.has_mark);
    }

    #[test]
    fn finds_the_end_mark() {
        let text = code(&[0x2001, MARK_END, 0x2002]);
        assert!(Block::of(&text).has_mark);
        assert_eq!(count_before(&text, 2), 1);
        // The same bits as the second half of a 32-bit instruction are no mark.
        assert!(!Block::of(&code(&[0xF8D0, MARK_END])).has_mark);
    }

    #[test]
    fn knows_calls() {
        let bytes = |h: [u16; 2]| {
            let v = code(&h);
            [v[0], v[1], v[2], v[3]]
        };
        assert!(is_after_call(bytes([0xF7FF, 0xFFFE]))); // bl
        assert!(is_after_call(bytes([0x2000, 0x4798]))); // blx r3
        assert!(!is_after_call(bytes([0x2000, 0x4718]))); // bx r3
        assert!(!is_after_call(bytes([0xF7FF, 0xBFFE]))); // b.w
    }

    #[test]
    fn knows_what_must_be_aligned() {
        for first in [0xC8FF, 0xB510, 0xBD10, 0xE92D, 0xE9D0, 0xE8BD, 0xED9F, 0xECB1] {
            assert!(needs_alignment(first), "{first:#x}");
        }
        // ldr, str, ldr.w, a branch, sub sp, cbz, bkpt
        for first in [0x6800, 0x6000, 0xF8D0, 0xE7FE, 0xB084, 0xB108, 0xBEAB] {
            assert!(!needs_alignment(first), "{first:#x}");
        }
    }

    #[test]
    fn follows_the_stack_pointer() {
        let change = |halfwords: &[u16]| {
            let text = code(halfwords);
            instructions(&text).map(stack_change).sum::<i32>()
        };
        assert_eq!(change(&[0xB5F0]), -20); // push {r4-r7, lr}
        assert_eq!(change(&[0xBDF0]), 20); // pop {r4-r7, pc}
        assert_eq!(change(&[0xB084]), -16); // sub sp, #16
        assert_eq!(change(&[0xB004]), 16); // add sp, #16
        assert_eq!(change(&[0xE92D, 0x4FF0]), -36); // push.w {r4-r11, lr}
        assert_eq!(change(&[0xF84D, 0xED04]), -4); // str lr, [sp, #-4]!
        assert_eq!(change(&[0xF85D, 0xFB04]), 4); // ldr pc, [sp], #4
        assert_eq!(change(&[0xF5AD, 0x7D00]), -512); // sub.w sp, sp, #512
        assert_eq!(change(&[0xF2AD, 0x4D04]), -1028); // subw sp, sp, #1028
        assert_eq!(change(&[0xED2D, 0x8B04]), -16); // vpush {d8-d9}
        assert_eq!(change(&[0xE96D, 0x4502]), -8); // strd r4, r5, [sp, #-8]!
        assert_eq!(change(&[0x4685]), 0); // mov sp, r0: not a constant
    }
}
