//! The machine: Unicorn with a firmware in it, run to its end.
//!
//! Guarantees
//! - The processor model is set explicitly; start is as after reset (SP and PC from the vector
//!   table, privileged thread mode, FPU usable on M4).
//! - Mapped are flash (read-only), RAM, the system control page as plain memory, and the
//!   harness's registers. All else faults.
//! - The same firmware with the same arguments and files runs the same instructions every time.
//!
//! ```text
//!   0x08000000  flash, read and execute      0xE0000000  the harness's registers (ports.rs)
//!   0x20000000  RAM                          0xE000E000  system control, plain memory
//! ```
//!
//! What is not emulated: interrupts, SysTick, bus timing, and the faults of LDM, LDRD and their
//! stores on an unaligned address on M3 and M4 (M0 faults on every unaligned access).

use crate::backtrace::{backtrace, Registers};
use crate::blocks::{flag, Blocks};
use crate::counting;
use crate::cpu::Cpu;
use crate::decode;
use crate::fault::{End, FaultKind, State};
use crate::files::{Files, Stream};
use crate::image::Image;
use crate::measure::{Meter, Subject};
use crate::ports::{self, Message};
use crate::semihosting::{Host, Memory, Outcome};
use crate::watch::{is_knoll_function, is_memory_function, BadWrite, Watch};
use crate::Options;
use anyhow::{anyhow, ensure, Context, Result};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::rc::Rc;
use unicorn_engine::{uc_error, Arch, HookType, MemType, Mode, Prot, RegisterARM, Unicorn};

/// The emulator with our state in it.
pub(crate) type Engine<'a> = Unicorn<'a, Run>;

const SYSTEM_CONTROL: u64 = 0xE000_E000;
const EXCEPTION_UNALIGNED: u32 = 4;
const EXCEPTION_BREAKPOINT: u32 = 7;
const SEMIHOSTING: u8 = 0xAB;

const NUMBERED: [RegisterARM; 16] = [
    RegisterARM::R0,
    RegisterARM::R1,
    RegisterARM::R2,
    RegisterARM::R3,
    RegisterARM::R4,
    RegisterARM::R5,
    RegisterARM::R6,
    RegisterARM::R7,
    RegisterARM::R8,
    RegisterARM::R9,
    RegisterARM::R10,
    RegisterARM::R11,
    RegisterARM::R12,
    RegisterARM::SP,
    RegisterARM::LR,
    RegisterARM::PC,
];

/// Why the emulator was told to stop.
pub(crate) enum Stop {
    Exit(i32),
    Budget,
    Fault(FaultKind),
    BadWrite(BadWrite),
}

/// Everything that hooks change during a run.
pub struct Run {
    pub(crate) image: Rc<Image>,
    pub(crate) host: Host,
    pub(crate) blocks: Blocks,
    pub(crate) meter: Meter,
    pub(crate) watch: Watch,
    /// Which measurements begin at an address.
    pub(crate) entries: FxHashMap<u32, Vec<Subject>>,
    /// Instructions so far, the whole current block included.
    pub(crate) total: u64,
    /// Blocks are counted without further ado while the total is below this.
    pub(crate) quick_until: u64,
    pub(crate) budget: u64,
    /// Start and length of the current block.
    pub(crate) block: (u32, u32),
    /// `KNOLL_MARK_CALL` was executed: the next call is measured under this id.
    pub(crate) next_call: Option<u32>,
    pub(crate) watching: bool,
    pub(crate) sounding: bool,
    pub(crate) names: BTreeMap<u32, String>,
    pub(crate) results: Vec<(String, i64)>,
    pub(crate) stop: Option<(Stop, Registers, u32)>,
    latched: u32,
    /// Instructions by a hook on each one, when that is asked for: the check of block counts.
    pub(crate) single_steps: u64,
}

impl Run {
    /// Decides anew how long blocks may be counted the quick way.
    pub(crate) fn set_pace(&mut self) {
        let slow = self.watching || self.sounding || self.next_call.is_some();
        self.quick_until = if slow { 0 } else { self.budget };
    }
}

/// A run that is over.
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// Instructions executed.
    pub instructions: u64,
    /// The same by counting each one, if that was asked for.
    pub single_steps: u64,
    pub(crate) run: Run,
    /// The processor it ran on.
    pub cpu: Cpu,
    /// Names of the measured symbols.
    pub measured: Vec<String>,
    /// Names of the excluded symbols.
    pub excluded: Vec<String>,
}

impl Finished {
    /// What the firmware printed, if it was captured.
    pub fn output(&self) -> String {
        text(&self.run.host.files.output)
    }

    /// What the firmware wrote to stderr, if it was captured.
    pub fn error(&self) -> String {
        text(&self.run.host.files.error)
    }

    /// Named results of the firmware, in the order of their first appearance.
    pub fn results(&self) -> &[(String, i64)] {
        &self.run.results
    }
}

fn text(stream: &Stream) -> String {
    match stream {
        Stream::Inherit => String::new(),
        Stream::Capture(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

impl Memory for Engine<'_> {
    fn read(&mut self, address: u32, bytes: usize) -> Option<Vec<u8>> {
        // No mapped range is this long; don't let the firmware make the host allocate it.
        if bytes > 1 << 28 {
            return None;
        }
        self.mem_read_as_vec(u64::from(address), bytes).ok()
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> bool {
        self.mem_write(u64::from(address), bytes).is_ok()
    }
}

fn failed(what: &'static str) -> impl FnOnce(uc_error) -> anyhow::Error {
    move |error| anyhow!("the emulator refuses to {what}: {error:?}")
}

/// Runs a firmware to its end.
pub fn run(image: Image, options: &Options) -> Result<Finished> {
    let cpu = options.cpu.or(image.cpu).context("the file does not say which CPU it is for: give --cpu")?;
    let image = Rc::new(image);
    let (measured, excluded, run) = prepare(&image, options)?;
    let mut engine = Unicorn::new_with_data(Arch::ARM, Mode::THUMB | Mode::MCLASS, run).map_err(failed("start"))?;
    engine.ctl_set_cpu_model(cpu.model()).map_err(failed("be this CPU"))?;
    map(&mut engine, &image).map_err(failed("map the firmware's memory"))?;
    add_hooks(&mut engine, options).map_err(failed("be hooked"))?;
    reset(&mut engine, &image, cpu).map_err(failed("be reset"))?;

    let begin = u64::from(image.entry) | 1;
    let answer = engine.emu_start(begin, u64::from(u32::MAX), 0, 0);
    let end = end_of(&mut engine, answer)?;
    let run = std::mem::replace(engine.get_data_mut(), prepare(&image, options)?.2);
    let mut finished =
        Finished { end, instructions: run.total, single_steps: run.single_steps, run, cpu, measured, excluded };
    finished.run.meter.finish();
    Ok(finished)
}

/// Symbols to measure and to leave out, and the state a run starts with.
fn prepare(image: &Rc<Image>, options: &Options) -> Result<(Vec<String>, Vec<String>, Run)> {
    let mut entries: FxHashMap<u32, Vec<Subject>> = FxHashMap::default();
    let mut find = |patterns: &[String], subject: fn(usize) -> Subject| -> Result<Vec<String>> {
        let mut names = Vec::new();
        for pattern in patterns {
            let found = image.symbols.matching(pattern);
            ensure!(
                !found.is_empty(),
                "no function '{pattern}' in the firmware (the linker drops what is never called)"
            );
            for function in found {
                let here = entries.entry(function.range.start).or_default();
                let same = |s: &Subject| std::mem::discriminant(s) == std::mem::discriminant(&subject(0));
                if !here.iter().any(same) {
                    here.push(subject(names.len()));
                    names.push(function.name.clone());
                }
            }
        }
        Ok(names)
    };
    let measured = find(&options.measure, Subject::Symbol)?;
    let excluded = find(&options.exclude, Subject::Excluded)?;

    let mut blocks = Blocks::new(image.flash.start, image.flash.end - image.flash.start);
    for address in entries.keys() {
        blocks.set(*address, flag::ENTRY);
    }
    let mut watch = Watch::default();
    if options.watch {
        blocks.set_range(image.knoll_text.clone(), flag::KNOLL);
        for function in image.symbols.named(is_knoll_function) {
            blocks.set_range(function.range.clone(), flag::KNOLL);
        }
        for function in image.symbols.named(is_memory_function) {
            if !image.knoll_text.contains(&function.range.start) {
                blocks.set_range(function.range.clone(), flag::MEMORY);
            }
        }
        for range in [&image.stack, &image.knoll_statics] {
            watch.allow(range.start, range.end - range.start);
        }
    }
    let stream = || {
        if options.capture {
            Stream::Capture(Vec::new())
        } else {
            Stream::Inherit
        }
    };
    let mut files = Files::new(options.folder.clone(), stream(), stream());
    files.input = options.input.clone().map(std::io::Cursor::new);
    let arguments = &options.arguments;
    let mut run = Run {
        host: Host::new(files, arguments, image.heap.clone(), image.stack.clone()),
        image: Rc::clone(image),
        blocks,
        meter: Meter::new(measured.len(), excluded.len()),
        watch,
        entries,
        total: 0,
        quick_until: 0,
        budget: options.budget.unwrap_or(u64::MAX),
        block: (0, 0),
        next_call: None,
        watching: options.watch,
        sounding: options.stack,
        names: BTreeMap::new(),
        results: Vec::new(),
        stop: None,
        latched: 0,
        single_steps: 0,
    };
    run.set_pace();
    Ok((measured, excluded, run))
}

fn map(engine: &mut Engine, image: &Image) -> Result<(), uc_error> {
    let sizes = |range: &std::ops::Range<u32>| (u64::from(range.start), u64::from(range.end - range.start));
    let (start, bytes) = sizes(&image.flash);
    engine.mem_map(start, bytes, Prot::READ | Prot::EXEC)?;
    let (start, bytes) = sizes(&image.ram);
    engine.mem_map(start, bytes, Prot::ALL)?;
    engine.mem_map(SYSTEM_CONTROL, 0x1000, Prot::READ | Prot::WRITE)?;
    engine.mmio_map(
        u64::from(ports::BASE),
        u64::from(ports::BYTES),
        Some(|engine: &mut Engine, offset: u64, _: usize| on_port_read(engine, offset as u32)),
        Some(|engine: &mut Engine, offset: u64, _: usize, value: u64| {
            on_port_write(engine, offset as u32, value as u32);
        }),
    )?;
    for (address, bytes) in &image.pieces {
        engine.mem_write(u64::from(*address), bytes)?;
    }
    Ok(())
}

fn reset(engine: &mut Engine, image: &Image, cpu: Cpu) -> Result<(), uc_error> {
    if cpu == Cpu::M4 {
        engine.reg_write(RegisterARM::C1_C0_2, 0xF << 20)?;
        engine.reg_write(RegisterARM::FPEXC, 1 << 30)?;
    }
    engine.reg_write(RegisterARM::SP, u64::from(image.stack_pointer))?;
    engine.reg_write(RegisterARM::LR, u64::from(u32::MAX))?;
    Ok(())
}

fn add_hooks(engine: &mut Engine, options: &Options) -> Result<(), uc_error> {
    const EVERYWHERE: (u64, u64) = (1, 0);
    engine.add_block_hook(EVERYWHERE.0, EVERYWHERE.1, counting::on_block)?;
    engine.add_intr_hook(on_exception)?;
    let faults = HookType::MEM_UNMAPPED | HookType::MEM_PROT;
    engine.add_mem_hook(faults, EVERYWHERE.0, EVERYWHERE.1, on_memory_fault)?;
    if options.watch {
        engine.add_mem_hook(HookType::MEM_WRITE, EVERYWHERE.0, EVERYWHERE.1, on_write)?;
    }
    if options.single_step {
        engine.add_code_hook(EVERYWHERE.0, EVERYWHERE.1, |engine, _, _| {
            engine.get_data_mut().single_steps += 1;
        })?;
    }
    Ok(())
}

fn registers(engine: &Engine) -> (Registers, u32) {
    let read = |register: RegisterARM| engine.reg_read(register).unwrap_or(0) as u32;
    (NUMBERED.map(read), read(RegisterARM::XPSR))
}

/// Stops the run; the first reason stands.
pub(crate) fn stop(engine: &mut Engine, why: Stop) {
    if engine.get_data().stop.is_none() {
        let (registers, xpsr) = registers(engine);
        engine.get_data_mut().stop = Some((why, registers, xpsr));
    }
    // It can only fail for an engine that isn't running, and then there is nothing to stop.
    let _ = engine.emu_stop();
}

fn on_exception(engine: &mut Engine, number: u32) {
    if number == EXCEPTION_BREAKPOINT {
        let pc = engine.reg_read(RegisterARM::PC).unwrap_or(0) as u32 & !1;
        let number = engine.read(pc, 1).map_or(0, |byte| byte[0]);
        if number == SEMIHOSTING {
            on_semihosting(engine, pc);
        } else {
            stop(engine, Stop::Fault(FaultKind::Breakpoint { number }));
        }
        return;
    }
    let kind = match number {
        EXCEPTION_UNALIGNED => FaultKind::Unaligned,
        _ => FaultKind::Exception { number },
    };
    stop(engine, Stop::Fault(kind));
}

fn on_semihosting(engine: &mut Engine, pc: u32) {
    let register = |register| engine.reg_read(register).unwrap_or(0) as u32;
    let (operation, argument) = (register(RegisterARM::R0), register(RegisterARM::R1));
    let instructions = engine.get_data().total;
    // The host works on the firmware's memory, so it can't stay inside the engine meanwhile.
    let nothing = Host::new(Files::new(None, Stream::Inherit, Stream::Inherit), &[], 0..0, 0..0);
    let mut host = std::mem::replace(&mut engine.get_data_mut().host, nothing);
    let outcome = host.call(operation, argument, engine, instructions);
    engine.get_data_mut().host = host;
    match outcome {
        Outcome::Exit(status) => stop(engine, Stop::Exit(status)),
        Outcome::Answer(answer) => {
            let answer = u64::from(answer as u32);
            let resumed = engine
                .reg_write(RegisterARM::R0, answer)
                .and_then(|()| engine.reg_write(RegisterARM::PC, u64::from(pc + 2) | 1));
            if resumed.is_err() {
                stop(engine, Stop::Fault(FaultKind::Breakpoint { number: SEMIHOSTING }));
            }
        }
    }
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

fn on_write(engine: &mut Engine, _: MemType, address: u64, size: usize, value: i64) -> bool {
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

/// What the emulator's answer means, now that it stands still.
fn end_of(engine: &mut Engine, answer: Result<(), uc_error>) -> Result<End> {
    let (why, registers, xpsr) = match engine.get_data_mut().stop.take() {
        Some(stopped) => stopped,
        None => {
            let (registers, xpsr) = registers(engine);
            let kind = match answer {
                Ok(()) => FaultKind::Asleep,
                Err(uc_error::INSN_INVALID) => FaultKind::InvalidInstruction,
                Err(uc_error::EXCEPTION) => FaultKind::NotThumb,
                Err(uc_error::FETCH_UNMAPPED | uc_error::FETCH_PROT) => {
                    FaultKind::FetchUnmapped { address: registers[15] }
                }
                Err(other) => return Err(anyhow!("the emulator gave up: {other:?}")),
            };
            (Stop::Fault(kind), registers, xpsr)
        }
    };
    if let Stop::Fault(_) | Stop::BadWrite(_) = why {
        uncount_rest_of_block(engine, registers[15]);
    }
    if let Stop::Exit(status) = why {
        return Ok(End::Exit(status));
    }
    let image = Rc::clone(&engine.get_data().image);
    let state =
        State { registers, xpsr, backtrace: backtrace(&image, &registers, &mut |address| engine.word(address)) };
    Ok(match why {
        Stop::Exit(status) => End::Exit(status),
        Stop::Budget => End::Budget(engine.get_data().budget, state),
        Stop::Fault(kind) => End::Fault(kind, state),
        Stop::BadWrite(write) => End::BadWrite(write, state),
    })
}

/// A block is counted when it starts; when it stops half-way, the rest was never executed.
fn uncount_rest_of_block(engine: &mut Engine, pc: u32) {
    let (start, bytes) = engine.get_data().block;
    let Some(offset) = pc.checked_sub(start).filter(|offset| *offset < bytes) else {
        return;
    };
    if let Some(code) = engine.read(start, bytes as usize) {
        let all = u64::from(decode::Block::of(&code).instructions);
        let done = u64::from(decode::count_before(&code, offset as usize));
        engine.get_data_mut().total -= all - done;
    }
}
