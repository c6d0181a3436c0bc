//! `soak`: many clients at full speed, coming and going, some of them rude, against a server with few sessions. The polite must not notice, and in the end
//! nothing may be left: prints a line each minute, each check, and how many passed.

mod rude;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::conn::Conn;
use crate::session::{Session, Target};
use crate::{Flags, Report, Result, proc};

/// How long what was used may take to be given back in the end: threads without work end after ten seconds, a client that does not read after thirty.
const GIVEN_BACK: Duration = Duration::from_secs(60);
/// How long the server may take to end.
const END: Duration = Duration::from_secs(8);
/// Calls of one session: some stay long, most do not.
const CALLS: u64 = 400;
/// So many abandoned sessions are known, more than the server may have, and fewer than it remembers of those that have ended.
const ABANDONED: usize = 1000;
/// Errors that are shown.
const SHOWN: usize = 5;

/// What all threads share.
struct Soak {
    address: SocketAddr,
    is_over: AtomicBool,
    calls: AtomicU64,
    sessions: AtomicU64,
    /// Connections of the polite, and of the rude.
    polite: AtomicU64,
    rude: AtomicU64,
    /// Ids of the last sessions on /mcp that were left without a word.
    abandoned: Mutex<VecDeque<String>>,
    errors: Mutex<Vec<String>>,
    failed: AtomicU64,
}

impl Soak {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn fail(&self, who: &str, why: &dyn std::fmt::Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() < SHOWN {
            errors.push(format!("{who}: {why}"));
        }
    }
}

/// Numbers that are the same in every run (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The server, and what it says.
struct Server {
    child: Child,
    address: SocketAddr,
    panics: Arc<AtomicU64>,
}

impl Server {
    fn start(command: &str) -> Result<Server> {
        let mut words = command.split_ascii_whitespace();
        let mut child = Command::new(words.next().ok_or("--command is missing")?)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
        let address = loop {
            let line = lines.next().ok_or("the server ended")??;
            if let Some((_, rest)) = line.split_once("listening on http://") {
                break rest.split([' ', ',']).next().unwrap_or_default().parse()?;
            }
        };
        let panics = Arc::<AtomicU64>::default();
        let seen = Arc::clone(&panics);
        // Reads on for as long as it lives: a full pipe would stop it.
        thread::spawn(move || {
            for line in lines.map_while(std::result::Result::ok) {
                if line.contains("panicked") {
                    eprintln!("{line}");
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Server { child, address, panics })
    }

    /// Asks it to end, and says how it did.
    fn end(&mut self) -> Result<Option<i32>> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What was found to be so, or not.
#[derive(Default)]
struct Checks {
    passed: u32,
    failed: u32,
}

impl Checks {
    fn check(&mut self, holds: bool, what: &str) {
        println!("{} {what}", if holds { "ok    " } else { "FAILED" });
        *(if holds { &mut self.passed } else { &mut self.failed }) += 1;
    }
}

pub fn run(flags: &Flags) -> Result<Report> {
    let time = Duration::from_secs(flags.or("seconds", 600)?);
    let clients: u64 = flags.or("clients", 64)?;
    let most: u64 = flags.or("max-sessions", 128)?;
    let mut server = Server::start(&flags.or("command", String::new())?)?;
    let (pid, address) = (server.child.id(), server.address);
    let soak = Arc::new(Soak {
        address,
        is_over: AtomicBool::new(false),
        calls: AtomicU64::new(0),
        sessions: AtomicU64::new(0),
        polite: AtomicU64::new(0),
        rude: AtomicU64::new(0),
        abandoned: Mutex::default(),
        errors: Mutex::default(),
        failed: AtomicU64::new(0),
    });
    // Some threads of the server begin with the first client of a kind, and stay.
    for target in [target(address, "sse")?, target(address, "mcp")?] {
        Session::open(&target)?.call(0)?;
    }
    let before = at_rest(pid);
    println!("{clients} clients for {} s, at most {most} sessions; at rest {} threads, {} descriptors", time.as_secs(), before.0, before.1);
    let mut threads = Vec::new();
    for number in 0..clients {
        let (soak, target) = (Arc::clone(&soak), target(address, if number % 2 == 0 { "sse" } else { "mcp" })?);
        threads.push(thread::spawn(move || polite(&soak, &target, number)));
    }
    let rude = rude::start(&soak);
    let resident = watch(&soak, pid, time, Duration::from_secs(flags.or("every", 60)?));
    soak.is_over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    let kinds = rude.join().unwrap_or_default();
    let mut checks = Checks::default();
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    for error in soak.errors.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("       {error}");
    }
    let (calls, failed) = (load(&soak.calls), load(&soak.failed));
    checks.check(failed == 0 && calls > 0, &format!("{calls} calls in {} sessions, {failed} failed", load(&soak.sessions)));
    let (polite, ill) = (load(&soak.polite), load(&soak.rude));
    checks.check(kinds.iter().all(|(_, count)| *count > 0), &format!("{ill} rude connections beside {polite}: {}", rude::shown(&kinds)));
    let first = soak.abandoned.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let status = first.map_or(Ok(0), |id| ping(address, &id));
    checks.check(matches!(status, Ok(404)), &format!("sessions that were abandoned have made room: {status:?} is 404"));
    // Wide: an allocator keeps what it may use again, and how many large answers wait for clients that do not read is chance.
    let half = resident.len() / 2;
    let peak = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (early, late) = (peak(&resident[..half]), peak(&resident[half..]));
    checks.check(
        late <= early + early / 2 + (16 << 10),
        &format!("memory is flat: at most {early} KiB in the first half, {late} in the second"),
    );
    let after = settled(pid, before);
    checks.check(after.0 <= before.0, &format!("threads are given back: {} before, {} after", before.0, after.0));
    checks.check(after.1 <= before.1, &format!("descriptors are given back: {} before, {} after", before.1, after.1));
    checks.check(matches!(ping(address, "no"), Ok(404)), "it serves");
    let status = server.end()?;
    checks.check(status == Some(0), &format!("it ends within {} s: {status:?}", END.as_secs()));
    checks.check(load(&server.panics) == 0, "nothing panicked");
    println!("{} passed, {} failed", checks.passed, checks.failed);
    if checks.failed > 0 { Err("see above".into()) } else { Ok(Report::default()) }
}

fn target(address: SocketAddr, transport: &str) -> Result<Arc<Target>> {
    let words = ["--transport", transport, "--port", &address.port().to_string()].map(str::to_owned);
    Target::read(&Flags::read(words.into_iter())?)
}

/// One client after the other: a session, some calls, and away.
fn polite(soak: &Soak, target: &Arc<Target>, number: u64) {
    let mut random = Random(number);
    while soak.goes_on() {
        let calls = if random.below(16) == 0 { 16 * CALLS } else { 1 + random.below(CALLS) };
        if let Err(error) = session(soak, target, calls, &mut random) {
            soak.fail(if number % 2 == 0 { "sse" } else { "mcp" }, &error);
            // Not to fill the screen with what follows from one failure.
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn session(soak: &Soak, target: &Arc<Target>, calls: u64, random: &mut Random) -> Result<()> {
    let mut session = Session::open(target)?;
    soak.sessions.fetch_add(1, Ordering::Relaxed);
    soak.polite.fetch_add(if session.id().is_some() { 1 } else { 2 }, Ordering::Relaxed);
    for id in 1..=calls {
        if !soak.goes_on() {
            break;
        }
        session.call(id)?;
        soak.calls.fetch_add(1, Ordering::Relaxed);
    }
    // One in eight says that it leaves.
    let is_told = random.below(8) == 0;
    if let Some(id) = session.id() {
        if is_told {
            let status = request(soak.address, "DELETE", id, "")?;
            return if status == 204 { Ok(()) } else { Err(format!("DELETE: {status}").into()) };
        }
        let mut abandoned = soak.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        abandoned.push_back(id.to_owned());
        if abandoned.len() > ABANDONED {
            abandoned.pop_front();
        }
    }
    Ok(())
}

/// Whether a session on /mcp is there: the status of a ping.
fn ping(address: SocketAddr, session: &str) -> Result<u16> {
    request(address, "POST", session, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
}

fn request(address: SocketAddr, method: &str, session: &str, body: &str) -> Result<u16> {
    let mut conn = Conn::open(address, 4096)?;
    let head = format!(
        "{method} /mcp HTTP/1.1\r\nHost: {address}\r\nMcp-Session-Id: {session}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    conn.send([head.as_bytes(), body.as_bytes()])?;
    let head = conn.head()?;
    conn.whole_body()?;
    Ok(head.status)
}

/// Prints, at each interval, what there is; returns the resident memory at each.
fn watch(soak: &Soak, pid: u32, time: Duration, every: Duration) -> Vec<u64> {
    // A short run has four intervals.
    let every = every.min(time / 4);
    let begun = Instant::now();
    let (mut resident, mut calls) = (Vec::new(), 0);
    while begun.elapsed() < time {
        thread::sleep(every.min(time.saturating_sub(begun.elapsed())));
        let (all, now) = (soak.calls.load(Ordering::Relaxed), proc::resident(&[pid]).0);
        println!(
            "{:4} s  {:7} calls/s  {now:6} KiB  {:4} threads  {:4} descriptors  {:6} sessions  {:5} rude  {} failed",
            begun.elapsed().as_secs(),
            (all - calls) / every.as_secs().max(1),
            proc::threads(pid),
            proc::descriptors(pid),
            soak.sessions.load(Ordering::Relaxed),
            soak.rude.load(Ordering::Relaxed),
            soak.failed.load(Ordering::Relaxed),
        );
        calls = all;
        resident.push(now);
    }
    resident
}

/// Threads and descriptors.
fn held(pid: u32) -> (u64, u64) {
    (proc::threads(pid), proc::descriptors(pid))
}

/// What is held when that has not changed for a while.
fn at_rest(pid: u32) -> (u64, u64) {
    let begun = Instant::now();
    let (mut last, mut since) = (held(pid), Instant::now());
    while since.elapsed() < Duration::from_secs(6) && begun.elapsed() < GIVEN_BACK {
        thread::sleep(Duration::from_millis(100));
        let now = held(pid);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

/// What is held once that is no more than `wanted`, or when there was time enough.
fn settled(pid: u32, wanted: (u64, u64)) -> (u64, u64) {
    let begun = Instant::now();
    loop {
        let now = held(pid);
        if (now.0 <= wanted.0 && now.1 <= wanted.1) || begun.elapsed() > GIVEN_BACK {
            return now;
        }
        thread::sleep(Duration::from_millis(100));
    }
}
