//! The control socket of a front: `reload` and `status` ask over it. One question and one answer, each a line of JSON.

mod ask;
mod directory;

use std::io::{self, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::line::{self, Line};

pub(crate) use ask::{Found, ask, find, reload_of};

/// Questions at once.
const AT_ONCE: usize = 8;

/// Bytes of a question or an answer.
const LIMIT: usize = 1 << 20;

/// How long a client may take to ask, or to take its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a reload ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The newest content is live.
    pub live: bool,
    /// What to tell a person: `reloaded in 98 ms: +add`, or why not.
    pub text: String,
}

/// Who answers.
pub(crate) trait Desk: Send + Sync {
    /// Reloads, changed or not, and waits for the outcome.
    fn reload(&self, timeout: Duration) -> Outcome;

    /// What is going on.
    fn status(&self) -> Value;
}

/// The listening socket; dropping it removes it.
pub(crate) struct Control {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Listens. Where that is impossible (a read-only or missing place) the front works without.
    pub fn start(desk: Arc<dyn Desk>) -> Option<Control> {
        Control::try_start(desk).map_err(|error| log::debug!("no control socket: {error}: reload and status cannot ask this front")).ok()
    }

    fn try_start(desk: Arc<dyn Desk>) -> io::Result<Control> {
        let directory = directory::own()?;
        directory::sweep(&directory);
        let path = directory.join(format!("{}.sock", std::process::id()));
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        let is_over = Arc::<AtomicBool>::default();
        let ended = Arc::clone(&is_over);
        let busy = Arc::<AtomicUsize>::default();
        let accept = move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                match stream {
                    Ok(stream) => serve(stream, &desk, &busy),
                    Err(error) => {
                        log::debug!("the control socket cannot accept: {error}");
                        thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("control".to_owned()).spawn(accept)?;
        Ok(Control { path, is_over, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let is_woken = UnixStream::connect(&self.path).is_ok();
        // Somebody may have swept it away.
        drop(std::fs::remove_file(&self.path));
        if let Some(thread) = self.thread.take().filter(|_| is_woken) {
            drop(thread.join());
        }
    }
}

fn serve(stream: UnixStream, desk: &Arc<dyn Desk>, busy: &Arc<AtomicUsize>) {
    if busy.fetch_add(1, Ordering::SeqCst) >= AT_ONCE {
        busy.fetch_sub(1, Ordering::SeqCst);
        return;
    }
    let (desk, done) = (Arc::clone(desk), Arc::clone(busy));
    let work = move || {
        if let Err(error) = answer(&stream, &*desk) {
            log::debug!("a question on the control socket went unanswered: {error}");
        }
        done.fetch_sub(1, Ordering::SeqCst);
    };
    if thread::Builder::new().name("control-answer".to_owned()).spawn(work).is_err() {
        busy.fetch_sub(1, Ordering::SeqCst);
    }
}

fn answer(mut stream: &UnixStream, desk: &dyn Desk) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(Line::Text(text)) = line::read(&mut BufReader::new(stream), LIMIT)? else { return Ok(()) };
    let question: Value = serde_json::from_str(&text).unwrap_or_default();
    let answer = match question["ask"].as_str() {
        Some("reload") => {
            let timeout = Duration::from_millis(question["timeout_ms"].as_u64().unwrap_or(60_000).min(3_600_000));
            let Outcome { live, text } = desk.reload(timeout);
            json!({"live": live, "text": text})
        }
        Some("status") => desk.status(),
        _ => json!({"error": "ask for reload or status"}),
    };
    stream.write_all(format!("{answer}\n").as_bytes())
}
