//! What the process heap has to say: its numbers, a map of it, and its last words.
//!
//! - Nothing here allocates or formats by a library: text is put together in a buffer on the stack.
//! - The numbers are copied under the lock and written after it was released. The map is drawn under it:
//!   who writes then may allocate, but waits for nobody who wants the lock.
//! - A thread that holds the lock itself, as a signal handler may, gets no report and no deadlock.
//!
//! ```text
//!   knoll 0.1.0, process 4711: 1048576 bytes in 789 blocks; 2097152 mapped, 3145728 at most
//!     blocks of      pages      in use       bytes in use         bytes free
//!            32          2        2048              65536              65536
//!     ...
//!         large                      3             983040
//!
//!   small blocks, 65536 bytes a character: . all free, 1 to 9 tenths in use, # all in use
//!   7f3a40000000  ##9#7.
//! ```

use core::ffi::CStr;
use core::ptr::without_provenance;

use super::page::UNIT;
use super::process::{self, Block, ClassTotals, Kind, Totals};
use crate::heap::KnStatus;
use crate::insight::Write;

/// More than there are sizes of small blocks.
const MOST_CLASSES: usize = 64;

// ---------------------------------------------------------------- text

/// What a line must find free.
const LINE: usize = 160;
/// Room for some lines.
pub(crate) type Room = [u8; 512];

/// Text on its way to a reader, who gets whole lines.
pub(crate) struct Text<'a> {
    room: &'a mut [u8],
    length: usize,
    write: Write<'a>,
    /// False once the reader wants no more.
    going: bool,
}

impl<'a> Text<'a> {
    pub(crate) fn new(room: &'a mut [u8], write: Write<'a>) -> Text<'a> {
        Text { room, length: 0, write, going: true }
    }

    #[inline(never)]
    pub(crate) fn add(&mut self, text: &[u8]) {
        text.iter().for_each(|&byte| self.add_byte(byte));
    }

    /// What does not fit is left out. What there is goes to the reader before the room ends.
    #[inline(never)]
    fn add_byte(&mut self, byte: u8) {
        if let Some(slot) = self.room.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
        if byte == b'\n' && self.length + LINE > self.room.len() {
            self.flush();
        }
    }

    /// Adds a text in which numbers replace the signs for them, one after the other: `@` a hexadecimal one,
    /// `#` a decimal one, and `####` a decimal one at the right end of as many places.
    #[inline(never)]
    pub(crate) fn fill(&mut self, form: &[u8], numbers: &[usize]) {
        let mut numbers = numbers.iter();
        let mut form = form.iter().peekable();
        while let Some(&sign) = form.next() {
            if !matches!(sign, b'#' | b'@') {
                self.add_byte(sign);
                continue;
            }
            let mut width = 1;
            while sign == b'#' && form.next_if(|&&next| next == b'#').is_some() {
                width += 1;
            }
            self.number(numbers.next().copied().unwrap_or_default(), sign == b'@', width);
        }
    }

    fn number(&mut self, value: usize, hexadecimal: bool, width: usize) {
        let mut digits = [0; 20];
        let (mut first, mut rest) = (digits.len(), value);
        loop {
            first -= 1;
            // Divisions by constants, of which none can be by zero.
            let digit = if hexadecimal { rest % 16 } else { rest % 10 } as u8;
            rest = if hexadecimal { rest / 16 } else { rest / 10 };
            if let Some(slot) = digits.get_mut(first) {
                *slot = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
            }
            if rest == 0 || first == 0 {
                break;
            }
        }
        let digits = digits.get(first..).unwrap_or_default();
        (digits.len()..width).for_each(|_| self.add_byte(b' '));
        self.add(digits);
    }

    /// Hands over what there is; true while the reader wants more.
    #[inline(never)]
    pub(crate) fn flush(&mut self) -> bool {
        let text = self.room.get(..self.length).unwrap_or_default();
        if self.going && !text.is_empty() {
            self.going = (self.write)(text);
        }
        self.length = 0;
        self.going
    }
}

/// Writes to a file descriptor; a part that was not written is written again.
pub(crate) fn write_to(descriptor: i32, mut text: &[u8]) -> bool {
    while !text.is_empty() {
        // SAFETY: the bytes are readable.
        let written = unsafe { libc::write(descriptor, text.as_ptr().cast(), text.len()) };
        let Ok(written @ 1..) = usize::try_from(written) else { return false };
        text = text.get(written..).unwrap_or_default();
    }
    true
}

/// Writes to standard error.
pub(crate) fn write_error(text: &[u8]) -> bool {
    write_to(libc::STDERR_FILENO, text)
}

// ---------------------------------------------------------------- numbers

/// The numbers of the process heap at one moment.
pub(crate) struct Snapshot {
    pub(crate) totals: Totals,
    classes: [ClassTotals; MOST_CLASSES],
    count: usize,
}

impl Snapshot {
    /// `None` iff this thread holds the lock, or a fork that takes long.
    pub(crate) fn take() -> Option<Snapshot> {
        let totals = process::totals()?;
        let none = ClassTotals { size: 0, pages: 0, live: 0, free: 0 };
        let mut snapshot = Snapshot { totals, classes: [none; MOST_CLASSES], count: 0 };
        process::each_class(&mut |class| {
            if let Some(slot) = snapshot.classes.get_mut(snapshot.count) {
                *slot = class;
                snapshot.count += 1;
            }
        });
        Some(snapshot)
    }

    /// The sizes of small blocks that have pages.
    pub(crate) fn classes(&self) -> impl Iterator<Item = &ClassTotals> {
        self.classes.iter().take(self.count).filter(|class| class.pages != 0)
    }

    /// Bytes in blocks that are in use, each as large as it is.
    pub(crate) fn used(&self) -> usize {
        self.totals.small_bytes + self.totals.medium_used + self.totals.large_bytes
    }

    /// Blocks in use.
    pub(crate) fn blocks(&self) -> usize {
        self.totals.small_blocks + self.totals.medium_blocks + self.totals.large_blocks
    }

    /// Bytes that are free but not the system's: in pages, between medium blocks, and pages that wait.
    pub(crate) fn free(&self) -> usize {
        self.totals.small_free + self.totals.medium_free + self.waiting()
    }

    /// Bytes of free pages that are kept.
    pub(crate) fn waiting(&self) -> usize {
        self.totals.dirty * UNIT
    }

    /// Bytes of address space.
    pub(crate) fn mapped(&self) -> usize {
        self.totals.space + self.totals.medium_total + self.totals.large_bytes
    }

    /// Writes a table.
    fn write(&self, text: &mut Text<'_>) {
        let totals = &self.totals;
        text.add(concat!("knoll ", env!("CARGO_PKG_VERSION")).as_bytes());
        text.fill(
            b", process #: # bytes in # blocks; # mapped, # at most\n",
            &[process_number(), self.used(), self.blocks(), self.mapped(), totals.peak],
        );
        text.add(b"  blocks of      pages      in use       bytes in use         bytes free\n");
        for class in self.classes() {
            let bytes = |blocks: usize| blocks.wrapping_mul(class.size);
            text.fill(
                b"########### ########## ########### ################## ##################\n",
                &[class.size, class.pages, class.live, bytes(class.live), bytes(class.free)],
            );
        }
        text.fill(
            b"  all small ########## ########### ################## ##################\n",
            &[totals.pages, totals.small_blocks, totals.small_bytes, totals.small_free],
        );
        text.fill(
            b"     medium            ########### ################## ##################\n",
            &[totals.medium_blocks, totals.medium_used, totals.medium_free],
        );
        text.fill(
            b"      large            ########### ##################\n",
            &[totals.large_blocks, totals.large_bytes],
        );
        text.fill(
            b"  threads with pages: #; regions of medium blocks: #; free pages, resident: # bytes\n",
            &[totals.threads, totals.regions, self.waiting()],
        );
    }
}

/// The number that the system knows this process by.
fn process_number() -> usize {
    // SAFETY: no conditions.
    unsafe { libc::getpid() as usize }
}

/// What is said where the lock can't be had.
const INTERRUPTED: &[u8] = b"knoll: no report: this thread was interrupted inside the heap, or the process forks\n";

/// Writes the numbers; false iff this thread holds the lock, which it says instead.
pub(crate) fn write_statistics(room: &mut [u8], write: Write<'_>) -> bool {
    let mut text = Text::new(room, write);
    let snapshot = Snapshot::take();
    match &snapshot {
        Some(snapshot) => snapshot.write(&mut text),
        None => text.add(INTERRUPTED),
    }
    text.flush();
    snapshot.is_some()
}

// ---------------------------------------------------------------- a map

/// A character of the map stands for so many bytes: a page of small blocks.
const CELL: usize = UNIT;
const _: () = assert!(CELL == 65536, "the text says so");
/// Characters in a line.
const COLUMNS: usize = 64;

/// What the map begins with.
const SMALL: &[u8] = b"\nsmall blocks, 65536 bytes a character: . all free, 1 to 9 tenths in use, # all in use\n";

/// The map while it is drawn.
struct Map<'a> {
    text: Text<'a>,
    kind: Option<Kind>,
    /// Where the line began, and where the character that is being filled begins.
    line: usize,
    cell: usize,
    /// Bytes of blocks seen in it, and those in use.
    seen: usize,
    used: usize,
}

impl Map<'_> {
    /// True while the reader wants more.
    fn block(&mut self, block: &Block) -> bool {
        if self.kind != Some(block.kind) {
            self.end();
            self.kind = Some(block.kind);
            self.text.add(match block.kind {
                Kind::Small => SMALL,
                Kind::Medium => b"\nmedium blocks, in the same way\n",
                Kind::Large => b"\nlarge blocks\n" as &[u8],
            });
        }
        if block.kind == Kind::Large {
            self.text.fill(b"@  # bytes\n", &[block.at.addr(), block.bytes]);
        } else {
            self.draw(block);
        }
        self.text.going
    }

    fn draw(&mut self, block: &Block) {
        let mut at = block.at.addr();
        let end = at.saturating_add(block.bytes);
        while at < end {
            self.move_to(at & !(CELL - 1));
            let part = end.min(self.cell.saturating_add(CELL)) - at;
            self.seen += part;
            self.used += if block.used { part } else { 0 };
            at += part;
            // Of a large free block, which has no memory, the end is enough.
            if !block.used && end - at > 2 * COLUMNS * CELL {
                at = end - CELL;
            }
        }
    }

    /// Draws the character that is full, and begins the one at `cell`.
    fn move_to(&mut self, cell: usize) {
        if cell == self.cell {
            return;
        }
        let before = core::mem::replace(&mut self.cell, cell);
        let is_first = self.seen == 0;
        self.draw_cell();
        let end = self.line + COLUMNS * CELL;
        if is_first || cell < before || cell >= end {
            if !is_first {
                self.text.add_byte(b'\n');
            }
            self.line = cell;
            self.text.fill(b"@  ", &[cell]);
        } else {
            ((before / CELL + 1)..cell / CELL).for_each(|_| self.text.add_byte(b' '));
        }
    }

    fn draw_cell(&mut self) {
        let (seen, used) = (core::mem::take(&mut self.seen), core::mem::take(&mut self.used));
        if seen != 0 {
            let tenths = (used * 10).checked_div(seen).unwrap_or_default();
            self.text.add_byte(match used {
                0 => b'.',
                _ if used == seen => b'#',
                _ => b'0' + tenths.clamp(1, 9) as u8,
            });
        }
    }

    /// Draws the last character.
    fn end(&mut self) {
        let begun = self.seen != 0;
        self.draw_cell();
        self.cell = 0;
        if begun {
            self.text.add_byte(b'\n');
        }
    }
}

/// Writes the numbers and the map; `None` iff this thread holds the lock, which it says instead.
pub(crate) fn write_all(write: Write<'_>) -> Option<KnStatus> {
    let mut room: Room = [0; size_of::<Room>()];
    if !write_statistics(&mut room, write) {
        return None;
    }
    let mut map = Map { text: Text::new(&mut room, write), kind: None, line: 0, cell: 0, seen: 0, used: 0 };
    let status = process::each_block(&mut |block| map.block(&block));
    map.end();
    map.text.flush();
    Some(status)
}

// ---------------------------------------------------------------- last words

/// Writes to standard error what is wrong at `at`, and what is known of the address:
/// `knoll: STATUS: WHAT at 0xADDRESS: a free block of 32 bytes`. A WHAT that says no more than the status
/// is left out.
#[cold]
pub(crate) fn last_words(status: &CStr, what: &CStr, at: usize) {
    // One call of the system, so that the line comes out whole beside those of other threads.
    let (mut room, mut write): (Room, _) = ([0; size_of::<Room>()], write_error);
    let mut text = Text::new(&mut room, &mut write);
    text.add(b"knoll: ");
    text.add(status.to_bytes());
    if what.to_bytes() != status.to_bytes() {
        text.add(b": ");
        text.add(what.to_bytes());
    }
    text.fill(b" at 0x@", &[at]);
    describe(&mut text, at);
    text.add(b"\n");
    text.flush();
}

/// Adds what is known of an address.
fn describe(text: &mut Text<'_>, at: usize) {
    let Some(block) = process::block_around(without_provenance(at)) else { return };
    let inside = at.wrapping_sub(block.at.addr());
    text.add(b": ");
    if inside != 0 {
        text.fill(b"# bytes into ", &[inside]);
    }
    text.add(match (block.kind, block.used) {
        (Kind::Large, _) => b"a large block of " as &[u8],
        (_, true) => b"a block of ",
        (_, false) => b"a free block of ",
    });
    text.fill(b"# bytes", &[block.bytes]);
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn written(work: impl FnOnce(&mut Text<'_>)) -> String {
        let mut all = Vec::new();
        let mut write = |text: &[u8]| {
            all.extend_from_slice(text);
            true
        };
        let mut room: Room = [0; size_of::<Room>()];
        let mut text = Text::new(&mut room, &mut write);
        work(&mut text);
        text.flush();
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn numbers_to_any_base_and_width() {
        let text = written(|text| text.fill(b"# #, 0x@!####|##|", &[0, usize::MAX, 0xdead_beef, 7, 123]));
        assert_eq!(text, std::format!("0 {}, 0xdeadbeef!   7|123|", usize::MAX));
    }

    #[test]
    fn any_number_of_lines_and_a_reader_who_stops() {
        let text = written(|text| (0..1000).for_each(|n| text.fill(b"#\n", &[n])));
        assert!(text.lines().enumerate().all(|(n, line)| line == std::format!("{n}")) && text.lines().count() == 1000);
        let mut calls = 0;
        let mut write = |_: &[u8]| {
            calls += 1;
            false
        };
        let mut room: Room = [0; size_of::<Room>()];
        let mut text = Text::new(&mut room, &mut write);
        (0..1000).for_each(|n| text.fill(b"#\n", &[n]));
        assert!(!text.flush());
        assert_eq!(calls, 1);
    }

    #[test]
    fn a_map_of_pages_gaps_and_kinds() {
        let mut all = Vec::new();
        let mut write = |text: &[u8]| {
            all.extend_from_slice(text);
            true
        };
        let mut room: Room = [0; size_of::<Room>()];
        let mut map = Map { text: Text::new(&mut room, &mut write), kind: None, line: 0, cell: 0, seen: 0, used: 0 };
        let base = 0x7000_0000;
        let mut block = |kind, unit: usize, offset: usize, bytes: usize, used| {
            let at = core::ptr::without_provenance(base + unit * UNIT + offset);
            assert!(map.block(&Block { at, bytes, kind, used }));
        };
        block(Kind::Small, 0, 0, UNIT / 2, true);
        block(Kind::Small, 0, UNIT / 2, UNIT / 2, false);
        block(Kind::Small, 1, 0, UNIT, true);
        block(Kind::Small, 4, 0, 48, false);
        block(Kind::Small, 5, 0, UNIT - 16, false);
        block(Kind::Small, 5, UNIT - 16, 16, true);
        block(Kind::Small, 64, 0, UNIT, true);
        block(Kind::Medium, 100, 32, 2 * UNIT, true);
        block(Kind::Medium, 102, 32, 1000 * UNIT, false);
        block(Kind::Large, 5000, 0, 200_000, true);
        map.end();
        map.text.flush();
        let text = String::from_utf8(all).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let line = |unit: usize, cells: &str| std::format!("{:x}  {cells}", base + unit * UNIT);
        assert_eq!(lines[2], line(0, "5#  .1"));
        assert_eq!(lines[3], line(64, "#"));
        assert_eq!(lines[6], line(100, "##1"));
        assert_eq!(lines[7], line(1101, ".."));
        assert_eq!(lines.last().copied(), Some(line(5000, "200000 bytes").as_str()));
    }
}
