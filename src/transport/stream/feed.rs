//! The half of an event stream that its own thread has: it takes what is queued, and writes it.

use std::io;
use std::net::TcpStream;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{EventStream, Patience, Queued};
use crate::clock;
use crate::connection::Gone;
use crate::event;
use crate::transport::wire::{self, Item, Wire};

/// The half of the stream's own thread. Dropping it ends the stream.
pub(crate) struct Feed {
    pub(super) stream: Arc<EventStream>,
    pub(super) keep_alive: Duration,
}

/// What the stream's own thread gets to do next.
pub(crate) enum Next {
    /// Write this.
    Text(String),
    /// The stream is over; what was queued has been given out.
    End,
    /// It was cut, whatever was queued.
    Cut,
}

impl Feed {
    /// The sending half.
    pub fn stream(&self) -> &Arc<EventStream> {
        &self.stream
    }

    /// Gives the stream the socket to write to, and writes the head of the answer with what is queued by now.
    pub fn begin(&self, socket: &Arc<TcpStream>, is_chunked: bool, head: Vec<u8>) -> io::Result<()> {
        self.attach(socket, is_chunked, head)?;
        loop {
            let queued = self.stream.lock().take();
            let item = queued.as_ref().map_or(&Item::Signal, |queued| &queued.item);
            self.stream.wire().write(item, self.stream.bounds.write_deadline)?;
            match queued {
                Some(queued) => self.done(&queued),
                None => return Ok(()),
            }
        }
    }

    /// Gives the stream the socket to write to; `rest` is to be written before anything else. Fails when the stream was cut before, as that had no socket
    /// to shut down: its client must not see an end as of a whole stream.
    pub fn attach(&self, socket: &Arc<TcpStream>, is_chunked: bool, rest: Vec<u8>) -> io::Result<()> {
        // A client that vanished without a word has not acknowledged one comment when the next is written.
        let comment = self.keep_alive / 4 * 3;
        let patience = wire::Patience { comment, message: comment.max(self.stream.bounds.write_deadline) };
        let mut wire = self.stream.wire();
        drop(self.stream.socket.set(Arc::downgrade(socket)));
        // Whoever cuts it from here on finds the socket.
        if self.stream.lock().is_gone {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        wire.attach(Arc::clone(socket), is_chunked, patience);
        wire.rest = rest;
        Ok(())
    }

    /// Writes to the socket until the stream ends or the client is gone. True when it ended well, with everything written.
    pub fn run(&self) -> bool {
        let deadline = self.stream.bounds.write_deadline;
        loop {
            let item = self.receive();
            let mut wire = self.stream.wire();
            wire.mind(matches!(item, Ok(None)));
            let written = match &item {
                Ok(Some(queued)) => wire.write(&queued.item, deadline),
                Ok(None) => wire.write(&Item::Event { before: event::KEEP_ALIVE.to_owned(), message: None }, deadline),
                Err(Gone) => wire.finish(deadline),
            };
            if written.is_err() {
                // Before anybody else can write behind half an event.
                self.stream.cut();
            }
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
                Err(Gone) if self.stream.lock().is_gone => return Next::Cut,
                Err(Gone) => return Next::End,
            };
            if !text.is_empty() {
                return Next::Text(text);
            }
        }
    }

    /// The next item; none when it is time to say that we are still there; an error at the end of the stream.
    fn receive(&self) -> Result<Option<Queued>, Gone> {
        let deadline = clock::from_now(self.keep_alive);
        let mut load = self.stream.lock();
        loop {
            if load.is_gone || (load.is_finished && load.count == 0) {
                return Err(Gone);
            }
            if let Some(queued) = load.take() {
                return Ok(Some(queued));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            load.writer_waits = true;
            load = self.stream.has_work.wait_timeout(load, left).unwrap_or_else(PoisonError::into_inner).0;
            load.writer_waits = false;
        }
    }

    fn done(&self, queued: &Queued) {
        let mut load = self.stream.lock();
        load.count = load.count.saturating_sub(1);
        load.bytes = load.bytes.saturating_sub(queued.size);
        if queued.patience == Patience::None {
            load.hasty_count = load.hasty_count.saturating_sub(1);
            load.hasty_bytes = load.hasty_bytes.saturating_sub(queued.size);
        }
        if load.hasty_count < self.stream.bounds.half().0 {
            if let Some(late) = load.late.pop() {
                load.enqueue(Item::message(late), Patience::None);
            }
        }
        let somebody_waits = load.senders_wait > 0;
        drop(load);
        if somebody_waits {
            self.stream.has_room.notify_all();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stream.cut();
        // Handlers that take no notice keep the stream, but neither what was queued nor the client's descriptor.
        let mut load = self.stream.lock();
        drop((std::mem::take(&mut load.queue), std::mem::take(&mut load.late)));
        drop(load);
        *self.stream.wire() = Wire::default();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::super::{Bounds, stream};
    use super::*;
    use crate::connection::Outlet;
    use crate::message::Message;

    const BOUNDS: Bounds = Bounds { messages: 64, bytes: 1 << 20, write_deadline: Duration::from_secs(10) };

    fn note(number: u32) -> Message {
        Message::notification("n", Some(&format!("[{number}]")))
    }

    fn connected() -> (TcpStream, Arc<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, Arc::new(listener.accept().unwrap().0))
    }

    #[test]
    fn the_head_goes_out_with_what_is_queued_and_nothing_overtakes_it() {
        let (mut client, socket) = connected();
        let (stream, feed) = stream(BOUNDS, Duration::from_secs(10));
        stream.open_with("first\n\n".to_owned()).unwrap();
        stream.send(note(1)).unwrap();
        feed.begin(&socket, true, b"head\r\n\r\n".to_vec()).unwrap();
        stream.send(note(2)).unwrap();
        stream.finish();
        assert!(feed.run());
        drop((feed, stream, socket));
        let mut read = String::new();
        client.read_to_string(&mut read).unwrap();
        let event = |number| format!("event: message\ndata: {}\n\n", note(number).as_str());
        let chunk = |text: String| format!("{:x}\r\n{text}\r\n", text.len());
        let chunks: String = ["first\n\n".to_owned(), event(1), event(2)].map(chunk).concat();
        assert_eq!(read, format!("head\r\n\r\n{chunks}0\r\n\r\n"));
    }

    #[test]
    fn an_idle_stream_holds_no_memory_for_a_busy_one() {
        let (stream, feed) = stream(BOUNDS, Duration::from_secs(10));
        for number in 0..20 {
            stream.offer(note(number)).unwrap();
        }
        for number in 0..20 {
            assert!(matches!(feed.next(), Next::Text(text) if text.contains(note(number).as_str())));
        }
        let load = stream.lock();
        assert_eq!((load.queue.capacity(), load.count, load.bytes, load.hasty_count, load.hasty_bytes), (0, 0, 0, 0, 0));
    }

    #[test]
    fn a_stream_that_was_cut_before_it_had_a_socket_does_not_end_as_if_whole() {
        let (_client, socket) = connected();
        let (stream, feed) = stream(BOUNDS, Duration::from_secs(10));
        stream.send(note(1)).unwrap();
        stream.cut();
        assert!(feed.begin(&socket, true, b"head\r\n\r\n".to_vec()).is_err());
        assert!(stream.wire().socket.is_none());
    }

    /// More than any socket keeps.
    fn long(method: &str) -> Message {
        Message::notification(method, Some(&format!("[\"{}\"]", "x".repeat(400 << 10))))
    }

    #[test]
    fn what_is_left_of_a_message_counts_until_it_is_written() {
        let (mut client, socket) = connected();
        let (stream, feed) = stream(BOUNDS, Duration::from_secs(10));
        feed.begin(&socket, false, Vec::new()).unwrap();
        while stream.wire().rest.is_empty() {
            stream.offer(long("n")).unwrap();
        }
        let rest = stream.wire().rest.len();
        let bytes = |stream: &EventStream| {
            let load = stream.lock();
            (load.count, load.bytes, load.hasty_bytes)
        };
        assert_eq!(bytes(&stream), (1, rest, 0), "senders that cannot wait have their half still");
        stream.offer(long("n")).unwrap();
        let (_, all, hasty) = bytes(&stream);
        assert!(hasty > 0 && all == rest + hasty);
        stream.finish();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| client.read_to_end(&mut Vec::new()).unwrap());
            assert!(feed.run());
            assert_eq!(bytes(&stream), (0, 0, 0));
            drop((feed, socket));
            assert!(reader.join().unwrap() > 2 * (400 << 10));
        });
    }

    #[test]
    fn only_some_small_list_changed_are_kept_for_later() {
        let (stream, feed) = stream(Bounds { messages: 2, ..BOUNDS }, Duration::from_secs(10));
        stream.offer(note(0)).unwrap();
        let changed = |number: usize| format!("notifications/{number}/list_changed");
        for number in (0..super::super::LATE).chain(0..super::super::LATE) {
            stream.offer(Message::notification(&changed(number), None)).unwrap();
        }
        assert_eq!(stream.lock().late.len(), super::super::LATE);
        assert!(stream.offer(Message::notification(&changed(99), None)).is_err() && !stream.is_open(), "as for anything else");
        drop(feed);
        let (stream, _feed) = super::super::stream(Bounds { messages: 2, ..BOUNDS }, Duration::from_secs(10));
        stream.offer(note(0)).unwrap();
        assert!(stream.offer(long(&changed(0))).is_err());
    }

    #[test]
    fn nobody_waits_for_room_in_a_stream_that_is_finished() {
        let bounds = Bounds { messages: 2, write_deadline: Duration::from_secs(3600), ..BOUNDS };
        let (stream, feed) = stream(bounds, Duration::from_secs(10));
        stream.send(note(1)).unwrap();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| stream.send(note(2)));
            let deadline = Instant::now() + Duration::from_secs(10);
            while stream.lock().senders_wait == 0 {
                assert!(Instant::now() < deadline, "there is room");
                std::thread::yield_now();
            }
            stream.finish();
            while !sender.is_finished() {
                if Instant::now() > deadline {
                    stream.cut();
                    panic!("it waits for room that it may not take");
                }
                std::thread::yield_now();
            }
            assert!(sender.join().unwrap().is_err());
        });
        assert!(matches!(feed.next(), Next::Text(_)) && matches!(feed.next(), Next::End));
    }

    #[test]
    fn what_is_queued_ends_with_its_writer() {
        let (stream, feed) = stream(BOUNDS, Duration::from_secs(10));
        stream.send(note(1)).unwrap();
        drop(feed);
        assert!(stream.lock().queue.is_empty() && stream.send(note(2)).is_err());
    }
}
