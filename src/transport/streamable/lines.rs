//! The streams of one session. A stream of events is a line that may be cut: what is said on it is kept for a while, and a client that comes back names
//! the last event it has seen and gets the rest (2025-11-25 basic/transports, Resumability and Redelivery).
//!
//! A line belongs to the requests of one POST and ends with them, or it is one of those that a client opened by GET, of which the newest carries what
//! belongs to no request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::{Gone, Outlet};
use crate::event;
use crate::message::{Kind, Message};
use crate::transport::stream::EventStream;
use crate::transport::streamable::replay::{Place, Replay};

/// Streams a client may have open by GET. One more is refused: to close an old one would make its client come back, for ever.
const MOST: usize = 4;

/// How long a sender that must not wait for the client gives another one to be done. At the end it is one sender for all clients, so that with
/// many that do not read the times add up.
const SOON: Duration = Duration::from_millis(20);

/// All lines of a session.
pub(super) struct Lines {
    tag: u32,
    replay: Mutex<Replay>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    is_over: bool,
    last: u64,
    calls: Vec<Arc<Line>>,
    /// Those opened by GET, the newest last. When all are closed the newest stays, for its client to come back to.
    own: Vec<Arc<Line>>,
}

/// One line.
pub(super) struct Line {
    number: u64,
    /// Held while an event is sent, so that events come in the order of their numbers; a slow client may make that long.
    order: Mutex<Order>,
    /// Never held for long.
    stream: Mutex<Option<Arc<EventStream>>>,
}

#[derive(Default)]
struct Order {
    /// How many events there were.
    count: u64,
    is_over: bool,
}

/// Why a stream cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    TooMany,
    Over,
}

impl Lines {
    pub fn new(tag: u32, replay: Replay) -> Arc<Lines> {
        Arc::new(Lines { tag, replay: Mutex::new(replay), table: Mutex::default() })
    }

    /// A line for the requests of one POST, on this stream. A client that can come back from the start is told so by an event of its own.
    pub fn open_call(&self, stream: Arc<EventStream>, primes: bool) -> Arc<Line> {
        let mut table = lock(&self.table);
        let line = table.new_line(stream);
        table.calls.push(Arc::clone(&line));
        drop(table);
        self.prime(&line, primes);
        line
    }

    /// The requests of a POST are over: nothing more will come.
    pub fn end_call(&self, line: &Arc<Line>) {
        lock(&self.table).calls.retain(|other| !Arc::ptr_eq(other, line));
        lock(&line.order).is_over = true;
        line.take().into_iter().for_each(|stream| stream.finish());
    }

    /// Opens a line by GET; or, where the client names the last event it has seen, the line that the event stood on, and what came on it since.
    pub fn open(&self, stream: &Arc<EventStream>, last_event: Option<&str>, primes: bool) -> Result<(), Refused> {
        let seen = last_event.and_then(Place::parse).filter(|seen| seen.tag == self.tag);
        let mut table = lock(&self.table);
        if table.is_over {
            return Err(Refused::Over);
        }
        let line = seen.and_then(|seen| table.find(seen.line));
        let is_call = line.as_ref().is_some_and(|line| table.calls.iter().any(|call| Arc::ptr_eq(call, line)));
        if !is_call
            && table.own.iter().filter(|other| !line.as_ref().is_some_and(|line| Arc::ptr_eq(line, other)) && other.is_open()).count()
                >= MOST
        {
            return Err(Refused::TooMany);
        }
        match (line, seen) {
            (Some(line), Some(seen)) => {
                if !is_call {
                    table.make_newest(&line);
                }
                drop(table);
                // Its client has left the former stream; whoever is sending there must not wait for it.
                line.take().into_iter().for_each(|former| former.cut());
                let order = lock(&line.order);
                self.replay(seen, stream);
                if order.is_over {
                    stream.finish();
                } else {
                    *lock(&line.stream) = Some(Arc::clone(stream));
                }
            }
            (None, Some(seen)) if !lock(&self.replay).after(seen.line, seen.number).is_empty() => {
                // Its requests are over; what it had to say ends it.
                drop(table);
                self.replay(seen, stream);
                stream.finish();
            }
            _ => {
                let line = table.new_line(Arc::clone(stream));
                table.make_newest(&line);
                drop(table);
                self.prime(&line, primes);
            }
        }
        Ok(())
    }

    /// Ends the stream of a line before its requests are over. Its client comes back for the rest.
    pub fn close_stream(&self, line: &Line) {
        line.take().into_iter().for_each(|stream| stream.finish());
    }

    /// Sends on a line. Whether the client is there or not: it may come back.
    pub fn send(&self, line: &Line, message: Message, may_wait: bool) {
        let mut order = if may_wait { lock(&line.order) } else { line.order_soon() };
        order.count += 1;
        let id = Place { tag: self.tag, line: line.number, number: order.count }.to_string();
        let Some(stream) = lock(&line.stream).clone() else { return lock(&self.replay).keep(line.number, order.count, message) };
        lock(&self.replay).keep(line.number, order.count, message.clone());
        let sent = if may_wait { stream.send_with_id(&id, message) } else { stream.offer_with_id(&id, message) };
        if sent.is_err() {
            // Nothing else has come in its place: that happens under the lock of the order.
            *lock(&line.stream) = None;
        }
    }

    /// Whether a client reads one of the streams.
    pub fn is_open(&self) -> bool {
        let table = lock(&self.table);
        table.calls.iter().chain(&table.own).any(|line| line.is_open())
    }

    /// The session is over, and its streams end; at once, or when what is queued is written.
    pub fn end(&self, at_once: bool) {
        let mut table = lock(&self.table);
        table.is_over = true;
        let lines: Vec<_> = table.calls.drain(..).collect();
        let lines: Vec<_> = lines.into_iter().chain(table.own.drain(..)).collect();
        drop(table);
        for line in lines {
            line.take().into_iter().for_each(|stream| if at_once { stream.cut() } else { stream.finish() });
        }
    }

    /// The streams that were opened by GET end when what is queued is written.
    pub fn finish(&self) {
        let own = lock(&self.table).own.clone();
        own.iter().filter_map(|line| line.take()).for_each(|stream| stream.finish());
    }

    fn prime(&self, line: &Line, primes: bool) {
        let Some(stream) = lock(&line.stream).clone() else { return };
        let id = Place { tag: self.tag, line: line.number, number: 0 }.to_string();
        let text = if primes { event::priming(&id) } else { event::RETRY.to_owned() };
        // A stream whose client is gone already finds out soon enough.
        drop(stream.open_with(text));
    }

    fn replay(&self, seen: Place, stream: &EventStream) {
        let missed = lock(&self.replay).after(seen.line, seen.number);
        // In one piece: the queue of a stream is shorter than what may have been missed.
        let mut text = event::RETRY.to_owned();
        for (number, message) in missed {
            text.push_str(&event::message_with_id(&Place { number, ..seen }.to_string()));
            text.push_str(message.as_str());
            text.push_str(event::END);
        }
        drop(stream.open_with(text));
    }
}

impl Table {
    fn new_line(&mut self, stream: Arc<EventStream>) -> Arc<Line> {
        self.last += 1;
        Arc::new(Line { number: self.last, order: Mutex::default(), stream: Mutex::new(Some(stream)) })
    }

    fn find(&self, number: u64) -> Option<Arc<Line>> {
        self.calls.iter().chain(&self.own).find(|line| line.number == number).cloned()
    }

    /// From now on this one carries what belongs to no request. Of those that are closed none is needed any more.
    fn make_newest(&mut self, line: &Arc<Line>) {
        self.own.retain(|other| !Arc::ptr_eq(other, line) && other.is_open());
        self.own.push(Arc::clone(line));
    }
}

impl Line {
    /// For a sender that must not wait for the client: another one may be doing just that. Then the client does not read, and loses this stream; it may come
    /// back for the rest.
    fn order_soon(&self) -> MutexGuard<'_, Order> {
        let deadline = Instant::now() + SOON;
        loop {
            match self.order.try_lock() {
                Ok(order) => return order,
                Err(TryLockError::Poisoned(order)) => return order.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                Err(TryLockError::WouldBlock) => break,
            }
        }
        // Ends the other one's wait.
        self.take().into_iter().for_each(|stream| stream.cut());
        lock(&self.order)
    }

    fn is_open(&self) -> bool {
        lock(&self.stream).as_ref().is_some_and(|stream| stream.is_open())
    }

    fn take(&self) -> Option<Arc<EventStream>> {
        lock(&self.stream).take()
    }
}

/// What belongs to no request goes to the newest open stream of those that were opened by GET; where none is open, to the newest, for its client to come
/// back to.
impl Outlet for Lines {
    fn send(&self, message: Message) -> Result<(), Gone> {
        self.offer(message)
    }

    fn offer(&self, message: Message) -> Result<(), Gone> {
        let table = lock(&self.table);
        let line = table.own.iter().rev().find(|line| line.is_open()).or(table.own.last()).cloned();
        let is_over = table.is_over;
        drop(table);
        match line {
            Some(line) => Lines::send(self, &line, message, false),
            // Nobody listens, and nobody will come back for it. What wants an answer must not wait for one.
            None if is_over || message.kind() == Kind::Request => return Err(Gone),
            None => log::debug!("{} is lost: the client has opened no stream for it", message.method()),
        }
        Ok(())
    }

    fn is_listening(&self) -> bool {
        lock(&self.table).own.iter().any(|line| line.is_open())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
