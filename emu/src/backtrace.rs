//! Who called whom, from nothing but registers and memory.
//!
//! Two ways, the exact one first:
//! 1. call frame information (`.debug_frame`), where the function has some;
//! 2. where it has none (hand-written assembly, a program counter gone astray): LR, then the
//!    stack upwards for the next word that is an odd address in flash right behind a BL or BLX.
//!
//! Guarantees: it ends (the stack pointer only rises; at most `MOST` frames, each run of a
//! recursion counted as one), and it never fails: the worst it can do is to name a caller that
//! returned already.

use crate::decode::is_after_call;
use crate::image::Image;
use crate::symbols::Place;
use gimli::{BaseAddresses, CfaRule, Register, RegisterRule, UnwindContext, UnwindSection};

/// Different frames shown at most.
const MOST: usize = 60;
const SP: usize = 13;
const LR: usize = 14;
const PC: usize = 15;

/// r0 to r15.
pub type Registers = [u32; 16];

/// The frames from `registers[15]` outwards. `read` gives a word of memory.
pub fn backtrace(image: &Image, registers: &Registers, read: &mut dyn FnMut(u32) -> Option<u32>) -> Vec<Place> {
    let mut places = vec![image.symbols.place(registers[PC])];
    let mut now = *registers;
    let mut exact = true;
    let mut innermost = true;
    while places.len() < MOST {
        let unwound = if exact { unwind(image, &now, innermost, read) } else { None };
        let next = match unwound {
            Some(next) => next,
            None => match scan(image, &now, innermost, read) {
                Some(next) => next,
                None => break,
            },
        };
        // A frame that neither moves the stack nor the program counter would never end.
        if next[SP] < now[SP] || (next[SP] == now[SP] && !innermost) {
            break;
        }
        exact = unwound.is_some() || image.symbols.function(next[PC]).is_some();
        now = next;
        innermost = false;
        // The call is the instruction before the return address.
        let call = now[PC].wrapping_sub(2);
        match places.last_mut() {
            Some(last) if last.address == call => last.times += 1,
            _ => places.push(image.symbols.place(call)),
        }
        if image.symbols.function(now[PC].wrapping_sub(2)).is_some_and(|f| f.name == "Reset_Handler") {
            break;
        }
    }
    places
}

fn is_return_address(image: &Image, word: u32) -> bool {
    let Some(before) = (word & !1).checked_sub(4) else {
        return false;
    };
    word & 1 == 1 && image.code(before, 4).is_some_and(|four| is_after_call([four[0], four[1], four[2], four[3]]))
}

/// One step out by call frame information.
fn unwind(
    image: &Image,
    now: &Registers,
    innermost: bool,
    read: &mut dyn FnMut(u32) -> Option<u32>,
) -> Option<Registers> {
    let frames = image.symbols.frames();
    // A return address may be that of the next function when the call is the last instruction.
    let address = u64::from(now[PC]) - u64::from(!innermost);
    let bases = BaseAddresses::default();
    let mut context = UnwindContext::new();
    let row = frames.unwind_info_for_address(&bases, &mut context, address, gimli::DebugFrame::cie_from_offset).ok()?;
    let frame = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            let base = *now.get(usize::from(register.0))?;
            base.wrapping_add(*offset as u32)
        }
        CfaRule::Expression(_) => return None,
    };
    let mut next = *now;
    next[SP] = frame;
    for register in 0..=LR as u16 {
        match row.register(Register(register)) {
            RegisterRule::Offset(offset) => {
                next[usize::from(register)] = read(frame.wrapping_add(offset as u32))?;
            }
            RegisterRule::Register(other) => {
                next[usize::from(register)] = *now.get(usize::from(other.0))?;
            }
            _ => {}
        }
    }
    if !is_return_address(image, next[LR]) {
        return None;
    }
    next[PC] = next[LR] & !1;
    Some(next)
}

/// One step out by looking for something that can only be a return address.
fn scan(
    image: &Image,
    now: &Registers,
    innermost: bool,
    read: &mut dyn FnMut(u32) -> Option<u32>,
) -> Option<Registers> {
    let mut next = *now;
    if innermost && is_return_address(image, now[LR]) {
        next[PC] = now[LR] & !1;
        return Some(next);
    }
    let mut at = now[SP] & !3;
    while at < image.stack.end {
        let word = read(at)?;
        at += 4;
        if is_return_address(image, word) {
            next[PC] = word & !1;
            next[SP] = at;
            return Some(next);
        }
    }
    None
}
