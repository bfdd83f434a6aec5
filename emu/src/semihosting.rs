//! Semihosting: the firmware's system calls, by `BKPT 0xAB` with r0 = operation, r1 = argument.
//!
//! Guarantees
//! - Operation numbers, argument blocks and answers are those of Arm's "Semihosting for AArch32
//!   and AArch64", release 3.0. An unknown operation answers -1 with ENOSYS.
//! - A run repeats exactly: the clock counts instructions, as a part of 64 MHz would with one
//!   instruction a cycle, and the calendar starts at one fixed second.
//! - A bad address in an argument block is an error answer (EINVAL), never a crash of the host.

use crate::files::{errno, Files};
use std::ops::Range;

/// Instructions in a second of the firmware's time.
pub const INSTRUCTIONS_PER_SECOND: u64 = 64_000_000;
/// When every run starts: 2024-01-01 00:00:00 UTC.
const EPOCH: u64 = 1_704_067_200;
/// SYS_EXIT's reason for an ordinary end.
const APPLICATION_EXIT: u32 = 0x20026;

/// The firmware's memory, as far as semihosting needs it.
pub trait Memory {
    /// Bytes at an address, if all are mapped.
    fn read(&mut self, address: u32, bytes: usize) -> Option<Vec<u8>>;
    /// Stores bytes; false if not all are mapped.
    fn write(&mut self, address: u32, bytes: &[u8]) -> bool;

    /// A little-endian word.
    fn word(&mut self, address: u32) -> Option<u32> {
        let four = self.read(address, 4)?;
        Some(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    }

    /// A zero-terminated text of at most `most` bytes, its end not included.
    fn text(&mut self, address: u32, most: usize) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for at in 0..most {
            match self.read(address.checked_add(at as u32)?, 1)?[0] {
                0 => return Some(text),
                byte => text.push(byte),
            }
        }
        None
    }
}

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The firmware goes on with this in r0.
    Answer(i32),
    /// The firmware is done.
    Exit(i32),
}

/// The host's side of semihosting.
#[derive(Default)]
pub struct Host {
    /// Open files and standard streams.
    pub files: Files,
    command_line: String,
    heap: Range<u32>,
    stack: Range<u32>,
    errno: i32,
}

/// Joins arguments as the firmware's start-up code splits them: see `startup.c`.
fn quote(arguments: &[String]) -> String {
    let quoted = |argument: &String| {
        let escaped = argument.replace('\\', "\\\\").replace('"', "\\\"");
        if argument.is_empty() || argument.contains(' ') {
            format!("\"{escaped}\"")
        } else {
            escaped
        }
    };
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

impl Host {
    /// A host with these files and arguments (the first is the program's name).
    pub fn new(files: Files, arguments: &[String], heap: Range<u32>, stack: Range<u32>) -> Host {
        Host { files, command_line: quote(arguments), heap, stack, errno: 0 }
    }

    /// Does one call. `instructions` is how many ran so far.
    pub fn call(&mut self, operation: u32, argument: u32, memory: &mut dyn Memory, instructions: u64) -> Outcome {
        const SYS_EXIT: u32 = 0x18;
        const SYS_EXIT_EXTENDED: u32 = 0x20;
        let status = match operation {
            SYS_EXIT if argument == APPLICATION_EXIT => Ok(0),
            SYS_EXIT => Ok(1),
            SYS_EXIT_EXTENDED => {
                block::<2>(memory, argument).map(
                    |[reason, status]| {
                        if reason == APPLICATION_EXIT {
                            status as i32
                        } else {
                            1
                        }
                    },
                )
            }
            _ => {
                let answer = self.answer(operation, argument, memory, instructions);
                return Outcome::Answer(answer.unwrap_or_else(|error| {
                    self.errno = error;
                    -1
                }));
            }
        };
        match status {
            Ok(status) => Outcome::Exit(status),
            Err(error) => {
                self.errno = error;
                Outcome::Answer(-1)
            }
        }
    }

    fn answer(
        &mut self,
        operation: u32,
        argument: u32,
        memory: &mut dyn Memory,
        instructions: u64,
    ) -> Result<i32, i32> {
        match operation {
            // SYS_OPEN { name, mode, length }
            0x01 => {
                let [name, mode, length] = block(memory, argument)?;
                let name = memory.read(name, length as usize).ok_or(errno::INVAL)?;
                let name = String::from_utf8(name).map_err(|_| errno::INVAL)?;
                self.files.open(&name, mode)
            }
            // SYS_CLOSE { handle }
            0x02 => {
                let [handle] = block(memory, argument)?;
                self.files.close(handle as i32).map(|()| 0)
            }
            // SYS_WRITEC -> character
            0x03 => {
                let character = memory.read(argument, 1).ok_or(errno::INVAL)?;
                self.files.print(&character).map(|()| 0)
            }
            // SYS_WRITE0 -> text
            0x04 => {
                let text = memory.text(argument, 1 << 20).ok_or(errno::INVAL)?;
                self.files.print(&text).map(|()| 0)
            }
            // SYS_WRITE { handle, memory, bytes } -> bytes not written
            0x05 => {
                let [handle, from, bytes] = block(memory, argument)?;
                let text = memory.read(from, bytes as usize).ok_or(errno::INVAL)?;
                match self.files.write(handle as i32, &text) {
                    Ok(()) => Ok(0),
                    Err(error) => {
                        self.errno = error;
                        Ok(bytes as i32)
                    }
                }
            }
            // SYS_READ { handle, memory, bytes } -> bytes not read
            0x06 => {
                let [handle, to, bytes] = block(memory, argument)?;
                // Room first: a huge size with nowhere to put it must not cost host memory.
                memory.read(to, bytes as usize).ok_or(errno::INVAL)?;
                let text = self.files.read(handle as i32, bytes as usize)?;
                if !memory.write(to, &text) {
                    return Err(errno::INVAL);
                }
                Ok(bytes as i32 - text.len() as i32)
            }
            // SYS_READC
            0x07 => {
                let handle = self.files.open(":tt", 0)?;
                let character = self.files.read(handle, 1);
                self.files.close(handle)?;
                character?.first().map(|c| i32::from(*c)).ok_or(errno::IO)
            }
            // SYS_ISERROR { status }
            0x08 => {
                let [status] = block(memory, argument)?;
                Ok(i32::from((status as i32) < 0))
            }
            // SYS_ISTTY { handle }
            0x09 => {
                let [handle] = block(memory, argument)?;
                self.files.is_terminal(handle as i32).map(i32::from)
            }
            // SYS_SEEK { handle, position }
            0x0A => {
                let [handle, position] = block(memory, argument)?;
                self.files.seek(handle as i32, u64::from(position)).map(|()| 0)
            }
            // SYS_FLEN { handle }
            0x0C => {
                let [handle] = block(memory, argument)?;
                let length = self.files.length(handle as i32)?;
                i32::try_from(length).map_err(|_| errno::INVAL)
            }
            // SYS_REMOVE and SYS_RENAME: a firmware under test removes nothing.
            0x0E | 0x0F => Err(errno::ACCES),
            // SYS_CLOCK in hundredths of a second
            0x10 => Ok((instructions / (INSTRUCTIONS_PER_SECOND / 100)) as i32),
            // SYS_TIME in seconds since 1970
            0x11 => Ok((EPOCH + instructions / INSTRUCTIONS_PER_SECOND) as i32),
            // SYS_ERRNO
            0x13 => Ok(self.errno),
            // SYS_GET_CMDLINE { memory, bytes }: stores the text and its length
            0x15 => {
                let [to, room] = block(memory, argument)?;
                let mut text = self.command_line.clone().into_bytes();
                let length = text.len() as u32;
                text.push(0);
                let fits = text.len() <= room as usize
                    && memory.write(to, &text)
                    && memory.write(argument.wrapping_add(4), &length.to_le_bytes());
                if fits {
                    Ok(0)
                } else {
                    Err(errno::INVAL)
                }
            }
            // SYS_HEAPINFO -> pointer to { heap base, heap limit, stack base, stack limit }
            0x16 => {
                let [to] = block(memory, argument)?;
                let words = [self.heap.start, self.heap.end, self.stack.end, self.stack.start];
                let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
                if memory.write(to, &bytes) {
                    Ok(0)
                } else {
                    Err(errno::INVAL)
                }
            }
            // SYS_ELAPSED -> 64 bits
            0x30 => {
                if memory.write(argument, &instructions.to_le_bytes()) {
                    Ok(0)
                } else {
                    Err(errno::INVAL)
                }
            }
            // SYS_TICKFREQ
            0x31 => Ok(INSTRUCTIONS_PER_SECOND as i32),
            _ => Err(errno::NOSYS),
        }
    }
}

/// The words of an argument block.
fn block<const N: usize>(memory: &mut dyn Memory, at: u32) -> Result<[u32; N], i32> {
    let mut words = [0; N];
    for (index, word) in words.iter_mut().enumerate() {
        *word = memory.word(at.wrapping_add(4 * index as u32)).ok_or(errno::INVAL)?;
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Stream;

    /// 256 bytes at 0x1000.
    struct Small(Vec<u8>);

    impl Small {
        fn place(&self, address: u32, bytes: usize) -> Option<Range<usize>> {
            let start = address.checked_sub(0x1000)? as usize;
            let end = start.checked_add(bytes)?;
            (end <= self.0.len()).then_some(start..end)
        }
    }

    impl Memory for Small {
        fn read(&mut self, address: u32, bytes: usize) -> Option<Vec<u8>> {
            Some(self.0[self.place(address, bytes)?].to_vec())
        }

        fn write(&mut self, address: u32, bytes: &[u8]) -> bool {
            match self.place(address, bytes.len()) {
                Some(place) => {
                    self.0[place].copy_from_slice(bytes);
                    true
                }
                None => false,
            }
        }
    }

    fn small(words: &[u32]) -> Small {
        let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        bytes.resize(256, 0);
        Small(bytes)
    }

    fn host(arguments: &[&str]) -> Host {
        let files = Files::new(None, Stream::Capture(Vec::new()), Stream::Capture(Vec::new()));
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        Host::new(files, &arguments, 0x100..0x200, 0x300..0x400)
    }

    #[test]
    fn no_operation_is_harmed_by_a_bad_address() {
        for operation in (0..0x40).filter(|operation| ![0x18, 0x20].contains(operation)) {
            for argument in [0, 0xFFF, 0x10FE, u32::MAX - 3, u32::MAX] {
                let outcome = host(&["a"]).call(operation, argument, &mut small(&[]), 0);
                assert!(matches!(outcome, Outcome::Answer(_)), "{operation:#x}");
            }
            // A good block full of nonsense.
            let mut memory = small(&[u32::MAX; 8]);
            let outcome = host(&["a"]).call(operation, 0x1000, &mut memory, 0);
            assert!(matches!(outcome, Outcome::Answer(_)), "{operation:#x}");
        }
    }

    #[test]
    fn exits_with_and_without_a_status() {
        let call = |operation, argument, words: &[u32]| host(&[]).call(operation, argument, &mut small(words), 0);
        assert_eq!(call(0x18, APPLICATION_EXIT, &[]), Outcome::Exit(0));
        assert_eq!(call(0x18, 0x20023, &[]), Outcome::Exit(1));
        assert_eq!(call(0x20, 0x1000, &[APPLICATION_EXIT, 42]), Outcome::Exit(42));
        assert_eq!(call(0x20, 0x1000, &[0x20023, 42]), Outcome::Exit(1));
    }

    #[test]
    fn the_command_line_must_fit() {
        let mut memory = small(&[0x1010, 6]);
        assert_eq!(host(&["a", "b c"]).call(0x15, 0x1000, &mut memory, 0), Outcome::Answer(-1));
        let mut memory = small(&[0x1010, 8]);
        assert_eq!(host(&["a", "b c"]).call(0x15, 0x1000, &mut memory, 0), Outcome::Answer(0));
        assert_eq!(memory.text(0x1010, 100), Some(b"a \"b c\"".to_vec()));
        assert_eq!(memory.word(0x1004), Some(7));
    }

    #[test]
    fn heap_and_clock_are_told() {
        let mut memory = small(&[0x1040]);
        host(&[]).call(0x16, 0x1000, &mut memory, 0);
        let words = [0, 4, 8, 12].map(|at| memory.word(0x1040 + at));
        assert_eq!(words, [Some(0x100), Some(0x200), Some(0x400), Some(0x300)]);
        let answer = host(&[]).call(0x10, 0, &mut memory, INSTRUCTIONS_PER_SECOND * 3);
        assert_eq!(answer, Outcome::Answer(300));
    }
}
