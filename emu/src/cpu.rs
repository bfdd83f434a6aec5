//! The processors the harness knows, and how to tell from an ELF file which one it is for.
//!
//! Guarantees: the model is always chosen explicitly (a default model of the emulator would
//! accept instructions that the part does not have), and it comes from the file's own build
//! attributes unless the caller says otherwise.

use object::read::elf::{ElfFile32, FileHeader, SectionHeader};
use std::fmt;
use unicorn_engine::ArmCpuModel;

/// A processor model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// Cortex-M0: ARMv6-M, no CLZ, no divide, faults on every unaligned access.
    M0,
    /// Cortex-M3: ARMv7-M.
    M3,
    /// Cortex-M4: ARMv7E-M with the single-precision FPU, which only hard-float code uses.
    M4,
}

impl Cpu {
    pub(crate) fn model(self) -> i32 {
        match self {
            Cpu::M0 => ArmCpuModel::CORTEX_M0 as i32,
            Cpu::M3 => ArmCpuModel::CORTEX_M3 as i32,
            Cpu::M4 => ArmCpuModel::CORTEX_M4 as i32,
        }
    }

    /// Reads `.ARM.attributes`: Tag_CPU_arch. `None` when the file has none or names another.
    pub(crate) fn of_elf(elf: &ElfFile32) -> Option<Cpu> {
        const TAG_CPU_ARCH: u64 = 6;
        let endian = elf.endian();
        let header = elf.elf_header();
        let sections = header.sections(endian, elf.data()).ok()?;
        let section = sections.iter().find(|s| s.sh_type(endian) == object::elf::SHT_ARM_ATTRIBUTES)?;
        let attributes = section.attributes(endian, elf.data()).ok()?;
        let mut subsections = attributes.subsections().ok()?;
        while let Ok(Some(subsection)) = subsections.next() {
            if subsection.vendor() != b"aeabi" {
                continue;
            }
            let mut parts = subsection.subsubsections();
            while let Ok(Some(part)) = parts.next() {
                if let Some(value) = arch_of(part.attributes(), TAG_CPU_ARCH) {
                    return match value {
                        11 | 12 => Some(Cpu::M0),
                        10 => Some(Cpu::M3),
                        13 => Some(Cpu::M4),
                        _ => None,
                    };
                }
            }
        }
        None
    }
}

/// Finds one numeric tag. Tags 4, 5, 32, 65, 67 and odd ones above 32 hold text.
fn arch_of(mut reader: object::read::elf::AttributeReader<'_>, wanted: u64) -> Option<u64> {
    while let Ok(Some(tag)) = reader.read_tag() {
        match tag {
            32 => {
                reader.read_integer().ok()?;
                reader.read_string().ok()?;
            }
            4 | 5 => {
                reader.read_string().ok()?;
            }
            _ if tag > 32 && tag % 2 == 1 => {
                reader.read_string().ok()?;
            }
            _ => {
                let value = reader.read_integer().ok()?;
                if tag == wanted {
                    return Some(value);
                }
            }
        }
    }
    None
}

impl fmt::Display for Cpu {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Cpu::M0 => "m0",
            Cpu::M3 => "m3",
            Cpu::M4 => "m4",
        })
    }
}

impl std::str::FromStr for Cpu {
    type Err = String;

    fn from_str(text: &str) -> Result<Cpu, String> {
        match text {
            "m0" => Ok(Cpu::M0),
            "m3" => Ok(Cpu::M3),
            "m4" | "m4f" => Ok(Cpu::M4),
            _ => Err(format!("unknown CPU '{text}': want m0, m3, m4 or m4f")),
        }
    }
}
