//! Sessions and their children: started when needed, initialised for whoever does not, parked, given back, ended.

use std::time::Duration;

use serde_json::json;

use super::kit::{changes, front, front_with, until, value};
use crate::connection::Back;
use crate::version::Version;

#[test]
fn each_session_has_its_own_child_and_a_silent_one_has_none() {
    let front = front(json!({"name": "v1"}));
    let _silent = front.client();
    let (one, two) = (front.session(), front.session());
    assert_ne!(one.tool("pid", json!({})), two.tool("pid", json!({})));
    assert_eq!((front.hold.status().sessions, front.children()), (3, 2));
    one.link.close();
    until("its child ends", || front.children() == 1);
    assert_eq!(two.version(), "v1");
    assert!(!two.link.is_busy());
}

#[test]
fn the_clients_own_initialize_arrives_sealed_and_the_result_can_change_lists() {
    let front = front(json!({"name": "v1", "caps": {"completions": {}}}));
    let client = front.client();
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {"zeta": 1, "alpha": {}}, "clientInfo": {"name": "t", "version": "0"}, "big": 1});
    let answer = client.call("initialize", params.clone());
    let capabilities = json!({"completions": {}, "tools": {"listChanged": true}, "prompts": {"listChanged": true},
        "resources": {"listChanged": true}, "logging": {}});
    assert_eq!(answer["result"]["capabilities"], capabilities);
    assert_eq!(answer["result"]["serverInfo"]["name"], "v1");
    assert_eq!(client.link.version(), Some(Version::V2025_06_18));
    until("it is written down", || front.traced("v1 got initialize") == 1);
    let line = front.trace().into_iter().find(|line| line.contains("initialize")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(line.split_once("initialize ").unwrap().1).unwrap(), params);
}

#[test]
fn lists_of_a_family_that_the_child_lacks_and_levels_are_answered_by_the_front() {
    let front = front(json!({"name": "v1", "caps": {}, "strict": true}));
    let client = front.session();
    for (method, key) in [("tools/list", "tools"), ("prompts/list", "prompts"), ("resources/list", "resources")] {
        assert_eq!(client.call(method, json!({}))["result"], json!({key: []}));
    }
    assert_eq!(client.call("resources/templates/list", json!({}))["result"], json!({"resourceTemplates": []}));
    assert_eq!(client.call("logging/setLevel", json!({"level": "error"}))["result"], json!({}));
    assert_eq!(client.call("logging/setLevel", json!({"level": "loud"}))["error"]["code"], -32602);
    assert_eq!(client.call("ping", json!({}))["result"], json!({}));
    assert_eq!(front.traced("v1 got logging"), 0);
}

#[test]
fn a_session_that_never_sent_initialize_gets_a_synthetic_one() {
    let front = front(json!({"name": "v1", "strict": true}));
    let adopted = front.client_with(Some(Version::V2025_03_26));
    assert_eq!(adopted.version(), "v1");
    let stranger = front.client();
    assert_eq!(stranger.version(), "v1");
    let hellos: Vec<String> = front.trace().into_iter().filter(|line| line.contains("got initialize")).collect();
    assert!(hellos[0].contains("2025-03-26") && hellos[1].contains("2025-11-25"), "{hellos:?}");
    assert!(hellos.iter().all(|hello| hello.contains(r#""capabilities": {}"#) && hello.contains("mcp-http-transport")));
    assert_eq!(front.traced("v1 got notifications/initialized"), 2);
    front.reload(json!({"name": "v2"}));
    assert_eq!(stranger.version(), "v2", "it is replayed as well");
}

#[test]
fn a_client_that_looks_for_the_modern_era_is_answered_without_any_child() {
    let front = front(json!({"name": "v1"}));
    let client = front.client();
    assert_eq!(client.call("server/discover", json!({}))["error"]["code"], -32601);
    assert_eq!(front.children(), 0);
}

#[test]
fn an_idle_session_is_parked_and_comes_back_with_all_it_had() {
    let front = front(json!({"name": "v1", "strict": true}));
    let client = front.session();
    client.call("logging/setLevel", json!({"level": "error"}));
    client.call("resources/subscribe", json!({"uri": "file:///a"}));
    let before = client.tool("pid", json!({}));
    let group = front.hold.groups().remove(0);
    assert!(group.with(super::super::core::Core::park));
    until("its child ends", || front.children() == 0);
    assert_eq!(front.hold.status().sessions, 1);
    assert_ne!(client.tool("pid", json!({})), before);
    let trace = front.trace();
    let second = trace.iter().rposition(|line| line == "v1 start").unwrap();
    let heard: Vec<&str> = trace[second + 1..].iter().filter_map(|line| line.strip_prefix("v1 got ")?.split(' ').next()).collect();
    assert_eq!(heard[..5], ["initialize", "notifications/initialized", "logging/setLevel", "resources/subscribe", "tools/call"]);
}

#[test]
fn at_the_bound_the_oldest_idle_child_is_parked_else_the_flag_is_named() {
    let front = front_with(json!({"name": "v1"}), |settings| settings.max_children = 2);
    let (one, two) = (front.session(), front.session());
    one.version();
    two.version();
    let gate = front.dir.join("gate");
    let busy = one.start("until", json!({"path": gate}));
    let three = front.session();
    assert_eq!(three.version(), "v1");
    until("the idle one is parked", || front.children() == 2);
    let also = three.start("until", json!({"path": gate}));
    let refused = value(&two.answer(two.start("version", json!({}))));
    assert!(refused["error"]["message"].as_str().unwrap().contains("--max-children"), "{refused}");
    assert_eq!(refused["error"]["data"]["reason"], "unavailable");
    super::kit::touch(&gate);
    assert_eq!((one.result(busy), three.result(also)), ("v1".to_owned(), "v1".to_owned()));
    assert_eq!(two.version(), "v1", "now there is one to be parked");
}

#[test]
fn a_session_that_can_have_no_child_does_not_stand_for_all() {
    let front = front_with(json!({"name": "v1"}), |settings| settings.max_children = 1);
    let busy = front.session();
    let gate = front.dir.join("gate");
    let call = busy.start("until", json!({"path": gate}));
    let waiting = front.session();
    let refused = value(&waiting.answer(waiting.start("version", json!({}))));
    assert_eq!(refused["error"]["data"]["reason"], "unavailable");
    // It has been told that there is none, and is to hear when there is one.
    let newest = front.hold.groups().into_iter().max_by_key(|group| group.with(|core, _| core.last())).unwrap();
    newest.with(|core, _| core.seats.values_mut().for_each(|seat| seat.is_blind = true));
    changes(front.reload(json!({"name": "v2"})));
    assert_eq!(busy.version(), "v2");
    super::kit::touch(&gate);
    busy.result(call);
}

#[test]
fn one_child_is_started_ahead_and_given_to_the_first_session() {
    let front = front(json!({"name": "v1"}));
    assert!(front.hold.is_ready());
    front.hold.first_child();
    until("it is there", || front.traced("v1 start") == 1);
    assert_eq!((front.children(), front.traced("v1 got")), (1, 0));
    let client = front.session();
    assert_eq!(client.version(), "v1");
    assert_eq!((front.children(), front.traced("v1 start")), (1, 1));
    assert!(front.hold.is_ready());
}

#[test]
fn readiness_ends_with_a_child_started_ahead_and_comes_back_with_a_successor() {
    let front = front(json!({"name": "v1", "crash_at_start": true}));
    front.hold.first_child();
    until("it has ended", || !front.hold.is_ready());
    super::kit::failure(front.reload(json!({"name": "v2"})));
    super::kit::changes(front.reload(json!({"name": "v3", "crash_at_start": false})));
    assert!(front.hold.is_ready());
    until("a successor waits", || front.traced("v3 start") == 2);
    let client = front.session();
    assert_eq!((client.version(), front.traced("v3 start")), ("v3".to_owned(), 2));
}

#[test]
fn python_writes_no_bytecode_while_files_are_watched() {
    let watched = front(json!({"name": "v1"}));
    assert_eq!(watched.session().tool("env", json!({"name": "PYTHONDONTWRITEBYTECODE"})), "1");
    let other = front_with(json!({"name": "v1"}), |settings| settings.watching = false);
    let inherited = std::env::var("PYTHONDONTWRITEBYTECODE").unwrap_or("None".to_owned());
    assert_eq!(other.session().tool("env", json!({"name": "PYTHONDONTWRITEBYTECODE"})), inherited);
}

#[test]
fn at_the_end_calls_may_finish_and_no_process_is_left() {
    let front = front(json!({"name": "v1"}));
    let (one, two) = (front.session(), front.session());
    let slow = one.start("slow", json!({"seconds": 0.2}));
    let hung = two.start("hang", json!({}));
    front.hold.stop(Duration::from_millis(600));
    assert_eq!(one.result(slow), "v1");
    assert_eq!(two.reason(hung), "unavailable");
    until("no child is left", || front.children() == 0);
    assert_eq!(one.reason(one.start("version", json!({}))), "unavailable");
    assert!(
        front
            .hold
            .open(crate::connection::Client { id: String::new(), outlet: one.outlet.clone(), version: None, may_be_stateless: false })
            .is_err()
    );
}

#[test]
fn a_child_that_ended_while_it_waited_is_given_to_nobody() {
    let front = front(json!({"name": "v1", "crash_at_start": true}));
    front.hold.first_child();
    until("it has ended", || !front.hold.is_ready());
    front.edit(json!({"crash_at_start": false}));
    let client = front.client();
    assert_eq!(client.initialize()["result"]["serverInfo"]["name"], "v1", "not the front's own answer at the start timeout");
    assert_eq!(client.version(), "v1");
    assert!(front.hold.is_ready());
}
