//! How long a program takes from its start to its first answer to `initialize`.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::session::{Session, Target, Transport};
use crate::{Flags, Report, Result};

/// A program that has not answered by then has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn run(flags: &Flags) -> Result<Report> {
    let target = Target::read(flags)?;
    let begin = Instant::now();
    if let Transport::Stdio(_) = target.transport {
        Session::open(&target)?;
    } else {
        let mut words = flags.text("command").unwrap_or_default().split_ascii_whitespace();
        let mut child = Command::new(words.next().ok_or("--command is missing")?)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut opened = Session::open(&target);
        while opened.is_err() && begin.elapsed() < PATIENCE {
            // The port is not open yet.
            thread::sleep(Duration::from_micros(200));
            opened = Session::open(&target);
        }
        let took = begin.elapsed();
        child.kill()?;
        child.wait()?;
        opened?;
        return Ok(report(took));
    }
    Ok(report(begin.elapsed()))
}

fn report(took: Duration) -> Report {
    let mut report = Report::default();
    report.number("first_ms", took.as_secs_f64() * 1e3);
    report
}
