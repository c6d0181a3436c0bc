//! Programs: the real one, and this test binary again as a server of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};
use serde_json::Value;

use super::{SOON, spawn};

/// The test that is the server when this binary starts itself.
const HELPER: &str = "stdio::the_server_that_other_tests_start";

/// A running program; killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    /// Closes the reading end of stdout at the next line.
    hang_up: std::sync::Arc<std::sync::atomic::AtomicBool>,
    stderr: Receiver<String>,
}

impl Program {
    /// The test handler behind `serve` in a process of its own, with these variables. Its stdout is what the server writes, nothing of the test
    /// harness. `shell` runs before it, as in `ulimit -n 40`, and
    /// may set WRAPPER to a command that starts it.
    pub(crate) fn server(shell: &str, variables: &[(&str, &str)]) -> Program {
        // What the harness prints goes nowhere; descriptor 3 keeps the pipe for the server.
        let script = format!("{shell}\nexec $WRAPPER \"$0\" \"$@\" 3>&1 1>/dev/null");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(std::env::current_exe().unwrap());
        command
            .args([HELPER, "--exact", "--nocapture", "--test-threads=1"])
            .env("MCP_TEST_SERVER", "1")
            .env_remove("WRAPPER")
            .envs(variables.iter().copied());
        Program::start(&mut command)
    }

    /// The program itself.
    pub(crate) fn binary(arguments: &[&str], variables: &[(&str, &str)]) -> Program {
        Program::start(Command::new(env!("CARGO_BIN_EXE_mcp-http-transport")).args(arguments).envs(variables.iter().copied()))
    }

    /// A command of a test's own making.
    pub(crate) fn start(command: &mut Command) -> Program {
        // Ours, unless the test gave it.
        let is_given = |name: &str| command.get_envs().any(|(given, value)| given == name && value.is_some());
        let ours: Vec<String> = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("MCP_") && !is_given(name)).collect();
        for name in ours {
            command.env_remove(name);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let hang_up = std::sync::Arc::default();
        Program { child, stdin, stdout: lines(stdout, &hang_up), hang_up, stderr: lines(stderr, &std::sync::Arc::default()) }
    }

    /// Where it listens, from the line on stderr that says so.
    pub(crate) fn address(&self) -> SocketAddr {
        let line = self.stderr("listening on http://");
        let address = line.split("http://").nth(1).unwrap().split([' ', '/', ',']).next().unwrap();
        address.parse().unwrap_or_else(|_| panic!("no address in {line:?}"))
    }

    /// The next line on stderr that has `part` in it.
    pub(crate) fn stderr(&self, part: &str) -> String {
        let deadline = Instant::now() + SOON;
        let mut passed = Vec::new();
        loop {
            match self.stderr.recv_deadline(deadline) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => passed.push(line),
                Err(_) => panic!("stderr never said {part:?}, only {passed:?}"),
            }
        }
    }

    /// What is left on stderr; the program must have ended.
    pub(crate) fn rest_of_stderr(&self) -> Vec<String> {
        std::iter::from_fn(|| self.stderr.recv_timeout(SOON).ok()).collect()
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(bytes.as_ref()).and_then(|()| stdin.flush()).expect("the program reads");
    }

    pub(crate) fn line(&mut self, text: &str) {
        self.write(format!("{text}\n"));
    }

    /// As [`line`](Program::line), to a program that may have ended.
    pub(crate) fn try_line(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        drop(stdin.write_all(format!("{text}\n").as_bytes()));
    }

    pub(crate) fn request(&mut self, id: &str, method: &str, params: &str) {
        self.line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
    }

    /// The next line on stdout, as it is; none at its end.
    pub(crate) fn raw(&self) -> Option<String> {
        match self.stdout.recv_timeout(SOON) {
            Ok(line) => Some(line),
            Err(error) if error.is_disconnected() => None,
            Err(_) => panic!("nothing on stdout in {SOON:?}"),
        }
    }

    /// The next message on stdout, which has nothing else.
    pub(crate) fn message(&self) -> Value {
        let line = self.raw().expect("a message before the end of stdout");
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("no message on stdout: {line:?}: {error}"));
        assert_eq!(message["jsonrpc"], "2.0");
        message
    }

    /// The next answer with this raw id; other messages are passed over.
    pub(crate) fn answer(&self, id: &str) -> Value {
        let id: Value = serde_json::from_str(id).unwrap();
        loop {
            let message = self.message();
            if message.get("method").is_none() && message["id"] == id {
                return message;
            }
        }
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Stops reading, and closes the pipe once something more has been read.
    pub(crate) fn close_stdout(&self) {
        self.hang_up.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).expect("the signal is sent");
    }

    /// How it ended, which it must.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the program does not end");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn lines(source: impl Read + Send + 'static, hang_up: &std::sync::Arc<std::sync::atomic::AtomicBool>) -> Receiver<String> {
    let (line, lines) = bounded(10_000);
    let hang_up = std::sync::Arc::clone(hang_up);
    let mut source = BufReader::new(source);
    spawn(move || {
        loop {
            let mut text = Vec::new();
            let is_over = source.fill_buf().is_ok_and(<[u8]>::is_empty);
            if is_over || hang_up.load(std::sync::atomic::Ordering::SeqCst) || source.read_until(b'\n', &mut text).is_err() {
                return;
            }
            if text.ends_with(b"\n") {
                text.pop();
            }
            if line.send(String::from_utf8_lossy(&text).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}
