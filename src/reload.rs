//! What to do when files change: a state machine without clock, process or channel.
//!
//! One **cycle** brings one state of the files to life:
//! 1. *Settling*: the watcher looks until nothing moves any more.
//! 2. *Building*, where there is a build. A newer change cancels it and a new cycle begins; after three cancels running it finishes.
//! 3. *Starting* the new server, which is never aborted.
//! 4. After each of the two the watcher looks once more, so that what changed meanwhile is known before anybody is told how it ended.
//! 5. What changed meanwhile begins the next cycle; when nothing did, the verdict on the last save is out.
//!
//! So after the last edit the newest content goes live, or its error is shown. The way out of an endless loop, when the server or the build writes
//! a watched file each time, is `suspects`.

mod suspects;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use words::{Action, Built, Failure, Input, Rules, Stage, Started, Verdict};

use suspects::{Suspects, Window};

/// Between two looks while something moves.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A file that never rests holds up nobody for longer; the watcher tells of it as it is, too.
const NEVER_RESTS: Duration = Duration::from_millis(2500);
/// Builds cancelled running.
const MOST_CANCELS: u32 = 3;
/// Between two starts of a program that is still being written, and for how long in all.
const BUSY_AGAIN: Duration = Duration::from_millis(50);
const BUSY_LIMIT: Duration = Duration::from_secs(10);
/// What changes so soon after a start may be the last words of the old server.
const AFTERMATH: Duration = Duration::from_millis(500);

enum Phase {
    Idle,
    Settling {
        since: Duration,
    },
    /// A file changes with every run: whoever writes it has a chance to show that it does so without us, too.
    Pausing {
        until: Duration,
    },
    Building {
        cancelling: bool,
    },
    Built {
        since: Duration,
        built: Built,
    },
    Starting,
    Started {
        since: Duration,
        started: Started,
    },
    /// The program is still being written.
    Busy {
        until: Duration,
    },
}

/// Feed it with inputs, do what it says.
pub(crate) struct Machine {
    rules: Rules,
    phase: Phase,
    /// Changed, and not part of any cycle yet.
    fresh: BTreeSet<PathBuf>,
    /// A cycle is wanted, changed or not, and who wants to be told about it.
    wanted: bool,
    waiting: Vec<u64>,
    /// Who is told about the present cycle.
    due: Vec<u64>,
    /// What brought the present cycle about.
    triggers: BTreeSet<PathBuf>,
    /// When the last change was noticed that is part of the present cycle; the one after is not.
    saved: Duration,
    last_change: Duration,
    /// When the present build or start began, and what changed during the last of each, which is judged before the next cycle.
    began: Duration,
    in_build: Option<Window>,
    in_start: Option<Window>,
    /// When the last cycle was over.
    ended: Duration,
    cancels: u32,
    /// COMMAND's own file changed while the build ran; and a failed build was repeated because of that.
    touched: bool,
    retried: bool,
    paused: bool,
    busy_since: Option<Duration>,
    outputs: BTreeSet<PathBuf>,
    by_build: Suspects,
    by_start: Suspects,
    standing: Verdict,
}

impl Machine {
    /// Nothing has happened yet, and what runs is what there is.
    pub(crate) fn new(rules: Rules) -> Machine {
        Machine {
            rules,
            phase: Phase::Idle,
            fresh: BTreeSet::new(),
            wanted: false,
            waiting: Vec::new(),
            due: Vec::new(),
            triggers: BTreeSet::new(),
            saved: Duration::ZERO,
            last_change: Duration::ZERO,
            began: Duration::ZERO,
            in_build: None,
            in_start: None,
            ended: Duration::ZERO,
            cancels: 0,
            touched: false,
            retried: false,
            paused: false,
            busy_since: None,
            outputs: BTreeSet::new(),
            by_build: Suspects::default(),
            by_start: Suspects::default(),
            standing: Verdict::Live,
        }
    }

    /// How far what is known to have changed has come.
    pub(crate) fn stage(&self) -> Stage {
        match self.phase {
            Phase::Idle => Stage::Idle,
            Phase::Settling { .. } | Phase::Pausing { .. } => Stage::Before,
            _ if self.has_more() => Stage::Before,
            _ => Stage::Cycle,
        }
    }

    /// Takes in one input and says what is to be done.
    pub(crate) fn on(&mut self, now: Duration, input: Input) -> Vec<Action> {
        let mut todo = Vec::new();
        match input {
            Input::Changed(paths) | Input::Edited(paths) if paths.is_empty() => {}
            Input::Changed(paths) => self.all_changed(now, paths, false, &mut todo),
            Input::Edited(paths) => self.all_changed(now, paths, true, &mut todo),
            Input::Expected => self.expected(now, &mut todo),
            Input::Forced(name) => {
                self.wanted = true;
                self.waiting.extend(name);
                if self.fresh.is_empty() {
                    self.last_change = now;
                }
                self.begin(now, &mut todo);
            }
            Input::Looked { pending } => self.looked(now, pending, &mut todo),
            Input::Tick => self.tick(now, &mut todo),
            Input::Built(built) => {
                if let Phase::Building { .. } = self.phase {
                    self.phase = Phase::Built { since: now, built };
                    todo.push(Action::Look);
                }
            }
            Input::Started(started) => {
                if let Phase::Starting = self.phase {
                    if let Started::Live(text) = &started {
                        self.standing = Verdict::Live;
                        self.tell(true, text, &mut todo);
                    }
                    self.phase = Phase::Started { since: now, started };
                    todo.push(Action::Look);
                }
            }
        }
        todo
    }

    fn all_changed(&mut self, now: Duration, paths: Vec<PathBuf>, is_edit: bool, todo: &mut Vec<Action>) {
        for path in paths {
            self.changed(now, path, is_edit, todo);
        }
        if !self.fresh.is_empty() {
            self.begin(now, todo);
        }
    }

    /// Takes note of one changed file.
    fn changed(&mut self, now: Duration, path: PathBuf, is_edit: bool, todo: &mut Vec<Action>) {
        let in_build = matches!(self.phase, Phase::Building { .. } | Phase::Built { .. });
        let is_built = in_build && self.rules.command.contains(&path);
        self.touched |= is_built;
        if is_built || self.outputs.contains(&path) {
            return;
        }
        let seen = (path.clone(), now.saturating_sub(self.began));
        match &mut self.phase {
            Phase::Building { cancelling } => {
                self.in_build.get_or_insert_default().add(seen);
                if !*cancelling && self.cancels < MOST_CANCELS {
                    *cancelling = true;
                    self.cancels += 1;
                    todo.push(Action::CancelBuild);
                }
            }
            Phase::Built { .. } => self.in_build.get_or_insert_default().add(seen),
            Phase::Starting | Phase::Started { .. } if !is_edit => self.in_start.get_or_insert_default().add(seen),
            Phase::Idle if !is_edit && self.in_start.is_some() && now.saturating_sub(self.ended) < AFTERMATH => {
                let window = self.in_start.get_or_insert_default();
                window.add(seen);
                window.is_late = true;
            }
            // Nothing of ours writes it, so somebody else does.
            Phase::Idle | Phase::Pausing { .. } | Phase::Starting | Phase::Started { .. } => {
                self.by_build.acquit(&path);
                self.by_start.acquit(&path);
                if !matches!(self.phase, Phase::Pausing { .. }) {
                    (self.in_build, self.in_start) = (None, None);
                }
            }
            Phase::Settling { .. } | Phase::Busy { .. } => {}
        }
        self.fresh.insert(path);
        (self.last_change, self.retried) = (now, false);
    }

    /// Something is to be done; when nothing is under way that will come to it, it begins now.
    fn begin(&mut self, now: Duration, todo: &mut Vec<Action>) {
        match self.phase {
            Phase::Idle if self.has_more() => todo.push(Action::Verdict(Verdict::Pending)),
            // A request waits; there may be nothing to it.
            Phase::Idle => {}
            // The pause has had its answer, and what was being written has been.
            Phase::Pausing { .. } | Phase::Busy { .. } if !self.fresh.is_empty() || self.wanted => {}
            _ => return,
        }
        self.settle(now, todo);
    }

    /// A request waits. A pause that nobody has used is over for its sake.
    fn expected(&mut self, now: Duration, todo: &mut Vec<Action>) {
        if let Phase::Pausing { .. } = self.phase {
            self.paused = false;
            self.run(now, todo);
        } else {
            self.begin(now, todo);
        }
    }

    fn settle(&mut self, now: Duration, todo: &mut Vec<Action>) {
        self.phase = Phase::Settling { since: now };
        todo.push(Action::Look);
    }

    fn looked(&mut self, now: Duration, pending: bool, todo: &mut Vec<Action>) {
        let (Phase::Settling { since } | Phase::Built { since, .. } | Phase::Started { since, .. }) = self.phase else { return };
        if pending && now.saturating_sub(since) < NEVER_RESTS {
            todo.push(Action::Wait(LOOK_AGAIN));
            return;
        }
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Built { built, .. } => self.after_build(now, built, todo),
            Phase::Started { started, .. } => self.after_start(now, started, todo),
            _ => self.settled(now, todo),
        }
    }

    fn tick(&mut self, now: Duration, todo: &mut Vec<Action>) {
        match self.phase {
            Phase::Settling { .. } | Phase::Built { .. } | Phase::Started { .. } => todo.push(Action::Look),
            Phase::Pausing { until } | Phase::Busy { until } if now < until => todo.push(Action::Wait(until - now)),
            Phase::Pausing { .. } => {
                self.paused = true;
                self.run(now, todo);
            }
            Phase::Busy { .. } => self.start(now, todo),
            Phase::Idle | Phase::Building { .. } | Phase::Starting => {}
        }
    }

    /// Nothing moves: the cycle can begin, if there is still a reason.
    fn settled(&mut self, now: Duration, todo: &mut Vec<Action>) {
        if self.fresh.is_empty() && !self.wanted {
            // What a request saw moving is as it was.
            todo.push(Action::Verdict(self.standing.clone()));
            return;
        }
        self.judge(todo);
        let pause = self.by_build.pause(&self.fresh).max(self.by_start.pause(&self.fresh));
        match pause.filter(|_| !self.wanted) {
            Some(pause) => {
                self.phase = Phase::Pausing { until: now + pause };
                todo.push(Action::Wait(pause));
            }
            None => {
                self.paused = false;
                self.run(now, todo);
            }
        }
    }

    fn run(&mut self, now: Duration, todo: &mut Vec<Action>) {
        self.triggers = std::mem::take(&mut self.fresh);
        self.due.append(&mut self.waiting);
        (self.wanted, self.saved, self.busy_since) = (false, self.last_change, None);
        if self.rules.build {
            (self.in_build, self.touched) = (Some(Window::default()), false);
            self.began = now;
            self.phase = Phase::Building { cancelling: false };
            todo.push(Action::Build);
        } else {
            self.start(now, todo);
        }
    }

    fn start(&mut self, now: Duration, todo: &mut Vec<Action>) {
        self.in_start = Some(Window::default());
        self.began = now;
        self.phase = Phase::Starting;
        todo.push(Action::Start);
    }

    fn after_build(&mut self, now: Duration, built: Built, todo: &mut Vec<Action>) {
        match built {
            Built::Good => {
                self.cancels = 0;
                self.start(now, todo);
            }
            Built::Cancelled => self.settle(now, todo),
            Built::Failed(failure) => {
                self.cancels = 0;
                // It may have been mended meanwhile. Once: a build may write it each time.
                self.wanted |= self.touched && !std::mem::replace(&mut self.retried, true);
                self.failed(now, failure, todo);
            }
        }
    }

    fn after_start(&mut self, now: Duration, started: Started, todo: &mut Vec<Action>) {
        match started {
            Started::Busy(failure) => {
                let since = *self.busy_since.get_or_insert(now);
                if now.saturating_sub(since) >= BUSY_LIMIT {
                    self.failed(now, failure, todo);
                } else if self.has_more() {
                    self.settle(now, todo);
                } else {
                    self.phase = Phase::Busy { until: now + BUSY_AGAIN };
                    todo.push(Action::Wait(BUSY_AGAIN));
                }
            }
            Started::Live(_) => self.finish(now, todo),
            Started::Failed(failure) => self.failed(now, failure, todo),
        }
    }

    fn has_more(&self) -> bool {
        !self.fresh.is_empty() || self.wanted
    }

    fn failed(&mut self, now: Duration, failure: Failure, todo: &mut Vec<Action>) {
        let newer = self.has_more();
        todo.push(Action::Report { failure: failure.clone(), newer });
        // Whoever waits for this cycle waits for the next one, which has the newer content.
        if !newer {
            self.tell(false, &format!("{}\n{}", failure.why, failure.output), todo);
        }
        self.standing = Verdict::NotLive { saved: self.saved, failure };
        self.finish(now, todo);
    }

    fn finish(&mut self, now: Duration, todo: &mut Vec<Action>) {
        (self.phase, self.ended) = (Phase::Idle, now);
        if self.has_more() {
            self.settle(now, todo);
        } else {
            todo.push(Action::Verdict(self.standing.clone()));
        }
    }

    fn tell(&mut self, live: bool, text: &str, todo: &mut Vec<Action>) {
        if !self.due.is_empty() {
            todo.push(Action::Tell { names: std::mem::take(&mut self.due), live, text: text.trim_end().to_owned() });
        }
    }

    /// Finds out what is output, now that something has come of the last cycle. What it holds now is still taken in once: should a person have
    /// written it after all, no edit up to here is lost.
    fn judge(&mut self, todo: &mut Vec<Action>) {
        let mut found = BTreeSet::new();
        for (window, suspects) in [(self.in_build.take(), &mut self.by_build), (self.in_start.take(), &mut self.by_start)] {
            if let Some(window) = window {
                found.append(&mut suspects.close(&window, &self.triggers, &self.rules.named, self.paused));
            }
        }
        if !found.is_empty() {
            self.fresh.retain(|path| !found.contains(path));
            self.wanted = true;
            self.outputs.extend(found.iter().cloned());
            todo.push(Action::Ignore(found.into_iter().collect()));
        }
    }
}
