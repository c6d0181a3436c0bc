//! Server-sent events: how one is written, and how a stream of them is read (WHATWG HTML, 9.2 Server-sent events).

#[cfg(feature = "run")]
mod decode;

#[cfg(feature = "run")]
pub(crate) use decode::Decoder;

/// What an event stream begins with: the client is to come back after half a second when the stream breaks.
pub(crate) const RETRY: &str = "retry: 500\n\n";

/// A comment, which every client passes over: it keeps proxies and clients from giving up on a quiet stream.
pub(crate) const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// An event of the kind `name`. `data` must be on one line.
pub(crate) fn named(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// What goes before the text of a message.
pub(crate) const MESSAGE: &str = "event: message\ndata: ";

/// What goes behind the data of an event.
pub(crate) const END: &str = "\n\n";

/// An event without a message, for its id: from here on the client can come back, and may have to (2025-11-25 basic/transports, polling).
pub(crate) fn priming(id: &str) -> String {
    format!("retry: 500\nid: {id}\ndata: \n\n")
}

/// What goes before the text of a message that has an event id.
pub(crate) fn message_with_id(id: &str) -> String {
    format!("event: message\nid: {id}\ndata: ")
}
