//! What happens at the start of each basic block: the counting itself.
//!
//! ```text
//!   quick   known block, nothing special, below the budget: total += its count   (most)
//!   slow    first time here, or an entry, a return address, a mark; always under
//!           --stack, and while KNOLL_MARK_CALL waits for its call
//! ```
//!
//! Guarantees: the total is exact at every block's start, which is where all calls begin and
//! end; a mark inside a block is placed by decoding the block.
//!
//! Costs: the quick way is one table load, two compares and an addition.

use crate::blocks::{flag, Entry};
use crate::decode::{self, Block, MARK_END};
use crate::fault::FaultKind;
use crate::hooks::with_single_steps;
use crate::machine::{stop, Engine, Run, Stop};
use crate::measure::Subject;
use crate::semihosting::Memory;
use unicorn_engine::RegisterARM;

/// Flags that need the slow way.
const SPECIAL: u32 = flag::ENTRY | flag::RETURN | flag::MARK;

/// The block hook.
pub(crate) fn on_block(engine: &mut Engine, address: u64, size: u32) {
    let run = engine.get_data_mut();
    let address = address as u32;
    if let Some(entry) = run.blocks.known(address) {
        let total = run.total + u64::from(entry.instructions());
        if entry.bytes() == size && entry.flags() & SPECIAL == 0 && total < run.quick_until {
            run.total = total;
            run.block = (address, size);
            if run.watching {
                note_for_watch(run, entry);
            }
            return;
        }
    }
    on_special_block(engine, address, size);
}

#[cold]
#[inline(never)]
fn on_special_block(engine: &mut Engine, address: u32, size: u32) {
    let mut entry = engine.get_data().blocks.entry(address);
    if entry.bytes() != size {
        let code = engine.read(address, size as usize).unwrap_or_default();
        let mut block = Block::of(&code);
        // An IT block may be cut in two where a page ends; four instructions have 16 bytes at most.
        let before = engine.read(address.wrapping_sub(18), 18).unwrap_or_default();
        block.has_it |= before.chunks(2).any(|two| decode::is_it(u16::from_le_bytes([two[0], two[1]])));
        entry = engine.get_data_mut().blocks.learn(address, size, block);
        if code == decode::ENDLESS_LOOP {
            engine.get_data_mut().block = (address, size);
            stop(engine, Stop::Fault(FaultKind::EndlessLoop));
            return;
        }
    }
    let run = engine.get_data();
    let before = run.total;
    let total = before + u64::from(entry.instructions());
    if total > run.budget {
        engine.get_data_mut().block = (address, size);
        stop(engine, Stop::Budget);
        return;
    }
    if run.stepping {
        with_single_steps(engine, |steps, code| steps.start_block(address, size, code));
    }
    let run = engine.get_data();
    let flags = entry.flags();
    let needs_stack = flags & (flag::ENTRY | flag::RETURN) != 0 || run.sounding || run.next_call.is_some();
    let stack = if needs_stack { engine.reg_read(RegisterARM::SP).unwrap_or(0) as u32 } else { 0 };
    if flags & flag::RETURN != 0 {
        engine.get_data_mut().meter.arrive(address, before, stack);
    }
    let awaited = engine.get_data().next_call;
    let by_call = (flags & flag::ENTRY != 0 || awaited.is_some()) && arrived_by_call(engine, address);
    if let Some(id) = awaited {
        // A call at a function's very end is made by a jump.
        if by_call || engine.get_data().functions.contains(&address) {
            enter(engine, Subject::Call(id), by_call, before, stack);
            let run = engine.get_data_mut();
            run.next_call = None;
            run.set_pace();
        }
    }
    if flags & flag::ENTRY != 0 {
        let here = engine.get_data().entries.get(&address);
        for subject in here.cloned().unwrap_or_default() {
            enter(engine, subject, by_call, before, stack);
        }
    }
    if flags & flag::MARK != 0 {
        end_marks(engine, address, size, before);
    }
    let run = engine.get_data_mut();
    run.total = total;
    run.block = (address, size);
    if let Some(profile) = run.profile.as_mut().filter(|_| run.meter.is_marking()) {
        profile.add(address, entry.instructions());
    }
    if run.sounding {
        let lowest = run.blocks.lowest_stack(address);
        run.meter.stack_at(stack.saturating_add_signed(lowest));
    }
    if run.watching {
        note_for_watch(run, entry);
    }
}

/// Whose doing the stores of a block are, and whether IT is to be thought of. A helper acts for whoever called it, so it
/// leaves the first question as it was.
#[inline(always)]
fn note_for_watch(run: &mut Run, entry: Entry) {
    run.has_it = entry.flags() & flag::IT != 0;
    if entry.flags() & flag::HELPER == 0 {
        run.watch.acting = entry.flags() & flag::KNOLL != 0;
    }
}

/// Whether the last block ended with a call that was taken.
fn arrived_by_call(engine: &mut Engine, address: u32) -> bool {
    let (start, bytes) = engine.get_data().block;
    let end = start.wrapping_add(bytes);
    let before = engine.read(end.wrapping_sub(4), 4);
    address != end && before.is_some_and(|four| decode::is_after_call([four[0], four[1], four[2], four[3]]))
}

fn enter(engine: &mut Engine, subject: Subject, by_call: bool, before: u64, stack: u32) {
    let register = |register| engine.reg_read(register).unwrap_or(0) as u32;
    let return_to = register(RegisterARM::LR) & !1;
    let arguments = [register(RegisterARM::R0), register(RegisterARM::R1), register(RegisterARM::R2)];
    let run = engine.get_data_mut();
    if run.meter.enter(subject, by_call, before, return_to, stack, arguments) {
        run.blocks.set(return_to, flag::RETURN);
    }
}

fn end_marks(engine: &mut Engine, address: u32, size: u32, before: u64) {
    let code = engine.read(address, size as usize).unwrap_or_default();
    let meter = &mut engine.get_data_mut().meter;
    for (index, instruction) in decode::instructions(&code).enumerate() {
        if instruction.first == MARK_END {
            meter.end(before + index as u64);
        }
    }
}
