//! The harness's registers: what `firmware/mark.h` stores to, decoded.
//!
//! Guarantees: the offsets here and in `mark.h` are the same (a test reads the header); a port
//! that is given a bad address or that nobody knows is a fault of the firmware, with a
//! backtrace, not ignored.

use crate::semihosting::Memory;

/// Where the registers are: on a real part the ITM's stimulus ports.
pub const BASE: u32 = 0xE000_0000;
/// Bytes mapped for them.
pub const BYTES: u32 = 0x1000;

/// `KNOLL_HARNESS_BEGIN`: an id.
pub const BEGIN: u32 = 0x00;
/// `KNOLL_HARNESS_CALL`: an id.
pub const CALL: u32 = 0x04;
/// `KNOLL_HARNESS_NAME`: address of { id, name }.
pub const NAME: u32 = 0x08;
/// `KNOLL_HARNESS_RESULT`: address of { name, low word, high word }.
pub const RESULT: u32 = 0x0C;
/// `KNOLL_HARNESS_WATCH_ALLOW`: address of { start, bytes }.
pub const WATCH_ALLOW: u32 = 0x10;
/// `KNOLL_HARNESS_WATCH_FORBID`: address of { start, bytes }.
pub const WATCH_FORBID: u32 = 0x14;
/// `KNOLL_HARNESS_INSTRUCTIONS`: reading gives the total's low word.
pub const INSTRUCTIONS: u32 = 0x18;
/// `KNOLL_HARNESS_END`: closes the last BEGIN, for programs that can store but not choose their instructions.
pub const END: u32 = 0x20;

/// What a firmware said by a store to a port.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// `KNOLL_MARK_BEGIN`.
    Begin(u32),
    /// `KNOLL_HARNESS_END`.
    End,
    /// `KNOLL_MARK_CALL`.
    Call(u32),
    /// `knoll_mark_name`.
    Name(u32, String),
    /// `knoll_result`.
    Result(String, i64),
    /// `knoll_watch_allow`.
    Allow(u32, u32),
    /// `knoll_watch_forbid`.
    Forbid(u32, u32),
}

impl Message {
    /// Decodes a store of `value` at `offset`; `None` if it means nothing.
    pub fn decode(offset: u32, value: u32, memory: &mut dyn Memory) -> Option<Message> {
        let name = |address: u32, memory: &mut dyn Memory| {
            let text = memory.text(address, 256)?;
            Some(String::from_utf8_lossy(&text).into_owned())
        };
        let mut word = |index: u32| memory.word(value.wrapping_add(4 * index));
        Some(match offset {
            BEGIN => Message::Begin(value),
            END => Message::End,
            CALL => Message::Call(value),
            NAME => {
                let (id, text) = (word(0)?, word(1)?);
                Message::Name(id, name(text, memory)?)
            }
            RESULT => {
                let (text, low, high) = (word(0)?, word(1)?, word(2)?);
                let value = u64::from(high) << 32 | u64::from(low);
                Message::Result(name(text, memory)?, value as i64)
            }
            WATCH_ALLOW => Message::Allow(word(0)?, word(1)?),
            WATCH_FORBID => Message::Forbid(word(0)?, word(1)?),
            _ => return None,
        })
    }
}
