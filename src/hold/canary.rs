//! Bringing new code to every session: one starts first, and only when it is ready do the others follow.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};

use super::core::Core;
use super::generations::says_address_in_use;
use super::group::Group;
use super::parts::Report;
use super::{Hold, Save, Swapped};
use crate::connection::{Gone, Outlet};
use crate::message::Message;

/// A session without a call for so long gets the new code with its next one.
const ACTIVE: Duration = Duration::from_secs(60);
/// How long the report of what changed may hold up the outcome.
const COMPARISON: Duration = Duration::from_secs(1);
/// How long a report takes from the session it is about to whoever waits for it.
const LAST_REPORT: Duration = Duration::from_millis(50);

pub(super) fn swap(hold: &Hold, save: Save) -> Swapped {
    let begun = Instant::now();
    hold.latest.fetch_max(save.number, Ordering::AcqRel);
    let (reports, received) = bounded(16);
    hold.end_spare();
    loop {
        let canary = choose(hold);
        if canary.is_trial && hold.settings.stop_first {
            hold.starter.end_ahead(hold.settings.stop_timeout);
        }
        hold.lock().canary = Some((canary.id, reports.clone()));
        canary.with(|core, now| core.swap(save.number, now));
        let swapped = wait_for(&canary, hold, save, begun, &received);
        hold.lock().canary = None;
        if canary.is_trial {
            canary.with(Core::close);
        }
        let Some(swapped) = swapped else { continue };
        match &swapped {
            Swapped::Live { .. } if canary.is_trial && hold.starter.ahead_is_running().is_some() => hold.first_child(),
            // The address is that of the one that waits for the first client, and is in nobody's way any more.
            Swapped::Failed { output, .. }
                if canary.is_trial && says_address_in_use(output) && hold.starter.end_ahead(hold.settings.stop_timeout) =>
            {
                continue;
            }
            Swapped::Live { .. } | Swapped::Failed { .. } => {}
        }
        return swapped;
    }
}

/// The most recently active session of those that have a child, or else of those that want one, which --max-children may keep them from having;
/// when there is none, a client of our own.
fn choose(hold: &Hold) -> Arc<Group> {
    let groups = hold.groups();
    let newest = groups.into_iter().filter(is_in_use).max_by_key(|group| group.with(|core, _| (core.current.is_some(), core.last())));
    if let Some(newest) = newest {
        return newest;
    }
    let trial = hold.new_group(&mut hold.lock(), true);
    let nobody: Arc<dyn Outlet> = Arc::new(Nobody);
    trial.with(|core, now| core.sit(nobody, None, now));
    trial
}

fn is_in_use(group: &Arc<Group>) -> bool {
    group.with(|core, _| !core.is_closed && core.is_in_use())
}

/// None when the canary's client left first.
fn wait_for(canary: &Arc<Group>, hold: &Hold, save: Save, begun: Instant, reports: &Receiver<Report>) -> Option<Swapped> {
    let stopped = || Swapped::Failed { why: "the front is being stopped".to_owned(), output: String::new(), is_text_busy: false };
    loop {
        // Every start ends: ready, failed, or at --start-timeout; the interval is for a front that stops meanwhile.
        match reports.recv_timeout(Duration::from_millis(200)) {
            Ok(Report::Ready { save: ready }) if ready >= save.number => break,
            Ok(Report::Failed { save: failed, why, output, is_text_busy }) if failed >= save.number => {
                return Some(Swapped::Failed { why, output, is_text_busy });
            }
            Ok(Report::Gone) => return None,
            Ok(_) => {}
            Err(_) if hold.is_stopping() => return Some(stopped()),
            Err(_) => {}
        }
    }
    let took = begun.elapsed();
    hold.live.fetch_max(save.number, Ordering::AcqRel);
    {
        let mut state = hold.lock();
        state.generation += 1;
        state.live_since = Some(SystemTime::now());
        state.last_error = None;
    }
    spread(hold, canary.id, save.number);
    let mut deadline = Instant::now() + COMPARISON;
    while let Ok(report) = reports.recv_deadline(deadline) {
        match report {
            Report::Compared { changes: Some(changes) } => return Some(Swapped::Live { took, changes }),
            // This client knows no tools; another's child may still be on its way.
            Report::Compared { changes: None } if hold.groups().iter().any(|group| group.with(|core, _| core.is_comparing())) => {}
            Report::Compared { changes: None } if !hold.groups().iter().any(|group| group.id != canary.id && is_in_use(group)) => break,
            // Nor is another's: what it found may be on its way to us.
            Report::Compared { changes: None } => deadline = deadline.min(Instant::now() + LAST_REPORT),
            Report::Gone => break,
            Report::Ready { .. } | Report::Failed { .. } => {}
        }
    }
    Some(Swapped::Live { took, changes: Vec::new() })
}

/// The code is proven: every session may have it, those in use at once, and most recently used first.
fn spread(hold: &Hold, canary: u64, save: u64) {
    let mut others: Vec<_> = hold.groups().into_iter().filter(|group| group.id != canary).collect();
    others.sort_by_cached_key(|group| std::cmp::Reverse(group.with(|core, _| core.last())));
    for group in others {
        group.with(|core, now| {
            core.live = core.live.max(save);
            let is_active = core.last().is_some_and(|last| now.saturating_duration_since(last) < ACTIVE);
            if core.is_in_use() && (is_active || core.current.is_none()) {
                core.swap(save, now);
            }
        });
    }
}

/// A client that does not exist.
struct Nobody;

impl Outlet for Nobody {
    fn send(&self, _message: Message) -> Result<(), Gone> {
        Err(Gone)
    }

    fn offer(&self, _message: Message) -> Result<(), Gone> {
        Err(Gone)
    }
}
