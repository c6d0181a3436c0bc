//! What the state machine is made of: clients, children, calls, questions, and the acts and reports that come out of it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::lists::{List, Seen};
use super::process::{Permit, Process};
use crate::connection::Outlet;
use crate::handler::LogLevel;
use crate::message::Message;
use crate::rpc_error::RpcError;

/// Something to do once the lock is free.
pub(super) enum Act {
    /// A message for a client; `otherwise` is a second way when the first has ended.
    Offer { outlet: Arc<dyn Outlet>, message: Message, otherwise: Option<Arc<dyn Outlet>> },
    /// A client's request is over, without an answer.
    Ended { outlet: Arc<dyn Outlet>, id: Box<str> },
    /// Lines wait for this child. Who has them written may lead: read what answers them.
    Flush { kid: u64, is_led: bool },
    /// A child is to be started.
    Start(u64),
    /// A child is to be stopped.
    Stop(Arc<dyn Process>),
    /// For the orchestrator, if this is the canary.
    Report(Report),
    /// [`Core::tick`] is to be called then.
    Wake(Instant),
    /// A child answers its first call.
    Answered { save: u64 },
    /// The child, whose code has this save, serves no stateless requests; whether it is there for a session.
    Legacy { save: u64, is_there: bool },
    /// No call runs or waits any more.
    Quiet,
    /// No client and no child is left.
    Over,
}

/// What became of a start.
#[derive(Debug)]
pub(super) enum Report {
    Ready {
        save: u64,
    },
    Failed {
        save: u64,
        why: String,
        output: String,
        is_text_busy: bool,
    },
    /// Tools of the new child compared with what a client last saw; none when no client has seen any.
    Compared {
        changes: Option<Vec<String>>,
    },
    /// The clients left before.
    Gone,
}

/// A client before the child.
pub(super) struct Seat {
    pub outlet: Arc<dyn Outlet>,
    /// The client's own `initialize`.
    pub initialize: Option<Message>,
    /// It has said that it is initialised.
    pub initialized: bool,
    /// What it may believe the version to be: answered to it, or known from its header.
    pub version: Option<Box<str>>,
    pub level: Option<LogLevel>,
    /// Raw URIs.
    pub subscriptions: BTreeSet<Box<str>>,
    pub seen: Seen,
    /// The front answered its `initialize` without any child: everything is new to it.
    pub is_blind: bool,
    /// The verdict it has been told, so that it is told once.
    pub noted: Option<(u64, bool)>,
    /// Its calls at children.
    pub calls: usize,
    pub last: Instant,
}

/// One generation of the child.
pub(super) struct Kid {
    pub number: u64,
    /// Every save up to this one is in the code it runs.
    pub save: u64,
    pub phase: Phase,
    pub process: Option<Arc<dyn Process>>,
    /// Lines to be written, each with the id of its call.
    pub outbox: VecDeque<(Option<u64>, String)>,
    /// Somebody writes them.
    pub is_flushing: bool,
    pub families: Families,
    /// Calls of clients, without our own.
    pub busy: usize,
    /// Its own open requests to the client.
    pub asking: usize,
    /// What it said before it was ready and that is not for us.
    pub early: Vec<Message>,
    pub ready_at: Option<Instant>,
    pub has_answered: bool,
    /// It has just answered a call quickly: one that comes before this may be read by who sends it.
    pub brisk_until: Option<Instant>,
    pub live_since: SystemTime,
    /// Others may start when it is dropped.
    pub permit: Option<Permit>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// Waits for its turn to be started.
    Ordered,
    /// Has been sent `initialize`. The instant is when it has failed.
    Starting(Option<Instant>),
    Ready,
    /// Finishes its calls: so much time is left, running since then; it stands still while the client is asked.
    Draining {
        left: Duration,
        since: Option<Instant>,
    },
    /// Nothing of it is of interest but its end.
    Stopping,
}

/// What a child has, by its `capabilities`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Families {
    pub tools: bool,
    pub prompts: bool,
    pub resources: bool,
    pub logging: bool,
}

/// Who waits for the answer to an id at a child.
pub(super) enum Wait {
    Call(Call),
    Own { kid: u64, own: Own },
}

/// A client's request at a child.
pub(super) struct Call {
    pub kid: u64,
    pub seat: u64,
    /// The client's raw id.
    pub id: Box<str>,
    pub outlet: Arc<dyn Outlet>,
    /// The client's raw progress token, which the id stands for towards the child.
    pub token: Option<Box<str>>,
    pub kind: Kind,
    /// The save that it was to have, when it was forwarded before that was live; else 0.
    pub stale: u64,
    /// A stateless one that wants to hear log messages.
    pub is_loud: bool,
    /// When it was sent, if that was at once.
    pub since: Option<Instant>,
}

/// What is to be done with the answer besides passing it on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Plain,
    Tool,
    /// The flag: from the start of the list.
    List(List, bool),
    Subscribe(Box<str>),
    Initialize,
    Discover,
}

/// A request of the front's own.
pub(super) enum Own {
    /// The first request: `initialize` or `server/discover`.
    Initialize,
    /// To be told of changes, as those who sent stateless requests want to be.
    Listen,
    SetLevel,
    Subscribe(Box<str>),
    Unsubscribe,
    List(List),
    /// The list of tools for `dev_status`, whose call is this one.
    Status {
        id: Box<str>,
        outlet: Arc<dyn Outlet>,
    },
}

/// A child's request to a client.
pub(super) struct Ask {
    pub kid: u64,
    /// The child's raw id.
    pub id: Box<str>,
    pub token: Option<Box<str>>,
}

/// A call that waits for a child, or for a save to be live.
pub(super) struct Held {
    pub seat: u64,
    pub message: Message,
    pub outlet: Arc<dyn Outlet>,
    pub need: u64,
    pub since: Instant,
}

/// The last save is not live.
#[derive(Clone, Debug)]
pub(super) struct NotLive {
    pub save: u64,
    /// Who has this save, or a later one, has the code.
    pub code: u64,
    pub at: SystemTime,
    /// None while it is still on its way.
    pub output: Option<Arc<str>>,
}

/// A call that no child could take.
pub(super) fn unavailable(why: impl std::fmt::Display) -> RpcError {
    lost("unavailable", why)
}

/// A call that is lost; `reason` says to programs what `why` says to people.
pub(super) fn lost(reason: &str, why: impl std::fmt::Display) -> RpcError {
    RpcError::internal(why).with_data(crate::json::Json::trusted(format!("{{\"reason\":\"{reason}\"}}")))
}
