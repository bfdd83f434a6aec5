//! The host's files as a firmware sees them: one folder to read, one below it to write.
//!
//! Guarantees
//! - A firmware reads only files inside its folder, symbolic links followed, and writes only
//!   below `out/` in it, which is made when first needed. Absolute paths and `..` are refused
//!   with EACCES; without a folder every open fails with ENOENT. Nothing is ever removed.
//! - Standard input, output and error are the special name `:tt`, as Arm's semihosting has it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

/// Error numbers as newlib has them.
pub mod errno {
    /// No such file.
    pub const NOENT: i32 = 2;
    /// Input or output failed.
    pub const IO: i32 = 5;
    /// Not an open handle.
    pub const BADF: i32 = 9;
    /// Outside the folder.
    pub const ACCES: i32 = 13;
    /// Not a valid argument.
    pub const INVAL: i32 = 22;
    /// Not a thing this host does.
    pub const NOSYS: i32 = 88;
}

/// The folder below the firmware's own that it may write to.
pub const OUTPUT: &str = "out";

/// Where a standard stream goes.
#[derive(Debug, Default)]
pub enum Stream {
    /// To this process's own stdout or stderr.
    #[default]
    Inherit,
    /// Into memory.
    Capture(Vec<u8>),
}

enum Open {
    Input,
    Output,
    Error,
    Disk(File),
}

/// The table of open files. A handle is an index + 1.
#[derive(Default)]
pub struct Files {
    folder: Option<PathBuf>,
    open: Vec<Option<Open>>,
    /// The firmware's stdout.
    pub output: Stream,
    /// The firmware's stderr.
    pub error: Stream,
    /// The firmware's stdin, when it is not this process's.
    pub input: Option<io::Cursor<Vec<u8>>>,
}

type Answer<T> = Result<T, i32>;

fn code(error: &io::Error) -> i32 {
    match error.kind() {
        io::ErrorKind::NotFound => errno::NOENT,
        io::ErrorKind::PermissionDenied => errno::ACCES,
        _ => error.raw_os_error().unwrap_or(errno::IO),
    }
}

impl Files {
    /// Files of a folder, or of none.
    pub fn new(folder: Option<PathBuf>, output: Stream, error: Stream) -> Files {
        Files { folder, open: Vec::new(), output, error, input: None }
    }

    /// Opens a file. `mode` is semihosting's: 0-3 read, 4-7 write, 8-11 append; +2 for both ways.
    pub fn open(&mut self, name: &str, mode: u32) -> Answer<i32> {
        if mode > 11 {
            return Err(errno::INVAL);
        }
        let file = if name == ":tt" {
            match mode {
                0..=3 => Open::Input,
                4..=7 => Open::Output,
                _ => Open::Error,
            }
        } else {
            Open::Disk(self.open_on_disk(Path::new(name), mode)?)
        };
        let free = self.open.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        self.open[index] = Some(file);
        Ok(index as i32 + 1)
    }

    fn open_on_disk(&self, name: &Path, mode: u32) -> Answer<File> {
        let folder = self.folder.as_ref().ok_or(errno::NOENT)?;
        let plain = name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !plain {
            return Err(errno::ACCES);
        }
        let root = folder.canonicalize().map_err(|e| code(&e))?;
        let writes = mode >= 2;
        let allowed = if writes { root.join(OUTPUT) } else { root.clone() };
        let path = root.join(name);
        if writes {
            if !path.starts_with(&allowed) {
                return Err(errno::ACCES);
            }
            std::fs::create_dir_all(&allowed).map_err(|e| code(&e))?;
        }
        // Symbolic links may lead out: of a file yet to be made, its folder's path must not.
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(_) if mode >= 4 => {
                let parent = path.parent().ok_or(errno::ACCES)?;
                let parent = parent.canonicalize().map_err(|e| code(&e))?;
                parent.join(path.file_name().ok_or(errno::ACCES)?)
            }
            Err(error) => return Err(code(&error)),
        };
        if !real.starts_with(&allowed) {
            return Err(errno::ACCES);
        }
        let both = mode & 2 != 0;
        OpenOptions::new()
            .read(mode < 4 || both)
            .write((4..8).contains(&mode) || (mode < 4 && both))
            .append(mode >= 8)
            .create(mode >= 4)
            .truncate((4..8).contains(&mode))
            .open(real)
            .map_err(|e| code(&e))
    }

    fn at(&mut self, handle: i32) -> Answer<&mut Open> {
        let index = usize::try_from(handle).ok().and_then(|h| h.checked_sub(1));
        index.and_then(|index| self.open.get_mut(index)).and_then(Option::as_mut).ok_or(errno::BADF)
    }

    /// Closes a handle.
    pub fn close(&mut self, handle: i32) -> Answer<()> {
        self.at(handle)?;
        self.open[handle as usize - 1] = None;
        Ok(())
    }

    /// Writes all of `bytes`.
    pub fn write(&mut self, handle: i32, bytes: &[u8]) -> Answer<()> {
        match self.at(handle)? {
            Open::Input => Err(errno::BADF),
            Open::Output => self.print(bytes),
            Open::Error => match &mut self.error {
                Stream::Inherit => io::stderr().write_all(bytes).map_err(|e| code(&e)),
                Stream::Capture(text) => {
                    text.extend_from_slice(bytes);
                    Ok(())
                }
            },
            Open::Disk(file) => file.write_all(bytes).map_err(|e| code(&e)),
        }
    }

    /// Writes to the firmware's stdout.
    pub fn print(&mut self, bytes: &[u8]) -> Answer<()> {
        match &mut self.output {
            Stream::Inherit => io::stdout().write_all(bytes).map_err(|e| code(&e)),
            Stream::Capture(text) => {
                text.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Reads up to `bytes` bytes; fewer only at the end of the file (or of a terminal's line).
    pub fn read(&mut self, handle: i32, bytes: usize) -> Answer<Vec<u8>> {
        let mut text = Vec::new();
        let limit = bytes as u64;
        let done = match self.at(handle)? {
            Open::Disk(file) => file.take(limit).read_to_end(&mut text),
            Open::Input => match &mut self.input {
                Some(input) => input.take(limit).read_to_end(&mut text),
                None => {
                    text.resize(bytes, 0);
                    let got = io::stdin().read(&mut text);
                    text.truncate(*got.as_ref().unwrap_or(&0));
                    got
                }
            },
            Open::Output | Open::Error => return Err(errno::BADF),
        };
        done.map(|_| text).map_err(|e| code(&e))
    }

    /// Moves to a byte of a file.
    pub fn seek(&mut self, handle: i32, position: u64) -> Answer<()> {
        match self.at(handle)? {
            Open::Disk(file) => file.seek(SeekFrom::Start(position)).map(|_| ()).map_err(|e| code(&e)),
            _ => Err(errno::INVAL),
        }
    }

    /// A file's length in bytes.
    pub fn length(&mut self, handle: i32) -> Answer<u64> {
        match self.at(handle)? {
            Open::Disk(file) => file.metadata().map(|m| m.len()).map_err(|e| code(&e)),
            _ => Err(errno::INVAL),
        }
    }

    /// Whether a handle is a standard stream.
    pub fn is_terminal(&mut self, handle: i32) -> Answer<bool> {
        Ok(!matches!(self.at(handle)?, Open::Disk(_)))
    }
}
