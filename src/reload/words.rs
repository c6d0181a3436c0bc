//! What the machine hears and what it says.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// What does not change while the front runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// There is a build.
    pub build: bool,
    /// COMMAND's own files. When they change while a build runs, that is what the build is for.
    pub command: BTreeSet<PathBuf>,
    /// Files that somebody named, COMMAND's too: they are never taken for output.
    pub named: BTreeSet<PathBuf>,
}

/// What happened. Times are counted from any moment before the first input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// These files have changed, and rest.
    Changed(Vec<PathBuf>),
    /// As [`Input::Changed`], by somebody who may have seen what came of the last start.
    Edited(Vec<PathBuf>),
    /// A request found something moving and waits for a verdict.
    Expected,
    /// Somebody wants a cycle, changed or not, and to be told how it ends by this name.
    Forced(Option<u64>),
    /// The answer to [`Action::Look`], after everything that the look found.
    Looked {
        /// Something moves.
        pending: bool,
    },
    /// The time of [`Action::Wait`] is over.
    Tick,
    /// The end of [`Action::Build`].
    Built(Built),
    /// The end of [`Action::Start`].
    Started(Started),
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Built {
    Good,
    Failed(Failure),
    Cancelled,
}

/// How a start ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// New calls go to the new server; the text says so to people.
    Live(String),
    /// The program is still being written.
    Busy(Failure),
    Failed(Failure),
}

/// Why a save is not live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In a few words.
    pub why: String,
    /// The end of what the compiler or the server had to say.
    pub output: String,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Let the watcher look at what may have changed, take in what it found, and then [`Input::Looked`], all before anything else.
    Look,
    /// [`Input::Tick`] after this time; a later wait replaces an earlier one.
    Wait(Duration),
    /// Start the build; [`Input::Built`] when it has ended.
    Build,
    /// End the build, the whole of it; its end is still awaited.
    CancelBuild,
    /// Start the new server; [`Input::Started`] when it is known how that ended.
    Start,
    /// These files are output: watch them no longer.
    Ignore(Vec<PathBuf>),
    /// For the log: the build or the start failed. `newer` changes are tried already, else the old server keeps serving.
    Report { failure: Failure, newer: bool },
    /// Whoever forced a reload by these names is told how it ended.
    Tell { names: Vec<u64>, live: bool, text: String },
    /// What is known about the last save.
    Verdict(Verdict),
}

/// How far the machine is with all that it knows to have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is nothing to do.
    Idle,
    /// Some of it is to be part of the next cycle.
    Before,
    /// All of it is part of the present one.
    Cycle,
}

/// What is known about the last save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is on its way.
    Pending,
    Live,
    NotLive {
        /// When it was noticed.
        saved: Duration,
        failure: Failure,
    },
}
