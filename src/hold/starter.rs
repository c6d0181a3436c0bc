//! The one thread that starts children: in the order they were asked for, few at once, and the one started ahead of the first client.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::group::{CLOSE_STDIN_WAIT, Group};
use super::parts::unavailable;
use super::process::{Permit, Process, Wire};
use super::stateless::not_spoken;
use super::{Hold, HoldSettings};
use crate::child::{Child, CommandLine, Ladder, Spawner, is_text_busy};
use crate::connection::wait_for_nobody;
use crate::error::{Error, Result};
use crate::threads;

/// Children that are started and not ready, in the whole front.
const AT_ONCE: usize = 2;
/// Orders that wait. A group has one at most.
const QUEUE: usize = 4096;

/// Takes orders. The thread ends with it.
pub(super) struct Starter {
    orders: Sender<Order>,
    ahead: Mutex<Option<Ahead>>,
    /// One is to wait for the first client.
    wants_ahead: AtomicBool,
    /// A child has been started, some time.
    has_started: AtomicBool,
    spawner: Arc<Spawner>,
    command: Mutex<CommandLine>,
    permits: (Sender<()>, Receiver<()>),
    _running: Sender<()>,
}

/// A child without a client, and the last save when it was started.
struct Ahead {
    child: Arc<Child>,
    wire: Arc<Wire>,
    save: u64,
}

struct Order {
    group: Weak<Group>,
    kid: u64,
}

/// What the thread needs.
pub(super) struct Orders {
    received: Receiver<Order>,
    permits: Receiver<()>,
    /// Hangs up at the end.
    ended: Receiver<()>,
}

impl Starter {
    pub(super) fn new(spawner: Arc<Spawner>, command: CommandLine) -> (Starter, Orders) {
        let (orders, received) = bounded(QUEUE);
        let (running, ended) = bounded(0);
        let permits = bounded(AT_ONCE);
        for _ in 0..AT_ONCE {
            // There is room for as many as are put in here.
            let _ = permits.0.try_send(());
        }
        let theirs = Orders { received, permits: permits.1.clone(), ended };
        (
            Starter {
                orders,
                ahead: Mutex::default(),
                wants_ahead: AtomicBool::new(false),
                has_started: AtomicBool::new(false),
                spawner,
                command: Mutex::new(command),
                permits,
                _running: running,
            },
            theirs,
        )
    }

    pub(super) fn order(&self, group: &Arc<Group>, kid: u64) {
        if self.orders.try_send(Order { group: Arc::downgrade(group), kid }).is_err() {
            group.with(|core, now| core.start_failed(kid, "too many servers are being started".to_owned(), String::new(), false, now));
        }
    }

    /// Starts one child for the first client to come, in place of one that waits already.
    pub(super) fn start_ahead(&self, save: u64) -> Result<()> {
        self.wants_ahead.store(true, Ordering::Release);
        self.end_ahead(Duration::ZERO);
        let wire = Arc::<Wire>::default();
        let theirs = Arc::clone(&wire);
        let child = self.spawner.spawn(&self.command(), move |event| theirs.tell(event))?;
        self.has_started.store(true, Ordering::Release);
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ahead { child: Arc::new(child), wire, save });
        Ok(())
    }

    /// Ends the one that waits, within `patience` and a second by itself, and waits for that; true when there was one.
    pub(super) fn end_ahead(&self, patience: Duration) -> bool {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ahead) = ahead else { return false };
        ahead.child.stop(Ladder { close_stdin_wait: CLOSE_STDIN_WAIT, term_wait: patience });
        // Killed as it is dropped, if it is still there.
        ahead.child.wait(CLOSE_STDIN_WAIT + patience);
        true
    }

    /// Whether the one that is to wait for the first client runs; none when none is to.
    pub(super) fn ahead_is_running(&self) -> Option<bool> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let is_running = ahead.as_ref().is_some_and(|ahead| ahead.wire.exit().is_none());
        self.wants_ahead.load(Ordering::Acquire).then_some(is_running)
    }

    /// What is started from now on.
    pub(super) fn set_command(&self, command: CommandLine) {
        *self.command.lock().unwrap_or_else(PoisonError::into_inner) = command;
    }

    fn command(&self) -> CommandLine {
        self.command.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn has_started(&self) -> bool {
        self.has_started.load(Ordering::Acquire)
    }

    pub(super) fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// The child started ahead, if it runs the code of `save`, or else a new one.
    fn take_or_spawn(&self, group: &Arc<Group>, kid: u64, save: u64) -> Result<Arc<Child>> {
        if !group.is_trial {
            self.wants_ahead.store(false, Ordering::Release);
            let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(ahead) = ahead.filter(|ahead| ahead.save >= save && ahead.wire.connect(group, kid)) {
                return Ok(ahead.child);
            }
        }
        let wire = Arc::<Wire>::default();
        // Connected before there is anything to be told.
        wire.connect(group, kid);
        let child = self.spawner.spawn(&self.command(), move |event| wire.tell(event))?;
        self.has_started.store(true, Ordering::Release);
        Ok(Arc::new(child))
    }
}

/// Starts the thread.
pub(super) fn run(hold: &Arc<Hold>, orders: Orders) -> Result<()> {
    let hold = Arc::downgrade(hold);
    let work = move || {
        wait_for_nobody();
        while let Ok(order) = orders.received.recv() {
            crossbeam_channel::select! {
                recv(orders.permits) -> _ => {}
                recv(orders.ended) -> _ => return,
            }
            let Some(hold) = hold.upgrade() else { return };
            // Before anything else: an order whose clients have left gives it back.
            let permit = Permit(hold.starter.permits.0.clone());
            let Some(group) = order.group.upgrade() else { continue };
            start(&hold, &group, order.kid, permit);
        }
    };
    threads::start("hold-start", work).map(drop).map_err(|error| Error::io("cannot start a thread to start servers", error))
}

fn start(hold: &Arc<Hold>, group: &Arc<Group>, kid: u64, permit: Permit) {
    let save = hold.latest();
    if !group.with(|core, _| core.turn(kid, save)) {
        return;
    }
    if !hold.make_room(group) {
        let most = hold.settings.max_children;
        let why = format!("all {most} servers are in use (--max-children)");
        return group.with(|core, now| {
            core.refuse_all(&if core.is_probing() { not_spoken() } else { unavailable(&why) });
            core.start_failed(kid, why, String::new(), false, now);
        });
    }
    match hold.starter.take_or_spawn(group, kid, save) {
        Ok(child) => {
            let process: Arc<dyn Process> = child;
            group.with(|core, now| core.spawned(kid, process, Some(permit), now));
        }
        Err(error) => {
            let busy = is_text_busy(&error);
            group.with(|core, now| core.start_failed(kid, error.to_string(), String::new(), busy, now));
        }
    }
}

/// What a child is to have in its environment besides what it is given.
pub(super) fn prepared(mut command: CommandLine, settings: &HoldSettings) -> CommandLine {
    super::stateless::give_key(&mut command);
    watched(command, settings)
}

/// Where files are watched Python writes no bytecode unless told to: it is matched by whole seconds and size, so that a quick edit of an imported
/// module would run as the old code.
fn watched(mut command: CommandLine, settings: &HoldSettings) -> CommandLine {
    let name = "PYTHONDONTWRITEBYTECODE";
    let is_given = std::env::var_os(name).is_some() || command.env.iter().any(|(given, _)| given == name);
    if settings.watching && !is_given {
        command.env.push((name.into(), "1".into()));
    }
    command
}
