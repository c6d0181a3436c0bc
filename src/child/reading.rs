//! Who reads what a child writes to stdout: a thread of its own or, while one quick call follows the other, the thread that waits for the answer, which
//! spares a hand-over between threads for each call.
//!
//! 1. The child's own thread reads, and waits for as long as nothing comes.
//! 2. Told that it may [`rest`](Reading::rest), because nothing is to come, it stands by after what it has just read.
//! 3. Then who has sent something may [`lead`](Reading::lead): read until what it waits for has come, a few milliseconds at most.
//! 4. Who has sent something and does not lead, or leaves while more is to come, says [`attend`](Reading::attend), and the child's own thread reads again.
//!    It does so by itself when it has stood by for a while and nobody led: what a child says unasked, or what a leader was kept from reading, waits for
//!    two looks at most.
//!
//! One piece after the other is read and told under the one lock of `pieces`, so their order is that of the child, whoever reads.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::lock;
use super::output::{Output, Piece, Pieces};

/// How long somebody leads at most, and the pause between two looks.
const LOOK: Duration = Duration::from_millis(4);

/// What the child's own thread does: it reads; it reads, and is to stand by after that; it stands by.
const READS: u8 = 0;
const MAY_REST: u8 = 1;
const RESTS: u8 = 2;

pub(super) struct Reading<P> {
    pieces: Mutex<Pieces<Output<P>>>,
    own: OnceLock<Thread>,
    state: AtomicU8,
    /// Somebody has led since the last look.
    was_led: AtomicBool,
}

impl<P: Read + AsFd> Reading<P> {
    pub(super) fn new(pieces: Pieces<Output<P>>) -> Reading<P> {
        Reading { pieces: Mutex::new(pieces), own: OnceLock::new(), state: AtomicU8::new(READS), was_led: AtomicBool::new(false) }
    }

    /// The child's own thread: reads, or stands by, until the end.
    pub(super) fn run(&self, tell: impl Fn(Piece)) {
        drop(self.own.set(thread::current()));
        loop {
            let mut pieces = lock(&self.pieces);
            pieces.wait_until(None);
            match pieces.next() {
                Ok(Some(piece)) => tell(piece),
                Ok(None) => return,
                // It waits for ever.
                Err(_) => {}
            }
            let has_more = pieces.has_buffered();
            drop(pieces);
            if !has_more && self.state.compare_exchange(MAY_REST, RESTS, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                self.stand_by();
            }
        }
    }

    fn stand_by(&self) {
        while self.state.load(Ordering::SeqCst) == RESTS {
            thread::park_timeout(LOOK);
            if !self.was_led.swap(false, Ordering::SeqCst) {
                self.state.store(READS, Ordering::SeqCst);
            }
        }
    }

    /// Nothing is to come: the child's own thread may leave the reading to those who wait. To be said while nobody can send anything, or the other
    /// one's [`attend`](Reading::attend) could come first.
    pub(super) fn rest(&self) {
        // Otherwise it rests already.
        let _ = self.state.compare_exchange(READS, MAY_REST, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The child's own thread is to read.
    pub(super) fn attend(&self) {
        if self.state.swap(READS, Ordering::SeqCst) == RESTS {
            self.own.get().into_iter().for_each(Thread::unpark);
        }
    }

    /// Reads, if nobody else does, until `is_done`, but not for long.
    pub(super) fn lead(&self, tell: impl Fn(Piece), is_done: &mut dyn FnMut() -> bool) {
        let mut pieces = match self.pieces.try_lock() {
            Ok(pieces) => pieces,
            Err(TryLockError::Poisoned(pieces)) => pieces.into_inner(),
            // Who reads may be about to leave.
            Err(TryLockError::WouldBlock) => return self.attend(),
        };
        self.was_led.store(true, Ordering::SeqCst);
        let end = Instant::now() + LOOK;
        pieces.wait_until(Some(end));
        let mut has_time = true;
        while has_time {
            if is_done() && !pieces.has_buffered() {
                return;
            }
            match pieces.next() {
                Ok(Some(piece)) => tell(piece),
                Ok(None) | Err(_) => break,
            }
            has_time = Instant::now() < end;
        }
        drop(pieces);
        self.attend();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use crossbeam_channel::{Receiver, Sender, bounded};

    use super::super::output::Over;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A child, and what is heard of it: the line, and the name of the thread that read it.
    struct Stage {
        child: UnixStream,
        reading: Arc<Reading<UnixStream>>,
        tell: Sender<(String, String)>,
        heard: Receiver<(String, String)>,
    }

    impl Stage {
        /// The child's own thread rests after each line that says so.
        fn new() -> Stage {
            let (child, pipe) = UnixStream::pair().unwrap();
            let over = Arc::new(Over::new().unwrap());
            let reading = Arc::new(Reading::new(Pieces::new(Output::new(pipe, &over), 100)));
            let (tell, heard) = bounded(100);
            let (theirs, telling) = (Arc::clone(&reading), tell.clone());
            let run = move || {
                let _over = over;
                theirs.run(|piece| {
                    if piece == Piece::Line("rest".to_owned()) {
                        theirs.rest();
                    }
                    note(&telling, piece);
                });
            };
            crate::threads::start("own", run).unwrap();
            Stage { child, reading, tell, heard }
        }

        fn says(&mut self, text: &str) {
            self.child.write_all(text.as_bytes()).unwrap();
        }

        fn hears(&self, line: &str) -> String {
            let (heard, by) = self.heard.recv_timeout(PATIENCE).unwrap();
            assert_eq!(heard, line);
            by
        }

        /// It rests for a few milliseconds, which a busy machine can miss: then it is told again.
        fn rests(&mut self) {
            let deadline = Instant::now() + PATIENCE;
            self.says("rest\n");
            self.hears("rest");
            loop {
                assert!(Instant::now() < deadline);
                match self.reading.state.load(Ordering::SeqCst) {
                    RESTS => return,
                    MAY_REST => thread::yield_now(),
                    _ => {
                        self.says("rest\n");
                        self.hears("rest");
                    }
                }
            }
        }

        fn leads(&self, lines: usize) {
            let begun = self.heard.len();
            self.reading.lead(|piece| note(&self.tell, piece), &mut || self.heard.len() >= begun + lines);
        }
    }

    fn note(tell: &Sender<(String, String)>, piece: Piece) {
        let Piece::Line(line) = piece else { return };
        tell.send((line, thread::current().name().unwrap_or_default().to_owned())).unwrap();
    }

    #[test]
    fn who_waits_reads_while_the_childs_own_thread_rests() {
        let mut stage = Stage::new();
        // A look may come between: then the child's own thread reads again.
        let is_led = (0..200).any(|_| {
            stage.rests();
            stage.says("answer\n");
            stage.leads(1);
            stage.hears("answer") != "own"
        });
        assert!(is_led);
    }

    #[test]
    fn without_a_leader_nothing_is_left_unread() {
        let mut stage = Stage::new();
        stage.rests();
        stage.says("unasked\n");
        assert_eq!(stage.hears("unasked"), "own");
        stage.rests();
        stage.reading.attend();
        stage.says("attended\n");
        assert_eq!(stage.hears("attended"), "own");
        // Who is kept from reading says so, whoever it is that reads.
        stage.leads(1);
        stage.says("kept\n");
        assert_eq!(stage.hears("kept"), "own");
    }

    #[test]
    fn a_leader_leaves_after_a_while_and_what_it_has_of_a_line_stays() {
        let mut stage = Stage::new();
        stage.rests();
        stage.says("ha");
        // Nobody answers.
        stage.leads(1);
        stage.says("lf\n");
        assert_eq!(stage.hears("half"), "own");
        // Of two lines that come at once it reads both, or leaves the second one to be read at once.
        stage.rests();
        stage.says("one\ntwo\n");
        stage.leads(1);
        stage.hears("one");
        stage.hears("two");
    }

    #[test]
    fn the_end_is_seen_by_the_childs_own_thread() {
        let mut stage = Stage::new();
        stage.rests();
        drop(std::mem::replace(&mut stage.child, UnixStream::pair().unwrap().0));
        stage.leads(1);
        let deadline = Instant::now() + PATIENCE;
        while Arc::strong_count(&stage.reading) > 1 {
            assert!(Instant::now() < deadline, "its thread ends");
            thread::yield_now();
        }
    }
}
