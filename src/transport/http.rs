//! The HTTP listener: a thread for each connection, which reads, answers and writes by itself, within limits.

use std::io::{self, IoSlice, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::Config;
use crate::connection::Job;
use crate::error::{Error, Result};
use crate::http1::{self, CONTINUE, Framing, Head, Reader, Refusal, Socket, Writer, linger};
use crate::transport::bind::{bind, reachable};
use crate::transport::connections::{Connections, Phase, Place};
use crate::transport::endpoints::{self, Endpoints, Exchange};
use crate::transport::monitor::{Monitor, Watch};
use crate::transport::reply::{EventBody, Full, Reply};
use crate::transport::streamable::response::{Ended, Response};
use crate::transport::wire::write_all;

/// A thread that may parse deeply nested JSON: 128 levels overflow 128 KiB.
const STACK: usize = 2 << 20;

/// A thread that only copies bytes.
const SMALL_STACK: usize = 128 << 10;

/// Of a body that is not wanted this much is read, so that the connection can stay.
const UNWANTED: u64 = 64 * 1024;

/// How long and how much a client may still send after we have closed our side.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 1 << 20);

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
}

impl Listener {
    /// Listens where `config` says, and serves `endpoints` there.
    pub fn start(config: &Config, endpoints: Endpoints) -> Result<Listener> {
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
        let shared = Arc::new(Shared { endpoints, limits, first, write_deadline: config.limits.write_deadline, monitor: Monitor::new() });
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
        let serve = move || Connection { watch: shared.monitor.watch(), place, shared }.serve(socket);
        if let Err(error) = thread::Builder::new().name("http".to_owned()).stack_size(STACK).spawn(serve) {
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

/// One connection, in its thread.
struct Connection {
    place: Place,
    watch: Watch,
    shared: Arc<Shared>,
}

impl Connection {
    fn serve(mut self, stream: Arc<TcpStream>) {
        // What fails here fails again at the first read or write.
        drop(stream.set_nodelay(true));
        drop(stream.set_write_timeout(Some(self.shared.write_deadline)));
        let mut socket = Socket::new(stream);
        let mut reader = Reader::new();
        let shared = Arc::clone(&self.shared);
        let mut limits = &shared.first;
        loop {
            let head = match reader.head(&mut socket, limits) {
                Ok(head) => head,
                Err(refusal) => return self.refuse(socket, refusal),
            };
            self.place.set(Phase::Busy);
            limits = &shared.limits;
            let mut writer = Writer::of(&head);
            let exchange = match self.shared.endpoints.screen(&head) {
                Ok(route) => match self.body(&mut reader, &head, &mut socket, limits) {
                    Ok(body) => self.shared.endpoints.exchange(route, &head, body),
                    Err(refusal) => return self.refuse(socket, refusal),
                },
                Err(full) => {
                    if !self.pass_over_body(&mut reader, &head, &mut socket) {
                        writer = writer.close();
                    }
                    Exchange::Done(full.into(), Vec::new())
                }
            };
            let (reply, jobs) = match exchange {
                Exchange::Done(reply, jobs) => (reply, jobs),
                Exchange::Open(response, jobs) => match self.converse(&socket, writer, response, jobs) {
                    Ended::Reply(reply) => (reply, Vec::new()),
                    Ended::Streamed(stream) => {
                        // It ends with its writer, who has the socket as well.
                        stream.map(|stream| stream.join());
                        return self.close(socket, false);
                    }
                },
            };
            match reply {
                Reply::Full(full) => {
                    let written = self.write(&socket, writer, full);
                    jobs.into_iter().for_each(|job| self.shared.endpoints.run(job));
                    if written.is_err() {
                        return;
                    }
                }
                Reply::Stream(body) => {
                    drop(reader);
                    return self.stream(socket, writer, body);
                }
            }
            if !writer.keeps_alive() {
                return self.close(socket, !matches!(head.framing, Framing::None | Framing::Length(0)));
            }
            self.watch.end();
            self.place.set(Phase::Idle);
        }
    }

    /// Runs the call that a response waits for on this thread; if there are several, or it has to wait for its turn, others run them.
    fn converse(&mut self, socket: &Socket, writer: Writer, response: Arc<Response>, mut jobs: Vec<Job>) -> Ended {
        if response.ends_with_client() {
            self.watch.begin(socket.stream(), &response);
        }
        match jobs.pop() {
            Some(job) if jobs.is_empty() => {
                let (socket, patience) = (Arc::clone(socket.stream()), self.shared.write_deadline);
                response.run(job, Box::new(move |body| write_beside(socket, writer.close(), body, patience)))
            }
            last => {
                jobs.into_iter().chain(last).for_each(|job| self.shared.endpoints.run(job));
                response.wait()
            }
        }
    }

    fn body(&self, reader: &mut Reader, head: &Head, socket: &mut Socket, limits: &http1::Limits) -> std::result::Result<Vec<u8>, Refusal> {
        let stream = Arc::clone(socket.stream());
        reader.body(head, socket, limits, || (&*stream).write_all(CONTINUE))
    }

    /// Reads away a small body that nobody wants. False when the connection cannot go on behind it.
    fn pass_over_body(&self, reader: &mut Reader, head: &Head, socket: &mut Socket) -> bool {
        match head.framing {
            Framing::None | Framing::Length(0) => true,
            Framing::Length(length) if length <= UNWANTED && !head.expects_continue => {
                reader.body(head, socket, &self.shared.limits, || Ok(())).is_ok()
            }
            Framing::Length(_) | Framing::Chunked => false,
        }
    }

    fn write(&self, socket: &Socket, writer: Writer, full: Full) -> io::Result<()> {
        let answer = writer.complete(full.status.0, full.headers, &full.body)?;
        let deadline = Instant::now() + self.shared.write_deadline;
        write_all(socket.stream(), &mut [IoSlice::new(&answer)], deadline)
    }

    fn stream(&self, socket: Socket, writer: Writer, body: EventBody) {
        self.place.set_stream(body.feed().stream(), body.is_used());
        let writer = writer.close();
        let begun = writer
            .stream(200, body.headers().to_vec())
            .and_then(|head| write_all(socket.stream(), &mut [IoSlice::new(&head)], Instant::now() + self.shared.write_deadline));
        if begun.is_ok() {
            body.feed().attach(Arc::clone(socket.stream()), writer.is_chunked());
            if body.feed().run() {
                drop(body);
                self.close(socket, false);
            }
        }
    }

    /// Answers what is no request, or is too much, as the last thing on its connection.
    fn refuse(&self, socket: Socket, refusal: Refusal) {
        if refusal.status().is_some() && self.write(&socket, Writer::closing(), endpoints::refused(refusal)).is_ok() {
            self.close(socket, true);
        }
    }

    /// Ends a connection after its last answer. Where the client may still be sending, it gets a moment: closing over unread bytes would destroy the
    /// answer on its way.
    fn close(&self, mut socket: Socket, may_be_sending: bool) {
        // Both fail only when the client is gone.
        drop(socket.stream().shutdown(std::net::Shutdown::Write));
        if may_be_sending {
            // It has its answer: when connections run out it goes first.
            self.place.set(Phase::Idle);
            let (patience, bytes) = LINGER;
            linger(&mut socket, bytes, Instant::now() + patience);
        }
    }
}

/// Begins an event stream, and writes it in a thread of its own while the connection's is busy with the handler.
fn write_beside(socket: Arc<TcpStream>, writer: Writer, body: EventBody, patience: Duration) -> io::Result<JoinHandle<()>> {
    let head = writer.stream(200, body.headers().to_vec())?;
    write_all(&socket, &mut [IoSlice::new(&head)], Instant::now() + patience)?;
    body.feed().attach(Arc::clone(&socket), writer.is_chunked());
    let write = move || {
        body.feed().run();
        // The client is to see the end at once, though the handler may go on. What cannot be shut down is shut already.
        drop(socket.shutdown(std::net::Shutdown::Write));
    };
    thread::Builder::new().name("http-stream".to_owned()).stack_size(SMALL_STACK).spawn(write)
}

/// Tells the clients for whom there is no room, one after the other.
fn tell_there_is_no_room(clients: &Receiver<TcpStream>) {
    let full = Full::text(503, "too many connections: --max-connections sets how many there may be").with("Retry-After", "1");
    while let Ok(stream) = clients.recv() {
        let Ok(answer) = Writer::closing().complete(full.status.0, full.headers.clone(), &full.body) else { continue };
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
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| Error::io("cannot start a thread", error))
}
