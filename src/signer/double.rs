//! A signer for the tests of the gateway, without token, disk and log. It keeps the contract of the real one: the same
//! frames over a real socket, the same handshake, the same rules and content, one answer a number, and the end of the
//! connection at what is no request. Its keys are in memory, and it records nothing.
//!
//! `signer::tests` has one exchange with both and compares what they say.

use super::content::{
    AccessTokenClaims, Introspection, IntrospectionClaims, SigningInput, Typ, encoded_header,
};
use super::rules;
use crate::audit::note::{Checkpoint, VerifierKey, ecdsa_der};
use crate::claims::{AnswerFormat, NumericDate, Purpose};
use crate::clock;
use crate::config::Config;
use crate::door::frame::{self, FrameError};
use crate::door::message::{
    Ask, Documents, Hello, Outcome, PROTOCOL_VERSION, PublishedKey, Request, Response, SignerStatus, Welcome,
};
use crate::jose::testing::TestKey;
use crate::jose::{Algorithm, base64url};
use crate::memory::ShownCheckpoint;
use crate::sha256::sha256;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Each is answered.
    Answers,
    /// Each is told that nothing can be signed now.
    Unavailable,
    /// None is answered.
    Hangs,
    /// The connection ends in the middle of the next answer; those after it are answered.
    BreaksOff,
}

/// A signer with keys in memory: one for ES256 of each purpose.
pub(crate) struct Double {
    config: Arc<Config>,
    introspection: TestKey,
    access_token: TestKey,
    checkpoint: ShownCheckpoint,
    mood: Mutex<Mood>,
}

impl Double {
    /// By this configuration.
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let [introspection, access_token, log] = [(); 3].map(|()| TestKey::new(Algorithm::ES256));
        let origin = &config.audit.origin;
        let verifier = VerifierKey::p256(origin, log.public().spki()).unwrap();
        let text = Checkpoint { origin: origin.clone(), size: 1, root: sha256(b"\0a record") }.text();
        let signature = ecdsa_der(&log.signature(text.as_bytes())).unwrap();
        let checkpoint = ShownCheckpoint {
            note: format!("{text}\n{}", verifier.signature_line(&signature)),
            proof: Vec::new(),
            keys: vec![verifier.to_string()],
            adopted: None,
        };
        Self { config, introspection, access_token, checkpoint, mood: Mutex::new(Mood::Answers) }
    }

    /// What it does with the next ask.
    pub(crate) fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Serves every gateway that comes to a new socket at `path`, as long as the process runs.
    pub(crate) fn listen(self: &Arc<Self>, path: &Path) {
        let (listener, double) = (UnixListener::bind(path).unwrap(), Arc::clone(self));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // One gateway at a time; how it goes is for the gateway to say.
                drop(double.serve(&stream.unwrap()));
            }
        });
    }

    /// Serves one gateway until its connection ends.
    pub(crate) fn serve(&self, stream: &UnixStream) -> Result<(), FrameError> {
        let welcome = self.welcome(&frame::read_one(stream)?);
        frame::write_one(stream, &welcome)?;
        if !matches!(welcome, Welcome::Accepted { .. }) {
            return Ok(());
        }
        let (end, ended) = channel::<()>();
        let line = &Mutex::new(stream);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let status = Response { number: 0, outcome: Outcome::Status(SignerStatus::default()) };
                while send(line, &status, 1).is_ok()
                    && ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout)
                {
                }
            });
            let outcome = self.answer(stream, line);
            drop(end);
            outcome
        })
    }

    fn answer(&self, stream: &UnixStream, line: &Mutex<&UnixStream>) -> Result<(), FrameError> {
        loop {
            let Request { number, ask } = frame::read_one(stream)?;
            let mood = *self.mood.lock().unwrap();
            let outcome = match mood {
                Mood::Unavailable => Outcome::Unavailable { reason: "the token is away".to_owned() },
                Mood::Answers | Mood::Hangs | Mood::BreaksOff => self.outcome(&ask),
            };
            let answer = Response { number, outcome };
            match mood {
                Mood::Answers | Mood::Unavailable => send(line, &answer, 1)?,
                Mood::Hangs => {}
                Mood::BreaksOff => {
                    self.is(Mood::Answers);
                    return send(line, &answer, 2);
                }
            }
        }
    }

    fn welcome(&self, hello: &Hello) -> Welcome {
        let rules = self.config.rules();
        if hello.version != PROTOCOL_VERSION {
            return Welcome::Refused { reason: format!("the signer speaks version {PROTOCOL_VERSION}") };
        }
        if hello.rules != rules {
            return Welcome::OtherRules { rules };
        }
        if hello.checkpoint.as_ref().is_some_and(|known| *known != self.checkpoint.note) {
            return Welcome::Refused { reason: "the gateway remembers another log".to_owned() };
        }
        let published = |purpose, key: &TestKey| PublishedKey { purpose, jwk: key.public().jwk().clone() };
        Welcome::Accepted {
            documents: Documents {
                keys: vec![
                    published(Purpose::Introspection, &self.introspection),
                    published(Purpose::AccessToken, &self.access_token),
                ],
                signed_metadata: String::new(),
            },
            checkpoint: self.checkpoint.clone(),
        }
    }

    fn outcome(&self, ask: &Ask) -> Outcome {
        let (config, now) = (&*self.config, NumericDate(clock::wall_unchecked().unix_seconds()));
        let done = match ask {
            Ask::Introspection(ask) => rules::introspection(config, ask, now).map(|rs| match ask.format {
                AnswerFormat::Json => {
                    serde_json::to_string(&Introspection::new(&config.issuer, rs, ask)).unwrap()
                }
                AnswerFormat::Jwt => {
                    let jti = rs.response_jti.then(|| base64url(crate::random::bytes::<16>()));
                    let claims = IntrospectionClaims::new(&config.issuer, rs, ask, jti.as_deref());
                    assert_eq!(rs.introspection_alg, Algorithm::ES256, "the double has no other key");
                    signed(&self.introspection, Typ::Introspection, &claims)
                }
            }),
            Ask::Token(ask) if ask.opaque.is_some() => {
                rules::opaque_token(config, ask, now).map(|()| String::new())
            }
            Ask::Token(ask) => rules::access_token(config, ask, now).map(|rs| {
                assert_eq!(rs.access_token_alg, Algorithm::ES256, "the double has no other key");
                let claims = AccessTokenClaims::new(&config.issuer, rs, ask);
                signed(&self.access_token, Typ::AccessToken, &claims)
            }),
            Ask::Revocation(ask) => rules::client(config, &ask.context).map(|_| String::new()),
            Ask::Refusal(ask) => rules::known_caller(config, &ask.context.caller).map(|()| String::new()),
            Ask::Configuration(_) | Ask::SelfTest => Ok(String::new()),
        };
        match done {
            Ok(body) => Outcome::Done { body },
            Err(reason) => Outcome::Forbidden { reason },
        }
    }
}

/// Sends one answer, or only the first of so many parts of it.
fn send(line: &Mutex<&UnixStream>, answer: &Response, parts: usize) -> Result<(), FrameError> {
    let mut bytes = Vec::new();
    frame::append_answer(&mut bytes, answer)?;
    Ok(line.lock().unwrap().write_all(&bytes[..bytes.len() / parts])?)
}

fn signed(key: &TestKey, typ: Typ, claims: &impl serde::Serialize) -> String {
    let input = SigningInput::new(&encoded_header(typ, &key.public()), claims).unwrap();
    let signature = key.signature(input.as_bytes());
    input.with_signature(&signature)
}
