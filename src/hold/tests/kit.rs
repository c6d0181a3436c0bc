//! A hold with real children, which run `tests/fixtures/child.py`, and clients in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};

use super::super::{Fresh, Freshness, Hold, HoldSettings, Save, Swapped, Verdict};
use crate::child::{CommandLine, Spawner};
use crate::connection::{Back, Client, Link, Outlet};
use crate::message::{Kind, Message};
use crate::version::Version;

/// No test waits longer for anything; none that passes waits nearly as long.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// The watcher: the test says what has been saved.
#[derive(Default)]
pub(super) struct Watcher(AtomicU64);

impl Watcher {
    /// A save is on its way; 0: none is.
    pub(super) fn sees(&self, save: u64) {
        self.0.store(save, Ordering::SeqCst);
    }
}

impl Freshness for Watcher {
    fn look(&self) -> Fresh {
        match self.0.load(Ordering::SeqCst) {
            0 => Fresh::Current,
            save => Fresh::Coming(save),
        }
    }
}

pub(super) struct Front {
    pub(super) hold: Arc<Hold>,
    pub(super) watcher: Arc<Watcher>,
    pub(super) dir: PathBuf,
    config: Mutex<Value>,
    saves: AtomicU64,
}

pub(super) fn front(config: Value) -> Front {
    front_with(config, |_| {})
}

pub(super) fn front_with(config: Value, set: impl FnOnce(&mut HoldSettings)) -> Front {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("mcp-http-transport-hold-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/child.py");
    let args = ["-S", "-E", script, "child.json"].map(Into::into).to_vec();
    let command = CommandLine { program: "python3".into(), args, cwd: dir.clone(), env: Vec::new() };
    let mut settings = super::stage::settings();
    set(&mut settings);
    let watcher = Arc::<Watcher>::default();
    let hold = Hold::new(Arc::new(Spawner::start().unwrap()), command, settings, Arc::clone(&watcher) as _).unwrap();
    let front = Front { hold, watcher, dir, config: Mutex::new(json!({})), saves: AtomicU64::new(0) };
    front.edit(config);
    front
}

impl Front {
    /// Another server from now on: `changes` in what its file says.
    pub(super) fn edit(&self, changes: Value) {
        let mut config = self.config.lock().unwrap();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        config["trace"] = json!(self.dir.join("trace"));
        fs::write(self.dir.join("child.json.new"), config.to_string()).unwrap();
        fs::rename(self.dir.join("child.json.new"), self.dir.join("child.json")).unwrap();
    }

    pub(super) fn save(&self) -> Save {
        Save { number: self.saves.fetch_add(1, Ordering::SeqCst) + 1, at: SystemTime::now() }
    }

    /// Edits, and starts the new code.
    pub(super) fn reload(&self, changes: Value) -> Swapped {
        self.edit(changes);
        let save = self.save();
        self.hold.swap(save)
    }

    /// Edits, starts the new code, and says how it went.
    pub(super) fn reload_and_tell(&self, changes: Value) -> Swapped {
        self.edit(changes);
        let save = self.save();
        let swapped = self.hold.swap(save);
        self.hold.verdict(match &swapped {
            Swapped::Live { .. } => Verdict::Live(save),
            Swapped::Failed { output, .. } => Verdict::NotLive { save, output: output.clone(), tried: Some(save.number) },
        });
        swapped
    }

    pub(super) fn client(&self) -> TestClient {
        self.client_with(None)
    }

    pub(super) fn client_with(&self, version: Option<Version>) -> TestClient {
        self.client_as(version, false)
    }

    pub(super) fn client_as(&self, version: Option<Version>, may_be_stateless: bool) -> TestClient {
        let (sender, receiver) = bounded(10_000);
        let outlet: Arc<dyn Outlet> = Arc::new(sender);
        let link = self.hold.open(Client { id: "test".to_owned(), outlet: Arc::clone(&outlet), version, may_be_stateless }).unwrap();
        TestClient { link, outlet, receiver, seen: Mutex::default(), next: AtomicU64::new(0) }
    }

    /// A client that has shaken hands.
    pub(super) fn session(&self) -> TestClient {
        let client = self.client();
        client.initialize();
        client
    }

    /// What children have written down, as in `v1 got tools/list {}`.
    pub(super) fn trace(&self) -> Vec<String> {
        fs::read_to_string(self.dir.join("trace")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    pub(super) fn traced(&self, line: &str) -> usize {
        self.trace().iter().filter(|traced| traced.starts_with(line)).count()
    }

    pub(super) fn children(&self) -> usize {
        self.hold.status().children
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.hold.stop(Duration::ZERO);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(super) struct TestClient {
    pub(super) link: Arc<dyn Link>,
    pub(super) outlet: Arc<dyn Outlet>,
    receiver: Receiver<Message>,
    /// What came before what was waited for.
    seen: Mutex<Vec<Message>>,
    next: AtomicU64,
}

impl TestClient {
    pub(super) fn say(&self, message: Value) {
        self.say_by(message, &self.outlet);
    }

    pub(super) fn say_by(&self, mut message: Value, outlet: &Arc<dyn Outlet>) {
        message["jsonrpc"] = json!("2.0");
        let job = self.link.deliver(Message::parse(message.to_string()).unwrap(), outlet);
        // It reads the answer. Nothing may depend on whether a transport runs it.
        static JOBS: AtomicU64 = AtomicU64::new(0);
        job.filter(|_| JOBS.fetch_add(1, Ordering::Relaxed) % 2 == 0).into_iter().for_each(|job| job());
    }

    /// Sends a request; returns its id.
    pub(super) fn send(&self, method: &str, params: Value) -> u64 {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        self.say(json!({"id": id, "method": method, "params": params}));
        id
    }

    pub(super) fn tell(&self, method: &str, params: Value) {
        self.say(json!({"method": method, "params": params}));
    }

    /// The first message that fits, the ones that came before included; what else comes is kept.
    pub(super) fn until(&self, what: &str, fits: impl Fn(&Message) -> bool) -> Message {
        let mut seen = self.seen.lock().unwrap();
        if let Some(at) = seen.iter().position(&fits) {
            return seen.remove(at);
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            let message = self.receiver.recv_deadline(deadline).unwrap_or_else(|_| panic!("no {what}; seen: {seen:?}"));
            if fits(&message) {
                return message;
            }
            seen.push(message);
        }
    }

    /// The answer to a request.
    pub(super) fn answer(&self, id: u64) -> Message {
        self.until(&format!("answer to {id}"), |message| message.id() == id.to_string() && message.method().is_empty())
    }

    pub(super) fn notification(&self, method: &str) -> Value {
        value(&self.until(method, |message| message.method() == method))
    }

    pub(super) fn call(&self, method: &str, params: Value) -> Value {
        value(&self.answer(self.send(method, params)))
    }

    /// Sends a tool call; returns its id.
    pub(super) fn start(&self, name: &str, arguments: Value) -> u64 {
        self.send("tools/call", json!({"name": name, "arguments": arguments}))
    }

    /// The text that a tool answers; that of every block, one a line.
    pub(super) fn tool(&self, name: &str, arguments: Value) -> String {
        self.result(self.start(name, arguments))
    }

    pub(super) fn result(&self, id: u64) -> String {
        let answer = value(&self.answer(id));
        let blocks = answer["result"]["content"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
        blocks.iter().map(|block| block["text"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// Which version answers.
    pub(super) fn version(&self) -> String {
        self.tool("version", json!({}))
    }

    /// The reason in the error that a call gets.
    pub(super) fn reason(&self, id: u64) -> String {
        let answer = self.answer(id);
        assert_eq!(answer.kind(), Kind::Error, "{answer:?}");
        let answer = value(&answer);
        assert_eq!(answer["error"]["code"], -32603, "{answer}");
        answer["error"]["data"]["reason"].as_str().unwrap().to_owned()
    }

    pub(super) fn initialize(&self) -> Value {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"roots": {}}, "clientInfo": {"name": "t", "version": "0"}});
        let result = self.call("initialize", params);
        self.tell("notifications/initialized", json!({}));
        result
    }

    /// A request of the server's: its raw id.
    pub(super) fn asked(&self, method: &str) -> Message {
        self.until(method, |message| message.method() == method && message.kind() == Kind::Request)
    }

    /// What has come, without waiting.
    pub(super) fn so_far(&self) -> Vec<Message> {
        let mut seen = self.seen.lock().unwrap();
        seen.extend(self.receiver.try_iter());
        seen.clone()
    }
}

pub(super) fn value(message: &Message) -> Value {
    serde_json::from_str(message.as_str()).unwrap()
}

pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not before the deadline: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs something beside the test; its result comes through the channel.
pub(super) fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver): (Sender<T>, _) = bounded(1);
    let run = move || {
        // The test may have ended.
        let _ = sender.send(work());
    };
    thread::Builder::new().name("beside".to_owned()).spawn(run).unwrap();
    receiver
}

pub(super) fn changes(swapped: Swapped) -> Vec<String> {
    match swapped {
        Swapped::Live { changes, .. } => changes,
        failed => panic!("{failed:?}"),
    }
}

pub(super) fn failure(swapped: Swapped) -> (String, String) {
    match swapped {
        Swapped::Failed { why, output, .. } => (why, output),
        live => panic!("{live:?}"),
    }
}

pub(super) fn touch(path: &Path) {
    fs::write(path, "").unwrap();
}
