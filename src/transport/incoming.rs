//! From the text of one line or body to the messages in it, as far as the client's version allows.

use std::collections::HashSet;
use std::sync::Arc;

use crate::connection::{Link, Outlet};
use crate::message::{Incoming, Kind, Malformed, Message};
use crate::rpc_error::RpcError;
use crate::version::Version;

/// Reads what a client sent. Of an array, the parts that are no messages are answered at once, to `outlet`, and so are `initialize`, which may not be
/// in one (2025-03-26 basic/lifecycle), and a request whose id an earlier one has.
pub(crate) fn read(bytes: Vec<u8>, link: &dyn Link, outlet: &Arc<dyn Outlet>) -> Result<Vec<Message>, Malformed> {
    accept(parse(bytes)?, link.version(), outlet)
}

/// The same for what is known to be text.
pub(crate) fn read_text(text: String, link: &dyn Link, outlet: &Arc<dyn Outlet>) -> Result<Vec<Message>, Malformed> {
    accept(Incoming::parse(text)?, link.version(), outlet)
}

/// Reads the text, whatever version it is of.
pub(crate) fn parse(bytes: Vec<u8>) -> Result<Incoming, Malformed> {
    let text = String::from_utf8(bytes).map_err(|_| Malformed { id: None, error: RpcError::parse_error("this is not UTF-8") })?;
    Incoming::parse(text)
}

/// Takes what was read, if the client's version has it.
pub(crate) fn accept(incoming: Incoming, version: Option<Version>, outlet: &Arc<dyn Outlet>) -> Result<Vec<Message>, Malformed> {
    let parts = match incoming {
        Incoming::One(message) => return Ok(vec![message]),
        Incoming::Batch(_) if !version.is_some_and(Version::has_batches) => {
            let error = RpcError::invalid_request("only clients that speak 2025-03-26 may send an array of messages");
            return Err(Malformed { id: None, error });
        }
        Incoming::Batch(parts) => parts,
    };
    let mut messages = Vec::with_capacity(parts.len());
    let mut ids = HashSet::new();
    for part in parts {
        let refusal = match part {
            Ok(message) if message.kind() == Kind::Request && message.method() == "initialize" => {
                Message::error(Some(message.id()), &RpcError::invalid_request("initialize must not be part of a batch"))
            }
            // Their answers could not be told apart, neither by the client nor by what waits for them here.
            Ok(message) if message.kind() == Kind::Request && !ids.insert(message.id().to_owned()) => {
                Message::error(Some(message.id()), &RpcError::invalid_request("another request of the batch has the same id"))
            }
            Ok(message) => {
                messages.push(message);
                continue;
            }
            Err(malformed) => answer(&malformed, version),
        };
        // A client that is gone, or too slow, needs no answer.
        drop(outlet.offer(refusal));
    }
    Ok(messages)
}

/// The answer to what is no message. One whose id could not be read has the id null, as JSON-RPC has it, and none for clients whose schema has no null
/// there (2025-11-25 and later).
pub(crate) fn answer(malformed: &Malformed, version: Option<Version>) -> Message {
    match &malformed.id {
        None if version.is_some_and(|version| version >= Version::V2025_11_25) => Message::error_without_id(&malformed.error),
        id => Message::error(id.as_deref(), &malformed.error),
    }
}
