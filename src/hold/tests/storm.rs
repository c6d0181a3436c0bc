//! One answer or one error for each call, whatever happens in whatever order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::stage::{Mailbox, Stage, answers, settings};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// What the clients are.
#[derive(Clone, Copy, PartialEq)]
enum Clients {
    Sessions,
    Stateless,
}

fn storm(seed: u64, settings: super::super::HoldSettings, are: Clients) {
    let mut random = Random(seed);
    let count = if settings.shared || are == Clients::Stateless { 3 } else { 1 };
    let mut stage = Stage::new(settings);
    if are == Clients::Stateless {
        stage.core.serve_stateless(stage.now);
    }
    let clients: Vec<(u64, Arc<Mailbox>)> = (0..count).map(|_| stage.client()).collect();
    let (mut calls, mut cancelled, mut save) = (Vec::new(), Vec::new(), 0);
    // What children heard and have not answered.
    let mut open: Vec<(u64, String)> = Vec::new();
    let mut got: HashMap<String, usize> = HashMap::new();
    for step in 0..400_u64 {
        let client = &clients[random.below(clients.len())];
        match random.below(15) {
            0..4 => {
                let need = if random.below(3) == 0 { save + random.below(2) as u64 } else { 0 };
                match are {
                    Clients::Sessions => stage.call(client, step, need),
                    Clients::Stateless => stage.stateless(client, step, need),
                }
                calls.push((client.0, step));
            }
            4 => {
                if let Some((seat, id)) = calls.get(random.below(calls.len().max(1))).copied() {
                    let owner = clients.iter().find(|(number, _)| *number == seat).unwrap();
                    stage.say(
                        owner,
                        &format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#),
                        0,
                    );
                    cancelled.push(id.to_string());
                }
            }
            5 => {
                save += 1;
                stage.core.swap(save, stage.now);
                stage.act();
            }
            6 => drop(stage.spawn(save)),
            7 => {
                let kids = stage.core.kid_numbers();
                if !kids.is_empty() {
                    let kid = kids[random.below(kids.len())];
                    stage.exit(kid, if random.below(4) == 0 { "EADDRINUSE" } else { "Traceback" });
                }
            }
            8 => stage.pass(Duration::from_millis([1, 300, 2500, 31_000][random.below(4)])),
            9 => {
                stage.core.park(stage.now);
                stage.act();
            }
            10 => {
                let kids = stage.core.kid_numbers();
                if !kids.is_empty() {
                    stage.line(kids[random.below(kids.len())], &format!(r#"{{"jsonrpc":"2.0","id":{step},"method":"roots/list"}}"#));
                }
            }
            _ => {
                if !open.is_empty() {
                    let (kid, request) = open.swap_remove(random.below(open.len()));
                    let is_hello = request.contains("\"initialize\"") || request.contains("\"server/discover\"");
                    if is_hello && random.below(5) > 0 {
                        let id = crate::message::Message::parse(request).unwrap().id().to_owned();
                        let result = r#"{"protocolVersion":"2025-11-25","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#;
                        stage.line(kid, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
                    } else {
                        stage.answer(kid, &request);
                    }
                }
            }
        }
        for (kid, actor) in &stage.actors {
            let requests = actor.heard.take().into_iter().filter(|line| line.contains("\"id\"") && line.contains("\"method\""));
            open.extend(requests.map(|request| (*kid, request)));
        }
        // Processes that are stopped end some time.
        let stopped: Vec<u64> = stage.actors.iter().filter(|(_, actor)| *actor.is_stopped.lock().unwrap()).map(|(kid, _)| *kid).collect();
        for kid in stopped.into_iter().filter(|_| random.below(3) == 0) {
            stage.exit(kid, "");
        }
        for (_, mailbox) in &clients {
            answers(&mailbox.take()).into_iter().for_each(|(id, _)| *got.entry(id).or_default() += 1);
        }
    }
    // Nothing starts and nobody answers any more: everything that is open has an end all the same.
    stage.core.kid_numbers().into_iter().for_each(|kid| stage.exit(kid, ""));
    stage.pass(Duration::from_secs(200));
    for (_, mailbox) in &clients {
        answers(&mailbox.take()).into_iter().for_each(|(id, _)| *got.entry(id).or_default() += 1);
    }
    assert!(!stage.core.is_busy(), "seed {seed}: something is still open");
    for (_, id) in calls {
        let count = got.remove(&id.to_string()).unwrap_or(0);
        let allowed = if cancelled.contains(&id.to_string()) { count <= 1 } else { count == 1 };
        assert!(allowed, "seed {seed}: {count} answers to {id}");
    }
    assert!(got.is_empty(), "seed {seed}: answers to nothing: {got:?}");
}

#[test]
fn every_call_has_one_answer_whatever_happens() {
    for seed in 0..300 {
        storm(seed, settings(), Clients::Sessions);
    }
}

#[test]
fn every_call_has_one_answer_when_the_old_server_is_stopped_first() {
    for seed in 0..200 {
        storm(seed, super::super::HoldSettings { stop_first: true, ..settings() }, Clients::Sessions);
    }
}

#[test]
fn every_call_has_one_answer_when_all_share_a_server() {
    for seed in 0..200 {
        storm(seed, super::super::HoldSettings { shared: true, ..settings() }, Clients::Sessions);
    }
}

#[test]
fn every_call_has_one_answer_when_requests_are_stateless() {
    for seed in 0..300 {
        storm(seed, settings(), Clients::Stateless);
    }
    for seed in 0..100 {
        storm(seed, super::super::HoldSettings { stop_first: true, ..settings() }, Clients::Stateless);
    }
}
