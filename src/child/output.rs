//! What a child writes: bounded lines of stdout, the end of stderr, and the signal that nobody is to read on.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::lock;
use crate::scan::{self, first};

/// A longer line of stdout is dropped, and said so.
pub(super) const MAX_LINE: usize = 64 << 20;
/// A longer line of stderr is given in pieces.
pub(super) const MAX_STDERR_LINE: usize = 64 << 10;
const TAIL: usize = 64 << 10;
const BUFFER: usize = 64 << 10;
/// More than this no pipe holds, as systems are set up.
const MAX_PIPE: usize = 1 << 20;

/// Wakes every thread that waits on a pipe of the child: a grandchild can hold its other end open long after the child is gone.
pub(super) struct Over {
    open: Mutex<Option<UnixStream>>,
    watched: UnixStream,
}

impl Over {
    pub(super) fn new() -> io::Result<Over> {
        let (open, watched) = UnixStream::pair()?;
        Ok(Over { open: Mutex::new(Some(open)), watched })
    }

    pub(super) fn raise(&self) {
        lock(&self.open).take();
    }

    /// Waits until `pipe` is ready, or failed; false when it is over.
    pub(super) fn or_ready(&self, pipe: &impl AsFd, what: PollFlags) -> bool {
        self.or_ready_within(pipe, what, PollTimeout::NONE).unwrap_or(true)
    }

    /// The same, but none when neither happens within `patience`.
    fn or_ready_within(&self, pipe: &impl AsFd, what: PollFlags, patience: PollTimeout) -> Option<bool> {
        let mut both = [PollFd::new(pipe.as_fd(), what), PollFd::new(self.watched.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut both, patience) {
                Err(Errno::EINTR) => {}
                // Out of kernel memory: the caller's own read or write decides.
                Err(_) => return Some(true),
                Ok(0) => return None,
                Ok(_) => return Some(!both[1].any().unwrap_or(true)),
            }
        }
    }
}

/// A pipe that ends when it is over: then what lies in it is still read, and nothing is waited for.
pub(super) struct Output<P> {
    pipe: P,
    over: Arc<Over>,
    /// What may still be read once it is over: somebody who holds the other end could write for ever.
    rest: usize,
    /// Until when a read waits; then it would block.
    until: Option<Instant>,
}

impl<P: Read + AsFd> Output<P> {
    pub(super) fn new(pipe: P, over: &Arc<Over>) -> Output<P> {
        Output { pipe, over: Arc::clone(over), rest: MAX_PIPE, until: None }
    }

    fn is_ready(&self) -> bool {
        poll(&mut [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl<P: Read + AsFd> Read for Output<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()).as_millis());
        let patience = left.map_or(PollTimeout::NONE, |left| PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX)));
        match self.over.or_ready_within(&self.pipe, PollFlags::POLLIN, patience) {
            None => return Err(io::ErrorKind::WouldBlock.into()),
            Some(true) => return self.pipe.read(buffer),
            Some(false) => {}
        }
        if self.rest == 0 || !self.is_ready() {
            return Ok(0);
        }
        let size = buffer.len().min(self.rest);
        let read = self.pipe.read(&mut buffer[..size])?;
        self.rest -= read;
        Ok(read)
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Line(String),
    Oversized(usize),
}

/// Lines of at most `max` bytes, until the end; the last one need not be ended.
pub(super) struct Pieces<P> {
    pipe: BufReader<P>,
    max: usize,
    /// What has come of the next line.
    line: Vec<u8>,
    /// That line is over the bound: so much of it has been passed over.
    skipped: Option<usize>,
}

impl<P: Read> Pieces<P> {
    pub(super) fn new(pipe: P, max: usize) -> Pieces<P> {
        Pieces { pipe: BufReader::with_capacity(BUFFER, pipe), max, line: Vec::new(), skipped: None }
    }

    /// Whether more has been read than was given out.
    pub(super) fn has_buffered(&self) -> bool {
        !self.pipe.buffer().is_empty()
    }

    /// The next piece; none at the end. A read that would block loses nothing of what has come. A pipe that fails in any other way has ended.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, WouldBlock> {
        loop {
            let available = match self.pipe.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(WouldBlock),
                Err(_) => return Ok(None),
                Ok(available) => available,
            };
            let end = first::<scan::Byte<b'\n'>>(available);
            let (part, is_last) = (&available[..end.unwrap_or(available.len())], available.is_empty());
            match &mut self.skipped {
                Some(skipped) => *skipped += part.len(),
                None if self.line.len() + part.len() > self.max => {
                    self.skipped = Some(self.line.len() + part.len());
                    self.line = Vec::new();
                }
                None => self.line.extend_from_slice(part),
            }
            let used = end.map_or(part.len(), |end| end + 1);
            self.pipe.consume(used);
            if end.is_none() && !is_last {
                continue;
            }
            // A new buffer each time: the line is given away, and a long one leaves nothing behind.
            match (self.skipped.take(), text(std::mem::take(&mut self.line))) {
                (Some(size), _) => return Ok(Some(Piece::Oversized(size))),
                (None, Some(line)) => return Ok(Some(Piece::Line(line))),
                (None, None) if is_last => return Ok(None),
                (None, None) => {}
            }
        }
    }
}

impl<P: Read + AsFd> Pieces<Output<P>> {
    /// From now on [`next`](Pieces::next) waits until then, and behind that reads what is there; for ever when there is no bound.
    pub(super) fn wait_until(&mut self, until: Option<Instant>) {
        self.pipe.get_mut().until = until;
    }
}

/// Nothing came in time.
#[derive(Debug, PartialEq)]
pub(super) struct WouldBlock;

/// Reads lines until the end, long ones in pieces; everything goes through `tail` as it comes, ended or not.
pub(super) fn read_stderr(pipe: impl Read, tail: &Tail, mut on_line: impl FnMut(String)) {
    let mut pipe = BufReader::with_capacity(BUFFER / 8, Tee { pipe, tail });
    loop {
        let mut line = Vec::new();
        if !read_up_to(&mut pipe, MAX_STDERR_LINE, &mut line) {
            return;
        }
        if let Some(line) = text(line) {
            on_line(line);
        }
    }
}

/// False at the end. A pipe that fails has ended.
fn read_up_to(pipe: &mut impl BufRead, max: usize, line: &mut Vec<u8>) -> bool {
    let read = pipe.by_ref().take(max as u64).read_until(b'\n', line);
    !line.is_empty() && read.is_ok()
}

/// Without the line end; `None` when nothing is left.
fn text(mut line: Vec<u8>) -> Option<String> {
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    let line = String::from_utf8(line).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    (!line.is_empty()).then_some(line)
}

/// The last 64 KiB that passed.
#[derive(Default)]
pub(super) struct Tail(Mutex<VecDeque<u8>>);

impl Tail {
    fn push(&self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
        let mut tail = lock(&self.0);
        let surplus = (tail.len() + bytes.len()).saturating_sub(TAIL);
        tail.drain(..surplus);
        tail.extend(bytes);
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(lock(&self.0).make_contiguous()).into_owned()
    }
}

struct Tee<'a, P> {
    pipe: P,
    tail: &'a Tail,
}

impl<P: Read> Read for Tee<'_, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.pipe.read(buffer)?;
        self.tail.push(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &mut Pieces<impl Read>) -> Vec<Piece> {
        std::iter::from_fn(|| pieces.next().unwrap()).collect()
    }

    fn pieces(input: &[u8], max: usize) -> Vec<Piece> {
        all(&mut Pieces::new(input, max))
    }

    fn line(text: &str) -> Piece {
        Piece::Line(text.to_owned())
    }

    #[test]
    fn lines_end_with_a_newline_or_the_end_and_empty_ones_are_nothing() {
        assert_eq!(pieces(b"a\nbc\r\n\n\r\nlast", 10), [line("a"), line("bc"), line("last")]);
        assert_eq!(pieces(b"", 10), []);
        assert_eq!(pieces(b"\xff{\n", 10), [line("\u{fffd}{")]);
    }

    #[test]
    fn a_line_over_the_bound_is_counted_and_the_next_one_is_whole() {
        assert_eq!(pieces(b"1234\n12345\n123\n", 4), [line("1234"), Piece::Oversized(5), line("123")]);
        let long = [vec![b'x'; 300_000], b"\nnext\n".to_vec()].concat();
        assert_eq!(pieces(&long, 10), [Piece::Oversized(300_000), line("next")]);
        assert_eq!(pieces(b"123456", 4), [Piece::Oversized(6)]);
    }

    #[test]
    fn what_lies_in_a_pipe_that_is_over_is_read_and_no_more_is_waited_for() {
        use std::io::Write as _;
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let over = Arc::new(Over::new().unwrap());
        ours.write_all(b"one\ntwo").unwrap();
        over.raise();
        assert_eq!(all(&mut Pieces::new(Output::new(theirs, &over), 10)), [line("one"), line("two")]);
    }

    #[test]
    fn a_read_that_would_block_loses_nothing_of_the_line() {
        use std::io::Write as _;
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let over = Arc::new(Over::new().unwrap());
        let mut pieces = Pieces::new(Output::new(theirs, &over), 10);
        pieces.wait_until(Some(Instant::now()));
        for part in ["on", "e", "\n"] {
            assert_eq!(pieces.next(), Err(WouldBlock));
            ours.write_all(part.as_bytes()).unwrap();
        }
        assert_eq!(pieces.next(), Ok(Some(line("one"))));
        for part in ["much too", " long", "\nnext\n"] {
            assert_eq!(pieces.next(), Err(WouldBlock));
            ours.write_all(part.as_bytes()).unwrap();
        }
        pieces.wait_until(None);
        drop(ours);
        assert_eq!(all(&mut pieces), [Piece::Oversized(13), line("next")]);
    }

    #[test]
    fn stderr_keeps_its_end_and_gives_long_lines_in_pieces() {
        let (tail, mut sizes) = (Tail::default(), Vec::new());
        let input = [vec![b'x'; MAX_STDERR_LINE + 5], b"\nend".to_vec()].concat();
        read_stderr(&input[..], &tail, |line| sizes.push(line.len()));
        assert_eq!(sizes, [MAX_STDERR_LINE, 5, 3]);
        assert_eq!(tail.text().len(), TAIL);
        assert!(tail.text().ends_with("xx\nend"));
    }
}
