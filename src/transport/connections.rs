//! The HTTP connections there are, and which of them goes when there is no room for another.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::transport::stream::EventStream;
use crate::transport::wire::is_left;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Kept alive between two requests.
    Idle,
    /// Has not sent its first head completely.
    Head,
    /// Carries an event stream.
    Stream,
    /// Is being answered.
    Busy,
}

/// One connection.
pub(crate) struct Entry {
    number: u64,
    socket: Arc<TcpStream>,
    began: Instant,
    phase: AtomicU8,
    /// Nanoseconds between `began` and the beginning of the phase.
    since: AtomicU64,
    /// The event stream that it carries, and whether its client ever sent something.
    stream: OnceLock<(Arc<EventStream>, Arc<AtomicBool>)>,
}

/// All connections, bounded.
pub(crate) struct Connections {
    most: usize,
    stray_after: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Those that count. One that had to make room does not any more, though its thread may still be ending.
    entries: HashMap<u64, Arc<Entry>>,
    threads: usize,
}

/// A connection's place; dropped when its thread ends.
pub(crate) struct Place {
    entry: Arc<Entry>,
    connections: Arc<Connections>,
}

impl Connections {
    /// Room for `most` connections; a stream that was never used may be closed after `stray_after` to make room.
    pub fn new(most: usize, stray_after: Duration) -> Arc<Connections> {
        Arc::new(Connections { most, stray_after, state: Mutex::default(), changed: Condvar::new() })
    }

    /// A place for a new connection. If there is none, the least harmful connection goes: the one that is idle longest, else the one that has been
    /// sending its head longest, else a stream whose client has left, which the stream notices when it next writes, else the stream that was never used
    /// for longest. None when all are of use.
    pub fn enter(self: &Arc<Self>, socket: Arc<TcpStream>) -> Option<Place> {
        let mut state = self.lock();
        if state.entries.len() >= self.most {
            let victim = self.most_dispensable(&state)?;
            state.entries.remove(&victim.number);
            victim.close();
        }
        state.next += 1;
        state.threads += 1;
        let entry = Arc::new(Entry {
            number: state.next,
            socket,
            began: Instant::now(),
            phase: AtomicU8::new(Phase::Head as u8),
            since: AtomicU64::new(0),
            stream: OnceLock::new(),
        });
        state.entries.insert(entry.number, Arc::clone(&entry));
        Some(Place { entry, connections: Arc::clone(self) })
    }

    /// Closes one connection that nobody would miss, for its descriptor. False when there is none.
    pub fn make_room(&self) -> bool {
        let mut state = self.lock();
        let Some(victim) = self.most_dispensable(&state) else { return false };
        state.entries.remove(&victim.number);
        victim.close();
        true
    }

    /// Waits until no connection has a thread any more, or the time is over. Idle ones are closed at once.
    pub fn wait_until_none(&self, patience: Duration) -> bool {
        let deadline = clock::from_now(patience);
        let mut state = self.lock();
        for entry in state.entries.values().filter(|entry| matches!(entry.phase(), Phase::Idle | Phase::Head)) {
            entry.close();
        }
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.lock().entries.values().for_each(|entry| entry.close());
    }

    fn most_dispensable(&self, state: &State) -> Option<Arc<Entry>> {
        let of = |phase: Phase| state.entries.values().filter(move |entry| entry.phase() == phase);
        let longest = |entry: &&Arc<Entry>| entry.for_how_long();
        let stray = |entry: &&Arc<Entry>| entry.is_stray() && entry.for_how_long() >= self.stray_after;
        of(Phase::Idle)
            .max_by_key(longest)
            .or_else(|| of(Phase::Head).max_by_key(longest))
            .or_else(|| of(Phase::Stream).find(|entry| is_left(&entry.socket)))
            .or_else(|| of(Phase::Stream).filter(stray).max_by_key(longest))
            .cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Its thread notices and ends. The thread of a stream sleeps, and has to be woken.
    fn close(&self) {
        // One that cannot be shut down is ending already.
        drop(self.socket.shutdown(Shutdown::Both));
        if let Some((stream, _)) = self.stream.get() {
            stream.cut();
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Stream,
            _ => Phase::Busy,
        }
    }

    fn for_how_long(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_nanos(self.since.load(Ordering::Relaxed)))
    }

    fn is_stray(&self) -> bool {
        self.stream.get().is_none_or(|(_, is_used)| !is_used.load(Ordering::Relaxed))
    }
}

impl Place {
    /// Notes what the connection does from now on.
    pub fn set(&self, phase: Phase) {
        // Nobody asks for how long one has been busy.
        if phase != Phase::Busy {
            self.entry.since.store(self.entry.began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        self.entry.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// From now on it carries a stream.
    pub fn set_stream(&self, stream: &Arc<EventStream>, is_used: Arc<AtomicBool>) {
        drop(self.entry.stream.set((Arc::clone(stream), is_used)));
        self.set(Phase::Stream);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        state.entries.remove(&self.entry.number);
        state.threads -= 1;
        drop(state);
        self.connections.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::stream::{Bounds, Feed, Next, stream};

    fn carried() -> (Arc<EventStream>, Feed) {
        stream(Bounds { messages: 1, bytes: 1, write_deadline: Duration::ZERO }, Duration::from_secs(3600))
    }

    fn socket() -> (Arc<TcpStream>, TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(listener.accept().unwrap().0), client)
    }

    fn is_closed(mut client: &TcpStream) -> bool {
        client.set_nonblocking(true).unwrap();
        std::io::Read::read(&mut client, &mut [0]).is_ok_and(|count| count == 0)
    }

    #[test]
    fn the_least_harmful_goes_first() {
        let connections = Connections::new(4, Duration::ZERO);
        let sockets: Vec<_> = (0..4).map(|_| socket()).collect();
        let places: Vec<_> = sockets.iter().map(|(ours, _)| connections.enter(Arc::clone(ours)).unwrap()).collect();
        places[0].set(Phase::Busy);
        let (stream, feed) = carried();
        places[1].set_stream(&stream, Arc::new(AtomicBool::new(false)));
        places[3].set(Phase::Idle);
        let mut newer = Vec::new();
        for victim in [3, 2, 1] {
            newer.push(connections.enter(socket().0).unwrap());
            newer.last().unwrap().set(Phase::Busy);
            assert!(is_closed(&sockets[victim].1), "{victim}");
        }
        assert!(matches!(feed.next(), Next::Cut), "the stream's thread need not wait for its next keep-alive");
        assert!(connections.enter(socket().0).is_none() && !is_closed(&sockets[0].1));
        drop(newer);
        assert!(connections.enter(socket().0).is_some());
    }

    #[test]
    fn a_stream_whose_client_has_left_goes_before_those_in_use() {
        let connections = Connections::new(2, Duration::from_secs(60));
        let ((used, client), (left, gone)) = (socket(), socket());
        let places = [connections.enter(used).unwrap(), connections.enter(left).unwrap()];
        let streams = [carried(), carried()];
        places.iter().zip(&streams).for_each(|(place, (stream, _))| place.set_stream(stream, Arc::new(AtomicBool::new(true))));
        assert!(connections.enter(socket().0).is_none());
        drop(gone);
        let deadline = Instant::now() + Duration::from_secs(10);
        while connections.enter(socket().0).is_none() {
            assert!(Instant::now() < deadline, "the stream of a client that has left keeps its place");
        }
        assert!(!is_closed(&client));
    }

    #[test]
    fn a_stream_in_use_stays() {
        let (one, _client) = socket();
        let connections = Connections::new(1, Duration::ZERO);
        let place = connections.enter(Arc::clone(&one)).unwrap();
        place.set_stream(&carried().0, Arc::new(AtomicBool::new(true)));
        assert!(connections.enter(socket().0).is_none());
        let connections = Connections::new(1, Duration::from_secs(60));
        let place = connections.enter(one).unwrap();
        place.set_stream(&carried().0, Arc::new(AtomicBool::new(false)));
        assert!(connections.enter(socket().0).is_none() && !connections.make_room());
    }
}
