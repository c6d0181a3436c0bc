//! Stateless requests (2026-07-28) to children that serve them, and to others.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::HoldSettings;
use super::kit::{Front, TestClient, changes, failure, front, front_with, until, value};
use super::stage::{Stage, answers, settings};
use crate::connection::Back as _;
use crate::version::Version;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

impl Front {
    /// A client that has as many requests on one link as it likes.
    fn stateless(&self) -> TestClient {
        self.client_as(Some(Version::V2026_07_28), true)
    }
}

fn with_meta(mut params: Value, further: Value) -> Value {
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    further.as_object().unwrap().iter().for_each(|(name, value)| params["_meta"][name] = value.clone());
    params
}

impl TestClient {
    fn ask(&self, method: &str, params: Value) -> Value {
        self.call(method, with_meta(params, json!({})))
    }

    fn begin(&self, name: &str, arguments: Value, meta: Value) -> u64 {
        self.send("tools/call", with_meta(json!({"name": name, "arguments": arguments}), meta))
    }

    fn use_tool(&self, name: &str, arguments: Value) -> String {
        self.result(self.begin(name, arguments, json!({})))
    }

    fn listen(&self, notifications: Value) -> u64 {
        let id = self.send("subscriptions/listen", with_meta(json!({"notifications": notifications}), json!({})));
        let acknowledged = self.notification("notifications/subscriptions/acknowledged");
        assert_eq!(acknowledged["params"]["_meta"][SUBSCRIPTION], id);
        id
    }
}

fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn all_clients_share_one_child_and_their_ids_and_tokens_do_not_meet() {
    let front = front(json!({"name": "v1", "modern": true, "tools": ["a"]}));
    let (one, two) = (front.stateless(), front.stateless());
    let discovered = one.ask("server/discover", json!({}))["result"].clone();
    assert_eq!(discovered["capabilities"]["prompts"]["listChanged"], true);
    assert_eq!(discovered["capabilities"]["resources"], json!({"subscribe": true, "listChanged": true}));
    assert_eq!((&discovered["capabilities"]["logging"], &discovered["supportedVersions"]), (&Value::Null, &json!(["2026-07-28"])));
    assert_eq!(one.use_tool("pid", json!({})), two.use_tool("pid", json!({})));
    for client in [&one, &two] {
        client.say(json!({"id": 50, "method": "tools/call", "params": with_meta(json!({"name": "slow"}), json!({"progressToken": "p"}))}));
    }
    for client in [&one, &two] {
        assert_eq!(client.notification("notifications/progress")["params"]["progressToken"], "p");
        assert_eq!(value(&client.answer(50))["result"]["content"][0]["text"], "v1");
        assert!(client.so_far().is_empty());
    }
    // A family that the child has not is empty, and what is gone is unknown.
    let empty = json!({"prompts": [], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"});
    assert_eq!(one.ask("prompts/list", json!({}))["result"], empty);
    for method in ["ping", "initialize", "resources/subscribe", "logging/setLevel"] {
        assert_eq!(code(&one.ask(method, json!({}))), -32601, "{method}");
    }
    assert_eq!((front.children(), front.hold.status().sessions), (1, 0));
    assert_eq!(front.traced("v1 got initialize"), 0);
}

#[test]
fn a_client_that_goes_cancels_what_it_asked_for_and_nothing_else() {
    let front = front(json!({"name": "v1", "modern": true}));
    let (one, two) = (front.stateless(), front.stateless());
    two.use_tool("pid", json!({}));
    one.begin("slow", json!({"seconds": 5, "steps": 500}), json!({}));
    let kept = two.begin("slow", json!({"seconds": 0.3}), json!({}));
    let cancelled = two.begin("slow", json!({"seconds": 5, "steps": 500}), json!({}));
    until("the calls are there", || front.traced("v1 got tools/call") == 4);
    one.link.close();
    two.tell("notifications/cancelled", json!({"requestId": cancelled}));
    assert_eq!(two.result(kept), "v1");
    until("the others stop", || front.traced("v1 stopped") == 2);
}

#[test]
fn a_child_that_serves_none_is_asked_once_and_then_used_by_a_session() {
    let front = front(json!({"name": "v1"}));
    front.hold.first_child();
    let client = front.stateless();
    assert_eq!(code(&client.ask("server/discover", json!({}))), -32601);
    assert_eq!(code(&client.ask("tools/list", json!({}))), -32601);
    assert_eq!(code(&front.stateless().ask("server/discover", json!({}))), -32601);
    let session = front.session();
    assert_eq!(session.version(), "v1");
    assert_eq!((front.traced("v1 start"), front.traced("v1 got server/discover"), front.children()), (1, 1, 1));
    // Newer code is asked again.
    changes(front.reload(json!({"name": "v2", "modern": true})));
    assert_eq!(client.use_tool("version", json!({})), "v2");
    assert_eq!(session.version(), "v2");
}

#[test]
fn what_waits_for_a_session_is_replaced_by_newer_code() {
    let front = front(json!({"name": "v1"}));
    assert_eq!(code(&front.stateless().ask("server/discover", json!({}))), -32601);
    changes(front.reload(json!({"name": "v2"})));
    assert_eq!(front.session().version(), "v2");
    until("the old one ends", || front.children() == 1);
}

#[test]
fn one_connection_has_both_eras() {
    let front = front(json!({"name": "v1", "modern": true}));
    let client = front.client_as(None, true);
    assert!(client.ask("server/discover", json!({}))["result"].is_object());
    assert_eq!((client.use_tool("version", json!({})), client.link.version()), ("v1".to_owned(), Some(Version::V2026_07_28)));
    assert_eq!(client.initialize()["result"]["protocolVersion"], "2025-11-25");
    assert_eq!((client.version(), client.link.version()), ("v1".to_owned(), Some(Version::V2025_11_25)));
    assert_eq!(client.use_tool("version", json!({})), "v1");
    client.link.close();
    // And a probe that is refused costs no second child.
    let front = self::front(json!({"name": "old"}));
    let client = front.client_as(None, true);
    assert_eq!(code(&client.ask("server/discover", json!({}))), -32601);
    client.initialize();
    assert_eq!((client.version(), front.traced("old start")), ("old".to_owned(), 1));
}

#[test]
fn a_new_generation_takes_over_and_the_old_one_finishes() {
    let front = front(json!({"name": "v1", "modern": true, "tools": ["a"]}));
    let client = front.stateless();
    let slow = client.begin("slow", json!({"seconds": 0.5}), json!({}));
    until("it is there", || front.traced("v1 got tools/call") == 1);
    assert_eq!(changes(front.reload(json!({"name": "v2", "tools": ["a", "b"]}))), ["+b"]);
    assert_eq!(client.use_tool("version", json!({})), "v2");
    assert_eq!(client.result(slow), "v1");
    // Neither code that does not start nor code that is of the other era takes its place.
    failure(front.reload(json!({"name": "bad", "crash_at_start": true})));
    let (why, _) = failure(front.reload(json!({"name": "old", "crash_at_start": false, "modern": false})));
    assert!(why.contains("stateless"), "{why}");
    assert_eq!(client.use_tool("version", json!({})), "v2");
    front.edit(json!({"name": "v3", "modern": true}));
    assert_eq!(client.reason(client.begin("crash", json!({}), json!({}))), "crashed");
    assert_eq!(client.use_tool("version", json!({})), "v3");
}

#[test]
fn listening_survives_reloads() {
    let front = front(json!({"name": "v1", "modern": true, "tools": ["a"]}));
    let (one, two) = (front.stateless(), front.stateless());
    let tools = one.listen(json!({"toolsListChanged": true, "promptsListChanged": true}));
    two.send("ping", json!({}));
    let resource = two.listen(json!({"resourceSubscriptions": ["file:///a"]}));
    let said = |client: &TestClient, method: &str| client.notification(method)["params"]["_meta"][SUBSCRIPTION].clone();
    one.use_tool("changed", json!({}));
    assert_eq!(said(&one, "notifications/tools/list_changed"), tools);
    until("the last one counts", || front.traced("v1 got notifications/cancelled") == 1);
    one.use_tool("updated", json!({"uri": "file:///a"}));
    assert_eq!(said(&two, "notifications/resources/updated"), resource);
    changes(front.reload(json!({"name": "v2", "tools": ["a", "b"]})));
    assert_eq!(said(&one, "notifications/tools/list_changed"), tools);
    until("the new one is asked", || front.traced("v2 got subscriptions/listen") == 1);
    one.use_tool("updated", json!({"uri": "file:///a"}));
    assert_eq!(said(&two, "notifications/resources/updated"), resource);
    // Nothing that was not asked for, nothing when nothing has changed, and nothing after the end.
    changes(front.reload(json!({"name": "v3"})));
    two.tell("notifications/cancelled", json!({"requestId": resource}));
    until("nobody wants it", || front.traced("v3 got notifications/cancelled") == 1);
    one.use_tool("updated", json!({"uri": "file:///a"}));
    assert!(one.so_far().is_empty() && two.so_far().iter().all(|message| message.method().is_empty()));
    front.hold.stop(Duration::ZERO);
    assert_eq!(said(&one, "notifications/cancelled"), tools);
    assert_eq!(value(&one.answer(tools))["result"], json!({"resultType": "complete", "_meta": {SUBSCRIPTION: tools}}));
}

#[test]
fn log_messages_reach_the_one_request_that_wants_them() {
    let front = front(json!({"name": "v1", "modern": true}));
    let (one, two) = (front.stateless(), front.stateless());
    let level = json!({"io.modelcontextprotocol/logLevel": "info"});
    let shared = two.use_tool("pid", json!({}));
    let slow = one.begin("slow", json!({"seconds": 1}), level.clone());
    until("it is there", || front.traced("v1 got tools/call") == 2);
    // Another one at the same time has a child of its own.
    two.result(two.begin("log", json!({}), level.clone()));
    assert_eq!(two.notification("notifications/message")["params"]["data"], "v1");
    assert_ne!(two.result(two.begin("pid", json!({}), level.clone())), shared);
    // What was not asked for does not come, and a level that would be ambiguous is taken out.
    two.use_tool("log", json!({}));
    one.result(slow);
    assert_eq!(two.result(two.begin("pid", json!({}), level.clone())), shared);
    assert_eq!(one.notification("notifications/message")["params"]["data"], "v1", "the server breaks the rule");
    assert!(two.so_far().is_empty());
    two.call("tools/list", with_meta(json!({}), level));
    assert!(front.trace().iter().all(|line| !line.contains("tools/list") || !line.contains("logLevel")));
}

#[test]
fn annotations_are_known_and_change_with_the_code() {
    let schema = |header: &str| json!({"a": {"type": "object", "properties": {"x": {"type": "string", "x-mcp-header": header}}}});
    let front = front(json!({"name": "v1", "modern": true, "tools": ["b", "a"], "page_size": 1, "schemas": schema("X")}));
    let known = || front.hold.schema_with_headers("a").map(|schema| schema.as_str().to_owned());
    assert_eq!(known(), None);
    front.stateless().ask("server/discover", json!({}));
    until("it is known", || known().is_some_and(|schema| schema.contains("\"X\"")));
    assert!(front.hold.schema_with_headers("b").is_none());
    changes(front.reload(json!({"name": "v2", "schemas": schema("Y")})));
    until("it is another", || known().is_some_and(|schema| schema.contains("\"Y\"")));
    changes(front.reload(json!({"name": "v3", "schemas": {}})));
    until("there is none", || known().is_none());
}

#[test]
fn all_children_have_one_key() {
    let front = front(json!({"name": "v1", "modern": true}));
    let client = front.stateless();
    let key = |client: &TestClient| client.use_tool("env", json!({"name": "MCP_STATE_KEY"}));
    let before = key(&client);
    changes(front.reload(json!({"name": "v2"})));
    assert!(before.len() >= 32 && key(&client) == before);
}

#[test]
fn each_answer_of_old_code_says_so() {
    let front = front_with(json!({"name": "v1", "modern": true}), |settings| settings.hold = Duration::ZERO);
    let client = front.stateless();
    assert_eq!(client.use_tool("version", json!({})), "v1");
    front.reload_and_tell(json!({"name": "bad", "crash_at_start": true}));
    for client in [client, front.stateless()] {
        assert!(client.use_tool("version", json!({})).contains("is not live"));
    }
}

#[test]
fn who_probes_does_not_wait_for_a_child_that_does_not_answer() {
    let mut stage = Stage::new(HoldSettings { start_timeout: Some(Duration::from_secs(30)), ..settings() });
    stage.core.serve_stateless(stage.now);
    let seat = stage.core.sit_stateless(stage.now).unwrap();
    let mailbox = std::sync::Arc::<super::stage::Mailbox>::default();
    let client = (seat, std::sync::Arc::clone(&mailbox));
    let ask = |stage: &mut Stage, id: u64| {
        let outlet: std::sync::Arc<dyn crate::connection::Outlet> = std::sync::Arc::clone(&client.1) as _;
        let message = crate::message::Message::request(&id.to_string(), "server/discover", Some("{}"));
        stage.core.stateless_request(client.0, message, &outlet, 0, stage.now);
        stage.act();
    };
    ask(&mut stage, 1);
    let kid = stage.spawn(0).unwrap();
    assert!(stage.actor(kid).heard.take()[0].contains("server/discover"));
    stage.pass(Duration::from_millis(4999));
    assert!(mailbox.take().is_empty());
    stage.pass(Duration::from_millis(1));
    let said = mailbox.take();
    assert!(answers(&said) == [("1".to_owned(), false)] && said[0].contains("-32601"), "{said:?}");
    // A child that ended before it said anything is tried again later, and until then nobody waits.
    ask(&mut stage, 2);
    stage.exit(kid, "Traceback");
    ask(&mut stage, 3);
    assert_eq!(mailbox.take().iter().filter(|text| text.contains("-32601")).count(), 2);
    stage.pass(Duration::from_secs(1));
    ask(&mut stage, 4);
    let kid = stage.spawn(0).unwrap();
    // One that never says anything is of the other era.
    stage.pass(Duration::from_secs(30));
    assert!(stage.core.stateless.is_none() && *stage.actor(kid).is_stopped.lock().unwrap());
}
