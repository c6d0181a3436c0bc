//! How a child ends, by us or by itself, and what becomes of whatever was between it and the clients.
//!
//! 1. [`stop`](Core::stop): its calls are lost, its process goes down the ladder, and [`exited`](Core::exited) follows.
//! 2. [`exited`](Core::exited) and [`muted`](Core::muted) may also come by themselves at any time: then another one is started.

use std::time::{Duration, Instant};

use super::core::Core;
use super::parts::{Act, Own, Phase, Wait, lost, unavailable};
use crate::child::Exit;
use crate::message::Message;
use crate::rpc_error::RpcError;

/// After so long a child has proved itself, and a crash is a first one.
const GOOD_SERVICE: Duration = Duration::from_secs(10);

impl Core {
    /// Ends a child: its calls are lost, its questions taken back, its process goes down the ladder.
    pub(super) fn stop(&mut self, number: u64, reason: &'static str, now: Instant) {
        let error = match reason {
            "unavailable" => unavailable("the server did not start"),
            _ if self.is_closed => unavailable("the server is being stopped"),
            _ => lost(reason, "the server was reloaded before it answered"),
        };
        let Some(kid) = self.kid_mut(number) else { return };
        (kid.phase, kid.permit) = (Phase::Stopping, None);
        let process = kid.process.clone();
        self.let_go(number, &error, now);
        match process {
            Some(process) => self.acts.push(Act::Stop(process)),
            // It was never started, or is being started: then `spawned` finds it gone and drops the process.
            None => self.kids.retain(|kid| kid.number != number),
        }
    }

    /// Ends whatever is between a child and the clients.
    fn let_go(&mut self, number: u64, error: &RpcError, now: Instant) {
        let is_its = |wait: &Wait| match wait {
            Wait::Call(call) => call.kid == number,
            Wait::Own { kid, .. } => *kid == number,
        };
        let ids: Vec<u64> = self.waits.iter().filter(|(_, wait)| is_its(wait)).map(|(id, _)| *id).collect();
        for id in ids {
            match self.waits.remove(&id) {
                Some(Wait::Call(call)) => {
                    self.offer(&call.outlet, Message::error(Some(&call.id), error));
                    self.ended(&call, now);
                }
                Some(Wait::Own { own: Own::Status { id, outlet }, .. }) => self.offer(&outlet, Message::error(Some(&id), error)),
                Some(Wait::Own { .. }) | None => {}
            }
        }
        let asks: Vec<u64> = self.asks.iter().filter(|(_, ask)| ask.kid == number).map(|(id, _)| *id).collect();
        for id in asks {
            self.asks.remove(&id);
            let params = format!("{{\"requestId\":{id},\"reason\":\"the server was reloaded\"}}");
            self.tell_all(&Message::notification("notifications/cancelled", Some(&params)));
        }
        self.tasks.retain(|_, maker| *maker != number);
        if self.current == Some(number) {
            self.current = None;
        }
        if self.survey.as_ref().is_some_and(|survey| survey.kid == number) {
            self.survey = None;
        }
    }

    /// The process has ended, by itself or by us.
    pub(super) fn exited(&mut self, number: u64, exit: &Exit, now: Instant) {
        let Some(kid) = self.kid(number) else { return };
        let phase = kid.phase;
        let process_of = |core: &mut Core| core.kids.retain(|kid| kid.number != number);
        match phase {
            Phase::Ordered | Phase::Starting(_) => {
                let is_text_busy = exit.exec_error().is_some_and(|error| error.kind() == std::io::ErrorKind::ExecutableFileBusy);
                // There is nothing left to be stopped.
                if let Some(kid) = self.kid_mut(number) {
                    kid.process = None;
                }
                self.start_failed(number, format!("it ended before it was ready: {exit}"), exit.stderr_tail.clone(), is_text_busy, now);
                process_of(self);
            }
            Phase::Stopping => process_of(self),
            Phase::Ready | Phase::Draining { .. } => {
                log::error!("the server has ended by itself: {exit}");
                self.crashed(number, &exit.to_string(), exit.stderr_tail.clone(), now);
                process_of(self);
            }
        }
        self.settle(now);
        self.pump(now);
        self.mind_over();
    }

    /// The process runs on without a stdout, so nothing will ever be answered: it has crashed, and is stopped.
    pub(super) fn muted(&mut self, number: u64, now: Instant) {
        let Some(kid) = self.kid(number) else { return };
        let (phase, process, why) = (kid.phase, kid.process.clone(), "it closed its stdout");
        match phase {
            Phase::Ordered | Phase::Starting(_) => self.fail(number, format!("{why} before it was ready"), now),
            Phase::Ready | Phase::Draining { .. } => {
                log::error!("the server has closed its stdout, and so cannot answer any more: it is stopped");
                let output = process.as_ref().map(|process| process.stderr_tail()).unwrap_or_default();
                self.crashed(number, why, output, now);
                self.acts.extend(process.map(Act::Stop));
            }
            Phase::Stopping => {}
        }
        self.settle(now);
        self.pump(now);
    }

    /// The calls of a child that served are lost; when it was the current one, another is to be there soon.
    fn crashed(&mut self, number: u64, why: &str, output: String, now: Instant) {
        let Some(kid) = self.kid_mut(number) else { return };
        let (was_current, ready_at) = (kid.phase == Phase::Ready, kid.ready_at);
        kid.phase = Phase::Stopping;
        self.let_go(number, &lost("crashed", format_args!("the server crashed: {why}")), now);
        if was_current {
            self.last_failure = Some((format!("it crashed: {why}"), output));
            self.revive = true;
            if ready_at.is_some_and(|at| now - at >= GOOD_SERVICE) {
                self.failures = 0;
            }
            match self.failures {
                0 => self.failures = 1,
                _ => self.back_off(now),
            }
        }
    }
}
