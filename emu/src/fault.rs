//! How a run can end, and what its end means as an exit status.
//!
//! Guarantees: each kind of end has an exit status of its own: the firmware's as it is, and
//! 120 fault, 121 bad write, 124 budget, 125 the harness itself could not run. A fault names
//! what was done, where, by whom, and with which registers.

use crate::backtrace::Registers;
use crate::symbols::Place;
use crate::watch::BadWrite;
use std::fmt;

/// Exit status of a run that faulted.
pub const STATUS_FAULT: i32 = 120;
/// Exit status of a run in which Knoll wrote where it may not.
pub const STATUS_BAD_WRITE: i32 = 121;
/// Exit status of a run that used up its budget.
pub const STATUS_BUDGET: i32 = 124;
/// Exit status when there was no run: bad arguments, no such file, not a firmware.
pub const STATUS_HARNESS: i32 = 125;

/// What a firmware did that it can't do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Read from where no memory is.
    ReadUnmapped {
        /// First byte read.
        address: u32,
        /// Bytes read.
        bytes: u32,
    },
    /// Wrote to where no memory is.
    WriteUnmapped {
        /// First byte written.
        address: u32,
        /// Bytes written.
        bytes: u32,
    },
    /// Wrote to flash.
    WriteFlash {
        /// First byte written.
        address: u32,
        /// Bytes written.
        bytes: u32,
    },
    /// Ran off to where no code is.
    FetchUnmapped {
        /// Where to.
        address: u32,
    },
    /// Wrote below the stack's end.
    StackOverflow {
        /// First byte written.
        address: u32,
    },
    /// An access that this processor does only on a multiple of its size.
    Unaligned,
    /// An instruction this processor does not have, or UDF.
    InvalidInstruction,
    /// A branch to an even address: there is no Arm state here.
    NotThumb,
    /// A BKPT that is not a semihosting call: abort() and failed assertions of C libraries.
    Breakpoint {
        /// Its number.
        number: u8,
    },
    /// A store to a register of the harness that means nothing.
    BadPort {
        /// Which.
        offset: u32,
        /// What was stored.
        value: u32,
    },
    /// SVC or another exception; the harness has no handlers.
    Exception {
        /// The emulator's number for it.
        number: u32,
    },
    /// A branch to itself: panic handlers of bare Rust, and default interrupt handlers.
    EndlessLoop,
    /// WFI or WFE: nothing will ever wake it.
    Asleep,
}

impl FaultKind {
    /// A short name that does not change, for JSON.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::ReadUnmapped { .. } => "read_unmapped",
            FaultKind::WriteUnmapped { .. } => "write_unmapped",
            FaultKind::WriteFlash { .. } => "write_flash",
            FaultKind::FetchUnmapped { .. } => "fetch_unmapped",
            FaultKind::StackOverflow { .. } => "stack_overflow",
            FaultKind::Unaligned => "unaligned",
            FaultKind::InvalidInstruction => "invalid_instruction",
            FaultKind::NotThumb => "not_thumb",
            FaultKind::Breakpoint { .. } => "breakpoint",
            FaultKind::BadPort { .. } => "bad_port",
            FaultKind::Exception { .. } => "exception",
            FaultKind::EndlessLoop => "endless_loop",
            FaultKind::Asleep => "asleep",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::ReadUnmapped { address, bytes } => {
                write!(out, "read of {bytes} bytes at {address:#010x}, where no memory is")
            }
            FaultKind::WriteUnmapped { address, bytes } => {
                write!(out, "write of {bytes} bytes at {address:#010x}, where no memory is")
            }
            FaultKind::WriteFlash { address, bytes } => {
                write!(out, "write of {bytes} bytes to flash at {address:#010x}")
            }
            FaultKind::FetchUnmapped { address } => {
                write!(out, "jump to {address:#010x}, where no code is")
            }
            FaultKind::StackOverflow { address } => {
                write!(out, "stack overflow: write at {address:#010x}, below the stack's end")
            }
            FaultKind::Unaligned => out.write_str("unaligned access"),
            FaultKind::InvalidInstruction => out.write_str("invalid instruction"),
            FaultKind::NotThumb => out.write_str("branch to an even address (not Thumb code)"),
            FaultKind::Breakpoint { number } => write!(out, "breakpoint {number:#04x}"),
            FaultKind::BadPort { offset, value } => {
                write!(out, "store of {value:#x} to the harness's register {offset:#x} means nothing")
            }
            FaultKind::Exception { number } => write!(out, "exception {number}"),
            FaultKind::EndlessLoop => out.write_str("branch to itself: it would loop for ever"),
            FaultKind::Asleep => out.write_str("waits for an interrupt that can't come"),
        }
    }
}

/// Where a run stood when it was stopped.
#[derive(Clone, Debug)]
pub struct State {
    /// r0 to r15.
    pub registers: Registers,
    /// The flags, and what else XPSR holds.
    pub xpsr: u32,
    /// From the innermost function outwards.
    pub backtrace: Vec<Place>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum End {
    /// The firmware exited with a status.
    Exit(i32),
    /// It had run as many instructions as it may.
    Budget(u64, State),
    /// It faulted.
    Fault(FaultKind, State),
    /// Knoll wrote where it may not.
    BadWrite(BadWrite, State),
}

impl End {
    /// The exit status of the harness for it.
    pub fn status(&self) -> i32 {
        match self {
            End::Exit(status) => *status,
            End::Budget(..) => STATUS_BUDGET,
            End::Fault(..) => STATUS_FAULT,
            End::BadWrite(..) => STATUS_BAD_WRITE,
        }
    }

    /// Where it stood, unless it exited by itself.
    pub fn state(&self) -> Option<&State> {
        match self {
            End::Exit(_) => None,
            End::Budget(_, state) | End::Fault(_, state) | End::BadWrite(_, state) => Some(state),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exit(status) => write!(out, "exit {status}"),
            End::Budget(budget, _) => write!(out, "stopped: the budget of {budget} instructions is used up"),
            End::Fault(kind, _) => write!(out, "fault: {kind}"),
            End::BadWrite(write, _) => write!(
                out,
                "bad write: Knoll stored {:#x} ({} bytes) at {:#010x}, outside its heaps, its statics and the stack",
                write.value, write.bytes, write.address
            ),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 16] =
            ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr", "pc"];
        for (index, (name, value)) in NAMES.iter().zip(self.registers).enumerate() {
            let gap = if index % 4 == 3 { "\n" } else { "  " };
            write!(out, "  {name:>4} {value:08x}{gap}")?;
        }
        writeln!(out, "  xpsr {:08x}", self.xpsr)?;
        for (depth, place) in self.backtrace.iter().enumerate() {
            writeln!(out, "  #{depth:<2} {place}")?;
        }
        Ok(())
    }
}
