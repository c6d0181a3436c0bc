//! Conversations in `tests/transcripts`, replayed word for word. A file has prose, and the lines of its client and its server:
//!
//! ```text
//! version: 2025-11-25
//! over: memory
//!
//! > {"jsonrpc":"2.0","id":1,"method":"ping"}
//! < {"jsonrpc":"2.0","id":1,"result":{}}
//! ```
//!
//! `over: http` has requests in place of messages: method and path, headers, body; then the server's lines are status and type, the session, and the
//! body or the events. A letter before the mark tells connections apart (`a>`, `b<`); `a> cut` hangs up. What is random has a name, as in `$session1`.
//!
//! `UPDATE_TRANSCRIPTS=1 cargo test --test it transcripts` writes the server's lines anew: as many as there are, and for `<*` all of a message's.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::bounded;
use mcp_http_transport::{
    ClientRequest, Config, Connection, Prompt, Resource, Server, Service, Session, Tool, ToolError, ToolResult, TransportMode, Type, memory,
};
use serde_json::{Value, json};

use super::http::{Answer, Client};

const SOON: Duration = Duration::from_secs(20);

/// The server of all transcripts.
fn server() -> Server {
    let server = Server::new("transcripts", "1.0.0").instructions("Said in handshakes.");
    let handle = server.handle();
    let (open, gate) = bounded::<()>(1);
    let (cancelled, was_cancelled) = bounded(1);
    let plain = Tool::new;
    server
        .tool(plain("add", "Adds").param("a", Type::Number, "first").param("b", Type::Number, "second"), |args, _session| {
            Ok(args.number("a")? + args.number("b")?)
        })
        .tool(plain("count", "Says how far it has come"), |_args, session| {
            session.progress(1.0, Some(2.0), Some("half"))?;
            session.progress(2.0, Some(2.0), None)?;
            Ok("counted")
        })
        .tool(plain("half", "Waits in the middle until somebody calls go"), move |_args, session| {
            session.progress(1.0, Some(2.0), None)?;
            gate.recv_timeout(SOON)?;
            session.progress(2.0, Some(2.0), None).ok();
            Ok("whole")
        })
        .tool(plain("go", "Lets half go on"), move |_args, _session| Ok(open.send_timeout((), SOON)?))
        .tool(plain("wait", "Waits to be cancelled"), move |_args, session| {
            session.progress(0.0, None, Some("waiting"))?;
            session.cancelled().recv_timeout(SOON).ok();
            cancelled.send_timeout(session.is_cancelled(), SOON)?;
            Ok("nobody reads this")
        })
        .tool(plain("waited", "Whether wait was cancelled"), move |_args, _session| Ok(was_cancelled.recv_timeout(SOON)?))
        .tool(plain("poll", "Hangs up before it answers"), |_args, session| {
            session.close_stream();
            Ok("late")
        })
        .tool(plain("greet", "Asks three times"), |_args, session| {
            let [name, color, food] = [answered(session, "name")?, answered(session, "color")?, answered(session, "food")?];
            Ok(format!("{name} likes {color} {food}"))
        })
        .tool(plain("change", "Changes the lists and a resource"), move |_args, _session| {
            handle.add_tool(Tool::new("changed", "New"), |_args, _session| Ok(ToolResult::default()));
            handle.resource_updated("test://a");
            Ok("changed")
        })
        .resource(Resource::new("test://a", "a").mime_type("text/plain"), |_uri, _session| Ok("A"))
        .prompt(Prompt::new("hello", "Says hello").argument("to", "whom", true), |args, _session| {
            Ok(format!("Hello, {}!", args.string("to")?))
        })
}

fn answered(session: &Session, key: &str) -> Result<String, ToolError> {
    let form = json!({"type": "object", "properties": {key: {"type": "string"}}, "required": [key]});
    let answer: Value = session.ask(key, ClientRequest::elicitation(&format!("Your {key}?"), form))?.parse()?;
    Ok(answer["content"][key].as_str().ok_or("no answer")?.to_owned())
}

/// What is random, by the names it has in a transcript.
#[derive(Default)]
struct Names(Vec<(String, String)>);

impl Names {
    /// The name of `value`, which is one of this `kind`.
    fn of(&mut self, kind: &str, value: &str) -> String {
        if let Some((name, _)) = self.0.iter().find(|(name, known)| known == value && name.starts_with(&format!("${kind}"))) {
            return name.clone();
        }
        let count = self.0.iter().filter(|(name, _)| name.starts_with(&format!("${kind}"))).count();
        self.0.push((format!("${kind}{}", count + 1), value.to_owned()));
        self.0.last().unwrap().0.clone()
    }

    /// A client's line with the values in place of the names.
    fn filled_in(&self, line: &str) -> String {
        // The last first: $event12 is not $event1.
        self.0.iter().rev().fold(line.to_owned(), |line, (name, value)| line.replace(name, value))
    }

    /// A message of the server's with names in place of the values.
    fn message(&mut self, text: &str) -> String {
        const STATE: &str = "\"requestState\":\"";
        const ID: &str = "{\"jsonrpc\":\"2.0\",\"id\":";
        if let Some(at) = text.find(STATE) {
            let (start, rest) = text.split_at(at + STATE.len());
            let (state, end) = rest.split_once('"').unwrap();
            return format!("{start}{}\"{end}", self.of("state", state));
        }
        match text.strip_prefix(ID).and_then(|rest| rest.split_once(',')) {
            Some((id, rest)) if rest.starts_with("\"method\"") => format!("{ID}{},{rest}", self.of("ask", id)),
            _ => text.to_owned(),
        }
    }
}

/// What one HTTP request brings, line by line.
struct Lines {
    ready: VecDeque<String>,
    stream: Option<Answer>,
}

impl Lines {
    fn of(answer: Answer, names: &mut Names) -> Lines {
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        let mut ready = VecDeque::from([format!("{} {kind}", answer.status).trim_end().to_owned()]);
        if let Some(session) = answer.header("mcp-session-id") {
            ready.push_back(format!("Mcp-Session-Id: {}", names.of("session", session)));
        }
        if answer.is_stream() {
            return Lines { ready, stream: Some(answer) };
        }
        let body = answer.body();
        ready.extend(body.lines().map(|line| names.message(line)));
        Lines { ready, stream: None }
    }

    fn next(&mut self, names: &mut Names) -> Option<String> {
        if let Some(stream) = self.stream.as_mut().filter(|_| self.ready.is_empty()) {
            match stream.event() {
                Some(event) => {
                    self.ready.extend(event.id.map(|id| format!("id: {}", names.of("event", &id))));
                    self.ready.extend(event.retry.map(|retry| format!("retry: {retry}")));
                    self.ready.extend(event.data.map(|data| format!("data: {}", names.message(&data)).trim_end().to_owned()));
                }
                None => {
                    self.stream = None;
                    self.ready.push_back("end".to_owned());
                }
            }
        }
        self.ready.pop_front()
    }
}

/// The client's side of one transcript.
enum Wire {
    Memory(Connection),
    Http { service: Box<Service>, client: Client, open: BTreeMap<String, Lines> },
}

impl Wire {
    fn new(over: &str) -> Wire {
        if over == "memory" {
            return Wire::Memory(memory(server()));
        }
        assert_eq!(over, "http");
        let service = Box::new(Service::start(server(), &Config::new().transport(TransportMode::Http).host("127.0.0.1").port(0)).unwrap());
        let client = Client { address: service.local_addrs()[0] };
        Wire::Http { service, client, open: BTreeMap::new() }
    }

    /// Sends the lines that stand together.
    fn send(&mut self, mark: &str, lines: &[String], names: &mut Names) {
        match self {
            Wire::Memory(connection) => lines.iter().for_each(|line| connection.send(line).unwrap()),
            Wire::Http { open, .. } if lines == ["cut"] => drop(open.remove(mark)),
            Wire::Http { client, open, .. } => {
                let (method, path) = lines[0].split_once(' ').expect("a method and a path");
                let (body, headers): (Vec<&String>, _) = lines[1..].iter().partition(|line| line.starts_with(['{', '[']));
                let headers: Vec<_> = headers.iter().map(|line| line.split_once(": ").expect("a header")).collect();
                let body = body.first().map_or("", |body| body.as_str());
                open.insert(mark.to_owned(), Lines::of(client.send(method, path, &headers, body), names));
            }
        }
    }

    /// The server's next line; none when the request has brought all it brings.
    fn next(&mut self, mark: &str, names: &mut Names) -> Option<String> {
        match self {
            Wire::Memory(connection) => {
                let message = connection.receive(SOON).expect("the server says something");
                Some(names.message(message.as_str()))
            }
            Wire::Http { open, .. } => open.get_mut(mark).expect("a connection with this letter").next(names),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Wire::Http { service, open, .. } = self {
            open.clear();
            service.stop(Duration::ZERO);
        }
    }
}

/// The transcript with the lines that the server really says.
fn replay(text: &str) -> String {
    let over = text.lines().find_map(|line| line.strip_prefix("over: ")).expect("a line that says over what");
    let (mut wire, mut names, mut replayed) = (Wire::new(over), Names::default(), String::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (mark, rest) = line.split_at(line.find(['<', '>']).filter(|at| *at <= 1).unwrap_or(0));
        let mut said = Vec::new();
        match rest.split_at_checked(1) {
            Some((">", first)) => {
                let start = format!("{mark}>");
                let mut sent = vec![first.trim().to_owned()];
                while let Some(more) = lines.next_if(|line| matches!(wire, Wire::Http { .. }) && line.starts_with(&start)) {
                    sent.push(more[start.len()..].trim().to_owned());
                }
                said.extend(sent.iter().map(|line| format!("{start} {line}")));
                let sent: Vec<String> = sent.iter().map(|line| names.filled_in(line)).collect();
                wire.send(mark, &sent, &mut names);
            }
            Some(("<", "*")) => {
                while let Some(line) = wire.next(mark, &mut names) {
                    let is_last = matches!(wire, Wire::Memory(_)) && !line.contains("\"method\":");
                    said.push(format!("{mark}< {line}"));
                    if is_last {
                        break;
                    }
                }
            }
            Some(("<", _)) => said.push(format!("{mark}< {}", wire.next(mark, &mut names).unwrap_or_else(|| "(nothing more)".to_owned()))),
            _ => said.push(line.to_owned()),
        }
        said.iter().for_each(|line| replayed.push_str(&format!("{line}\n")));
    }
    replayed
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

#[test]
fn each_transcript_is_what_is_said() {
    let is_update = std::env::var_os("UPDATE_TRANSCRIPTS").is_some();
    let mut wrong = Vec::new();
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        // Shown when it comes to nothing.
        eprintln!("{}", file.display());
        let replayed = replay(&text);
        if is_update {
            fs::write(&file, &replayed).unwrap();
        } else if let Some((at, (was, is))) = text.lines().zip(replayed.lines()).enumerate().find(|(_, (was, is))| was != is) {
            wrong.push(format!("{}:{}\n  it was {was}\n  it is  {is}", file.display(), at + 1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What there must be a transcript of, so that none gets lost.
#[test]
fn every_version_has_its_transcripts() {
    let texts: Vec<String> = files().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for (version, methods) in [
        ("2024-11-05", &["initialize", "tools/call", "notifications/progress", "notifications/cancelled"][..]),
        ("2025-03-26", &["initialize", "tools/call", "notifications/progress", "notifications/cancelled"]),
        ("2025-06-18", &["initialize", "tools/call", "notifications/progress", "notifications/cancelled", "elicitation/create"]),
        ("2025-11-25", &["initialize", "tools/call", "notifications/progress", "notifications/cancelled", "elicitation/create"]),
        ("2026-07-28", &["server/discover", "tools/call", "notifications/progress", "subscriptions/listen", "input_required"]),
    ] {
        let line = format!("version: {version}\n");
        let own: String = texts.iter().filter(|text| text.contains(&line)).map(String::as_str).collect();
        for method in methods {
            assert!(own.contains(&format!("\"{method}\"")), "no transcript of {version} has {method}");
        }
    }
}
