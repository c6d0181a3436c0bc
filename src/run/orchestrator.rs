//! The thread that joins the watcher, the build, the reload machine and the hold: it does what the machine says, and tells it what happened.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, select};

use super::build::Build;
use super::fresh::Watching;
use super::plan::Plan;
use super::repeated::Repeated;
use super::report::{Report, Reports};
use super::{Message, Reloaded};
use crate::connection::wait_for_nobody;
use crate::error::{Error, Result};
use crate::hold::{Hold, Save, Swapped, Verdict};
use crate::reload::{self, Action, Built, Failure, Input, Machine, Started};
use crate::threads;
use crate::watch;

/// The watcher answers within milliseconds; one that does not is not waited for again and again.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);
/// This thread takes its mail at once, unless it has ended.
const MAIL_PATIENCE: Duration = Duration::from_secs(10);

/// The ways to the watcher's thread and from it.
pub(super) struct Watch {
    pub(super) line: watch::Line,
    pub(super) events: Receiver<watch::Event>,
}

/// Everything the thread owns.
pub(super) struct Orchestrator {
    pub(super) plan: Plan,
    pub(super) build: Option<String>,
    pub(super) stop_first: bool,
    pub(super) hold: Arc<Hold>,
    pub(super) watch: Option<Watch>,
    pub(super) shared: Arc<Watching>,
    pub(super) reports: Arc<Reports>,
    /// Its own mailbox, both ends.
    pub(super) mail: (Sender<Message>, Receiver<Message>),
}

/// What changes while it runs.
struct Work {
    its: Orchestrator,
    machine: Machine,
    began: (Instant, SystemTime),
    running: Option<Build>,
    /// When the next tick is due.
    tick: Option<Instant>,
    /// The last look's number; that of the present cycle; when that began.
    look: u64,
    cycle: (u64, Instant),
    /// The present cycle's number once its code has been given to the hold.
    tried: Option<u64>,
    /// Batches of changes received from the watcher.
    received: u64,
    repeated: Repeated,
    /// Who waits for a reload, by name.
    waiting: Vec<(u64, Sender<Reloaded>)>,
    last_name: u64,
}

impl Orchestrator {
    /// Starts the thread `reload`.
    pub(super) fn start(self) -> Result<JoinHandle<()>> {
        let machine = Machine::new(self.plan.reload.clone());
        let now = Instant::now();
        let work = Work {
            its: self,
            machine,
            began: (now, SystemTime::now()),
            running: None,
            tick: None,
            look: 0,
            cycle: (0, now),
            tried: None,
            received: 0,
            repeated: Repeated::default(),
            waiting: Vec::new(),
            last_name: 0,
        };
        let thread = threads::start("reload", move || {
            wait_for_nobody();
            work.run();
        });
        thread.map_err(|error| Error::io("cannot start a thread to reload with", error))
    }
}

impl Work {
    fn run(mut self) {
        let messages = self.its.mail.1.clone();
        let mut events = self.its.watch.as_ref().map_or_else(crossbeam_channel::never, |watch| watch.events.clone());
        if self.its.build.is_some() {
            self.feed(Input::Forced(None));
        }
        loop {
            let tick = self.tick.map_or_else(crossbeam_channel::never, crossbeam_channel::at);
            select! {
                recv(events) -> event => match event {
                    Ok(event) => {
                        let mut inputs = VecDeque::new();
                        self.take(event, &mut inputs);
                        self.feed_all(inputs);
                    }
                    Err(_) => {
                        log::error!("the watcher has ended: changes are not noticed any more");
                        events = crossbeam_channel::never();
                        self.its.watch = None;
                    }
                },
                recv(messages) -> message => match message {
                    Ok(Message::Stop) | Err(_) => return,
                    Ok(message) => self.hear(message),
                },
                recv(tick) -> _ => {
                    self.tick = None;
                    self.feed(Input::Tick);
                }
            }
            if self.its.shared.take_expected() {
                self.feed(Input::Expected);
            }
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Built(built) => {
                self.running = None;
                self.feed(Input::Built(built));
            }
            Message::Started(swapped) => {
                let started = self.started(swapped);
                self.feed(Input::Started(started));
            }
            Message::Reload(reply) => {
                self.last_name += 1;
                self.waiting.push((self.last_name, reply));
                self.feed(Input::Forced(Some(self.last_name)));
            }
            Message::Wake | Message::Stop => {}
        }
    }

    /// Takes what the watcher says.
    fn take(&mut self, event: watch::Event, inputs: &mut VecDeque<Input>) {
        match event {
            watch::Event::Note(note) => log::warn!("{note}"),
            watch::Event::Changed(changes) => {
                self.received += 1;
                for change in &changes {
                    log::debug!("{:?}: {}", change.kind, change.path.display());
                }
                let named = &self.its.plan.reload.named;
                let repeated = self.repeated.changed(changes.iter().map(|change| change.path.as_path()));
                if let Some(file) = repeated.filter(|file| !named.contains(*file)) {
                    log::warn!(
                        "{} alone has changed again and again, and each time the server is reloaded: if it writes that itself, use --ignore",
                        file.display()
                    );
                }
                let paths = changes.into_iter().map(|change| change.path);
                let (edited, changed) = paths.partition(|path| self.its.shared.can_be_a_reaction(path));
                inputs.extend([Input::Changed(changed), Input::Edited(edited)]);
            }
        }
    }

    fn feed(&mut self, input: Input) {
        self.feed_all(VecDeque::from([input]));
    }

    /// Tells the machine what happened, and does what it says, which may make more happen.
    fn feed_all(&mut self, mut inputs: VecDeque<Input>) {
        while let Some(input) = inputs.pop_front() {
            let now = self.began.0.elapsed();
            for action in self.machine.on(now, input) {
                self.act(action, &mut inputs);
            }
        }
        self.its.shared.publish(self.received, self.machine.stage(), self.cycle.0);
    }

    fn act(&mut self, action: Action, inputs: &mut VecDeque<Input>) {
        match action {
            Action::Look => self.look(inputs),
            Action::Wait(time) => self.tick = Some(Instant::now() + time),
            Action::Build => {
                (self.cycle, self.tried) = ((self.look, Instant::now()), None);
                self.start_build();
            }
            Action::CancelBuild => {
                log::debug!("files have changed: the build is cancelled");
                if let Some(build) = &self.running {
                    build.cancel();
                }
            }
            Action::Start => {
                if self.its.build.is_none() {
                    self.cycle = (self.look, Instant::now());
                }
                self.start_server();
            }
            Action::Ignore(files) => self.ignore(files),
            Action::Report { failure, newer } => self.report_failure(&failure, newer),
            Action::Tell { names, live, text } => {
                self.waiting.retain(|(name, reply)| {
                    let is_told = names.contains(name);
                    if is_told {
                        // Whoever has gone on does not listen.
                        let _ = reply.try_send(Reloaded { live, text: text.clone() });
                    }
                    !is_told
                });
            }
            Action::Verdict(verdict) => self.verdict(verdict),
        }
    }

    /// One look of the watcher, and everything that it finds.
    fn look(&mut self, inputs: &mut VecDeque<Input>) {
        self.look = self.its.shared.next_look();
        let mut pending = false;
        if let Some(Watch { line, events }) = &self.its.watch {
            let events = events.clone();
            match line.look(LOOK_PATIENCE) {
                Some(found) => {
                    pending = found.pending;
                    while self.received < found.batches {
                        let Ok(event) = events.recv_timeout(LOOK_PATIENCE) else { break };
                        self.take(event, inputs);
                    }
                }
                None => log::warn!("the watcher does not answer: is a watched drive not there?"),
            }
        }
        inputs.push_back(Input::Looked { pending });
    }

    fn start_build(&mut self) {
        let Some(line) = self.its.build.clone() else { return };
        log::debug!("building: {line}");
        let mail = self.its.mail.0.clone();
        let on_end = move |built| drop(mail.send_timeout(Message::Built(built), MAIL_PATIENCE));
        match Build::start(self.its.hold.spawner(), &line, &self.its.plan.command, on_end) {
            Ok(build) => self.running = Some(build),
            Err(error) => {
                let failure = Failure { why: format!("the build cannot be started: {error}"), output: String::new() };
                // The mailbox has room: this thread is its reader, and few write.
                let _ = self.its.mail.0.try_send(Message::Built(Built::Failed(failure)));
            }
        }
    }

    fn start_server(&mut self) {
        if self.its.plan.env_file.is_some() {
            match self.its.plan.environment() {
                Ok(env) => {
                    self.its.plan.command.env = env;
                    self.its.hold.set_command(self.its.plan.command.clone());
                }
                Err(error) => log::warn!("{error}: the variables stay as they were"),
            }
        }
        self.its.shared.starts(self.cycle.0);
        let save = Save { number: self.cycle.0, at: SystemTime::now() };
        self.tried = Some(save.number);
        let (hold, mail) = (Arc::clone(&self.its.hold), self.its.mail.0.clone());
        let start = move || {
            wait_for_nobody();
            let swapped = hold.swap(save);
            drop(mail.send_timeout(Message::Started(swapped), MAIL_PATIENCE));
        };
        if let Err(error) = threads::start("reload-start", start) {
            let why = format!("there is no thread to start it with: {error}");
            let _ = self.its.mail.0.try_send(Message::Started(Swapped::Failed { why, output: String::new(), is_text_busy: false }));
        }
    }

    fn started(&mut self, swapped: Swapped) -> Started {
        match swapped {
            Swapped::Live { took: swap, changes } => {
                let took = self.cycle.1.elapsed();
                log::debug!("of this, the new server took {} ms", swap.as_millis());
                let changes = if changes.is_empty() { String::new() } else { format!(": {}", changes.join(" ")) };
                let text = format!("reloaded in {} ms{changes}", took.as_millis());
                log::info!("{text}");
                self.its.reports.add(Report::live(text.clone()));
                Started::Live(text)
            }
            Swapped::Failed { why, output, is_text_busy: true } => Started::Busy(Failure { why, output }),
            Swapped::Failed { why, output, is_text_busy: false } => {
                Started::Failed(Failure { why: format!("the new server did not start: {why}"), output })
            }
        }
    }

    fn ignore(&self, files: Vec<std::path::PathBuf>) {
        for file in files {
            let what = if self.its.build.is_some() { "each build or start" } else { "each start" };
            log::warn!("{} is written by {what} of the server: it is output, and not watched any more", file.display());
            if let Some(watch) = &self.its.watch {
                // When the watcher is stuck the machine passes over it all the same.
                let _ = watch.line.tell(watch::Command::IgnoreOutput(file), LOOK_PATIENCE);
            }
        }
    }

    fn report_failure(&self, failure: &Failure, newer: bool) {
        if self.its.hold.is_stopping() {
            return;
        }
        let then = match () {
            () if newer => "files have changed since: trying again",
            () if self.its.stop_first => "the old version has been stopped before (--stop-first): calls wait for the next save",
            () if self.its.hold.status().live_since.is_none() => "there is no older version: calls wait for the next save",
            () => "the old version keeps serving",
        };
        log::warn!("{}; {then}", failure.why);
        for line in crate::hold::end_of(&failure.output).lines() {
            log::warn!("  | {line}");
        }
        self.its.reports.add(Report::failed(&failure.why, &failure.output));
    }

    fn verdict(&self, verdict: reload::Verdict) {
        let at = |time: Duration| self.began.1 + time;
        self.its.hold.verdict(match verdict {
            reload::Verdict::Pending => Verdict::Pending(Save { number: self.its.shared.to_come(), at: at(self.began.0.elapsed()) }),
            reload::Verdict::Live => Verdict::Live(Save { number: self.look, at: at(self.began.0.elapsed()) }),
            reload::Verdict::NotLive { saved, failure } => {
                let output = format!("{}\n{}", failure.why, failure.output);
                Verdict::NotLive { save: Save { number: self.look, at: at(saved) }, output, tried: self.tried }
            }
        });
    }
}
