//! `.env`: `NAME=value` lines, of which six names count.
//!
//! 1. Blank lines and lines that start with `#` say nothing; `export ` before a name is skipped; the last line of a name wins.
//! 2. Without quotes the value ends at ` #` or at the end of the line.
//! 3. `'single'` quotes keep everything; in `"double"` ones `\n`, `\r`, `\t`, `\"`, `\\` and `\$` are read. Both may span lines, so that
//!    a line inside somebody's private key is never taken for a setting. After the closing quote only a comment may follow.
//! 4. No `$NAME` is expanded, nothing is exported.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// A line for the log, which may not be installed yet while settings are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) level: log::Level,
    pub(crate) text: String,
}

impl Note {
    /// Writes it to the log.
    pub(crate) fn log(&self) {
        log::log!(self.level, "{}", self.text);
    }
}

/// What a file that comes with somebody's repository may decide: no command, no file, no port without a token.
const NAMES: [&str; 6] = ["MCP_TRANSPORT", "MCP_HTTP_HOST", "MCP_HTTP_PORT", "MCP_HTTP_TOKEN", "MCP_DEV_MODE", "MCP_LOG"];

/// More is no settings file.
const MOST_BYTES: u64 = 1 << 20;

/// Names of a warning that are spelled out.
const MOST_NAMES: usize = 12;

/// What `.env` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dotenv {
    /// The names that count; `None` for a line that cannot be read.
    taken: Vec<(&'static str, Option<String>)>,
    /// Other names that look like ours.
    others: Vec<String>,
    /// Why the file was not read, when it is there.
    unreadable: Option<String>,
}

impl Dotenv {
    /// `.env` in the working directory. One that is missing, or not a file (a Python environment may have that name), says nothing.
    pub(crate) fn read() -> Dotenv {
        Dotenv::from_file(Path::new(".env"))
    }

    pub(super) fn from_file(path: &Path) -> Dotenv {
        match read_file(path) {
            Ok(text) => Dotenv::parse(&text),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Dotenv::default(),
            Err(why) => Dotenv { unreadable: Some(why.to_string()), ..Dotenv::default() },
        }
    }

    /// The settings in `text`.
    pub(crate) fn parse(text: &str) -> Dotenv {
        let mut found = Dotenv::default();
        let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        while !rest.is_empty() {
            let (entry, next) = entry(rest);
            rest = next;
            let Some((name, value)) = entry else { continue };
            if let Some(known) = NAMES.into_iter().find(|known| *known == name) {
                found.taken.retain(|(earlier, _)| *earlier != known);
                found.taken.push((known, value));
            } else if name.starts_with("MCP_") && !found.others.iter().any(|other| other == name) {
                found.others.push(name.to_owned());
            }
        }
        found
    }

    /// The value of a name that counts.
    pub(super) fn get(&self, variable: &str) -> Result<Option<&str>> {
        match self.taken.iter().find(|(name, _)| *name == variable) {
            None => Ok(None),
            Some((_, Some(value))) => Ok(Some(value)),
            Some((name, None)) => Err(Error::setting(
                format!("{name} in .env"),
                "(unreadable)",
                "in quotes that are closed, with nothing but a comment behind them",
            )),
        }
    }

    /// What was taken, what was not, and why nothing was. A name that is `overridden` is not worth a word.
    pub(super) fn notes(&self, overridden: impl Fn(&str) -> bool) -> Vec<Note> {
        let mut notes = Vec::new();
        let taken: Vec<_> = self.taken.iter().map(|(name, _)| *name).filter(|name| !overridden(name)).collect();
        if !taken.is_empty() {
            notes.push(Note { level: log::Level::Info, text: format!("taken from .env: {}", taken.join(", ")) });
        }
        if !self.others.is_empty() {
            let shown = self.others.len().min(MOST_NAMES);
            let more = if shown < self.others.len() { " and more" } else { "" };
            let names = self.others[..shown].join(", ");
            let text = format!(
                "not taken from .env: {names}{more}; set them in the environment or by flag (only {} count there)",
                NAMES.join(", ")
            );
            notes.push(Note { level: log::Level::Warn, text });
        }
        if let Some(why) = &self.unreadable {
            notes.push(Note { level: log::Level::Warn, text: format!(".env is not read: {why}") });
        }
        notes
    }
}

/// Every readable name and value of the file at `path`, for a server's environment; the last line of a name comes last.
#[cfg(feature = "run")]
pub(crate) fn pairs(path: &Path) -> io::Result<Vec<(String, String)>> {
    let text = read_file(path)?;
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (entry, next) = entry(rest);
        rest = next;
        if let Some((name, Some(value))) = entry.filter(|(_, value)| value.as_ref().is_some_and(|value| !value.contains('\0'))) {
            pairs.push((name.to_owned(), value));
        }
    }
    Ok(pairs)
}

fn read_file(path: &Path) -> io::Result<String> {
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    // Asked before it is opened: opening a named pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(invalid("it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8"))
}

type Entry<'a> = Option<(&'a str, Option<String>)>;

/// The entry at the start of `text`, if its line has one, and what follows. A value that cannot be read is `None`.
fn entry(text: &str) -> (Entry<'_>, &str) {
    let (line, after_line) = text.split_once('\n').unwrap_or((text, ""));
    let Some((name, raw)) = line.split_once('=') else { return (None, after_line) };
    let name = name.trim();
    let name = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).map_or(name, str::trim_start);
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return (None, after_line);
    }
    let start = raw.trim_start_matches([' ', '\t']);
    let Some(quote) = start.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        return (Some((name, Some(unquoted(raw)))), after_line);
    };
    let inside = &text[line.len() - start.len() + 1..];
    let Some((value, behind)) = quoted(inside, quote) else { return (Some((name, None)), after_line) };
    let (tail, next) = behind.split_once('\n').unwrap_or((behind, ""));
    let tail = tail.trim();
    let value = (tail.is_empty() || tail.starts_with('#')).then_some(value);
    (Some((name, value)), next)
}

/// A value without quotes: up to a `#` that has white space before it.
fn unquoted(raw: &str) -> String {
    let comment = raw.match_indices('#').map(|(at, _)| at).find(|&at| raw[..at].ends_with([' ', '\t']));
    raw[..comment.unwrap_or(raw.len())].trim().to_owned()
}

/// The text up to the closing `quote`, and what is behind it; `None` when there is none.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Some((value, &text[at + 1..])),
            '\\' if quote == '"' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('"' | '\\' | '$') => value.push(c),
                other => value.extend(['\\', other]),
            },
            _ => value.push(c),
        }
    }
    None
}
