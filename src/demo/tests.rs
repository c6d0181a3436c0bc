//! The demo as its clients see it.

use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::demo::server;
use crate::dispatch::memory;
use crate::json;
use crate::message::{Kind, Message};

const SOON: Duration = Duration::from_secs(10);

fn call(client: &Connection, name: &str, arguments: &str) -> String {
    let params = format!(r#"{{"name": "{name}", "arguments": {arguments}}}"#);
    let result = client.call(1, "tools/call", &params, SOON).unwrap();
    text(result.as_str())
}

fn text(result: &str) -> String {
    let result: serde_json::Value = serde_json::from_str(result).unwrap();
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

fn send(client: &Connection, name: &str, arguments: &str) {
    let params = format!(r#"{{"name":"{name}","arguments":{arguments},"_meta":{{"progressToken":"p"}}}}"#);
    client.send(&format!(r#"{{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{params}}}"#)).unwrap();
}

fn until_answer(client: &Connection) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.last().is_none_or(|message: &Message| message.id() != "\"c\"") {
        messages.push(client.receive(SOON).unwrap());
    }
    messages
}

#[test]
fn the_simple_ones_answer() {
    let client = memory(server());
    assert_eq!(call(&client, "echo", r#"{"message": "hi"}"#), "hi");
    assert_eq!(call(&client, "add", r#"{"a": 1, "b": 2}"#), "3");
    assert_eq!(call(&client, "slow", r#"{"seconds": -1}"#), "seconds must be between 0 and 3600, and steps between 1 and 1000");
    let read = client.call(2, "resources/read", r#"{"uri": "demo://greeting"}"#, SOON).unwrap();
    assert!(read.as_str().contains("Hello"));
    let prompt = client.call(3, "prompts/get", r#"{"name": "greet", "arguments": {"name": "Ann"}}"#, SOON).unwrap();
    assert!(prompt.as_str().contains("Greet Ann"));
}

#[test]
fn slow_says_how_far_it_has_come() {
    let client = memory(server());
    send(&client, "slow", r#"{"seconds": 0, "steps": 3}"#);
    let messages = until_answer(&client);
    let progress = messages.iter().filter(|message| message.method() == "notifications/progress");
    assert_eq!(progress.map(|message| message.find(&["progress"]).unwrap()).collect::<Vec<_>>(), ["1.0", "2.0", "3.0"]);
    assert_eq!(messages.iter().filter(|message| message.method() == "notifications/message").count(), 2);
}

#[test]
fn slow_can_be_cancelled() {
    let client = memory(server());
    send(&client, "slow", r#"{"seconds": 3600, "steps": 1}"#);
    assert_eq!(client.receive(SOON).unwrap().method(), "notifications/message");
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}"#).unwrap();
    // The call is over as soon as its id may be used again.
    let deadline = Instant::now() + SOON;
    loop {
        send(&client, "echo", r#"{"message": "next"}"#);
        if until_answer(&client).last().unwrap().kind() == Kind::Result {
            break;
        }
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn ask_asks_the_person() {
    let client = memory(server());
    let answers = [
        (r#"{"action":"accept","content":{"answer":"42"}}"#, "The answer is: 42"),
        (r#"{"action":"decline"}"#, "The person would rather not answer."),
        (r#"{"action":"cancel"}"#, "The person closed the question."),
    ];
    for (answer, expected) in answers {
        send(&client, "ask", r#"{"question": "How many?"}"#);
        let question = client.receive(SOON).unwrap();
        assert_eq!((question.kind(), question.method().as_ref()), (Kind::Request, "elicitation/create"));
        assert_eq!(question.find(&["message"]).and_then(json::unquote).as_deref(), Some("How many?"));
        client.send(Message::result(question.id(), answer).as_str()).unwrap();
        let messages = until_answer(&client);
        assert_eq!(text(messages.last().unwrap().letter().unwrap()), expected);
    }
}
