//! The HTTP listener: a thread for each connection, which reads, answers and writes by itself, within limits.

mod connection;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::http1::{self, Socket, Writer, linger};
use crate::threads;
use crate::transport::bind::{bind, reachable};
use crate::transport::connections::Connections;
use crate::transport::endpoints::Endpoints;
use crate::transport::hangup::Hangups;
use crate::transport::monitor::Monitor;
use crate::transport::relay::Relay;
use crate::transport::reply::Full;
use connection::Connection;

/// A thread that may parse deeply nested JSON: 128 levels overflow 128 KiB.
const STACK: usize = 2 << 20;

/// Messages up to this size get memory that was used before.
const LARGE: usize = 1 << 20;

/// Connections that wait to be told that there are too many.
const TURNED_AWAY: usize = 64;

/// How long the listener waits when the system has no descriptor or thread for a connection.
const SHORTAGE: Duration = Duration::from_millis(50);

/// A listener at work.
pub(crate) struct Listener {
    addresses: Vec<SocketAddr>,
    connections: Arc<Connections>,
    is_stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What a connection's thread needs.
struct Shared {
    endpoints: Endpoints,
    limits: http1::Limits,
    /// For the first head of a connection: a client that connects has something to say.
    first: http1::Limits,
    write_deadline: Duration,
    monitor: Arc<Monitor>,
    hangups: Hangups,
    relay: Arc<Relay<Connection>>,
}

impl Listener {
    /// Listens where `config` says, and serves `endpoints` there.
    pub fn start(config: &Config, endpoints: Endpoints) -> Result<Listener> {
        keep_memory();
        let sockets = bind(&config.host, config.port)?;
        let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let limits = http1::Limits {
            head_bytes: config.limits.head_bytes,
            headers: config.limits.headers,
            body_bytes: config.max_body,
            head_deadline: config.limits.head_deadline,
            body_deadline: config.limits.body_deadline,
            idle: config.limits.idle_timeout,
        };
        let first = http1::Limits { idle: config.limits.head_deadline, ..limits.clone() };
        let shared = Arc::new(Shared {
            endpoints,
            limits,
            first,
            write_deadline: config.limits.write_deadline,
            monitor: Monitor::new(),
            hangups: Hangups::new(),
            relay: Relay::new("http", STACK),
        });
        let connections = Connections::new(config.max_connections, config.limits.stray_stream);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (turn_away, turned_away) = bounded(TURNED_AWAY);
        let mut threads = vec![spawn("http-turn-away", move || tell_there_is_no_room(&turned_away))?];
        for socket in sockets {
            let acceptor = Acceptor {
                socket,
                shared: Arc::clone(&shared),
                connections: Arc::clone(&connections),
                turn_away: turn_away.clone(),
                is_stopping: Arc::clone(&is_stopping),
            };
            threads.push(spawn("http-accept", move || acceptor.run())?);
        }
        Ok(Listener { addresses, connections, is_stopping, threads })
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Lets the connections end for `patience`, then ends them, and stops listening.
    pub fn stop(&mut self, patience: Duration, endpoints: &Endpoints) {
        if !self.connections.wait_until_none(patience) {
            endpoints.cut();
            self.connections.cut();
            self.connections.wait_until_none(Duration::from_millis(500));
        }
        self.is_stopping.store(true, Ordering::SeqCst);
        for address in &self.addresses {
            // Wakes the acceptor; it closes the socket either way.
            drop(TcpStream::connect_timeout(&reachable(*address), Duration::from_secs(1)));
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// glibc takes memory for large messages from the system and gives it back each time, page by page, until a block as large has been freed once. So one is.
fn keep_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

struct Acceptor {
    socket: TcpListener,
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    turn_away: Sender<TcpStream>,
    is_stopping: Arc<AtomicBool>,
}

impl Acceptor {
    fn run(&self) {
        let mut is_short = false;
        loop {
            match self.socket.accept() {
                Ok((stream, _)) if !self.is_stopping.load(Ordering::SeqCst) => {
                    is_short = false;
                    self.take(stream);
                }
                Ok(_) => return,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if self.is_stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    if !is_short {
                        log::error!("cannot accept a connection: {error}: waiting until it works again");
                    }
                    is_short = true;
                    self.wait_and_make_room();
                }
            }
        }
    }

    fn take(&self, stream: TcpStream) {
        let socket = Arc::new(stream);
        let Some(place) = self.connections.enter(Arc::clone(&socket)) else {
            if let Ok(stream) = Arc::try_unwrap(socket) {
                // Full means that even telling them has to wait: then closing is all there is time for.
                drop(self.turn_away.try_send(stream));
            }
            return;
        };
        let shared = Arc::clone(&self.shared);
        let serve = move || Connection::new(place, shared, socket).serve();
        if let Err(error) = threads::start_small("http", STACK, serve) {
            log::error!("cannot start a thread for a connection: {error}: it is closed");
            self.wait_and_make_room();
        }
    }

    /// In this order: the connection that came in just before is to be answered, not closed for the next one.
    fn wait_and_make_room(&self) {
        thread::sleep(SHORTAGE);
        self.connections.make_room();
    }
}

/// Tells the clients for whom there is no room, one after the other.
fn tell_there_is_no_room(clients: &Receiver<TcpStream>) {
    let full = Full::text(503, "too many connections: --max-connections sets how many there may be").with("Retry-After", "1");
    while let Ok(stream) = clients.recv() {
        let answer = Writer::closing().complete(full.status.0, &full.headers, &full.body);
        drop(stream.set_write_timeout(Some(Duration::from_millis(100))));
        if (&stream).write_all(&answer).is_ok() {
            let mut socket = Socket::new(Arc::new(stream));
            drop(socket.stream().shutdown(std::net::Shutdown::Write));
            linger(&mut socket, 64 * 1024, Instant::now() + Duration::from_millis(50));
        }
    }
}

/// Errors of `accept` that concern the connection that was to be accepted, and not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    threads::start(name, work).map_err(|error| Error::io("cannot start a thread", error))
}
