//! A machine with MicroPython on it, at the raw prompt: scripts go in, what they print comes out.
//!
//! Guarantees
//! - A script goes in by raw paste mode, as MicroPython's own tools send one: it is compiled while it is read and does
//!   not lie in the heap meanwhile.
//! - Globals stay from one script to the next, unless the machine is taken back to where it was saved. Taken back, it
//!   is the same to the last bit of memory and of every register: the next script runs as if it were the first.
//! - The same scripts in the same order print the same and take the same number of instructions.
//!
//! ```text
//!   host                                   firmware
//!   Ctrl-A                             ->
//!                                      <-  raw REPL; CTRL-B to exit\r\n>
//!   Ctrl-E A Ctrl-A                    ->
//!                                      <-  R 01 window
//!   script, Ctrl-D                     ->  (01 for each window of it read)
//!                                      <-  04  output  04  traceback  04  >
//! ```

use super::firmware::Firmware;
use crate::fault::End;
use crate::machine::{failed, Finished, Halt, Machine};
use crate::Options;
use anyhow::{bail, ensure, Context, Result};
use std::ops::Range;
use unicorn_engine::Context as Registers;

/// Ends each part of the firmware's answer.
const END_OF_PART: u8 = 4;
/// Compared and put back piece by piece, so that code translated from the rest stays.
const PIECE: usize = 0x1000;

/// What came of a script.
#[derive(Debug)]
pub struct Outcome {
    /// What it printed, lines ended by `\r\n`.
    pub output: Vec<u8>,
    /// The traceback, if it raised.
    pub error: Vec<u8>,
    /// Why it did not come to its end, if it did not.
    pub end: Ending,
    /// Instructions, those of compiling and printing included.
    pub instructions: u64,
}

/// How a script's run ended.
#[derive(Debug)]
pub enum Ending {
    /// At its end, or by an exception.
    Done,
    /// It reads from the serial port, where nothing is left.
    Waits,
    /// The machine has come to its end: a reset, a fault, a bad write, the budget.
    Machine(End),
}

/// Where a machine stood.
pub struct Saved {
    registers: Registers,
    memory: Vec<u8>,
    pc: u32,
}

/// A machine at the raw prompt.
pub struct Board<'a> {
    pub(crate) machine: Machine<'a>,
    options: Options,
    ram: Range<u32>,
}

impl Board<'_> {
    /// Boots a firmware up to its raw prompt.
    pub fn boot(firmware: Firmware, options: &Options) -> Result<Board<'static>> {
        let mut board = Board::reset(firmware, options)?;
        match board.machine.go_on()? {
            Halt::Waiting => {}
            Halt::End(end) => bail!("it does not come to its prompt: {end}\n{}", shown(&end)),
        }
        board.serial(b"\x01");
        let Halt::Waiting = board.machine.go_on()? else { bail!("it does not come to its raw prompt") };
        let greeting = board.take_output();
        ensure!(
            greeting.ends_with(b"raw REPL; CTRL-B to exit\r\n>"),
            "no raw prompt but {:?}",
            String::from_utf8_lossy(&greeting)
        );
        Ok(board)
    }

    /// A machine that has not run yet.
    pub(crate) fn reset(firmware: Firmware, options: &Options) -> Result<Board<'static>> {
        // What the firmware prints by semihosting is nobody's business.
        let options = Options { capture: true, ..options.clone() };
        let (ram, heap) = (firmware.image.ram.clone(), firmware.heap.clone());
        let machine = Machine::new(firmware.image, &options)?;
        let mut board = Board { machine, options, ram };
        crate::hooks::add_serial(&mut board.machine.engine).map_err(failed("have a serial port"))?;
        let run = board.machine.engine.get_data_mut();
        run.watch.allow(heap.start, heap.end - heap.start);
        Ok(board)
    }

    /// Runs a script for so many instructions at most.
    pub fn run(&mut self, script: &[u8], budget: u64) -> Result<Outcome> {
        let run = self.machine.engine.get_data_mut();
        let before = run.total;
        run.budget = before.saturating_add(budget);
        run.set_pace();
        run.serial.send(b"\x05A\x01");
        run.serial.send(script);
        run.serial.send(&[END_OF_PART]);
        let halt = self.machine.go_on()?;
        let said = self.take_output();
        let instructions = self.machine.engine.get_data().total - before;
        let (parts, complete) = parts(&said).context("it does not know raw paste mode")?;
        let [output, error] = parts;
        let end = match halt {
            Halt::End(end) => Ending::Machine(end),
            Halt::Waiting if complete => Ending::Done,
            Halt::Waiting => Ending::Waits,
        };
        Ok(Outcome { output, error, end, instructions })
    }

    /// Puts bytes on the serial port.
    pub(crate) fn serial(&mut self, bytes: &[u8]) {
        self.machine.engine.get_data_mut().serial.send(bytes);
    }

    /// What the firmware has sent.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        self.machine.engine.get_data_mut().serial.take_output()
    }

    /// Notes where the machine stands.
    pub fn save(&mut self) -> Result<Saved> {
        let engine = &mut self.machine.engine;
        let mut registers = engine.context_alloc().map_err(failed("save its registers"))?;
        engine.context_save(&mut registers).map_err(failed("save its registers"))?;
        let bytes = (self.ram.end - self.ram.start) as usize;
        let memory = engine.mem_read_as_vec(u64::from(self.ram.start), bytes).map_err(failed("save its memory"))?;
        Ok(Saved { registers, memory, pc: self.machine.pc })
    }

    /// Takes the machine back to where it was saved.
    pub fn restore(&mut self, saved: &Saved) -> Result<()> {
        let engine = &mut self.machine.engine;
        let now = engine.mem_read_as_vec(u64::from(self.ram.start), saved.memory.len());
        let now = now.map_err(failed("read its memory"))?;
        for (index, (then, now)) in saved.memory.chunks(PIECE).zip(now.chunks(PIECE)).enumerate() {
            if then != now {
                let at = u64::from(self.ram.start) + (index * PIECE) as u64;
                engine.mem_write(at, then).map_err(failed("put its memory back"))?;
            }
        }
        engine.context_restore(&saved.registers).map_err(failed("put its registers back"))?;
        let run = engine.get_data_mut();
        run.serial.clear();
        run.meter.abandon_all();
        self.machine.pc = saved.pc;
        Ok(())
    }

    /// Ends the run; everything that was measured.
    pub fn finish(self) -> Finished {
        self.machine.finish(End::Exit(0), &self.options)
    }
}

/// An end's place, for an error message.
pub fn shown(end: &End) -> String {
    end.state().map(ToString::to_string).unwrap_or_default()
}

/// Output and traceback in what the firmware answers, and whether both are complete. `None` if it is no answer.
fn parts(said: &[u8]) -> Option<([Vec<u8>; 2], bool)> {
    // R 01, two bytes of window size, then 01 for each window.
    let rest = said.strip_prefix(b"R\x01")?.get(2..)?;
    let start = rest.iter().position(|byte| *byte != 1).unwrap_or(rest.len());
    let mut parts = [Vec::new(), Vec::new()];
    let Some(rest) = rest[start..].strip_prefix(&[END_OF_PART]) else { return Some((parts, false)) };
    let mut pieces = rest.splitn(3, |byte| *byte == END_OF_PART);
    for part in &mut parts {
        *part = pieces.next().unwrap_or_default().to_vec();
    }
    Some((parts, pieces.next().is_some()))
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn an_answer_has_two_parts() {
        let answer = b"R\x01\x20\x00\x01\x01\x04hello\r\n\x04Traceback\r\n\x04>";
        assert_eq!(parts(answer), Some(([b"hello\r\n".to_vec(), b"Traceback\r\n".to_vec()], true)));
        let cut_off = b"R\x01\x20\x00\x04hello";
        assert_eq!(parts(cut_off), Some(([b"hello".to_vec(), Vec::new()], false)));
        assert_eq!(parts(b"R\x01\x20\x00\x01"), Some(([Vec::new(), Vec::new()], false)));
        assert_eq!(parts(b">>> "), None);
    }
}
