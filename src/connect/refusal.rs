//! What a server's refusal means, in a sentence for the client and the person behind it.

use std::time::Duration;

use crate::connect::call::{Call, Outcome, Refused};
use crate::connect::http::{Answer, Failure};
use crate::connect::inbox::WANTS_TLS;
use crate::connect::url::Url;
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;

/// Bytes of a refusal that are read.
const BODY: usize = 64 << 10;
/// How much of a refusal that is no JSON-RPC is shown.
const SHOWN: usize = 200;
/// How long reading a refusal may take.
const READ: Duration = Duration::from_secs(5);
/// The longest pause that a server can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What the answer `answer`, whose status is not of the kind 2xx, means for `call`. `sent_session` is the epoch of the session it was sent in.
pub(super) fn judge(call: &Call, url: &Url, answer: Answer<'_>, sent_session: Option<u64>, has_token: bool) -> Outcome {
    let status = answer.status();
    let pause =
        answer.head.header("retry-after").and_then(|seconds| seconds.trim().parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    let body = answer.text(BODY, Some(READ)).unwrap_or_default();
    if let Some(epoch) = sent_session {
        // Some servers (among them the reference one) answer 400 where the specification has 404.
        if status == 404 || (status == 400 && body.to_ascii_lowercase().contains("session")) {
            return Outcome::Lost(epoch);
        }
    }
    match status {
        429 | 503 => Outcome::Away(Some(format!("the server answers {status}{}", said(&body))), pause.min(LONGEST_PAUSE)),
        502 | 504 => Outcome::Broken(format!("what stands before the server answers {status}")),
        _ => refused(call, url, status, &body, has_token),
    }
}

fn refused(call: &Call, url: &Url, status: u16, body: &str, has_token: bool) -> Outcome {
    let error = Message::parse(body.to_owned()).ok().filter(|message| message.kind() == Kind::Error);
    let error = error.and_then(|message| message.letter().map(RpcError::from_json));
    let code = error.as_ref().map(RpcError::code);
    let error = match error {
        // These two are about us and not about the message: the person has to do something.
        Some(error) if !matches!(status, 401 | 403) => error,
        _ => RpcError::new(RpcError::INTERNAL_ERROR, sentence(url, status, body, has_token)),
    };
    Outcome::Refused(Refused { status, answer: Message::error(Some(call.message.id()), &error), code })
}

/// What to say about an answer with `status`.
pub(super) fn sentence(url: &Url, status: u16, body: &str, has_token: bool) -> String {
    let what = match status {
        400 if !url.is_https && is_about_tls(body) => format!("400: {WANTS_TLS}"),
        401 if has_token => {
            "401: it does not accept the token (MCP_HTTP_TOKEN or --header); a server that wants OAuth needs a client that has it"
                .to_owned()
        }
        401 => "401: it wants a token: set MCP_HTTP_TOKEN, or give --header 'Name: value'".to_owned(),
        403 => format!("403: it does not let this client in{}", said(body)),
        404 => "404: there is no MCP server at this path; common ones are /mcp and /sse".to_owned(),
        405 | 406 | 415 => format!("{status}: what is at this path speaks another protocol; common paths are /mcp and /sse"),
        413 => "413: the message is larger than it takes".to_owned(),
        500.. => format!("{status}: it failed{}", said(body)),
        _ => format!("{status}{}", said(body)),
    };
    format!("{url} answered {what}")
}

/// Whether a server says that it was spoken to in the clear: as those written in Go do, nginx, and Apache.
fn is_about_tls(body: &str) -> bool {
    let body = body.to_ascii_lowercase();
    ["http request to an https server", "plain http request was sent to https port", "plain http to an ssl-enabled server"]
        .iter()
        .any(|words| body.contains(words))
}

/// The message that `call` gets when no answer could be had.
pub(super) fn useless(call: &Call, url: &Url, failure: &Failure) -> Outcome {
    refuse(call, format!("{url} cannot be used: {failure}"))
}

/// A refusal in our own words.
pub(super) fn refuse(call: &Call, why: String) -> Outcome {
    let error = RpcError::new(RpcError::INTERNAL_ERROR, why);
    Outcome::Refused(Refused { status: 0, answer: Message::error(Some(call.message.id()), &error), code: None })
}

/// The beginning of a body, when it is a line for people.
fn said(body: &str) -> String {
    let body = body.trim();
    if body.is_empty() || body.starts_with('<') {
        return String::new();
    }
    let shown: String = body.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    format!(": {shown}")
}
