//! An HTTP answer as the endpoints give it, before any socket is involved.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tiny_http::{Header, StatusCode};

use crate::transport::stream::{Feed, Next};

/// The answer to one HTTP request: whole, or a stream of events.
pub enum Reply {
    /// A whole answer.
    Full(Full),
    /// An answer whose body comes bit by bit.
    Stream(EventBody),
}

/// A whole HTTP answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Full {
    /// The status.
    pub status: StatusCode,
    /// The headers; `Content-Length` and `Connection` are left to who writes the answer.
    pub headers: Vec<Header>,
    /// The body; empty for 204 and where there is none.
    pub body: Vec<u8>,
}

/// The body of a stream of server-sent events. Read it, and flush to the client whatever came, since the next event may be long in coming: a read waits
/// for one keep-alive interval at most, then gives a comment. Dropping it tells the server that the client is gone.
pub struct EventBody {
    headers: Vec<Header>,
    feed: Feed,
    text: Vec<u8>,
    start: usize,
    is_used: Arc<AtomicBool>,
    /// Runs when the client is gone.
    _at_end: AtEnd,
}

struct AtEnd(Option<Box<dyn FnOnce() + Send>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl Full {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Full {
        Full { status: StatusCode(status), headers: header("Content-Type", content_type).into_iter().collect(), body: body.into() }
    }

    /// A sentence for a person.
    pub(crate) fn text(status: u16, text: impl AsRef<str>) -> Full {
        Full::new(status, "text/plain; charset=utf-8", [text.as_ref(), "\n"].concat())
    }

    pub(crate) fn json(status: u16, json: impl Into<Vec<u8>>) -> Full {
        Full::new(status, "application/json", json)
    }

    pub(crate) fn empty(status: u16) -> Full {
        Full { status: StatusCode(status), headers: Vec::new(), body: Vec::new() }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Full {
        self.headers.extend(header(name, value));
        self
    }
}

impl From<Full> for Reply {
    fn from(full: Full) -> Reply {
        Reply::Full(full)
    }
}

impl EventBody {
    /// `is_used` tells whether the client has sent anything; `at_end` runs when it is gone.
    pub(crate) fn new(feed: Feed, is_used: Arc<AtomicBool>, at_end: Box<dyn FnOnce() + Send>) -> EventBody {
        let headers = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache, no-transform"), ("X-Accel-Buffering", "no")];
        let headers = headers.into_iter().filter_map(|(name, value)| header(name, value)).collect();
        EventBody { headers, feed, text: Vec::new(), start: 0, is_used, _at_end: AtEnd(Some(at_end)) }
    }

    /// The headers of the answer, whose status is 200.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.headers.extend(header(name, value));
    }

    /// The same, for who writes them and has no more use for them.
    pub(crate) fn take_headers(&mut self) -> Vec<Header> {
        std::mem::take(&mut self.headers)
    }

    pub(crate) fn is_used(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_used)
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Copies the stream to `output`, flushing after each event, until it ends or the client is gone.
    ///
    /// # Errors
    /// What writing fails with: the client is gone. Or the stream was cut: then its client must not take what it got for all of it.
    pub fn write_to(self, output: &mut dyn Write) -> io::Result<()> {
        while let Some(text) = self.next()? {
            output.write_all(text.as_bytes())?;
            output.flush()?;
        }
        Ok(())
    }

    fn next(&self) -> io::Result<Option<String>> {
        match self.feed.next() {
            Next::Text(text) => Ok(Some(text)),
            Next::End => Ok(None),
            Next::Cut => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

impl Read for EventBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start == self.text.len() {
            let Some(text) = self.next()? else { return Ok(0) };
            (self.text, self.start) = (text.into_bytes(), 0);
        }
        let count = (&self.text[self.start..]).read(buffer)?;
        self.start += count;
        Ok(count)
    }
}

/// A header of ours; none when the value cannot stand in one, which is a mistake of ours and said in the log.
pub(crate) fn header(name: &str, value: &str) -> Option<Header> {
    let header = Header::from_bytes(name, value).ok();
    if header.is_none() {
        log::error!("a header named {name} has a value that no header can have");
    }
    header
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::transport::stream::{Bounds, stream};

    #[test]
    fn only_a_stream_that_was_not_cut_ends_as_if_whole() {
        let bounds = Bounds { messages: 64, bytes: 1 << 20, write_deadline: Duration::from_secs(10) };
        for is_cut in [false, true] {
            let (stream, feed) = stream(bounds, Duration::from_secs(10));
            let mut body = EventBody::new(feed, Arc::default(), Box::new(|| ()));
            stream.open_with("data\n\n".to_owned()).unwrap();
            if is_cut {
                stream.cut()
            } else {
                stream.finish()
            }
            let mut read = String::new();
            assert_eq!(body.read_to_string(&mut read).is_err(), is_cut);
            assert_eq!(body.write_to(&mut Vec::new()).is_err(), is_cut);
            assert_eq!(read, if is_cut { "" } else { "data\n\n" });
        }
    }
}
