//! The table of flags: name, short form, value, variable, default and meaning of each, and what it sets.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::Arg;

use crate::config::{Allowed, RunConfig, duration, list, put};
use crate::error::Error;

/// One flag. Parsing, help and suggestions read the same rows.
#[derive(Clone, Copy)]
pub(super) struct Flag {
    /// With its dashes; empty in a row that only help shows.
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    /// What help calls the value, when it takes one.
    pub(super) value: Option<&'static str>,
    pub(super) repeatable: bool,
    /// The variable as help shows it.
    pub(super) variable: &'static str,
    pub(super) default: &'static str,
    pub(super) help: &'static str,
    pub(super) effect: Effect,
}

#[derive(Clone, Copy)]
pub(super) enum Effect {
    /// Sets what this variable sets.
    Variable(&'static str),
    /// Takes no value, and sets what this variable sets to this text.
    Fixed(&'static str, &'static str),
    /// Has no variable.
    Run(fn(&mut RunConfig, &OsStr) -> Result<(), Allowed>),
    /// Says which front is meant.
    Front(fn(&mut Meant, &OsStr) -> Result<(), Allowed>),
    /// Its command looks at the value.
    Own,
    Help,
    Version,
    /// A variable without a flag.
    Nothing,
}

/// Which front `reload` and `status` mean.
#[derive(Debug)]
pub(super) struct Meant {
    pub(super) pid: Option<u32>,
    pub(super) timeout: Duration,
    pub(super) json: bool,
}

impl Default for Meant {
    fn default() -> Meant {
        Meant { pid: None, timeout: Duration::from_secs(60), json: false }
    }
}

impl Flag {
    const EMPTY: Flag =
        Flag { long: "", short: None, value: None, repeatable: false, variable: "", default: "", help: "", effect: Effect::Nothing };

    const fn valued(long: &'static str, value: &'static str, variable: &'static str, default: &'static str, help: &'static str) -> Flag {
        Flag { long, value: Some(value), variable, default, help, effect: Effect::Variable(variable), ..Flag::EMPTY }
    }

    const fn switch(long: &'static str, variable: &'static str, text: &'static str, help: &'static str) -> Flag {
        Flag { long, variable, help, effect: Effect::Fixed(variable, text), ..Flag::EMPTY }
    }

    const fn run(
        long: &'static str,
        value: Option<&'static str>,
        default: &'static str,
        help: &'static str,
        set: fn(&mut RunConfig, &OsStr) -> Result<(), Allowed>,
    ) -> Flag {
        Flag { long, value, default, help, effect: Effect::Run(set), ..Flag::EMPTY }
    }

    const fn own(long: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Flag {
        Flag { long, value: Some(value), default, help, effect: Effect::Own, ..Flag::EMPTY }
    }

    const fn short(self, short: char) -> Flag {
        Flag { short: Some(short), ..self }
    }

    const fn repeatable(self) -> Flag {
        Flag { repeatable: true, ..self }
    }

    /// Help names this variable, though the flag does something else with it.
    const fn shown(self, variable: &'static str) -> Flag {
        Flag { variable, ..self }
    }

    /// True when `arg` is this flag.
    pub(super) fn is(&self, arg: &Arg<'_>) -> bool {
        match arg {
            Arg::Short(letter) => self.short == Some(*letter),
            Arg::Long(name) => self.long.strip_prefix("--") == Some(*name),
            Arg::Value(_) => false,
        }
    }

    /// As in `-p, --port N`.
    pub(super) fn usage(&self) -> String {
        let short = self.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        let value = self.value.map_or(String::new(), |value| format!(" {value}"));
        format!("{short}{}{value}", self.long)
    }

    pub(super) fn refuse(&self, value: &OsStr, allowed: &str) -> Error {
        Error::setting(self.long, value.to_string_lossy(), allowed)
    }
}

const PID: Flag = Flag {
    long: "--pid",
    value: Some("N"),
    default: "the front that runs here or nearest above",
    help: "process id of the front that is meant",
    effect: Effect::Front(|meant, text| {
        let pid = text.to_str().and_then(|text| text.parse().ok()).filter(|pid| *pid > 0);
        put(&mut meant.pid, pid.map(Some).ok_or("a process id"))
    }),
    ..Flag::EMPTY
};

/// For `reload`.
pub(super) const RELOAD: &[Flag] = &[
    PID,
    Flag {
        long: "--timeout",
        value: Some("D"),
        default: "60s",
        help: "how long to wait for the outcome",
        effect: Effect::Front(|meant, text| put(&mut meant.timeout, time_of(text))),
        ..Flag::EMPTY
    },
];

/// For `status`.
pub(super) const STATUS: &[Flag] =
    &[PID, Flag { long: "--json", help: "for programs", effect: Effect::Front(|meant, _| put(&mut meant.json, Ok(true))), ..Flag::EMPTY }];

/// For every command.
pub(super) const GENERAL: &[Flag] = &[
    Flag { long: "--help", short: Some('h'), help: "this text", effect: Effect::Help, ..Flag::EMPTY },
    Flag { long: "--version", short: Some('V'), help: "the version", effect: Effect::Version, ..Flag::EMPTY },
    Flag::valued("--log-level", "L", "MCP_LOG", "info", "off, error, warn, info, debug or trace, on stderr"),
    Flag::valued("--log-format", "F", "MCP_LOG_FORMAT", "text", "text or json"),
];

/// For what serves.
pub(super) const SERVE: &[Flag] = &[
    Flag::valued("--transport", "T", "MCP_TRANSPORT", "stdio", "stdio or http (sse and streamable-http are taken as http)"),
    Flag::switch("--http", "MCP_TRANSPORT", "http", "the same as --transport http").shown(""),
    Flag::switch("--stdio", "MCP_TRANSPORT", "stdio", "the same as --transport stdio").shown(""),
    Flag::valued("--host", "A", "MCP_HTTP_HOST", "localhost", "address to listen on; localhost is 127.0.0.1 and ::1"),
    Flag::valued("--port", "N", "MCP_HTTP_PORT", "3000", "port to listen on; 0 is any free one").short('p'),
    Flag::valued("--allow-host", "H", "MCP_ALLOW_HOST", "loopback names", "accept this Host header too").repeatable(),
    Flag::valued("--allow-origin", "O", "MCP_ALLOW_ORIGIN", "none", "let pages of this origin call (CORS)").repeatable(),
    Flag::valued("--base-path", "P", "MCP_BASE_PATH", "none", "prefix under which a proxy shows us"),
    Flag {
        variable: "MCP_HTTP_TOKEN, MCP_HTTP_TOKEN_FILE",
        default: "none",
        help: "bearer token (there is no flag: others could see it)",
        ..Flag::EMPTY
    },
    Flag::switch("--insecure", "MCP_INSECURE", "1", "listen beyond loopback without a token"),
    Flag::valued("--max-connections", "N", "MCP_MAX_CONNECTIONS", "1024", "HTTP connections at once"),
    Flag::valued("--max-sessions", "N", "MCP_MAX_SESSIONS", "1024", "sessions at once; then the oldest idle one goes"),
    Flag::valued("--max-body", "S", "MCP_MAX_BODY", "4MiB", "size of a request body"),
    Flag::valued("--session-timeout", "D", "MCP_SESSION_TIMEOUT", "1h", "life of a session without stream or call"),
    Flag::valued("--keep-alive", "D", "MCP_KEEP_ALIVE", "15s", "time between comments on a quiet stream"),
    Flag::valued("--grace", "D", "MCP_GRACE", "5s", "time for running calls at the end"),
];

/// For what watches and reloads.
pub(super) const RUN: &[Flag] = &[
    Flag::run("--watch", Some("P"), "the server's directory", "file or directory to watch", |run, path| {
        path_of(path).map(|path| run.watch.push(path))
    })
    .short('w')
    .repeatable()
    .shown("MCP_WATCH"),
    Flag::switch("--no-watch", "MCP_DEV_MODE", "0", "watch nothing").shown("MCP_DEV_MODE=0"),
    Flag::run("--ext", Some("LIST"), "source and configuration files", "extensions that count, comma-separated", |run, text| {
        let dotless = |ext: &str| Ok(ext.trim_start_matches("*.").trim_start_matches('.').to_owned());
        put(&mut run.extensions, text_of(text).and_then(|text| list(text, dotless)).map(Some))
    })
    .short('e'),
    Flag::run("--ignore", Some("G"), "built-in and .gitignore", "glob to leave out", |run, glob| {
        text_of(glob).map(|glob| run.ignore.push(glob.to_owned()))
    })
    .short('i')
    .repeatable(),
    Flag::run("--debounce", Some("D"), "adaptive", "how long files must be quiet", |run, text| {
        put(&mut run.debounce, time_of(text).map(Some))
    })
    .short('d'),
    Flag::valued("--build", "CMD", "MCP_BUILD", "none", "shell line before the new server starts").short('b'),
    Flag::run("--cwd", Some("DIR"), "inherited", "working directory of the server", |run, path| put(&mut run.cwd, path_of(path).map(Some))),
    Flag::run("--env", Some("K=V"), "inherited", "variable for the server", |run, text| variable_of(text).map(|pair| run.env.push(pair)))
        .repeatable(),
    Flag::run("--env-file", Some("F"), "none", "file with variables for the server; it is watched", |run, path| {
        put(&mut run.env_file, path_of(path).map(Some))
    }),
    Flag::switch("--shared", "MCP_SHARED", "1", "one server process for all sessions"),
    Flag::valued("--max-children", "N", "MCP_MAX_CHILDREN", "32", "server processes at once; idle ones are parked first"),
    Flag::run("--stop-first", None, "", "stop the old server before the new one starts", |run, _| put(&mut run.stop_first, Ok(true))),
    Flag::valued("--hold", "D", "MCP_HOLD", "10s", "how long a call made after a save waits for it to be live; 0 = never"),
    Flag::run("--drain", Some("D"), "60s", "time for calls in flight on the old server", |run, text| put(&mut run.drain, time_of(text))),
    Flag::run("--start-timeout", Some("D"), "30s", "until the server has answered initialize; 0 = for ever", |run, text| {
        put(&mut run.start_timeout, time_of(text).map(|time| (!time.is_zero()).then_some(time)))
    }),
    Flag::run("--stop-timeout", Some("D"), "5s", "from SIGTERM to SIGKILL at a reload", |run, text| {
        put(&mut run.stop_timeout, time_of(text))
    }),
    Flag::run("--no-note", None, "", "say nothing in tool results about an edit that is not live", |run, _| put(&mut run.note, Ok(false))),
    Flag::switch("--dev-tools", "MCP_DEV_TOOLS", "1", "add the tools dev_status and dev_call"),
];

/// For what connects.
pub(super) const CONNECT: &[Flag] = &[
    Flag::own(HEADER, "'K: V'", "none", "header for every request; ${VAR} is taken from the environment").repeatable(),
    Flag::own(PROTOCOL, "T", "auto", "auto, http (Streamable HTTP) or sse (HTTP+SSE)"),
    Flag::own(TIMEOUT, "D", "30s", "how long a call is held while the server is away"),
    Flag { variable: "MCP_HTTP_TOKEN, MCP_HTTP_TOKEN_FILE", default: "none", help: "bearer token for the server", ..Flag::EMPTY },
];

pub(super) const HEADER: &str = "--header";
pub(super) const PROTOCOL: &str = "--transport";
pub(super) const TIMEOUT: &str = "--timeout";
pub(super) const SERVER_NAME: &str = "--name";

/// For what writes a client's configuration.
pub(super) const CLIENT: &[Flag] = &[Flag::own(SERVER_NAME, "N", "from COMMAND", "what the client calls the server")];

fn text_of(value: &OsStr) -> Result<&str, Allowed> {
    value.to_str().filter(|text| !text.is_empty()).ok_or("text that is not empty, in UTF-8")
}

fn path_of(value: &OsStr) -> Result<PathBuf, Allowed> {
    if value.is_empty() { Err("a path") } else { Ok(OsString::from(value).into()) }
}

fn time_of(value: &OsStr) -> Result<Duration, Allowed> {
    duration(value.to_str().unwrap_or_default())
}

fn variable_of(value: &OsStr) -> Result<(String, String), Allowed> {
    let pair = value.to_str().and_then(|text| text.split_once('=')).filter(|(name, value)| !name.is_empty() && !value.contains('\0'));
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or("NAME=VALUE")
}
