//! Routing across a swap: ids, tokens, questions, cancellations, tasks; what an old child may still say.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use serde_json::json;

use super::kit::{changes, front, front_with, touch, until, value};
use crate::connection::Outlet;
use crate::message::Message;

#[test]
fn answers_keep_the_clients_ids_whatever_they_are() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    for id in [json!("a\"b"), json!(0), json!(-7), json!("0")] {
        client.say(json!({"id": id, "method": "tools/call", "params": {"name": "version"}}));
        let answer = client.until("answer", |message| *message.id() == *id.to_string());
        assert_eq!(value(&answer)["result"]["content"][0]["text"], "v1");
    }
}

#[test]
fn a_call_has_its_own_way_back_and_what_belongs_to_it_goes_there() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    let (sender, own) = bounded::<Message>(100);
    let outlet: Arc<dyn Outlet> = Arc::new(sender);
    client.say_by(
        json!({"id": 70, "method": "tools/call", "params": {"name": "slow", "arguments": {"steps": 2},
        "_meta": {"progressToken": "mine"}}}),
        &outlet,
    );
    let next = || value(&own.recv_timeout(super::kit::DEADLINE).unwrap());
    for step in 1..=2 {
        assert_eq!(next()["params"], json!({"progressToken": "mine", "progress": step}));
    }
    assert_eq!(next()["id"], 70);
    client.say_by(json!({"id": 71, "method": "tools/call", "params": {"name": "log"}}), &outlet);
    assert_eq!(next()["params"]["data"], "v1", "the only call");
    assert_eq!(next()["id"], 71);
    client.say_by(json!({"id": 72, "method": "tools/call", "params": {"name": "ask"}}), &outlet);
    let asked = next();
    assert_eq!(asked["method"], "roots/list");
    client.say(json!({"id": asked["id"], "result": {"roots": []}}));
    assert_eq!(next()["result"]["content"][0]["text"], r#"v1 {"roots": []}"#);
    assert!(client.so_far().is_empty());
}

#[test]
fn a_question_reaches_the_client_by_the_session_when_the_calls_way_is_closed() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    let (sender, own) = bounded::<Message>(100);
    drop(own);
    let outlet: Arc<dyn Outlet> = Arc::new(sender);
    client.say_by(json!({"id": 72, "method": "tools/call", "params": {"name": "ask"}}), &outlet);
    client.asked("roots/list");
}

#[test]
fn answers_progress_and_cancellations_find_the_child_that_holds_the_id() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    // Both children count their questions from 1 and choose the same token.
    let old = client.start("ask", json!({"token": true}));
    let old_question = client.asked("roots/list");
    changes(front.reload(json!({"name": "v2"})));
    let new = client.start("ask", json!({"token": true, "method": "sampling/createMessage"}));
    let new_question = client.asked("sampling/createMessage");
    assert_ne!(old_question.id(), new_question.id());
    let token = |question: &Message| value(question)["params"]["_meta"]["progressToken"].clone();
    assert_ne!(token(&old_question), token(&new_question));
    client.tell("notifications/progress", json!({"progressToken": token(&old_question), "progress": 5}));
    until("the old child hears it", || front.traced(r#"v1 got notifications/progress {"progress": 5, "progressToken": 1}"#) == 1);
    client.tell("notifications/roots/list_changed", json!({}));
    until("both hear it", || ["v1", "v2"].iter().all(|name| front.traced(&format!("{name} got notifications/roots")) == 1));
    client.say(json!({"id": value(&new_question)["id"], "result": {"n": 2}}));
    client.say(json!({"id": value(&old_question)["id"], "error": {"code": 1, "message": "no"}}));
    assert_eq!(client.result(new), r#"v2 {"n": 2}"#);
    assert_eq!(client.result(old), r#"v1 {"code": 1, "message": "no"}"#);
    let slow = client.start("slow", json!({"seconds": 5, "steps": 500}));
    client.tell("notifications/cancelled", json!({"requestId": slow, "reason": "enough"}));
    until("the child knows which call is meant", || front.traced("v2 stopped") == 1);
    let slow = client.start("slow", json!({"seconds": 5, "steps": 1000}));
    until("v2 has it", || front.trace().iter().any(|line| line.starts_with("v2") && line.contains("1000")));
    changes(front.reload(json!({"name": "v3"})));
    client.tell("notifications/cancelled", json!({"requestId": slow}));
    until("the old one stops working", || front.traced("v2 end of input") == 1);
    assert_eq!(front.traced("v3 got notifications/cancelled"), 0);
    assert_eq!(client.version(), "v3");
    assert!(client.so_far().is_empty(), "a cancelled call gets no answer: {:?}", client.so_far());
}

#[test]
fn an_old_childs_questions_are_taken_back_only_when_it_is_stopped() {
    let front = front_with(json!({"name": "v1"}), |settings| settings.drain = Duration::from_millis(200));
    let client = front.session();
    let asking = client.start("ask", json!({}));
    let question = client.asked("roots/list");
    changes(front.reload(json!({"name": "v2"})));
    // The time it has does not run while the client is asked: a call that has none of that is lost long before.
    assert_eq!(client.tool("slow", json!({"seconds": 0.5})), "v2");
    assert!(client.so_far().is_empty());
    client.say(json!({"id": value(&question)["id"], "result": {}}));
    assert_eq!(client.result(asking), "v1 {}");
    let asking = client.start("ask", json!({}));
    let question = client.asked("roots/list");
    let crash = client.start("crash", json!({}));
    assert_eq!((client.reason(asking), client.reason(crash)), ("crashed".to_owned(), "crashed".to_owned()));
    assert_eq!(client.notification("notifications/cancelled")["params"]["requestId"], value(&question)["id"]);
    client.say(json!({"id": value(&question)["id"], "result": {}}));
    assert_eq!(client.version(), "v2", "an answer that comes too late harms nobody");
}

#[test]
fn a_third_generation_waits_a_moment_for_the_first() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    let call = |gate: &str| client.start("until", json!({"path": front.dir.join(gate)}));
    let first = call("never");
    until("v1 has it", || front.traced("v1 got tools/call") == 1);
    changes(front.reload(json!({"name": "v2"})));
    let second = call("second");
    until("v2 has it", || front.traced("v2 got tools/call") == 1);
    changes(front.reload(json!({"name": "v3"})));
    assert_eq!(client.reason(first), "reloaded");
    assert_eq!(front.children(), 2, "never three that serve");
    touch(&front.dir.join("second"));
    assert_eq!(client.result(second), "v2");
}

#[test]
fn tasks_go_to_the_child_that_made_them_while_it_is_there() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    let made = client.call("tools/call", json!({"name": "task"}));
    assert_eq!(made["result"]["task"]["taskId"], "v1");
    let gate = front.dir.join("gate");
    let busy = client.start("until", json!({"path": gate}));
    until("v1 has it", || front.traced("v1 got tools/call") == 2);
    changes(front.reload(json!({"name": "v2"})));
    assert_eq!(client.call("tasks/get", json!({"taskId": "v1"}))["result"]["maker"], "v1");
    touch(&gate);
    client.result(busy);
    until("v1 has ended", || front.children() == 1);
    assert!(front.hold.groups()[0].with(|core, _| core.tasks.is_empty()));
    assert_eq!(client.call("tasks/get", json!({"taskId": "v1"}))["result"]["maker"], "v2");
}

#[test]
fn a_child_that_chats_on_stdout_or_asks_before_it_serves_is_served() {
    let front = front(json!({"name": "v1", "chatty": true, "ask_roots_first": true}));
    let client = front.session();
    let call = client.start("version", json!({}));
    let question = client.asked("roots/list");
    client.say(json!({"id": value(&question)["id"], "result": {"roots": []}}));
    assert_eq!(client.result(call), "v1");
    front.edit(json!({"name": "v2"}));
    changes(front.hold.swap(front.save()));
    let call = client.start("version", json!({}));
    let question = client.asked("roots/list");
    client.say(json!({"id": value(&question)["id"], "result": {"roots": []}}));
    assert_eq!(client.result(call), "v2");
    assert!(client.so_far().is_empty(), "nothing stray: {:?}", client.so_far());
}

#[test]
fn a_log_of_an_old_child_passes_while_it_has_calls_and_its_list_changes_never() {
    let front = front(json!({"name": "v1", "tools": ["a"]}));
    let client = front.session();
    let gate = front.dir.join("gate");
    let busy = client.start("until", json!({"path": gate}));
    let log = client.start("ask", json!({}));
    let question = client.asked("roots/list");
    changes(front.reload(json!({"name": "v2"})));
    client.say(json!({"id": value(&question)["id"], "result": {}}));
    client.result(log);
    touch(&gate);
    assert_eq!(client.result(busy), "v1");
    assert!(client.so_far().is_empty());
}
