//! The thread that looks for ever, and looks at once when a request asks.
//!
//! It never waits for its owner: what the full event queue does not take is kept, merged with what comes after, and offered again at the next look.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::collections::btree_map::Entry as Place;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};

use super::{Change, ChangeKind, Look, Quiet, Tier, Watcher};

use crate::threads;

/// Notes that wait for a full queue; beyond, the oldest goes.
const NOTE_LIMIT: usize = 64;
const COMMANDS_AT_ONCE: usize = 64;

/// What the watcher says to its owner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// One settled batch.
    Changed(Vec<Change>),
    /// To be said once, in the log.
    Note(String),
}

/// What the owner says to the watcher.
#[derive(Debug)]
pub(crate) enum Command {
    /// Look now and answer whether a save is on its way.
    LookNow(Sender<Verdict>),
    /// This file is output: leave it out from now on.
    IgnoreOutput(PathBuf),
}

/// The answer to [`Command::LookNow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// A change was seen that its owner has not been sent yet.
    pub(crate) pending: bool,
    /// How many [`Event::Changed`] have been sent in all, those sent on account of this look included: an owner that has taken fewer out of its
    /// queue has news waiting there.
    pub(crate) batches: u64,
}

/// The way to the watcher's thread.
#[derive(Clone)]
pub(crate) struct Line {
    commands: Sender<Command>,
    quiet: Arc<Quiet>,
}

impl Line {
    /// The ends of the way to `watcher`, whose commands wait in a queue of this length.
    pub(crate) fn to(watcher: &Watcher, length: usize) -> (Line, Receiver<Command>) {
        let (commands, received) = bounded(length);
        (Line { commands, quiet: watcher.quiet() }, received)
    }

    /// False when the command cannot be given in time.
    pub(crate) fn tell(&self, command: Command, patience: Duration) -> bool {
        let is_told = self.commands.send_timeout(command, patience).is_ok();
        self.quiet.ring();
        is_told
    }

    /// Whether a save is on its way; none when the watcher does not answer in time.
    pub(crate) fn look(&self, patience: Duration) -> Option<Verdict> {
        self.quiet.verdict().or_else(|| {
            let (reply, answer) = bounded(1);
            self.tell(Command::LookNow(reply), patience).then(|| answer.recv_timeout(patience).ok())?
        })
    }
}

/// Starts the thread `watch`, which ends some time after the last [`Line`] to it. The event queue must be bounded; it is never waited for.
pub(crate) fn spawn(watcher: Watcher, events: Sender<Event>, commands: Receiver<Command>) -> io::Result<JoinHandle<()>> {
    threads::start("watch", move || run(watcher, &events, &commands))
}

fn run(mut watcher: Watcher, events: &Sender<Event>, commands: &Receiver<Command>) {
    let mut outbox = Outbox::default();
    let (mut next, mut tier) = (Instant::now(), Tier::Full);
    while !outbox.closed {
        let first = if watcher.rests() {
            watcher.rest();
            match commands.try_recv() {
                Ok(command) => Some(command),
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => return,
            }
        } else {
            match commands.recv_deadline(next) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        // All that ask at the same time share one look.
        let mut asked = Vec::new();
        for command in first.into_iter().chain(commands.try_iter().take(COMMANDS_AT_ONCE)) {
            match command {
                Command::LookNow(reply) => asked.push(reply),
                Command::IgnoreOutput(path) => watcher.ignore_output(&path),
            }
        }
        let now = Instant::now();
        // However many ask, the full look is not put off for them.
        let is_due = asked.is_empty() || tier == Tier::Full && now >= next;
        let look = watcher.look(now, if is_due { tier } else { watcher.quick_tier() });
        (next, tier) = (look.next_look, look.next_tier);
        let pending = look.pending;
        outbox.add(look);
        outbox.offer(events);
        let pending = pending || !outbox.batch.is_empty();
        watcher.settle_down((!pending).then_some(outbox.sent));
        for reply in asked {
            // One that no longer waits for its answer has gone on without it.
            let _ = reply.try_send(Verdict { pending, batches: outbox.sent });
        }
    }
}

/// What has not been taken yet.
#[derive(Default)]
pub(super) struct Outbox {
    batch: BTreeMap<PathBuf, Change>,
    notes: VecDeque<String>,
    pub(super) sent: u64,
    pub(super) closed: bool,
}

impl Outbox {
    pub(super) fn add(&mut self, look: Look) {
        self.notes.extend(look.notes);
        while self.notes.len() > NOTE_LIMIT {
            self.notes.pop_front();
        }
        for change in look.changed {
            match self.batch.entry(change.path.clone()) {
                Place::Vacant(place) => drop(place.insert(change)),
                Place::Occupied(mut place) => {
                    let kind = merge(place.get().kind, change.kind);
                    place.insert(Change { kind, ..change });
                }
            }
        }
    }

    pub(super) fn offer(&mut self, events: &Sender<Event>) {
        while let Some(note) = self.notes.pop_front() {
            match events.try_send(Event::Note(note)) {
                Ok(()) => {}
                Err(TrySendError::Full(Event::Note(note))) => {
                    self.notes.push_front(note);
                    break;
                }
                Err(_) => self.closed = true,
            }
        }
        if self.batch.is_empty() {
            return;
        }
        match events.try_send(Event::Changed(std::mem::take(&mut self.batch).into_values().collect())) {
            Ok(()) => self.sent += 1,
            Err(TrySendError::Full(Event::Changed(batch))) => self.batch = batch.into_iter().map(|c| (c.path.clone(), c)).collect(),
            Err(_) => self.closed = true,
        }
    }
}

/// Two changes of one file, as one.
fn merge(earlier: ChangeKind, later: ChangeKind) -> ChangeKind {
    match (earlier, later) {
        (ChangeKind::Added, ChangeKind::Modified) => ChangeKind::Added,
        (ChangeKind::Removed, ChangeKind::Added) => ChangeKind::Modified,
        (_, later) => later,
    }
}
