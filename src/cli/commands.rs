//! The table of commands, and what each makes of its flags and words.

use std::ffi::OsStr;

use super::flags::{CLIENT, CONNECT, Flag, GENERAL, RELOAD, RUN, SERVE, STATUS};
use super::{Given, Invocation, NAME, client_config, connecting, health, nearest};
use crate::error::{Error, Result};

/// One command.
pub(super) struct Command {
    pub(super) name: &'static str,
    /// The words behind the flags, as help shows them.
    pub(super) words: &'static str,
    pub(super) operands: Operands,
    pub(super) help: &'static str,
    /// Not yet for users: understood, not listed.
    pub(super) hidden: bool,
    pub(super) groups: &'static [&'static [Flag]],
    pub(super) invocation: fn(Given<'_>) -> Result<Invocation>,
}

/// The words that a command takes besides flags.
#[derive(Clone, Copy)]
pub(super) enum Operands {
    None,
    One,
    /// The first word and all that follows, flags or not.
    Rest,
    /// One word, further flags, then as `Rest`.
    OneThenRest,
}

impl Command {
    pub(super) fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.groups.iter().copied().flatten()
    }
}

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        words: "",
        operands: Operands::None,
        help: "serve a small built-in server: the thing to try first",
        hidden: false,
        groups: &[SERVE, GENERAL],
        invocation: |given| Ok(Invocation::Demo(given.settings()?)),
    },
    Command {
        name: "run",
        words: "[--] COMMAND [ARGS...]",
        operands: Operands::Rest,
        help: "put a front before a stdio server, and reload it when its files change",
        hidden: false,
        groups: &[SERVE, RUN, GENERAL],
        invocation: run,
    },
    Command {
        name: "connect",
        words: "URL",
        operands: Operands::One,
        help: "be a stdio server that forwards to the server at URL, for clients that speak only stdio",
        hidden: false,
        groups: &[CONNECT, GENERAL],
        invocation: connecting::invocation,
    },
    Command {
        name: "reload",
        words: "",
        operands: Operands::None,
        help: "have the front that runs here reload now, changed or not, and wait: 0 live, 1 not live, 2 no front or several",
        hidden: false,
        groups: &[RELOAD, GENERAL],
        invocation: |given| Ok(Invocation::Reload { logging: given.logging()?, pid: given.front.pid, timeout: given.front.timeout }),
    },
    Command {
        name: "status",
        words: "",
        operands: Operands::None,
        help: "what the front that runs here serves: what is live, sessions, server processes, last reloads",
        hidden: false,
        groups: &[STATUS, GENERAL],
        invocation: |given| Ok(Invocation::Status { logging: given.logging()?, pid: given.front.pid, json: given.front.json }),
    },
    Command {
        name: "config",
        words: "CLIENT [--] COMMAND [ARGS...]",
        operands: Operands::OneThenRest,
        help: "print what CLIENT needs to start COMMAND, reloading; claude-desktop, claude-code, vscode, cursor, windsurf or zed",
        hidden: false,
        groups: &[CLIENT, GENERAL],
        invocation: client_config::invocation,
    },
    Command {
        name: "healthcheck",
        words: "[URL]",
        operands: Operands::One,
        help: "ask the server at URL (default: MCP_HTTP_HOST, MCP_HTTP_PORT) whether it is up; for images without curl",
        hidden: false,
        groups: &[GENERAL],
        invocation: healthcheck,
    },
];

/// The command called `word`.
pub(super) fn find(word: &OsStr) -> Result<&'static Command> {
    COMMANDS.iter().find(|command| word == command.name).ok_or_else(|| {
        let seen = word.to_string_lossy();
        let names = COMMANDS.iter().filter(|command| !command.hidden).map(|command| command.name);
        let hint = nearest::to(&seen, names).map_or_else(String::new, |name| format!(": did you mean {name}?"));
        Error::usage(format!("unknown command {seen}{hint} ({NAME} -h lists the commands)"))
    })
}

fn run(mut given: Given<'_>) -> Result<Invocation> {
    if given.operands.is_empty() {
        return Err(Error::usage(format!("COMMAND is missing: {NAME} run -- python server.py")));
    }
    let settings = given.settings()?;
    given.run.apply(&given.sources)?;
    given.run.no_watch = settings.config.dev_mode == Some(false);
    Ok(Invocation::Run { settings, run: given.run, command: given.operands })
}

/// Only host and port are looked at: what else is wrong with the settings is not this command's business.
fn healthcheck(given: Given<'_>) -> Result<Invocation> {
    let url = match given.operands.first() {
        Some(url) => health::url(&url.to_string_lossy())?,
        None => health::default_url(&given.sources)?,
    };
    Ok(Invocation::Healthcheck { logging: given.logging()?, url })
}
