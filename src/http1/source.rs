//! Bytes that can be waited for until a deadline, from a socket or from a test's script.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A source of bytes whose reads are bounded in time. It brings its own clock, so that tests need not sleep.
pub(crate) trait Source {
    /// The present, by the clock that deadlines are on.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Reads what is there, or waits for it until `deadline`; then the error is `TimedOut`. `Ok(0)` is the end.
    fn read_before(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize>;
}

/// A TCP connection that remembers its read timeout, since setting it costs as much as a read.
pub(crate) struct Socket {
    stream: Arc<TcpStream>,
    timeout: Option<Duration>,
}

impl Socket {
    /// Takes over a blocking `stream`.
    pub(crate) fn new(stream: Arc<TcpStream>) -> Socket {
        Socket { stream, timeout: None }
    }

    /// For writing (`&TcpStream` is a writer) and for shutting down. Its read timeout belongs to [`Source::read_before`].
    pub(crate) fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }
}

impl Source for Socket {
    fn read_before(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // A timeout shorter than what is left only wakes us early, so it can stay; in the steady state none is ever set again.
            let reusable = self.timeout.is_some_and(|timeout| timeout <= left);
            if !reusable {
                self.set_timeout(left)?;
            }
            match (&*self.stream).read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if !left.is_zero() {
                        self.set_timeout(left)?;
                    }
                }
                done => return done,
            }
        }
    }
}

impl Socket {
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        // The system rounds to its own tick, and zero would mean for ever.
        let timeout = timeout.max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(timeout))?;
        self.timeout = Some(timeout);
        Ok(())
    }
}

/// Reads and drops up to `bytes` until the client closes or `deadline` is there. Call it between `shutdown(Write)` and closing when
/// part of a request is unread: closing over unread bytes sends a reset, which destroys the answer on its way to the client.
pub(crate) fn linger(source: &mut impl Source, mut bytes: usize, deadline: Instant) {
    let mut dropped = [0; super::READ];
    while bytes > 0 {
        let room = bytes.min(dropped.len());
        match source.read_before(&mut dropped[..room], deadline) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes -= count,
        }
    }
}
