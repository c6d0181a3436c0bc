//! `connect`: a stdio server that forwards to a remote one, for clients that speak only stdio.
//!
//! The client's end is the front on stdio, like any other; this is the back. `conversation.rs` has what is the same for both transports: the order of
//! messages, holding them while the server is away, and starting the session again. `streamable.rs` and `sse.rs` send one message once.

mod abort;
mod call;
mod conversation;
mod gate;
mod headers;
mod http;
mod inbox;
mod link;
mod params;
mod refusal;
mod restore;
mod session;
mod sse;
mod streamable;
#[cfg(feature = "tls")]
mod tls;
mod url;
mod wire;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::config::{Config, TransportMode};
use crate::connection::{Back, Client, Link};
use crate::error::{Error, Result};
use crate::rpc_error::RpcError;
use crate::serve::serve_back;
use crate::workers::Workers;
use conversation::Conversation;
pub(crate) use headers::Header;
#[cfg(any(test, fuzzing))]
pub(crate) use inbox::check as check_answers;
use link::Line;
pub(crate) use url::Url;
#[cfg(any(test, fuzzing))]
pub(crate) use url::check as check_url;

/// Messages under way at once; each has a thread.
const MESSAGES: usize = 256;
/// How long calls may go on when a signal ends us.
const GRACE: Duration = Duration::from_secs(1);

/// What the server is taken to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Whatever it answers the first message in.
    Auto,
    /// Streamable HTTP.
    Http,
    /// HTTP+SSE.
    Sse,
}

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub url: Url,
    pub protocol: Protocol,
    pub headers: Vec<Header>,
    /// How long messages are held while the server is away.
    pub timeout: Duration,
    /// Bytes of one message.
    pub limit: usize,
}

/// Serves the client on stdio with what the remote server says, until the client leaves.
pub(crate) fn connect(options: Options, config: &Config) -> Result<()> {
    if options.url.is_https && !cfg!(feature = "tls") {
        return Err(Error::usage(
            "this build speaks http only: install one that speaks https with cargo install mcp-http-transport --features tls",
        ));
    }
    if !options.url.is_https && options.headers.iter().any(|header| header.is("authorization")) && !options.url.is_loopback() {
        log::warn!("the token goes to {} unencrypted", options.url);
    }
    let config = Config { transport: TransportMode::Stdio, grace: config.grace.min(GRACE), ..config.clone() };
    serve_back(Arc::new(Remote { options, conversations: Mutex::default() }), &config, Workers::new(MESSAGES))
}

/// A remote server as a back.
struct Remote {
    options: Options,
    conversations: Mutex<Vec<Weak<Conversation>>>,
}

impl Back for Remote {
    fn open(&self, client: Client) -> std::result::Result<Arc<dyn Link>, RpcError> {
        let conversation = Conversation::new(&self.options, client.outlet);
        let mut conversations = self.conversations.lock().unwrap_or_else(PoisonError::into_inner);
        conversations.retain(|conversation| conversation.strong_count() > 0);
        conversations.push(Arc::downgrade(&conversation));
        Ok(Arc::new(Line(conversation)))
    }

    fn drain(&self, grace: Duration) {
        let conversations = self.conversations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for conversation in conversations.iter().filter_map(Weak::upgrade) {
            conversation.end(grace);
        }
    }
}
