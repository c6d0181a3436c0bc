//! What must not get stuck: starts, reloads and deadlines, when clients leave at the wrong moment.

use std::time::Duration;

use serde_json::json;

use super::super::parts::Report;
use super::kit::front;
use super::stage::{Stage, answers, settings};

#[test]
fn clients_who_leave_while_they_wait_for_their_turn_do_not_keep_it() {
    let front = front(json!({"name": "v1", "slow_start": 0.5}));
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    // Two may start at once; the others have their clients leave before it is their turn.
    let starting = [front.client(), front.client()];
    let ids = starting.each_ref().map(|client| client.send("initialize", hello.clone()));
    for _ in 0..3 {
        let leaving = front.client();
        leaving.send("initialize", hello.clone());
        leaving.link.close();
    }
    for (client, id) in starting.iter().zip(ids) {
        client.answer(id);
    }
    let last = front.client();
    last.initialize();
    assert_eq!(last.version(), "v1");
}

#[test]
fn a_reload_whose_client_has_just_left_is_told_so() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.initialize(&client);
    let (kid, _) = stage.start(0);
    stage.core.leave(client.0, stage.now);
    stage.act();
    stage.exit(kid, "");
    stage.reports.clear();
    stage.core.swap(1, stage.now);
    stage.act();
    assert!(matches!(stage.reports[..], [Report::Gone]), "{}", stage.reports.len());
}

#[test]
fn a_tick_that_comes_too_early_is_asked_for_again() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    // Whoever ticks has forgotten all it was asked for.
    stage.wakes.clear();
    stage.core.tick(stage.now);
    stage.act();
    stage.pass(Duration::from_secs(31));
    assert_eq!(answers(&client.1.take()), [("1".to_owned(), false)]);
}

#[test]
fn a_request_of_a_client_that_has_left_is_answered() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.initialize(&client);
    stage.start(0);
    stage.core.leave(client.0, stage.now);
    stage.act();
    client.1.take();
    stage.call(&client, 7, 0);
    assert_eq!(answers(&client.1.take()), [("7".to_owned(), false)]);
}
