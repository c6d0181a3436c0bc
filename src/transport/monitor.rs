//! Notices that a client has left while its call runs: the thread of the connection is busy with the handler, and cannot see it.
//!
//! One thread looks at the sockets of calls that take long, rarely at those that take very long, and sleeps while there are none.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::threads;
use crate::transport::streamable::response::Response;
use crate::transport::wire::is_left;

/// A call that has run for so long is looked at first; later the pauses grow with its age.
const FIRST: Duration = Duration::from_millis(25);
const RARELY: Duration = Duration::from_secs(1);

/// After so long without any call the thread sleeps until it is woken.
const IDLE: Duration = Duration::from_secs(1);

/// The clients that are watched.
pub(crate) struct Monitor {
    watched: Mutex<Vec<Weak<Watched>>>,
    is_asleep: AtomicBool,
    wake: Sender<()>,
    woken: Receiver<()>,
    start: Once,
}

/// One connection, as the monitor knows it.
struct Watched {
    socket: Arc<TcpStream>,
    call: Mutex<Option<Call>>,
}

struct Call {
    began: Instant,
    next_look: Instant,
    response: Arc<Response>,
}

/// What a connection has of the monitor.
pub(crate) struct Watch {
    monitor: Arc<Monitor>,
    watched: Option<Arc<Watched>>,
}

impl Monitor {
    pub fn new() -> Arc<Monitor> {
        let (wake, woken) = bounded(1);
        Arc::new(Monitor { watched: Mutex::default(), is_asleep: AtomicBool::new(false), wake, woken, start: Once::new() })
    }

    /// For a connection, which is watched only once it has a call to be watched for.
    pub fn watch(self: &Arc<Self>) -> Watch {
        Watch { monitor: Arc::clone(self), watched: None }
    }

    /// Looks at the calls whose time has come, and says when the next one's does.
    fn look(&self) -> Option<Instant> {
        let mut watched = lock(&self.watched);
        watched.retain(|watched| watched.strong_count() > 0);
        let all: Vec<_> = watched.iter().filter_map(Weak::upgrade).collect();
        drop(watched);
        let now = Instant::now();
        all.iter().filter_map(|watched| watched.look(now)).min()
    }

    fn start(self: &Arc<Self>) {
        let (monitor, woken) = (Arc::downgrade(self), self.woken.clone());
        if let Err(error) = threads::start("http-monitor", move || run(&monitor, &woken)) {
            log::error!("cannot start the thread that notices when clients leave: {error}");
        }
    }
}

fn run(monitor: &Weak<Monitor>, woken: &Receiver<()>) {
    let mut quiet_since = Instant::now();
    while let Some(alive) = monitor.upgrade() {
        let mut next = alive.look();
        if next.is_some() {
            quiet_since = Instant::now();
        }
        let sleeps = quiet_since.elapsed() > IDLE;
        if sleeps {
            alive.is_asleep.store(true, Ordering::SeqCst);
            // What began before that could be seen has woken nobody.
            next = alive.look();
        }
        drop(alive);
        let pause = match next {
            Some(next) => next.saturating_duration_since(Instant::now()).max(FIRST),
            None if sleeps => Duration::MAX,
            None => FIRST,
        };
        let waited = match pause {
            Duration::MAX => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
            pause => woken.recv_timeout(pause),
        };
        if waited == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        if waited.is_ok() {
            quiet_since = Instant::now();
        }
    }
}

impl Watched {
    fn look(&self, now: Instant) -> Option<Instant> {
        let mut slot = lock(&self.call);
        let call = slot.as_mut()?;
        if call.next_look > now {
            return Some(call.next_look);
        }
        if !is_left(&self.socket) {
            call.next_look = now + (now.duration_since(call.began) / 4).clamp(FIRST, RARELY);
            return Some(call.next_look);
        }
        let call = slot.take()?;
        drop(slot);
        call.response.left();
        None
    }
}

impl Watch {
    /// Watches the client of `socket` while this response is not complete.
    pub fn begin(&mut self, socket: &Arc<TcpStream>, response: &Arc<Response>) {
        let monitor = &self.monitor;
        let watched = self.watched.get_or_insert_with(|| {
            let watched = Arc::new(Watched { socket: Arc::clone(socket), call: Mutex::default() });
            lock(&monitor.watched).push(Arc::downgrade(&watched));
            monitor.start.call_once(|| monitor.start());
            watched
        });
        let now = Instant::now();
        *lock(&watched.call) = Some(Call { began: now, next_look: now + FIRST, response: Arc::clone(response) });
        if monitor.is_asleep.load(Ordering::SeqCst) && monitor.is_asleep.swap(false, Ordering::SeqCst) {
            // Full means that it is being woken.
            let _ = monitor.wake.try_send(());
        }
    }

    /// The response is complete.
    pub fn end(&self) {
        if let Some(watched) = &self.watched {
            *lock(&watched.call) = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
