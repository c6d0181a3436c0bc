//! Bounds that have no variable and no flag: right for nearly everybody, settable by embedders and tests.

use std::time::Duration;

/// Bounds of one server. Each protects memory, threads or descriptors from a client that is slow, stuck or hostile.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of an HTTP request head, default 16 KiB.
    pub head_bytes: usize,
    /// Headers of an HTTP request, default 100.
    pub headers: usize,
    /// Total time for a request head, default 10 s.
    pub head_deadline: Duration,
    /// Total time for a request body, default 30 s.
    pub body_deadline: Duration,
    /// How long a connection may be kept alive without a request, default 75 s.
    pub idle_timeout: Duration,
    /// How long a client may take to accept what is written, default 30 s.
    pub write_deadline: Duration,
    /// Bytes of one line on stdio, default 64 MiB.
    pub max_line: usize,
    /// Calls running at once in all, default 64.
    pub calls: usize,
    /// Calls running at once in one session, default 16.
    pub calls_per_session: usize,
    /// Calls of one session that wait for their turn, default 256.
    pub waiting_calls: usize,
    /// Bytes of the calls of one session that wait for their turn, default 8 MiB.
    pub waiting_bytes: usize,
    /// Messages on their way to one client, default 64.
    pub queue_messages: usize,
    /// Bytes on their way to one client, default 8 MiB. A message that is larger than half of it goes nevertheless, if it waits alone.
    pub queue_bytes: usize,
    /// Calls that wait for an answer of their client at once, default 1024.
    pub asks: usize,
    /// Messages of one Streamable HTTP session that are kept for a client that comes back for them, default 256; 0 switches that off.
    pub replay_messages: usize,
    /// Bytes of the messages that are kept so, default 1 MiB; the last one is kept whatever its size.
    pub replay_bytes: usize,
    /// After how long an event stream whose client never posted may be closed when connections run out, default 60 s.
    pub stray_stream: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: 16 << 10,
            headers: 100,
            head_deadline: Duration::from_secs(10),
            body_deadline: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_deadline: Duration::from_secs(30),
            max_line: 64 << 20,
            calls: 64,
            calls_per_session: 16,
            waiting_calls: 256,
            waiting_bytes: 8 << 20,
            queue_messages: 64,
            queue_bytes: 8 << 20,
            asks: 1024,
            replay_messages: 256,
            replay_bytes: 1 << 20,
            stray_stream: Duration::from_secs(60),
        }
    }
}
