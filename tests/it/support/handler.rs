//! A handler whose methods are what a test needs: `echo`, `slow`, `ask`, `panic`, `block`, `stuck`, `big`, `notify`, `session`, `print`.

use std::sync::Mutex;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use mcp_http_transport::{ClientRequest, Handler, Json, LogLevel, Notification, Request, RpcError, Session, initialize_result};
use serde_json::{Value, json};

use super::SOON;

/// What the handler reports, and the gate that its blocked calls wait at.
pub(crate) struct Events {
    said: Receiver<String>,
    gate: Mutex<Option<Sender<()>>>,
}

impl Events {
    /// Passes over what the handler said until it says `wanted`.
    pub(crate) fn wait_for(&self, wanted: &str) {
        let mut passed = Vec::new();
        while passed.last().is_none_or(|said| said != wanted) {
            match self.said.recv_timeout(SOON) {
                Ok(said) => passed.push(said),
                Err(_) => panic!("the handler never said {wanted:?}, only {passed:?}"),
            }
        }
    }

    /// What the handler says next.
    pub(crate) fn next(&self) -> String {
        self.said.recv_timeout(SOON).expect("the handler says something")
    }

    /// What the handler says next, however long that takes.
    pub(crate) fn next_ever(&self) -> Option<String> {
        self.said.recv().ok()
    }

    /// What it has said and nobody has taken.
    pub(crate) fn rest(&self) -> Vec<String> {
        self.said.try_iter().collect()
    }

    /// Lets one blocked call go on.
    pub(crate) fn let_one_go(&self) {
        let gate = self.gate.lock().unwrap();
        gate.as_ref().expect("the gate is there").send_timeout((), SOON).expect("a call waits at the gate");
    }

    /// Lets all blocked calls go on, now and later.
    pub(crate) fn release(&self) {
        *self.gate.lock().unwrap() = None;
    }
}

pub(crate) struct TestHandler {
    say: Sender<String>,
    gate: Receiver<()>,
}

pub(crate) fn test_handler() -> (TestHandler, Events) {
    let (say, said) = bounded(100_000);
    let (open, gate) = bounded(0);
    (TestHandler { say, gate }, Events { said, gate: Mutex::new(Some(open)) })
}

impl TestHandler {
    fn say(&self, text: String) {
        self.say.try_send(text).ok();
    }
}

impl Handler for TestHandler {
    fn handle(&self, request: &Request, session: &Session) -> Result<Json, RpcError> {
        let number = |name: &str| request.param(name).and_then(|raw| raw.parse::<u64>().ok()).unwrap_or(0);
        let id = request.id().to_owned();
        match request.method().as_ref() {
            "initialize" => Ok(initialize_result(request, "test", "1.0.0", json!({"tools": {}}))),
            "echo" => request.params().parse().map_err(RpcError::invalid_params),
            "slow" => {
                let steps = number("steps");
                for step in 1..=steps {
                    let pause = session.cancelled().recv_timeout(Duration::from_millis(number("ms")));
                    if pause.is_err_and(|error| error.is_disconnected()) {
                        self.say(format!("cancelled {id}"));
                        return Err(RpcError::internal("cancelled"));
                    }
                    session.progress(step as f64, Some(steps as f64), Some("step")).ok();
                }
                Ok(json!({"steps": steps}).into())
            }
            "ask" => {
                self.say(format!("asks {id}"));
                let patience = Duration::from_millis(number("ms").max(1) * if number("ms") == 0 { 60_000 } else { 1 });
                let answer = session.ask("question", ClientRequest::new("roots/list", json!({})).timeout(patience));
                self.say(format!("asked {id} {}", answer.as_ref().map_or_else(ToString::to_string, ToString::to_string)));
                Ok(answer?)
            }
            "panic" => panic!("on purpose"),
            "block" => {
                self.say(format!("blocks {id}"));
                select! {
                    recv(self.gate) -> _ => self.say(format!("goes on {id}")),
                    recv(session.cancelled()) -> _ => self.say(format!("cancelled {id}")),
                }
                Ok(Json::empty())
            }
            "stuck" => {
                self.say(format!("stuck {id}"));
                self.gate.recv().ok();
                self.say(format!("unstuck {id} {}", session.is_cancelled()));
                Ok(Json::empty())
            }
            "big" => Ok(json!({"text": "x".repeat(number("bytes") as usize)}).into()),
            "notify" => {
                let text = "x".repeat(number("bytes") as usize);
                for count in 0..number("count") {
                    if session.log(LogLevel::Info, None, json!({"from": id, "count": count, "text": text})).is_err() {
                        self.say(format!("gone {id}"));
                        break;
                    }
                }
                Ok(Json::empty())
            }
            "print" => {
                print_everywhere();
                Ok(Json::empty())
            }
            "session" => {
                let version = session.version().map(|version| version.as_str());
                let client: Option<Value> = session.client_info().and_then(|info| info.parse().ok());
                Ok(json!({"id": session.id(), "version": version, "client": client}).into())
            }
            method => Err(RpcError::method_not_found(method)),
        }
    }

    fn notified(&self, notification: &Notification, _: &Session) {
        self.say(format!("notified {}", notification.method()));
    }

    fn opened(&self, _: &Session) {
        self.say("opened".to_owned());
    }

    fn closed(&self, _: &Session) {
        self.say("closed".to_owned());
    }
}

/// What no handler should do on stdio: print, and start a program that does, or that reads.
#[allow(clippy::print_stdout, reason = "it is what this is for")]
fn print_everywhere() {
    use std::io::Write;
    println!("printed by the handler");
    std::io::stdout().flush().ok();
    let script = "echo printed by the child; read line && echo it read $line";
    std::process::Command::new("sh").args(["-c", script]).status().expect("sh runs");
}
