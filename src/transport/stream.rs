//! One event stream to one client: a bounded queue with one writer, and a short cut past both while they have nothing to do.
//!
//! The order of events is the order of [`send`](EventStream::send). The queue ends in the thread of the stream, which writes to the socket.
//! `load.count` is what was put into the queue and is not written yet; a sender that finds it 0 and the socket free writes by itself and spares the
//! writer's waking. Why that cannot overtake anything: the count is read and the socket is taken in one step under the lock of `load`; whoever
//! enqueues counts in the same step; and the writer counts down only after it has written.
//!
//! Most streams are idle most of the time, and there may be thousands: the queue is a plain one under the lock, as an empty channel would hold the memory
//! of a full one.

mod feed;

use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use crate::clock;
use crate::connection::{Gone, Outlet};
use crate::event;
use crate::message::{Kind, Message};
use crate::transport::wire::{Item, SMALL, Wire, is_left};
pub(crate) use feed::{Feed, Next};

/// So many kinds of `list_changed` are kept for later. The protocol has three.
const LATE: usize = 8;

/// What bounds a stream's queue. Half of the room is for senders that can wait, the other half for those that cannot: a client that reads as well as it can
/// is not dropped because a handler fills its queue just when it pings.
///
/// A message that is larger than half of `bytes` goes alone in its half, as it has to go some time. So the bytes are a bound of what is queued as long as
/// no message is larger than half of them; at worst two larger ones are queued, one that was waited for and one that nobody could wait for.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub messages: usize,
    pub bytes: usize,
    pub write_deadline: Duration,
}

impl Bounds {
    fn half(self) -> (usize, usize) {
        ((self.messages / 2).max(1), self.bytes / 2)
    }
}

/// The sending half.
pub(crate) struct EventStream {
    bounds: Bounds,
    load: Mutex<Load>,
    /// For the writer: there is something to do.
    has_work: Condvar,
    /// For senders that wait.
    has_room: Condvar,
    wire: Mutex<Wire>,
    /// The socket once more, for whoever ends the stream while its writer is stuck.
    socket: OnceLock<Weak<TcpStream>>,
}

struct Queued {
    item: Item,
    size: usize,
    patience: Patience,
}

#[derive(Default)]
struct Load {
    /// Bounded by `count`.
    queue: VecDeque<Queued>,
    /// What is queued, and what the writer has taken from there and not written yet.
    count: usize,
    bytes: usize,
    /// Of these, what came from senders that cannot wait.
    hasty_count: usize,
    hasty_bytes: usize,
    is_finished: bool,
    is_gone: bool,
    /// To wake nobody would cost a system call.
    writer_waits: bool,
    senders_wait: usize,
    /// Small `list_changed` notifications that found no room: one of a kind says it all.
    late: Vec<Message>,
}

/// Makes a stream that carries a comment whenever it was quiet for `keep_alive`.
pub(crate) fn stream(bounds: Bounds, keep_alive: Duration) -> (Arc<EventStream>, Feed) {
    let stream = EventStream {
        bounds,
        load: Mutex::default(),
        has_work: Condvar::new(),
        has_room: Condvar::new(),
        wire: Mutex::default(),
        socket: OnceLock::new(),
    };
    let stream = Arc::new(stream);
    (Arc::clone(&stream), Feed { stream, keep_alive })
}

impl EventStream {
    /// Sends an event that is no message, such as the first ones of a stream. Complete text, with its blank line.
    pub fn open_with(&self, text: String) -> Result<(), Gone> {
        self.put(Item::Event { before: text, message: None }, Patience::None)
    }

    /// Sends a message as an event that has an id.
    pub fn send_with_id(&self, id: &str, message: Message) -> Result<(), Gone> {
        self.put(Item::Event { before: event::message_with_id(id), message: Some(message) }, Patience::UntilRoom)
    }

    /// The same without waiting.
    pub fn offer_with_id(&self, id: &str, message: Message) -> Result<(), Gone> {
        self.put(Item::Event { before: event::message_with_id(id), message: Some(message) }, Patience::None)
    }

    /// What is queued still goes out, then the stream ends.
    pub fn finish(&self) {
        let mut load = self.lock();
        load.is_finished = true;
        let somebody_waits = load.senders_wait > 0;
        self.wake_writer(load);
        if somebody_waits {
            self.has_room.notify_all();
        }
    }

    /// The stream ends now, also when its writer is stuck.
    pub fn cut(&self) {
        let mut load = self.lock();
        load.is_gone = true;
        self.wake_writer(load);
        self.has_room.notify_all();
        if let Some(socket) = self.socket.get().and_then(Weak::upgrade) {
            // A socket that cannot be shut down is shut already.
            drop(socket.shutdown(Shutdown::Both));
        }
    }

    /// The client will send no more. If nobody is there, its system refuses the comment that this writes. What is under way already may have arrived
    /// before, so the comment goes behind it.
    pub fn probe(&self) {
        let comment = Item::Event { before: event::KEEP_ALIVE.to_owned(), message: None };
        let mut load = self.lock();
        if load.is_gone || load.is_finished {
            return;
        }
        if let Some(wire) = (load.count == 0).then(|| self.free_wire()).flatten() {
            drop(load);
            // A comment that cannot be written has ended the stream.
            drop(self.write_past_queue(wire, &comment, Patience::None));
            return;
        }
        load.enqueue(comment, Patience::UntilRoom);
        self.wake_writer(load);
    }

    /// Whether it goes on, as far as can be seen from here.
    pub fn is_open(&self) -> bool {
        let load = self.lock();
        !load.is_gone
            && !load.is_finished
            && !self.socket.get().is_some_and(|socket| socket.upgrade().is_none_or(|socket| is_left(&socket)))
    }

    fn put(&self, item: Item, patience: Patience) -> Result<(), Gone> {
        let size = item.len();
        let mut load = self.lock();
        if load.is_gone || load.is_finished {
            return Err(Gone);
        }
        if load.count == 0 {
            if let Some(wire) = self.free_wire() {
                drop(load);
                return self.write_past_queue(wire, &item, patience);
            }
        }
        let (count, bytes) = self.bounds.half();
        if patience == Patience::None {
            if load.hasty_count > 0 && (load.hasty_count >= count || load.hasty_bytes + size > bytes) {
                return self.overflow(load, item);
            }
            load.enqueue(item, patience);
            self.wake_writer(load);
            return Ok(());
        }
        let deadline = clock::from_now(self.bounds.write_deadline);
        while load.count > 0 && (load.count >= count || load.bytes + size > bytes) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(load);
                log::warn!(
                    "a client reads too slowly: for {:?} there was no room for a message, its stream is dropped",
                    self.bounds.write_deadline
                );
                self.cut();
                return Err(Gone);
            }
            load.senders_wait += 1;
            load = self.has_room.wait_timeout(load, left).unwrap_or_else(PoisonError::into_inner).0;
            load.senders_wait -= 1;
            if load.is_gone || load.is_finished {
                return Err(Gone);
            }
        }
        load.enqueue(item, patience);
        self.wake_writer(load);
        Ok(())
    }

    /// The queue is full and nobody waits: what a later one replaces is left out, `list_changed` is kept for later, for anything else the client is
    /// too slow.
    fn overflow(&self, mut load: MutexGuard<'_, Load>, item: Item) -> Result<(), Gone> {
        if load.can_go_without(item) {
            return Ok(());
        }
        let (count, bytes) = (load.count, load.bytes);
        drop(load);
        log::warn!("a client reads too slowly: its stream is dropped with {count} messages, {bytes} bytes, that waited for it");
        self.cut();
        Err(Gone)
    }

    fn free_wire(&self) -> Option<MutexGuard<'_, Wire>> {
        let wire = match self.wire.try_lock() {
            Ok(wire) => wire,
            Err(TryLockError::Poisoned(wire)) => wire.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        (wire.socket.is_some() && wire.rest.is_empty()).then_some(wire)
    }

    fn write_past_queue(&self, mut wire: MutexGuard<'_, Wire>, item: &Item, patience: Patience) -> Result<(), Gone> {
        wire.mind(false);
        let written = match patience {
            Patience::UntilRoom => wire.write(item, self.bounds.write_deadline),
            Patience::None => wire.write_what_fits(item),
        };
        if written.is_ok() && !wire.rest.is_empty() {
            // The writer finishes it; until then nobody else finds the count at 0.
            let mut load = self.lock();
            load.add(Queued { item: Item::Signal, size: wire.rest.len(), patience: Patience::UntilRoom });
            self.wake_writer(load);
        }
        if written.is_err() {
            // Before anybody else can write behind half an event.
            self.cut();
        }
        drop(wire);
        written.map_err(|_| Gone)
    }

    fn wake_writer(&self, mut load: MutexGuard<'_, Load>) {
        let waits = std::mem::take(&mut load.writer_waits);
        drop(load);
        if waits {
            self.has_work.notify_one();
        }
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    fn enqueue(&mut self, item: Item, patience: Patience) {
        self.add(Queued { size: item.len(), item, patience });
    }

    fn add(&mut self, queued: Queued) {
        self.count += 1;
        self.bytes += queued.size;
        if queued.patience == Patience::None {
            self.hasty_count += 1;
            self.hasty_bytes += queued.size;
        }
        self.queue.push_back(queued);
    }

    /// Whether what found no room may be left out, or is kept for later.
    fn can_go_without(&mut self, item: Item) -> bool {
        let Item::Event { message: Some(message), .. } = item else { return false };
        if message.kind() != Kind::Notification {
            return false;
        }
        let method = message.method();
        if method == "notifications/progress" || self.late.iter().any(|late| late.method() == method) {
            return true;
        }
        let is_kept = method.ends_with("/list_changed") && self.late.len() < LATE && message.as_str().len() <= SMALL;
        drop(method);
        if is_kept {
            self.late.push(message);
        }
        is_kept
    }

    fn take(&mut self) -> Option<Queued> {
        let next = self.queue.pop_front();
        if self.queue.is_empty() {
            // An idle stream holds no memory for a busy one.
            self.queue = VecDeque::new();
        }
        next
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    UntilRoom,
    None,
}

impl Outlet for EventStream {
    fn send(&self, message: Message) -> Result<(), Gone> {
        self.put(Item::message(message), Patience::UntilRoom)
    }

    fn offer(&self, message: Message) -> Result<(), Gone> {
        self.put(Item::message(message), Patience::None)
    }
}
