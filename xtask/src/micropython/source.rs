//! MicroPython's source: Debian's source package, fetched and unpacked once below `target/micropython/source`.
//!
//! - It is what `apt-get source` gives of the suite [`SUITE`], whatever Debian this machine runs: apt's own way, with
//!   its signatures and checksums. No host is named here. The archives that this machine uses for its own suite are
//!   asked for the other one.
//! - The system's package lists and configuration stay as they are: apt gets a state, a cache and a list of sources
//!   of its own below `target/micropython/apt`, and needs no root. What `/etc/apt/apt.conf.d` says, a proxy for
//!   instance, holds.
//! - The directory is there completely or not at all: it is unpacked beside its place and moved there.
//! - Another version than [`VERSION`] is refused with a message: the tests' expectations and the list of functions
//!   that are replaced are those of this one.
//!
//! ```text
//!   /etc/apt/sources.list.d/*  ──▶  apt/suite.sources  ──▶  apt-get update, source  ──▶  dpkg-source  ──▶  source/
//!   (this machine's suite)          (the same, SUITE)        (state and cache in apt/)
//! ```

use super::folder;
use crate::util::{announce, capture, note, program};
use anyhow::{bail, Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Debian suite that has the version we know.
const SUITE: &str = "trixie";
/// The version of MicroPython, as the package's begins.
pub const VERSION: &str = "1.25.";

/// The unpacked source, fetched if it is not here yet.
pub fn source() -> Result<PathBuf> {
    let place = folder()?.join("source");
    if is_complete(&place) {
        return Ok(place);
    }
    announce(format!("MicroPython {VERSION}*: Debian {SUITE}'s source package"));
    let apt = Apt::new(&folder()?.join("apt"))?;
    let version = apt.version()?;
    let description = apt.download(&version)?;
    let beside = folder()?.join(format!("source-{}", std::process::id()));
    capture(program("dpkg-source", ["--quiet", "--extract"]).arg(&description).arg(&beside))
        .context("dpkg-source is in the package dpkg-dev")?;
    std::fs::write(beside.join(COMPLETE), &version)?;
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    if let Err(error) = std::fs::rename(&beside, &place) {
        // Another process was faster.
        std::fs::remove_dir_all(&beside)?;
        if !is_complete(&place) {
            return Err(error).context("the source could not be moved to its place");
        }
    }
    note(format!("micropython {version}, in {}", crate::util::root_relative(&place)));
    Ok(place)
}

/// The file that says of which version the source is, written last.
const COMPLETE: &str = "complete";

fn is_complete(place: &Path) -> bool {
    std::fs::read_to_string(place.join(COMPLETE)).is_ok_and(|version| version.starts_with(VERSION))
}

// ---------------------------------------------------------------- apt, beside the system's

/// apt with a configuration of its own.
struct Apt {
    directory: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    /// Writes the configuration and fetches the suite's list of source packages.
    fn new(directory: &Path) -> Result<Apt> {
        for part in ["state/lists/partial", "cache/archives/partial", "download"] {
            std::fs::create_dir_all(directory.join(part))?;
        }
        let archives = archives(&release()?, &lists()?);
        if archives.is_empty() {
            bail!(
                "no Debian archive among this machine's apt sources; MicroPython comes from Debian {SUITE}'s source \
                 package: on another system, unpack MicroPython {VERSION}* as {} with a file `{COMPLETE}` that holds \
                 its version",
                crate::util::root_relative(&folder()?.join("source"))
            );
        }
        let sources = directory.join("suite.sources");
        std::fs::write(&sources, archives.iter().map(Archive::text).collect::<Vec<_>>().join("\n"))?;
        std::fs::write(directory.join("status"), "")?;
        let configuration = directory.join("apt.conf");
        std::fs::write(&configuration, settings(directory, &sources))?;
        let apt = Apt { directory: directory.to_path_buf(), configuration };
        capture(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = program(name, ["-c"]);
        command.arg(&self.configuration);
        command
    }

    /// The package's version.
    fn version(&self) -> Result<String> {
        let shown = capture(self.command("apt-cache").args(["showsrc", "--only-source", "micropython"]))?;
        let versions: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("Version: ")).collect();
        match versions.iter().find(|version| version.starts_with(VERSION)) {
            Some(version) => Ok((*version).to_owned()),
            None => bail!(
                "Debian {SUITE} has micropython {}, and Knoll's tests are for {VERSION}*",
                if versions.is_empty() { "not".to_owned() } else { versions.join(", ") }
            ),
        }
    }

    /// Fetches the package's files; returns its `.dsc`.
    fn download(&self, version: &str) -> Result<PathBuf> {
        let mut fetch = self.command("apt-get");
        fetch.args(["--quiet", "source", "--download-only", "--only-source", &format!("micropython={version}")]);
        let into = self.directory.join("download");
        capture(fetch.current_dir(&into))?;
        // A colon of an epoch stands in no file's name; this package has none.
        let description = into.join(format!("micropython_{version}.dsc"));
        if !description.exists() {
            bail!("apt-get source has brought no {}", description.display());
        }
        Ok(description)
    }
}

/// Everything that apt writes goes below the directory; nothing is run after an update.
fn settings(directory: &Path, sources: &Path) -> String {
    let directory = directory.display();
    format!(
        "Dir::State \"{directory}/state\";\n\
         Dir::State::status \"{directory}/status\";\n\
         Dir::Cache \"{directory}/cache\";\n\
         Dir::Etc::sourcelist \"{}\";\n\
         Dir::Etc::sourceparts \"-\";\n\
         APT::Sandbox::User \"root\";\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n",
        sources.display()
    )
}

// ---------------------------------------------------------------- this machine's archives

/// The code name of the Debian that runs here.
fn release() -> Result<String> {
    let text = std::fs::read_to_string("/etc/os-release").context("no /etc/os-release: which system is this?")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.unwrap_or_default().trim_matches('"').to_owned())
}

/// All lists of sources, each with whether it is in the form of paragraphs.
fn lists() -> Result<Vec<(bool, String)>> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        paths.extend(entries.flatten().map(|entry| entry.path()));
    }
    paths.sort();
    let mut texts = Vec::new();
    for path in paths {
        let paragraphs = match path.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => true,
            Some("list") => false,
            _ => continue,
        };
        if let Ok(text) = std::fs::read_to_string(&path) {
            texts.push((paragraphs, text));
        }
    }
    Ok(texts)
}

/// An archive of packages, and what signs it.
#[derive(Debug, PartialEq)]
struct Archive {
    uris: String,
    signed_by: Option<String>,
}

impl Archive {
    /// The paragraph that asks it for the source packages of [`SUITE`].
    fn text(&self) -> String {
        let mut text = format!("Types: deb-src\nURIs: {}\nSuites: {SUITE}\nComponents: main\n", self.uris);
        if let Some(keys) = &self.signed_by {
            text.push_str(&format!("Signed-By: {keys}\n"));
        }
        text
    }
}

/// The archives that have the system's own suite, in the lists' order, each once.
fn archives(release: &str, lists: &[(bool, String)]) -> Vec<Archive> {
    let mut archives = Vec::new();
    for (paragraphs, text) in lists {
        let found = if *paragraphs { from_paragraphs(release, text) } else { from_lines(release, text) };
        for archive in found {
            if !archives.contains(&archive) {
                archives.push(archive);
            }
        }
    }
    archives
}

/// `Field: value` lines, continued by indented ones; an empty line ends an entry.
fn from_paragraphs(release: &str, text: &str) -> Vec<Archive> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let entries = lines.split(|line| line.trim().is_empty());
    let of_entry = |entry: &[&str]| {
        let field = |name: &str| {
            let at = entry.iter().position(|line| line.to_lowercase().starts_with(&format!("{name}:")))?;
            let mut value = entry[at][name.len() + 1..].trim().to_owned();
            for more in entry[at + 1..].iter().take_while(|line| line.starts_with([' ', '\t'])) {
                value.push('\n');
                value.push_str(more);
            }
            Some(value)
        };
        let has =
            |name: &str, word: &str| field(name).is_some_and(|value| value.split_whitespace().any(|it| it == word));
        if has("enabled", "no") || !has("suites", release) || !has("components", "main") {
            return None;
        }
        Some(Archive { uris: field("uris")?, signed_by: field("signed-by") })
    };
    entries.filter_map(of_entry).collect()
}

/// `deb [signed-by=FILE …] URI SUITE COMPONENT…`
fn from_lines(release: &str, text: &str) -> Vec<Archive> {
    let of_line = |line: &str| {
        let rest = line.trim().strip_prefix("deb ").or_else(|| line.trim().strip_prefix("deb-src "))?.trim();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let uris = words.next()?.to_owned();
        if words.next()? != release || !words.any(|word| word == "main") {
            return None;
        }
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        Some(Archive { uris, signed_by: signed_by.map(str::to_owned) })
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::{archives, Archive};

    const PARAGRAPHS: &str = "\
Types: deb
# a comment in it
URIs: mirror://one/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keys/debian.pgp

Types: deb
URIs: mirror://one/security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: mirror://off
Suites: bookworm
Components: main
";
    const LINES: &str = "\
# deb mirror://comment bookworm main
deb [arch=amd64 signed-by=/keys/other.pgp] mirror://two bookworm contrib main
deb mirror://third-party nodistro main
deb mirror://two/security bookworm-security main
";

    #[test]
    fn the_archives_of_the_own_suite_are_taken_and_no_others() {
        let lists = [(true, PARAGRAPHS.to_owned()), (false, LINES.to_owned()), (true, PARAGRAPHS.to_owned())];
        let archive = |uris: &str, keys: &str| Archive { uris: uris.to_owned(), signed_by: Some(keys.to_owned()) };
        let expected = [archive("mirror://one/debian", "/keys/debian.pgp"), archive("mirror://two", "/keys/other.pgp")];
        assert_eq!(archives("bookworm", &lists), expected);
        assert_eq!(archives("bullseye", &lists), []);
    }

    #[test]
    fn keys_written_out_in_the_list_stay_whole() {
        let text = "URIs: mirror://one\nSuites: a\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n";
        let found = archives("a", &[(true, text.to_owned())]);
        assert_eq!(found[0].signed_by.as_deref(), Some("\n -----BEGIN\n .\n abc"));
        assert!(found[0].text().ends_with("Signed-By: \n -----BEGIN\n .\n abc\n"));
    }
}
