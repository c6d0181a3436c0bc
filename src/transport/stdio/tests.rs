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
    let (mut client, lines, ended) = lines(4, Duration::from_millis(50));
    while lines.send(long("notifications/message")).is_ok() {}
    assert!(matches!(ended.try_recv(), Ok(End::Deaf(error)) if error.kind() == io::ErrorKind::TimedOut));
    // Nobody waits a second time, and it is said once.
    assert!(lines.offer(long("notifications/message")).is_err());
    assert!(ended.try_recv().is_err());
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(client.read_to_end(&mut Vec::new()).is_ok(), "and who reads again sees the end");
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

/// A client that never heard of a change would go on with the old list.
#[test]
fn a_list_that_changed_while_the_client_did_not_read_is_told_once() {
    let (client, lines, ended) = lines(1, Duration::from_secs(3600));
    lines.send(long("notifications/message")).unwrap();
    let methods = ["notifications/tools/list_changed", "notifications/prompts/list_changed"];
    for method in methods.iter().cycle().take(20) {
        lines.offer(Message::notification(method, None)).unwrap();
    }
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut client = io::BufReader::new(client);
    for wanted in [&["notifications/message"][..], &methods, &["last"]].concat() {
        if wanted == methods[1] {
            lines.send(Message::notification("last", None)).unwrap();
        }
        let mut line = String::new();
        io::BufRead::read_line(&mut client, &mut line).unwrap();
        assert_eq!(Message::parse(line).unwrap().method(), wanted);
    }
    assert!(ended.try_recv().is_err());
}

/// What comes from a thread that others depend on is put aside, and written in its order once the client reads, up to the end of a flush.
#[test]
fn a_thread_that_waits_for_nobody_puts_aside_what_finds_no_room() {
    let (mut client, lines, ended) = lines(2, Duration::from_secs(3600));
    let said: Vec<_> =
        (0..7).map(|number| format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"result\":[\"{}\"]}}", "x".repeat(1 << 20))).collect();
    thread::scope(|scope| {
        let offers = scope.spawn(|| {
            crate::connection::wait_for_nobody();
            said.iter().all(|text| lines.offer(Message::parse(text.clone()).unwrap()).is_ok())
        });
        assert!(offers.join().unwrap());
        let flushed = scope.spawn(|| lines.flush(Duration::from_secs(20)));
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut line = vec![0; said[0].len() + 1];
        for text in &said {
            client.read_exact(&mut line).unwrap();
            assert!(line.starts_with(text.as_bytes()) && line.ends_with(b"\n"));
        }
        flushed.join().unwrap();
        assert_eq!(lines.count(), 0, "a flush waits for what was put aside as well");
        let flood = scope.spawn(|| {
            crate::connection::wait_for_nobody();
            while lines.offer(Message::parse(said[0].clone()).unwrap()).is_ok() {}
        });
        flood.join().unwrap();
    });
    assert!(matches!(ended.try_recv(), Ok(End::Deaf(error)) if error.kind() == io::ErrorKind::TimedOut));
}

/// Lines that are written past the queue and lines that go through it do not overtake each other.
#[test]
fn lines_keep_the_order_in_which_each_sender_sent_them() {
    const SENDERS: usize = 4;
    const LINES: usize = 2000;
    let (client, lines, ended) = lines(4, Duration::from_secs(30));
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Now and then one that is too long to be written past the queue.
    let long = |number: usize| if number % 7 == 0 { 5000 } else { 0 };
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let lines = &lines;
            scope.spawn(move || {
                for number in 0..LINES {
                    let text = " ".repeat(long(number));
                    let message = format!(r#"{{"jsonrpc":"2.0","method":"m","params":[{sender},{number},"{text}"]}}"#);
                    lines.send(Message::parse(message).unwrap()).unwrap();
                }
            });
        }
        let mut next = [0; SENDERS];
        let mut client = io::BufReader::new(client);
        for _ in 0..SENDERS * LINES {
            let mut line = String::new();
            io::BufRead::read_line(&mut client, &mut line).unwrap();
            let message = serde_json::from_str::<serde_json::Value>(&line).unwrap();
            let (sender, number) = (message["params"][0].as_u64().unwrap() as usize, message["params"][1].as_u64().unwrap() as usize);
            assert_eq!((number, message["params"][2].as_str().unwrap().len()), (next[sender], long(number)));
            next[sender] += 1;
        }
    });
    assert!(ended.try_recv().is_err());
}

/// A line is written past the queue only when it cannot be waited for there: nobody would notice that the client does not read.
#[test]
fn short_lines_to_a_client_that_does_not_read_end_its_session_too() {
    let (_unread, lines, ended) = lines(4, Duration::from_millis(50));
    let sender = Arc::clone(&lines);
    spawn("sender", move || while sender.send(Message::notification("notifications/message", None)).is_ok() {}).unwrap();
    assert!(matches!(ended.recv_timeout(Duration::from_secs(20)), Ok(End::Deaf(error)) if error.kind() == io::ErrorKind::TimedOut));
}

/// A back with a mistake of ours in it: where a message is taken, or in the call itself.
struct Mistaken {
    is_in_call: bool,
}

impl Back for Mistaken {
    fn open(&self, _: Client) -> std::result::Result<Arc<dyn Link>, RpcError> {
        Ok(Arc::new(Mistaken { is_in_call: self.is_in_call }))
    }

    fn drain(&self, _: Duration) {}
}

impl Link for Mistaken {
    fn deliver(&self, _: Message, _: &Arc<dyn Outlet>) -> Option<Job> {
        assert!(self.is_in_call, "a mistake where a message is taken");
        Some(Box::new(|| panic!("a mistake in a call")))
    }

    fn version(&self) -> Option<crate::version::Version> {
        None
    }

    fn is_busy(&self) -> bool {
        false
    }

    fn close(&self) {}
}

/// Nobody would read stdin any more, and nobody would know.
#[test]
fn a_mistake_of_ours_in_the_thread_that_reads_ends_the_session() {
    for is_in_call in [false, true] {
        for begin in [Begin::AtOnce, Begin::WithMessage] {
            let (_client, lines, ended) = lines(4, Duration::from_secs(30));
            let (mut said, input) = UnixStream::pair().unwrap();
            let limits = Limits::default();
            let reader = Box::new(Reader {
                input: BufReader::new(File::from(OwnedFd::from(input))),
                outlet: Arc::clone(&lines) as Arc<dyn Outlet>,
                end: lines.ending().clone(),
                lines,
                back: Arc::new(Mistaken { is_in_call }),
                link: Arc::default(),
                workers: Workers::of(&limits),
                relay: None,
                pace: Pace::default(),
                limit: limits.max_line,
                begin,
                was_told: false,
                has_ended: false,
            });
            spawn("stdin", move || reader.read()).unwrap();
            io::Write::write_all(&mut said, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}\n").unwrap();
            // Where another thread has taken over meanwhile, that one sees the end of stdin.
            drop(said);
            assert!(ended.recv_timeout(Duration::from_secs(20)).is_ok(), "{is_in_call}");
        }
    }
}
