//! Those who listen to changes of a stateless server (`subscriptions/listen`): what each wants to hear, and the way there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connection::{Gone, Outlet};
use crate::dispatch::listen::{Wanted, stamp};
use crate::message::Message;

/// All of one core's. As an outlet it is the way to each, under the id of the client's own request.
#[derive(Default)]
pub(super) struct Audience(Mutex<Vec<Arc<Listener>>>);

pub(super) struct Listener {
    pub seat: u64,
    /// The raw id of the client's request.
    pub id: Box<str>,
    pub outlet: Arc<dyn Outlet>,
    wanted: Wanted,
    /// It has been told that it is heard; nothing may come before that.
    is_open: AtomicBool,
}

impl Audience {
    pub(super) fn add(&self, seat: u64, id: Box<str>, wanted: Wanted, outlet: Arc<dyn Outlet>) -> Arc<Listener> {
        let listener = Arc::new(Listener { seat, id, outlet, wanted, is_open: AtomicBool::new(false) });
        self.lock().push(Arc::clone(&listener));
        listener
    }

    pub(super) fn remove(&self, which: impl Fn(&Listener) -> bool) -> Vec<Arc<Listener>> {
        let mut listeners = self.lock();
        let (gone, left) = std::mem::take(&mut *listeners).into_iter().partition(|listener| which(listener));
        *listeners = left;
        gone
    }

    /// Open requests of one client.
    pub(super) fn count(&self, seat: u64) -> usize {
        self.lock().iter().filter(|listener| listener.seat == seat).count()
    }

    /// Resources that are named by all of them together.
    pub(super) fn resources(&self) -> usize {
        self.lock().iter().map(|listener| listener.wanted.resources()).sum()
    }

    /// What anybody wants to hear; none when there is nobody.
    pub(super) fn wanted(&self) -> Option<String> {
        let listeners = self.lock();
        let mut all = Wanted::default();
        listeners.iter().for_each(|listener| all.add(&listener.wanted));
        (!listeners.is_empty()).then(|| all.to_json().as_str().to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Listener>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for Audience {
    fn send(&self, message: Message) -> Result<(), Gone> {
        self.offer(message)
    }

    fn offer(&self, message: Message) -> Result<(), Gone> {
        let told: Vec<_> = self.lock().iter().filter(|listener| listener.hears(&message)).cloned().collect();
        for listener in told {
            let stamped = stamp(&message.method(), message.letter().unwrap_or("{}"), &listener.id);
            if listener.outlet.offer(stamped).is_err() {
                log::debug!("{} finds its client gone", message.method());
            }
        }
        Ok(())
    }

    fn is_listening(&self) -> bool {
        !self.lock().is_empty()
    }
}

impl Listener {
    fn hears(&self, message: &Message) -> bool {
        self.is_open.load(Ordering::Acquire) && self.wanted.has(message)
    }
}

/// The way of the first message to a listener.
pub(super) struct Opening(pub Arc<Listener>);

impl Outlet for Opening {
    fn send(&self, message: Message) -> Result<(), Gone> {
        self.offer(message)
    }

    fn offer(&self, message: Message) -> Result<(), Gone> {
        let offered = self.0.outlet.offer(message);
        self.0.is_open.store(true, Ordering::Release);
        offered
    }
}
