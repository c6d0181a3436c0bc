//! The client as a handler sees it.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, never, select};

use crate::clock;
use crate::connection::Gone;
use crate::handler::stateless::Claims;
use crate::handler::{AskError, Call, ClientRequest, Peer, Rounds};
use crate::json::{self, Json};
use crate::message::Message;
use crate::rpc_error::RpcError;
use crate::version::Version;

/// The client a request came from: what is known about it, and the ways to talk to it while the request is worked on.
///
/// Cheap to clone; a clone may move to another thread and be kept, and then finds the client gone one day.
#[derive(Clone)]
pub struct Session {
    peer: Arc<Peer>,
    call: Option<Arc<Call>>,
}

/// How severe a log message is (RFC 5424, as in 2024-11-05 server/utilities/logging).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of RFC 5424")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl LogLevel {
    const ALL: [(LogLevel, &'static str); 8] = [
        (LogLevel::Debug, "debug"),
        (LogLevel::Info, "info"),
        (LogLevel::Notice, "notice"),
        (LogLevel::Warning, "warning"),
        (LogLevel::Error, "error"),
        (LogLevel::Critical, "critical"),
        (LogLevel::Alert, "alert"),
        (LogLevel::Emergency, "emergency"),
    ];

    /// The level as the protocol writes it.
    pub fn as_str(self) -> &'static str {
        LogLevel::ALL[self as usize].1
    }

    /// The level the protocol writes as `text`.
    pub fn parse(text: &str) -> Option<LogLevel> {
        LogLevel::ALL.into_iter().find(|(_, name)| *name == text).map(|(level, _)| level)
    }

    pub(crate) fn from_number(number: u8) -> LogLevel {
        LogLevel::ALL.get(usize::from(number)).map_or(LogLevel::Emergency, |(level, _)| *level)
    }
}

impl Session {
    pub(crate) fn new(peer: Arc<Peer>, call: Option<Arc<Call>>) -> Session {
        Session { peer, call }
    }

    /// The session's id: secret where it came over HTTP, since it is what lets a client in.
    pub fn id(&self) -> &str {
        &self.peer.id
    }

    /// The version agreed on in `initialize`, or that of a stateless request; none when there was neither.
    pub fn version(&self) -> Option<Version> {
        if self.stateless().is_some() { Some(Version::V2026_07_28) } else { self.peer.facts().version }
    }

    /// What the client said about itself: an object with name and version.
    pub fn client_info(&self) -> Option<Json> {
        self.stateless().map_or_else(|| self.peer.facts().client_info.clone(), |(claims, _)| claims.client_info.clone())
    }

    /// The capabilities the client declared.
    pub fn client_capabilities(&self) -> Option<Json> {
        self.stateless().map_or_else(|| self.peer.facts().capabilities.clone(), |(claims, _)| Some(claims.capabilities.clone()))
    }

    /// Sends the client a notification; during a call, one that belongs to the call. A client that sends stateless requests (2026-07-28) hears of changes
    /// elsewhere: here they are left out, and so are log messages it does not want.
    ///
    /// # Errors
    /// When the client is gone, or the call was cancelled.
    pub fn notify(&self, method: &str, params: impl Into<Json>) -> Result<(), Gone> {
        if let Some((claims, _)) = self.stateless() {
            let is_of_call = match method {
                "notifications/message" => claims.log_level.is_some(),
                "notifications/resources/updated" => false,
                method => !method.ends_with("/list_changed"),
            };
            if !is_of_call {
                return Ok(());
            }
        }
        self.send(Message::notification(method, Some(params.into().as_str())))
    }

    /// Reports how far the call has come, if the client asked to hear of it: `progress` of `total`, which must grow from one report to the next, and a
    /// sentence (2025-03-26 basic/utilities/progress). What is no number, as a division by zero gives it, is left out.
    ///
    /// # Errors
    /// When the client is gone, or the call was cancelled, or is over: a thread that outlives it is not heard.
    pub fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) -> Result<(), Gone> {
        let Some(call) = &self.call else { return Ok(()) };
        let Some(token) = call.progress_token.as_deref() else { return Ok(()) };
        if call.is_answered() {
            return Err(Gone);
        }
        if !progress.is_finite() {
            return Ok(());
        }
        let mut params = format!("{{\"progressToken\":{token},\"progress\":{}", Json::from(serde_json::Value::from(progress)));
        if let Some(total) = total.filter(|total| total.is_finite()) {
            params.push_str(&format!(",\"total\":{}", Json::from(serde_json::Value::from(total))));
        }
        if let Some(message) = message {
            params.push_str(",\"message\":");
            json::push_string(&mut params, message);
        }
        params.push('}');
        self.notify("notifications/progress", Json::trusted(params))
    }

    /// Sends a log message, unless the client asked for more severe ones only (2024-11-05 server/utilities/logging). The server must have declared
    /// the capability `logging`.
    ///
    /// # Errors
    /// When the client is gone, or the call was cancelled.
    pub fn log(&self, level: LogLevel, logger: Option<&str>, data: impl Into<Json>) -> Result<(), Gone> {
        let wanted = self.stateless().map_or_else(|| Some(self.peer.log_level()), |(claims, _)| claims.log_level);
        if wanted.is_none_or(|wanted| level < wanted) {
            return Ok(());
        }
        let mut params = format!("{{\"level\":\"{}\"", level.as_str());
        if let Some(logger) = logger {
            params.push_str(",\"logger\":");
            json::push_string(&mut params, logger);
        }
        params.push_str(",\"data\":");
        params.push_str(data.into().as_str());
        params.push('}');
        self.notify("notifications/message", Json::trusted(params))
    }

    /// Asks the client something and waits for the answer. The call's slot serves others meanwhile. `key` names the question within the call.
    ///
    /// A client that sends stateless requests (2026-07-28) is asked by the answer to its call, and sends the call again with its own answer: an error that
    /// only has to be handed on with `?` ends the handler, which then runs again from its start and finds the answer here. So what has effects belongs
    /// behind the last question, and keys must be the same in each run.
    ///
    /// # Errors
    /// See [`AskError`]; the wait ends with the answer, the deadline of the request, the cancellation of the call, the session or the server.
    pub fn ask(&self, key: &str, request: ClientRequest) -> Result<Json, AskError> {
        let mut answers = self.ask_all([(key, request)])?;
        answers.pop().ok_or(AskError::Gone)
    }

    /// Asks the client several things at once and waits for all the answers, which come in the order of the questions.
    ///
    /// # Errors
    /// As [`ask`](Session::ask): the first that failed.
    pub fn ask_all<'k>(&self, requests: impl IntoIterator<Item = (&'k str, ClientRequest)>) -> Result<Vec<Json>, AskError> {
        let requests: Vec<_> = requests.into_iter().collect();
        let missing = requests.iter().find_map(|(_, request)| self.lacks(request));
        if let Some((_, rounds)) = self.stateless() {
            return ask_in_rounds(rounds, missing, requests);
        }
        if let Some(missing) = missing {
            return Err(AskError::Unsupported(missing));
        }
        let lent = Lent::new(self)?;
        let mut waiting = Vec::with_capacity(requests.len());
        let mut result = Ok(());
        for (_key, request) in requests {
            let (number, answered) = self.peer.asked();
            let deadline = clock::from_now(request.timeout);
            let message = Message::request(&number.to_string(), &request.method, Some(request.params.as_str()));
            result = self.send(message).map_err(|Gone| if self.is_cancelled() { AskError::Cancelled } else { AskError::Gone });
            waiting.push((number, answered, deadline));
            if result.is_err() {
                break;
            }
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for (number, answered, deadline) in waiting {
            if result.is_ok() {
                match self.wait(&answered, deadline) {
                    Ok(answer) => answers.push(answer),
                    Err(error @ AskError::Refused(_)) => {
                        // This one is answered; only those behind it are not needed any more.
                        result = Err(error);
                        continue;
                    }
                    Err(error) => result = Err(error),
                }
            }
            if result.is_err() {
                self.withdraw(number);
            }
        }
        drop(lent);
        result.map(|()| answers)
    }

    /// True when the client cancelled the call, or left.
    pub fn is_cancelled(&self) -> bool {
        match &self.call {
            Some(call) => call.is_cancelled(),
            None => self.peer.is_closed.load(Ordering::SeqCst),
        }
    }

    /// A channel that hangs up when the call is cancelled, to `select!` on. Nothing is ever sent on it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn work(session: &mcp_http_transport::Session) -> Result<&'static str, &'static str> {
    /// match session.cancelled().recv_timeout(Duration::from_secs(3)) {
    ///     Err(error) if error.is_disconnected() => Err("cancelled"),
    ///     _ => Ok("three seconds passed"),
    /// }
    /// # }
    /// ```
    pub fn cancelled(&self) -> Receiver<()> {
        self.call.as_ref().map_or_else(never, |call| call.cancelled())
    }

    /// Closes the response stream before the answer is there; the client comes back for it (2025-11-25 basic/transports, polling). Elsewhere nothing
    /// happens.
    pub fn close_stream(&self) {
        if let Some(call) = &self.call {
            call.outlet.close_stream();
        }
    }

    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    fn send(&self, message: Message) -> Result<(), Gone> {
        match &self.call {
            Some(call) => call.send(message),
            None => self.peer.outlet.offer(message),
        }
    }

    fn stateless(&self) -> Option<&(Claims, Rounds)> {
        self.call.as_ref()?.stateless.as_ref()
    }

    /// The capability that the client would have had to declare. One that never sent `initialize` is given the benefit of the doubt.
    fn lacks(&self, request: &ClientRequest) -> Option<&'static str> {
        let capabilities = self.client_capabilities()?;
        request.capability().filter(|name| capabilities.get(name).is_none())
    }

    fn wait(&self, answered: &Receiver<Result<Json, RpcError>>, deadline: Instant) -> Result<Json, AskError> {
        let cancelled = self.cancelled();
        select! {
            recv(answered) -> answer => match answer {
                Ok(Ok(result)) => Ok(result),
                Ok(Err(error)) => Err(AskError::Refused(error)),
                Err(_) if self.is_cancelled() => Err(AskError::Cancelled),
                Err(_) => Err(AskError::Gone),
            },
            recv(cancelled) -> _ => Err(AskError::Cancelled),
            default(deadline.saturating_duration_since(Instant::now())) => Err(AskError::TimedOut),
        }
    }

    /// Tells the client that nobody waits for an answer any more.
    fn withdraw(&self, number: u64) {
        self.peer.forget(number);
        let outlet = self.call.as_ref().map_or(&self.peer.outlet, |call| &call.outlet);
        let params = format!("{{\"requestId\":{number},\"reason\":\"nobody waits for the answer any more\"}}");
        // A client that is gone needs no cancelling.
        drop(outlet.offer(Message::notification("notifications/cancelled", Some(&params))));
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// Asks a client that waits for nothing: what it has not answered before goes out with the answer to the call.
fn ask_in_rounds(rounds: &Rounds, missing: Option<&'static str>, requests: Vec<(&str, ClientRequest)>) -> Result<Vec<Json>, AskError> {
    if !rounds.may_ask() {
        return Err(AskError::Refused(RpcError::invalid_request("only tools, prompts and resources may ask the client")));
    }
    if let Some(missing) = missing {
        rounds.miss(missing);
        return Err(AskError::Unsupported(missing));
    }
    let mut answers = Vec::with_capacity(requests.len());
    let mut is_complete = true;
    for (key, request) in requests {
        match rounds.answer(key, &request) {
            Some(answer) => answers.push(answer),
            None => {
                is_complete = false;
                rounds.ask(key, request);
            }
        }
    }
    if is_complete { Ok(answers) } else { Err(AskError::Suspended) }
}

/// The slot of a call, given back while the call waits for the client.
struct Lent<'s>(Option<(&'s Peer, &'s Arc<Call>)>);

impl<'s> Lent<'s> {
    fn new(session: &'s Session) -> Result<Lent<'s>, AskError> {
        let Some(call) = &session.call else { return Ok(Lent(None)) };
        let mut asking = call.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if *asking == 0 && !session.peer.slots.pause(session.peer.lane) {
            return Err(AskError::TooMany);
        }
        *asking += 1;
        Ok(Lent(Some((&session.peer, call))))
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some((peer, call)) = self.0 else { return };
        let mut asking = call.asking.lock().unwrap_or_else(PoisonError::into_inner);
        *asking -= 1;
        if *asking == 0 {
            peer.slots.resume(peer.lane, &call.cancelled());
        }
    }
}
