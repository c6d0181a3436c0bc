//! The thread that does what the reload machine says: it looks, builds, swaps, and tells.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};

use super::build::Build;
use super::freshness::Watch;
use super::plan::Plan;
use crate::config::RunConfig;
use crate::control::{Desk, Outcome};
use crate::error::{Error, Result};
use crate::hold::{Hold, Save, Swapped, Verdict};
use crate::reload::{self, Action, Built, Failure, Input, Machine, Started};
use crate::watch;

/// Reloads that `status` lists.
const REMEMBERED: usize = 10;

/// Lines of a compiler's or server's output that go to the log.
const LINES: usize = 20;

/// Reloads asked for that wait to be heard.
const ORDERS: usize = 16;

/// Without anything to wait for, the thread looks up now and then.
const IDLE: Duration = Duration::from_secs(3600);

/// The running thread; dropping it ends it.
pub(super) struct Orchestrator {
    orders: Sender<Order>,
    desk: Arc<FrontDesk>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Reload(Sender<Outcome>),
    Stop,
}

struct Worker {
    hold: Arc<Hold>,
    watch: Arc<Watch>,
    events: Receiver<watch::Event>,
    plan: Arc<Plan>,
    settings: RunConfig,
    machine: Machine,
    begun: Instant,
    begun_at: SystemTime,
    /// When the machine wants its tick.
    wake: Option<Instant>,
    build: Option<Build>,
    built: (Sender<Built>, Receiver<Built>),
    swaps: Sender<Save>,
    started: Receiver<Swapped>,
    /// The save that the cycle under way brings to life.
    cycle: u64,
    asked: HashMap<u64, Sender<Outcome>>,
    next_asked: u64,
    desk: Arc<FrontDesk>,
}

impl Orchestrator {
    pub fn start(
        hold: Arc<Hold>,
        watch: Arc<Watch>,
        events: Receiver<watch::Event>,
        plan: Plan,
        settings: RunConfig,
    ) -> Result<Orchestrator> {
        let cannot = |error| Error::io("cannot start a thread to reload", error);
        let plan = Arc::new(plan);
        let (orders, received) = bounded(ORDERS);
        let desk = Arc::new(FrontDesk { orders: orders.clone(), hold: Arc::clone(&hold), plan: Arc::clone(&plan), past: Mutex::default() });
        let (swaps, wanted) = bounded::<Save>(1);
        let (done, started) = bounded(1);
        let swapping = Arc::clone(&hold);
        let swap = move || {
            for save in wanted {
                if done.send(swapping.swap(save)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("reload-swap".to_owned()).spawn(swap).map_err(cannot)?;
        let has_build = settings.build.is_some();
        let mut worker = Worker {
            machine: Machine::new(plan.rules(&settings)),
            hold,
            watch,
            events,
            plan,
            settings,
            begun: Instant::now(),
            begun_at: SystemTime::now(),
            wake: None,
            build: None,
            built: bounded(1),
            swaps,
            started,
            cycle: 0,
            asked: HashMap::new(),
            next_asked: 0,
            desk: Arc::clone(&desk),
        };
        let work = move || {
            if has_build {
                worker.force(None);
            }
            worker.run(&received);
        };
        let thread = thread::Builder::new().name("reload".to_owned()).spawn(work).map_err(cannot)?;
        Ok(Orchestrator { orders, desk, thread: Some(thread) })
    }

    /// Where others ask for a reload or the status.
    pub fn desk(&self) -> Arc<dyn Desk> {
        Arc::clone(&self.desk) as Arc<dyn Desk>
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        self.orders.send(Order::Stop).ok();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Worker {
    fn run(&mut self, orders: &Receiver<Order>) {
        let mut events = self.events.clone();
        let (expected, built, started) = (self.watch.expected().clone(), self.built.1.clone(), self.started.clone());
        loop {
            let patience = self.wake.map_or(IDLE, |wake| wake.saturating_duration_since(Instant::now()));
            select! {
                recv(events) -> event => match event {
                    Ok(event) => self.take(event),
                    // Nothing is watched.
                    Err(_) => events = never(),
                },
                recv(expected) -> _ => {
                    self.watch.notice(false);
                    self.feed(Input::Expected);
                }
                recv(built) -> built => if let Ok(built) = built {
                    self.build = None;
                    self.feed(Input::Built(built));
                },
                recv(started) -> swapped => if let Ok(swapped) = swapped {
                    let started = self.started(swapped);
                    self.feed(Input::Started(started));
                },
                recv(orders) -> order => match order {
                    Ok(Order::Reload(reply)) => self.force(Some(reply)),
                    Ok(Order::Stop) | Err(_) => return,
                },
                default(patience) => {
                    self.wake = None;
                    self.feed(Input::Tick);
                }
            }
        }
    }

    fn take(&mut self, event: watch::Event) {
        match event {
            watch::Event::Note(note) => log::warn!("{note}"),
            watch::Event::Changed(changes) => {
                self.watch.notice(true);
                self.feed(Input::Changed(changes.into_iter().map(|change| change.path).collect()));
            }
        }
    }

    fn force(&mut self, reply: Option<Sender<Outcome>>) {
        self.watch.notice(false);
        let name = reply.map(|reply| {
            self.next_asked += 1;
            self.asked.insert(self.next_asked, reply);
            self.next_asked
        });
        self.feed(Input::Forced(name));
    }

    /// Tells the machine, and does all that follows from it.
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for action in self.machine.on(self.begun.elapsed(), input) {
                self.act(action, &mut inputs);
            }
        }
    }

    fn act(&mut self, action: Action, inputs: &mut VecDeque<Input>) {
        match action {
            Action::Look => self.look(inputs),
            Action::Wait(time) => self.wake = Some(Instant::now() + time),
            Action::Build => {
                self.cycle = self.watch.noticed();
                let line = self.settings.build.as_deref().unwrap_or_default();
                log::debug!("building: {line}");
                match Build::start(self.hold.spawner(), line, &self.plan.cwd, self.built.0.clone()) {
                    Ok(build) => self.build = Some(build),
                    Err(failure) => inputs.push_back(Input::Built(Built::Failed(failure))),
                }
            }
            Action::CancelBuild => {
                if let Some(build) = &self.build {
                    build.cancel();
                }
            }
            Action::Start => {
                if self.settings.build.is_none() {
                    self.cycle = self.watch.noticed();
                }
                match self.plan.command_line(&self.settings) {
                    Ok(command) => {
                        self.hold.set_command(command);
                        // One at a time: the machine waits for the outcome before it starts another.
                        self.swaps.try_send(Save { number: self.cycle, at: SystemTime::now() }).ok();
                    }
                    Err(error) => {
                        let failure = Failure { why: error.to_string(), output: String::new() };
                        inputs.push_back(Input::Started(Started::Failed(failure)));
                    }
                }
            }
            Action::Ignore(paths) => self.ignore(paths),
            Action::Report { failure, newer } => self.report(&failure, newer),
            Action::Tell { names, live, text } => {
                for reply in names.iter().filter_map(|name| self.asked.remove(name)) {
                    reply.try_send(Outcome { live, text: text.clone() }).ok();
                }
            }
            Action::Verdict(verdict) => self.verdict(verdict),
        }
    }

    /// Looks, and puts what was found before the end of the look.
    fn look(&self, inputs: &mut VecDeque<Input>) {
        let seen = self.watch.look_now();
        while seen.is_some_and(|seen| seen.batches > self.watch.batches()) {
            match self.events.recv_timeout(Duration::from_secs(1)) {
                Ok(watch::Event::Note(note)) => log::warn!("{note}"),
                Ok(watch::Event::Changed(changes)) => {
                    self.watch.notice(true);
                    inputs.push_back(Input::Changed(changes.into_iter().map(|change| change.path).collect()));
                }
                Err(_) => break,
            }
        }
        inputs.push_back(Input::Looked { pending: seen.is_some_and(|seen| seen.pending) });
    }

    fn started(&self, swapped: Swapped) -> Started {
        match swapped {
            Swapped::Live { took, changes } => {
                let changes = if changes.is_empty() { String::new() } else { format!(": {}", changes.join(" ")) };
                let text = format!("reloaded in {} ms{changes}", took.as_millis());
                log::info!("{text}");
                self.desk.note(true, &text);
                Started::Live(text)
            }
            Swapped::Failed { why, output, is_text_busy: true } => Started::Busy(Failure { why, output }),
            Swapped::Failed { why, output, is_text_busy: false } => Started::Failed(Failure { why, output }),
        }
    }

    fn report(&self, failure: &Failure, newer: bool) {
        let lines: Vec<&str> = failure.output.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LINES)..];
        let consequence = match (newer, self.hold.status().live_since) {
            (true, _) => "a newer change is being tried",
            (false, None) => "nothing runs yet; the next save is tried",
            (false, Some(_)) if self.settings.stop_first => {
                "the old version was stopped first (--stop-first); calls wait for the next good save"
            }
            (false, Some(_)) => "the version before keeps serving",
        };
        log::error!("not reloaded: {}: {consequence}", failure.why);
        for line in shown {
            log::error!("  | {line}");
        }
        self.desk.note(false, &failure.why);
    }

    fn verdict(&self, verdict: reload::Verdict) {
        let now = SystemTime::now();
        self.hold.verdict(match verdict {
            reload::Verdict::Pending => Verdict::Pending(Save { number: self.watch.noticed(), at: now }),
            reload::Verdict::Live => Verdict::Live(Save { number: self.watch.settle(), at: now }),
            reload::Verdict::NotLive { saved, failure } => {
                let output = format!("{}\n{}", failure.why, failure.output);
                Verdict::NotLive { save: Save { number: self.watch.settle(), at: self.begun_at + saved }, output }
            }
        });
    }

    fn ignore(&self, paths: Vec<PathBuf>) {
        for path in paths {
            log::warn!("{} changes with every run: it is output, and not watched any more", path.display());
            self.watch.ignore(path);
        }
    }
}

/// What the control socket may ask.
struct FrontDesk {
    orders: Sender<Order>,
    hold: Arc<Hold>,
    plan: Arc<Plan>,
    past: Mutex<VecDeque<serde_json::Value>>,
}

impl FrontDesk {
    fn note(&self, live: bool, text: &str) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.push_front(serde_json::json!({"at": seconds(SystemTime::now()), "live": live, "text": text}));
        past.truncate(REMEMBERED);
    }
}

impl Desk for FrontDesk {
    fn reload(&self, timeout: Duration) -> Outcome {
        let (reply, outcome) = bounded(1);
        let ordered = self.orders.send_timeout(Order::Reload(reply), timeout).is_ok();
        let unknown = || Outcome { live: false, text: format!("the outcome is not known after {timeout:?}") };
        if ordered { outcome.recv_timeout(timeout).unwrap_or_else(|_| unknown()) } else { unknown() }
    }

    fn status(&self) -> serde_json::Value {
        let status = self.hold.status();
        let command: Vec<_> = self.plan.command.iter().map(|word| word.to_string_lossy()).collect();
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::json!({
            "pid": std::process::id(),
            "cwd": self.plan.cwd.to_string_lossy(),
            "command": command,
            "sessions": status.sessions,
            "children": status.children,
            "generation": status.generation,
            "live_since": status.live_since.map(seconds),
            "last_error": status.last_error,
            "reloads": *past,
        })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
