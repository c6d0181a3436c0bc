//! The state machine on a stage: clients, children and the clock are played by the test.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::HoldSettings;
use super::super::core::Core;
use super::super::parts::{Act, Report};
use super::super::process::Process;
use crate::child::{Exit, Ladder, SendError};
use crate::connection::{Gone, Outlet};
use crate::message::Message;

pub(super) fn settings() -> HoldSettings {
    HoldSettings {
        shared: false,
        max_children: 32,
        stop_first: false,
        drain: Duration::from_secs(60),
        start_timeout: Some(Duration::from_secs(30)),
        stop_timeout: Duration::from_secs(5),
        note: true,
        dev_tools: false,
        hold: Duration::from_secs(10),
        park_after: Duration::from_secs(300),
        watching: true,
    }
}

#[derive(Default)]
pub(super) struct Mailbox(Mutex<Vec<String>>);

impl Mailbox {
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

impl Outlet for Mailbox {
    fn send(&self, message: Message) -> Result<(), Gone> {
        self.offer(message)
    }

    fn offer(&self, message: Message) -> Result<(), Gone> {
        self.put(message.into_text());
        Ok(())
    }

    fn is_listening(&self) -> bool {
        false
    }
}

#[derive(Default)]
pub(super) struct Actor {
    pub(super) heard: Mailbox,
    pub(super) is_stopped: Mutex<bool>,
}

impl Process for Actor {
    fn send(&self, line: &str) -> Result<(), SendError> {
        self.heard.put(line.to_owned());
        Ok(())
    }

    fn stop(&self, _ladder: Ladder) {
        *self.is_stopped.lock().unwrap() = true;
    }

    fn stderr_tail(&self) -> String {
        "the end of stderr".to_owned()
    }

    fn lead(&self, _is_done: &mut dyn FnMut() -> bool) {}

    fn rest(&self) {}

    fn attend(&self) {}
}

pub(super) struct Stage {
    pub(super) core: Core,
    pub(super) now: Instant,
    /// Children that are to be started.
    pub(super) ordered: Vec<u64>,
    pub(super) actors: Vec<(u64, Arc<Actor>)>,
    pub(super) reports: Vec<Report>,
    pub(super) wakes: Vec<Instant>,
}

impl Stage {
    pub(super) fn new(settings: HoldSettings) -> Stage {
        let core = Core::new(Arc::new(settings));
        Stage { core, now: Instant::now(), ordered: Vec::new(), actors: Vec::new(), reports: Vec::new(), wakes: Vec::new() }
    }

    pub(super) fn client(&mut self) -> (u64, Arc<Mailbox>) {
        let mailbox = Arc::<Mailbox>::default();
        let outlet: Arc<dyn Outlet> = Arc::clone(&mailbox) as _;
        (self.core.sit(outlet, None, self.now), mailbox)
    }

    pub(super) fn act(&mut self) {
        self.core.arm();
        while !self.core.acts.is_empty() {
            for act in std::mem::take(&mut self.core.acts) {
                match act {
                    Act::Offer { outlet, message, .. } => drop(outlet.offer(message)),
                    Act::Flush { kid, .. } => {
                        while let Some((process, _, line)) = self.core.next_line(kid) {
                            process.send(&line).unwrap();
                        }
                    }
                    Act::Start(kid) => self.ordered.push(kid),
                    Act::Stop(process) => process.stop(Ladder { close_stdin_wait: Duration::ZERO, term_wait: Duration::ZERO }),
                    Act::Report(report) => self.reports.push(report),
                    Act::Wake(at) => self.wakes.push(at),
                    Act::Ended { outlet, id } => outlet.ended(&id),
                    Act::Legacy { .. } | Act::Quiet | Act::Answered { .. } | Act::Over => {}
                }
            }
        }
    }

    pub(super) fn say(&mut self, (seat, mailbox): &(u64, Arc<Mailbox>), text: &str, need: u64) {
        let outlet: Arc<dyn Outlet> = Arc::clone(mailbox) as _;
        let message = Message::parse(text.to_owned()).unwrap();
        self.core.deliver(*seat, message, &outlet, need, self.now);
        self.act();
    }

    pub(super) fn call(&mut self, client: &(u64, Arc<Mailbox>), id: u64, need: u64) {
        self.say(client, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t{id}"}}}}"#), need);
    }

    /// A stateless call.
    pub(super) fn stateless(&mut self, (seat, mailbox): &(u64, Arc<Mailbox>), id: u64, need: u64) {
        let outlet: Arc<dyn Outlet> = Arc::clone(mailbox) as _;
        let message = Message::request(&id.to_string(), "tools/call", Some(&format!("{{\"name\":\"t{id}\"}}")));
        self.core.stateless_request(*seat, message, &outlet, need, self.now);
        self.act();
    }

    pub(super) fn initialize(&mut self, client: &(u64, Arc<Mailbox>)) {
        self.say(client, r#"{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#, 0);
    }

    /// The next child that is ordered comes to life.
    pub(super) fn spawn(&mut self, save: u64) -> Option<u64> {
        let kid = if self.ordered.is_empty() { return None } else { self.ordered.remove(0) };
        if self.core.turn(kid, save) {
            let actor = Arc::<Actor>::default();
            self.actors.push((kid, Arc::clone(&actor)));
            self.core.spawned(kid, actor, None, self.now);
        }
        self.act();
        Some(kid)
    }

    pub(super) fn actor(&self, kid: u64) -> Arc<Actor> {
        self.actors.iter().find(|(number, _)| *number == kid).map(|(_, actor)| Arc::clone(actor)).expect("it was spawned")
    }

    pub(super) fn line(&mut self, kid: u64, line: &str) {
        super::super::from_child::read(line.to_owned(), |message| self.core.hear(kid, message, self.now));
        self.act();
    }

    /// The child answers `initialize`, the first thing it heard. Returns what it heard after it.
    pub(super) fn ready(&mut self, kid: u64) -> Vec<String> {
        let mut heard = self.actor(kid).heard.take();
        let hello = Message::parse(heard.remove(0)).unwrap();
        assert_eq!(hello.method(), "initialize");
        let result = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":"x","version":"1"}}"#;
        self.line(kid, &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, hello.id()));
        heard.extend(self.actor(kid).heard.take());
        heard
    }

    /// Starts what is ordered, all the way.
    pub(super) fn start(&mut self, save: u64) -> (u64, Vec<String>) {
        let kid = self.spawn(save).expect("a start is ordered");
        let heard = self.ready(kid);
        (kid, heard)
    }

    pub(super) fn answer(&mut self, kid: u64, request: &str) {
        let id = Message::parse(request.to_owned()).unwrap().id().to_owned();
        self.line(kid, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#));
    }

    pub(super) fn exit(&mut self, kid: u64, stderr: &str) {
        self.core.exited(kid, &Exit::for_tests(stderr), self.now);
        self.act();
    }

    /// Lets time pass, with every wake-up in it.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.wakes.iter().copied().filter(|at| *at <= end).min() {
            self.wakes.retain(|other| *other != at);
            self.now = self.now.max(at);
            self.core.tick(self.now);
            self.act();
        }
        self.now = end;
    }
}

/// The ids in answers, and whether they are good.
pub(super) fn answers(messages: &[String]) -> Vec<(String, bool)> {
    let read = |text: &String| Message::parse(text.clone()).unwrap();
    let answers = messages.iter().map(read).filter(|message| message.method().is_empty());
    answers.map(|answer| (answer.id().to_owned(), answer.kind() == crate::message::Kind::Result)).collect()
}
