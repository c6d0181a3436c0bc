//! The way of events to a socket: how one is framed, and writing it within a deadline, or as much of it as goes without waiting.

use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::event;
use crate::http1::{LAST_CHUNK, push_chunk_size};
use crate::message::Message;

/// Up to this size an event is put together before it is written.
pub(crate) const SMALL: usize = 16 * 1024;

/// One event: what goes before the message, and the message.
pub(crate) enum Item {
    Event {
        before: String,
        message: Option<Message>,
    },
    /// Something happened that the writer should see.
    Signal,
}

/// The way to the client, once it is known.
#[derive(Default)]
pub(crate) struct Wire {
    pub socket: Option<Arc<TcpStream>>,
    pub is_chunked: bool,
    /// The end of an event that a thread that must not wait has begun.
    pub rest: Vec<u8>,
    patience: Patience,
    last_was_comment: bool,
    is_short: bool,
}

/// How long what was written may stay without an acknowledgement: a comment that tells whether the client is there, and anything else.
#[derive(Clone, Copy, Default)]
pub(crate) struct Patience {
    pub comment: Duration,
    pub message: Duration,
}

impl Item {
    pub fn message(message: Message) -> Item {
        Item::Event { before: String::new(), message: Some(message) }
    }

    pub fn parts(&self) -> [&str; 3] {
        match self {
            Item::Signal => ["", "", ""],
            Item::Event { before, message: None } => [before, "", ""],
            Item::Event { before, message: Some(message) } if before.is_empty() => [event::MESSAGE, message.as_str(), event::END],
            Item::Event { before, message: Some(message) } => [before, message.as_str(), event::END],
        }
    }

    pub fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

impl Wire {
    /// Gives the way its socket.
    pub fn attach(&mut self, socket: Arc<TcpStream>, is_chunked: bool, patience: Patience) {
        give_up_after(&socket, patience.message);
        *self = Wire { socket: Some(socket), is_chunked, patience, ..Wire::default() };
    }

    /// Something is about to be written. A client that vanished is found out soon where nothing but comments was written for a whole interval; to the system
    /// one that takes its time to read looks the same, so that behind a message it gets the time of a message.
    pub fn mind(&mut self, is_comment: bool) {
        let is_short = is_comment && self.last_was_comment;
        self.last_was_comment = is_comment;
        if is_short == self.is_short {
            return;
        }
        self.is_short = is_short;
        if let Some(socket) = &self.socket {
            give_up_after(socket, if is_short { self.patience.comment } else { self.patience.message });
        }
    }

    /// Writes an event whole, and before it what is left of the last one.
    pub fn write(&mut self, item: &Item, deadline: Duration) -> io::Result<()> {
        let Some(socket) = self.socket.clone() else { return Ok(()) };
        let deadline = clock::from_now(self.time_for(item, deadline));
        if self.rest.len() > SMALL || item.len() > SMALL {
            write_all(&socket, &mut [IoSlice::new(&std::mem::take(&mut self.rest))], deadline)?;
        }
        let [before, text, after] = item.parts();
        if item.len() <= SMALL {
            return match self.assemble(item) {
                whole if whole.is_empty() => Ok(()),
                whole => write_all(&socket, &mut [IoSlice::new(&whole)], deadline),
            };
        }
        let (mut head, mut tail) = (Vec::new(), after.as_bytes().to_vec());
        if self.is_chunked {
            push_chunk_size(&mut head, item.len());
            tail.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(before.as_bytes());
        write_all(&socket, &mut [IoSlice::new(&head), IoSlice::new(text.as_bytes()), IoSlice::new(&tail)], deadline)
    }

    fn time_for(&self, item: &Item, deadline: Duration) -> Duration {
        time_for(self.rest.len() + item.len(), deadline)
    }

    /// Writes as much of an event as goes without waiting, and keeps the rest.
    pub fn write_what_fits(&mut self, item: &Item) -> io::Result<()> {
        let Some(socket) = self.socket.clone() else { return Ok(()) };
        let whole = self.assemble(item);
        let written = write_at_once(&socket, &whole)?;
        if written < whole.len() {
            self.rest = whole[written..].to_vec();
        }
        Ok(())
    }

    /// An event as it goes out, behind what is left of the one before.
    fn assemble(&mut self, item: &Item) -> Vec<u8> {
        let parts = item.parts();
        let mut whole = std::mem::take(&mut self.rest);
        whole.reserve_exact(item.len() + 16);
        if self.is_chunked && item.len() > 0 {
            push_chunk_size(&mut whole, item.len());
        }
        parts.iter().for_each(|part| whole.extend_from_slice(part.as_bytes()));
        if self.is_chunked && item.len() > 0 {
            whole.extend_from_slice(b"\r\n");
        }
        whole
    }

    pub fn finish(&mut self, deadline: Duration) -> io::Result<()> {
        self.write(&Item::Signal, deadline)?;
        match &self.socket {
            Some(socket) if self.is_chunked => write_all(socket, &mut [IoSlice::new(LAST_CHUNK)], clock::from_now(deadline)),
            _ => Ok(()),
        }
    }
}

/// How long it may take to write so many bytes: a slow line gets the time again for each mebibyte.
pub(crate) fn time_for(bytes: usize, deadline: Duration) -> Duration {
    deadline.saturating_mul(u32::try_from(bytes >> 20).unwrap_or(u32::MAX).saturating_add(1))
}

/// Writes everything. The socket has a write timeout of its own; the deadline ends what a reader that takes a byte now and then would prolong.
pub(crate) fn write_all(mut socket: &TcpStream, mut parts: &mut [IoSlice<'_>], deadline: Instant) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match socket.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut parts, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !parts.is_empty() && Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Writes what the socket takes without waiting, and says how much that was.
#[cfg(unix)]
pub(crate) fn write_at_once(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    use nix::errno::Errno;
    use nix::sys::socket::{MsgFlags, send};
    use std::os::fd::AsRawFd;
    if bytes.is_empty() {
        return Ok(0);
    }
    match send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Ok(written) => Ok(written),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Whether the client has closed its side. What it may have sent stays where it is.
#[cfg(unix)]
pub(crate) fn is_left(socket: &TcpStream) -> bool {
    use nix::errno::Errno;
    use nix::sys::socket::{MsgFlags, recv};
    use std::os::fd::AsRawFd;
    match recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error, Errno::EAGAIN | Errno::EINTR),
    }
}

/// Has a connection end when what was written to it is not acknowledged for so long, which otherwise takes a quarter of an hour. It also ends one whose client
/// does not read for so long while more is to be written than the system keeps for it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn give_up_after(socket: &TcpStream, patience: Duration) {
    use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
    // Shorter is shorter than a line may be down for a moment.
    let patience = i32::try_from(patience.max(Duration::from_secs(1)).as_millis()).unwrap_or(i32::MAX).unsigned_abs();
    if let Err(error) = setsockopt(socket, TcpUserTimeout, &patience) {
        log::debug!("a client that vanishes will be noticed late: {error}");
    }
}

/// Elsewhere the system decides.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn give_up_after(_: &TcpStream, _: Duration) {}

/// Where nobody can look without waiting, a client that left is noticed when it is written to.
#[cfg(not(unix))]
pub(crate) fn is_left(_: &TcpStream) -> bool {
    false
}

/// Where nothing can be written that surely does not wait, everything is left to the writer.
#[cfg(not(unix))]
pub(crate) fn write_at_once(_: &TcpStream, _: &[u8]) -> io::Result<usize> {
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_last_event_counts_for_the_time_of_the_next() {
        let wire = Wire { rest: vec![0; 3 << 20], ..Wire::default() };
        let item = Item::message(Message::notification("n", Some(&format!("[\"{}\"]", "x".repeat(2 << 20)))));
        let second = Duration::from_secs(1);
        assert_eq!([wire.time_for(&Item::Signal, second), wire.time_for(&item, second)], [second * 4, second * 6]);
        assert_eq!(time_for(usize::MAX, second), second * u32::MAX);
    }
}
