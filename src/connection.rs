//! The rails between a front, which lets clients in, and a back, which reaches a server; nothing else knows both.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::clock;
use crate::json::Json;
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;
use crate::version::Version;

/// How long a message waits for room on the way to a client that does not read, before the client counts as gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Messages one direction of a [`Connection`] holds.
const DEPTH: usize = 64;

/// The way to a client ended: it left, was dropped for not reading, or its session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client is gone")
    }
}

impl std::error::Error for Gone {}

/// A piece of work that its receiver runs where it likes: here and now, or on a worker.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// The ordered way of messages to one client.
pub(crate) trait Outlet: Send + Sync {
    /// Sends, and waits for a slow client as long as the transport allows. For threads that run a handler.
    fn send(&self, message: Message) -> Result<(), Gone>;

    /// Sends without waiting for the client. For readers and broadcasters, on which others depend. (On stdio it waits for the one client, except on
    /// threads that have said that they [wait for nobody](wait_for_nobody).)
    fn offer(&self, message: Message) -> Result<(), Gone>;

    /// Ends the current response stream early, where the transport and the version have that (2025-11-25 transports, SSE polling). The client
    /// comes back for the rest.
    fn close_stream(&self) {}

    /// The request with the raw id `id`, whose messages came here, is over, whether it was answered or not. For outlets that end with their requests.
    fn ended(&self, id: &str) {
        let _ = id;
    }

    /// Whether a stream is open on which messages outside of any call reach the client now.
    #[cfg_attr(not(all(feature = "run", unix)), allow(dead_code, reason = "only a front asks"))]
    fn is_listening(&self) -> bool {
        true
    }
}

thread_local! {
    static WAITS_FOR_NOBODY: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread, which works for many clients, waits for none of them in [`Outlet::offer`], not even where nobody else is behind the one.
#[cfg_attr(not(all(feature = "run", unix)), allow(dead_code, reason = "only a front has such threads"))]
pub(crate) fn wait_for_nobody() {
    WAITS_FOR_NOBODY.set(true);
}

/// Does something for many clients, as [`wait_for_nobody`] says.
#[cfg_attr(not(all(feature = "run", unix)), allow(dead_code, reason = "only a front has such work"))]
pub(crate) fn waiting_for_nobody(work: impl FnOnce()) {
    let before = WAITS_FOR_NOBODY.replace(true);
    work();
    WAITS_FOR_NOBODY.set(before);
}

/// Whether this thread works for many clients.
pub(crate) fn waits_for_nobody() -> bool {
    WAITS_FOR_NOBODY.get()
}

/// One client as a front presents it to a back.
pub(crate) struct Client {
    /// The session's id; unique in this process.
    pub id: String,
    /// The way to the client outside of any call.
    pub outlet: Arc<dyn Outlet>,
    /// The version, where it is known without an `initialize`: an adopted session's header, a stateless request.
    pub version: Option<Version>,
    /// Whether its requests may be stateless ones (2026-07-28), each of which says in `_meta` what else a session would know.
    pub may_be_stateless: bool,
}

impl Client {
    /// A client that is there for one stateless request only: nobody can tell it anything outside of that.
    pub fn stateless() -> Client {
        Client { id: String::new(), outlet: Arc::new(Nowhere), version: Some(Version::V2026_07_28), may_be_stateless: true }
    }
}

/// Where nothing can be sent.
pub(crate) struct Nowhere;

impl Outlet for Nowhere {
    fn send(&self, _: Message) -> Result<(), Gone> {
        Err(Gone)
    }

    fn offer(&self, _: Message) -> Result<(), Gone> {
        Err(Gone)
    }
}

/// What stands behind a front: a handler in this process, or a child's.
pub(crate) trait Back: Send + Sync {
    /// Lets a client in. The error is what its first message gets.
    fn open(&self, client: Client) -> Result<Arc<dyn Link>, RpcError>;

    /// The input schema of the tool `name`, if some of its arguments are repeated in HTTP headers (2026-07-28, `x-mcp-header`).
    fn schema_with_headers(&self, name: &str) -> Option<Json> {
        let _ = name;
        None
    }

    /// Whether it could serve a client now.
    fn is_ready(&self) -> bool {
        true
    }

    /// Waits until no call is running, or `grace` is over. What is asked of clients ends at once.
    fn drain(&self, grace: Duration);
}

/// One client's way to the back.
pub(crate) trait Link: Send + Sync {
    /// Takes one message of the client's; whatever answers it goes to `outlet`. A job that comes back is the call itself, and has a slot: whoever
    /// gets it runs it, on this thread or another. Never waits for a handler.
    fn deliver(&self, message: Message, outlet: &Arc<dyn Outlet>) -> Option<Job>;

    /// The version this client and the server agreed on, as soon as there is one.
    fn version(&self) -> Option<Version>;

    /// Whether a call is running or waiting.
    fn is_busy(&self) -> bool;

    /// The client is gone: everything it waits for is cancelled.
    fn close(&self);
}

/// A pair of bounded channels of messages: one end of a conversation.
#[derive(Clone)]
pub struct Connection {
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

impl Connection {
    /// Two ends joined in memory: what one sends, the other receives.
    pub fn memory() -> (Connection, Connection) {
        let (to_right, from_left) = bounded(DEPTH);
        let (to_left, from_right) = bounded(DEPTH);
        (Connection { sender: to_right, receiver: from_right }, Connection { sender: to_left, receiver: from_left })
    }

    /// Sends one message, given as text.
    ///
    /// # Errors
    /// When the text is not a JSON-RPC message (the error says why), or the other end is gone or has not read for 30 s.
    pub fn send(&self, text: &str) -> Result<(), RpcError> {
        let message = Message::parse(text.to_owned()).map_err(|malformed| malformed.error)?;
        Outlet::send(&self.sender, message).map_err(RpcError::internal)
    }

    /// Sends a request and waits for its answer, passing over whatever else comes meanwhile.
    ///
    /// # Errors
    /// The error the server answered, or -32603 when none came within `timeout`. `params` that are not JSON are -32602.
    pub fn call(&self, id: u32, method: &str, params: &str, timeout: Duration) -> Result<Json, RpcError> {
        let params: Json = params.parse().map_err(RpcError::invalid_params)?;
        let id = id.to_string();
        Outlet::send(&self.sender, Message::request(&id, method, Some(params.as_str()))).map_err(RpcError::internal)?;
        let deadline = clock::from_now(timeout);
        while let Ok(message) = self.receiver.recv_deadline(deadline) {
            match (message.kind(), message.letter()) {
                (Kind::Result, Some(result)) if message.id() == id => return Ok(Json::trusted(result)),
                (Kind::Error, Some(error)) if message.id() == id => return Err(RpcError::from_json(error)),
                _ => continue,
            }
        }
        Err(RpcError::internal(format_args!("no answer to {method} within {timeout:?}")))
    }

    /// The next message; none when nothing comes within `timeout` or the other end is gone.
    pub fn receive(&self, timeout: Duration) -> Option<Message> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// The two channels.
    pub(crate) fn into_parts(self) -> (Sender<Message>, Receiver<Message>) {
        (self.sender, self.receiver)
    }
}

impl Outlet for Sender<Message> {
    fn send(&self, message: Message) -> Result<(), Gone> {
        self.send_timeout(message, PATIENCE).map_err(|_| Gone)
    }

    fn offer(&self, message: Message) -> Result<(), Gone> {
        self.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Gone,
        })
    }
}
