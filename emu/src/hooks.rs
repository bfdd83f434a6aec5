//! What the emulator tells us during a run: exceptions, faults, stores, the harness's registers.
//!
//! Guarantees
//! - `BKPT 0xAB` is a semihosting call: it stops the emulator, which goes on behind it when the
//!   call is done. (Setting PC from inside a hook would be quicker to write, but from then on
//!   Unicorn no longer says exactly which instruction accesses memory.) Every other exception
//!   and every access to where nothing is mapped ends the run as a fault, at the instruction
//!   that did it.
//! - Under `--watch` each store by Knoll is checked, and each access of LDM, LDRD, VLDR and
//!   their stores must be on a multiple of 4, as the processor demands. (Unicorn does them
//!   anywhere and does not say which instruction it is: so we look, but only at odd addresses.)

use crate::counting;
use crate::cpu::Cpu;
use crate::decode;
use crate::fault::FaultKind;
use crate::machine::{stop, Engine, Stop};
use crate::ports::{self, Message};
use crate::semihosting::Memory;
use crate::serial;
use crate::single_step::{ReadCode, SingleSteps};
use crate::watch::BadWrite;
use crate::Options;
use unicorn_engine::{uc_error, HookType, MemType, RegisterARM};

const EXCEPTION_UNALIGNED: u32 = 4;
const EXCEPTION_BREAKPOINT: u32 = 7;
const SEMIHOSTING: u8 = 0xAB;

/// Hooks what the options ask for. Memory hooks slow every access down, so they come only with
/// `--watch`.
pub(crate) fn add(engine: &mut Engine, options: &Options, cpu: Cpu) -> Result<(), uc_error> {
    const EVERYWHERE: (u64, u64) = (1, 0);
    engine.add_block_hook(EVERYWHERE.0, EVERYWHERE.1, counting::on_block)?;
    engine.add_intr_hook(on_exception)?;
    let faults = HookType::MEM_UNMAPPED | HookType::MEM_PROT;
    engine.add_mem_hook(faults, EVERYWHERE.0, EVERYWHERE.1, on_memory_fault)?;
    if options.watch {
        engine.add_mem_hook(HookType::MEM_WRITE, EVERYWHERE.0, EVERYWHERE.1, on_write)?;
        // M0 checks all alignment by itself.
        if cpu != Cpu::M0 && !options.stores_alone {
            engine.add_mem_hook(HookType::MEM_READ, EVERYWHERE.0, EVERYWHERE.1, on_read)?;
        }
    }
    if options.single_step {
        engine.add_code_hook(EVERYWHERE.0, EVERYWHERE.1, on_instruction)?;
    }
    engine.mmio_map(
        u64::from(ports::BASE),
        u64::from(ports::BYTES),
        Some(|engine: &mut Engine, offset: u64, _: usize| on_port_read(engine, offset as u32)),
        Some(|engine: &mut Engine, offset: u64, _: usize, value: u64| {
            on_port_write(engine, offset as u32, value as u32);
        }),
    )
}

/// Gives the machine a serial port.
pub(crate) fn add_serial(engine: &mut Engine) -> Result<(), uc_error> {
    engine.mmio_map(
        u64::from(serial::BASE),
        u64::from(serial::BYTES),
        Some(|engine: &mut Engine, offset: u64, _: usize| {
            let port = &mut engine.get_data_mut().serial;
            let value = port.read(offset as u32);
            if port.is_awaited() {
                stop(engine, Stop::Waiting);
            }
            u64::from(value)
        }),
        Some(|engine: &mut Engine, offset: u64, _: usize, value: u64| {
            engine.get_data_mut().serial.write(offset as u32, value as u32);
        }),
    )
}

fn on_exception(engine: &mut Engine, number: u32) {
    let why = match number {
        EXCEPTION_BREAKPOINT => {
            let pc = engine.reg_read(RegisterARM::PC).unwrap_or(0) as u32 & !1;
            match engine.read(pc, 1).map_or(0, |byte| byte[0]) {
                SEMIHOSTING => {
                    engine.get_data_mut().paused = true;
                    // It can't fail: the engine is running.
                    let _ = engine.emu_stop();
                    return;
                }
                number => Stop::Fault(FaultKind::Breakpoint { number }),
            }
        }
        EXCEPTION_UNALIGNED => Stop::Fault(FaultKind::Unaligned),
        _ => Stop::Fault(FaultKind::Exception { number }),
    };
    stop(engine, why);
}

fn on_memory_fault(engine: &mut Engine, what: MemType, address: u64, size: usize, _: i64) -> bool {
    let (address, bytes) = (address as u32, size as u32);
    let stack = engine.get_data().image.stack.clone();
    let sp = engine.reg_read(RegisterARM::SP).unwrap_or(0) as u32;
    let overflow = sp < stack.start && address < stack.start;
    let kind = match what {
        MemType::WRITE_UNMAPPED | MemType::READ_UNMAPPED if overflow && address >= sp => {
            FaultKind::StackOverflow { address }
        }
        MemType::WRITE_UNMAPPED => FaultKind::WriteUnmapped { address, bytes },
        MemType::WRITE_PROT => FaultKind::WriteFlash { address, bytes },
        MemType::FETCH_UNMAPPED | MemType::FETCH_PROT => FaultKind::FetchUnmapped { address },
        _ => FaultKind::ReadUnmapped { address, bytes },
    };
    stop(engine, Stop::Fault(kind));
    false
}

/// An access of a word or more that is not on a multiple of 4.
fn on_misaligned(engine: &mut Engine) {
    let pc = engine.reg_read(RegisterARM::PC).unwrap_or(0) as u32 & !1;
    let first = engine.read(pc, 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    if first.is_some_and(decode::needs_alignment) {
        stop(engine, Stop::Fault(FaultKind::Unaligned));
    }
}

/// To tell us which instruction accesses memory, Unicorn brings the processor's state up to date
/// in the middle of a block, that of an IT block included. But code is translated for a state
/// that says nothing of IT but at the start of a block: what was brought up to date would make
/// the *next* block skip instructions. So clear it again; in a block without IT there is nothing to clear.
fn forget_it_state(engine: &mut Engine) {
    const IT: u64 = 0x0600_FC00;
    if !engine.get_data().has_it {
        return;
    }
    let state = engine.reg_read(RegisterARM::CPSR).unwrap_or(0);
    if state & IT != 0 {
        // It can't fail: the register exists, it was just read.
        let _ = engine.reg_write(RegisterARM::CPSR, state & !IT);
    }
}

fn on_read(engine: &mut Engine, _: MemType, address: u64, size: usize, _: i64) -> bool {
    forget_it_state(engine);
    if address & 3 != 0 && size >= 4 {
        on_misaligned(engine);
    }
    true
}

fn on_write(engine: &mut Engine, _: MemType, address: u64, size: usize, value: i64) -> bool {
    forget_it_state(engine);
    if address & 3 != 0 && size >= 4 {
        on_misaligned(engine);
    }
    let run = engine.get_data_mut();
    if run.watch.acting && address < u64::from(ports::BASE) {
        run.watch.writes += 1;
        let (address, bytes) = (address as u32, size as u32);
        if !run.watch.allows(address, bytes) {
            let mask = u64::MAX >> (64 - 8 * bytes.clamp(1, 8));
            let write = BadWrite { address, bytes, value: value as u64 & mask };
            stop(engine, Stop::BadWrite(write));
        }
    }
    true
}

fn on_instruction(engine: &mut Engine, address: u64, bytes: u32) {
    with_single_steps(engine, |steps, code| steps.step(address as u32, bytes, code));
}

/// Lets the check of counting see the code while it counts.
pub(crate) fn with_single_steps(engine: &mut Engine, action: impl FnOnce(&mut SingleSteps, ReadCode)) {
    let mut steps = std::mem::take(&mut engine.get_data_mut().single_steps);
    action(&mut steps, &mut |from, to| engine.read(from, (to - from) as usize).unwrap_or_default());
    engine.get_data_mut().single_steps = steps;
}

fn on_port_read(engine: &mut Engine, offset: u32) -> u64 {
    let run = engine.get_data_mut();
    if offset == ports::INSTRUCTIONS {
        run.latched = (run.total >> 32) as u32;
        return run.total & u64::from(u32::MAX);
    }
    u64::from(run.latched)
}

fn on_port_write(engine: &mut Engine, offset: u32, value: u32) {
    let Some(message) = Message::decode(offset, value, engine) else {
        stop(engine, Stop::Fault(FaultKind::BadPort { offset, value }));
        return;
    };
    let run = engine.get_data_mut();
    match message {
        Message::Begin(id) => run.meter.begin(id, run.total),
        Message::End => run.meter.end(run.total),
        Message::Call(id) => {
            run.next_call = Some(id);
            run.set_pace();
        }
        Message::Name(id, name) => {
            run.names.insert(id, name);
        }
        Message::Result(name, value) => match run.results.iter_mut().find(|(known, _)| *known == name) {
            Some(result) => result.1 = value,
            None => run.results.push((name, value)),
        },
        Message::Allow(start, bytes) => run.watch.allow(start, bytes),
        Message::Forbid(start, bytes) => run.watch.forbid(start, bytes),
    }
}
