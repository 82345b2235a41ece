//! The client against a signer that the test simulates.

use super::super::frame::FrameError;
use super::super::message::{Ask, Context, Documents, Outcome, PublishedKey, Request, Response, TokenAsk};
use super::*;
use crate::claims::{Grant, NumericDate, Origin, Resource};
use crate::config::AuthMethod;
use crate::jose::Algorithm;
use crate::jose::testing::TestKey;
use crate::memory::{LogMemory, ShownCheckpoint};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// Later than any test ends.
fn due() -> Instant {
    Instant::now() + Duration::from_secs(300)
}

/// A client that does not wait for a signer.
fn hasty() -> SignerClient {
    SignerClient::new(Duration::ZERO)
}

fn documents(keys: &[&TestKey]) -> Documents {
    let key =
        |key: &&TestKey| PublishedKey { purpose: Purpose::AccessToken, jwk: key.public().jwk().clone() };
    Documents { keys: keys.iter().map(key).collect(), signed_metadata: String::new() }
}

fn published(keys: &[&TestKey]) -> Arc<Published> {
    Published::new(documents(keys)).unwrap()
}

fn connect(client: &SignerClient) -> (UnixStream, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let published = published(&[]);
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
async fn a_signer_that_reads_no_more_still_answers_the_asks_that_it_has_read() {
    let client = hasty();
    let (signer, served) = connect(&client);
    let mut up = client.watch();
    up.wait_for(|state| matches!(state, SignerState::Ready(_))).await.unwrap();
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.ask(&Ask::SelfTest, due()).await }
    });
    let request: Request = frame::read_one(&signer).unwrap();
    signer.shutdown(Shutdown::Read).unwrap();
    // This ask cannot be written any more.
    let second = tokio::spawn({
        let client = client.clone();
        async move { client.ask(&Ask::SelfTest, due()).await }
    });
    up.wait_for(|state| matches!(state, SignerState::Down { .. })).await.unwrap();
    assert!(client.ask(&Ask::SelfTest, due()).await.is_err(), "refused at once");
    let outcome = Outcome::Done { body: "late".to_owned() };
    answer(&signer, request.number, outcome);
    assert_eq!(first.await.unwrap().unwrap().into_body(), "late");
    drop(signer);
    assert!(second.await.unwrap().is_err());
    served.await.unwrap();
}

#[tokio::test]
async fn asks_for_a_signer_that_does_not_read_fail_instead_of_piling_up() {
    let client = hasty();
    client.channel().up = true;
    client.channel().out = vec![0; MAX_OUT + 1];
    assert!(matches!(client.ask(&Ask::SelfTest, due()).await, Err(AskError::Unavailable { .. })));
    assert!(client.channel().waiting.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_ends_fails_every_waiter() {
    let client = hasty();
    let (mut signer, served) = connect(&client);
    client.watch().wait_for(|state| matches!(state, SignerState::Ready(_))).await.unwrap();
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.ask(&Ask::SelfTest, due()).await }
    });
    let mut head = [0; 4];
    signer.read_exact(&mut head).unwrap();
    drop(signer);
    assert!(asked.await.unwrap().is_err());
    served.await.unwrap();
}

/// On one thread, so that the test controls the writing task.
#[tokio::test]
async fn asks_arrive_complete_and_in_order_over_a_full_socket() {
    const FIRST: usize = 30;
    let client = hasty();
    let (mut signer, served) = connect(&client);
    client.watch().wait_for(|state| matches!(state, SignerState::Ready(_))).await.unwrap();
    let ask = |n: usize| {
        let context = Context {
            request_id: "request".parse().unwrap(),
            caller: format!("client-{n}").parse().unwrap(),
            method: AuthMethod::ClientSecretBasic,
            peer: None,
        };
        // The first is larger than the socket's buffer, as are the others together: some are sent in part.
        let (client, ask) = (client.clone(), large(context, if n == 0 { 400_000 } else { 100_000 }));
        async move { client.ask(&ask, due()).await }
    };
    let mut asked: Vec<_> = (0..FIRST).map(|n| tokio::spawn(ask(n))).collect();
    until(|| client.channel().writing && client.channel().out.is_empty()).await;
    // The buffer has space now, but the writing task, in the middle of a frame, has not run yet when the next ask
    // comes.
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
async fn a_refused_checkpoint_ends_the_connection_and_changes_no_memory() {
    let client = hasty();
    let (ours, signer) = UnixStream::pair().unwrap();
    let published = published(&[]);
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
    let SignerState::Down(Outage { reason, .. }) = client.state() else { panic!("it is down") };
    assert!(reason.contains("checkpoint is not believed"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_the_signer_sends_later_replace_those_of_the_handshake() {
    let client = hasty();
    let (signer, served) = connect(&client);
    let mut state = client.watch();
    let (old, new) = (TestKey::new(Algorithm::ES256), TestKey::new(Algorithm::ES256));
    for keys in [&[&old][..], &[&old, &new]] {
        answer(&signer, 0, Outcome::Documents(documents(keys)));
        let shown = |state: &SignerState| match state {
            SignerState::Ready(published) => published.documents == documents(keys),
            SignerState::Down(_) => false,
        };
        state.wait_for(shown).await.unwrap();
    }
    let own = client.ready(due()).await.unwrap();
    let known: Vec<&str> = own.access_token_keys.iter().map(PublicKey::kid).collect();
    assert_eq!(known, [old.public().kid(), new.public().kid()], "tokens of both generations are ours");
    // A list that cannot be read ends the connection; nothing is published of it.
    let mut unreadable = documents(&[&old]);
    unreadable.keys[0].jwk.x = None;
    answer(&signer, 0, Outcome::Documents(unreadable));
    served.await.unwrap();
    let SignerState::Down(Outage { reason, .. }) = client.state() else { panic!("it is down") };
    assert!(reason.contains("a key of the signer"), "{reason}");
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..3000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came");
}

fn refusal() -> Ask {
    let context = Context {
        request_id: "request".parse().unwrap(),
        caller: "shop".parse().unwrap(),
        method: AuthMethod::ClientSecretBasic,
        peer: None,
    };
    large(context, 400_000)
}

/// An ask of at least so many bytes that is not repeated.
fn large(context: Context, bytes: usize) -> Ask {
    let resource: Resource = format!("https://rs.example/{}", "r".repeat(981)).parse().unwrap();
    let mut grant = Grant::new("shop".parse().unwrap(), "shop".parse().unwrap(), Origin::OwnRight);
    grant.audience = vec![resource; bytes / 1000];
    let (jti, date) = ("t-1".parse().unwrap(), NumericDate(0));
    Ask::Token(TokenAsk { context, opaque: None, jti, iat: date, exp: date, grant })
}

/// Sends an ask from a task of its own.
fn asked(client: &SignerClient, ask: Ask) -> tokio::task::JoinHandle<Result<Recorded, AskError>> {
    let client = client.clone();
    tokio::spawn(async move { client.ask(&ask, due()).await })
}

/// Reads one ask outside the runtime, and answers it.
async fn answered(signer: &UnixStream, body: &str) {
    let stream = signer.try_clone().unwrap();
    let request: Request =
        tokio::task::spawn_blocking(move || frame::read_one(&stream).unwrap()).await.unwrap();
    answer(signer, request.number, Outcome::Done { body: body.to_owned() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incompletely_sent_ask_of_any_type_is_sent_again() {
    let client = SignerClient::new(Duration::from_secs(300));
    let (signer, served) = connect(&client);
    // The socket takes a part of it: no signer can have read it.
    let waits = asked(&client, refusal());
    until(|| client.channel().writing).await;
    drop(signer);
    served.await.unwrap();
    let (signer, served) = connect(&client);
    answered(&signer, "at last").await;
    assert_eq!(waits.await.unwrap().unwrap().into_body(), "at last");
    drop(signer);
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ask_that_was_sent_is_asked_once_more_if_a_second_record_does_no_harm_and_only_once() {
    for (ask, more) in [(Ask::SelfTest, 1), (refusal(), 0)] {
        assert_eq!(ask.may_repeat(), more == 1);
        let client = SignerClient::new(Duration::from_secs(300));
        let waits = asked(&client, ask);
        for _ in 0..=more {
            let (signer, served) = connect(&client);
            let stream = signer.try_clone().unwrap();
            let read = tokio::task::spawn_blocking(move || frame::read_one::<Request>(&stream).unwrap());
            read.await.unwrap();
            drop(signer);
            served.await.unwrap();
        }
        assert!(matches!(waits.await.unwrap(), Err(AskError::Unavailable { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asks_wait_for_a_signer_that_is_away_unless_it_takes_too_long_or_waiting_does_not_help() {
    let client = SignerClient::new(Duration::from_secs(300));
    let waits = asked(&client, Ask::SelfTest);
    tokio::task::yield_now().await;
    let (signer, served) = connect(&client);
    answered(&signer, "welcome").await;
    assert_eq!(waits.await.unwrap().unwrap().into_body(), "welcome");
    drop(signer);
    served.await.unwrap();
    // An operator has to act: waiting asks fail at once.
    let waits = asked(&client, Ask::SelfTest);
    tokio::task::yield_now().await;
    client.away("the PIN was refused", true);
    assert!(waits.await.unwrap().unwrap_err().to_string().contains("the PIN was refused"));
    // The ask's own time is over.
    client.away("being restarted", false);
    let soon = Instant::now() + Duration::from_millis(20);
    assert!(client.ask(&Ask::SelfTest, soon).await.is_err());
    assert!(hasty().ask(&Ask::SelfTest, due()).await.is_err(), "nobody is waited for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_signer_makes_the_next_ask_look_late() {
    let client = hasty();
    let (signer, served) = connect(&client);
    client.watch().wait_for(|state| matches!(state, SignerState::Ready(_))).await.unwrap();
    for _ in 0..4 {
        let waits = asked(&client, Ask::SelfTest);
        until(|| !client.channel().waiting.is_empty()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        answered(&signer, "").await;
        waits.await.unwrap().unwrap();
    }
    assert_eq!(client.likely_time(), Duration::ZERO, "behind none");
    let wait = asked(&client, Ask::SelfTest);
    until(|| !client.channel().waiting.is_empty()).await;
    assert!(client.likely_time() >= Duration::from_millis(100));
    drop(signer);
    served.await.unwrap();
    assert!(wait.await.unwrap().is_err());
}
