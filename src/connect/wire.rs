//! One connection to the server: TCP, or TLS over it with the feature `tls`.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connect::abort::Abort;
use crate::connect::url::Url;
use crate::http1::{Socket, Source};

/// How long a server may take to accept what is written.
const WRITE: Duration = Duration::from_secs(30);

/// An open connection.
pub(super) struct Wire {
    socket: Socket,
    #[cfg(feature = "tls")]
    tls: Option<Box<crate::connect::tls::Tls>>,
}

impl Wire {
    /// Connects to the host of `url`; `abort` can close the connection from now on.
    pub fn open(url: &Url, abort: &Abort, deadline: Instant) -> io::Result<Wire> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", url.host));
        for address in addresses(url)? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => return Wire::over(stream, url, abort, deadline),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn over(stream: TcpStream, url: &Url, abort: &Abort, deadline: Instant) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE))?;
        notice_dead_peers(&stream);
        let stream = Arc::new(stream);
        abort.watch(&stream)?;
        #[cfg(feature = "tls")]
        {
            let tls = if url.is_https { Some(Box::new(crate::connect::tls::Tls::over(&stream, &url.host, deadline)?)) } else { None };
            Ok(Wire { socket: Socket::new(stream), tls })
        }
        #[cfg(not(feature = "tls"))]
        {
            let _ = deadline;
            if url.is_https { Err(io::ErrorKind::Unsupported.into()) } else { Ok(Wire { socket: Socket::new(stream) }) }
        }
    }

    /// The socket, for whoever ends the wait for it.
    pub fn stream(&self) -> &Arc<TcpStream> {
        self.socket.stream()
    }

    /// Whether the connection, on which nothing is awaited, is of further use: the server has not closed it, and has sent nothing.
    pub fn is_quiet(&self) -> bool {
        let stream = self.stream();
        let look = || {
            stream.set_nonblocking(true)?;
            let found = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            found
        };
        look().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.write_all(bytes);
        }
        (&**self.socket.stream()).write_all(bytes)
    }
}

impl Source for Wire {
    fn read_before(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.read_before(buffer, deadline);
        }
        self.socket.read_before(buffer, deadline)
    }
}

/// `localhost` is both loopback addresses, without a resolver.
fn addresses(url: &Url) -> io::Result<Vec<SocketAddr>> {
    if url.host == "localhost" {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.map(|address| SocketAddr::new(address, url.port)).to_vec());
    }
    (url.host.as_str(), url.port).to_socket_addrs().map(Iterator::collect)
}

/// A peer that vanished without a word is noticed after half a minute; a call has no deadline of its own.
#[cfg(target_os = "linux")]
fn notice_dead_peers(stream: &TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    let set = || {
        setsockopt(stream, sockopt::KeepAlive, &true)?;
        setsockopt(stream, sockopt::TcpKeepIdle, &15)?;
        setsockopt(stream, sockopt::TcpKeepInterval, &5)?;
        setsockopt(stream, sockopt::TcpKeepCount, &3)
    };
    if let Err(error) = set() {
        log::debug!("no TCP keep-alive: {error}");
    }
}

/// Elsewhere with the times of the system, where it can be set at all.
#[cfg(not(target_os = "linux"))]
fn notice_dead_peers(stream: &TcpStream) {
    #[cfg(unix)]
    drop(nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::KeepAlive, &true));
    #[cfg(not(unix))]
    let _ = stream;
}
