//! Starting threads: each has a name, as a debugger, `ps -T` and a panic show it.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread with the default stack of threads, 2 MiB unless `RUST_MIN_STACK` says otherwise.
///
/// # Errors
/// The system has no further thread, or no memory for one.
pub(crate) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    build(Builder::new(), name, Box::new(work))
}

/// As [`start`], with `stack` bytes of stack: for threads of which there are many.
pub(crate) fn start_small(name: &str, stack: usize, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    build(Builder::new().stack_size(stack), name, Box::new(work))
}

/// Not generic: the machine code that starts a thread is there once, and not for each kind of work.
fn build(builder: Builder, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    builder.name(name.to_owned()).spawn(work)
}
