//! What the integration tests share: a server to test, and clients that can be as rude as a test needs.
//!
//! Nothing here sleeps to let things settle: every wait is for an event and ends with a panic at its deadline.

mod handler;
mod http;
mod program;
mod raw;
mod sse;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mcp_http_transport::{Config, Service, TransportMode};

pub(crate) use handler::{Events, test_handler};
pub(crate) use http::{Http, Response, get, post, request};
pub(crate) use program::Program;
pub(crate) use raw::{Raw, Received};
pub(crate) use sse::Sse;

/// How long anything may take before a test fails: far more than it takes.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A server in this process.
pub(crate) struct Server {
    pub(crate) service: Service,
    pub(crate) address: SocketAddr,
    pub(crate) events: Events,
}

impl Server {
    /// The test handler over HTTP on a free port of 127.0.0.1.
    pub(crate) fn start() -> Server {
        Server::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Server {
        let mut config = Config::new().transport(TransportMode::Http).host("127.0.0.1").port(0);
        change(&mut config);
        let (handler, events) = test_handler();
        let service = Service::start(handler, &config).expect("the service starts");
        let address = service.local_addrs()[0];
        Server { service, address, events }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.events.release();
        self.service.stop(Duration::ZERO);
    }
}

/// Waits until `holds`, for what can be looked at and sends no event.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "still not true after {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A thread of a test.
pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::Builder::new().name("test".to_owned()).spawn(work).expect("a thread")
}

/// Random numbers that are the same in every run (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
