//! One step after another, with a clock that the test turns.

use std::time::Duration;

use super::super::parts::Report;
use super::super::{HoldSettings, Save, Verdict};
use super::stage::{Stage, answers, settings};

const SECOND: Duration = Duration::from_secs(1);

fn good(id: u64) -> (String, bool) {
    (id.to_string(), true)
}

fn bad(id: u64) -> (String, bool) {
    (id.to_string(), false)
}

#[test]
fn held_calls_follow_the_handshake_in_order() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.initialize(&client);
    let (first, _) = stage.start(0);
    stage.say(&client, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, 0);
    stage.say(&client, r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}"#, 0);
    stage.exit(first, "");
    (2..5).for_each(|id| stage.call(&client, id, 0));
    let (second, heard) = stage.start(0);
    let methods: Vec<String> =
        heard.iter().map(|line| crate::message::Message::parse(line.clone()).unwrap().method().into_owned()).collect();
    assert_eq!(methods, ["notifications/initialized", "logging/setLevel", "tools/call", "tools/call", "tools/call"]);
    assert!(heard[2].contains("\"t2\"") && heard[4].contains("\"t4\""));
    client.1.take();
    // Both children's ids are known to nobody else.
    stage.line(first, &heard[2].replace("tools/call", "x"));
    stage.answer(first, &heard[2]);
    assert!(client.1.take().is_empty(), "a child that has ended says nothing");
    heard[2..].iter().for_each(|call| stage.answer(second, call));
    assert_eq!(answers(&client.1.take()), [good(2), good(3), good(4)]);
}

#[test]
fn calls_wait_for_a_child_up_to_the_start_timeout() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    stage.pass(29 * SECOND);
    assert!(client.1.take().is_empty());
    stage.pass(SECOND);
    let said = client.1.take();
    assert_eq!(answers(&said), [bad(1)]);
    assert!(said[0].contains(r#""reason":"unavailable""#) && said[0].contains("-32603"));
    let mut stage = Stage::new(HoldSettings { start_timeout: None, ..settings() });
    let client = stage.client();
    stage.call(&client, 1, 0);
    let kid = stage.spawn(0).unwrap();
    stage.pass(100_000 * SECOND);
    assert!(client.1.take().is_empty(), "a debugger is attached");
    stage.ready(kid);
}

#[test]
fn what_waits_is_bounded() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    (0..300).for_each(|id| stage.call(&client, id, 0));
    assert_eq!(answers(&client.1.take()), (256..300).map(bad).collect::<Vec<_>>());
    let mut stage = Stage::new(settings());
    let client = stage.client();
    let big = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"x":"{}"}}}}"#, "x".repeat(5 << 20));
    stage.say(&client, &big, 0);
    stage.say(&client, &big.replace("\"id\":1", "\"id\":2"), 0);
    assert_eq!(answers(&client.1.take()), [bad(2)]);
}

#[test]
fn restarts_come_at_once_then_later_and_later() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (kid, _) = stage.start(0);
    stage.exit(kid, "");
    let mut delays = Vec::new();
    for _ in 0..8 {
        let mut delay = Duration::ZERO;
        while stage.ordered.is_empty() {
            stage.pass(Duration::from_millis(10));
            delay += Duration::from_millis(10);
        }
        delays.push(delay.as_millis());
        let kid = stage.spawn(0).unwrap();
        stage.exit(kid, "");
    }
    assert_eq!(delays[0], 0);
    assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]) && delays[7] == 10_000, "{delays:?}");
    // A save does not wait for that, and good service makes a crash a first one again.
    stage.core.swap(1, stage.now);
    stage.act();
    let (kid, _) = stage.start(1);
    stage.pass(11 * SECOND);
    stage.exit(kid, "");
    assert_eq!(stage.ordered.len(), 1);
}

#[test]
fn a_failed_start_is_not_repeated_until_there_is_something_new() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (old, heard) = stage.start(0);
    stage.core.swap(1, stage.now);
    stage.act();
    let kid = stage.spawn(1).unwrap();
    stage.exit(kid, "Traceback");
    stage.pass(100 * SECOND);
    assert!(stage.ordered.is_empty(), "one failed start");
    assert!(matches!(stage.reports.last(), Some(Report::Failed { save: 1, output, .. }) if output == "Traceback"));
    stage.answer(old, &heard[1]);
    assert_eq!(answers(&client.1.take()), [good(1)], "the old one serves");
    stage.core.swap(1, stage.now);
    stage.act();
    assert_eq!(stage.ordered.len(), 1, "asked for again, it is tried again");
}

#[test]
fn time_that_the_client_takes_does_not_count_against_a_call() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (old, _) = stage.start(0);
    stage.line(old, r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create"}"#);
    stage.core.swap(1, stage.now);
    stage.act();
    stage.start(1);
    stage.pass(600 * SECOND);
    let asked = client.1.take();
    let question = crate::message::Message::parse(asked[0].clone()).unwrap();
    assert_eq!((asked.len(), question.method().as_ref()), (1, "elicitation/create"));
    stage.say(&client, &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, question.id()), 0);
    assert!(stage.actor(old).heard.take()[0].contains(r#""id":"q""#));
    stage.pass(59 * SECOND);
    assert!(client.1.take().is_empty());
    // An old child that has calls may still ask.
    stage.line(old, r#"{"jsonrpc":"2.0","id":"r","method":"elicitation/create"}"#);
    stage.pass(600 * SECOND);
    let asked = client.1.take();
    let question = crate::message::Message::parse(asked[0].clone()).unwrap();
    assert_eq!((asked.len(), question.method().as_ref()), (1, "elicitation/create"));
    stage.say(&client, &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, question.id()), 0);
    stage.pass(SECOND);
    let said = client.1.take();
    assert_eq!(answers(&said), [bad(1)]);
    assert!(said[0].contains(r#""reason":"reloaded""#));
    assert!(*stage.actor(old).is_stopped.lock().unwrap());
}

#[test]
fn a_third_generation_waits_two_seconds_for_the_first() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    stage.start(0);
    stage.core.swap(1, stage.now);
    stage.act();
    stage.start(1);
    stage.call(&client, 2, 0);
    stage.core.swap(2, stage.now);
    stage.act();
    stage.pass(Duration::from_millis(1999));
    assert!(stage.ordered.is_empty() && client.1.take().is_empty());
    stage.pass(Duration::from_millis(1));
    assert_eq!((stage.ordered.len(), answers(&client.1.take())), (1, vec![bad(1)]));
}

#[test]
fn silent_clients_without_a_stream_are_parked() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (kid, heard) = stage.start(0);
    stage.answer(kid, &heard[1]);
    stage.pass(200 * SECOND);
    stage.call(&client, 2, 0);
    stage.pass(250 * SECOND);
    assert!(!*stage.actor(kid).is_stopped.lock().unwrap());
    stage.pass(300 * SECOND);
    assert!(!*stage.actor(kid).is_stopped.lock().unwrap(), "a call is open");
    let call = stage.actor(kid).heard.take();
    stage.answer(kid, &call[0]);
    stage.pass(600 * SECOND);
    assert!(*stage.actor(kid).is_stopped.lock().unwrap());
    stage.exit(kid, "");
    assert!(stage.ordered.is_empty());
    stage.call(&client, 3, 0);
    assert_eq!(stage.ordered.len(), 1);
}

#[test]
fn one_that_is_starting_for_nobody_is_parked_for_who_needs_the_room() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (kid, heard) = stage.start(0);
    assert!(!stage.core.park(stage.now), "a call is open");
    stage.answer(kid, &heard[1]);
    // It dies, and another one is on its way although nobody has asked for anything.
    stage.exit(kid, "");
    let coming = stage.spawn(0).expect("a start is ordered");
    stage.reports.clear();
    assert!(stage.core.park(stage.now));
    stage.act();
    assert!(*stage.actor(coming).is_stopped.lock().unwrap());
    assert!(matches!(stage.reports[..], [Report::Gone]), "who waits for it hears that it is gone: {:?}", stage.reports);
    stage.exit(coming, "");
    assert!(stage.ordered.is_empty());
    stage.call(&client, 2, 0);
    let (kid, heard) = stage.start(0);
    stage.answer(kid, &heard[1]);
    assert_eq!(answers(&client.1.take()).last(), Some(&("2".to_owned(), true)));
}

#[test]
fn a_childs_early_words_are_kept_until_it_is_ready() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let kid = stage.spawn(0).unwrap();
    stage.line(kid, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    stage.line(kid, r#"{"jsonrpc":"2.0","id":2,"method":"roots/list"}"#);
    (0..100).for_each(|_| stage.line(kid, r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#));
    assert!(client.1.take().is_empty());
    let heard = stage.ready(kid);
    assert!(heard[0].contains("\"result\":{}"), "a ping cannot wait: {heard:?}");
    assert_eq!(client.1.take().len(), 64, "bounded");
}

#[test]
fn lists_that_do_not_come_count_as_changed_and_nothing_is_said_twice() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.say(&client, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, 0);
    let (kid, heard) = stage.start(0);
    let asked = crate::message::Message::parse(heard[1].clone()).unwrap();
    stage.line(kid, &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"tools":[{{"name":"a"}}]}}}}"#, asked.id()));
    client.1.take();
    stage.core.swap(1, stage.now);
    stage.act();
    let (second, heard) = stage.start(1);
    stage.pass(5 * SECOND);
    assert!(client.1.take()[0].contains("tools/list_changed"), "too late");
    stage.pass(SECOND);
    stage.core.swap(2, stage.now);
    stage.act();
    let (third, heard_too) = stage.start(2);
    stage.pass(Duration::from_millis(1));
    stage.line(third, r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    let list = heard_too.iter().find(|line| line.contains("tools/list")).unwrap();
    stage.answer(third, list);
    stage.pass(5 * SECOND);
    assert_eq!(client.1.take().len(), 1, "the child's own and ours are one");
    // An old survey's answer is nobody's.
    stage.answer(second, heard.iter().find(|line| line.contains("tools/list")).unwrap());
    assert!(client.1.take().is_empty());
}

#[test]
fn a_call_is_released_by_its_own_save_or_a_verdict_and_never_by_an_older_one() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (old, heard) = stage.start(0);
    stage.answer(old, &heard[1]);
    stage.call(&client, 2, 2);
    stage.core.swap(1, stage.now);
    stage.act();
    let (first, heard) = stage.start(1);
    assert!(!heard.iter().any(|line| line.contains("\"t2\"")), "save 1 is not save 2");
    let save = |number| Save { number, at: std::time::SystemTime::now() };
    stage.core.verdict(&Verdict::NotLive { save: save(1), output: String::new(), tried: None }, false, stage.now);
    stage.act();
    assert!(stage.actor(first).heard.take().is_empty());
    stage.core.verdict(&Verdict::NotLive { save: save(2), output: String::new(), tried: None }, false, stage.now);
    stage.act();
    assert!(stage.actor(first).heard.take()[0].contains("\"t2\""));
    // And by the end of the hold, also when that is longer than a start may take.
    stage.call(&client, 3, 3);
    stage.pass(Duration::from_millis(9999));
    assert!(stage.actor(first).heard.take().is_empty());
    stage.pass(Duration::from_millis(1));
    assert!(stage.actor(first).heard.take()[0].contains("\"t3\""));
}

#[test]
fn an_answer_too_long_to_be_read_is_an_error() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (kid, _) = stage.start(0);
    stage.core.oversized(kid, 1 << 30, stage.now);
    stage.act();
    assert_eq!(answers(&client.1.take()), [bad(1)]);
}

#[test]
fn a_save_that_was_undone_releases_calls_without_any_start() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (kid, heard) = stage.start(0);
    stage.answer(kid, &heard[1]);
    stage.call(&client, 2, 1);
    assert!(stage.actor(kid).heard.take().is_empty());
    let save = Save { number: 1, at: std::time::SystemTime::now() };
    stage.core.verdict(&Verdict::Live(save), false, stage.now);
    stage.act();
    assert!(stage.actor(kid).heard.take()[0].contains("\"t2\"") && stage.ordered.is_empty());
    // Known by now: what looked before and is queued after it does not wait.
    stage.call(&client, 3, 1);
    assert!(stage.actor(kid).heard.take()[0].contains("\"t3\""));
}

#[test]
fn of_an_old_child_only_what_its_calls_need_passes() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (old, heard) = stage.start(0);
    stage.core.swap(1, stage.now);
    stage.act();
    stage.start(1);
    for method in ["tools/list_changed", "resources/updated", "message", "tasks/status"] {
        stage.line(old, &format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{}}}}"#));
    }
    let said = client.1.take();
    assert!(said.len() == 1 && said[0].contains("notifications/message"), "{said:?}");
    stage.answer(old, &heard[1]);
    stage.line(old, r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
    stage.line(old, r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
    assert_eq!(answers(&client.1.take()), [good(1)]);
}

#[test]
fn a_hold_longer_than_the_start_timeout_is_no_error_and_no_busy_wait() {
    let (hold, start_timeout) = (60 * SECOND, Some(5 * SECOND));
    let mut stage = Stage::new(HoldSettings { hold, start_timeout, ..settings() });
    let client = stage.client();
    stage.call(&client, 1, 0);
    let (kid, heard) = stage.start(0);
    stage.answer(kid, &heard[1]);
    stage.call(&client, 2, 1);
    stage.wakes.clear();
    stage.core.tick(stage.now + 30 * SECOND);
    stage.act();
    assert!(stage.wakes.iter().all(|wake| *wake > stage.now + 30 * SECOND), "nothing is due before its time");
    stage.pass(60 * SECOND);
    assert!(stage.actor(kid).heard.take()[0].contains("\"t2\""));
}
