//! The addresses a listener listens on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// Binds the address, or both of `localhost`, which are taken literally: a resolver may know only one of them.
pub(crate) fn bind(host: &str, port: u16) -> Result<Vec<TcpListener>> {
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    if !host.eq_ignore_ascii_case("localhost") {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<_> = match bare.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => (bare, port).to_socket_addrs().map_err(|error| Error::listen(host, error))?.collect(),
        };
        let listeners: Result<Vec<_>> =
            addresses.into_iter().map(|address| listen(address).map_err(|error| refusal(address, error))).collect();
        return listeners;
    }
    // With port 0 the system picks one that is free on 127.0.0.1; on ::1 it may be taken, then another pick helps.
    let mut tries = if port == 0 { 16 } else { 1 };
    loop {
        tries -= 1;
        let first = listen(SocketAddr::new(v4, port)).map_err(|error| refusal(SocketAddr::new(v4, port), error))?;
        let port = first.local_addr().map_err(|error| Error::listen(host, error))?.port();
        let second = SocketAddr::new(v6, port);
        match listen(second) {
            Ok(second) => return Ok(vec![first, second]),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(refusal(second, error)),
            Err(error) => {
                log::debug!("not listening on ::1: {error}");
                return Ok(vec![first]);
            }
        }
    }
}

/// Rebinding at once after a close can fail once.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let mut result = TcpListener::bind(address);
    for _ in 0..5 {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                thread::sleep(Duration::from_millis(2));
                result = TcpListener::bind(address);
            }
            _ => break,
        }
    }
    #[cfg(target_os = "linux")]
    if let Ok(socket) = &result {
        // The standard library's queue of 128 overflows in a burst, and whoever finds it full tries again a second later.
        nix::sys::socket::listen(socket, nix::sys::socket::Backlog::MAXALLOWABLE).ok();
    }
    result
}

fn refusal(address: SocketAddr, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::AddrInUse {
        Error::port_taken(address.port(), error)
    } else {
        Error::listen(address.to_string(), error)
    }
}

/// Where a listener can be reached from this machine.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
