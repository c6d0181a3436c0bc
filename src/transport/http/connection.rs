//! One connection: requests in, answers out, in the thread that reads from it.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Shared;
use crate::clock;
use crate::connection::Job;
use crate::http1::{self, CONTINUE, Framing, Head, Reader, Refusal, Socket, Writer, linger};
use crate::threads;
use crate::transport::connections::{Phase, Place};
use crate::transport::endpoints::{self, Exchange};
use crate::transport::hangup::Watched;
use crate::transport::monitor::Watch;
use crate::transport::relay::{Baton, Lane, Pace, Relay};
use crate::transport::reply::{EventBody, Full, Reply};
use crate::transport::streamable::response::{Ended, Response};
use crate::transport::wire::{time_for, write_all};

/// A thread that waits for hours, then tells a handler that its client has gone. Less than a quarter of [`STACK`](super::STACK): glibc keeps the stacks of
/// threads that ended, with the pages they had touched, for those that ask for a quarter or more.
const STREAM_STACK: usize = 480 << 10;

/// A thread that only copies bytes.
const SMALL_STACK: usize = 128 << 10;

/// Of a body that is not wanted this much is read, so that the connection can stay.
const UNWANTED: u64 = 64 * 1024;

/// How long and how much a client may still send after we have closed our side.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 1 << 20);

/// One connection, in the thread that reads from it.
pub(super) struct Connection {
    place: Place,
    watch: Watch,
    shared: Arc<Shared>,
    socket: Socket,
    reader: Reader,
    had_request: bool,
    pace: Pace,
}

/// What comes behind a request.
enum After {
    /// The next one, once these calls are on their way.
    Jobs(Vec<Job>),
    /// An event stream, for the rest of the connection.
    Stream(Writer, EventBody),
    /// Nothing.
    End,
}

/// A stream that has begun, and what ends with it, in this order.
struct Carried {
    body: EventBody,
    socket: Arc<TcpStream>,
    watched: Option<Watched>,
    place: Place,
}

impl Baton for Connection {
    fn go_on(self: Box<Self>) {
        self.place.set(Phase::Idle);
        self.serve();
    }
}

impl Connection {
    pub fn new(place: Place, shared: Arc<Shared>, stream: Arc<TcpStream>) -> Box<Connection> {
        // What fails here fails again at the first read or write.
        drop(stream.set_nodelay(true));
        drop(stream.set_write_timeout(Some(shared.write_deadline)));
        Box::new(Connection {
            place,
            watch: shared.monitor.watch(),
            shared,
            socket: Socket::new(stream),
            reader: Reader::new(),
            had_request: false,
            pace: Pace::default(),
        })
    }

    /// One request after the other, until the connection ends or another thread has taken it over.
    pub fn serve(mut self: Box<Self>) {
        let shared = Arc::clone(&self.shared);
        let mut lane = None;
        loop {
            let jobs = match self.exchange() {
                After::Jobs(jobs) => jobs,
                After::Stream(writer, body) => return (*self).stream(writer, body),
                After::End => return,
            };
            match self.run(jobs, &shared.relay, &mut lane) {
                Some(connection) => self = connection,
                None => return,
            }
            self.watch.end();
            self.place.set(Phase::Idle);
        }
    }

    /// Runs what a request led to, behind its answer. A single call runs on this thread, unless it is likely to take long, or more has come meanwhile.
    fn run(
        self: Box<Self>,
        mut jobs: Vec<Job>,
        relay: &Arc<Relay<Connection>>,
        lane: &mut Option<Arc<Lane<Connection>>>,
    ) -> Option<Box<Self>> {
        let Some(last) = jobs.pop() else { return Some(self) };
        let last = self.pace.timed(last);
        if jobs.is_empty() && !self.reader.has_buffered() && self.pace.is_quick() && relay.can_relieve() {
            return relay.run(lane.get_or_insert_with(|| relay.lane()), self, last);
        }
        jobs.into_iter().for_each(|job| self.shared.endpoints.run(job));
        self.shared.endpoints.run(last);
        Some(self)
    }

    /// Takes one request and answers it.
    fn exchange(&mut self) -> After {
        let shared = Arc::clone(&self.shared);
        let limits = if self.had_request { &shared.limits } else { &shared.first };
        let head = match self.reader.head(&mut self.socket, limits) {
            Ok(head) => head,
            Err(refusal) => return self.refuse(refusal),
        };
        self.had_request = true;
        self.place.set(Phase::Busy);
        let mut writer = Writer::of(&head);
        let exchange = match shared.endpoints.screen(&head) {
            Ok(route) => match self.body(&head, &shared.limits) {
                Ok(body) => shared.endpoints.exchange(route, &head, body),
                Err(refusal) => return self.refuse(refusal),
            },
            Err(full) => {
                if !self.pass_over_body(&head) {
                    writer = writer.close();
                }
                Exchange::Done(full.into(), Vec::new())
            }
        };
        let (reply, jobs) = match exchange {
            Exchange::Done(reply, jobs) => (reply, jobs),
            Exchange::Open(response, jobs) => match self.converse(writer, response, jobs) {
                Ended::Reply(reply) => (reply, Vec::new()),
                Ended::Streamed(stream) => {
                    // It ends with its writer, who has the socket as well.
                    stream.map(|stream| stream.join());
                    self.close(false);
                    return After::End;
                }
            },
        };
        let full = match reply {
            Reply::Full(full) => full,
            Reply::Stream(body) => return After::Stream(writer.close(), body),
        };
        let is_written = self.write(writer, full).is_ok();
        if is_written && writer.keeps_alive() {
            return After::Jobs(jobs);
        }
        jobs.into_iter().for_each(|job| shared.endpoints.run(job));
        if is_written {
            self.close(!matches!(head.framing, Framing::None | Framing::Length(0)));
        }
        After::End
    }

    /// Runs the call that a response waits for on this thread; if there are several, or it has to wait for its turn, others run them.
    fn converse(&mut self, writer: Writer, response: Arc<Response>, mut jobs: Vec<Job>) -> Ended {
        if response.ends_with_client() {
            self.watch.begin(self.socket.stream(), &response);
        }
        match jobs.pop() {
            Some(job) if jobs.is_empty() => {
                let (shared, socket) = (Arc::clone(&self.shared), Arc::clone(self.socket.stream()));
                response.run(job, Box::new(move |body| write_beside(shared, socket, writer.close(), body)))
            }
            last => {
                jobs.into_iter().chain(last).for_each(|job| self.shared.endpoints.run(job));
                response.wait()
            }
        }
    }

    fn body(&mut self, head: &Head, limits: &http1::Limits) -> std::result::Result<Vec<u8>, Refusal> {
        let stream = Arc::clone(self.socket.stream());
        self.reader.body(head, &mut self.socket, limits, || (&*stream).write_all(CONTINUE))
    }

    /// Reads away a small body that nobody wants. False when the connection cannot go on behind it.
    fn pass_over_body(&mut self, head: &Head) -> bool {
        match head.framing {
            Framing::None | Framing::Length(0) => true,
            Framing::Length(length) if length <= UNWANTED && !head.expects_continue => {
                self.reader.body(head, &mut self.socket, &self.shared.limits, || Ok(())).is_ok()
            }
            Framing::Length(_) | Framing::Chunked => false,
        }
    }

    fn write(&self, writer: Writer, full: Full) -> io::Result<()> {
        let status = full.status.0;
        let head = writer.before(status, &full.headers, full.body.len());
        let body = if writer.has_body(status) { &*full.body } else { &[] };
        let deadline = clock::from_now(time_for(body.len(), self.shared.write_deadline));
        write_all(self.socket.stream(), &mut [IoSlice::new(&head), IoSlice::new(body)], deadline)
    }

    /// Begins a stream, and leaves it to a thread of its own.
    fn stream(self, writer: Writer, mut body: EventBody) {
        let Connection { place, socket, shared, .. } = self;
        place.set_stream(body.feed().stream(), body.is_used());
        let head = writer.stream(200, &body.take_headers());
        let mut carried = Carried { body, socket: Arc::clone(socket.stream()), watched: None, place };
        if carried.body.feed().begin(&carried.socket, writer.is_chunked(), head).is_ok() {
            carried.watched = shared.hangups.watch(carried.body.feed().stream(), &carried.socket);
            carry(carried);
        }
    }

    /// Answers what is no request, or is too much, as the last thing on its connection.
    fn refuse(&mut self, refusal: Refusal) -> After {
        if let Refusal::Bad { why: why @ http1::IS_TLS, .. } = refusal {
            // Once: whoever looks here has a client that only says that its handshake failed.
            static TOLD: Once = Once::new();
            TOLD.call_once(|| log::warn!("refused a connection: {why}"));
        }
        if refusal.status().is_some() && self.write(Writer::closing(), endpoints::refused(refusal)).is_ok() {
            self.close(true);
        }
        After::End
    }

    /// Ends a connection after its last answer. Where the client may still be sending, it gets a moment: closing over unread bytes would destroy the
    /// answer on its way.
    fn close(&mut self, may_be_sending: bool) {
        // Both fail only when the client is gone.
        drop(self.socket.stream().shutdown(Shutdown::Write));
        if may_be_sending {
            // It has its answer: when connections run out it goes first.
            self.place.set(Phase::Idle);
            let (patience, bytes) = LINGER;
            linger(&mut self.socket, bytes, Instant::now() + patience);
        }
    }
}

/// Writes a stream that has begun in a thread of its own. Streams are idle for hours, and there may be thousands: what it took to read the request and
/// to open a session is given back with the stack of the thread that did it, and the new one needs two pages.
fn carry(carried: Carried) {
    let ours = Arc::new(Mutex::new(Some(carried)));
    let theirs = Arc::clone(&ours);
    let take = |from: &Mutex<Option<Carried>>| from.lock().unwrap_or_else(PoisonError::into_inner).take();
    let write = move || take(&theirs).into_iter().for_each(Carried::write);
    if let Err(error) = threads::start_small("http-stream", STREAM_STACK, write) {
        log::debug!("no thread for an event stream ({error}): its connection's goes on");
        take(&ours).into_iter().for_each(Carried::write);
    }
}

impl Carried {
    fn write(self) {
        // Dropped from the last one to the first.
        let Carried { place: _place, watched: _watched, socket, body } = self;
        let ended_well = body.feed().run();
        drop(body);
        if ended_well {
            // It fails only when the client is gone.
            drop(socket.shutdown(Shutdown::Write));
        }
    }
}

/// Begins an event stream, and writes it in a thread of its own while the connection's is busy with the handler.
fn write_beside(shared: Arc<Shared>, socket: Arc<TcpStream>, writer: Writer, body: EventBody) -> io::Result<JoinHandle<()>> {
    let head = writer.stream(200, body.headers());
    write_all(&socket, &mut [IoSlice::new(&head)], clock::from_now(shared.write_deadline))?;
    body.feed().attach(&socket, writer.is_chunked(), Vec::new())?;
    let write = move || {
        let _watched = shared.hangups.watch(body.feed().stream(), &socket);
        body.feed().run();
        // The client is to see the end at once, though the handler may go on. What cannot be shut down is shut already.
        drop(socket.shutdown(Shutdown::Write));
    };
    threads::start_small("http-stream", SMALL_STACK, write)
}
