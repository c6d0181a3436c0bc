//! The sessions of Streamable HTTP. A session ends when its client says so, when nobody has used it for long, or when there are too many; its id then
//! counts no more. One of ours that we do not know is from before a restart, and lives on.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::connection::{Back, Client, Link, Outlet};
use crate::identity::Key;
use crate::rpc_error::RpcError;
use crate::threads;
use crate::transport::room::Seat;
use crate::transport::streamable::lines::Lines;
use crate::transport::streamable::replay::Replay;
use crate::version::Version;

/// Ids of ended sessions that are remembered.
const ENDED: usize = 4096;

/// All sessions.
pub(super) struct Sessions {
    key: Key,
    timeout: Duration,
    replay: (usize, usize),
    table: Mutex<Table>,
    /// Held while a session from before a restart is opened, so that two requests do not open it twice.
    adopting: Mutex<()>,
    sweeper: Once,
}

#[derive(Default)]
struct Table {
    live: HashMap<String, Arc<Session>>,
    ended: HashSet<String>,
    /// The same, the oldest first.
    order: VecDeque<String>,
}

/// One session.
pub(super) struct Session {
    pub id: String,
    pub link: Arc<dyn Link>,
    pub lines: Arc<Lines>,
    used: Mutex<Instant>,
    seat: Mutex<Option<Seat>>,
}

/// Why there is no session for a request.
pub(super) enum Missing {
    /// It ended, or was never ours.
    Unknown,
    /// There are too many, or the back lets nobody in.
    NoRoom(String),
}

impl Sessions {
    pub fn new(config: &Config, key: Key) -> Arc<Sessions> {
        Arc::new(Sessions {
            key,
            timeout: config.session_timeout,
            replay: (config.limits.replay_messages, config.limits.replay_bytes),
            table: Mutex::default(),
            adopting: Mutex::default(),
            sweeper: Once::new(),
        })
    }

    /// A new session.
    pub fn begin(self: &Arc<Self>, back: &dyn Back, seat: &dyn Fn() -> Option<Seat>) -> Result<Arc<Session>, Missing> {
        self.open(self.key.new_session_id(), None, back, seat)
    }

    /// The session with this id, or a new one for it if the id is one of ours; `version` is what the client says it speaks.
    pub fn find(
        self: &Arc<Self>,
        id: &str,
        version: Option<Version>,
        back: &dyn Back,
        seat: &dyn Fn() -> Option<Seat>,
    ) -> Result<Arc<Session>, Missing> {
        if let Some(found) = self.live(id)? {
            return Ok(found);
        }
        if !self.key.is_ours(id) {
            return Err(Missing::Unknown);
        }
        let _adopting = lock(&self.adopting);
        if let Some(found) = self.live(id)? {
            return Ok(found);
        }
        log::info!("a session goes on that began before this process did");
        // Without the header it is of the version that had none (2025-06-18 basic/transports, Protocol Version Header).
        self.open(id.to_owned(), version.or(Some(Version::V2025_03_26)), back, seat)
    }

    fn live(&self, id: &str) -> Result<Option<Arc<Session>>, Missing> {
        let table = self.lock();
        let Some(session) = table.live.get(id) else {
            return if table.ended.contains(id) { Err(Missing::Unknown) } else { Ok(None) };
        };
        session.touch();
        Ok(Some(Arc::clone(session)))
    }

    fn open(
        self: &Arc<Self>,
        id: String,
        version: Option<Version>,
        back: &dyn Back,
        seat: &dyn Fn() -> Option<Seat>,
    ) -> Result<Arc<Session>, Missing> {
        let too_many = || Missing::NoRoom("too many sessions: --max-sessions sets how many there may be".to_owned());
        let seat = seat().ok_or_else(too_many)?;
        // Another number in each process: an event id from before a restart must not fit.
        let tag = RandomState::new().build_hasher().finish() as u32;
        let lines = Lines::new(tag, Replay::new(self.replay.0, self.replay.1));
        let client = Client { id: id.clone(), outlet: Arc::clone(&lines) as Arc<dyn Outlet>, version, may_be_stateless: false };
        let link = back.open(client).map_err(|error: RpcError| Missing::NoRoom(error.message().to_owned()))?;
        let session = Arc::new(Session { id: id.clone(), link, lines, used: Mutex::new(Instant::now()), seat: Mutex::new(Some(seat)) });
        self.lock().live.insert(id, Arc::clone(&session));
        self.sweeper.call_once(|| sweep(Arc::downgrade(self), self.timeout));
        Ok(session)
    }

    /// Ends the session with this id. False when there is none, and the id is none of ours.
    pub fn end(&self, id: &str) -> bool {
        let mut table = self.lock();
        let session = table.live.remove(id);
        if session.is_none() && (table.ended.contains(id) || !self.key.is_ours(id)) {
            return false;
        }
        if table.ended.insert(id.to_owned()) {
            table.order.push_back(id.to_owned());
        }
        if table.order.len() > ENDED {
            let forgotten = table.order.pop_front();
            forgotten.map(|id| table.ended.remove(&id));
        }
        drop(table);
        if let Some(session) = session {
            session.lines.end(false);
            session.link.close();
            lock(&session.seat).take();
        }
        true
    }

    /// Ends the session that has been idle for longest, or sees another thread do so. False when none is idle.
    pub fn end_most_idle(&self) -> bool {
        let idle = self.all().into_iter().filter(|session| session.is_idle()).min_by_key(|session| *lock(&session.used));
        if let Some(session) = &idle {
            self.end(&session.id);
        }
        idle.is_some()
    }

    /// The streams that no call needs end when what is queued is written.
    pub fn finish(&self) {
        self.all().iter().for_each(|session| session.lines.finish());
    }

    /// All streams end now.
    pub fn cut(&self) {
        self.all().iter().for_each(|session| session.lines.end(true));
    }

    fn all(&self) -> Vec<Arc<Session>> {
        self.lock().live.values().cloned().collect()
    }

    fn end_expired(&self) {
        for session in self.all() {
            if !session.is_idle() {
                session.touch();
            } else if lock(&session.used).elapsed() >= self.timeout {
                log::debug!("a session ends that nobody has used for {:?}", self.timeout);
                self.end(&session.id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Session {
    /// Notes that somebody uses it.
    pub fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    fn is_idle(&self) -> bool {
        !self.link.is_busy() && !self.lines.is_open()
    }
}

/// Ends, now and then, the sessions that nobody uses, for as long as there is somebody to have sessions.
fn sweep(sessions: Weak<Sessions>, timeout: Duration) {
    let pause = (timeout / 4).clamp(Duration::from_millis(10), Duration::from_secs(60));
    let work = move || {
        loop {
            thread::sleep(pause);
            match sessions.upgrade() {
                Some(sessions) => sessions.end_expired(),
                None => return,
            }
        }
    };
    if let Err(error) = threads::start("sessions", work) {
        log::error!("cannot start the thread that ends unused sessions: {error}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
