//! The exec step: on Linux a child dies with the front, even when the front is killed with -9.
//!
//! The kernel sends a process the signal it asked for when its parent dies, but the process must ask itself, between fork and exec.
//! Running code there takes `unsafe`, so the front starts its own program instead, which asks and then becomes COMMAND:
//!
//! 1. The front spawns `/proc/self/exe` (what it runs itself, even when the file has been rebuilt or deleted since) with its pid in
//!    `MCP_EXEC_STEP` and PROGRAM, argv\[0\] and the arguments as arguments. A variable and not a flag, so that an embedder's own command line,
//!    parsed or not, never meets it.
//! 2. [`exec_step`], first thing in `main` and in `dev()`, sees the variable, asks for SIGKILL, and checks that its parent is still
//!    the front: one that died just before would send nothing.
//! 3. It executes PROGRAM without the variable. If that fails it says so on stderr in one line that the front can read back, and exits
//!    with 127 (not found) or 126.
//!
//! A program that never called [`exec_step`] is never started this way: its children are spawned directly and outlive a `kill -9`.
//! So does one that is set-uid, for which the kernel forgets the request.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};

/// Holds the front's pid in a process that is to become COMMAND.
const VARIABLE: &str = "MCP_EXEC_STEP";

/// How the line begins by which the step reports that it failed.
const COMPLAINT: &str = "mcp-http-transport: cannot execute ";

/// Set by [`exec_step`]: this program knows what to do when it is started as a step.
static KNOWN: AtomicBool = AtomicBool::new(false);

/// Becomes COMMAND, and does not return, when the front started this process for that; else returns at once.
///
/// To be called first thing in `main`, before threads, arguments or files are looked at.
pub(crate) fn exec_step() {
    KNOWN.store(true, Ordering::Relaxed);
    #[cfg(target_os = "linux")]
    if let Some(front) = std::env::var_os(VARIABLE) {
        std::process::exit(become_command(&front, std::env::args_os().skip(1)));
    }
}

/// Does the step; returns the exit status when that fails.
#[cfg(target_os = "linux")]
pub(super) fn become_command(front: &OsStr, mut args: impl Iterator<Item = OsString>) -> i32 {
    use std::io::{self, Write as _};
    use std::os::unix::process::CommandExt as _;

    use nix::sys::{prctl, signal::Signal};

    let (program, name) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let error = match prctl::set_pdeathsig(Signal::SIGKILL) {
        Err(error) => error.into(),
        // The front is gone, and nobody listens.
        Ok(()) if front.to_str() != Some(&nix::unistd::getppid().to_string()) => return 1,
        Ok(()) => Command::new(&program).arg0(name).args(args).env_remove(VARIABLE).exec(),
    };
    // With stderr closed there is nobody to tell; the status still says it.
    let _ = writeln!(io::stderr(), "{COMPLAINT}{}: {error}", program.to_string_lossy());
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

/// How to start this program as a step.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) executable: OsString,
    /// Stand before PROGRAM. None but in tests, whose `main` is not ours.
    pub(super) leading: Vec<OsString>,
}

impl Step {
    /// `None` when this program would not know what to do, or where there is no such thing.
    pub(super) fn available() -> Option<Step> {
        let executable = Path::new("/proc/self/exe");
        let known = cfg!(target_os = "linux") && KNOWN.load(Ordering::Relaxed) && executable.exists();
        known.then(|| Step { executable: executable.into(), leading: Vec::new() })
    }

    /// The command that becomes `program`, under the `name` it was asked for by.
    pub(super) fn command(&self, program: &Path, name: &OsStr) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(&self.leading).arg(program).arg(name);
        command
    }

    /// What has to be in the environment of that command, besides the child's own.
    pub(super) fn variable() -> (OsString, OsString) {
        (VARIABLE.into(), std::process::id().to_string().into())
    }
}

/// The error number in the step's complaint, if that is what the first `line` of stderr is.
pub(super) fn errno_in(line: &str) -> Option<i32> {
    let (_, tail) = line.strip_prefix(COMPLAINT)?.rsplit_once("(os error ")?;
    tail.strip_suffix(')')?.parse().ok()
}

/// A program of that kind can write such a line, too, but the status must fit as well.
pub(super) fn is_failure(status: ExitStatus) -> bool {
    matches!(status.code(), Some(126 | 127))
}
