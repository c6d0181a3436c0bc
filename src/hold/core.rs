//! What one child serves, as a state machine without clock, process or thread: the clients before it (one, or all of them with `--shared`), the
//! generations of the child behind it, the calls between them, and the calls that wait.
//!
//! Everything that happens is a method that takes what happened and the time; what is to be done about it is collected as [`Act`]s, which the
//! [`group`](super::group) carries out when it has let go of the lock. The methods stand in the rooms of their subject:
//!
//! 1. `from_client`: a message of a client's. 2. `held`: the calls that wait. 3. `generations`: start, ready, drain; `endings`: stop, crash.
//! 4. `handshake`: `initialize`, the client's own and replayed. 5. `from_child`: a message of a child's. 6. `lists`, `note`, `dev`: what is added.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::HoldSettings;
use super::lists::{Seen, Survey};
use super::parts::{Act, Ask, Held, Kid, NotLive, Own, Report, Seat, Wait, unavailable};
use super::process::Process;
use super::stateless::Service;
use crate::connection::Outlet;
use crate::message::Message;

pub(super) struct Core {
    pub rules: Arc<HoldSettings>,
    pub is_shared: bool,
    /// It serves stateless requests.
    pub stateless: Option<Box<Service>>,
    pub seats: BTreeMap<u64, Seat>,
    /// Oldest first.
    pub kids: Vec<Kid>,
    /// New calls go there.
    pub current: Option<u64>,
    /// On its way to be the current one.
    pub coming: Option<u64>,
    /// The coming one was only asked whether it serves stateless requests, which it does not, and waits for a session.
    pub unasked: Option<u64>,
    pub waits: HashMap<u64, Wait>,
    pub asks: HashMap<u64, Ask>,
    /// Which child made a task.
    pub tasks: HashMap<Box<str>, u64>,
    pub held: VecDeque<Held>,
    /// Save that the child is to have.
    pub wanted: u64,
    /// Save whose start failed here: nothing waits for it, or an earlier one, any more.
    pub gave_up: u64,
    /// Save whose verdict is known: live, or not to be.
    pub settled: u64,
    /// Save that is live somewhere, and so can be had here.
    pub live: u64,
    pub not_live: Option<NotLive>,
    /// The child died and is to be there again, call or not.
    pub revive: bool,
    /// Since when too many generations have calls.
    pub crowded_since: Option<Instant>,
    /// Starts that failed in a row, and when the next may be tried.
    pub failures: u32,
    pub retry_at: Option<Instant>,
    /// The end of stderr of the last start that failed, and why.
    pub last_failure: Option<(String, String)>,
    /// Nothing has ever been started, and what there is to start is not known to be good: a build runs first.
    pub is_barred: bool,
    /// When to look whether the clients are silent.
    pub park_at: Option<Instant>,
    pub stop_first: bool,
    /// The result of `initialize` as clients get it.
    pub result: Option<Box<str>>,
    pub survey: Option<Survey>,
    /// Tools that were different in the last new child.
    pub changes: Vec<String>,
    /// For each kind of list_changed when it last went out, and whether another is due.
    pub notices: [(Option<Instant>, bool); 3],
    pub is_closed: bool,
    pub acts: Vec<Act>,
    /// The call that was sent last.
    pub placed: Option<u64>,
    next: u64,
    wake: Option<Instant>,
}

impl Core {
    pub(super) fn new(rules: Arc<HoldSettings>) -> Core {
        Core {
            is_shared: rules.shared,
            stateless: None,
            stop_first: rules.stop_first,
            rules,
            seats: BTreeMap::new(),
            kids: Vec::new(),
            current: None,
            coming: None,
            unasked: None,
            waits: HashMap::new(),
            asks: HashMap::new(),
            tasks: HashMap::new(),
            held: VecDeque::new(),
            wanted: 0,
            gave_up: 0,
            settled: 0,
            live: 0,
            not_live: None,
            revive: false,
            crowded_since: None,
            failures: 0,
            retry_at: None,
            last_failure: None,
            is_barred: false,
            park_at: None,
            result: None,
            survey: None,
            changes: Vec::new(),
            notices: Default::default(),
            is_closed: false,
            acts: Vec::new(),
            placed: None,
            next: 0,
            wake: None,
        }
    }

    /// Lets a client in; returns its number.
    pub(super) fn sit(&mut self, outlet: Arc<dyn Outlet>, version: Option<&str>, now: Instant) -> u64 {
        let number = self.number();
        let seat = Seat {
            outlet,
            initialize: None,
            initialized: false,
            version: version.map(Into::into),
            level: None,
            subscriptions: BTreeSet::new(),
            seen: Seen::default(),
            is_blind: false,
            noted: None,
            calls: 0,
            last: now,
        };
        self.seats.insert(number, seat);
        number
    }

    /// A client left: what it waits for ends, and a child that nobody uses any more as well.
    pub(super) fn leave(&mut self, seat: u64, now: Instant) {
        let Some(gone) = self.seats.remove(&seat) else { return };
        self.unlisten(seat, None);
        let (mine, others) = std::mem::take(&mut self.held).into_iter().partition(|held| held.seat == seat);
        self.held = others;
        mine.into_iter().for_each(|held: Held| self.is_over(&held.outlet, held.message.id()));
        let open: Vec<u64> =
            self.waits.iter().filter(|(_, wait)| matches!(wait, Wait::Call(call) if call.seat == seat)).map(|(id, _)| *id).collect();
        for id in open {
            self.cancel_at_child(id, None, now);
        }
        for uri in gone.subscriptions {
            self.unsubscribe_if_unused(&uri);
        }
        if self.is_shared {
            self.adjust_level();
        } else {
            self.close(now);
        }
        self.mind_quiet();
    }

    /// Everything ends: the children are stopped, and whoever still waits is told.
    pub(super) fn close(&mut self, now: Instant) {
        self.is_closed = true;
        self.say_goodbye("the server shuts down");
        self.refuse_all(&unavailable("the server is being stopped"));
        for number in self.kid_numbers() {
            self.stop(number, "reloaded", now);
        }
        self.acts.push(Act::Report(Report::Gone));
        self.mind_over();
    }

    pub(super) fn mind_over(&mut self) {
        if self.is_closed && self.kids.is_empty() {
            self.acts.push(Act::Over);
        }
    }

    pub(super) fn mind_quiet(&mut self) {
        if !self.is_busy() {
            self.acts.push(Act::Quiet);
        }
    }

    /// Whether a call runs or waits.
    pub(super) fn is_busy(&self) -> bool {
        !self.held.is_empty() || self.kids.iter().any(|kid| kid.busy > 0)
    }

    /// Whether there is a child, or somebody who should have one: a call waits, or a client has not seen any.
    pub(super) fn is_in_use(&self) -> bool {
        let is_starting = self.coming.is_some() && self.unasked.is_none();
        !self.is_probing() && (self.current.is_some() || is_starting || self.is_busy() || self.seats.values().any(|seat| seat.is_blind))
    }

    /// When a client last said something.
    pub(super) fn last(&self) -> Option<Instant> {
        self.seats.values().map(|seat| seat.last).max()
    }

    /// A number for whatever needs one: ids at children, ids at clients, seats, children. It is never given twice.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn kid(&self, number: u64) -> Option<&Kid> {
        self.kids.iter().find(|kid| kid.number == number)
    }

    pub(super) fn kid_mut(&mut self, number: u64) -> Option<&mut Kid> {
        self.kids.iter_mut().find(|kid| kid.number == number)
    }

    pub(super) fn current(&self) -> Option<&Kid> {
        self.current.and_then(|number| self.kid(number))
    }

    pub(super) fn kid_numbers(&self) -> Vec<u64> {
        self.kids.iter().map(|kid| kid.number).collect()
    }

    /// A request gets no answer, and no more is to come of it.
    pub(super) fn is_over(&mut self, outlet: &Arc<dyn Outlet>, id: &str) {
        self.acts.push(Act::Ended { outlet: Arc::clone(outlet), id: id.into() });
    }

    pub(super) fn offer(&mut self, outlet: &Arc<dyn Outlet>, message: Message) {
        self.acts.push(Act::Offer { outlet: Arc::clone(outlet), message, otherwise: None });
    }

    /// Queues a line for a child; `id` is that of the call in it.
    pub(super) fn send(&mut self, kid: u64, id: Option<u64>, message: Message) {
        let Some(to) = self.kid_mut(kid).filter(|kid| kid.process.is_some()) else { return };
        to.outbox.push_back((id, message.into_text()));
        if !std::mem::replace(&mut to.is_flushing, true) {
            self.acts.push(Act::Flush { kid, is_led: false });
        }
    }

    /// The next line for a child, to be written without the lock. Whoever gets none is done.
    pub(super) fn next_line(&mut self, kid: u64) -> Option<(Arc<dyn Process>, Option<u64>, String)> {
        let kid = self.kid_mut(kid)?;
        let next = kid.process.clone().and_then(|process| kid.outbox.pop_front().map(|(id, line)| (process, id, line)));
        kid.is_flushing = next.is_some();
        next
    }

    /// A request of our own to a child.
    pub(super) fn ask_child(&mut self, kid: u64, own: Own, message: Message) -> u64 {
        let id = self.number();
        self.waits.insert(id, Wait::Own { kid, own });
        self.send(kid, Some(id), message.with_id(&id.to_string()));
        id
    }

    /// Asks to be woken when something is next due.
    pub(super) fn arm(&mut self) {
        let Some(due) = self.next_deadline() else { return };
        if self.wake.is_none_or(|wake| due < wake) {
            self.wake = Some(due);
            self.acts.push(Act::Wake(due));
        }
    }

    /// Whatever is due is done.
    pub(super) fn tick(&mut self, now: Instant) {
        // Whatever is due next is asked for again: this may be a tick that came sooner than the last one that was asked for.
        self.wake = None;
        self.mind_generations(now);
        self.mind_lists(now);
        self.pump(now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.generations_deadline(), self.lists_deadline(), self.held_deadline()].into_iter().flatten().min()
    }
}
