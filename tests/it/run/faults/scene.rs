//! A front with one client, over whichever transport, that counts what its calls get: each must get exactly one answer or one error.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::super::{Bench, CLIENT, is_dead, texts};
use crate::http;
use crate::support::{Program, Sse, eventually, spawn};

/// How the client reaches the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Stdio,
    Sse,
    Mcp,
}

pub(super) struct Scene {
    pub(super) bench: Bench,
    pub(super) way: Way,
    pub(super) program: Program,
    client: Client,
    /// What came, by the id of its request. One that has got nothing yet has an empty list.
    answers: BTreeMap<u32, Vec<Value>>,
    /// Requests and notifications of the server's.
    said: Vec<Value>,
    last: u32,
}

enum Client {
    Stdio,
    Sse(Box<Sse>),
    /// Each POST has a thread that reads its response to the end.
    Mcp(http::Client, Option<String>, BTreeMap<u32, JoinHandle<Vec<Value>>>),
}

impl Scene {
    /// A front with these flags, before version `one`, or what `bench` holds; nothing has been said yet.
    pub(super) fn start(way: Way, flags: &[&str], bench: Bench) -> Scene {
        let (program, client) = match way {
            Way::Stdio => (bench.start(flags, &["python3", "child.py", "server.json"]), Client::Stdio),
            Way::Sse => {
                let program = bench.serve(flags);
                let session = Sse::open(program.address());
                (program, Client::Sse(Box::new(session)))
            }
            Way::Mcp => {
                let program = bench.serve(flags);
                let address = program.address();
                (program, Client::Mcp(http::Client { address }, None, BTreeMap::new()))
            }
        };
        Scene { bench, way, program, client, answers: BTreeMap::new(), said: Vec::new(), last: 0 }
    }

    /// Where the front listens.
    pub(super) fn address(&self) -> SocketAddr {
        match &self.client {
            Client::Stdio => panic!("it does not"),
            Client::Sse(session) => session.address,
            Client::Mcp(http, ..) => http.address,
        }
    }

    pub(super) fn send(&mut self, method: &str, params: &Value) -> u32 {
        self.last += 1;
        self.answers.insert(self.last, Vec::new());
        let body = json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}).to_string();
        self.post(Some(self.last), &body);
        self.last
    }

    pub(super) fn notify(&mut self, method: &str) {
        self.post(None, &json!({"jsonrpc": "2.0", "method": method}).to_string());
    }

    fn post(&mut self, id: Option<u32>, body: &str) {
        match &mut self.client {
            Client::Stdio => self.program.line(body),
            Client::Sse(session) => session.send(body),
            Client::Mcp(http, session, open) => {
                let (http, session, body) = (http::Client { address: http.address }, session.clone(), body.to_owned());
                let work = move || {
                    let mut headers = vec![("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")];
                    headers.extend(session.as_deref().map(|session| ("Mcp-Session-Id", session)));
                    let answer = http.send("POST", "/mcp", &headers, &body);
                    let session = answer.header("mcp-session-id").map(str::to_owned);
                    let mut messages = match (answer.status, answer.is_stream()) {
                        (202, _) => Vec::new(),
                        (_, true) => answer.messages(),
                        (_, false) => vec![answer.json()],
                    };
                    messages.extend(session.map(|session| json!({"session": session})));
                    messages
                };
                let thread = spawn(work);
                match id {
                    Some(id) => drop(open.insert(id, thread)),
                    None => drop(thread.join().unwrap()),
                }
            }
        }
    }

    /// Takes one message, or all that the response to `id` has.
    fn pull(&mut self, id: u32) {
        let messages = match &mut self.client {
            Client::Stdio => vec![self.program.message()],
            Client::Sse(session) => vec![serde_json::from_str(&session.message()).unwrap()],
            Client::Mcp(_, session, open) => {
                let mut messages = open.remove(&id).expect("a request").join().unwrap();
                if let Some(begun) = messages.last().and_then(|last| last["session"].as_str()) {
                    *session = Some(begun.to_owned());
                    messages.pop();
                }
                messages
            }
        };
        for message in messages {
            match message["id"].as_u64().filter(|_| message.get("method").is_none()) {
                Some(id) => self.answers.get_mut(&(id as u32)).unwrap_or_else(|| panic!("nobody asked: {message}")).push(message),
                None => self.said.push(message),
            }
        }
    }

    pub(super) fn answer(&mut self, id: u32) -> Value {
        while self.answers[&id].is_empty() {
            self.pull(id);
        }
        self.answers[&id][0].clone()
    }

    pub(super) fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params);
        self.answer(id)
    }

    pub(super) fn initialize(&mut self) {
        let hello = self.request("initialize", &serde_json::from_str(CLIENT).unwrap());
        assert!(hello["result"].is_object(), "{hello}");
        self.notify("notifications/initialized");
    }

    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.request("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// What the version that answers is called, and whether there is a note.
    pub(super) fn version(&mut self) -> Vec<String> {
        texts(&self.call("add", &json!({})))
    }

    /// A call that the server has begun and does not end before `gate` is opened.
    pub(super) fn open_call(&mut self, gate: &str) -> u32 {
        let (path, here) = (self.bench.path(gate), self.bench.path(&format!("{gate}.here.tmp")));
        let id = self.send("tools/call", &json!({"name": "until", "arguments": {"path": path, "here": here}}));
        eventually("the call has begun", || here.exists());
        id
    }

    /// A call, in whatever state; it must not have been answered.
    pub(super) fn waiting_call(&mut self) -> u32 {
        self.send("tools/call", &json!({"name": "add", "arguments": {}}))
    }

    pub(super) fn gate(&self, name: &str) -> PathBuf {
        self.bench.path(name)
    }

    pub(super) fn open_gate(&self, name: &str) {
        self.bench.write(name, "");
    }

    /// What is lost is lost with this reason.
    pub(super) fn is_lost(&mut self, id: u32, reason: &str) {
        let answer = self.answer(id);
        assert_eq!(answer["error"]["data"]["reason"], reason, "{answer}");
    }

    /// The next request or notification with this method.
    pub(super) fn wait_for(&mut self, method: &str) -> Value {
        loop {
            if let Some(at) = self.said.iter().position(|message| message["method"] == method) {
                return self.said.remove(at);
            }
            self.pull(0);
        }
    }

    /// The servers that are there, the oldest first.
    pub(super) fn servers(&self) -> Vec<i32> {
        let front = self.program.child.id();
        let tasks = fs::read_dir(format!("/proc/{front}/task")).into_iter().flatten().flatten();
        let children = tasks.flat_map(|task| {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        });
        let is_python = |pid: &String| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("python3"));
        let mut servers: Vec<i32> = children.filter(|pid| !is_dead(pid) && is_python(pid)).map(|pid| pid.parse().unwrap()).collect();
        servers.sort_by_key(|pid| started(*pid));
        servers
    }

    /// Waits until there are so many, and names them.
    pub(super) fn wait_for_servers(&self, count: usize) -> Vec<i32> {
        let mut servers = Vec::new();
        eventually(&format!("{count} servers"), || {
            servers = self.servers();
            servers.len() == count
        });
        servers
    }

    pub(super) fn server(&self) -> i32 {
        self.wait_for_servers(1)[0]
    }

    /// Each call has got one answer or one error; the front ends, and leaves nothing behind.
    pub(super) fn end(mut self) {
        let ids: Vec<u32> = self.answers.keys().copied().collect();
        for id in ids {
            self.answer(id);
        }
        // Nothing comes behind it that belongs to an earlier call.
        self.request("ping", &json!({}));
        for (id, answers) in &self.answers {
            assert_eq!(answers.len(), 1, "request {id}: {answers:?}");
        }
        match self.way {
            Way::Stdio => self.program.close_stdin(),
            Way::Sse | Way::Mcp => self.program.signal(Signal::SIGTERM),
        }
        assert!(self.program.wait().success());
        self.nothing_is_left();
    }

    /// No process has this front's mark.
    pub(super) fn nothing_is_left(&self) {
        let mark = format!("MCP_FRONT_MARK={}.", self.program.child.id());
        eventually("no process is left", || !is_anywhere(mark.as_bytes()));
    }
}

/// Kills with -9, and waits until it is gone.
pub(super) fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("it is dead", || is_dead(&pid.to_string()));
}

/// When a process started, in ticks since the system did.
fn started(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok()).unwrap_or(0)
}

/// Whether a process has this in its environment.
fn is_anywhere(part: &[u8]) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut environments = processes.filter_map(|process| fs::read(process.path().join("environ")).ok());
    environments.any(|environment| environment.windows(part.len()).any(|window| window == part))
}
