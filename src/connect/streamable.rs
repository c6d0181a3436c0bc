//! Streamable HTTP: a POST for each message, and a stream for what the server says by itself (2025-11-25 and 2026-07-28 basic/transports).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::connect::abort::{Abort, Woke};
use crate::connect::call::{Call, Outcome};
use crate::connect::conversation::Conversation;
use crate::connect::headers::Header;
use crate::connect::http::{Answer, Failure, Request};
use crate::connect::inbox::after;
use crate::connect::refusal;
use crate::event::Decoder;
use crate::message::{Incoming, Kind, Message};

/// The pause before a stream is opened again whose server named none.
const RETRY: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to open a stream.
const LONGEST: Duration = Duration::from_secs(1);
/// The farewell must not keep the client waiting.
const FAREWELL: Duration = Duration::from_millis(300);

/// Sends a message once, and passes on whatever answers it.
pub(super) fn call(conversation: &Conversation, call: &Call) -> Outcome {
    let url = &conversation.url;
    let (epoch, mut headers) = match conversation.session.headers(&call.message, call.modern.as_ref()) {
        Ok(found) => found,
        Err(over) => return Outcome::Lost(over),
    };
    let sent_session = (call.modern.is_none() && headers.iter().any(|header| header.is("mcp-session-id"))).then_some(epoch);
    if call.modern.is_some() && call.message.method() == "tools/call" {
        headers.extend(conversation.params.headers(&call.message));
    }
    headers.push(Header::new("Accept", "application/json, text/event-stream"));
    let request = Request { method: "POST", url, headers: &headers, body: Some(call.message.as_str()) };
    let deadline = call.patience.map(|patience| after(Some(patience)));
    let mut answer = match conversation.http.send(&request, &call.abort, deadline, &mut || call.written()) {
        Ok(answer) => answer,
        Err(_) if call.abort.is_set() => return Outcome::Ended,
        Err(Failure::Away(error)) => return Outcome::Away(Some(error.to_string()), Duration::ZERO),
        Err(Failure::Broken(error)) => return Outcome::Broken(error.to_string()),
        Err(failure) => return refusal::useless(call, url, &failure),
    };
    if !(200..300).contains(&answer.status()) {
        return refusal::judge(call, url, answer, sent_session, conversation.has_token());
    }
    conversation.speaks_streamable();
    let is_initialize = call.is_request() && call.message.method() == "initialize";
    if is_initialize {
        conversation.session.began(epoch, answer.head.header("mcp-session-id"));
    } else {
        call.pass();
    }
    if !call.is_request() {
        answer.finish();
        return Outcome::Ended;
    }
    if answer.head.is("text/event-stream") {
        let mut decoder = Decoder::new(conversation.limit);
        return match pass_on(conversation, &mut answer, &mut decoder, Some(call), None) {
            Ok(true) => {
                answer.finish();
                Outcome::Ended
            }
            Ok(false) | Err(_) if call.abort.is_set() => Outcome::Ended,
            Ok(false) if can_resume(call, &decoder) => resume(conversation, call, decoder, conversation.timeout * 10),
            Err(_) if can_resume(call, &decoder) => resume(conversation, call, decoder, conversation.timeout),
            Ok(false) => Outcome::Broken("the server ended the stream".to_owned()),
            Err(error) => Outcome::Broken(error.to_string()),
        };
    }
    if !answer.head.is("application/json") {
        let why = format!("{url} answered {} to {} without an answer in it: is it an MCP server?", answer.status(), call.message.method());
        return refusal::refuse(call, why);
    }
    let text = match answer.text(conversation.limit, None) {
        Ok(text) => text,
        Err(_) if call.abort.is_set() => return Outcome::Ended,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return refusal::useless(call, url, &Failure::Useless(error.to_string()));
        }
        Err(error) => return Outcome::Broken(error.to_string()),
    };
    call.abort.let_go();
    if take(conversation, text, Some(call)) {
        Outcome::Ended
    } else {
        refusal::useless(call, url, &Failure::Useless("it gave the answer to another question".to_owned()))
    }
}

/// Passes on the messages of one event or body; true when the answer to `call` was among them.
fn take(conversation: &Conversation, text: String, call: Option<&Call>) -> bool {
    match Incoming::parse(text) {
        Ok(Incoming::One(message)) => take_message(conversation, message, call),
        Ok(Incoming::Batch(parts)) => {
            parts.into_iter().flatten().map(|message| take_message(conversation, message, call)).filter(|is_answer| *is_answer).count() > 0
        }
        Err(malformed) => {
            log::warn!("{} sent something that is no message: {}", conversation.url, malformed.error);
            false
        }
    }
}

fn take_message(conversation: &Conversation, message: Message, call: Option<&Call>) -> bool {
    let is_answer = matches!(message.kind(), Kind::Result | Kind::Error);
    let Some(call) = call.filter(|call| is_answer && (message.id() == call.message.id() || message.id().is_empty())) else {
        // The client heard of it when it listened for the first time.
        let is_repeated = message.method() == "notifications/subscriptions/acknowledged";
        if let Some(call) = call.filter(|call| is_repeated && call.attempts.load(Ordering::Relaxed) > 1) {
            conversation.listens_again(call);
        } else {
            conversation.arrived(message);
        }
        return false;
    };
    // Before the answer: it ends whatever the call waits for.
    call.abort.let_go();
    // An error without an id can only be meant for the one request that was sent here.
    let message = if message.id().is_empty() {
        let error = message.letter().map(crate::rpc_error::RpcError::from_json);
        error.map_or(message, |error| Message::error(Some(call.message.id()), &error))
    } else {
        message
    };
    conversation.arrived(message);
    true
}

/// Passes on what a stream carries until it ends (false) or `call` is answered (true); fails when there was no event for the time `quiet`.
fn pass_on(
    conversation: &Conversation,
    answer: &mut Answer<'_>,
    decoder: &mut Decoder,
    call: Option<&Call>,
    quiet: Option<Duration>,
) -> std::io::Result<bool> {
    let mut bytes = Vec::new();
    let mut events = Vec::new();
    let mut deadline = after(quiet);
    loop {
        bytes.clear();
        if !answer.read_before(&mut bytes, deadline)? {
            return Ok(false);
        }
        let too_long = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "an event of the stream is too long");
        decoder.feed(&bytes, &mut events).map_err(too_long)?;
        if !events.is_empty() {
            deadline = after(quiet);
        }
        let mut is_answered = false;
        for event in events.drain(..) {
            // An event without data only brings its id.
            if event.name == "message" && !event.data.is_empty() {
                is_answered |= take(conversation, event.data, call);
            }
        }
        if is_answered {
            return Ok(true);
        }
    }
}

fn can_resume(call: &Call, decoder: &Decoder) -> bool {
    call.modern.is_none() && !decoder.last_id().is_empty()
}

/// Comes back for the rest of an answer (2025-11-25 basic/transports, Resumability and Redelivery). A server that was started again takes the session and
/// the event id and has no rest: one that was seen to be down has none, and one that says nothing for the time `quiet` has none either.
fn resume(conversation: &Conversation, call: &Call, mut decoder: Decoder, quiet: Duration) -> Outcome {
    let mut deadline = after(Some(conversation.timeout));
    loop {
        if call.abort.wait(decoder.retry().unwrap_or(RETRY)) == Woke::Set {
            return Outcome::Ended;
        }
        let before = decoder.last_id().to_owned();
        match open_stream(conversation, &call.abort, Some(&before)) {
            Ok((_, mut answer)) if answer.status() == 200 && answer.head.is("text/event-stream") => {
                decoder.restart();
                match pass_on(conversation, &mut answer, &mut decoder, Some(call), Some(quiet)) {
                    Ok(true) => return Outcome::Ended,
                    _ if call.abort.is_set() => return Outcome::Ended,
                    Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                        return Outcome::Broken("nothing more came of the answer".to_owned());
                    }
                    // It goes on: there is no end to how often a long call may be resumed.
                    _ if decoder.last_id() != before => deadline = after(Some(conversation.timeout)),
                    _ => {}
                }
            }
            Ok((_, answer)) if answer.status() == 429 => {}
            Ok((_, answer)) => return Outcome::Broken(format!("the server answered {} when asked for the rest", answer.status())),
            Err(_) if call.abort.is_set() => return Outcome::Ended,
            Err(Failure::Away(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Outcome::Broken(error.to_string());
            }
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Outcome::Broken("the rest of the answer could not be had".to_owned());
        }
    }
}

/// Opens a stream of what the server says by itself, in the epoch that comes with it.
fn open_stream<'a>(conversation: &'a Conversation, abort: &'a Abort, last_id: Option<&str>) -> Result<(u64, Answer<'a>), Failure> {
    let (epoch, mut headers) = conversation.session.stream_headers();
    headers.push(Header::new("Accept", "text/event-stream"));
    if let Some(id) = last_id.filter(|id| !id.is_empty() && id.bytes().all(|byte| (b' '..0x7f).contains(&byte))) {
        headers.push(Header::new("Last-Event-ID", id));
    }
    let request = Request { method: "GET", url: &conversation.url, headers: &headers, body: None };
    let answer = conversation.http.send(&request, abort, Some(after(Some(conversation.timeout))), &mut || {})?;
    Ok((epoch, answer))
}

/// Listens to what the server says by itself, as long as the conversation lasts. The thread `connect-events`.
pub(super) fn listen(conversation: &Arc<Conversation>) {
    let abort = &conversation.events;
    // The epoch in which the server has no stream, the one that began because of a stream, and where the last stream ended.
    let (mut refused_in, mut renewed_in, mut resumed) = (None, None, None::<(u64, String)>);
    let mut pause = RETRY;
    while !abort.is_set() {
        if conversation.session.is_forgotten() && conversation.restore().is_err() {
            abort.wait(pause);
            pause = (pause * 2).min(LONGEST);
            continue;
        }
        let epoch = conversation.session.epoch();
        if !conversation.session.is_open() || refused_in == Some(epoch) {
            // Somebody nudges when that changes.
            abort.wait(Duration::from_secs(3600));
            continue;
        }
        let known = resumed.take().filter(|(known, _)| *known == epoch);
        let last_id = known.as_ref().map(|(_, id)| id.as_str());
        match open_stream(conversation, abort, last_id) {
            Ok((epoch, mut answer)) if answer.status() == 200 && answer.head.is("text/event-stream") => {
                log::debug!("listening to {}", conversation.url);
                (pause, renewed_in) = (RETRY, None);
                let mut decoder = Decoder::new(conversation.limit);
                let ended = pass_on(conversation, &mut answer, &mut decoder, None, None);
                log::debug!("the stream of {} ended: {ended:?}", conversation.url);
                let old_id = known.map(|(_, id)| id).unwrap_or_default();
                resumed = Some((epoch, if decoder.last_id().is_empty() { old_id } else { decoder.last_id().to_owned() }));
                pause = decoder.retry().unwrap_or(pause);
            }
            Ok((_, answer)) if matches!(answer.status(), 429 | 500..) => resumed = known,
            Ok((epoch, answer)) => {
                log::debug!("{} has no stream: {}", conversation.url, answer.status());
                // Where there was a stream before, the session is gone; a server that refuses a new session as well has none to give.
                let was_there = known.is_some() && renewed_in != Some(epoch) && matches!(answer.status(), 400 | 404);
                answer.finish();
                if was_there && conversation.session.has_id() {
                    conversation.session.lost(epoch);
                    renewed_in = Some(epoch + 1);
                } else {
                    refused_in = Some(epoch);
                }
                continue;
            }
            Err(error) => {
                log::debug!("cannot listen to {}: {error}", conversation.url);
                resumed = known;
            }
        }
        abort.wait(pause);
        pause = (pause * 2).min(LONGEST.max(pause));
    }
}

/// Tells the server that the session is over.
pub(super) fn farewell(conversation: &Conversation) {
    if !conversation.session.has_id() {
        return;
    }
    let (_, headers) = conversation.session.stream_headers();
    let request = Request { method: "DELETE", url: &conversation.url, headers: &headers, body: None };
    let abort = Abort::default();
    let answer = conversation.http.send(&request, &abort, Some(after(Some(FAREWELL))), &mut || {});
    match answer {
        Ok(answer) => log::debug!("the session is over: {}", answer.status()),
        Err(error) => log::debug!("the session could not be ended: {error}"),
    }
}
