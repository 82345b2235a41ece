//! The gateway's side against a signer that the test plays.

use super::super::message::{Ask, Context, Outcome, RefusalAsk, Request, Response, ShownCheckpoint};
use super::*;
use crate::config::AuthMethod;
use std::io::{Read, Write};
use std::net::Shutdown;

fn connect(client: &SignerClient) -> (UnixStream, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let published = Arc::new(Published::new(Vec::new(), String::new()).unwrap());
    let client = client.clone();
    let served = tokio::spawn(async move {
        let (checkpoints, _) = watch::channel(LogMemory::new("log", String::new(), "").unwrap());
        let (_going_on, mut stop) = watch::channel(false);
        drop(client.serve(ours, published, &checkpoints, &mut stop).await);
    });
    (theirs, served)
}

fn answer(mut signer: &UnixStream, number: u64, outcome: Outcome) {
    let mut bytes = Vec::new();
    frame::append_answer(&mut bytes, &Response { number, outcome }).unwrap();
    signer.write_all(&bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_takes_no_more_still_answers_what_it_has_taken() {
    let client = SignerClient::new();
    let (signer, served) = connect(&client);
    let mut up = client.watch();
    up.wait_for(|state| matches!(state, SignerState::Ready(_))).await.unwrap();
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.ask(Ask::SelfTest).await }
    });
    let request: Request = frame::read_one(&signer).unwrap();
    signer.shutdown(Shutdown::Read).unwrap();
    // This one cannot be written any more.
    let second = tokio::spawn({
        let client = client.clone();
        async move { client.ask(Ask::SelfTest).await }
    });
    up.wait_for(|state| matches!(state, SignerState::Down { .. })).await.unwrap();
    assert!(client.ask(Ask::SelfTest).await.is_err(), "refused at once");
    let outcome = Outcome::Done { body: "late".to_owned() };
    answer(&signer, request.number, outcome);
    assert_eq!(first.await.unwrap().unwrap().into_body(), "late");
    drop(signer);
    assert!(second.await.unwrap().is_err());
    served.await.unwrap();
}

#[tokio::test]
async fn asks_for_a_signer_that_does_not_read_fail_instead_of_piling_up() {
    let client = SignerClient::new();
    client.open().up = true;
    client.open().out = vec![0; MAX_OUT + 1];
    assert!(matches!(client.ask(Ask::SelfTest).await, Err(AskError::Unavailable { .. })));
    assert!(client.open().waiting.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_ends_fails_every_waiter() {
    let client = SignerClient::new();
    let (mut signer, served) = connect(&client);
    client.watch().wait_for(|state| matches!(state, SignerState::Ready(_))).await.unwrap();
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.ask(Ask::SelfTest).await }
    });
    let mut head = [0; 4];
    signer.read_exact(&mut head).unwrap();
    drop(signer);
    assert!(asked.await.unwrap().is_err());
    served.await.unwrap();
}

/// On one thread, so that the test decides when the task that writes goes on.
#[tokio::test]
async fn asks_that_a_full_socket_does_not_take_come_whole_and_in_order() {
    const FIRST: usize = 30;
    let client = SignerClient::new();
    let (mut signer, served) = connect(&client);
    client.watch().wait_for(|state| matches!(state, SignerState::Ready(_))).await.unwrap();
    let ask = |n: usize| {
        let context = Context {
            request_id: "request".parse().unwrap(),
            caller: format!("client-{n}").parse().unwrap(),
            method: AuthMethod::ClientSecretBasic,
            peer: None,
        };
        // The first is larger than what the system takes at once, as are the others together: some are sent in part.
        let rule = "r".repeat(if n == 0 { 400_000 } else { 100_000 });
        let (client, ask) = (client.clone(), Ask::Refusal(RefusalAsk { context, rule, jti: None }));
        async move { client.ask(ask).await }
    };
    let mut asked: Vec<_> = (0..FIRST).map(|n| tokio::spawn(ask(n))).collect();
    until(|| client.open().writing && client.open().out.is_empty()).await;
    // There is space now, and the task that writes, in the middle of a frame, has not heard of it when the next one asks.
    let mut bytes = vec![0; 150_000];
    signer.read_exact(&mut bytes).unwrap();
    let mut late = Box::pin(ask(FIRST));
    tokio::select! {
        biased;
        _ = &mut late => panic!("nobody has answered"),
        () = std::future::ready(()) => {}
    }
    asked.push(tokio::spawn(late));
    let reads = std::thread::spawn(move || {
        for n in 0..=FIRST {
            let request: Request = frame::read_one((&mut bytes.as_slice()).chain(&signer)).unwrap();
            let read = bytes.len().min(4 + serde_json::to_vec(&request).unwrap().len());
            bytes.drain(..read);
            let caller = request.ask.context().unwrap().caller.as_str().to_owned();
            assert_eq!(caller, format!("client-{n}"));
            answer(&signer, request.number, Outcome::Done { body: caller });
        }
        signer
    });
    for (n, asked) in asked.into_iter().enumerate() {
        assert_eq!(asked.await.unwrap().unwrap().into_body(), format!("client-{n}"));
    }
    drop(reads.join().unwrap());
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_is_not_believed_ends_the_connection_and_changes_no_memory() {
    let client = SignerClient::new();
    let (ours, signer) = UnixStream::pair().unwrap();
    let published = Arc::new(Published::new(Vec::new(), String::new()).unwrap());
    let served = tokio::spawn({
        let client = client.clone();
        async move {
            let (checkpoints, _) = watch::channel(LogMemory::new("log", "kept".to_owned(), "").unwrap());
            let (_going_on, mut stop) = watch::channel(false);
            let end = client.serve(ours, published, &checkpoints, &mut stop).await;
            (end, checkpoints.borrow().note().to_owned())
        }
    });
    let forged = ShownCheckpoint {
        note: "log\n1\nAAAA\n".to_owned(),
        proof: Vec::new(),
        keys: Vec::new(),
        adopted: None,
    };
    answer(&signer, 0, Outcome::Checkpoint(forged));
    let (end, note) = served.await.unwrap();
    assert!(matches!(end, FrameError::Checkpoint(_)), "{end}");
    assert_eq!(note, "kept");
    let SignerState::Down { reason } = client.state() else { panic!("it is down") };
    assert!(reason.contains("checkpoint is not believed"), "{reason}");
}

/// Waits for what should happen by itself.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..3000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came");
}
