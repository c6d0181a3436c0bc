//! Both ends in one process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Canned;

impl Controlled for Canned {
    fn reload(&self, timeout: Duration) -> Reloaded {
        Reloaded { live: timeout > Duration::from_secs(1), text: "line 1\nline 2".to_owned() }
    }

    fn status(&self) -> Status {
        Status {
            command: "python \"a b\"".to_owned(),
            places: vec!["/a".into()],
            transport: "stdio".to_owned(),
            since: UNIX_EPOCH,
            sessions: 1,
            children: 2,
            generation: 3,
            live_since: None,
            last_error: Some("e".to_owned()),
            reloads: vec![Past { at: UNIX_EPOCH, live: true, text: "reloaded in 3 ms".to_owned() }],
        }
    }
}

/// A directory to put the place in.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Temp {
        let dir = std::env::temp_dir().join(format!("mcp-control-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Temp(dir)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_front_is_found_asked_and_gone() {
    let temp = Temp::new("asked");
    let place = temp.0.join("place");
    let controls = Controls::open_in(std::slice::from_ref(&place), Arc::new(Canned)).unwrap();
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
    let found = client::all(std::slice::from_ref(&place)).0;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].status["pid"], std::process::id());
    assert_eq!(found[0].status["command"], "python \"a b\"");
    assert_eq!(found[0].status["places"], json!(["/a"]));
    assert_eq!(found[0].status["live_since"], Value::Null);
    assert_eq!(found[0].status["reloads"][0]["text"], "reloaded in 3 ms");
    assert_eq!(reload(&found[0], Duration::from_secs(2)).unwrap(), Reloaded { live: true, text: "line 1\nline 2".to_owned() });
    assert!(!reload(&found[0], Duration::from_millis(5)).unwrap().live);
    drop(controls);
    assert!(client::all(std::slice::from_ref(&place)).0.is_empty());
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
}

#[test]
fn a_socket_without_a_front_is_removed() {
    let temp = Temp::new("stale");
    place::prepare(&temp.0.join("place")).unwrap();
    let stale = temp.0.join("place").join("1.sock");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    assert!(client::all(&[temp.0.join("place")]).0.is_empty());
    assert!(!stale.exists());
    // One with our own number is replaced.
    drop(UnixListener::bind(temp.0.join("place").join(format!("{}.sock", std::process::id()))).unwrap());
    drop(Controls::open_in(&[temp.0.join("place")], Arc::new(Canned)).unwrap());
}

#[test]
fn a_place_that_others_can_write_to_is_not_used() {
    let temp = Temp::new("open");
    let open = temp.0.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let link = temp.0.join("link");
    std::os::unix::fs::symlink(&open, &link).unwrap();
    for place in [&open, &link, &temp.0.join("missing").join("place")] {
        assert!(Controls::open_in(std::slice::from_ref(place), Arc::new(Canned)).is_err(), "{}", place.display());
    }
    let next = [open, temp.0.join("good")];
    drop(Controls::open_in(&next, Arc::new(Canned)).unwrap());
}

#[test]
fn nonsense_gets_an_answer_or_the_end() {
    let temp = Temp::new("nonsense");
    let controls = Controls::open_in(&[temp.0.join("place")], Arc::new(Canned)).unwrap();
    for (sent, expected) in [("{\"do\":\"dance\"}\n", "{\"error\":\"do is reload or status\"}\n"), ("x\n", ""), ("", "")] {
        let mut stream = UnixStream::connect(&controls.socket).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, expected);
    }
}

#[test]
fn many_reloads_may_be_waited_for_and_one_more_is_not_told_that_nobody_is_there() {
    /// Reloads for as long as the channel is open.
    struct Slow(crossbeam_channel::Receiver<()>);
    impl Controlled for Slow {
        fn reload(&self, timeout: Duration) -> Reloaded {
            let _ = self.0.recv_timeout(timeout);
            Canned.reload(timeout)
        }
        fn status(&self) -> Status {
            Canned.status()
        }
    }
    let temp = Temp::new("many");
    let place = [temp.0.join("place")];
    let (hold, held) = crossbeam_channel::bounded(0);
    let controls = Controls::open_in(&place, Arc::new(Slow(held))).unwrap();
    let waiting: Vec<UnixStream> = (0..AT_ONCE)
        .map(|_| {
            let mut stream = UnixStream::connect(&controls.socket).unwrap();
            stream.write_all(b"{\"do\":\"reload\",\"timeout_ms\":60000}\n").unwrap();
            stream
        })
        .collect();
    assert_eq!(client::all(&place).1, [u64::from(std::process::id())]);
    drop(hold);
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"live\":true"), "{answer}");
    }
}
