//! What changed in lists is said to whoever has seen them, and to nobody else.

use serde_json::json;

use super::kit::{changes, front};

#[test]
fn only_what_a_client_has_seen_and_what_differs_is_announced() {
    let front = front(json!({"name": "v1", "tools": ["add", "sub"], "prompts": ["p"], "caps": {"tools": {}, "prompts": {}}}));
    let (seen, unseen) = (front.session(), front.session());
    unseen.version();
    seen.call("prompts/list", json!({}));
    seen.call("tools/list", json!({}));
    assert!(changes(front.reload(json!({"name": "v2"}))).is_empty());
    assert_eq!(changes(front.reload(json!({"name": "v3", "tools": ["add", "mul"]}))), ["+mul", "-sub"]);
    seen.notification("notifications/tools/list_changed");
    assert_eq!((seen.version(), unseen.version()), ("v3".to_owned(), "v3".to_owned()));
    assert!(seen.so_far().is_empty(), "prompts are the same: {:?}", seen.so_far());
    assert!(unseen.so_far().is_empty());
    assert_eq!(front.traced("v2 got tools/list"), 1, "only that one's child is asked");
    // The client did not look: the difference is to what it last saw.
    assert_eq!(changes(front.reload(json!({"name": "v4", "describe": "other"}))), ["~add", "+mul", "-sub"]);
    seen.notification("notifications/tools/list_changed");
    seen.call("tools/list", json!({}));
    assert!(changes(front.reload(json!({"name": "v5"}))).is_empty());
}

#[test]
fn lists_of_many_pages_and_lost_families_are_compared_as_well() {
    let front = front(json!({"name": "v1", "tools": ["a", "b", "c"], "page_size": 1}));
    let client = front.session();
    for cursor in [json!(null), json!("1"), json!("2")] {
        client.call("tools/list", json!({"cursor": cursor}));
    }
    assert!(changes(front.reload(json!({"name": "v2"}))).is_empty());
    assert_eq!(changes(front.reload(json!({"name": "v3", "tools": ["a", "b", "c", "d"]}))), ["+d"]);
    client.notification("notifications/tools/list_changed");
    assert_eq!(changes(front.reload(json!({"name": "v4", "caps": {}}))), ["-a", "-b", "-c"]);
    client.notification("notifications/tools/list_changed");
    // More than a hundred pages are too many to ask for.
    let many: Vec<String> = (0..150).map(|number| format!("t{number}")).collect();
    assert!(changes(front.reload(json!({"name": "v5", "caps": {"tools": {}}, "tools": many}))).is_empty());
    client.notification("notifications/tools/list_changed");
    super::kit::until("all pages are asked for", || front.traced("v5 got tools/list") == 100);
}

#[test]
fn what_the_child_says_itself_passes_and_merges() {
    let front = front(json!({"name": "v1", "tools": ["a"]}));
    let client = front.session();
    for _ in 0..5 {
        client.tool("changed", json!({}));
    }
    client.notification("notifications/tools/list_changed");
    client.notification("notifications/tools/list_changed");
    assert!(client.so_far().is_empty(), "the rest is one");
}
