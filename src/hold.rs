//! The hold: keeps each client's session while the server process behind it changes.
#![allow(dead_code, reason = "used by the front")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::child::{CommandLine, Spawner};
use crate::connection::{Back, Client, Link};
use crate::error::Result;
use crate::rpc_error::RpcError;

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
    /// It is live. What waits for it goes on where it is: each session as soon as its own child has it.
    Live(Save),
    /// It is on its way. To be said as soon as a save is noticed.
    Pending(Save),
    /// Its build or its start failed: held requests go on to the old code, and each session is told once. `output` is the end of the compiler's
    /// or the server's.
    NotLive { save: Save, output: String },
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
    settings: HoldSettings,
}

impl Hold {
    /// Starts the timer thread; no child yet.
    pub(crate) fn new(
        _spawner: Spawner,
        _command: CommandLine,
        settings: HoldSettings,
        _freshness: Arc<dyn Freshness>,
    ) -> Result<Arc<Hold>> {
        Ok(Arc::new(Hold { settings }))
    }

    /// Starts the new code. Blocks its caller, one thread at a time. A reload that was asked for is a save as well.
    pub(crate) fn swap(&self, _save: Save) -> Swapped {
        let _ = Instant::now();
        Swapped::Live { took: Duration::ZERO, changes: Vec::new() }
    }

    /// What is known about the last save.
    pub(crate) fn verdict(&self, _verdict: Verdict) {}

    /// Starts one child, not initialised, for the first session to come (HTTP).
    pub(crate) fn first_child(&self) {}

    /// What is there.
    pub(crate) fn status(&self) -> HoldStatus {
        HoldStatus { sessions: 0, children: 0, generation: 1, live_since: None, last_error: None }
    }

    /// Calls may end within `grace`, then all children are stopped. Returns when they are gone.
    pub(crate) fn stop(&self, _grace: Duration) {}
}

impl Back for Hold {
    fn open(&self, _client: Client) -> std::result::Result<Arc<dyn Link>, RpcError> {
        Err(RpcError::internal("not there yet"))
    }

    fn drain(&self, grace: Duration) {
        self.stop(grace);
    }
}
