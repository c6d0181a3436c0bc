//! Clients that do not read stdout, or not as fast as it is written.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use super::*;

/// The client's end, the queue to it, and how the session ends.
fn lines(queue_messages: usize, write_deadline: Duration) -> (UnixStream, Arc<Lines>, Receiver<End>) {
    let (client, output) = UnixStream::pair().unwrap();
    let limits = Limits { queue_messages, write_deadline, ..Limits::default() };
    let (end, ended) = bounded(2);
    (client, Lines::start(File::from(OwnedFd::from(output)), &limits, end).unwrap(), ended)
}

/// More than a socket keeps.
fn long(method: &str) -> Message {
    Message::parse(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":["{}"]}}"#, "x".repeat(1 << 20))).unwrap()
}

/// Answers that find no room are not left out in silence: the session ends, and the log and whoever serves are told.
#[test]
fn a_client_that_does_not_read_for_long_loses_its_session() {
    let (_unread, lines, ended) = lines(4, Duration::from_millis(50));
    while lines.send(long("notifications/message")).is_ok() {}
    assert!(matches!(ended.try_recv(), Ok(End::Broken(error)) if error.kind() == io::ErrorKind::TimedOut));
    // Nobody waits a second time, and it is said once.
    assert!(lines.offer(long("notifications/message")).is_err());
    assert!(ended.try_recv().is_err());
}

/// Many wait for a client that is slow, and some of them for longer than a write may take: none is left out.
#[test]
fn a_client_that_reads_slowly_gets_everything() {
    const SENDERS: usize = 12;
    let (mut slow, lines, ended) = lines(1, Duration::from_millis(500));
    slow.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut line = vec![0; long("notifications/message").as_str().len() + 1];
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(|| lines.send(long("notifications/message")))).collect();
        for _ in 0..SENDERS {
            thread::sleep(Duration::from_millis(100));
            slow.read_exact(&mut line).unwrap();
        }
        assert!(senders.into_iter().all(|sender| sender.join().unwrap().is_ok()));
    });
    assert!(ended.try_recv().is_err());
}

/// What a later message replaces may be left out, and at the end everything may.
#[test]
fn what_may_be_left_out_ends_no_session() {
    let (_unread, lines, ended) = lines(4, Duration::from_secs(3600));
    for _ in 0..20 {
        lines.offer(long("notifications/progress")).unwrap();
    }
    lines.end_by(Instant::now());
    lines.end_by(Instant::now() + Duration::from_secs(3600));
    assert!(lines.send(long("notifications/message")).is_err());
    assert!(ended.try_recv().is_err());
}
