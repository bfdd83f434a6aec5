//! Building what is run: Lua's C sources, found in the `lua-src` package and compiled as they are, and the
//! program of `examples/lua` over them, once for the host and once for each allocator as firmware.
//!
//! - Lua is not patched. One of its configuration macros is set on the command line: the seed of its string
//!   hash, which would else come from an address and the clock, so that every run would be another one.
//! - Numbers are Lua's own defaults, 64-bit integers and doubles, on the host and on the Cortex-M4 alike.
//! - An archive is compiled again only when its sources, its flags or the compiler's version have changed.

use super::execute::{Place, Program};
use crate::{dist, util};
use anyhow::{bail, Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// RAM for the Lua heap in the firmware, and the size it is given.
pub const FIRMWARE_HEAP: usize = 256 * 1024;
/// On a 64-bit host Lua's objects are larger: as much again.
pub const HOST_HEAP: usize = 2 * FIRMWARE_HEAP;

/// Of Lua's string hash.
const SEED: &str = "0x4b6e6f6cu";

/// An allocator that the same firmware is linked with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allocator {
    Knoll,
    /// Newlib's malloc: dlmalloc of 1996.
    Newlib,
    /// Newlib-nano's: first fit over one list in the order of addresses.
    NewlibNano,
}

impl Allocator {
    pub fn name(self) -> &'static str {
        match self {
            Allocator::Knoll => "Knoll",
            Allocator::Newlib => "newlib",
            Allocator::NewlibNano => "newlib-nano",
        }
    }

    fn file_name(self) -> String {
        self.name().to_lowercase()
    }
}

/// The C sources of Lua 5.4 in the `lua-src` package, wherever Cargo keeps it.
pub struct LuaSources {
    folder: PathBuf,
}

impl LuaSources {
    /// Asks Cargo where the package is.
    pub fn find() -> Result<LuaSources> {
        #[derive(serde::Deserialize)]
        struct Metadata {
            packages: Vec<Package>,
        }
        #[derive(serde::Deserialize)]
        struct Package {
            name: String,
            manifest_path: PathBuf,
        }
        let text = util::capture(util::cargo().args(["metadata", "--format-version", "1"]))?;
        let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata")?;
        let package = metadata.packages.iter().find(|package| package.name == "lua-src");
        let root = package.and_then(|package| package.manifest_path.parent()).context("no package lua-src")?;
        for entry in std::fs::read_dir(root)? {
            let folder = entry?.path();
            let named = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lua-5.4"));
            if named && folder.join("lua.h").is_file() {
                return Ok(LuaSources { folder });
            }
        }
        bail!("the package lua-src in {} has no Lua 5.4", root.display())
    }

    /// Where they lie, headers and all.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The library's C files: all of them but the two stand-alone programs.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let program = path.file_stem().is_some_and(|stem| stem == "lua" || stem == "luac");
            if path.extension().is_some_and(|extension| extension == "c") && !program {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Compiles liblua.a for a target, in a folder of its own, and returns its path.
    pub fn archive(&self, target: &str) -> Result<PathBuf> {
        let into = util::work_dir("run")?.join(format!("lua-{target}"));
        std::fs::create_dir_all(&into)?;
        let archive = into.join("liblua.a");
        let compiler = if target.starts_with("thumb") { "arm-none-eabi-gcc" } else { "gcc" };
        let version = util::capture(Command::new(compiler).arg("--version"))?;
        let recipe = format!("{}\n{SEED}\n{version}", self.folder.display());
        let recipe_file = into.join("recipe");
        if archive.is_file() && std::fs::read_to_string(&recipe_file).is_ok_and(|last| last == recipe) {
            util::note(format!("Lua for {target}: unchanged"));
            return Ok(archive);
        }
        let files = self.files()?;
        util::note(format!("compiling Lua's {} files for {target} with {compiler}", files.len()));
        let mut build = cc::Build::new();
        build.compiler(compiler).target(target).host(&util::host()?).out_dir(&into);
        build.opt_level(2).debug(true).cargo_metadata(false).warnings(false).pic(false);
        build.flag("-std=gnu99").flags(["-ffunction-sections", "-fdata-sections"]);
        build.define("luai_makeseed(L)", SEED).files(files);
        build.try_compile("lua").with_context(|| format!("cannot compile Lua for {target}"))?;
        std::fs::write(&recipe_file, recipe)?;
        Ok(archive)
    }
}

/// A path below `examples/lua`.
pub fn example(file: &str) -> PathBuf {
    util::root().join("examples/lua").join(file)
}

fn strict() -> [&'static str; 5] {
    ["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
}

fn include(folder: impl AsRef<Path>) -> String {
    format!("-I{}", folder.as_ref().display())
}

/// The folder in which a program runs; the script is copied into it.
fn run_folder(name: &str, script: &Path) -> Result<PathBuf> {
    let folder = util::work_dir("run")?.join(name);
    std::fs::create_dir_all(folder.join("out"))?;
    std::fs::copy(script, folder.join("work.lua")).with_context(|| format!("no script {}", script.display()))?;
    Ok(folder)
}

/// The host program, linked to libknoll.so.
pub fn host(lua: &LuaSources, script: &Path) -> Result<Program> {
    let library = util::build_shared()?;
    let folder = run_folder("host", script)?;
    let triple = util::host()?;
    let archive = lua.archive(&triple)?;
    let program = folder.join("lua-on-knoll");
    let library_folder = library.parent().context("libknoll.so lies nowhere")?;
    let mut gcc = Command::new("gcc");
    gcc.arg("-std=gnu99").args(strict());
    gcc.arg(format!("-DLUA_HEAP_CAPACITY={HOST_HEAP}u"));
    gcc.args([include(example("")), include(&lua.folder), include(util::root().join("include"))]);
    gcc.arg(include(util::root().join("emu/firmware")));
    gcc.args(["main.c", "recorder.c", "knoll_alloc.c"].map(example)).arg(&archive);
    gcc.arg(format!("-L{}", library_folder.display()));
    gcc.arg(format!("-Wl,-rpath,{}", library_folder.display()));
    gcc.args(["-lknoll", "-lm", "-o"]).arg(&program);
    util::run(&mut gcc)?;
    Ok(Program { name: "Knoll", place: Place::Host(program), folder, heap: HOST_HEAP })
}

/// The firmware for the Cortex-M4, with one allocator.
pub fn firmware(lua: &LuaSources, script: &Path, allocator: Allocator, emulator: &Path) -> Result<Program> {
    const TARGET: &str = "thumbv7em-none-eabi";
    let name = allocator.file_name();
    let folder = run_folder(&format!("firmware-{name}"), script)?;
    let archive = lua.archive(TARGET)?;
    let elf = folder.join("lua.elf");
    let mut build = Command::new("sh");
    build.arg(util::root().join("emu/firmware/build.sh")).arg("m4").arg(&elf);
    build.args(["main.c", "recorder.c"].map(example)).arg(&archive);
    match allocator {
        Allocator::Knoll => {
            build.args(["knoll_alloc.c", "newlib_on_knoll.c"].map(example));
            build.arg(dist::package(TARGET, &util::work_dir("run")?.join("libknoll"))?).arg("--");
        }
        Allocator::Newlib | Allocator::NewlibNano => {
            build.arg(example("newlib_alloc.c"));
            if allocator == Allocator::NewlibNano {
                build.args(nano_objects(&folder)?);
            }
            build.arg("--").arg("-Wl,--wrap=_sbrk");
        }
    }
    build.args(strict());
    build.arg(format!("-DLUA_HEAP_NAME=\"{name}\"")).arg(format!("-DLUA_HEAP_CAPACITY={FIRMWARE_HEAP}u"));
    build.args([include(example("")), include(&lua.folder), include(util::root().join("include"))]);
    util::run(&mut build)?;
    let place = Place::Firmware { emulator: emulator.to_owned(), elf };
    Ok(Program { name: allocator.name(), place, folder, heap: FIRMWARE_HEAP })
}

/// Newlib-nano's allocator, taken out of its archive, to be linked before newlib's. The rest of newlib-nano
/// is no C library for stock Lua: its printf does not know `long long`.
fn nano_objects(folder: &Path) -> Result<Vec<PathBuf>> {
    const FLAGS: [&str; 4] = ["-mcpu=cortex-m4", "-mfloat-abi=soft", "-mthumb", "--print-file-name=libc_nano.a"];
    const MEMBERS: [&str; 8] =
        ["mallocr", "freer", "reallocr", "callocr", "msizer", "mallinfor", "mallstatsr", "malloptr"];
    let archive = util::capture(&mut util::program("arm-none-eabi-gcc", FLAGS))?;
    let members = MEMBERS.map(|member| format!("lib_a-nano-{member}.o"));
    let mut extract = Command::new("arm-none-eabi-ar");
    extract.current_dir(folder).args(["x", archive.trim()]).args(&members);
    util::capture(&mut extract).context("newlib-nano's allocator")?;
    Ok(members.map(|member| folder.join(member)).to_vec())
}
