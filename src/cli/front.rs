//! `run`, `reload` and `status`, and `dev()`: what concerns a front.

use std::ffi::OsString;
use std::io;
use std::process;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{Dotenv, Logging, NAME, exit_code, logger, say};
use crate::config::{self, Config, RunConfig, Sources};
use crate::error::{Error, Result};

#[cfg(unix)]
pub(super) use crate::child::exec_step;

/// Puts a front before COMMAND.
#[cfg(unix)]
pub(super) fn run(config: &Config, run: &RunConfig, command: Vec<OsString>) -> Result<()> {
    let cwd = working_directory()?;
    crate::run::run(config, run, crate::run::Plan::of_command(run, command, &cwd)?)
}

/// Has a front reload; returns the exit status.
#[cfg(unix)]
pub(super) fn reload(pid: Option<u32>, timeout: Duration) -> Result<u8> {
    let outcome = crate::control::reload(&crate::control::find(pid)?, timeout)?;
    say(&mut io::stdout(), &format!("{}\n", outcome.text));
    Ok(u8::from(!outcome.live))
}

/// Prints what a front says about itself; returns the exit status: 1 when the last save is not live.
#[cfg(unix)]
pub(super) fn status(pid: Option<u32>, json: bool) -> Result<u8> {
    let status = crate::control::find(pid)?.status;
    let text = if json { format!("{status}\n") } else { told(&status, SystemTime::now()) };
    say(&mut io::stdout(), &text);
    Ok(u8::from(!status["last_error"].is_null()))
}

/// Lets a program reload itself while it is being worked on: call it on the first line of `main`.
///
/// With `MCP_DEV_MODE=1` (in the environment, or in `.env` in the working directory) this process becomes the front of its own program: it starts
/// the same executable with the same arguments as its server, watches the executable (and what `MCP_WATCH` names; `MCP_BUILD` is run first), and
/// puts the new one in place under its clients whenever it has been rebuilt. In that case `dev` does not return: the process ends with the front.
/// It returns in the server that the front started, and at once when the mode is off, so nothing behind it ever runs in the front.
///
/// ```no_run
/// mcp_http_transport::dev();
/// // ... open files, read settings, serve
/// ```
pub fn dev() {
    exec_step();
    let sources = Sources::new(&config::process_env, Dotenv::read());
    if let Some(done) = front_of_itself(&sources) {
        process::exit(done.map_or_else(
            |error| {
                logger::fatal(NAME, &error);
                i32::from(exit_code(&error))
            },
            |()| 0,
        ));
    }
}

/// None when the mode is off. Settings that make no sense are left to the program, which will meet them again.
fn front_of_itself(sources: &Sources<'_>) -> Option<Result<()>> {
    if sources.front_child() {
        return None;
    }
    let mut dev_mode = Config::new();
    sources.apply(config::SETTINGS.iter().filter(|setting| setting.variable == "MCP_DEV_MODE"), &mut dev_mode).ok()?;
    (dev_mode.dev_mode == Some(true)).then(|| {
        let config = Config::from_sources(sources)?;
        let mut logging = Logging::default();
        sources.apply(logger::SETTINGS, &mut logging)?;
        logger::install(logging);
        sources.notes().iter().for_each(config::Note::log);
        become_front(&config, &run_settings()?)
    })
}

/// What the environment says about watching and reloading; nothing of it may stand in `.env`.
pub(super) fn run_settings() -> Result<RunConfig> {
    let mut run = RunConfig::new();
    run.apply(&Sources::new(&config::process_env, Dotenv::default()))?;
    Ok(run)
}

/// Serves this very program, from behind a front that reloads it.
#[cfg(unix)]
pub(super) fn become_front(config: &Config, run: &RunConfig) -> Result<()> {
    // Taken now: a rebuilt executable has another inode, and this one no path any more.
    let program = std::env::current_exe().map_err(|error| Error::io("cannot find the path of this program", error))?;
    let plan = crate::run::Plan::of_program(run, program, std::env::args_os().skip(1).collect(), &working_directory()?)?;
    crate::run::run(config, run, plan)
}

#[cfg(unix)]
fn working_directory() -> Result<std::path::PathBuf> {
    std::env::current_dir().map_err(|error| Error::io("the working directory is gone", error))
}

#[cfg(not(unix))]
const ELSEWHERE: &str = "reloading needs Unix: on Windows, run it in WSL (Windows Subsystem for Linux)";

#[cfg(not(unix))]
pub(super) fn exec_step() {}

#[cfg(not(unix))]
pub(super) fn become_front(_: &Config, _: &RunConfig) -> Result<()> {
    Err(Error::usage(ELSEWHERE))
}

#[cfg(not(unix))]
pub(super) fn run(_: &Config, _: &RunConfig, _: Vec<OsString>) -> Result<()> {
    Err(Error::usage(ELSEWHERE))
}

#[cfg(not(unix))]
pub(super) fn reload(_: Option<u32>, _: Duration) -> Result<u8> {
    Err(Error::usage(ELSEWHERE))
}

#[cfg(not(unix))]
pub(super) fn status(_: Option<u32>, _: bool) -> Result<u8> {
    Err(Error::usage(ELSEWHERE))
}

/// A status for people.
fn told(status: &Value, now: SystemTime) -> String {
    let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    let ago = |at: &Value| at.as_u64().map(|at| ago(at, now));
    let mut said = format!(
        "{} (pid {}, {}, since {})\n",
        text("command"),
        status["pid"],
        text("transport"),
        ago(&status["since"]).unwrap_or_default()
    );
    said.push_str(&format!("  in {}\n", text("cwd")));
    match ago(&status["live_since"]) {
        Some(since) => said.push_str(&format!("  live since {since}\n")),
        None => said.push_str("  no server has answered yet\n"),
    }
    said.push_str(&format!("  sessions: {}, server processes: {}\n", status["sessions"], status["children"]));
    if let Some(error) = status["last_error"].as_str() {
        said.push_str(&format!("  last error: {}\n", error.trim_end().replace('\n', "\n    ")));
    }
    for past in status["reloads"].as_array().into_iter().flatten() {
        let first = past["text"].as_str().and_then(|text| text.lines().next()).unwrap_or_default();
        said.push_str(&format!("  {}: {first}\n", ago(&past["at"]).unwrap_or_default()));
    }
    said
}

/// `at` is Unix time.
fn ago(at: u64, now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().saturating_sub(at);
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_reads_well() {
        let status = json!({
            "pid": 7, "cwd": "/work", "command": "python s.py", "transport": "stdio", "since": 0, "sessions": 1, "children": 2,
            "live_since": 7100, "last_error": "no\nmodule\n", "reloads": [{"at": 7190, "live": true, "text": "reloaded in 98 ms: +add\nx"}],
        });
        let said = told(&status, UNIX_EPOCH + Duration::from_secs(7200));
        let lines: Vec<&str> = said.lines().map(str::trim_start).collect();
        assert_eq!(
            lines,
            [
                "python s.py (pid 7, stdio, since 2 h ago)",
                "in /work",
                "live since 100 s ago",
                "sessions: 1, server processes: 2",
                "last error: no",
                "module",
                "10 s ago: reloaded in 98 ms: +add",
            ]
        );
        assert!(told(&json!({}), UNIX_EPOCH).contains("no server has answered yet"));
    }

    #[test]
    fn no_front_behind_a_front_and_none_unless_it_is_asked_for() {
        let mode = |env: &'static [(&'static str, &'static str)], dotenv: &str| {
            let lookup = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
            front_of_itself(&Sources::new(&lookup, Dotenv::parse(dotenv))).is_some()
        };
        assert!(!mode(&[], ""));
        assert!(!mode(&[("MCP_DEV_MODE", "0")], "MCP_DEV_MODE=1"));
        assert!(!mode(&[("MCP_DEV_MODE", "1"), ("MCP_FRONT_CHILD", "1")], "MCP_DEV_MODE=1"));
        assert!(!mode(&[("MCP_DEV_MODE", "perhaps")], ""));
        // On, with a setting that refuses the front itself, so that the test does not become one.
        assert!(mode(&[("MCP_DEV_MODE", "1"), ("MCP_HTTP_PORT", "?")], ""));
        assert!(mode(&[("MCP_HTTP_PORT", "?")], "MCP_DEV_MODE=1"));
    }
}
