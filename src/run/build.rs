//! The build: one shell line in its own process group, whose output is kept for those who have to read it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::child::{Child, ChildEvent, CommandLine, Ladder, Spawner};
use crate::error::Result;
use crate::reload::{Built, Failure};

/// What is kept of the output: its end.
const KEPT: usize = 64 << 10;
/// A build that is not wanted any more has had its say.
const CANCEL: Ladder = Ladder { close_stdin_wait: Duration::ZERO, term_wait: Duration::from_secs(1) };

/// A running build; ended when dropped.
pub(super) struct Build(Child);

impl Build {
    /// Starts `line`, in the surroundings of `like`. `on_end` hears how it ended, unless that is an error here.
    pub(super) fn start(spawner: &Spawner, line: &str, like: &CommandLine, on_end: impl FnOnce(Built) + Send + 'static) -> Result<Build> {
        let shell =
            CommandLine { program: "/bin/sh".into(), args: vec!["-c".into(), line.into()], cwd: like.cwd.clone(), env: like.env.clone() };
        let output = Arc::new(Mutex::new(String::new()));
        let mut on_end = Some(on_end);
        let child = spawner.spawn(&shell, move |event| match event {
            ChildEvent::Line(text) | ChildEvent::Stderr(text) => {
                log::debug!("build: {text}");
                keep(&mut output.lock().unwrap_or_else(PoisonError::into_inner), &text);
            }
            ChildEvent::Oversized(_) | ChildEvent::Muted => {}
            ChildEvent::Exited(exit) => {
                let Some(on_end) = on_end.take() else { return };
                let output = std::mem::take(&mut *output.lock().unwrap_or_else(PoisonError::into_inner));
                on_end(match exit.status {
                    Some(status) if status.success() => Built::Good,
                    _ if exit.stopped => Built::Cancelled,
                    _ => Built::Failed(Failure { why: format!("the build failed ({exit})"), output }),
                });
            }
        })?;
        child.close_stdin();
        Ok(Build(child))
    }

    /// Ends it, with everything it started.
    pub(super) fn cancel(&self) {
        self.0.stop(CANCEL);
    }
}

/// Adds a line, and drops from the front what is too much.
fn keep(output: &mut String, line: &str) {
    output.push_str(line);
    output.push('\n');
    if output.len() > 2 * KEPT {
        let mut start = output.len() - KEPT;
        while !output.is_char_boundary(start) {
            start += 1;
        }
        output.drain(..start);
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    fn run(line: &str, cancel: bool) -> Built {
        let spawner = Spawner::start().unwrap();
        let here =
            CommandLine { program: "x".into(), args: Vec::new(), cwd: std::env::temp_dir(), env: vec![("GIVEN".into(), "1".into())] };
        let (sender, ended) = bounded(1);
        let build = Build::start(&spawner, line, &here, move |built| drop(sender.send(built))).unwrap();
        if cancel {
            build.cancel();
        }
        ended.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn a_build_ends_well_or_with_the_end_of_its_output() {
        assert_eq!(run("test \"$GIVEN\" = 1 && test \"$MCP_FRONT_CHILD\" = 1", false), Built::Good);
        let Built::Failed(failure) = run("echo to stdout; echo to stderr >&2; exit 7", false) else { panic!("it fails") };
        assert_eq!(failure.why, "the build failed (exit status: 7)");
        assert!(failure.output.contains("to stdout\n") && failure.output.contains("to stderr\n"));
        let Built::Failed(failure) = run("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1", false) else {
            panic!("it fails")
        };
        assert!(failure.output.len() <= 2 * KEPT && failure.output.ends_with("line 19999\n"));
    }

    #[test]
    fn a_cancelled_build_takes_its_whole_group_along() {
        // The child of the shell holds the pipes; were it left, the end would not come.
        assert_eq!(run("sleep 600 & sleep 600", true), Built::Cancelled);
    }
}
