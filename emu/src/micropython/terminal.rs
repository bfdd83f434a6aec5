//! The firmware's serial port on this process's standard input and output.
//!
//! For people, and for whatever drives a board by its prompt, as MicroPython's own `run-tests.py` does
//! (`-t exec:"knoll-emu mpy-serve FIRMWARE"`).
//!
//! Guarantees
//! - Output goes out at the end of each line, at each prompt's mark (Ctrl-D), and before input is waited for.
//! - When the firmware waits and nothing is left to give it, this reads standard input, and at its end is done.
//! - When the machine comes to a bad end, standard error says where, the other side is told on the port, and a machine
//!   just booted takes its place: the other side sees what a reset board shows. The exit status is that of the first
//!   bad end.

use super::board::{shown, Board};
use super::firmware::Firmware;
use crate::fault::End;
use crate::machine::Halt;
use crate::Options;
use anyhow::Result;
use std::io::{Read, Write};
use std::path::Path;

/// What a session came to.
pub struct Session {
    /// Instructions of all machines.
    pub instructions: u64,
    /// The first end that was not an exit with status 0, as an exit status; else 0.
    pub status: i32,
    /// Stores by Knoll that were checked.
    pub watched: u64,
}

/// Serves until standard input ends or the firmware exits. `budget` is what may run between two inputs.
pub fn serve(path: &Path, watch: bool, budget: u64) -> Result<Session> {
    let mut session = Session { instructions: 0, status: 0, watched: 0 };
    loop {
        let firmware = Firmware::load(path)?;
        let options = Options { watch: watch && firmware.is_knoll, stores_alone: true, ..Options::default() };
        let mut board = Board::reset(firmware, &options)?;
        board.machine.engine.get_data_mut().serial.go_live();
        let end = until_end(&mut board, budget)?;
        let finished = board.finish();
        session.instructions += finished.instructions;
        session.watched += finished.watched.unwrap_or(0);
        match end {
            None | Some(End::Exit(0)) => return Ok(session),
            Some(end) => {
                eprintln!("knoll-emu: {end}\n{}", shown(&end));
                println!("\r\nthe machine stopped: {end}\r");
                if session.status == 0 {
                    session.status = end.status();
                }
            }
        }
    }
}

/// Runs one machine; `None` when the input came to its end first.
fn until_end(board: &mut Board, budget: u64) -> Result<Option<End>> {
    let mut buffer = [0; 4096];
    loop {
        let run = board.machine.engine.get_data_mut();
        run.budget = run.total.saturating_add(budget);
        run.set_pace();
        let halt = board.machine.go_on()?;
        board.machine.engine.get_data_mut().serial.flush();
        if let Halt::End(end) = halt {
            return Ok(Some(end));
        }
        let bytes = std::io::stdin().read(&mut buffer)?;
        if bytes == 0 {
            std::io::stdout().flush()?;
            return Ok(None);
        }
        board.serial(&buffer[..bytes]);
    }
}
