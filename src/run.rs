//! `run`: a front before any stdio server, which reloads it under its clients.
//!
//! Three parties: the [`Hold`] keeps the sessions and the children, the watcher sees what changes, and the orchestrator, a thread of its own, does
//! what the [reload machine](crate::reload) says.

mod build;
mod dev;
mod freshness;
mod orchestrator;
mod plan;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::child::Spawner;
use crate::config::{Config, RunConfig, TransportMode};
use crate::connection::Back;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::hold::{Hold, HoldSettings};
use crate::serve::serve_back;
use crate::watch::{self, Watcher};
use crate::workers::Workers;
use freshness::Watch;
use orchestrator::Orchestrator;
use plan::Plan;

pub use dev::dev;
pub(crate) use dev::front_of_itself;

/// A session without a stream or call for so long has its child parked.
const PARK_AFTER: Duration = Duration::from_secs(300);

/// Batches of changes and notes that wait for the orchestrator; the watcher merges what finds no room.
const EVENTS: usize = 64;

/// Serves COMMAND behind a front, until the client on stdio leaves or a signal comes.
///
/// # Errors
/// When the settings make no sense, the port is taken, or COMMAND does not exist and nothing that is watched could bring it.
pub(crate) fn run(config: &Config, settings: &RunConfig, command: Vec<OsString>) -> Result<()> {
    start(config, settings, Plan::of_command(settings, command)?)
}

fn start(config: &Config, settings: &RunConfig, plan: Plan) -> Result<()> {
    let config = config.clone().check()?;
    plan.check(settings)?;
    let is_watching = !settings.no_watch;
    let (events, received) = bounded(EVENTS);
    let watch = if is_watching {
        let watcher = Watcher::new(plan.watched(settings));
        plan.announce(&watcher.summary());
        let (commands, orders) = bounded(EVENTS);
        watch::spawn(watcher, events, orders).map_err(|error| Error::io("cannot start a thread to watch files", error))?;
        Watch::new(Some(commands))
    } else {
        Watch::new(None)
    };
    let hold = Hold::new(Spawner::start()?, plan.command_line(settings)?, hold_settings(settings, is_watching), watch.clone())?;
    let orchestrator = Orchestrator::start(Arc::clone(&hold), watch, received, plan, settings.clone())?;
    let _control = Control::start(orchestrator.desk());
    if config.transport == TransportMode::Http {
        hold.first_child();
    }
    let back: Arc<dyn Back> = Arc::clone(&hold) as Arc<dyn Back>;
    let served = serve_back(back, &config, Workers::new(config.limits.calls + config.limits.asks));
    hold.stop(Duration::ZERO);
    drop(orchestrator);
    served
}

fn hold_settings(settings: &RunConfig, watching: bool) -> HoldSettings {
    HoldSettings {
        shared: settings.shared,
        max_children: settings.max_children,
        stop_first: settings.stop_first,
        drain: settings.drain,
        start_timeout: settings.start_timeout,
        stop_timeout: settings.stop_timeout,
        note: settings.note,
        dev_tools: settings.dev_tools,
        hold: settings.hold,
        park_after: PARK_AFTER,
        watching,
    }
}
