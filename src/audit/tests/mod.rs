//! The whole log, on real files.

mod commits;
mod copies;
mod crash;
mod faults;
mod life;
mod space;

use super::note::VerifierKey;
use super::*;
use crate::audit::disk::frame::Frame;
use crate::audit::read::reader::{Found, ReadError, Reader};
use crate::clock::{Raw, TimeSource, Timestamp};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

const ORIGIN: &str = "as.example/audit/node-a";

/// A log in a directory of its own, with a checkpoint key in memory.
struct Bench {
    dir: tempfile::TempDir,
    key: Arc<EcdsaKeyPair>,
    /// Whether the checkpoint key signs.
    signing: Arc<AtomicBool>,
    /// Size of the last checkpoint that was signed.
    signed: Arc<AtomicU64>,
    /// Held, it keeps the log thread after its next batch of tickets.
    gate: Arc<Mutex<()>>,
}

/// An open log with everything that its handlers told.
struct Opened {
    log: Log<u64>,
    recovery: Recovery,
    durable: Receiver<(u64, Receipt)>,
    failed: Receiver<String>,
}

impl Bench {
    /// A log with one first record.
    fn new() -> Self {
        Self::made_by(TimeSource::system())
    }

    /// The same in another time, given in seconds.
    fn new_at(seconds: i64) -> Self {
        Self::made_by(TimeSource::of("boot", move || Raw { wall: seconds * 1_000_000_000, boot: 0 }))
    }

    fn made_by(sources: TimeSource) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let bench = Self {
            dir: directory(),
            key: Arc::new(key),
            signing: Arc::new(AtomicBool::new(true)),
            signed: Arc::default(),
            gate: Arc::default(),
        };
        let settings = LogSettings { sources, ..bench.settings() };
        let _ =
            create(NewLog::prepare(settings).unwrap(), &[plain(Event::LogCreated)], bench.sign()).unwrap();
        bench
    }

    fn settings(&self) -> LogSettings {
        LogSettings {
            directory: self.dir.path().join("audit"),
            origin: ORIGIN.to_owned(),
            node: "node-a".to_owned(),
            segment_bytes: SEGMENT_MIN,
            sources: TimeSource::system(),
        }
    }

    /// The record of the key of checkpoints.
    fn key_record(&self) -> Entry {
        let spki = STANDARD.encode(self.verifier().spki());
        let draft = Draft {
            purpose: Some(note::CHECKPOINT_PURPOSE),
            spki: Some(&spki),
            ..Draft::new(Event::KeyActivated, Outcome::Success)
        };
        Entry::plain(&draft).unwrap()
    }

    fn verifier(&self) -> VerifierKey {
        VerifierKey::p256(ORIGIN, self.key.public_key().as_der().unwrap().as_ref()).unwrap()
    }

    fn keys(&self) -> Vec<VerifierKey> {
        vec![self.verifier()]
    }

    fn sign(&self) -> SignCheckpoint {
        let (key, verifier) = (Arc::clone(&self.key), self.verifier());
        let (signing, signed) = (Arc::clone(&self.signing), Arc::clone(&self.signed));
        Box::new(move |text| {
            if !signing.load(Ordering::SeqCst) {
                return Err("the token is away".to_owned());
            }
            let size = text.lines().nth(1).unwrap().parse().unwrap();
            let before = signed.swap(size, Ordering::SeqCst);
            assert!(before <= size, "a checkpoint over {size} records after one over {before}");
            let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
            Ok(verifier.signature_line(signature.as_ref()))
        })
    }

    fn try_open(&self) -> Result<Opened, OpenError> {
        let ((tell, durable), (fail, failed)) = (channel(), channel());
        let gate = Arc::clone(&self.gate);
        let handlers = Handlers {
            on_durable: Box::new(move |batch| {
                batch.drain(..).for_each(|x| drop(tell.send(x)));
                drop(gate.lock());
            }),
            on_failure: Box::new(move |e| drop(fail.send(e.to_string()))),
        };
        let (log, recovery) =
            Log::open(LogLock::take(self.settings())?, &self.keys(), self.sign(), handlers)?;
        log.sign_checkpoints(Continuity::created());
        Ok(Opened { log, recovery, durable, failed })
    }

    fn open(&self) -> Opened {
        self.try_open().unwrap()
    }

    /// How the log stands to a checkpoint of this size and root, which its key signed.
    fn compare(&self, opened: &Opened, size: u64, root: tree::Hash) -> Result<(), NotExtended> {
        let text = note::Checkpoint { origin: ORIGIN.to_owned(), size, root }.text();
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        let note = format!("{text}\n{}", self.verifier().signature_line(signature.as_ref()));
        opened.log.compare(note.as_bytes()).map(drop)
    }

    /// Reads and repairs as opening does, without starting anything.
    fn recover(&self) -> Result<read::recovery::Recovered, OpenError> {
        read::recovery::recover(&self.settings(), &self.keys(), u64::MAX)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.settings().directory.join(name)
    }

    /// The segments, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        disk::segment::list(&self.path("segments")).unwrap().into_iter().map(|(_, path)| path).collect()
    }

    fn records(&self) -> Vec<(u64, String)> {
        let frames = self.segments().iter().flat_map(|s| frames(s)).collect::<Vec<_>>();
        frames.into_iter().map(|f| (f.seq, f.record)).collect()
    }

    fn events(&self) -> Vec<String> {
        let events = |(_, r): (u64, String)| RecordView::parse(r.as_bytes()).unwrap().event.into_owned();
        self.records().into_iter().map(events).collect()
    }
}

impl Opened {
    fn append(&self, ticket: u64, entry: Entry) -> Result<(), Full> {
        let reservation = self.log.reserve(entry.size())?;
        let mut entries = Entries::default();
        entries.push(reservation, entry, ticket).unwrap();
        self.log.hand_over(entries);
        Ok(())
    }

    /// Small segments fill sooner than the next is prepared.
    fn append_when_there_is_room(&self, ticket: u64, entry: impl Fn() -> Entry) {
        while self.append(ticket, entry()).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// In memory where there is such a place: the tests cut and change files thousands of times.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn plain(event: Event) -> Entry {
    Entry::plain(&Draft::new(event, Outcome::Success)).unwrap()
}

/// An answer with a digest and a payload of `length` bytes.
fn answer(digest: u8, length: usize) -> Entry {
    let draft = Draft { kid: Some("k"), ..Draft::new(Event::Signed, Outcome::Success) }.encode().unwrap();
    Entry::of_jws(draft, JwsDigest::of_verified(&digest.to_string()), Payload::clear(vec![digest; length]))
}

/// One frame and where it lies.
struct FrameAt {
    seq: u64,
    begin: u64,
    end: u64,
    record: String,
}

fn frames(segment: &Path) -> Vec<FrameAt> {
    let mut found = Vec::new();
    let mut reader = Reader::open(segment).unwrap();
    let mut each = |f: Frame<'_>, begin: u64| {
        let length = disk::frame::FRAME_HEADER + f.record.len() + f.payload.len();
        let record = String::from_utf8(f.record.to_vec()).unwrap();
        found.push(FrameAt { seq: f.seq, begin, end: begin + length as u64, record });
        Ok(())
    };
    while matches!(reader.next::<ReadError>(&mut each).unwrap(), Found::Batch) {}
    found
}
