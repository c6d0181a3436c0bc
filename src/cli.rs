//! The command line: flags -> Config -> one of the features; exit codes.
//!
//! `commands.rs` is the table of commands, `flags.rs` the table of flags; parsing, help and the suggestions for a misspelled word all
//! read these two. A new command is one row there, one function that makes its `Invocation`, and one arm in `carry_out`.

mod client_config;
mod commands;
mod connecting;
mod flags;
mod front;
mod health;
mod help;
mod logger;
mod nearest;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use lexopt::Arg;

use crate::config::{self, Allowed, Config, Dotenv, RunConfig, Sources};
use crate::connect;
use crate::demo;
use crate::error::{Error, Result};
use crate::serve::serve;
use commands::{Command, Operands};
use flags::{Effect, Flag, Meant};
pub use front::dev;
use logger::Logging;

/// How the program calls itself.
const NAME: &str = env!("CARGO_PKG_NAME");

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) logging: Logging,
    /// What reading them had to say, for the log once it is there.
    pub(crate) notes: Vec<config::Note>,
}

/// What the command line asks for.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum Invocation {
    /// Print this text.
    Help(String),
    /// Nothing was asked for: print this text on stderr, and fail.
    Usage(String),
    Version,
    Demo(Settings),
    Run {
        settings: Settings,
        run: RunConfig,
        command: Vec<OsString>,
    },
    Connect {
        settings: Settings,
        options: connect::Options,
    },
    ClientConfig(client_config::Entry),
    /// Have a front reload.
    Reload {
        logging: Logging,
        pid: Option<u32>,
        timeout: Duration,
    },
    /// Print what a front says about itself.
    Status {
        logging: Logging,
        pid: Option<u32>,
        json: bool,
    },
    Healthcheck {
        logging: Logging,
        url: String,
    },
}

/// The whole program.
pub fn main() -> ExitCode {
    front::exec_step();
    let done = parse(std::env::args_os().skip(1), &config::process_env, Dotenv::read()).and_then(|invocation| {
        if let Invocation::Usage(text) = invocation {
            say(&mut io::stderr(), &text);
            return Ok(2);
        }
        carry_out(invocation)
    });
    ExitCode::from(done.unwrap_or_else(|error| {
        logger::fatal(NAME, &error);
        exit_code(&error)
    }))
}

/// Returns the exit status.
fn carry_out(invocation: Invocation) -> Result<u8> {
    match invocation {
        Invocation::Help(text) => say(&mut io::stdout(), &text),
        Invocation::Usage(text) => say(&mut io::stderr(), &text),
        Invocation::Version => say(&mut io::stdout(), &format!("{NAME} {}\n", env!("CARGO_PKG_VERSION"))),
        Invocation::Demo(settings) => {
            settings.start_log();
            // What `dev()` does for others, with the flags counted in.
            match settings.config.dev_mode {
                Some(true) => front::become_front(&settings.config, &front::run_settings()?)?,
                _ => serve(demo::server(), &settings.config)?,
            }
        }
        Invocation::Run { settings, run, command } => {
            settings.start_log();
            front::run(&settings.config, &run, command)?;
        }
        Invocation::Connect { settings, options } => {
            settings.start_log();
            connect::connect(options, &settings.config)?;
        }
        Invocation::Reload { logging, pid, timeout } => {
            logger::install(logging);
            return front::reload(pid, timeout);
        }
        Invocation::Status { logging, pid, json } => {
            logger::install(logging);
            return front::status(pid, json);
        }
        Invocation::ClientConfig(entry) => {
            // What goes into the file is on stdout alone, so that it can be piped.
            say(&mut io::stderr(), &entry.advice());
            say(&mut io::stdout(), &entry.text());
        }
        Invocation::Healthcheck { logging, url } => {
            logger::install(logging);
            health::check(&url)?;
        }
    }
    Ok(0)
}

impl Settings {
    /// From here on the log is open, and says first what reading the settings had to say.
    fn start_log(&self) {
        logger::install(self.logging);
        for note in &self.notes {
            note.log();
        }
    }
}

/// The exit status that stands for `error`.
pub(crate) fn exit_code(error: &Error) -> u8 {
    match () {
        () if error.is_usage() => 2,
        () if error.is_command_not_executable() => 126,
        () if error.is_command_not_found() => 127,
        () => 1,
    }
}

/// What `args`, the words behind the program's name, ask for. Reads nothing but what it is given, and the token file that is named there.
pub(crate) fn parse(args: impl Iterator<Item = OsString>, env: &dyn Fn(&str) -> Option<OsString>, dotenv: Dotenv) -> Result<Invocation> {
    let mut parser = lexopt::Parser::from_args(args);
    let command = match parser.next().map_err(misuse)? {
        None => return Ok(Invocation::Usage(help::overall())),
        Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Invocation::Help(help::overall())),
        Some(Arg::Short('V') | Arg::Long("version")) => return Ok(Invocation::Version),
        Some(Arg::Value(word)) => commands::find(&word)?,
        Some(flag) => return Err(Error::usage(format!("{} comes after a command: {NAME} -h lists them", spelled(&flag)))),
    };
    let sources = Sources::new(env, dotenv);
    let mut given = Given { sources, run: RunConfig::new(), front: Meant::default(), operands: Vec::new(), own: Vec::new() };
    loop {
        match parser.next().map_err(misuse)? {
            None => break,
            Some(Arg::Value(word)) => match command.operands {
                Operands::None => return Err(Error::usage(format!("{word:?} is too much: {NAME} {} takes no words", command.name))),
                Operands::One if !given.operands.is_empty() => {
                    return Err(Error::usage(format!("{word:?} is too much: {NAME} {} takes one word", command.name)));
                }
                Operands::One => given.operands.push(word),
                Operands::OneThenRest if given.operands.is_empty() => given.operands.push(word),
                Operands::Rest | Operands::OneThenRest => {
                    given.operands.push(word);
                    given.operands.extend(parser.raw_args().map_err(misuse)?);
                    break;
                }
            },
            Some(arg) => {
                let Some(flag) = command.flags().find(|flag| flag.is(&arg)) else { return Err(unknown(command, &arg)) };
                match flag.effect {
                    Effect::Help => return Ok(Invocation::Help(help::of(command))),
                    Effect::Version => return Ok(Invocation::Version),
                    _ => given.take(flag, &mut parser)?,
                }
            }
        }
    }
    (command.invocation)(given)
}

/// What stood on the command line, above the other layers.
struct Given<'a> {
    sources: Sources<'a>,
    run: RunConfig,
    /// Which front is meant, for how long it may take, and how it is told.
    front: Meant,
    operands: Vec<OsString>,
    /// Flags that only their command knows, with their values.
    own: Vec<(&'static Flag, OsString)>,
}

impl Given<'_> {
    /// Takes the value of `flag` and does what the flag is for.
    fn take(&mut self, flag: &'static Flag, parser: &mut lexopt::Parser) -> Result<()> {
        let value = match flag.value {
            Some(_) => parser.value().ok().filter(|value| value != "--"),
            None => Some(OsString::new()),
        };
        let value = value.ok_or_else(|| Error::usage(format!("{} needs a value: {}", flag.long, flag.usage().trim())))?;
        match flag.effect {
            Effect::Variable(variable) => {
                let value = value.into_string().map_err(|value| flag.refuse(&value, "valid UTF-8"))?;
                self.sources.flag(variable, flag.long, value, flag.repeatable);
                Ok(())
            }
            Effect::Fixed(variable, value) => {
                self.sources.flag(variable, flag.long, value.to_owned(), false);
                Ok(())
            }
            Effect::Run(set) => set(&mut self.run, &value).map_err(|allowed| flag.refuse(&value, allowed)),
            Effect::Front(set) => set(&mut self.front, &value).map_err(|allowed| flag.refuse(&value, allowed)),
            Effect::Own => {
                self.own.push((flag, value));
                Ok(())
            }
            Effect::Help | Effect::Version | Effect::Nothing => Ok(()),
        }
    }

    /// What `read` makes of the value of the flag called `long`, the last of several.
    fn own<T>(&self, long: &str, read: impl Fn(&str) -> std::result::Result<T, Allowed>) -> Result<Option<T>> {
        let Some((flag, value)) = self.own.iter().rev().find(|(flag, _)| flag.long == long) else { return Ok(None) };
        read(value.to_str().unwrap_or_default()).map(Some).map_err(|allowed| flag.refuse(value, allowed))
    }

    fn settings(&self) -> Result<Settings> {
        let config = Config::from_sources(&self.sources)?;
        Ok(Settings { config, logging: self.logging()?, notes: self.sources.notes() })
    }

    fn logging(&self) -> Result<Logging> {
        let mut logging = Logging::default();
        self.sources.apply(logger::SETTINGS, &mut logging)?;
        Ok(logging)
    }
}

fn unknown(command: &Command, arg: &Arg<'_>) -> Error {
    let seen = spelled(arg);
    let names = command.flags().map(|flag| flag.long).filter(|name| !name.is_empty());
    let hint = nearest::to(&seen, names).map_or_else(String::new, |name| format!(": did you mean {name}?"));
    Error::usage(format!("unknown flag {seen}{hint} ({NAME} {} -h lists the flags)", command.name))
}

fn spelled(arg: &Arg<'_>) -> String {
    match arg {
        Arg::Short(letter) => format!("-{letter}"),
        Arg::Long(name) => format!("--{name}"),
        Arg::Value(word) => word.to_string_lossy().into_owned(),
    }
}

/// What lexopt itself refuses: a value where none belongs.
fn misuse(error: lexopt::Error) -> Error {
    Error::usage(match error {
        lexopt::Error::UnexpectedValue { option, value } => format!("{option} takes no value, not {value:?}"),
        other => other.to_string(),
    })
}

/// Prints for a person; nobody is left to be told when the reader is gone.
fn say(to: &mut dyn Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
