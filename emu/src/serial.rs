//! The serial port of the MPS2 board (CMSDK APB UART), as far as a firmware that polls it can tell.
//!
//! ```text
//!   0x40004000  DATA    read: the next byte of input; write: a byte of output
//!   0x40004004  STATE   bit 0: no room to send (never); bit 1: input is there
//!   others      read as 0, writes are ignored
//! ```
//!
//! Guarantees
//! - Output is never refused and input never lost: both are queues without an end.
//! - A firmware that asks for input again and again while there is none has nothing else to do: then it *waits*, and
//!   the machine comes to a halt until it is given more. Sending a byte takes one look at STATE, so that is no sign.
//! - Nothing here depends on time: the same input gives the same run.

use std::collections::VecDeque;
use std::io::Write;

/// Where the port's registers are.
pub const BASE: u32 = 0x4000_4000;
/// Bytes mapped for them.
pub const BYTES: u32 = 0x1000;

const DATA: u32 = 0;
const STATE: u32 = 4;
const INPUT_IS_THERE: u32 = 2;
/// Looks at STATE in a row, nothing read or sent between, after which the firmware is taken to wait.
const PATIENCE: u32 = 8;
/// Live output goes out at these bytes, and when it has become this long.
const ENDS: [u8; 2] = [b'\n', 4];
const MOST_KEPT: usize = 256;

/// Both directions of the port.
#[derive(Clone, Debug, Default)]
pub struct Serial {
    input: VecDeque<u8>,
    output: Vec<u8>,
    looks: u32,
    live: bool,
}

impl Serial {
    /// Gives the firmware something to read.
    pub fn send(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        self.looks = 0;
    }

    /// What the firmware wrote since this was last asked.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// From now on output goes to this process's standard output, at each line's end.
    pub fn go_live(&mut self) {
        self.live = true;
    }

    /// Sends what there is of output to this process's standard output.
    pub fn flush(&mut self) {
        let mut out = std::io::stdout().lock();
        // When nobody listens any more the next read ends the session.
        let _ = out.write_all(&std::mem::take(&mut self.output)).and_then(|()| out.flush());
    }

    /// Forgets everything on its way, in both directions.
    pub fn clear(&mut self) {
        *self = Serial::default();
    }

    /// The firmware reads a register.
    pub fn read(&mut self, offset: u32) -> u32 {
        match offset {
            DATA => {
                self.looks = 0;
                self.input.pop_front().map_or(0, u32::from)
            }
            STATE if self.input.is_empty() => {
                self.looks += 1;
                0
            }
            STATE => INPUT_IS_THERE,
            _ => 0,
        }
    }

    /// The firmware writes a register.
    pub fn write(&mut self, offset: u32, value: u32) {
        if offset == DATA {
            self.looks = 0;
            self.output.push(value as u8);
            if self.live && (self.output.len() >= MOST_KEPT || ENDS.contains(&(value as u8))) {
                self.flush();
            }
        }
    }

    /// Whether the firmware does nothing but look for input.
    pub fn is_awaited(&self) -> bool {
        self.looks >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_comes_in_order_and_then_the_firmware_waits() {
        let mut serial = Serial::default();
        serial.send(b"ab");
        assert_eq!((serial.read(STATE), serial.read(DATA)), (2, u32::from(b'a')));
        assert_eq!((serial.read(STATE), serial.read(DATA)), (2, u32::from(b'b')));
        for _ in 0..PATIENCE {
            assert!(!serial.is_awaited());
            assert_eq!(serial.read(STATE), 0);
        }
        assert!(serial.is_awaited());
        serial.send(b"c");
        assert!(!serial.is_awaited());
    }

    #[test]
    fn sending_is_not_waiting() {
        let mut serial = Serial::default();
        for byte in 0..100 {
            serial.read(STATE);
            serial.write(DATA, byte);
        }
        assert!(!serial.is_awaited());
        assert_eq!(serial.take_output().len(), 100);
        assert!(serial.take_output().is_empty());
    }
}
