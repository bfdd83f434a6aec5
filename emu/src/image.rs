//! A firmware image: what the ELF file says of memory, symbols and where to start.
//!
//! Guarantees
//! - Flash is every address range that holds loaded bytes outside RAM; RAM is what the linker
//!   script's symbols say, or else the writable segments. Nothing else is mapped, so a stray
//!   access faults.
//! - Bytes are loaded at their load address (flash): the firmware's own start-up code copies
//!   `.data`, as on a real part.
//! - A file that is not 32-bit little-endian Arm, has no vector table, or whose parts overlap
//!   the harness's registers is refused with a message that says what is wrong.
//!
//! ```text
//!   __flash_start .. end of the load segments     flash, read-only
//!   __ram_start .. __ram_end                      RAM
//!   word 0 / word 1 of the lowest section         initial SP / reset handler (bit 0 set)
//! ```

use crate::cpu::Cpu;
use crate::symbols::Symbols;
use anyhow::{bail, ensure, Context, Result};
use object::read::elf::{ElfFile32, ProgramHeader};
use object::{Architecture, Object, ObjectSection, ObjectSymbol};
use std::ops::Range;
use std::path::Path;

const PAGE: u32 = 0x1000;
/// More flash or RAM than this is a segment gone astray.
const MOST: u32 = 128 << 20;

/// Everything the harness needs from an ELF file.
pub struct Image {
    /// The processor the file was built for, if it says so.
    pub cpu: Option<Cpu>,
    /// Read-only memory, page-aligned.
    pub flash: Range<u32>,
    /// Read-write memory, page-aligned.
    pub ram: Range<u32>,
    /// What to load where.
    pub pieces: Vec<(u32, Vec<u8>)>,
    /// Initial stack pointer.
    pub stack_pointer: u32,
    /// Address of the first instruction (bit 0 clear).
    pub entry: u32,
    /// The stack: below its start lies nothing.
    pub stack: Range<u32>,
    /// What newlib may take: HEAPINFO's answer.
    pub heap: Range<u32>,
    /// Code of libknoll archives, which the linker script puts apart.
    pub knoll_text: Range<u32>,
    /// Statics of libknoll archives.
    pub knoll_statics: Range<u32>,
    /// Names, source lines and unwinding.
    pub symbols: Symbols,
}

impl Image {
    /// Reads an ELF file.
    pub fn load(path: &Path) -> Result<Image> {
        let bytes = std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        Image::parse(&bytes).with_context(|| format!("{} is no firmware", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Image> {
        let elf: ElfFile32 = ElfFile32::parse(bytes).context("not a 32-bit ELF file")?;
        ensure!(elf.architecture() == Architecture::Arm && elf.is_little_endian(), "not for little-endian Arm");
        let value =
            |name: &str| elf.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address() as u32);
        let range = |from: &str, to: &str| match (value(from), value(to)) {
            (Some(start), Some(end)) if start <= end => start..end,
            _ => 0..0,
        };

        let ram = range("__ram_start", "__ram_end");
        ensure!(!ram.is_empty(), "the symbols __ram_start and __ram_end are missing: link it with firmware.ld");
        let mut pieces = Vec::new();
        let (mut flash_start, mut flash_end) = (u32::MAX, 0);
        for segment in elf.elf_program_headers() {
            let endian = elf.endian();
            let data = segment.data(endian, bytes).ok().context("a segment lies outside the file")?;
            if segment.p_type(endian) != object::elf::PT_LOAD || data.is_empty() {
                continue;
            }
            let start = segment.p_paddr(endian);
            let end = start.checked_add(data.len() as u32).context("a segment ends beyond 4 GB")?;
            if !ram.contains(&start) {
                flash_start = flash_start.min(start);
                flash_end = flash_end.max(end);
            }
            pieces.push((start, data.to_vec()));
        }
        ensure!(flash_start < flash_end, "no segment to load into flash");
        let flash = flash_start & !(PAGE - 1)..round_up(flash_end)?;
        let ram = ram.start & !(PAGE - 1)..round_up(ram.end)?;
        for (what, range) in [("flash", &flash), ("RAM", &ram)] {
            let bytes = range.end - range.start;
            ensure!(bytes <= MOST, "{what} of {bytes} bytes, from {:#x}: more than any part has", range.start);
        }
        ensure!(flash.end <= ram.start || ram.end <= flash.start, "flash {flash:#x?} and RAM {ram:#x?} overlap");
        ensure!(
            ram.end <= crate::ports::BASE && flash.end <= crate::ports::BASE,
            "memory reaches into the system's own addresses from {:#x}",
            crate::ports::BASE
        );

        let vectors = match elf.section_by_name(".vectors") {
            Some(section) => section.address() as u32,
            None => flash.start,
        };
        let word = |address: u32| {
            pieces.iter().find_map(|(start, data): &(u32, Vec<u8>)| {
                let offset = address.checked_sub(*start)? as usize;
                let four = data.get(offset..offset + 4)?;
                Some(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            })
        };
        let (Some(stack_pointer), Some(reset)) = (word(vectors), word(vectors + 4)) else {
            bail!("no vector table at {vectors:#x}");
        };
        ensure!(reset & 1 == 1 && flash.contains(&reset), "the reset vector {reset:#x} is no Thumb address in flash");
        ensure!(
            stack_pointer % 8 == 0 && ram.contains(&stack_pointer.wrapping_sub(8)),
            "the initial stack pointer {stack_pointer:#x} is not in RAM on a multiple of 8"
        );
        let stack = match range("__stack_limit", "__stack_top") {
            found if found.is_empty() => ram.start..stack_pointer,
            found => found,
        };
        Ok(Image {
            cpu: Cpu::of_elf(&elf),
            flash,
            ram,
            stack_pointer,
            entry: reset & !1,
            stack,
            heap: range("__newlib_heap_start", "__newlib_heap_end"),
            knoll_text: range("__knoll_text_start", "__knoll_text_end"),
            knoll_statics: range("__knoll_statics_start", "__knoll_statics_end"),
            symbols: Symbols::of(&elf)?,
            pieces,
        })
    }

    /// Bytes of code as loaded, or nothing where the address isn't in flash.
    pub fn code(&self, address: u32, bytes: usize) -> Option<&[u8]> {
        self.pieces.iter().find_map(|(start, data)| {
            let offset = address.checked_sub(*start)? as usize;
            data.get(offset..offset.checked_add(bytes)?)
        })
    }
}

fn round_up(address: u32) -> Result<u32> {
    match address.checked_add(PAGE - 1) {
        Some(raised) => Ok(raised & !(PAGE - 1)),
        None => bail!("memory ends beyond 4 GB"),
    }
}
