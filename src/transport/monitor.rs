//! Notices that a client has left while its call runs: the thread of the connection is busy with the handler, and cannot see it.
//!
//! One thread looks at the sockets of calls that take long, rarely at those that take very long, and sleeps while there are none. A connection is looked at
//! while it has calls: thousands that are kept alive cost nothing.

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

/// After so many looks without a call a connection is not looked at any more, until it has one.
const QUIET: u32 = 16;

/// The clients that are watched.
pub(crate) struct Monitor {
    /// Those that have a call, or had one a short time ago.
    watched: Mutex<Vec<Weak<Watched>>>,
    is_asleep: AtomicBool,
    wake: Sender<()>,
    woken: Receiver<()>,
    start: Once,
}

/// One connection, as the monitor knows it.
struct Watched {
    socket: Arc<TcpStream>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    call: Option<Call>,
    /// It is among those that are looked at; and for how many looks it had no call.
    is_listed: bool,
    quiet: u32,
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
        // Who gets a call meanwhile is listed behind, and once: what is left out here has let go of its place before.
        let mut listed = std::mem::take(&mut *lock(&self.watched));
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        listed.retain(|watched| {
            let Some(watched) = watched.upgrade() else { return false };
            next = next.into_iter().chain(watched.look(now)).min();
            watched.is_in_use()
        });
        lock(&self.watched).append(&mut listed);
        next
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
    /// Looks at the socket if it is time, and says when it is next.
    fn look(&self, now: Instant) -> Option<Instant> {
        let mut state = lock(&self.state);
        let call = state.call.as_mut()?;
        if call.next_look > now {
            return Some(call.next_look);
        }
        if !is_left(&self.socket) {
            call.next_look = now + (now.duration_since(call.began) / 4).clamp(FIRST, RARELY);
            return Some(call.next_look);
        }
        let call = state.call.take()?;
        drop(state);
        call.response.left();
        None
    }

    /// Whether it goes on being looked at.
    fn is_in_use(&self) -> bool {
        let mut state = lock(&self.state);
        state.quiet = if state.call.is_some() { 0 } else { state.quiet + 1 };
        state.is_listed = state.quiet <= QUIET;
        state.is_listed
    }
}

impl Watch {
    /// Watches the client of `socket` while this response is not complete.
    pub fn begin(&mut self, socket: &Arc<TcpStream>, response: &Arc<Response>) {
        let monitor = &self.monitor;
        let watched = self.watched.get_or_insert_with(|| Arc::new(Watched { socket: Arc::clone(socket), state: Mutex::default() }));
        let now = Instant::now();
        let mut state = lock(&watched.state);
        state.call = Some(Call { began: now, next_look: now + FIRST, response: Arc::clone(response) });
        let is_listed = std::mem::replace(&mut state.is_listed, true);
        drop(state);
        if !is_listed {
            lock(&monitor.watched).push(Arc::downgrade(watched));
            monitor.start.call_once(|| monitor.start());
        }
        if monitor.is_asleep.load(Ordering::SeqCst) && monitor.is_asleep.swap(false, Ordering::SeqCst) {
            // Full means that it is being woken.
            let _ = monitor.wake.try_send(());
        }
    }

    /// The response is complete.
    pub fn end(&self) {
        if let Some(watched) = &self.watched {
            lock(&watched.state).call = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::connection::{Job, Link, Outlet};
    use crate::message::Message;
    use crate::version::Version;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Says when its client is gone.
    struct Told(Sender<()>);

    impl Link for Told {
        fn deliver(&self, _: Message, _: &Arc<dyn Outlet>) -> Option<Job> {
            None
        }

        fn version(&self) -> Option<Version> {
            None
        }

        fn is_busy(&self) -> bool {
            false
        }

        fn close(&self) {
            self.0.try_send(()).ok();
        }
    }

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_connection_is_looked_at_while_it_has_calls_and_then_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Arc::new(listener.accept().unwrap().0);
        let (left, has_left) = bounded(1);
        let response = || Response::stateless(Arc::new(Told(left.clone())));
        let monitor = Monitor::new();
        let mut watch = monitor.watch();
        for _ in 0..2 {
            watch.begin(&socket, &response());
            watch.end();
            let watched = Arc::clone(watch.watched.as_ref().unwrap());
            until("it is looked at for ever", || !lock(&watched.state).is_listed && lock(&monitor.watched).is_empty());
        }
        assert!(has_left.try_recv().is_err());
        watch.begin(&socket, &response());
        drop(client);
        has_left.recv_timeout(PATIENCE).unwrap();
    }
}
