//! Asking a client of the stateless era (2026-07-28 basic/patterns/mrtr), round by round and without a thread that waits:
//!
//! 1. the handler asks; what has been answered in an earlier round it gets at once, and with the first question that was not, it is to end;
//! 2. the questions go out as the result of the call, and with them, signed, everything answered so far;
//! 3. the client sends the request again, with its answers and what we signed; the handler runs again from its start.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::base64;
use crate::handler::ClientRequest;
use crate::handler::stateless::MISSING_CAPABILITY;
use crate::identity::{self, Key};
use crate::json::{self, Json};
use crate::message::Message;
use crate::rpc_error::RpcError;

/// How long a client may take from one round to the next.
const PATIENCE: Duration = Duration::from_secs(600);

/// Bytes of a `requestState`, and of what a client may answer in all.
const LARGEST: usize = 64 << 10;

/// The requests whose results may ask for input.
const ASKING: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

/// The questions and answers of one call.
pub(crate) struct Rounds {
    may_ask: bool,
    answers: BTreeMap<String, Json>,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    questions: Vec<(String, ClientRequest)>,
    missing: Option<&'static str>,
}

impl Rounds {
    /// What `request` brings from earlier rounds.
    ///
    /// # Errors
    /// -32602 when its `requestState` is not one of ours for this very request, or too old.
    pub fn read(request: &Message, now: SystemTime) -> Result<Rounds, RpcError> {
        let method = request.method();
        let may_ask = ASKING.contains(&&*method);
        let mut rounds = Rounds { may_ask, answers: BTreeMap::new(), asked: Mutex::default() };
        let Some(params) = request.letter().filter(|_| may_ask) else { return Ok(rounds) };
        let Some([state, responses]) = json::members(params, ["requestState", "inputResponses"]) else { return Ok(rounds) };
        if let Some(responses) = responses {
            rounds.answers = map(responses).ok_or_else(|| RpcError::invalid_params("inputResponses must be an object"))?;
        }
        if let Some(state) = state {
            // What has been signed counts before what is only said.
            rounds.answers.extend(open(state, &digest(&method, params), Key::shared(), now).ok_or_else(|| {
                RpcError::invalid_params("requestState is not what this server gave out for this request, or more than ten minutes old")
            })?);
        }
        Ok(rounds)
    }

    /// Whether the request is one whose result may ask.
    pub fn may_ask(&self) -> bool {
        self.may_ask
    }

    /// The answer of an earlier round, unless it does not fit the question.
    pub fn answer(&self, key: &str, question: &ClientRequest) -> Option<Json> {
        self.answers.get(key).filter(|answer| fits(&question.method, answer)).cloned()
    }

    /// Notes a question; it goes out when the handler has ended.
    pub fn ask(&self, key: &str, question: ClientRequest) {
        let mut asked = self.lock();
        if !asked.questions.iter().any(|(other, _)| other == key) {
            asked.questions.push((key.to_owned(), question));
        }
    }

    /// Notes that the client cannot be asked something.
    pub fn miss(&self, capability: &'static str) {
        self.lock().missing = Some(capability);
    }

    /// Puts what has to be answered in place of what the handler answered: if it has asked, the questions; if it failed for want of a capability, that.
    pub fn settle(&self, request: &Message, outcome: Result<Json, RpcError>, now: SystemTime) -> Result<Json, RpcError> {
        let asked = self.lock();
        if !asked.questions.is_empty() {
            return self.input_required(request, &asked.questions, now);
        }
        match asked.missing {
            Some(missing) if outcome.as_ref().map_or(true, |result| result.get("isError") == Some("true")) => {
                let data = format!("{{\"requiredCapabilities\":{{\"{missing}\":{{}}}}}}");
                Err(RpcError::new(MISSING_CAPABILITY, format!("Missing required client capability: {missing}"))
                    .with_data(Json::trusted(data)))
            }
            _ => outcome,
        }
    }

    fn input_required(&self, request: &Message, questions: &[(String, ClientRequest)], now: SystemTime) -> Result<Json, RpcError> {
        let digest = digest(&request.method(), request.letter().unwrap_or("{}"));
        let state = seal(&self.answers, &digest, Key::shared(), now);
        if state.len() > LARGEST {
            return Err(RpcError::internal(format_args!("the answers so far take more than {LARGEST} bytes")));
        }
        let mut result = "{\"resultType\":\"input_required\",\"inputRequests\":{".to_owned();
        for (at, (key, question)) in questions.iter().enumerate() {
            if at > 0 {
                result.push(',');
            }
            json::push_string(&mut result, key);
            result.push_str(":{\"method\":");
            json::push_string(&mut result, &question.method);
            result.push_str(",\"params\":");
            result.push_str(question.params.as_str());
            result.push('}');
        }
        result.push_str("},\"requestState\":\"");
        result.push_str(&state);
        result.push_str("\"}");
        Ok(Json::trusted(result))
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an answer has the form that answers to `method` have; one that has not is as good as none.
fn fits(method: &str, answer: &Json) -> bool {
    match method {
        "elicitation/create" => answer.get("action").and_then(json::unquote).is_some_and(|action| {
            // Accepting a form means having filled it in; one that is elsewhere (mode url) has no content.
            matches!(&*action, "accept" | "decline" | "cancel") && answer.get("content").is_none_or(|content| content.starts_with('{'))
        }),
        "sampling/createMessage" => answer.get("role").is_some() && answer.get("content").is_some(),
        "roots/list" => answer.get("roots").is_some_and(|roots| roots.starts_with('[')),
        _ => answer.as_str().starts_with('{'),
    }
}

/// What a retry has in common with the request it repeats: method and params, in one order, without what the rounds are about.
fn digest(method: &str, params: &str) -> String {
    let canonical = match serde_json::from_str::<Value>(params) {
        Ok(Value::Object(mut params)) => {
            for changing in ["_meta", "inputResponses", "requestState"] {
                params.remove(changing);
            }
            json::written(&Value::Object(params))
        }
        // Too deep to be put in order; then the client must not have changed a byte, and the state is in there: such a request cannot ask.
        _ => params.to_owned(),
    };
    identity::hex(&hmac_sha256::Hash::hash(format!("{method}\n{canonical}").as_bytes()))
}

/// `answers` for the next round of the request with this digest.
fn seal(answers: &BTreeMap<String, Json>, digest: &str, key: &Key, now: SystemTime) -> String {
    let until = seconds(now + PATIENCE);
    let mut text = format!("{{\"until\":{until},\"of\":\"{digest}\",\"answers\":{{");
    for (at, (name, answer)) in answers.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        json::push_string(&mut text, name);
        text.push(':');
        text.push_str(answer.as_str());
    }
    text.push_str("}}");
    let mut sealed = key.sign("request-state", text.as_bytes()).to_vec();
    sealed.extend_from_slice(text.as_bytes());
    base64::encode(&sealed)
}

/// The answers in what [`seal`] made, if it was for this request and still counts.
fn open(state: &str, digest: &str, key: &Key, now: SystemTime) -> Option<BTreeMap<String, Json>> {
    let sealed = json::unquote(state).filter(|text| text.len() <= LARGEST).and_then(|text| base64::decode(&text))?;
    let (signature, text) = sealed.split_at_checked(32)?;
    if !identity::equal(signature, &key.sign("request-state", text)) {
        return None;
    }
    let [until, of, answers] = json::members(std::str::from_utf8(text).ok()?, ["until", "of", "answers"])?;
    let counts = until?.parse::<u64>().ok()? >= seconds(now) && of.and_then(json::unquote)? == digest;
    map(answers.filter(|_| counts)?)
}

fn map(object: &str) -> Option<BTreeMap<String, Json>> {
    let mut answers = BTreeMap::new();
    // One after the other: to collect them would sort them first, and there are few.
    answers.extend(json::entries(object)?.into_iter().map(|(name, value)| (name.into_owned(), Json::trusted(value))));
    Some(answers)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NAME: &str = r#""user":{"action":"accept","content":{"name":"Ada"}}"#;

    fn call(further: &str) -> Message {
        Message::request("1", "tools/call", Some(&format!(r#"{{"name":"greet","arguments":{{"b":1,"a":2}}{further}}}"#)))
    }

    fn ask(rounds: &Rounds, key: &str) -> Option<Json> {
        let question = ClientRequest::elicitation("?", json!({"type": "object"}));
        let answer = rounds.answer(key, &question);
        if answer.is_none() {
            rounds.ask(key, question);
        }
        answer
    }

    fn state_of(result: &Json) -> String {
        result.get("requestState").unwrap().to_owned()
    }

    #[test]
    fn answers_come_back_through_the_client() {
        let now = SystemTime::now();
        let first = Rounds::read(&call(""), now).unwrap();
        assert_eq!(ask(&first, "user"), None);
        let result = first.settle(&call(""), Ok(Json::empty()), now).unwrap();
        assert!(
            result
                .as_str()
                .starts_with(r#"{"resultType":"input_required","inputRequests":{"user":{"method":"elicitation/create","params":"#)
        );
        let retry = call(&format!(r#","requestState":{},"inputResponses":{{{NAME},"more":1}}"#, state_of(&result)));
        let second = Rounds::read(&retry, now).unwrap();
        assert!(ask(&second, "user").is_some() && ask(&second, "color").is_none());
        let result = second.settle(&retry, Err(RpcError::internal("discarded")), now).unwrap();
        // The third round brings one answer, and the other one is in the state; the arguments may come in another order.
        let text = format!(
            r#"{{"inputResponses":{{"color":{{"action":"decline"}}}},"requestState":{},"arguments":{{"a":2,"b":1}},"name":"greet","_meta":{{}}}}"#,
            state_of(&result)
        );
        let third = Rounds::read(&Message::request("3", "tools/call", Some(&text)), now).unwrap();
        assert!(ask(&third, "user").unwrap().as_str().contains("Ada") && ask(&third, "color").is_some());
        assert_eq!(third.settle(&retry, Ok(Json::trusted("{\"a\":1}")), now).unwrap().as_str(), "{\"a\":1}");
    }

    #[test]
    fn a_state_counts_for_its_request_and_its_time_only() {
        let now = SystemTime::now();
        let rounds = Rounds::read(&call(""), now).unwrap();
        assert_eq!(ask(&rounds, "user"), None);
        let state = state_of(&rounds.settle(&call(""), Ok(Json::empty()), now).unwrap());
        let with = |state: &str| format!(",\"requestState\":{state}");
        assert!(Rounds::read(&call(&with(&state)), now + Duration::from_secs(599)).is_ok());
        let mut forged = state.clone().into_bytes();
        forged[60] = if forged[60] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        let other = Message::request("1", "tools/call", Some(&format!(r#"{{"name":"other","requestState":{state}}}"#)));
        let refused = [
            Rounds::read(&call(&with(&forged)), now),
            Rounds::read(&call(&with("\"\"")), now),
            Rounds::read(&call(&with("7")), now),
            Rounds::read(&call(&with(&format!("\"{}\"", "A".repeat(LARGEST + 4)))), now),
            Rounds::read(&call(&with(&state)), now + Duration::from_secs(601)),
            Rounds::read(&other, now),
            Rounds::read(&call(",\"inputResponses\":[]"), now),
        ];
        assert!(refused.iter().all(|read| read.as_ref().err().map(RpcError::code) == Some(RpcError::INVALID_PARAMS)));
    }

    #[test]
    fn an_answer_that_fits_no_question_is_none() {
        let now = SystemTime::now();
        for answer in ["1", "{}", r#"{"action":"maybe"}"#, r#"{"action":"accept","content":1}"#, "null"] {
            let rounds = Rounds::read(&call(&format!(",\"inputResponses\":{{\"user\":{answer}}}")), now).unwrap();
            assert_eq!(ask(&rounds, "user"), None, "{answer}");
        }
    }

    #[test]
    fn a_missing_capability_shows_only_when_the_call_failed() {
        let now = SystemTime::now();
        let rounds = Rounds::read(&call(""), now).unwrap();
        rounds.miss("sampling");
        let fine = Json::trusted(r#"{"content":[]}"#);
        assert_eq!(rounds.settle(&call(""), Ok(fine.clone()), now), Ok(fine));
        for failure in [Err(RpcError::internal("x")), Ok(Json::trusted(r#"{"content":[],"isError":true}"#))] {
            let error = rounds.settle(&call(""), failure, now).unwrap_err();
            assert_eq!((error.code(), error.data().unwrap().as_str()), (-32021, r#"{"requiredCapabilities":{"sampling":{}}}"#));
        }
    }
}
