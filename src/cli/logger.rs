//! The log on stderr: text for people or JSON lines for machines, one write per line, never coloured, nothing that moves a cursor.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::{Setting, choice, put};

/// Bytes of a message that are shown; whoever logs more has logged somebody's payload.
const MOST_BYTES: usize = 16 << 10;

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logging {
    pub(crate) level: LevelFilter,
    pub(crate) format: LogFormat,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Default for Logging {
    fn default() -> Logging {
        Logging { level: LevelFilter::Info, format: LogFormat::Text }
    }
}

pub(super) const SETTINGS: &[Setting<Logging>] = &[
    Setting {
        variable: "MCP_LOG",
        set: |logging, text| put(&mut logging.level, choice(text, LEVELS, "off, error, warn, info, debug or trace")),
    },
    Setting { variable: "MCP_LOG_FORMAT", set: |logging, text| put(&mut logging.format, choice(text, FORMATS, "text or json")) },
];

const LEVELS: &[(&str, LevelFilter)] = &[
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

struct Logger(LogFormat);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = line(self.0, SystemTime::now(), record.level(), record.target(), &record.args().to_string());
            write(&line);
        }
    }

    fn flush(&self) {}
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Opens the log. A second call changes the level only.
pub(super) fn install(logging: Logging) {
    // Fails when a log is there already, which then stays.
    let _ = log::set_logger(LOGGER.get_or_init(|| Logger(logging.format)));
    log::set_max_level(logging.level);
}

/// Says why the program ends: through the log when it is open, so that its level and form count, else as `NAME: text`.
pub(super) fn fatal(name: &str, error: &crate::error::Error) {
    let text = error.to_string();
    // What lists something has several lines.
    for (number, line) in text.lines().enumerate() {
        match (LOGGER.get(), number) {
            (Some(_), _) => log::error!("{line}"),
            (None, 0) => write(&format!("{name}: {}\n", escaped(line))),
            (None, _) => write(&format!("{}\n", escaped(line))),
        }
    }
}

/// One write; when nobody reads stderr any more there is nobody to tell.
fn write(line: &str) {
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// One line with its end.
fn line(format: LogFormat, time: SystemTime, level: Level, target: &str, message: &str) -> String {
    let room = room(target);
    let time = timestamp(time);
    let message = escaped(message);
    match format {
        // Where a line comes from helps whoever looks for a fault, and is noise to everybody else, unless it is not from us.
        LogFormat::Text if room.is_empty() || (level <= Level::Info && room.len() < target.len()) => {
            format!("{time} {level:<5} {message}\n")
        }
        LogFormat::Text => format!("{time} {level:<5} {}: {message}\n", escaped(room)),
        LogFormat::Json => {
            let level = level.as_str().to_ascii_lowercase();
            format!("{{\"time\":\"{time}\",\"level\":\"{level}\",\"target\":{},\"message\":{}}}\n", quoted(room), quoted(&message))
        }
    }
}

/// `transport::sse` for our own rooms; the names of others stay as they are.
fn room(target: &str) -> &str {
    match target.strip_prefix("mcp_http_transport") {
        Some("") => "",
        Some(rest) => rest.strip_prefix("::").unwrap_or(target),
        None => target,
    }
}

/// A JSON string of text without control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The text on one line, without what a terminal would obey, and not without end.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MOST_BYTES));
    for c in text.chars() {
        if shown.len() >= MOST_BYTES {
            shown.push_str("...");
            break;
        }
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Besides control characters: what breaks lines or turns their direction elsewhere.
            c if c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                let code = u32::from(c);
                let _ = if code < 0x100 { write!(shown, "\\x{code:02x}") } else { write!(shown, "\\u{{{code:x}}}") };
            }
            c => shown.push(c),
        }
    }
    shown
}

/// `2026-11-24T08:30:01.123Z`. Days become a date by counting 400-year cycles from 1 March of the year 0, so that leap days come last.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400 + 719_468, since.as_secs() % 86_400);
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
    let (hour, minute, second, millis) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> String {
        timestamp(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn dates_are_right() {
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.000Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_millis(1_795_509_001_123)), "2026-11-24T08:30:01.123Z");
    }

    #[test]
    fn a_text_line_is_short_for_people_and_longer_for_whoever_looks_for_a_fault() {
        let line = |level, target, message| line(LogFormat::Text, UNIX_EPOCH, level, target, message).split_off(25);
        assert_eq!(line(Level::Info, "mcp_http_transport::serve", "listening"), "INFO  listening\n");
        assert_eq!(line(Level::Debug, "mcp_http_transport::transport::sse", "open"), "DEBUG transport::sse: open\n");
        assert_eq!(line(Level::Error, "tiny_http", "gone"), "ERROR tiny_http: gone\n");
        assert_eq!(line(Level::Warn, "mcp_http_transport_other", "x"), "WARN  mcp_http_transport_other: x\n");
        assert_eq!(
            line(Level::Warn, "mcp_http_transport", "a\nb\x1b[31m\u{9b}\u{202e}\0\t"),
            "WARN  a\\nb\\x1b[31m\\x9b\\u{202e}\\x00\\t\n"
        );
    }

    #[test]
    fn a_json_line_is_json() {
        let text = line(LogFormat::Json, UNIX_EPOCH, Level::Warn, "mcp_http_transport::guard", "\"a\" \\ \n\x1b\u{7f} ü");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(value["level"], "warn");
        assert_eq!(value["target"], "guard");
        assert_eq!(value["message"], "\"a\" \\ \\n\\x1b\\x7f ü");
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn a_line_has_an_end() {
        let text = line(LogFormat::Text, UNIX_EPOCH, Level::Info, "mcp_http_transport", &"\x1b".repeat(100_000));
        assert!(text.len() < MOST_BYTES + 64 && text.ends_with("...\n"));
    }
}
