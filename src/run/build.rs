//! One run of `--build`: a shell line in a process group of its own, whose output is kept for whoever asks why nothing came of it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::child::{Child, ChildEvent, CommandLine, Ladder, Spawner};
use crate::reload::{Built, Failure};

/// A cancelled build gets this long to clean up.
const LADDER: Ladder = Ladder { close_stdin_wait: Duration::ZERO, term_wait: Duration::from_secs(2) };

/// The end of its output that is kept.
const OUTPUT: usize = 64 << 10;

/// A build that runs. Dropping it kills it.
pub(super) struct Build {
    child: Child,
    is_cancelled: Arc<AtomicBool>,
}

impl Build {
    /// Starts it; how it ended comes through `done`.
    pub fn start(spawner: &Spawner, line: &str, cwd: &Path, done: Sender<Built>) -> Result<Build, Failure> {
        let command =
            CommandLine { program: "/bin/sh".into(), args: vec!["-c".into(), line.into()], cwd: cwd.to_path_buf(), env: Vec::new() };
        let is_cancelled = Arc::<AtomicBool>::default();
        let was_cancelled = Arc::clone(&is_cancelled);
        let mut output = Output::default();
        let on_event = move |event| match event {
            ChildEvent::Line(line) | ChildEvent::Stderr(line) => output.add(line),
            ChildEvent::Oversized(bytes) => output.add(format!("(a line of {bytes} bytes)")),
            ChildEvent::Exited(exit) => {
                let built = if was_cancelled.load(Ordering::SeqCst) {
                    Built::Cancelled
                } else if exit.status.is_some_and(|status| status.success()) {
                    Built::Good
                } else {
                    Built::Failed(Failure { why: format!("the build failed: {exit}"), output: output.text() })
                };
                // The orchestrator reads, or is gone.
                done.try_send(built).ok();
            }
        };
        let child = spawner.spawn(&command, on_event).map_err(|error| Failure { why: error.to_string(), output: String::new() })?;
        child.close_stdin();
        Ok(Build { child, is_cancelled })
    }

    /// Ends it, and all that it started.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
        self.child.stop(LADDER);
    }
}

#[derive(Default)]
struct Output {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Output {
    fn add(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > OUTPUT && self.lines.len() > 1 {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len() + 1);
        }
    }

    fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}
