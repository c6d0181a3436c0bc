//! Which front is meant, and what it says.

use std::fs::read_dir;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{PATIENCE, Reloaded, place};
use crate::error::{Error, Result};

/// Bytes of an answer.
const MOST_BYTES: u64 = 1 << 20;
/// Sockets that are asked.
const MOST_FRONTS: usize = 256;

/// A front that runs.
pub(crate) struct Found {
    socket: PathBuf,
    /// What it said about itself.
    pub status: Value,
}

impl Found {
    fn pid(&self) -> u64 {
        self.status["pid"].as_u64().unwrap_or_default()
    }

    fn cwd(&self) -> &Path {
        Path::new(self.status["cwd"].as_str().unwrap_or_default())
    }

    /// How near it is, when one of its directories is `here` or above.
    fn nearness(&self, here: &Path) -> Option<usize> {
        let places = self.status["places"].as_array().into_iter().flatten().filter_map(Value::as_str).map(Path::new);
        places.chain([self.cwd()]).filter(|place| here.starts_with(place)).map(|place| place.components().count()).max()
    }

    fn line(&self) -> String {
        let command = self.status["command"].as_str().unwrap_or_default();
        format!("  --pid {}  {}  {command}", self.pid(), self.cwd().display())
    }
}

/// The front with this process id; without one, that whose working directory, or its server's, or a watched one, is ours or the nearest above.
///
/// # Errors
/// There is none, or there are several: a usage error that lists them.
pub(crate) fn find(pid: Option<u32>) -> Result<Found> {
    let (fronts, silent) = all(&place::candidates());
    choose(fronts, &silent, pid, &place::working_directory())
}

fn choose(fronts: Vec<Found>, silent: &[u64], pid: Option<u32>, here: &Path) -> Result<Found> {
    let list = |fronts: &[Found]| fronts.iter().map(Found::line).collect::<Vec<_>>().join("\n");
    let mute = silent.iter().map(|pid| format!("  --pid {pid}  does not answer: it is stopped, or very busy"));
    let all = fronts.iter().map(Found::line).chain(mute).collect::<Vec<_>>().join("\n");
    let is_meant = |front: &Found| match pid {
        Some(pid) => front.pid() == u64::from(pid),
        None => front.nearness(here).is_some(),
    };
    let mut meant: Vec<Found> = fronts.into_iter().filter(is_meant).collect();
    let nearest = meant.iter().map(|front| front.nearness(here)).max();
    meant.retain(|front| pid.is_some() || Some(front.nearness(here)) == nearest);
    match meant.len() {
        1 => Ok(meant.swap_remove(0)),
        0 if all.is_empty() => Err(Error::usage("no front is running: start one with `mcp-http-transport run`")),
        0 => Err(Error::usage(format!(
            "no front is running {}; there are:\n{all}",
            match pid {
                Some(pid) => format!("with --pid {pid}"),
                None => format!("in {} or above", here.display()),
            }
        ))),
        _ => Err(Error::usage(format!("several fronts are running here, say which with --pid:\n{}", list(&meant)))),
    }
}

/// Every front of this user that answers, and the process ids of those that do not. The socket of one that is gone is removed.
pub(super) fn all(places: &[PathBuf]) -> (Vec<Found>, Vec<u64>) {
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    for place in places.iter().filter(|place| place::check(place).is_ok()) {
        let Ok(entries) = read_dir(place) else { continue };
        let sockets = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ext| ext == "sock"));
        for socket in sockets.take(MOST_FRONTS) {
            match ask(&socket, &json!({"do": "status"}), PATIENCE) {
                Ok(status) => found.push(Found { socket, status }),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => drop(std::fs::remove_file(&socket)),
                // It went while we looked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    log::debug!("{}: {error}", socket.display());
                    silent.extend(socket.file_stem().and_then(|name| name.to_str()?.parse::<u64>().ok()));
                }
            }
        }
    }
    found.sort_by_key(Found::pid);
    (found, silent)
}

/// Has a front reload, and waits for the outcome.
pub(crate) fn reload(front: &Found, timeout: Duration) -> Result<Reloaded> {
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let answer = ask(&front.socket, &json!({"do": "reload", "timeout_ms": timeout_ms}), timeout.saturating_add(PATIENCE))
        .map_err(|error| Error::io(format!("the front with --pid {} does not answer", front.pid()), error))?;
    let text = answer["text"].as_str().unwrap_or_default().to_owned();
    Ok(Reloaded { live: answer["live"] == true, text })
}

fn ask(socket: &Path, request: &Value, patience: Duration) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(MOST_BYTES)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod unit {
    use super::*;

    fn fronts(list: &[(u32, &str)]) -> Vec<Found> {
        let found = |(pid, cwd): &(u32, &str)| Found { socket: PathBuf::new(), status: json!({"pid": pid, "cwd": cwd, "command": "c"}) };
        list.iter().map(found).collect()
    }

    #[test]
    fn the_nearest_front_above_is_meant() {
        let list = [(1, "/a"), (2, "/a/b"), (3, "/a/bc"), (4, "/x"), (5, "/x")];
        let pid =
            |pid, here: &str| choose(fronts(&list), &[], pid, Path::new(here)).map(|front| front.pid()).map_err(|error| error.to_string());
        assert_eq!(pid(None, "/a"), Ok(1));
        assert_eq!(pid(None, "/a/b/c"), Ok(2));
        assert_eq!(pid(None, "/a/bc"), Ok(3));
        assert_eq!(pid(Some(4), "/elsewhere"), Ok(4));
        assert!(pid(None, "/x/y").unwrap_err().ends_with("say which with --pid:\n  --pid 4  /x  c\n  --pid 5  /x  c"));
        let none = pid(None, "/elsewhere").unwrap_err();
        assert!(none.starts_with("no front is running in /elsewhere or above") && none.lines().count() == 6, "{none}");
        assert!(pid(Some(9), "/a").unwrap_err().starts_with("no front is running with --pid 9"));
        // A desktop client has started both, in the root directory.
        let both = || {
            let mut both = fronts(&[(1, "/"), (2, "/")]);
            (both[0].status["places"], both[1].status["places"]) = (json!(["/home/one"]), json!(["/srv", "/home/two"]));
            both
        };
        let pid_at = |here: &str| choose(both(), &[], None, Path::new(here)).map(|front| front.pid()).map_err(|error| error.to_string());
        assert_eq!((pid_at("/home/one/src"), pid_at("/home/two")), (Ok(1), Ok(2)));
        assert!(pid_at("/home").unwrap_err().contains("say which with --pid"));
        let silent = choose(Vec::new(), &[7], None, Path::new("/a")).map(|front| front.pid()).unwrap_err().to_string();
        assert!(silent.ends_with("there are:\n  --pid 7  does not answer: it is stopped, or very busy"), "{silent}");
        assert!(choose(Vec::new(), &[], None, Path::new("/")).is_err_and(|error| error.is_usage()));
    }
}
