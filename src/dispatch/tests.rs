//! Calls and the sessions they belong to, where the order of events is the test's to choose.

use crossbeam_channel::{Receiver, Sender, bounded};

use super::*;

const SOON: Duration = Duration::from_secs(5);

/// A link to a handler that says which calls it begins, and an outlet for its answers.
type Ends = (Arc<dyn Link>, Arc<dyn Outlet>, Receiver<Message>, Receiver<String>);

fn link() -> Ends {
    let (begun, begins) = bounded(16);
    let handler = move |request: &Request, session: &Session| {
        begun.send(request.id().to_owned()).ok();
        if request.method() == "cancel" && session.cancelled().recv_timeout(SOON).is_err_and(|error| error.is_timeout()) {
            return Err(RpcError::internal("never cancelled"));
        }
        Ok(Json::empty())
    };
    let limits = Limits::default();
    let dispatcher = Dispatcher::new(Arc::new(handler), &limits, Workers::of(&limits));
    let (sender, answers): (Sender<Message>, _) = bounded(16);
    let outlet: Arc<dyn Outlet> = Arc::new(sender);
    let client = Client { id: "test".to_owned(), outlet: Arc::clone(&outlet), version: None, may_be_stateless: false };
    (dispatcher.open(client).unwrap(), outlet, answers, begins)
}

/// The client left between the arrival of its last request and its delivery.
#[test]
fn a_call_that_comes_after_the_end_of_its_session_never_begins() {
    let (link, outlet, answers, begins) = link();
    link.close();
    let job = link.deliver(Message::request("1", "echo", None), &outlet);
    job.into_iter().for_each(|job| job());
    assert!(begins.try_recv().is_err() && answers.try_recv().is_err());
    assert!(!link.is_busy());
}

/// The answer frees the id; a client that uses it again at once, before the first call's thread is done with it, gets a call like any other.
#[test]
fn a_call_that_ends_takes_no_other_with_its_id_along() {
    let (link, outlet, answers, begins) = link();
    let peer = Peer::new("test".to_owned(), None, Arc::clone(&outlet), Slots::new(bounds(&Limits::default()), Workers::new(1)));
    let call = || Call::new(&Message::request("1", "echo", None), &Meta::default(), None, Arc::clone(&outlet));
    let (first, second) = (call(), call());
    peer.begin(Arc::clone(&first)).unwrap();
    assert!(peer.begin(Arc::clone(&second)).is_err());
    peer.end(&first);
    peer.begin(Arc::clone(&second)).unwrap();
    peer.end(&first);
    peer.cancel("1");
    assert!(second.is_cancelled() && peer.is_busy());
    // And through the link, with its answers.
    for _ in 0..3 {
        link.deliver(Message::request("7", "echo", None), &outlet).into_iter().for_each(|job| job());
        assert_eq!(answers.recv_timeout(SOON).unwrap().as_str(), r#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
        assert_eq!(begins.recv_timeout(SOON).unwrap(), "7");
    }
}

/// Whoever ends a call first answers it, and only once: its handler, its client, or the end of the server.
#[test]
fn each_call_has_one_answer_or_none() {
    let (link, outlet, answers, begins) = link();
    let job = link.deliver(Message::request("1", "cancel", None), &outlet).unwrap();
    let running = std::thread::Builder::new().spawn(job).unwrap();
    begins.recv_timeout(SOON).unwrap();
    link.deliver(Message::notification("notifications/cancelled", Some(r#"{"requestId":1}"#)), &outlet);
    running.join().unwrap();
    assert!(answers.try_recv().is_err(), "a cancelled call is not answered");
    let call = Call::new(&Message::request("2", "echo", None), &Meta::default(), None, Arc::clone(&outlet));
    assert!(call.takes_answer() && !call.takes_answer());
}

/// The schema wants numbers, and JSON has none for what a division by zero gives.
#[test]
fn progress_that_is_no_number_is_left_out() {
    let client = memory(|_: &Request, session: &Session| {
        for (progress, total) in [(f64::NAN, None), (f64::INFINITY, Some(1.0)), (1.0, Some(f64::NAN)), (2.0, Some(4.0))] {
            session.progress(progress, total, None).map_err(RpcError::internal)?;
        }
        Ok(Json::empty())
    });
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":7}}}"#).unwrap();
    for params in [r#"{"progressToken":7,"progress":1.0}"#, r#"{"progressToken":7,"progress":2.0,"total":4.0}"#] {
        assert_eq!(client.receive(SOON).unwrap().letter(), Some(params));
    }
    assert_eq!(client.receive(SOON).unwrap().letter(), Some("{}"));
}

/// A thread that a handler leaves behind may not report what its client takes for another call's progress.
#[test]
fn there_is_no_progress_behind_the_answer() {
    let (leave, left) = bounded(1);
    let client = memory(move |_: &Request, session: &Session| {
        session.progress(1.0, None, None).map_err(RpcError::internal)?;
        leave.send(session.clone()).map_err(RpcError::internal)?;
        Ok(Json::empty())
    });
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":7}}}"#).unwrap();
    assert_eq!(client.receive(SOON).unwrap().kind(), Kind::Notification);
    assert_eq!(client.receive(SOON).unwrap().kind(), Kind::Result);
    let session = left.recv_timeout(SOON).unwrap();
    assert!(session.progress(2.0, None, None).is_err());
    session.notify("notifications/x", Json::empty()).unwrap();
    assert_eq!(client.receive(SOON).unwrap().method(), "notifications/x");
}
