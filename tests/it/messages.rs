//! Every error that a user can meet, by the real program and with its text as a whole: what happened, and what to do.
//!
//! `words` has the command line and the settings, `places` files, ports and programs, `clients` what clients are told, `fronts` what `run` says,
//! `remote` what `connect` says.

mod clients;
mod fronts;
mod places;
mod remote;
mod words;

use super::run::Bench;
use super::support::Program;

/// The lines on stderr without the time before them; folders and ports of this run have names.
fn plain(lines: impl IntoIterator<Item = impl AsRef<str>>, bench: &Bench) -> Vec<String> {
    let dir = bench.dir.to_string_lossy().into_owned();
    let without_time = |line: &str| match line.split_once(' ') {
        Some((time, rest)) if time.ends_with('Z') && time.starts_with("20") => rest.to_owned(),
        _ => line.to_owned(),
    };
    lines.into_iter().map(|line| without_time(line.as_ref()).replace(&dir, "DIR")).collect()
}

/// Runs the program to its end, with nothing on stdin: its exit status, and what it said on stderr.
fn said(bench: &Bench, words: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    // Fronts of other tests have their sockets in the temporary directory.
    let mut command = bench.command(words);
    command.envs(variables.iter().copied()).env("TMPDIR", &bench.dir);
    let mut program = Program::start(&mut command);
    program.close_stdin();
    let code = program.wait().code();
    (code, plain(program.rest_of_stderr(), bench).join("\n"))
}

/// What a signal has the program say.
const ENDING: &str = "INFO  ending: running calls get up to 5s; a second Ctrl-C ends at once";

/// One row of a table: command line, variables, exit status, and all of stderr.
type Row = (&'static str, &'static str, i32, String);

/// Compares each row, and says all that differ.
fn compare(bench: &Bench, rows: impl Iterator<Item = Row>) {
    let mut wrong = Vec::new();
    for (line, variables, code, text) in rows {
        let words: Vec<&str> = line.split_whitespace().collect();
        let variables: Vec<(&str, &str)> = variables.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        let seen = said(bench, &words, &variables);
        if seen != (Some(code), text.clone()) {
            wrong.push(format!("{line} {variables:?}\n  wanted {code}: {text}\n  seen   {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
