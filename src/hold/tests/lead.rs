//! Which calls are read by who sends them, with a clock that the test turns; and that nothing is lost between those who read, with a real child.

use std::time::Duration;

use serde_json::json;

use super::kit::front;
use super::stage::{Stage, settings};

const MS: Duration = Duration::from_millis(1);

/// A call, whether its sender may read the answer, and the answer after `time`.
fn call(stage: &mut Stage, client: &(u64, std::sync::Arc<super::stage::Mailbox>), kid: u64, id: u64, time: Duration) -> bool {
    stage.call(client, id, 0);
    let is_led = stage.core.led(stage.now).is_some();
    let heard = stage.actor(kid).heard.take();
    stage.now += time;
    stage.answer(kid, &heard[0]);
    is_led
}

#[test]
fn only_a_call_that_is_alone_and_follows_a_quick_one_is_led() {
    let mut stage = Stage::new(settings());
    let client = stage.client();
    stage.initialize(&client);
    let (kid, _) = stage.start(0);
    stage.actor(kid).heard.take();
    assert!(!call(&mut stage, &client, kid, 1, Duration::ZERO), "nothing is known of the child");
    assert!(call(&mut stage, &client, kid, 2, Duration::ZERO));
    assert!(call(&mut stage, &client, kid, 3, MS), "the last one was quick, this one is not");
    assert!(!call(&mut stage, &client, kid, 4, Duration::ZERO));
    stage.now += 20 * MS;
    assert!(!call(&mut stage, &client, kid, 5, Duration::ZERO), "there is no haste");
    stage.call(&client, 6, 0);
    assert!(stage.core.led(stage.now).is_some());
    stage.call(&client, 7, 0);
    assert!(stage.core.led(stage.now).is_none(), "the answer to another one is to come");
    assert!(stage.core.led(stage.now).is_none(), "nothing was sent");
}

/// Half of the jobs are run by the client's thread, the others by nobody.
#[test]
fn every_answer_comes_whoever_reads_it() {
    let front = front(json!({"name": "v1"}));
    let client = front.session();
    for round in 0..300 {
        assert_eq!(client.tool("version", json!({})), "v1");
        if round % 50 == 0 {
            let calls: Vec<u64> = (0..5).map(|_| client.start("version", json!({}))).collect();
            calls.into_iter().for_each(|id| drop(client.answer(id)));
        }
    }
}
