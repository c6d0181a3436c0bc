//! The other end: finding the front that is meant, and asking it.

use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{LIMIT, Outcome, PATIENCE, directory};
use crate::line::{self, Line};

/// The front that is meant.
pub(crate) enum Found {
    /// Its socket, and its status.
    One(PathBuf, Value),
    /// None; the text says so.
    None(String),
    /// Several; the text lists them.
    Several(String),
}

/// The front with this pid, or else the one whose working directory is `cwd` or the nearest above.
pub(crate) fn find(pid: Option<u32>, cwd: &Path) -> Found {
    let directory = directory::path();
    if directory.exists() {
        if let Err(error) = directory::check(&directory) {
            return Found::None(error.to_string());
        }
    }
    let mut fronts = Vec::new();
    for (owner, path) in directory::sockets(&directory) {
        if let Ok(status) = ask(&path, &json!({"ask": "status"}), PATIENCE) {
            fronts.push((owner, path, status));
        }
    }
    if let Some(pid) = pid {
        return match fronts.into_iter().find(|(owner, ..)| *owner == pid) {
            Some((_, path, status)) => Found::One(path, status),
            None => Found::None(format!("no front has the pid {pid}")),
        };
    }
    let place = |status: &Value| status["cwd"].as_str().map(PathBuf::from).unwrap_or_default();
    let depth =
        fronts.iter().filter(|(.., status)| cwd.starts_with(place(status))).map(|(.., status)| place(status).components().count()).max();
    let Some(depth) = depth else {
        let elsewhere: Vec<String> = fronts.iter().map(|(owner, _, status)| entry(*owner, status)).collect();
        let others = if elsewhere.is_empty() { String::new() } else { format!("; elsewhere (--pid):\n{}", elsewhere.join("\n")) };
        return Found::None(format!("no front runs in {} or above{others}", cwd.display()));
    };
    let is_meant = |status: &Value| cwd.starts_with(place(status)) && place(status).components().count() == depth;
    let mut meant: Vec<_> = fronts.into_iter().filter(|(.., status)| is_meant(status)).collect();
    match meant.pop() {
        Some((_, path, status)) if meant.is_empty() => Found::One(path, status),
        last => {
            meant.extend(last);
            let list: Vec<String> = meant.iter().map(|(owner, _, status)| entry(*owner, status)).collect();
            Found::Several(format!("several fronts run here; name one with --pid:\n{}", list.join("\n")))
        }
    }
}

/// Asks the front at `socket`.
pub(crate) fn ask(socket: &Path, question: &Value, patience: Duration) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    match line::read(&mut BufReader::new(stream), LIMIT)? {
        Some(Line::Text(text)) => Ok(serde_json::from_str(&text)?),
        _ => Err(io::Error::other("the front gave no answer")),
    }
}

/// Has the front at `socket` reload, and waits for the outcome.
pub(crate) fn reload_of(socket: &Path, timeout: Duration) -> io::Result<Outcome> {
    let question = json!({"ask": "reload", "timeout_ms": timeout.as_millis() as u64});
    let answer = ask(socket, &question, timeout + PATIENCE)?;
    let text = answer["text"].as_str().unwrap_or("the front gave no answer").to_owned();
    Ok(Outcome { live: answer["live"] == true, text })
}

fn entry(pid: u32, status: &Value) -> String {
    let words = status["command"].as_array().map(|words| words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
    format!("  {pid}  {}  {}", status["cwd"].as_str().unwrap_or("?"), words.unwrap_or_default())
}
