//! One event stream to one client: a bounded queue with one writer, and a short cut past both while they have nothing to do.
//!
//! The order of events is the order of [`send`](EventStream::send). The queue is a crossbeam channel that ends in the thread of the stream, which
//! writes to the socket. `load.count` is what was put into the queue and is not written yet; a sender that finds it 0 and the socket free writes
//! by itself and spares the writer's waking. Why that cannot overtake anything: the count is read and the socket is taken in one step under the
//! lock of `load`; whoever enqueues counts first, under the same lock; and the writer counts down only after it has written.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::clock;
use crate::connection::{Gone, Outlet};
use crate::event;
use crate::message::{Kind, Message};
use crate::transport::wire::{self, Item, Wire, is_left};

/// Room in the queue for the signals and comments that are no messages.
const SIGNALS: usize = 6;

/// What bounds a stream. Half of the room is for senders that can wait, the other half for those that cannot: a client that reads as well as it can is
/// not dropped because a handler fills its queue just when it pings.
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
    queue: Sender<Box<Queued>>,
    load: Mutex<Load>,
    has_room: Condvar,
    wire: Mutex<Wire>,
    /// The socket once more, for whoever ends the stream while its writer is stuck.
    socket: OnceLock<Weak<TcpStream>>,
}

/// The half of the stream's own thread. Dropping it ends the stream.
pub(crate) struct Feed {
    stream: Arc<EventStream>,
    queue: Receiver<Box<Queued>>,
    keep_alive: Duration,
}

struct Queued {
    item: Item,
    patience: Patience,
}

#[derive(Default)]
struct Load {
    count: usize,
    bytes: usize,
    /// Of these, what came from senders that cannot wait.
    hasty_count: usize,
    hasty_bytes: usize,
    is_finished: bool,
    is_gone: bool,
    /// `list_changed` notifications that found no room: one of a kind says it all.
    late: Vec<Message>,
}

/// Makes a stream that carries a comment whenever it was quiet for `keep_alive`.
pub(crate) fn stream(bounds: Bounds, keep_alive: Duration) -> (Arc<EventStream>, Feed) {
    let (sender, receiver) = bounded(bounds.messages + SIGNALS);
    let stream = EventStream {
        bounds,
        queue: sender,
        load: Mutex::default(),
        has_room: Condvar::new(),
        wire: Mutex::default(),
        socket: OnceLock::new(),
    };
    let stream = Arc::new(stream);
    (Arc::clone(&stream), Feed { stream, queue: receiver, keep_alive })
}

impl EventStream {
    /// Sends an event that is no message, such as the first ones of a stream. Complete text, with its blank line.
    pub fn open_with(&self, text: String) -> Result<(), Gone> {
        self.put(Item::Event { before: text, message: None }, Patience::None)
    }

    /// Sends a message as an event that has an id.
    #[allow(dead_code, reason = "used by Streamable HTTP")]
    pub fn send_with_id(&self, id: &str, message: Message) -> Result<(), Gone> {
        self.put(Item::Event { before: event::message_with_id(id), message: Some(message) }, Patience::UntilRoom)
    }

    /// The same without waiting.
    pub fn offer_with_id(&self, id: &str, message: Message) -> Result<(), Gone> {
        self.put(Item::Event { before: event::message_with_id(id), message: Some(message) }, Patience::None)
    }

    /// What is queued still goes out, then the stream ends.
    pub fn finish(&self) {
        self.lock().is_finished = true;
        self.signal();
    }

    /// The stream ends now, also when its writer is stuck.
    pub fn cut(&self) {
        self.lock().is_gone = true;
        self.has_room.notify_all();
        if let Some(socket) = self.socket.get().and_then(Weak::upgrade) {
            // A socket that cannot be shut down is shut already.
            drop(socket.shutdown(Shutdown::Both));
        }
        self.signal();
    }

    /// The client will send no more. If nobody is there, its system refuses the comment that this writes. What is under way already may have arrived
    /// before, so the comment goes behind it; where there is no room for it, much is still to be written.
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
        let size = comment.len();
        if self.queue.try_send(Box::new(Queued { item: comment, patience: Patience::UntilRoom })).is_ok() {
            load.count += 1;
            load.bytes += size;
        }
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
            return self.enqueue(&mut load, item, patience);
        }
        let deadline = clock::from_now(self.bounds.write_deadline);
        while load.count > 0 && (load.count >= count || load.bytes + size > bytes) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(load);
                log::warn!("a client did not read for {:?}: its stream is dropped", self.bounds.write_deadline);
                self.cut();
                return Err(Gone);
            }
            load = self.has_room.wait_timeout(load, left).unwrap_or_else(PoisonError::into_inner).0;
            if load.is_gone || load.is_finished {
                return Err(Gone);
            }
        }
        self.enqueue(&mut load, item, patience)
    }

    /// There is room: the count is bounded below the capacity. Sent under the lock, so that the queue has the order of the counts.
    fn enqueue(&self, load: &mut Load, item: Item, patience: Patience) -> Result<(), Gone> {
        let size = item.len();
        load.count += 1;
        load.bytes += size;
        if patience == Patience::None {
            load.hasty_count += 1;
            load.hasty_bytes += size;
        }
        self.queue.try_send(Box::new(Queued { item, patience })).map_err(|_| Gone)
    }

    /// The queue is full and nobody waits: what a later one replaces is left out, `list_changed` is kept for later, for anything else the client is
    /// too slow.
    fn overflow(&self, mut load: MutexGuard<'_, Load>, item: Item) -> Result<(), Gone> {
        if let Item::Event { message: Some(message), .. } = item {
            if message.kind() == Kind::Notification {
                let method = message.method();
                if method == "notifications/progress" {
                    return Ok(());
                }
                if method.ends_with("/list_changed") {
                    if !load.late.iter().any(|late| late.method() == method) {
                        drop(method);
                        load.late.push(message);
                    }
                    return Ok(());
                }
            }
        }
        drop(load);
        log::warn!(
            "a client reads too slowly: more than {} messages or {} bytes wait for it, its stream is dropped",
            self.bounds.messages,
            self.bounds.bytes
        );
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
            self.signal();
        }
        drop(wire);
        written.map_err(|_| {
            self.cut();
            Gone
        })
    }

    /// Wakes the writer. When its queue has no room for a signal it is awake.
    fn signal(&self) {
        let mut load = self.lock();
        let signal = Queued { item: Item::Signal, patience: Patience::UntilRoom };
        if self.queue.try_send(Box::new(signal)).is_ok() {
            load.count += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What the stream's own thread gets to do next.
pub(crate) enum Next {
    /// Write this.
    Text(String),
    /// The stream is over; what was queued has been given out.
    End,
}

impl Feed {
    /// The sending half.
    pub fn stream(&self) -> &Arc<EventStream> {
        &self.stream
    }

    /// Gives the stream the socket to write to; the head of the answer is written already.
    pub fn attach(&self, socket: Arc<TcpStream>, is_chunked: bool) {
        // A client that vanished without a word has not acknowledged one comment when the next is written.
        let comment = self.keep_alive / 4 * 3;
        let patience = wire::Patience { comment, message: comment.max(self.stream.bounds.write_deadline) };
        let mut wire = self.stream.wire.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.stream.socket.set(Arc::downgrade(&socket)));
        wire.attach(socket, is_chunked, patience);
    }

    /// Writes to the socket until the stream ends or the client is gone. True when it ended well, with everything written.
    pub fn run(&self) -> bool {
        let deadline = self.stream.bounds.write_deadline;
        loop {
            let item = self.receive();
            let mut wire = self.stream.wire.lock().unwrap_or_else(PoisonError::into_inner);
            wire.mind(matches!(item, Ok(None)));
            let written = match &item {
                Ok(Some(queued)) => wire.write(&queued.item, deadline),
                Ok(None) => wire.write(&Item::Event { before: event::KEEP_ALIVE.to_owned(), message: None }, deadline),
                Err(Gone) => wire.finish(deadline),
            };
            drop(wire);
            match (item, written) {
                (Ok(Some(item)), Ok(())) => self.done(&item),
                (Ok(None), Ok(())) => {}
                (Err(Gone), Ok(())) => return !self.stream.lock().is_gone,
                (_, Err(error)) => {
                    log::debug!("a client left its stream: {error}");
                    return false;
                }
            }
        }
    }

    /// The next piece of the stream as text, for a writer that is not ours. Waits for one keep-alive interval at most.
    pub fn next(&self) -> Next {
        loop {
            let text = match self.receive() {
                Ok(Some(item)) => {
                    let text = item.item.parts().concat();
                    self.done(&item);
                    text
                }
                Ok(None) => event::KEEP_ALIVE.to_owned(),
                Err(Gone) => return Next::End,
            };
            if !text.is_empty() {
                return Next::Text(text);
            }
        }
    }

    /// The next item; none when it is time to say that we are still there; an error at the end of the stream.
    fn receive(&self) -> Result<Option<Box<Queued>>, Gone> {
        let load = self.stream.lock();
        if load.is_gone || (load.is_finished && load.count == 0) {
            return Err(Gone);
        }
        drop(load);
        match self.queue.recv_timeout(self.keep_alive) {
            Ok(item) => Ok(Some(item)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    fn done(&self, queued: &Queued) {
        let mut load = self.stream.lock();
        let size = queued.item.len();
        load.count = load.count.saturating_sub(1);
        load.bytes = load.bytes.saturating_sub(size);
        if queued.patience == Patience::None {
            load.hasty_count = load.hasty_count.saturating_sub(1);
            load.hasty_bytes = load.hasty_bytes.saturating_sub(size);
        }
        if load.hasty_count < self.stream.bounds.half().0 {
            if let Some(late) = load.late.pop() {
                drop(self.stream.enqueue(&mut load, Item::message(late), Patience::None));
            }
        }
        drop(load);
        self.stream.has_room.notify_all();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stream.cut();
        // Handlers that take no notice keep the stream, but not the client's descriptor.
        *self.stream.wire.lock().unwrap_or_else(PoisonError::into_inner) = Wire::default();
    }
}
