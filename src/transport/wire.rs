//! Writing to a socket within a deadline, or without waiting at all.

use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::time::Instant;

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
