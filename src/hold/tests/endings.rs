//! How generations end: which have to, and what a server without a stdout is.

use std::time::Duration;

use super::super::parts::Report;
use super::super::{HoldSettings, Save, Verdict};
use super::stage::{Stage, answers, settings};

const SECOND: Duration = Duration::from_secs(1);

/// A client whose call 1 is at the old of two generations; returns both, and what the old one heard.
fn with_old_one(stage: &mut Stage) -> ((u64, std::sync::Arc<super::stage::Mailbox>), u64, u64, String) {
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (old, mut heard) = stage.start(0);
    let call = heard.pop().expect("the call");
    swap(stage, 1);
    let (new, _) = stage.start(1);
    (client, old, new, call)
}

fn swap(stage: &mut Stage, save: u64) {
    stage.core.swap(save, stage.now);
    stage.act();
}

#[test]
fn edits_one_after_the_other_do_not_cost_a_long_call_its_drain() {
    let mut stage = Stage::new(settings());
    let (client, old, _, call) = with_old_one(&mut stage);
    for save in 2..6 {
        swap(&mut stage, save);
        stage.start(save);
        stage.pass(5 * SECOND);
    }
    assert!(client.1.take().is_empty() && !*stage.actor(old).is_stopped.lock().unwrap());
    stage.answer(old, &call);
    assert_eq!(answers(&client.1.take()), [("1".to_owned(), true)]);
    assert!(*stage.actor(old).is_stopped.lock().unwrap());
}

#[test]
fn a_quick_call_at_the_second_generation_costs_the_first_nothing() {
    let mut stage = Stage::new(settings());
    let (client, _, new, _) = with_old_one(&mut stage);
    stage.call(&client, 2, 0);
    let quick = stage.actor(new).heard.take().pop().expect("the call");
    swap(&mut stage, 2);
    stage.pass(SECOND);
    assert!(stage.ordered.is_empty(), "both have calls");
    stage.answer(new, &quick);
    stage.start(2);
    stage.pass(30 * SECOND);
    assert_eq!(answers(&client.1.take()), [("2".to_owned(), true)]);
    stage.pass(60 * SECOND);
    assert_eq!(answers(&client.1.take()), [("1".to_owned(), false)], "its own time is over");
}

#[test]
fn of_three_generations_with_calls_the_oldest_has_two_seconds() {
    let mut stage = Stage::new(settings());
    let (client, old, second, _) = with_old_one(&mut stage);
    swap(&mut stage, 2);
    let third = stage.spawn(2).expect("the second has no calls");
    stage.call(&client, 2, 0);
    stage.ready(third);
    stage.pass(Duration::from_millis(1999));
    assert!(client.1.take().is_empty());
    stage.pass(SECOND);
    assert_eq!(answers(&client.1.take()), [("1".to_owned(), false)]);
    assert!(*stage.actor(old).is_stopped.lock().unwrap() && !*stage.actor(second).is_stopped.lock().unwrap());
    stage.pass(30 * SECOND);
    assert!(client.1.take().is_empty(), "two are not too many");
}

#[test]
fn a_server_that_closed_its_stdout_has_crashed() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (kid, _) = stage.start(0);
    stage.core.muted(kid, stage.now);
    stage.act();
    let said = client.1.take();
    assert!(said[0].contains(r#""reason":"crashed""#) && said[0].contains("closed its stdout"), "{said:?}");
    assert!(*stage.actor(kid).is_stopped.lock().unwrap());
    stage.call(&client, 2, 0);
    let next = stage.spawn(0).expect("another one");
    stage.core.muted(next, stage.now);
    stage.act();
    assert!(matches!(&stage.reports[..], [.., Report::Failed { why, .. }] if why.contains("before it was ready")), "{:?}", stage.reports);
    assert!(*stage.actor(next).is_stopped.lock().unwrap());
}

#[test]
fn a_call_that_nothing_built_can_answer_says_so() {
    let mut stage = Stage::new(HoldSettings { start_timeout: Some(SECOND), ..settings() });
    let client = stage.client();
    let save = Save { number: 1, at: std::time::SystemTime::now() };
    stage.core.verdict(&Verdict::NotLive { save, output: "the build failed\nmain.rs:1".to_owned(), tried: None }, true, stage.now);
    stage.call(&client, 1, 0);
    stage.pass(SECOND);
    let said = client.1.take();
    assert!(said[0].contains("does not build") && said[0].contains("main.rs:1"), "{said:?}");
}
