//! The gateway's side against a signer that the test plays.

use super::super::message::{Ask, Outcome, Request, Response};
use super::*;
use std::io::Read;
use std::net::Shutdown;

fn connect(client: &SignerClient) -> (UnixStream, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let published = Arc::new(Published::new(Vec::new(), String::new()).unwrap());
    let client = client.clone();
    let served = tokio::spawn(async move {
        let (checkpoints, _) = watch::channel(String::new());
        let (_going_on, mut stop) = watch::channel(false);
        drop(client.serve(ours, published, &checkpoints, &mut stop).await);
    });
    (theirs, served)
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
    frame::write_one(&signer, &Response { number: request.number, outcome }).unwrap();
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
