//! The machine: Unicorn with a firmware in it, run to its end.
//!
//! Guarantees
//! - The processor model is the one asked for. (Unicorn's `MCLASS` mode would make every model a
//!   Cortex-M33, with unaligned accesses and instructions that the others don't have; so the mode
//!   is plain Thumb.) Start is as after reset (SP and PC from the vector
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
//! What is not emulated: interrupts, SysTick, bus timing. M0 faults on every unaligned access;
//! the faults of LDM, LDRD and their stores on an unaligned address on M3 and M4 need a look at
//! every access and come only under --watch.

use crate::backtrace::{backtrace, Registers};
use crate::blocks::{flag, Blocks};
use crate::cpu::Cpu;
use crate::decode;
use crate::fault::{End, FaultKind, State};
use crate::files::{Files, Stream};
use crate::hooks;
use crate::image::Image;
use crate::measure::{Meter, Subject};
use crate::profile::Profile;
use crate::semihosting::{Host, Memory, Outcome};
use crate::serial::Serial;
use crate::single_step::SingleSteps;
use crate::watch::{acts_for_its_caller, is_knoll_function, BadWrite, Watch};
use crate::Options;
use anyhow::{anyhow, bail, ensure, Context, Result};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use unicorn_engine::{uc_error, Arch, Mode, Prot, RegisterARM, Unicorn};

/// The emulator with our state in it.
pub(crate) type Engine<'a> = Unicorn<'a, Run>;

const SYSTEM_CONTROL: u64 = 0xE000_E000;
/// XPSR's T bit.
const THUMB: u32 = 1 << 24;

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
    Budget,
    /// The firmware polls its serial port, which has nothing for it.
    Waiting,
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
    /// Where functions start.
    pub(crate) functions: FxHashSet<u32>,
    /// Instructions so far, the whole current block included.
    pub(crate) total: u64,
    /// Blocks are counted without further ado while the total is below this.
    pub(crate) quick_until: u64,
    pub(crate) budget: u64,
    /// Start and length of the current block.
    pub(crate) block: (u32, u32),
    /// Whether instructions of the current block may depend on an IT.
    pub(crate) has_it: bool,
    /// `KNOLL_MARK_CALL` was executed: the next call is measured under this id.
    pub(crate) next_call: Option<u32>,
    pub(crate) watching: bool,
    pub(crate) sounding: bool,
    pub(crate) stepping: bool,
    pub(crate) names: BTreeMap<u32, String>,
    pub(crate) results: Vec<(String, i64)>,
    pub(crate) stop: Option<(Stop, Registers, u32)>,
    /// It stands at a semihosting call.
    pub(crate) paused: bool,
    /// High word of the total, from when its low word was read.
    pub(crate) latched: u32,
    pub(crate) single_steps: SingleSteps,
    /// The serial port, on a board that has one.
    pub(crate) serial: Serial,
    /// Which blocks ran how often, if that is asked for.
    pub(crate) profile: Option<Profile>,
}

impl Run {
    /// Decides anew how long blocks may be counted the quick way.
    pub(crate) fn set_pace(&mut self) {
        let slow = self.sounding || self.stepping || self.next_call.is_some() || self.profile.is_some();
        self.quick_until = if slow { 0 } else { self.budget };
    }
}

/// A run that is over.
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// The processor it ran on.
    pub cpu: Cpu,
    /// Instructions executed.
    pub instructions: u64,
    /// The same by counting each one, if that was asked for.
    pub single_steps: SingleSteps,
    /// Names of the measured symbols.
    pub measured: Vec<String>,
    /// Names of the excluded symbols.
    pub excluded: Vec<String>,
    /// All measurements.
    pub meter: Meter,
    /// Names that the firmware gave to marks.
    pub names: BTreeMap<u32, String>,
    /// Named results of the firmware, in the order of their first appearance.
    pub results: Vec<(String, i64)>,
    /// What the firmware printed, if it was captured.
    pub output: String,
    /// What the firmware wrote to stderr, if it was captured.
    pub error: String,
    /// The stack's place.
    pub stack: Range<u32>,
    /// Stores by Knoll that were checked, if they were.
    pub watched: Option<u64>,
    /// Deepest stack in bytes, if it was looked for.
    pub deepest: Option<u32>,
    /// Which blocks ran how often, if that was asked for.
    pub profile: Option<Profile>,
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

pub(crate) fn failed(what: &'static str) -> impl FnOnce(uc_error) -> anyhow::Error {
    move |error| anyhow!("the emulator refuses to {what}: {error:?}")
}

/// Runs a firmware to its end.
pub fn run(image: Image, options: &Options) -> Result<Finished> {
    let mut machine = Machine::new(image, options)?;
    match machine.go_on()? {
        Halt::End(end) => Ok(machine.finish(end, options)),
        Halt::Waiting => bail!("this firmware has no serial port to wait at"),
    }
}

/// Why a machine stands still.
pub(crate) enum Halt {
    /// It is over.
    End(End),
    /// It waits for input at its serial port, and can go on.
    Waiting,
}

/// A machine after reset, or wherever it last came to a halt.
pub(crate) struct Machine<'a> {
    pub(crate) engine: Engine<'a>,
    pub(crate) image: Rc<Image>,
    cpu: Cpu,
    measured: Vec<String>,
    excluded: Vec<String>,
    /// Where it goes on.
    pub(crate) pc: u32,
}

impl<'a> Machine<'a> {
    /// A machine just reset.
    pub(crate) fn new(image: Image, options: &Options) -> Result<Machine<'a>> {
        let cpu = options.cpu.or(image.cpu).context("the file does not say which CPU it is for: give --cpu")?;
        let image = Rc::new(image);
        let (measured, excluded, run) = prepare(&image, options)?;
        let mut engine = Unicorn::new_with_data(Arch::ARM, Mode::THUMB, run).map_err(failed("start"))?;
        engine.ctl_set_cpu_model(cpu.model()).map_err(failed("be this CPU"))?;
        map(&mut engine, &image).map_err(failed("map the firmware's memory"))?;
        hooks::add(&mut engine, options, cpu).map_err(failed("be hooked"))?;
        reset(&mut engine, &image, cpu).map_err(failed("be reset"))?;
        let pc = image.entry;
        Ok(Machine { engine, image, cpu, measured, excluded, pc })
    }

    /// Runs until it ends or waits.
    pub(crate) fn go_on(&mut self) -> Result<Halt> {
        run_until_halt(&mut self.engine, &mut self.pc)
    }

    /// All that was found out.
    pub(crate) fn finish(mut self, end: End, options: &Options) -> Finished {
        let run = self.engine.get_data_mut();
        let mut meter = std::mem::take(&mut run.meter);
        meter.abandon_all();
        Finished {
            end,
            cpu: self.cpu,
            instructions: run.total,
            single_steps: std::mem::take(&mut run.single_steps),
            measured: self.measured,
            excluded: self.excluded,
            names: std::mem::take(&mut run.names),
            results: std::mem::take(&mut run.results),
            output: text(&run.host.files.output),
            error: text(&run.host.files.error),
            stack: self.image.stack.clone(),
            watched: options.watch.then_some(run.watch.writes),
            deepest: options.stack.then(|| self.image.stack.end.saturating_sub(meter.lowest)),
            meter,
            profile: run.profile.take(),
        }
    }
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
        let by_name = image.symbols.named(is_knoll_function).next().is_some();
        ensure!(
            by_name || !image.knoll_text.is_empty(),
            "nothing to watch: the firmware has no code of a libknoll*.a, and no kn_ or GC_ function"
        );
        blocks.set_range(image.knoll_text.clone(), flag::KNOLL);
        for function in image.symbols.named(is_knoll_function) {
            blocks.set_range(function.range.clone(), flag::KNOLL);
        }
        for function in image.symbols.named(acts_for_its_caller) {
            blocks.set_range(function.range.clone(), flag::HELPER);
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
        functions: image.symbols.named(|_| true).map(|function| function.range.start).collect(),
        total: 0,
        quick_until: 0,
        budget: options.budget.unwrap_or(u64::MAX),
        block: (0, 0),
        has_it: true,
        next_call: None,
        watching: options.watch,
        sounding: options.stack,
        stepping: options.single_step,
        names: BTreeMap::new(),
        results: Vec::new(),
        stop: None,
        paused: false,
        latched: 0,
        single_steps: SingleSteps::default(),
        serial: Serial::default(),
        profile: options.profile.then(Profile::default),
    };
    run.meter.journal = options.journal.then(Vec::new);
    run.set_pace();
    Ok((measured, excluded, run))
}

fn map(engine: &mut Engine, image: &Image) -> Result<(), uc_error> {
    let sizes = |range: &Range<u32>| (u64::from(range.start), u64::from(range.end - range.start));
    let (start, bytes) = sizes(&image.flash);
    engine.mem_map(start, bytes, Prot::READ | Prot::EXEC)?;
    let (start, bytes) = sizes(&image.ram);
    engine.mem_map(start, bytes, Prot::ALL)?;
    engine.mem_map(SYSTEM_CONTROL, 0x1000, Prot::READ | Prot::WRITE)?;
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

/// Runs from an address, doing semihosting calls as they come, until it is over or waits; `pc` is then where to go on.
fn run_until_halt(engine: &mut Engine, pc: &mut u32) -> Result<Halt> {
    loop {
        let answer = engine.emu_start(u64::from(*pc) | 1, u64::from(u32::MAX), 0, 0);
        let run = engine.get_data_mut();
        let paused = std::mem::take(&mut run.paused);
        let stopped = match run.stop.take() {
            Some((Stop::Waiting, ..)) => {
                *pc = registers(engine).0[15];
                return Ok(Halt::Waiting);
            }
            Some(stopped) => stopped,
            None => {
                let (registers, xpsr) = registers(engine);
                if paused {
                    *pc = registers[15].wrapping_add(2);
                    match semihosting_call(engine, registers[0], registers[1])? {
                        Some(status) => return Ok(Halt::End(End::Exit(status))),
                        None => continue,
                    }
                }
                (unasked_stop(answer, &registers, xpsr)?, registers, xpsr)
            }
        };
        return Ok(Halt::End(end_of(engine, stopped)));
    }
}

/// Does a semihosting call; the status if it was the exit.
fn semihosting_call(engine: &mut Engine, operation: u32, argument: u32) -> Result<Option<i32>> {
    let instructions = engine.get_data().total;
    // The host works on the firmware's memory, so it can't stay inside the engine meanwhile.
    let mut host = std::mem::take(&mut engine.get_data_mut().host);
    let outcome = host.call(operation, argument, engine, instructions);
    engine.get_data_mut().host = host;
    match outcome {
        Outcome::Exit(status) => Ok(Some(status)),
        Outcome::Answer(answer) => {
            let answer = u64::from(answer as u32);
            engine.reg_write(RegisterARM::R0, answer).map_err(failed("set a register"))?;
            Ok(None)
        }
    }
}

/// Why the emulator stopped when no hook told it to.
fn unasked_stop(answer: Result<(), uc_error>, registers: &Registers, xpsr: u32) -> Result<Stop> {
    let kind = match answer {
        Ok(()) => FaultKind::Asleep,
        Err(uc_error::INSN_INVALID | uc_error::EXCEPTION) if xpsr & THUMB == 0 => FaultKind::NotThumb,
        Err(uc_error::INSN_INVALID | uc_error::EXCEPTION) => FaultKind::InvalidInstruction,
        Err(uc_error::FETCH_UNMAPPED | uc_error::FETCH_PROT) => FaultKind::FetchUnmapped { address: registers[15] },
        Err(other) => return Err(anyhow!("the emulator gave up: {other:?}")),
    };
    Ok(Stop::Fault(kind))
}

/// What is to be told about a run that did not exit.
fn end_of(engine: &mut Engine, (why, registers, xpsr): (Stop, Registers, u32)) -> End {
    if !matches!(why, Stop::Budget) {
        uncount_rest_of_block(engine, registers[15]);
    }
    let image = Rc::clone(&engine.get_data().image);
    let state =
        State { registers, xpsr, backtrace: backtrace(&image, &registers, &mut |address| engine.word(address)) };
    match why {
        // A machine that waits has not ended; were it to, it would be for want of input.
        Stop::Waiting => End::Fault(FaultKind::Asleep, state),
        Stop::Budget => End::Budget(engine.get_data().budget, state),
        Stop::Fault(kind) => End::Fault(kind, state),
        Stop::BadWrite(write) => End::BadWrite(write, state),
    }
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
