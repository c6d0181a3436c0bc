//! Mounting the endpoints into somebody's own `tiny_http::Server`.

use std::io::{self, Read, Write};

use tiny_http::{Request, Response};

use crate::http1::{LAST_CHUNK, TOO_LARGE, Version, Writer};
use crate::threads;
use crate::transport::endpoints::{Endpoints, Exchange};
use crate::transport::reply::{EventBody, Full, Reply};

impl Endpoints {
    /// Takes a request from the loop of a `tiny_http::Server` and answers it, or hands it back when its path is not one of ours.
    ///
    /// The body is read here, in the loop's thread; a stream, and a call on `/mcp` that is waited for, get a thread of their own: as many as
    /// [`Limits`](crate::Limits) lets calls run and wait.
    ///
    /// The server keeps its own faults, which our listener does not have (measured on tiny_http 0.12.0): a request with an absurd `Content-Length` aborts
    /// the process; so do resets before the accept with `panic = "abort"`; running out of descriptors ends its accept loop for good; a client that
    /// connects and sends nothing, or its request byte by byte, holds a thread for ever; in bursts connections may wait until another ends; ambiguous
    /// framing is accepted; that a client left shows only when something is written to it, so that until then its call without a session goes on. Let only
    /// clients in that you trust.
    ///
    /// ```no_run
    /// use mcp_http_transport::{Config, Endpoints, Server};
    ///
    /// let endpoints = Endpoints::new(Server::new("clock", "1.0.0"), &Config::new())?;
    /// let server = tiny_http::Server::http("127.0.0.1:3000").unwrap();
    /// for request in server.incoming_requests() {
    ///     if let Some(other) = endpoints.take(request) {
    ///         other.respond(tiny_http::Response::from_string("my own page")).unwrap();
    ///     }
    /// }
    /// # Ok::<(), mcp_http_transport::Error>(())
    /// ```
    #[must_use = "a request that comes back has not been answered"]
    pub fn take(&self, mut request: Request) -> Option<Request> {
        if !self.knows(request.url()) {
            return Some(request);
        }
        let limit = self.max_body();
        let mut body = Vec::new();
        let read = request.as_reader().take(limit as u64 + 1).read_to_end(&mut body);
        let exchange = match read {
            Ok(count) if count > limit => Exchange::Done(Full::text(413, TOO_LARGE).into(), Vec::new()),
            Ok(_) => self.begin(request.method(), request.url(), request.headers(), body),
            Err(_) => return None,
        };
        let waits = matches!(exchange, Exchange::Open(..));
        let endpoints = self.clone();
        let finish = move || send(request, endpoints.finish(exchange));
        if !waits {
            finish();
        } else if let Err(error) = threads::start("mounted-call", finish) {
            // Dropped with its thread, tiny_http answers the request with 500.
            log::error!("cannot start a thread for a call: {error}");
        }
        None
    }
}

fn send(request: Request, reply: Reply) {
    let done = match reply {
        Reply::Full(full) => respond(request, full),
        Reply::Stream(body) => stream(request, body),
    };
    if let Err(error) = done {
        log::debug!("a client did not wait for its answer: {error}");
    }
}

fn respond(request: Request, full: Full) -> io::Result<()> {
    let length = full.body.len();
    let response = Response::new(full.status, full.headers, io::Cursor::new(full.body), Some(length), None);
    request.respond(response.with_chunked_threshold(usize::MAX))
}

fn stream(request: Request, body: EventBody) -> io::Result<()> {
    let is_old = *request.http_version() <= tiny_http::HTTPVersion(1, 0);
    let writer = Writer::streaming(if is_old { Version::Http10 } else { Version::Http11 });
    let mut output = request.into_writer();
    let write = move || {
        if let Err(error) = copy(&mut *output, writer, body) {
            log::debug!("a client left its stream: {error}");
        }
    };
    threads::start("mounted-stream", write).map(drop)
}

fn copy(output: &mut (dyn Write + Send), writer: Writer, body: EventBody) -> io::Result<()> {
    output.write_all(&writer.stream(200, body.headers()))?;
    output.flush()?;
    body.write_to(&mut Chunks { output, writer })?;
    if writer.is_chunked() {
        output.write_all(LAST_CHUNK)?;
    }
    output.flush()
}

/// Frames what is written as chunks.
struct Chunks<'o> {
    output: &'o mut (dyn Write + Send),
    writer: Writer,
}

impl Write for Chunks<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let mut chunk = Vec::with_capacity(part.len() + 16);
        self.writer.chunk(&mut chunk, part);
        self.output.write_all(&chunk)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
