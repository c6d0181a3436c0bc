//! The load generator: std only, one thread per session, a closed loop. Prints one line of JSON for the driver to read.
//!
//! `calls` measures calls of a tool, `idle` opens many sessions that say nothing, `broadcast` times one notification to all of them, `start` times
//! a program from its start to its first answer, `soak` is a test rather than a measurement.

mod calls;
mod conn;
mod crowd;
mod histogram;
mod proc;
mod session;
mod soak;
mod start;

use std::collections::HashMap;
use std::fmt::Display;
use std::process::ExitCode;
use std::str::FromStr;

/// Whatever ends a measurement early, as a sentence.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// `--name value` pairs.
pub struct Flags(HashMap<String, String>);

impl Flags {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Flags> {
        let mut flags = HashMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("{word:?} is no flag"))?;
            flags.insert(name.to_owned(), words.next().ok_or_else(|| format!("--{name} needs a value"))?);
        }
        Ok(Flags(flags))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn or<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T> {
        match self.text(name) {
            None => Ok(otherwise),
            Some(text) => text.parse().map_err(|_| format!("--{name} {text}: what is that?").into()),
        }
    }
}

/// What is printed: one flat JSON object of numbers and sentences.
#[derive(Default)]
pub struct Report(String);

impl Report {
    pub fn number(&mut self, name: &str, value: impl Display) {
        let comma = if self.0.is_empty() { "" } else { ", " };
        self.0.push_str(&format!("{comma}\"{name}\": {value}"));
    }

    pub fn sentence(&mut self, name: &str, value: &str) {
        self.number(name, format_args!("{value:?}"));
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_default();
    let report = Flags::read(words).and_then(|flags| match what.as_str() {
        "calls" => calls::run(&flags),
        "idle" => crowd::idle(&flags),
        "broadcast" => crowd::broadcast(&flags),
        "soak" => soak::run(&flags),
        "start" => start::run(&flags),
        _ => Err("usage: bench-load calls|idle|broadcast|soak|start --flag value ...".into()),
    });
    match report {
        Ok(Report(members)) => {
            if !members.is_empty() {
                println!("{{{members}}}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-load {what}: {error}");
            ExitCode::FAILURE
        }
    }
}
