//! `run`: a front before any server that speaks stdio, which reloads it when its files change.
//!
//! 1. `plan`: what is started and watched. 2. `orchestrator`: the thread that joins the watcher, the `build`, the reload machine and the hold.
//! 3. `fresh`: what a request asks before it is forwarded. 4. `report`: the last reloads. The front itself is [`serve_back`], with the hold as back.

mod build;
mod fresh;
mod orchestrator;
mod plan;
mod repeated;
mod report;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Sender, bounded};

pub(crate) use plan::Plan;

use crate::child::{Ladder, Spawner};
use crate::clock::YEAR;
use crate::config::{Config, RunConfig, TransportMode};
use crate::control::{Controlled, Controls, Past, Reloaded, Status};
use crate::error::{Error, Result};
use crate::hold::{Fresh, Freshness, Hold, HoldSettings, Swapped};
use crate::reload::Built;
use crate::serve::serve_back;
use crate::watch::{self, Watcher};
use crate::workers::Workers;
use fresh::{Looking, Watching};
use orchestrator::{Orchestrator, Watch};
use report::Reports;

/// Messages that wait for the orchestrator.
const MAIL: usize = 64;
/// Batches of changes and notes that wait for it; the watcher merges the rest.
const EVENTS: usize = 16;
/// Requests that wait for a look of the watcher.
const LOOKS: usize = 64;
/// A session without stream or call for so long has its child parked.
const PARK_AFTER: Duration = Duration::from_secs(300);
/// What is left of the children in the end.
const LEFT: Ladder = Ladder { close_stdin_wait: Duration::ZERO, term_wait: Duration::from_millis(500) };

/// What the orchestrator hears.
enum Message {
    Built(Built),
    Started(Swapped),
    Reload(Sender<Reloaded>),
    /// A request waits.
    Wake,
    Stop,
}

/// Serves COMMAND as `config` says, and reloads it as `run` says, until the client on stdio leaves or a signal comes.
pub(crate) fn run(config: &Config, run: &RunConfig, plan: Plan) -> Result<()> {
    let config = config.effective().check()?;
    let shared = Arc::<Watching>::default();
    let mail = bounded(MAIL);
    let (watch, freshness) = watch_files(&plan, &shared, &mail.0)?;
    let hold = Hold::new(Arc::new(Spawner::start()?), plan.command.clone(), settings(run), freshness)?;
    if let Some(missing) = &plan.missing {
        log::warn!("{missing}: waiting for it to come");
    }
    let reports = Arc::<Reports>::default();
    let front = Arc::new(Front {
        hold: Arc::clone(&hold),
        mail: mail.0.clone(),
        reports: Arc::clone(&reports),
        command: plan.shown(),
        places: plan.places(),
        transport: config.transport,
        since: SystemTime::now(),
    });
    if run.build.is_none() && config.transport == TransportMode::Http {
        hold.first_child();
    }
    let builds = run.build.is_some();
    let orchestrator = Orchestrator {
        plan,
        build: run.build.clone(),
        stop_first: run.stop_first,
        hold: Arc::clone(&hold),
        watch,
        shared,
        reports,
        mail: mail.clone(),
    };
    let thread = orchestrator.start()?;
    log::debug!("{} built first", if builds { "it is" } else { "nothing is" });
    // A place that cannot be written to costs `reload` and `status`, nothing else.
    let controls = Controls::open(front).inspect_err(|error| log::debug!("`reload` and `status` cannot reach this front: {error}")).ok();
    let served = serve_back(Arc::clone(&hold) as _, &config, Workers::new(config.limits.calls + config.limits.asks));
    drop(controls);
    // Full means that it is busy; the hold, which it works for, is stopped all the same.
    let _ = mail.0.send_timeout(Message::Stop, Duration::from_secs(1));
    hold.stop(Duration::ZERO);
    let left = hold.spawner().stop_all(LEFT);
    if left > 0 {
        log::error!("{left} processes cannot be ended");
    }
    if thread.is_finished() {
        let _ = thread.join();
    }
    served
}

fn settings(run: &RunConfig) -> HoldSettings {
    HoldSettings {
        shared: run.shared,
        max_children: run.max_children,
        stop_first: run.stop_first,
        drain: run.drain.min(YEAR),
        start_timeout: run.start_timeout.map(|timeout| timeout.min(YEAR)),
        stop_timeout: run.stop_timeout.min(YEAR),
        note: run.note,
        dev_tools: run.dev_tools,
        hold: run.hold.min(YEAR),
        park_after: PARK_AFTER,
        watching: !run.no_watch,
    }
}

/// Starts to watch, and says what.
fn watch_files(plan: &Plan, shared: &Arc<Watching>, mail: &Sender<Message>) -> Result<(Option<Watch>, Arc<dyn Freshness>)> {
    let Some(rules) = plan.watch.clone() else {
        log::info!("watching nothing (--no-watch): `mcp-http-transport reload` reloads");
        return Ok((None, Arc::new(Unwatched)));
    };
    let watcher = Watcher::new(rules);
    say_what_is_watched(&watcher.summary(), plan);
    let (line, received) = watch::Line::to(&watcher, LOOKS);
    let (sender, events) = bounded(EVENTS);
    watch::spawn(watcher, sender, received).map_err(|error| Error::io("cannot start a thread to watch files", error))?;
    let looking = Looking { shared: Arc::clone(shared), watcher: line.clone(), orchestrator: mail.clone() };
    Ok((Some(Watch { line, events }), Arc::new(looking)))
}

fn say_what_is_watched(summary: &watch::Summary, plan: &Plan) {
    let roots: Vec<String> = summary.roots.iter().map(|root| root.display().to_string()).collect();
    let (files, named) = (summary.files, summary.besides);
    let besides = match named {
        0 => String::new(),
        1 => "; besides, 1 file of the command".to_owned(),
        many => format!("; besides, {many} files of the command"),
    };
    match &plan.why_no_root {
        Some(why) => log::warn!("{why}{besides}"),
        None if roots.is_empty() => log::info!("watching {named} {} of the command", if named == 1 { "file" } else { "files" }),
        None if files == 0 => log::warn!(
            "watching {}, where NO FILE COUNTS: nothing there has one of the extensions that count, or all is ignored; see --watch, --ext and --ignore{besides}",
            roots.join(", ")
        ),
        None => {
            log::info!("watching {}: {} {}{besides}", roots.join(", "), files, if files == 1 { "file" } else { "files" })
        }
    }
    if summary.unreadable > 0 {
        log::warn!("{} files or directories cannot be read, and are not watched", summary.unreadable);
    }
}

/// Nothing is watched, so nothing is ever on its way.
struct Unwatched;

impl Freshness for Unwatched {
    fn look(&self) -> Fresh {
        Fresh::Current
    }
}

/// What `reload` and `status` reach.
struct Front {
    hold: Arc<Hold>,
    mail: Sender<Message>,
    reports: Arc<Reports>,
    command: String,
    places: Vec<PathBuf>,
    transport: TransportMode,
    since: SystemTime,
}

impl Controlled for Front {
    fn reload(&self, timeout: Duration) -> Reloaded {
        let (reply, answer) = bounded(1);
        let sent = self.mail.send_timeout(Message::Reload(reply), timeout);
        let told = sent.ok().and_then(|()| answer.recv_timeout(timeout).ok());
        told.unwrap_or_else(|| Reloaded { live: false, text: format!("no outcome within {timeout:?}") })
    }

    fn status(&self) -> Status {
        let hold = self.hold.status();
        Status {
            command: self.command.clone(),
            places: self.places.clone(),
            transport: self.transport.to_string(),
            since: self.since,
            sessions: hold.sessions,
            children: hold.children,
            generation: hold.generation,
            live_since: hold.live_since,
            last_error: hold.last_error,
            reloads: self.reports.list().into_iter().map(|report| Past { at: report.at, live: report.live, text: report.text }).collect(),
        }
    }
}
