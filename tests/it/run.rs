//! `run` as a user meets it: the real program before real servers in Python and shell, whose files are edited under a live client.
//!
//! In here is the bench: a directory of its own with `tests/fixtures/child.py` in it, which reads what it does from `server.json`, so that an edit is
//! another content of that file.

mod builds;
mod dev;
mod ending;
#[cfg(target_os = "linux")]
mod ends;
#[cfg(target_os = "linux")]
#[cfg(endurance)]
mod endurance;
#[cfg(target_os = "linux")]
mod faults;
mod hostile;
mod reloads;
mod security;
#[cfg(target_os = "linux")]
mod shortage;
mod stateless;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::support::{Program, Sse};

const CLIENT: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}"#;

/// A directory for one test, removed at its end; in `run` within it are the sockets of its fronts, so that no test meets another's.
pub(super) struct Bench {
    pub(super) dir: PathBuf,
    runtime: PathBuf,
}

impl Bench {
    pub(super) fn new() -> Bench {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mcp-run-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let base = std::env::temp_dir().canonicalize().unwrap().join(name);
        let (dir, runtime) = (base.join("work"), base.join("run"));
        fs::create_dir_all(&dir).unwrap();
        fs::DirBuilder::new().mode(0o700).create(&runtime).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/child.py"), dir.join("child.py")).unwrap();
        let bench = Bench { dir, runtime };
        bench.edit("one", &["add"], json!({}));
        bench
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub(super) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Saves another version of the server: every tool answers its name.
    pub(super) fn edit(&self, name: &str, tools: &[&str], more: Value) {
        let mut content = json!({"name": name, "tools": tools});
        content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.write("server.json", &content.to_string());
    }

    /// Saves a version that does not start.
    pub(super) fn break_it(&self) {
        self.edit("broken", &["add"], json!({"crash_at_start": true}));
    }

    /// The program with these arguments, in this directory.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-http-transport"));
        command.args(arguments).current_dir(&self.dir).env("XDG_RUNTIME_DIR", &self.runtime);
        // Set for all of some machines, where it hides what the front does about it.
        command.env_remove("PYTHONDONTWRITEBYTECODE");
        command
    }

    /// `run FLAGS -- python3 child.py server.json` for a client on stdio.
    pub(super) fn run(&self, flags: &[&str]) -> Client {
        Client::new(self.start(flags, &["python3", "child.py", "server.json"]))
    }

    pub(super) fn start(&self, flags: &[&str], command: &[&str]) -> Program {
        let arguments: Vec<&str> = ["run"].iter().chain(flags).chain(&["--"]).chain(command).copied().collect();
        Program::start(&mut self.command(&arguments))
    }

    /// The same over HTTP.
    pub(super) fn serve(&self, flags: &[&str]) -> Program {
        let flags: Vec<&str> = ["--http", "--host", "127.0.0.1", "--port", "0"].iter().chain(flags).copied().collect();
        self.start(&flags, &["python3", "child.py", "server.json"])
    }

    /// `reload`, `status`: to its end.
    pub(super) fn ask(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output: Output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.dir.parent().unwrap());
    }
}

/// A client on stdio.
pub(super) struct Client {
    pub(super) program: Program,
    last: u32,
}

impl Client {
    pub(super) fn new(program: Program) -> Client {
        Client { program, last: 0 }
    }

    pub(super) fn send(&mut self, method: &str, params: &str) -> String {
        self.last += 1;
        let id = self.last.to_string();
        self.program.request(&id, method, params);
        id
    }

    pub(super) fn request(&mut self, method: &str, params: &str) -> Value {
        let id = self.send(method, params);
        self.program.answer(&id)
    }

    pub(super) fn initialize(&mut self) -> Value {
        let answer = self.request("initialize", CLIENT);
        self.program.line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        answer["result"].clone()
    }

    /// The texts of what a tool answers; more than one is a note.
    pub(super) fn call(&mut self, tool: &str, arguments: Value) -> Vec<String> {
        texts(&self.request("tools/call", &json!({"name": tool, "arguments": arguments}).to_string()))
    }

    /// What the version that answers is called; there must be no note.
    pub(super) fn version(&mut self) -> String {
        let texts = self.call("add", json!({}));
        assert_eq!(texts.len(), 1, "a note: {texts:?}");
        texts.into_iter().next().unwrap()
    }

    /// The next message that is not an answer.
    pub(super) fn notification(&self) -> Value {
        loop {
            let message = self.program.message();
            if message.get("method").is_some() {
                return message;
            }
        }
    }
}

pub(super) fn texts(answer: &Value) -> Vec<String> {
    let content = answer["result"]["content"].as_array().unwrap_or_else(|| panic!("no content: {answer}"));
    content.iter().map(|block| block["text"].as_str().unwrap().to_owned()).collect()
}

/// A session over HTTP+SSE, initialised.
pub(super) fn session(program: &Program, address: std::net::SocketAddr) -> Sse {
    let _ = program;
    let mut session = Sse::open(address);
    session.call("0", "initialize", CLIENT);
    session.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    session
}

/// Gone, or a zombie that nobody has reaped yet.
pub(super) fn is_dead(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")),
        Err(_) => true,
    }
}
