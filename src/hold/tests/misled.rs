//! Nobody is misled: calls wait for a save to be live, and whoever gets an old answer is told.

use std::time::Duration;

use serde_json::json;

use super::super::{HoldSettings, Verdict};
use super::kit::{Front, changes, failure, front, front_with, value};

fn broken(front: &Front) {
    failure(front.reload_and_tell(json!({"name": "bad", "crash_at_start": true})));
}

#[test]
fn a_call_made_after_a_save_waits_for_it_and_is_answered_by_it() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    assert_eq!(client.version(), "v1");
    front.edit(json!({"name": "v2"}));
    let save = front.save();
    front.watcher.sees(save.number);
    let calls: Vec<u64> = (0..3).map(|_| client.start("version", json!({}))).collect();
    assert_eq!(client.call("ping", json!({}))["result"], json!({}), "pings do not wait");
    assert!(client.link.is_busy());
    front.hold.verdict(Verdict::Pending(save));
    changes(front.hold.swap(save));
    for call in calls {
        assert_eq!(client.result(call), "v2");
    }
    assert_eq!(client.version(), "v2", "the watcher has not been told yet, but this save is here");
    // A later save is another matter, whatever becomes of the first.
    front.watcher.sees(2);
    let call = client.start("version", json!({}));
    front.hold.verdict(Verdict::Live(save));
    assert!(client.link.is_busy());
    front.edit(json!({"name": "v3"}));
    changes(front.hold.swap(front.save()));
    assert_eq!(client.result(call), "v3");
}

#[test]
fn a_call_that_is_cancelled_while_it_waits_is_dropped() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    front.watcher.sees(1);
    let (kept, dropped) = (client.start("version", json!({})), client.start("crash", json!({})));
    client.tell("notifications/cancelled", json!({"requestId": dropped}));
    changes(front.hold.swap(front.save()));
    assert_eq!(client.result(kept), "v1");
    assert_eq!(client.version(), "v1");
    assert!(client.so_far().is_empty() && front.traced("v1 got notifications/cancelled") == 0);
}

#[test]
fn when_a_save_is_not_live_each_session_is_told_once() {
    let front = front(json!({"name": "v1"}));
    let (client, other) = (front.session(), front.session());
    client.version();
    other.version();
    front.watcher.sees(1);
    let call = client.start("version", json!({}));
    front.edit(json!({"name": "bad", "crash_at_start": true}));
    let save = front.save();
    let (_, output) = failure(front.hold.swap(save));
    front.hold.verdict(Verdict::NotLive { save, output, tried: None });
    front.watcher.sees(0);
    let told = client.result(call);
    assert!(told.starts_with("v1\n[reload] This answer comes from the version of "), "{told}");
    assert!(told.contains("is not live:\nSyntaxError: invalid syntax \\u{1b}[31mbad"), "{told}");
    assert_eq!(client.version(), "v1", "once");
    assert!(other.tool("error", json!({})).starts_with("no\n[reload]"), "each session, and an error as well");
    let log = client.notification("notifications/message");
    assert_eq!((&log["params"]["level"], &log["params"]["logger"]), (&json!("error"), &json!("reload")));
    broken(&front);
    let bare = client.call("tools/call", json!({"name": "bare"}));
    assert_eq!(bare["result"], json!({"structuredContent": {"a": 1}}), "nothing where there is no content");
    assert!(client.version().contains("[reload]"), "once for each verdict");
    changes(front.reload_and_tell(json!({"name": "v2", "crash_at_start": false})));
    assert_eq!((client.version(), other.version()), ("v2".to_owned(), "v2".to_owned()));
}

#[test]
fn the_note_can_be_switched_off() {
    let front = front_with(json!({"name": "v1"}), |settings| settings.note = false);
    let client = front.session();
    client.version();
    broken(&front);
    assert_eq!(client.version(), "v1");
}

#[test]
fn when_the_hold_ends_the_old_code_answers_and_says_so() {
    let front = front_with(json!({"name": "v1"}), |settings| settings.hold = Duration::from_millis(150));
    let client = front.session();
    client.version();
    let save = front.save();
    front.hold.verdict(Verdict::Pending(save));
    front.watcher.sees(save.number);
    let told = client.version();
    assert!(told.starts_with("v1\n[reload]") && told.contains("is not live yet"), "{told}");
    assert_eq!(client.version(), "v1");
    front.hold.verdict(Verdict::NotLive { save, output: "error[E0308]".to_owned(), tried: None });
    assert!(client.version().contains("error[E0308]"), "the verdict is news");
}

#[test]
fn without_watching_or_hold_nothing_waits() {
    let no_hold: fn(&mut HoldSettings) = |settings| settings.hold = Duration::ZERO;
    let no_watch: fn(&mut HoldSettings) = |settings| settings.watching = false;
    for set in [no_hold, no_watch] {
        let front = front_with(json!({"name": "v1"}), set);
        front.watcher.sees(1);
        assert_eq!(front.session().version(), "v1");
    }
}

#[test]
fn a_session_that_comes_later_knows_the_verdict() {
    let front = front(json!({"name": "v1"}));
    front.session().version();
    let save = front.save();
    front.hold.verdict(Verdict::NotLive { save, output: "no such file".to_owned(), tried: None });
    assert!(front.session().version().contains("no such file"));
}

#[test]
fn dev_tools_are_listed_called_and_told() {
    let front = front_with(json!({"name": "v1", "tools": ["version"]}), |settings| settings.dev_tools = true);
    let client = front.session();
    let listed = client.call("tools/list", json!({}));
    let names: Vec<_> = listed["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["version", "dev_status", "dev_call"]);
    assert_eq!(client.tool("dev_call", json!({"name": "version", "arguments": {}})), "v1");
    assert_eq!(changes(front.reload_and_tell(json!({"name": "v2", "tools": ["version", "new"]}))), ["+new"]);
    broken(&front);
    let status: serde_json::Value = serde_json::from_str(&client.tool("dev_status", json!({}))).unwrap();
    assert_eq!((&status["changed_tools"], &status["tools"][1]["name"]), (&json!(["+new"]), &json!("new")));
    assert!(status["last_error"].as_str().unwrap().contains("SyntaxError") && status["live_since"].is_string(), "{status}");
    assert_eq!(value(&client.answer(client.start("dev_call", json!({}))))["error"]["code"], -32602);
}
