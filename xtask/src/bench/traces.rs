//! Recorded traces as a table that is linked into the benchmark's program.
//!
//! - Reads every `*.trace.gz` of a directory: `a ID SIZE`, `r ID SIZE`, `f ID`, one operation a line.
//! - Identities become slots: a freed slot is the next one taken, so the table of live blocks stays small.
//! - Writes `NAME.bin` (one 32-bit word an operation, `occupancy.h` says how) and `traces.S`, which includes them.
//! - A request of 0 bytes is replayed as 1 byte: what `malloc(0)` returns differs between allocators.

use anyhow::{bail, Context, Result};
use flate2::read::GzDecoder;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// One recorded program.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The file's name without `.trace.gz`.
    pub name: String,
    /// Largest sum of live sizes, in bytes.
    pub peak: u32,
    slots: u32,
    code: Vec<u32>,
}

/// Converts all traces of `directory` into `out`; returns them and the path of `traces.S`.
pub fn convert(directory: &Path, out: &Path) -> Result<(Vec<Trace>, PathBuf)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read the traces in {}", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".trace.gz"))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("no *.trace.gz in {}", directory.display());
    }
    let mut assembly = String::from(".section .rodata\n");
    let mut list = String::from(".balign 4\n.globl traces\ntraces:\n");
    let mut traces = Vec::new();
    for (index, path) in files.iter().enumerate() {
        let trace = read(path).with_context(|| format!("in {}", path.display()))?;
        let binary = out.join(format!("{}.bin", trace.name));
        std::fs::write(&binary, trace.code.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())?;
        writeln!(
            assembly,
            ".balign 4\ntrace_{index}: .long name_{index}, {}, {}, {}",
            trace.code.len(),
            trace.slots,
            trace.peak
        )?;
        writeln!(assembly, ".incbin \"{}\"\nname_{index}: .asciz \"{}\"", binary.display(), trace.name)?;
        writeln!(list, ".long trace_{index}")?;
        traces.push(trace);
    }
    let path = out.join("traces.S");
    std::fs::write(&path, assembly + &list + ".long 0\n")?;
    Ok((traces, path))
}

fn read(path: &Path) -> Result<Trace> {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut trace =
        Trace { name: file_name.trim_end_matches(".trace.gz").to_owned(), peak: 0, slots: 0, code: Vec::new() };
    let (mut free, mut live, mut bytes) = (Vec::new(), HashMap::<String, (u32, u32)>::new(), 0);
    for (number, line) in BufReader::new(GzDecoder::new(File::open(path)?)).lines().enumerate() {
        let line = line?;
        let bad = || format!("line {}: {line}", number + 1);
        let mut words = line.split_whitespace();
        let (kind, identity) = (words.next().with_context(bad)?, words.next().with_context(bad)?);
        let size: u32 = if kind == "f" { 0 } else { words.next().with_context(bad)?.parse().with_context(bad)? };
        let (operation, slot) = match kind {
            "a" => {
                let slot = free.pop().unwrap_or_else(|| {
                    trace.slots += 1;
                    trace.slots - 1
                });
                bytes += size;
                if live.insert(identity.to_owned(), (slot, size)).is_some() {
                    bail!("already live, {}", bad());
                }
                (0, slot)
            }
            "r" => {
                let (slot, old) = live.get_mut(identity).with_context(bad)?;
                bytes = bytes + size - *old;
                *old = size;
                (1, *slot)
            }
            "f" => {
                let (slot, old) = live.remove(identity).with_context(bad)?;
                bytes -= old;
                free.push(slot);
                (2, slot)
            }
            _ => bail!("unknown operation, {}", bad()),
        };
        trace.peak = trace.peak.max(bytes);
        let replayed = if operation == 2 { 0 } else { size.max(1) };
        if replayed > 0xffff || slot > 0x3fff {
            bail!("larger than the replayer's format allows, {}", bad());
        }
        trace.code.push(operation << 30 | slot << 16 | replayed);
    }
    Ok(trace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{write::GzEncoder, Compression};
    use std::io::Write as _;

    fn written(name: &str, text: &str) -> Result<Result<Trace>> {
        let path = std::env::temp_dir().join(format!("knoll-{}-{name}.trace.gz", std::process::id()));
        let mut file = GzEncoder::new(File::create(&path)?, Compression::fast());
        file.write_all(text.as_bytes())?;
        file.finish()?;
        let trace = read(&path);
        std::fs::remove_file(&path)?;
        Ok(trace)
    }

    #[test]
    fn slots_are_used_again_and_the_peak_is_of_sizes() -> Result<()> {
        let trace = written("good", "a 0 10\na 1 20\nf 0\na 2 0\nr 1 300\nf 1\n")??;
        assert_eq!((trace.peak, trace.slots), (300, 2));
        assert_eq!(trace.code, [10, 1 << 16 | 20, 2 << 30, 1, 1 << 30 | 1 << 16 | 300, 2 << 30 | 1 << 16]);
        Ok(())
    }

    #[test]
    fn a_damaged_trace_is_refused_with_its_line() -> Result<()> {
        for bad in ["a 0", "f 7", "a 0 8\na 0 8", "x 1 2", "r 3 4", "a 0 70000", "a 0 -1"] {
            let error = format!("{:#}", written("bad", bad)?.err().context(bad)?);
            assert!(error.contains("line") || error.contains(bad), "{error}");
        }
        Ok(())
    }
}
