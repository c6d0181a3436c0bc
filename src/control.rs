//! The way from `reload` and `status` to a running front: a Unix socket in a private directory, one line of JSON each way.
//!
//! `place`: where the sockets are, and whom they are safe from. `client`: which front is meant, and what it says.

mod client;
mod place;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::threads;

pub(crate) use client::{find, reload};

/// Bytes of a request.
const MOST_BYTES: u64 = 4 << 10;
/// Requests at once. One that has us reload waits for as long as that takes, and an agent may have a hook for each of many edits.
const AT_ONCE: usize = 64;
/// For the request to arrive and the answer to be read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody waits longer for a reload.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How a forced reload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reloaded {
    pub live: bool,
    pub text: String,
}

/// One reload that is over.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub at: SystemTime,
    pub live: bool,
    pub text: String,
}

/// A front at this moment.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub command: String,
    /// Directories that it stands for besides its own: its server's, and those it watches. A desktop client starts all its servers in `/`.
    pub places: Vec<PathBuf>,
    pub transport: String,
    pub since: SystemTime,
    pub sessions: usize,
    pub children: usize,
    /// Counts swaps, from 1.
    pub generation: u64,
    pub live_since: Option<SystemTime>,
    pub last_error: Option<String>,
    /// The newest first.
    pub reloads: Vec<Past>,
}

/// A front that can be asked.
pub(crate) trait Controlled: Send + Sync + 'static {
    /// Reloads, changed or not, and waits for the outcome.
    fn reload(&self, timeout: Duration) -> Reloaded;
    fn status(&self) -> Status;
}

/// The socket of this front; gone when dropped.
pub(crate) struct Controls {
    socket: PathBuf,
    over: Arc<AtomicBool>,
}

impl Controls {
    /// Opens the socket and starts the thread `control`.
    pub(crate) fn open(front: Arc<dyn Controlled>) -> io::Result<Controls> {
        Controls::open_in(&place::candidates(), front)
    }

    fn open_in(places: &[PathBuf], front: Arc<dyn Controlled>) -> io::Result<Controls> {
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for place in places {
            match place::prepare(place).and_then(|()| bind(&place.join(format!("{}.sock", std::process::id())))) {
                Ok((socket, listener)) => {
                    let controls = Controls { socket, over: Arc::default() };
                    let over = Arc::clone(&controls.over);
                    threads::start("control", move || accept(&listener, &over, &front))?;
                    return Ok(controls);
                }
                Err(error) => refused = io::Error::new(error.kind(), format!("{}: {error}", place.display())),
            }
        }
        Err(refused)
    }
}

impl Drop for Controls {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the thread, which then sees that it is over.
        drop(UnixStream::connect(&self.socket));
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// It has its name once it listens: before that it refuses, and who asks would take it for that of a front that is gone, and remove it. A socket of a
/// process that had our number before us is replaced.
fn bind(path: &Path) -> io::Result<(PathBuf, UnixListener)> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let young = path.with_extension("new");
    // Nearly always there is none.
    let _ = std::fs::remove_file(&young);
    let listener = UnixListener::bind(&young)?;
    std::fs::rename(&young, path)?;
    Ok((path.to_path_buf(), listener))
}

fn accept(listener: &UnixListener, over: &AtomicBool, front: &Arc<dyn Controlled>) {
    let busy = Arc::<AtomicUsize>::default();
    loop {
        let stream = listener.accept();
        if over.load(Ordering::Acquire) {
            return;
        }
        let Ok((stream, _)) = stream else {
            // Out of descriptors: again when there may be some.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if busy.fetch_add(1, Ordering::AcqRel) >= AT_ONCE {
            busy.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (front, taken) = (Arc::clone(front), Arc::clone(&busy));
        let work = move || {
            if let Err(error) = answer(&stream, &*front) {
                log::debug!("control: {error}");
            }
            taken.fetch_sub(1, Ordering::AcqRel);
        };
        if threads::start("control-answer", work).is_err() {
            busy.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn answer(stream: &UnixStream, front: &dyn Controlled) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MOST_BYTES)).read_line(&mut line)?;
    let request: Value = serde_json::from_str(&line)?;
    let reply = match request["do"].as_str() {
        Some("reload") => {
            let timeout = request["timeout_ms"].as_u64().map_or(LONGEST, Duration::from_millis).min(LONGEST);
            let Reloaded { live, text } = front.reload(timeout);
            json!({"live": live, "text": text})
        }
        Some("status") => status_json(&front.status()),
        _ => json!({"error": "do is reload or status"}),
    };
    let mut stream = stream;
    stream.write_all(format!("{reply}\n").as_bytes())
}

fn status_json(status: &Status) -> Value {
    let reloads: Vec<Value> =
        status.reloads.iter().map(|past| json!({"at": seconds(past.at), "live": past.live, "text": past.text})).collect();
    json!({
        "pid": std::process::id(),
        "cwd": place::working_directory().to_string_lossy(),
        "places": status.places.iter().map(|place| place.to_string_lossy()).collect::<Vec<_>>(),
        "command": status.command,
        "transport": status.transport,
        "since": seconds(status.since),
        "sessions": status.sessions,
        "children": status.children,
        "generation": status.generation,
        "live_since": status.live_since.map(seconds),
        "last_error": status.last_error,
        "reloads": reloads,
    })
}

/// Unix time.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
