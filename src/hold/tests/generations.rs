//! Reloads with real children: the canary and the others, calls in flight, what is replayed, failures, crashes.

use std::time::Duration;

use serde_json::json;

use super::super::{Swapped, Verdict};
use super::kit::{Front, TestClient, beside, changes, failure, front, front_with, touch, until, value};

fn gate(front: &Front, client: &TestClient) -> u64 {
    let id = client.start("until", json!({"path": front.dir.join("gate")}));
    let heard = front.trace().len();
    until("the child has it", || front.trace().len() > heard || front.trace().iter().any(|line| line.contains("until")));
    id
}

#[test]
fn the_old_child_serves_until_the_new_one_is_ready_and_finishes_its_calls() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    assert_eq!(client.version(), "v1");
    let slow = gate(&front, &client);
    let gated = front.dir.join("start");
    front.edit(json!({"name": "v2", "slow_start": 0.3}));
    let save = front.save();
    let hold = std::sync::Arc::clone(&front.hold);
    let swapped = beside(move || hold.swap(save));
    assert_eq!(client.version(), "v1", "the new one is still starting");
    touch(&gated);
    let Swapped::Live { took, .. } = swapped.recv().unwrap() else { panic!() };
    assert!(took >= Duration::from_millis(300));
    assert_eq!(client.version(), "v2");
    assert_eq!(front.children(), 2, "the old one has a call");
    touch(&front.dir.join("gate"));
    assert_eq!(client.result(slow), "v1");
    until("it ends with its last call", || front.children() == 1);
    assert_eq!(front.hold.status().generation, 2);
    assert_eq!(front.traced("v1 end of input"), 1, "it was asked politely");
}

#[test]
fn a_new_child_hears_everything_in_order() {
    let front = front(json!({"name": "v1", "strict": true}));
    let client = front.session();
    client.call("logging/setLevel", json!({"level": "notice"}));
    for uri in ["file:///a", "file:///b", "file:///c"] {
        client.call("resources/subscribe", json!({"uri": uri}));
    }
    client.call("resources/unsubscribe", json!({"uri": "file:///b"}));
    changes(front.reload(json!({"name": "v2", "refuse_subscriptions": ["file:///a"]})));
    assert_eq!(client.version(), "v2");
    let heard: Vec<String> = front.trace().into_iter().filter_map(|line| line.strip_prefix("v2 got ").map(str::to_owned)).collect();
    assert!(heard[0].starts_with("initialize ") && heard[0].contains(r#""name": "t""#), "{heard:?}");
    assert!(heard[1].starts_with("notifications/initialized"));
    assert_eq!(
        heard[2..5],
        [
            r#"logging/setLevel {"level": "notice"}"#,
            r#"resources/subscribe {"uri": "file:///a"}"#,
            r#"resources/subscribe {"uri": "file:///c"}"#
        ]
    );
    assert!(heard[5].starts_with("tools/call"));
    assert_eq!(client.notification("notifications/resources/updated")["params"]["uri"], "file:///c");
    // A refused one is forgotten.
    changes(front.reload(json!({"name": "v3"})));
    assert_eq!((client.version(), front.traced("v3 got resources/subscribe")), ("v3".to_owned(), 1));
}

#[test]
fn a_broken_edit_costs_one_failed_start_and_the_old_code_answers() {
    let front = front(json!({"name": "v1"}));
    let clients = [front.session(), front.session(), front.session()];
    clients.iter().for_each(|client| assert_eq!(client.version(), "v1"));
    let (why, output) = failure(front.reload(json!({"name": "bad", "crash_at_start": true})));
    assert!(why.contains("exit status: 1") && output.contains("SyntaxError"), "{why} {output}");
    clients.iter().for_each(|client| assert_eq!(client.version(), "v1"));
    assert_eq!(front.traced("bad start"), 1);
    until("nothing is left of it", || front.children() == 3);
    changes(front.reload(json!({"name": "v2", "crash_at_start": false})));
    clients.iter().for_each(|client| assert_eq!(client.version(), "v2"));
    assert_eq!(front.hold.status().generation, 2);
}

#[test]
fn hanging_refusing_and_another_version_are_failed_reloads_too() {
    let front = front_with(json!({"name": "v1"}), |settings| settings.start_timeout = Some(Duration::from_secs(4)));
    let client = front.session();
    let (why, _) = failure(front.reload(json!({"name": "v2", "protocol": "2025-06-18"})));
    assert!(why.contains("2025-06-18") && why.contains("2025-11-25"), "both versions: {why}");
    let (why, _) = failure(front.reload(json!({"name": "v3", "protocol": "2025-11-25", "refuse_initialize": true})));
    assert!(why.contains("-32602"), "{why}");
    let (why, _) = failure(front.reload(json!({"name": "v4", "refuse_initialize": false, "deaf_at_start": true, "hang_on_stop": true})));
    assert!(why.contains("--start-timeout"), "{why}");
    assert_eq!(client.version(), "v1");
    changes(front.reload(json!({"name": "v5", "deaf_at_start": false})));
    assert_eq!(client.version(), "v5");
}

#[test]
fn a_start_that_is_overtaken_finishes_and_the_newest_code_follows() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    front.edit(json!({"name": "v2", "slow_start": 0.2}));
    let (first, hold) = (front.save(), std::sync::Arc::clone(&front.hold));
    let swapped = beside(move || hold.swap(first));
    until("it is being started", || front.children() == 2);
    front.edit(json!({"name": "v3", "slow_start": 0}));
    assert!(matches!(swapped.recv().unwrap(), Swapped::Live { .. }));
    changes(front.hold.swap(front.save()));
    assert_eq!(client.version(), "v3");
}

#[test]
fn a_call_that_outlasts_the_drain_gets_one_error() {
    let front = front_with(json!({"name": "v1", "hang_on_stop": true}), |settings| {
        settings.drain = Duration::from_millis(300);
        settings.stop_timeout = Duration::from_millis(100);
    });
    let client = front.session();
    let hung = gate(&front, &client);
    changes(front.reload(json!({"name": "v2"})));
    assert_eq!(client.reason(hung), "reloaded");
    until("it is killed", || front.children() == 1);
    touch(&front.dir.join("gate"));
    assert_eq!(client.version(), "v2");
    assert!(client.so_far().iter().all(|message| message.id() != hung.to_string()), "no second answer");
}

#[test]
fn a_crash_gives_each_call_an_error_and_calls_wait_for_the_next_child() {
    let front = front(json!({"name": "v1"}));
    let (client, other) = (front.session(), front.session());
    let elsewhere = gate(&front, &other);
    let hung: Vec<u64> = (0..3).map(|_| client.start("hang", json!({}))).collect();
    let crash = client.start("crash", json!({}));
    for id in hung.into_iter().chain([crash]) {
        assert_eq!(client.reason(id), "crashed");
    }
    assert_eq!(client.version(), "v1", "it is there again");
    touch(&front.dir.join("gate"));
    assert_eq!(other.result(elsewhere), "v1", "another session's child is another child");
}

#[test]
fn a_child_that_keeps_crashing_is_started_again_later_and_later() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    for _ in 0..3 {
        let crash = client.start("crash", json!({}));
        assert_eq!(client.reason(crash), "crashed");
        assert_eq!(client.version(), "v1");
    }
}

#[test]
fn a_first_start_that_fails_holds_initialize_until_a_save_is_good() {
    let front = front(json!({"name": "bad", "crash_at_start": true}));
    let client = front.client();
    let id = client
        .send("initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}));
    failure(front.reload(json!({"name": "worse"})));
    assert!(client.so_far().is_empty());
    changes(front.reload(json!({"name": "v1", "crash_at_start": false})));
    assert_eq!(value(&client.answer(id))["result"]["serverInfo"]["name"], "v1");
}

#[test]
fn at_the_start_timeout_the_front_answers_itself_and_lists_change_when_a_child_lives() {
    let front =
        front_with(json!({"name": "bad", "crash_at_start": true}), |settings| settings.start_timeout = Some(Duration::from_secs(4)));
    let client = front.session();
    let call = client.send("tools/list", json!({}));
    let answer = value(&client.answer(call));
    assert_eq!(answer["error"]["data"]["reason"], "unavailable");
    assert!(answer["error"]["message"].as_str().unwrap().contains("exit status: 1"), "{answer}");
    // initialize() has read the answer: ask again for what it said.
    let again = client
        .send("initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}));
    let answer = value(&client.answer(again));
    assert!(answer["result"]["instructions"].as_str().unwrap().contains("SyntaxError"), "{answer}");
    assert_eq!(answer["result"]["capabilities"]["tools"]["listChanged"], true);
    client.tell("notifications/initialized", json!({}));
    changes(front.reload(json!({"name": "v1", "crash_at_start": false, "strict": true})));
    for list in ["tools", "prompts", "resources"] {
        client.notification(&format!("notifications/{list}/list_changed"));
    }
    assert_eq!(client.version(), "v1");
}

#[test]
fn a_server_that_cannot_coexist_is_stopped_first() {
    let front = front_with(json!({"name": "v1"}), |settings| settings.stop_first = true);
    front.edit(json!({"lock": front.dir.join("lock")}));
    let client = front.session();
    let slow = client.start("slow", json!({"seconds": 0.3}));
    until("the child has it", || front.traced("v1 got tools/call") == 1);
    front.edit(json!({"name": "v2"}));
    let (save, hold) = (front.save(), std::sync::Arc::clone(&front.hold));
    let swapped = beside(move || hold.swap(save));
    until("no new calls go there", || front.hold.groups()[0].with(|core, _| core.current.is_none()));
    let call = client.start("version", json!({}));
    assert_eq!((client.result(slow), client.result(call)), ("v1".to_owned(), "v2".to_owned()));
    changes(swapped.recv().unwrap());
    // Here the old one cannot go on: calls wait for the next good start.
    failure(front.reload(json!({"name": "bad", "crash_at_start": true})));
    let call = client.start("version", json!({}));
    changes(front.reload(json!({"name": "v3", "crash_at_start": false})));
    assert_eq!(client.result(call), "v3");
}

#[test]
fn an_address_in_use_makes_it_stop_first_unasked() {
    let front = front(json!({"name": "v1"}));
    front.edit(json!({"lock": front.dir.join("lock")}));
    let client = front.session();
    assert_eq!(client.version(), "v1");
    changes(front.reload(json!({"name": "v2"})));
    assert_eq!(client.version(), "v2");
    changes(front.reload(json!({"name": "v3"})));
    assert_eq!(client.version(), "v3");
}

#[test]
fn the_same_for_the_child_that_waits_for_the_first_client() {
    let front = front(json!({"name": "v1"}));
    front.edit(json!({"lock": front.dir.join("lock")}));
    front.hold.first_child();
    until("it is there", || front.traced("v1 start") == 1);
    changes(front.reload(json!({"name": "v2"})));
    until("its successor waits", || front.traced("v2 start") >= 1 && front.children() == 1);
    assert_eq!(front.session().version(), "v2");
}

#[test]
fn sessions_that_were_silent_get_the_new_code_with_their_next_call() {
    // Without any hold: what is live is waited for all the same.
    let front = front_with(json!({"name": "v1"}), |settings| settings.hold = Duration::ZERO);
    let (active, silent) = (front.session(), front.session());
    assert_eq!(silent.version(), "v1");
    let group = front.hold.groups().remove(1);
    group.with(|core, now| {
        // An hour is not waited for.
        let past = now.checked_sub(Duration::from_secs(61)).unwrap();
        core.seats.values_mut().for_each(|seat| seat.last = past);
    });
    assert_eq!(active.version(), "v1");
    changes(front.reload(json!({"name": "v2"})));
    assert_eq!(active.version(), "v2");
    assert_eq!(front.traced("v2 start"), 1);
    assert_eq!(silent.version(), "v2", "never the old code");
    assert_eq!(front.traced("v2 start"), 2);
    assert!(front.hold.status().live_since.is_some() && front.hold.status().last_error.is_none());
}

#[test]
fn at_most_two_start_at_once_and_all_get_there() {
    let front = front(json!({"name": "v1"}));
    let clients: Vec<_> = (0..6).map(|_| front.session()).collect();
    clients.iter().for_each(|client| assert_eq!(client.version(), "v1"));
    front.edit(json!({"name": "v2", "slow_start": 0.1}));
    let (save, hold) = (front.save(), std::sync::Arc::clone(&front.hold));
    let swapped = beside(move || hold.swap(save));
    let starting = || {
        let is_starting = |kid: &super::super::parts::Kid| matches!(kid.phase, super::super::parts::Phase::Starting(_));
        front.hold.groups().iter().map(|group| group.with(|core, _| core.kids.iter().filter(|kid| is_starting(kid)).count())).sum::<usize>()
    };
    let mut most = 0;
    until("all have it", || {
        most = most.max(starting());
        front.hold.groups().iter().all(|group| group.with(|core, _| core.current().is_some_and(|kid| kid.save == save.number)))
    });
    assert!((1..=2).contains(&most), "{most}");
    changes(swapped.recv().unwrap());
    front.hold.verdict(Verdict::Live(save));
    clients.iter().for_each(|client| assert_eq!(client.version(), "v2"));
}

#[test]
fn a_first_build_comes_before_the_first_child() {
    let front = front_with(json!({"name": "v1"}), |settings| settings.start_timeout = Some(Duration::from_secs(4)));
    let save = front.save();
    front.hold.verdict(Verdict::Pending(save));
    let (one, two) = (front.client(), front.client());
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
    let ids = [one.send("initialize", hello.clone()), two.send("initialize", hello.clone())];
    front.hold.verdict(Verdict::NotLive { save, output: "error: expected one of".to_owned(), tried: None });
    let late = front.client();
    let late_id = late.send("initialize", hello);
    let answer = value(&one.answer(ids[0]));
    assert!(answer["result"]["instructions"].as_str().unwrap().contains("error: expected one of"), "{answer}");
    assert_eq!(front.trace().len(), 0, "nothing was started");
    two.answer(ids[1]);
    let save = front.save();
    front.hold.verdict(Verdict::Pending(save));
    changes(front.hold.swap(save));
    front.hold.verdict(Verdict::Live(save));
    for client in [&one, &two] {
        client.notification("notifications/tools/list_changed");
        assert_eq!(client.version(), "v1");
    }
    late.answer(late_id);
    assert_eq!(late.version(), "v1");
}
