//! The hold: keeps each client's session while the server process behind it changes.

mod back;
mod canary;
mod core;
mod dev;
mod endings;
mod from_child;
mod from_client;
mod generations;
mod group;
mod handshake;
mod held;
mod lead;
mod lists;
mod note;
mod parts;
mod process;
mod starter;
mod stateless;
mod timer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;

pub(crate) use note::end_of;

use self::parts::{Phase, Report};
use crate::child::{CommandLine, Spawner};
use crate::clock;
use crate::error::Result;
use group::{Group, last_ladder};
use starter::Starter;
use stateless::Groups;
use timer::Timer;

/// What the command line says about children and sessions.
#[derive(Clone, Debug)]
pub(crate) struct HoldSettings {
    /// One child for all sessions.
    pub shared: bool,
    /// Children at once; idle ones are parked first.
    pub max_children: usize,
    /// The old child is stopped before the new one starts.
    pub stop_first: bool,
    /// How long calls in flight may go on at an old child.
    pub drain: Duration,
    /// How long a child may take until `initialize` is answered; none: for ever.
    pub start_timeout: Option<Duration>,
    /// From SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
    /// Say in a tool result that the last save is not live.
    pub note: bool,
    /// Add the tools `dev_status` and `dev_call`.
    pub dev_tools: bool,
    /// How long a request waits for a save to be live; zero: not at all.
    pub hold: Duration,
    /// After how long without a stream or call a session's child is parked.
    pub park_after: Duration,
    /// Files are watched: requests look at the watcher first, and Python writes no bytecode.
    pub watching: bool,
}

/// One save, as the orchestrator counts them from 1. Code that has save 5 has save 4 as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Save {
    pub number: u64,
    /// When it was noticed.
    pub at: SystemTime,
}

/// What the watcher knows when a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// What runs is what was saved, or the last save is known not to be live: forward now.
    Current,
    /// This save is on its way to being live: the request waits for [`Hold::swap`] or [`Hold::verdict`] on it or a later one.
    Coming(u64),
}

/// The watcher, as far as a request is concerned.
pub(crate) trait Freshness: Send + Sync {
    /// Called on the client's reader thread before a request (not `initialize`, not `ping`) is forwarded: a look at the hot set.
    fn look(&self) -> Fresh;

    /// Called before a client gets the first answer of a new child: from then on a change may be what the client makes of it.
    fn answered(&self, _save: u64) {}
}

/// What became of a [`Hold::swap`].
#[derive(Clone, Debug)]
pub(crate) enum Swapped {
    /// New calls go to the new code.
    Live {
        /// From the call of `swap` until the first session had the new code.
        took: Duration,
        /// Names of tools that differ: `+add`, `-sub`, `~mul`.
        changes: Vec<String>,
    },
    /// The new code did not start; the old one, if there was one, keeps serving.
    Failed {
        why: String,
        /// The end of the child's stderr.
        output: String,
        /// The program's file is still being written (ETXTBSY): try again when it is quiet.
        is_text_busy: bool,
    },
}

/// What the orchestrator knows about the last save.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Nothing newer is to come: it is live, or was undone and what is live is what was saved. Whatever waits goes on, in each session as soon as its
    /// own child has what is live.
    Live(Save),
    /// It is on its way. To be said as soon as a save is noticed. While no child has ever been started none is before [`Hold::swap`]: said at
    /// once, it makes a first build come first.
    Pending(Save),
    /// Its build or its start failed: held requests go on to the old code, and each session is told once, however often it is said. `output` is
    /// the end of the compiler's or the server's. `tried`: of what was given to [`swap`](Hold::swap), this is the same code; none when it never came to
    /// that. A child that starts later, after a crash, may have it all the same.
    NotLive { save: Save, output: String, tried: Option<u64> },
}

/// A look at the hold, for `status` and `/readyz`.
#[derive(Clone, Debug)]
pub(crate) struct HoldStatus {
    pub sessions: usize,
    pub children: usize,
    /// Counts swaps, from 1.
    pub generation: u64,
    /// Since when the code that answers is live; none before the first child was ready.
    pub live_since: Option<SystemTime>,
    /// The last failure, until something is live again.
    pub last_error: Option<String>,
}

/// The back of `run`: sessions before, children behind.
pub(crate) struct Hold {
    settings: Arc<HoldSettings>,
    freshness: Arc<dyn Freshness>,
    starter: Starter,
    timer: Timer,
    state: Mutex<State>,
    /// A call ended, or a group; said only once it is stopping.
    changed: Condvar,
    is_stopping: AtomicBool,
    /// The last save that was given to [`swap`](Hold::swap), and the last that is live.
    latest: AtomicU64,
    live: AtomicU64,
    itself: Weak<Hold>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<u64, Arc<Group>>,
    /// The one group of `--shared`.
    shared: Option<Arc<Group>>,
    stateless: Groups,
    last_group: u64,
    generation: u64,
    live_since: Option<SystemTime>,
    last_error: Option<String>,
    verdict: Option<Verdict>,
    /// How many there were.
    verdicts: u64,
    /// Who waits for what becomes of the canary.
    canary: Option<(u64, Sender<Report>)>,
}

impl Hold {
    /// Starts the threads of the hold; no child yet. At the end [`stop`](Hold::stop) stops whatever `spawner` has started.
    pub(crate) fn new(
        spawner: Arc<Spawner>,
        command: CommandLine,
        settings: HoldSettings,
        freshness: Arc<dyn Freshness>,
    ) -> Result<Arc<Hold>> {
        let (starter, orders) = Starter::new(spawner, starter::prepared(command, &settings));
        let timer = Timer::start()?;
        let hold = Arc::new_cyclic(|itself| Hold {
            settings: Arc::new(settings),
            freshness,
            starter,
            timer,
            state: Mutex::default(),
            changed: Condvar::new(),
            is_stopping: AtomicBool::new(false),
            latest: AtomicU64::new(0),
            live: AtomicU64::new(0),
            itself: itself.clone(),
        });
        starter::run(&hold, orders)?;
        Ok(hold)
    }

    /// Where builds are started, too: one thread spawns everything.
    pub(crate) fn spawner(&self) -> &Spawner {
        self.starter.spawner()
    }

    /// What is started from now on: the environment file may have changed.
    pub(crate) fn set_command(&self, command: CommandLine) {
        self.starter.set_command(starter::prepared(command, &self.settings));
    }

    /// Starts the new code. Blocks its caller, one thread at a time. A reload that was asked for is a save as well.
    pub(crate) fn swap(&self, save: Save) -> Swapped {
        canary::swap(self, save)
    }

    /// What is known about the last save.
    pub(crate) fn verdict(&self, verdict: Verdict) {
        let groups = {
            let mut state = self.lock();
            if let Verdict::NotLive { output, .. } = &verdict {
                state.last_error = Some(note::end_of(output));
            }
            state.verdict = Some(verdict.clone());
            state.verdicts += 1;
            state.groups.values().cloned().collect::<Vec<_>>()
        };
        let is_first = !self.starter.has_started();
        for group in groups {
            group.with(|core, now| core.verdict(&verdict, is_first, now));
        }
    }

    /// Starts one child, not initialised, for the first session to come (HTTP).
    pub(crate) fn first_child(&self) {
        if let Err(error) = self.starter.start_ahead(self.latest()) {
            log::error!("the server cannot be started: {error}");
            self.lock().last_error = Some(error.to_string());
        }
    }

    /// What is there.
    pub(crate) fn status(&self) -> HoldStatus {
        let groups = self.groups();
        let (mut sessions, mut children) = (0, usize::from(self.starter.ahead_is_running() == Some(true)));
        for group in &groups {
            let (seats, kids) = group.with(|core, _| (core.sessions(), core.kids.iter().filter(|kid| kid.process.is_some()).count()));
            sessions += seats;
            children += kids;
        }
        let state = self.lock();
        let (live_since, last_error) = (state.live_since, state.last_error.clone());
        HoldStatus { sessions, children, generation: state.generation + 1, live_since, last_error }
    }

    /// Calls may end within `grace`, then all children are stopped. Returns when they are gone.
    pub(crate) fn stop(&self, grace: Duration) {
        let deadline = clock::from_now(grace);
        let mut state = self.lock();
        self.is_stopping.store(true, Ordering::SeqCst);
        state.canary = None;
        loop {
            let groups: Vec<_> = state.groups.values().cloned().collect();
            drop(state);
            if !groups.iter().any(|group| group.with(|core, _| core.is_busy())) {
                break;
            }
            state = self.lock();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log::warn!("calls are still running after {grace:?}: they are cancelled");
                drop(state);
                break;
            }
            // Woken when a call ends; looked at now and then because one may end before we wait.
            state = self.changed.wait_timeout(state, left.min(Duration::from_millis(50))).unwrap_or_else(PoisonError::into_inner).0;
        }
        for group in self.groups() {
            group.with(core::Core::close);
        }
        let ladder = last_ladder(self.settings.stop_timeout, grace.saturating_sub(deadline.saturating_duration_since(Instant::now())));
        let left = self.starter.spawner().stop_all(ladder);
        if left > 0 {
            log::error!("{left} servers cannot be ended");
        }
    }

    /// The save that an answer to a request that comes now must have, or one whose verdict it must wait for.
    fn need(&self) -> u64 {
        let live = self.live.load(Ordering::Acquire);
        if !self.settings.watching || self.settings.hold.is_zero() {
            return live;
        }
        match self.freshness.look() {
            Fresh::Current => live,
            Fresh::Coming(save) => save.max(live),
        }
    }

    fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    fn groups(&self) -> Vec<Arc<Group>> {
        self.lock().groups.values().cloned().collect()
    }

    /// A group without a client; to be briefed.
    fn new_group(&self, state: &mut State, is_trial: bool) -> Arc<Group> {
        state.last_group += 1;
        let group = Group::new(state.last_group, is_trial, self.itself.clone(), Arc::clone(&self.settings));
        state.groups.insert(group.id, Arc::clone(&group));
        group
    }

    /// Tells a group what is known. A verdict that is given meanwhile may have come to the group before ours: then it is told again.
    fn brief(&self, group: &Arc<Group>) {
        loop {
            let (told, verdict) = {
                let state = self.lock();
                (state.verdicts, state.verdict.clone())
            };
            let (live, is_first) = (self.live.load(Ordering::Acquire), !self.starter.has_started());
            group.with(|core, now| {
                (core.live, core.wanted) = (core.live.max(live), core.wanted.max(live));
                if let Some(verdict) = verdict {
                    core.verdict(&verdict, is_first, now);
                }
            });
            if self.lock().verdicts == told {
                return;
            }
        }
    }

    /// Whether one more group may have a child; an idle one is parked for it.
    fn make_room(&self, group: &Arc<Group>) -> bool {
        let mut others: Vec<_> = self.groups().into_iter().filter(|other| other.id != group.id).collect();
        others.retain(|other| other.with(|core, _| core.kids.iter().any(|kid| kid.process.is_some() && kid.phase != Phase::Stopping)));
        if others.len() < self.settings.max_children
            || group.with(|core, _| core.kids.iter().filter(|kid| kid.phase != Phase::Stopping).count() > 1)
        {
            return true;
        }
        others.sort_by_cached_key(|other| other.with(|core, _| core.last()));
        others.iter().any(|other| other.with(core::Core::park))
    }

    fn report(&self, group: u64, report: Report) {
        let canary = {
            let mut state = self.lock();
            match &report {
                Report::Ready { .. } => {
                    state.live_since.get_or_insert_with(SystemTime::now);
                    if !matches!(state.verdict, Some(Verdict::NotLive { .. })) {
                        state.last_error = None;
                    }
                }
                Report::Failed { why, output, .. } => state.last_error = Some(format!("{why}\n{}", note::end_of(output))),
                Report::Compared { .. } | Report::Gone => {}
            }
            state.canary.clone()
        };
        let is_canary = canary.as_ref().is_some_and(|(id, _)| *id == group);
        if let (Report::Failed { why, .. }, false) = (&report, is_canary || self.is_stopping()) {
            // Of the canary whoever waits for it says more.
            log::error!("the server did not start: {why}");
        }
        if let Some((_, reports)) = canary.filter(|_| is_canary || matches!(report, Report::Compared { .. })) {
            // Who waits reads; there are a handful at most.
            let _ = reports.try_send(report);
        }
    }

    /// From then on no server starts, and that is no fault of its code.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Told at the end of most calls, when nearly always nobody waits for it: waking nobody is a system call too.
    fn mind_quiet(&self) {
        if self.is_stopping() {
            self.changed.notify_all();
        }
    }

    fn forget(&self, group: u64) {
        self.lock().groups.remove(&group);
        self.mind_quiet();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
