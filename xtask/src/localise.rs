//! From the raw archive that Cargo builds to one that a C project can link.
//!
//! ```text
//!   libknoll.a as Cargo leaves it            dist/TARGET/libknoll.a
//!   ┌──────────────────────────────┐         ┌──────────────────────┐
//!   │ knoll  (one object, by LTO)  │  ld -r  │ knoll.o              │
//!   │ core, compiler_builtins:     │ ──────▶ │  kn_*, GC_*   global │
//!   │ some 400 objects, 5 MB, with │ objcopy │  all else     local  │
//!   │ `rust_begin_unwind` & co.    │         │  no debug sections   │
//!   └──────────────────────────────┘         └──────────────────────┘
//! ```
//!
//! - What no public function reaches is gone; what is left needs nothing from outside on bare
//!   targets: the archive carries the few compiler intrinsics (memcpy, …) it uses, as its own.
//! - Two archives made so, or one made so and a raw one of another Rust library, link into one
//!   program: there is no global `rust_begin_unwind`, no `memcpy` and nothing of `core` in it.
//! - The LLVM linker and objcopy of the Rust toolchain do it for every ELF target, so that no
//!   target needs binutils of its own. A WebAssembly object has no local symbols to hide by
//!   objcopy; there link-time optimisation has made everything but the public functions local.

use crate::util::{capture, program, toolchain_bin, work_dir};
use anyhow::{bail, Context, Result};
use ar_archive_writer::{write_archive_to_stream, ArchiveKind, NewArchiveMember, DEFAULT_OBJECT_READER};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Is this the name of a function of the C interface?
pub fn is_public(symbol: &str) -> bool {
    symbol.starts_with("kn_") || symbol.starts_with("GC_")
}

/// The symbols of an object or of all members of an archive.
#[derive(Default)]
pub struct Symbols {
    /// Defined and visible to other objects.
    pub global: BTreeSet<String>,
    /// Defined and local.
    pub local: BTreeSet<String>,
    /// Needed from elsewhere.
    pub undefined: BTreeSet<String>,
}

impl Symbols {
    /// Reads the symbols of an archive, an object, or the dynamic symbols of a shared object.
    pub fn read(path: &Path) -> Result<Symbols> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut symbols = Symbols::default();
        for (_, object) in members(&bytes)? {
            let file = object::File::parse(object)?;
            if file.kind() == object::ObjectKind::Dynamic {
                symbols.add(file.dynamic_symbols());
            }
            symbols.add(file.symbols());
        }
        // What one member lacks another may have.
        symbols.undefined.retain(|name| !symbols.global.contains(name));
        Ok(symbols)
    }

    fn add<'data>(&mut self, symbols: impl Iterator<Item = impl ObjectSymbol<'data>>) {
        for symbol in symbols {
            let Ok(name) = symbol.name() else { continue };
            if name.is_empty()
                || name.starts_with('$')
                || matches!(symbol.kind(), SymbolKind::File | SymbolKind::Section)
            {
                continue;
            }
            let set = match (symbol.is_undefined(), symbol.is_global()) {
                (true, _) => &mut self.undefined,
                (false, true) => &mut self.global,
                (false, false) => &mut self.local,
            };
            set.insert(name.to_owned());
        }
    }

    /// The public functions.
    pub fn public(&self) -> impl Iterator<Item = &String> {
        self.global.iter().filter(|name| is_public(name))
    }
}

/// The objects in a file: the members of an archive with their names, or the file itself.
fn members(bytes: &[u8]) -> Result<Vec<(String, &[u8])>> {
    if !bytes.starts_with(b"!<arch>\n") {
        return Ok(vec![(String::new(), bytes)]);
    }
    let mut members = Vec::new();
    for member in ArchiveFile::parse(bytes)?.members() {
        let member = member?;
        let data = member.data(bytes)?;
        // `lib.rmeta` and the like are no objects.
        if object::FileKind::parse(data).is_ok() {
            members.push((String::from_utf8_lossy(member.name()).into_owned(), data));
        }
    }
    Ok(members)
}

/// What the compiler calls to copy memory on Arm, and the C library's function of the same kind.
const COPIES: [(&str, &str); 6] = [
    ("__aeabi_memcpy", "memcpy"),
    ("__aeabi_memcpy4", "memcpy"),
    ("__aeabi_memcpy8", "memcpy"),
    ("__aeabi_memmove", "memmove"),
    ("__aeabi_memmove4", "memmove"),
    ("__aeabi_memmove8", "memmove"),
];

/// Makes the raw archive into one relocatable object in which only the public functions are global.
pub fn localised_object(raw: &Path, target: &str) -> Result<PathBuf> {
    localise(raw, target, &[])
}

/// The same for a program that has `memcpy` and `memmove` of its own: these are left for it to link, which saves their
/// code a second time.
pub fn localised_object_without_copies(raw: &Path, target: &str) -> Result<PathBuf> {
    localise(raw, target, if target.starts_with("thumb") { &COPIES } else { &[] })
}

fn localise(raw: &Path, target: &str, left: &[(&str, &str)]) -> Result<PathBuf> {
    let public: Vec<String> = Symbols::read(raw)?.public().cloned().collect();
    if public.is_empty() {
        bail!("{} defines no kn_ function", raw.display());
    }
    let directory = work_dir("localise")?.join(target);
    std::fs::create_dir_all(&directory)?;
    let merged = directory.join("merged.o");
    let object = directory.join("knoll.o");
    let tools = toolchain_bin()?;
    if target.starts_with("wasm") {
        let member = directory.join("member.o");
        std::fs::write(&member, own_member(raw)?)?;
        let mut link = program(tools.join("rust-lld"), ["-flavor", "wasm", "-r", "--strip-debug", "-o"]);
        capture(link.arg(&object).arg(&member))?;
        return Ok(object);
    }

    let mut link = program(tools.join("rust-lld"), ["-flavor", "gnu", "-r", "--gc-sections"]);
    for name in &public {
        link.args(["-u", name]);
    }
    // A wrapped name is wanted under another, so that the compiler's own library does not give it; -u: as strongly as
    // any other, though that library's is weak.
    for (name, _) in left {
        link.arg(format!("--wrap={name}")).args(["-u", &format!("__wrap_{name}")]);
    }
    capture(link.arg("-o").arg(&merged).arg(raw))?;
    let mut copy = program(tools.join("rust-objcopy"), ["--strip-debug", "--wildcard"]);
    for kept in ["kn_*", "GC_*"] {
        copy.args(["--keep-global-symbol", kept]);
    }
    for (name, instead) in left {
        copy.arg("--redefine-sym").arg(format!("__wrap_{name}={instead}"));
    }
    for dropped in [".llvmbc", ".llvmcmd", ".comment"] {
        copy.args(["--remove-section", dropped]);
    }
    if target.contains("-none-") {
        // Bare-metal compilers write no such note, and one object that has it makes the linker
        // warn of all that have not.
        copy.args(["--remove-section", ".note.GNU-stack"]);
        // Nothing unwinds: a panic stops. Firmware whose linker script has no place for the tables of that would get
        // them as sections of their own, on top of its data.
        copy.args(["--remove-section", ".ARM.exidx*"]);
    }
    // rust-objcopy is linked to the toolchain's own LLVM library.
    let libraries = capture(&mut program("rustc", ["--print", "sysroot"]))?;
    copy.env("LD_LIBRARY_PATH", Path::new(libraries.trim()).join("lib"));
    capture(copy.arg(&merged).arg(&object))?;
    Ok(object)
}

/// The member that holds the library itself, by its name: link-time optimisation leaves one.
pub fn own_member(raw: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(raw)?;
    let own: Vec<_> = members(&bytes)?.into_iter().filter(|(name, _)| name.starts_with("knoll-")).collect();
    let [(_, member)] = own[..] else { bail!("{} members named knoll-*, not one", own.len()) };
    Ok(member.to_vec())
}

/// Writes an archive of one object, with a symbol index; the same object always gives the same bytes.
pub fn write_archive(object: &Path, archive: &Path) -> Result<()> {
    let member = NewArchiveMember::new(std::fs::read(object)?, &DEFAULT_OBJECT_READER, "knoll.o".to_owned());
    let mut file = std::fs::File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
    write_archive_to_stream(&mut file, &[member], ArchiveKind::Gnu, false, None)?;
    Ok(())
}

/// What an object or archive takes of a device's memory, in bytes.
#[derive(Clone, Copy, Default)]
pub struct Sizes {
    /// Code and constants.
    pub code: u64,
    /// Initialised data.
    pub data: u64,
    /// Zeroed data.
    pub zeroed: u64,
}

/// Sums the sections of an object, or of all members of an archive.
pub fn sizes(path: &Path) -> Result<Sizes> {
    let bytes = std::fs::read(path)?;
    let mut sizes = Sizes::default();
    for (_, object) in members(&bytes)? {
        for section in object::File::parse(object)?.sections() {
            match section.kind() {
                SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => {
                    sizes.code += section.size()
                }
                SectionKind::Data => sizes.data += section.size(),
                SectionKind::UninitializedData => sizes.zeroed += section.size(),
                _ => {}
            }
        }
    }
    Ok(sizes)
}
