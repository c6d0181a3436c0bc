//! The commands that make a front, or ask one.

use std::ffi::OsString;
use std::time::Duration;

use crate::config::{Config, RunConfig};
use crate::error::Result;

#[cfg(unix)]
mod unix {
    //! Where there are process groups and Unix sockets.

    use std::fmt::Write as _;
    use std::io;
    use std::time::SystemTime;

    use serde_json::{Value, json};

    use super::*;
    use crate::cli::say;
    use crate::control::{Found, ask, find, reload_of};
    use crate::error::Error;
    use crate::run;

    /// Exit status when there is no front, or several.
    const WHICH: u8 = 2;

    /// See [`crate::child::exec_step`].
    pub(crate) fn exec_step() {
        crate::child::exec_step();
    }

    pub(crate) fn run(config: &Config, run: &RunConfig, command: Vec<OsString>) -> Result<()> {
        run::run(config, run, command)
    }

    pub(crate) fn of_demo(config: &Config, run: &RunConfig) -> Result<()> {
        run::front_of_itself(config, run)
    }

    pub(crate) fn reload(pid: Option<u32>, timeout: Duration) -> Result<u8> {
        let socket = match found(pid)? {
            Ok((socket, _)) => socket,
            Err(status) => return Ok(status),
        };
        let outcome = reload_of(&socket, timeout).map_err(|error| Error::io("the front cannot be asked", error))?;
        say(&mut io::stdout(), &format!("{}\n", outcome.text));
        Ok(u8::from(!outcome.live))
    }

    pub(crate) fn status(pid: Option<u32>, as_json: bool) -> Result<u8> {
        let (socket, _) = match found(pid)? {
            Ok(found) => found,
            Err(status) => return Ok(status),
        };
        let status = ask(&socket, &json!({"ask": "status"}), Duration::from_secs(5))
            .map_err(|error| Error::io("the front cannot be asked", error))?;
        say(&mut io::stdout(), &if as_json { format!("{status}\n") } else { text(&status) });
        Ok(u8::from(!status["last_error"].is_null()))
    }

    fn found(pid: Option<u32>) -> Result<std::result::Result<(std::path::PathBuf, Value), u8>> {
        let cwd = std::env::current_dir().map_err(|error| Error::io("there is no working directory", error))?;
        Ok(match find(pid, &cwd) {
            Found::One(socket, status) => Ok((socket, status)),
            Found::None(text) | Found::Several(text) => {
                say(&mut io::stderr(), &format!("{text}\n"));
                Err(WHICH)
            }
        })
    }

    /// The status as a person reads it.
    fn text(status: &Value) -> String {
        let mut text = String::new();
        let words = |value: &Value| value.as_array().map(|words| words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
        let mut row = |name: &str, value: String| writeln!(text, "{name:<10}{value}").unwrap_or_default();
        row("front", format!("{}, in {}", status["pid"], status["cwd"].as_str().unwrap_or("?")));
        row("server", words(&status["command"]).unwrap_or_default());
        row(
            "live",
            status["live_since"]
                .as_u64()
                .map_or("not yet".to_owned(), |since| format!("for {}, generation {}", ago(since), status["generation"])),
        );
        row("sessions", format!("{}, with {} server processes", status["sessions"], status["children"]));
        if let Some(error) = status["last_error"].as_str() {
            row("error", error.trim_end().replace('\n', "\n          "));
        }
        for reload in status["reloads"].as_array().into_iter().flatten() {
            let text = reload["text"].as_str().unwrap_or_default();
            row("reload", format!("{} ago: {text}", ago(reload["at"].as_u64().unwrap_or_default())));
        }
        text
    }

    fn ago(seconds: u64) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
        match now.saturating_sub(seconds) {
            seconds @ 0..120 => format!("{seconds} s"),
            seconds @ 120..7200 => format!("{} min", seconds / 60),
            seconds => format!("{} h", seconds / 3600),
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    //! Where there are none.

    use super::*;
    use crate::error::Error;

    pub(crate) fn exec_step() {}

    pub(crate) fn run(_: &Config, _: &RunConfig, _: Vec<OsString>) -> Result<()> {
        Err(refusal())
    }

    pub(crate) fn of_demo(_: &Config, _: &RunConfig) -> Result<()> {
        Err(refusal())
    }

    pub(crate) fn reload(_: Option<u32>, _: Duration) -> Result<u8> {
        Err(refusal())
    }

    pub(crate) fn status(_: Option<u32>, _: bool) -> Result<u8> {
        Err(refusal())
    }

    fn refusal() -> Error {
        Error::usage("reloading needs Unix process groups: on Windows, run this inside WSL")
    }
}

#[cfg(not(unix))]
pub(super) use elsewhere::*;
#[cfg(unix)]
pub(super) use unix::*;
