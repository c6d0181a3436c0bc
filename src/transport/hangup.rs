//! Notices that the client of an event stream has hung up. The thread of a stream waits for something to send and looks at its socket only when it
//! writes, so that by itself it would notice with the second keep-alive comment after that: the first is answered with RST, the second fails.
//!
//! 1. One thread waits (epoll) for what the system says about the sockets of all streams. Nothing that is sent passes here.
//! 2. FIN says that a client will send no more, not that it reads no more: `printf 'GET /sse ...' | nc` is such a one. So its stream gets a comment.
//! 3. The system of a client that has closed answers the comment with RST. RST ends the stream, whether asked for or not.
//!
//! Where there is no epoll the keep-alive comments have to do.

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use elsewhere::{Hangups, Watched};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{Hangups, Watched};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::collections::HashMap;
    use std::io;
    use std::net::TcpStream;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

    use nix::errno::Errno;
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    use nix::sys::eventfd::{EfdFlags, EventFd};

    use crate::threads;
    use crate::transport::stream::EventStream;

    /// What is taken from the system at once.
    const EVENTS: usize = 64;

    /// The number of the event that ends the thread; streams have others.
    const END: u64 = 0;

    /// All streams whose clients are watched. Dropping it ends the thread.
    pub(crate) struct Hangups(Option<Arc<Watch>>);

    struct Watch {
        epoll: Epoll,
        end: EventFd,
        streams: Mutex<Streams>,
    }

    #[derive(Default)]
    struct Streams {
        last: u64,
        by_number: HashMap<u64, Weak<EventStream>>,
    }

    /// One stream; dropped when it is over.
    pub(crate) struct Watched {
        watch: Arc<Watch>,
        number: u64,
        socket: Arc<TcpStream>,
    }

    impl Hangups {
        /// Starts the thread. Without it streams do as they would without this room.
        pub fn new() -> Hangups {
            let begun = Watch::new().map(Arc::new).and_then(|watch| {
                let its = Arc::clone(&watch);
                threads::start("http-hangup", move || its.run())?;
                Ok(watch)
            });
            if let Err(error) = &begun {
                log::error!("cannot watch for clients that hang up: {error}: they are noticed later");
            }
            Hangups(begun.ok())
        }

        /// Ends the stream on this socket when its client has hung up, for as long as what this returns is kept.
        pub fn watch(&self, stream: &Arc<EventStream>, socket: &Arc<TcpStream>) -> Option<Watched> {
            let watch = self.0.as_ref()?;
            let mut streams = watch.lock();
            streams.last += 1;
            let number = streams.last;
            streams.by_number.insert(number, Arc::downgrade(stream));
            drop(streams);
            let watched = Watched { watch: Arc::clone(watch), number, socket: Arc::clone(socket) };
            // Edges: a client that only sends no more is told of once. RST and the like come unasked for.
            let news = EpollEvent::new(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET, number);
            if let Err(error) = watch.epoll.add(&**socket, news) {
                log::debug!("a client that hangs up will be noticed late: {error}");
            }
            Some(watched)
        }
    }

    impl Drop for Hangups {
        fn drop(&mut self) {
            if let Some(watch) = &self.0 {
                // It fails when the thread has been told so often before that the count is full.
                let _ = watch.end.write(1);
            }
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            // Not there: then it could not be added.
            let _ = self.watch.epoll.delete(&*self.socket);
            self.watch.lock().by_number.remove(&self.number);
        }
    }

    impl Watch {
        fn new() -> io::Result<Watch> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let end = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
            epoll.add(&end, EpollEvent::new(EpollFlags::EPOLLIN, END))?;
            Ok(Watch { epoll, end, streams: Mutex::default() })
        }

        fn run(&self) {
            let mut events = [EpollEvent::empty(); EVENTS];
            loop {
                let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                    Ok(count) => count,
                    Err(Errno::EINTR) => continue,
                    Err(error) => return log::error!("cannot watch for clients that hang up: {error}: they are noticed later"),
                };
                for event in &events[..count] {
                    if event.data() == END {
                        return;
                    }
                    // None: it has ended meanwhile. Its number is nobody else's.
                    let stream = self.lock().by_number.get(&event.data()).and_then(Weak::upgrade);
                    if let Some(stream) = stream {
                        if event.events().intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) { stream.cut() } else { stream.probe() }
                    }
                }
            }
        }

        fn lock(&self) -> MutexGuard<'_, Streams> {
            self.streams.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod elsewhere {
    use std::net::TcpStream;
    use std::sync::Arc;

    use crate::transport::stream::EventStream;

    pub(crate) struct Hangups;

    pub(crate) struct Watched;

    impl Hangups {
        pub fn new() -> Hangups {
            Hangups
        }

        pub fn watch(&self, _: &Arc<EventStream>, _: &Arc<TcpStream>) -> Option<Watched> {
            None
        }
    }
}
