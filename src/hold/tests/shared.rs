//! `--shared`: one child for all sessions.

use serde_json::json;

use super::kit::{Front, changes, failure, front_with, until, value};

fn shared(config: serde_json::Value) -> Front {
    front_with(config, |settings| settings.shared = true)
}

#[test]
fn one_child_is_initialised_once_and_every_session_gets_the_stored_result() {
    let front = shared(json!({"name": "v1", "strict": true}));
    let (one, two) = (front.client(), front.client());
    let (first, second) = (one.initialize(), two.initialize());
    assert_eq!(first["result"], second["result"]);
    assert_eq!(one.tool("pid", json!({})), two.tool("pid", json!({})));
    assert_eq!((front.traced("v1 got initialize"), front.traced("v1 got notifications/initialized")), (1, 1));
    assert!(front.trace().iter().any(|line| line.contains("got initialize") && line.contains(r#""capabilities": {}"#)));
    changes(front.reload(json!({"name": "v2"})));
    assert_eq!((one.version(), two.version()), ("v2".to_owned(), "v2".to_owned()));
    until("the old one ends", || front.children() == 1);
    one.link.close();
    assert_eq!(two.version(), "v2");
    failure(front.reload(json!({"name": "bad", "crash_at_start": true})));
    assert_eq!(two.version(), "v2");
}

#[test]
fn equal_ids_and_tokens_of_two_sessions_do_not_meet() {
    let front = shared(json!({"name": "v1"}));
    let (one, two) = (front.session(), front.session());
    for client in [&one, &two] {
        client.say(json!({"id": 5, "method": "tools/call", "params": {"name": "slow", "_meta": {"progressToken": 5}}}));
    }
    for client in [&one, &two] {
        assert_eq!(client.notification("notifications/progress")["params"]["progressToken"], 5);
        assert_eq!(value(&client.answer(5))["result"]["content"][0]["text"], "v1");
        assert!(client.so_far().is_empty());
    }
    let (kept, cancelled) = (one.start("slow", json!({"seconds": 0.3})), two.start("slow", json!({"seconds": 5, "steps": 500})));
    assert_eq!(kept, cancelled, "the same id");
    two.tell("notifications/cancelled", json!({"requestId": cancelled}));
    assert_eq!(one.result(kept), "v1");
    until("the other stops", || front.traced("v1 stopped") == 1);
}

#[test]
fn its_requests_are_refused_and_its_logs_go_to_whom_they_must_belong() {
    let front = shared(json!({"name": "v1"}));
    let (one, two) = (front.session(), front.session());
    assert!(one.tool("ask", json!({})).contains("-32601"));
    assert!(one.tool("ask", json!({"method": "ping"})).ends_with("{}"));
    assert_eq!(one.tool("log", json!({})), "v1");
    assert_eq!(one.notification("notifications/message")["params"]["data"], "v1");
    let busy = two.start("slow", json!({"seconds": 0.3}));
    one.tool("log", json!({}));
    two.result(busy);
    assert!(one.so_far().is_empty() && two.so_far().is_empty(), "of two nobody knows whose it is");
    two.call("logging/setLevel", json!({"level": "error"}));
    one.call("logging/setLevel", json!({"level": "debug"}));
    two.tool("log", json!({}));
    two.tool("log", json!({"level": "critical"}));
    assert_eq!(two.notification("notifications/message")["params"]["level"], "critical");
    assert!(two.so_far().is_empty(), "filtered for each");
    let levels: Vec<String> = front.trace().into_iter().filter(|line| line.contains("setLevel")).collect();
    assert!(levels.last().unwrap().contains("debug"), "the most verbose: {levels:?}");
}

#[test]
fn subscriptions_are_counted_and_updates_go_to_subscribers() {
    let front = shared(json!({"name": "v1", "tools": []}));
    let (one, two, three) = (front.session(), front.session(), front.session());
    for client in [&one, &two] {
        assert_eq!(client.call("resources/subscribe", json!({"uri": "file:///a"}))["result"], json!({}));
    }
    three.tool("updated", json!({"uri": "file:///a"}));
    for client in [&one, &two] {
        client.notification("notifications/resources/updated");
    }
    assert!(three.so_far().is_empty());
    assert_eq!(one.call("resources/unsubscribe", json!({"uri": "file:///a"}))["result"], json!({}));
    assert_eq!((front.traced("v1 got resources/subscribe"), front.traced("v1 got resources/unsubscribe")), (1, 0));
    two.link.close();
    until("the last one's leave is the child's", || front.traced("v1 got resources/unsubscribe") == 1);
    three.tool("changed", json!({}));
    one.notification("notifications/tools/list_changed");
    three.notification("notifications/tools/list_changed");
}
