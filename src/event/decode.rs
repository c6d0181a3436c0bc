//! Reading an event stream byte by byte: however it is cut into pieces, the same events come out, and none grows without end.

use std::mem;
use std::time::Duration;

/// The longest pause that a server can ask for before the stream is opened again.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its kind; `message` when the stream names none.
    pub name: String,
    /// The lines of its data, joined by line feeds. Bytes that are not UTF-8 have been replaced.
    pub data: String,
}

/// A line or the data of an event is longer than the limit; the stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// The state between two pieces of a stream.
pub(crate) struct Decoder {
    limit: usize,
    /// The line that has no end yet.
    line: Vec<u8>,
    /// The last byte was CR: an LF behind it belongs to the same line end.
    after_cr: bool,
    /// No line has ended yet: a byte order mark may stand before the first.
    is_first: bool,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The id in the event that is open, which counts once the event ends.
    id: String,
    last_id: String,
    retry: Option<Duration>,
}

impl Decoder {
    /// A decoder for one stream, in which a line and the data of an event have at most `limit` bytes.
    pub fn new(limit: usize) -> Decoder {
        Decoder {
            limit,
            line: Vec::new(),
            after_cr: false,
            is_first: true,
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            id: String::new(),
            last_id: String::new(),
            retry: None,
        }
    }

    /// Takes the next `bytes` of the stream and appends the events that end in them.
    pub fn feed(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() > self.limit {
                return Err(TooLong);
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { break };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            let line = mem::take(&mut self.line);
            self.take_line(&line, events)?;
            // The memory of an ordinary line is used again.
            self.line = line;
            self.line.clear();
            self.line.shrink_to(64 << 10);
        }
        Ok(())
    }

    /// The id of the last complete event that had one, to be sent as `Last-Event-ID`; empty when there was none.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// How long to wait before the stream is opened again, if it said so.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// A new stream begins, which goes on where the last complete event of the old one ended.
    pub fn restart(&mut self) {
        let (last_id, retry) = (mem::take(&mut self.last_id), self.retry);
        *self = Decoder { id: last_id.clone(), last_id, retry, ..Decoder::new(self.limit) };
    }

    fn take_line(&mut self, line: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        let line = match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if self.is_first => rest,
            _ => line,
        };
        self.is_first = false;
        if line.is_empty() {
            self.end_event(events);
            return Ok(());
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = match colon {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() + 1 > self.limit {
                    return Err(TooLong);
                }
                if mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.name = value.to_vec(),
            // The specification has an id with a NUL ignored.
            b"id" if !value.contains(&0) => self.id = String::from_utf8_lossy(value).into_owned(),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let millis = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                if let Some(millis) = millis {
                    self.retry = Some(Duration::from_millis(millis).min(LONGEST_RETRY));
                }
            }
            // A comment, or a field that nobody knows.
            _ => {}
        }
        Ok(())
    }

    fn end_event(&mut self, events: &mut Vec<Event>) {
        self.last_id.clone_from(&self.id);
        let (name, data) = (mem::take(&mut self.name), mem::take(&mut self.data));
        if mem::take(&mut self.has_data) {
            let name = if name.is_empty() { "message".to_owned() } else { text(name) };
            events.push(Event { name, data: text(data) });
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> (Vec<Event>, String, Option<Duration>) {
        let mut decoder = Decoder::new(1000);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.feed(piece, &mut events).unwrap();
        }
        (events, decoder.last_id().to_owned(), decoder.retry())
    }

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    fn events(stream: &str) -> Vec<Event> {
        all(&[stream.as_bytes()]).0
    }

    #[test]
    fn an_event_ends_at_an_empty_line_whatever_ends_lines() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = "event: endpoint\ndata: /messages/\n\ndata: {}\n\n".replace('\n', end);
            assert_eq!(events(&stream), [event("endpoint", "/messages/"), event("message", "{}")], "{end:?}");
        }
        assert_eq!(events("data: cut off"), []);
        assert_eq!(events("data: cut off\n"), []);
    }

    #[test]
    fn fields_are_read_as_the_specification_has_them() {
        assert_eq!(events("data: a\ndata:b\ndata\ndata:  c\n\n"), [event("message", "a\nb\n\n c")]);
        assert_eq!(events("\u{feff}data: a\n\n"), [event("message", "a")]);
        assert_eq!(events(": comment\n:\nDATA: no\nother: x\n\n"), []);
        assert_eq!(events("event: x\n\ndata: the name was forgotten\n\n"), [event("message", "the name was forgotten")]);
        assert_eq!(events("data\n\n"), [event("message", "")]);
        assert_eq!(events("data: a: b\n\n"), [event("message", "a: b")]);
    }

    #[test]
    fn an_id_counts_when_its_event_has_ended_and_stays_for_those_behind_it() {
        assert_eq!(all(&[b"id: 1\ndata: a\n\ndata: b\n\n"]).1, "1");
        assert_eq!(all(&[b"id: 1\n\n"]).1, "1", "an event without data has an id all the same");
        assert_eq!(all(&[b"id: 1\n\nid: 2\ndata: cut"]).1, "1");
        assert_eq!(all(&[b"id: 1\n\nid\n\n"]).1, "");
        assert_eq!(all(&[b"id: 1\n\nid: 2\x00\n\n"]).1, "1");
    }

    #[test]
    fn a_new_stream_goes_on_behind_the_last_complete_event() {
        let mut decoder = Decoder::new(100);
        let mut events = Vec::new();
        decoder.feed(b"retry: 5\nid: 1\ndata: a\n\nid: 2\ndata: cut o", &mut events).unwrap();
        decoder.restart();
        decoder.feed(b"\xef\xbb\xbfdata: b\n\n", &mut events).unwrap();
        assert_eq!(events, [event("message", "a"), event("message", "b")]);
        assert_eq!((decoder.last_id(), decoder.retry()), ("1", Some(Duration::from_millis(5))));
    }

    #[test]
    fn retry_is_a_bounded_number() {
        assert_eq!(all(&[b"retry: 250\n"]).2, Some(Duration::from_millis(250)));
        assert_eq!(all(&[b"retry: 99999999999\n"]).2, Some(LONGEST_RETRY));
        for text in ["retry: -1\n", "retry: 1.5\n", "retry:\n", "retry: 99999999999999999999999\n"] {
            assert_eq!(all(&[text.as_bytes()]).2, None, "{text}");
        }
    }

    #[test]
    fn nothing_grows_beyond_the_limit() {
        let feed = |text: &str| Decoder::new(10).feed(text.as_bytes(), &mut Vec::new());
        assert_eq!(feed("data: 1234\n\ndata: 1234\n\n"), Ok(()));
        assert_eq!(feed("data: 12345"), Err(TooLong));
        assert_eq!(feed("data:1234\ndata:1234\ndata:1\n"), Err(TooLong));
        assert_eq!(feed(&"data\n".repeat(20)), Err(TooLong), "empty lines of data are data as well");
    }

    #[test]
    fn any_split_gives_the_same_events() {
        let mut random = crate::random::Random(0x5eed);
        let parts = [
            "data: ü\u{2028}\u{1f600}",
            "data",
            "id: 7",
            "id",
            "event: message",
            "retry: 10",
            ": ",
            "",
            "",
            "",
            "\n",
            "\r",
            "\r\n",
            "\r\n\r\n",
            "\n\n",
            ":",
            "\u{feff}",
            "x",
        ];
        for _ in 0..2000 {
            let stream: String = (0..random.below(24)).map(|_| random.pick(&parts)).collect();
            let bytes = stream.as_bytes();
            let whole = all(&[bytes]);
            let mut pieces = Vec::new();
            let mut rest = bytes;
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(1 + random.below(rest.len().min(5)));
                pieces.push(piece);
                rest = behind;
            }
            assert_eq!(all(&pieces), whole, "{stream:?} as {pieces:?}");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(all(&single), whole, "{stream:?} byte by byte");
        }
    }
}
