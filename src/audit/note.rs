//! Checkpoints: C2SP `tlog-checkpoint` texts in C2SP `signed-note` envelopes.

mod key;
#[cfg(test)]
mod tests;

pub use key::{KeyError, VerifierKey, ecdsa_der};

use super::tree::Hash;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Purpose, in key records, of the keys that sign checkpoints.
pub const CHECKPOINT_PURPOSE: &str = "audit-checkpoint";

/// The largest note that is read, in bytes.
pub const MAX_NOTE: usize = 1 << 20;

/// The largest number of signature lines that is read.
pub const MAX_SIGNATURES: usize = 100;

/// A checkpoint that was signed, recorded and published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Records that it covers.
    pub size: u64,
    /// Root of the tree over them (RFC 6962).
    pub root: Hash,
    /// The signed note, exact bytes.
    pub note: String,
}

/// What a checkpoint says: the log `origin` had `size` records with the tree hash `root`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the log.
    pub origin: String,
    /// The number of records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// Why a note is no checkpoint that may be believed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum NoteError {
    /// The envelope is not a signed note.
    #[error("the checkpoint is no signed note (C2SP signed-note): {0}")]
    Envelope(&'static str),
    /// The text is not a checkpoint.
    #[error("the note's text is no checkpoint (C2SP tlog-checkpoint): {0}")]
    Text(&'static str),
    /// A line of a known key does not verify.
    #[error("the checkpoint's signature by the key {0} does not verify")]
    Signature(String),
    /// No line belongs to a known key.
    #[error("the checkpoint has no signature by a known key; known: {0}")]
    Unsigned(String),
    /// The text names another log than the keys that signed it.
    #[error(
        "the checkpoint is of the log {found:?}, but no key of that name signed it; signed by {signer:?}"
    )]
    Origin {
        /// The origin line.
        found: String,
        /// The name of a key that did sign.
        signer: String,
    },
}

impl Checkpoint {
    /// The text to sign: three lines, each ended by a newline.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the text of a checkpoint, which says nothing about the key that signed it.
    ///
    /// Extension lines, which are not recommended and which our logs never have, are refused.
    pub fn from_text(text: &str) -> Result<Self, NoteError> {
        let lines = text.strip_suffix('\n').ok_or(NoteError::Text("it does not end with a newline"))?;
        let mut lines = lines.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Text("expected three lines: origin, size, root"));
        };
        if origin.is_empty() {
            return Err(NoteError::Text("the first line, the origin, is empty"));
        }
        let number = size.parse::<u64>().ok().filter(|number| number.to_string() == size);
        let size = number.ok_or(NoteError::Text("the second line, the size, is no decimal number"))?;
        let root = STANDARD.decode(root).ok().and_then(|root| Hash::try_from(root).ok());
        let root = root.ok_or(NoteError::Text("the third line, the root, is no base64 of 32 bytes"))?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// Reads the text of a note without looking at its signatures: for what is believed for other reasons.
    pub fn from_note_unverified(note: &[u8]) -> Result<Self, NoteError> {
        Self::from_text(Envelope::parse(note)?.text)
    }
}

/// A note taken apart.
struct Envelope<'a> {
    /// What was signed, with its last newline.
    text: &'a str,
    lines: Vec<Line<'a>>,
}

/// One signature line.
struct Line<'a> {
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl<'a> Envelope<'a> {
    fn parse(note: &'a [u8]) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::Envelope("it is longer than 1 MiB"));
        }
        let note = str::from_utf8(note).map_err(|_| NoteError::Envelope("it is not UTF-8"))?;
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(NoteError::Envelope("it contains a control character"));
        }
        let cut = note.rfind("\n\n").ok_or(NoteError::Envelope("no empty line before the signatures"))?;
        let (text, signatures) = note.split_at(cut + 1);
        let signatures = signatures
            .strip_prefix('\n')
            .and_then(|lines| lines.strip_suffix('\n'))
            .ok_or(NoteError::Envelope("the last signature line does not end with a newline"))?;
        let mut lines = Vec::new();
        for line in signatures.split('\n') {
            if lines.len() == MAX_SIGNATURES {
                return Err(NoteError::Envelope("it has more than 100 signature lines"));
            }
            lines.push(Line::parse(line).ok_or(NoteError::Envelope(
                "a signature line is not of the form em dash, space, name, space, base64",
            ))?);
        }
        Ok(Self { text, lines })
    }
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        if !key::is_name(name) {
            return None;
        }
        let bytes = STANDARD.decode(signature).ok()?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name, id: *id, signature: signature.to_vec() })
    }
}

impl VerifierKey {
    /// Reads a checkpoint that at least one of `keys` signed under the name of the checkpoint's own origin.
    ///
    /// Lines of unknown keys are ignored; a line of a known key that does not verify is an error, however many others
    /// do (C2SP `signed-note`, Signatures).
    pub fn open(keys: &[Self], note: &[u8]) -> Result<Checkpoint, NoteError> {
        let envelope = Envelope::parse(note)?;
        let mut signers = Vec::new();
        for line in &envelope.lines {
            for key in keys.iter().filter(|key| key.name() == line.name && key.id() == line.id) {
                if !key.verify(envelope.text.as_bytes(), &line.signature) {
                    return Err(NoteError::Signature(key.label()));
                }
                signers.push(key);
            }
        }
        let Some(first) = signers.first() else {
            let known = keys.iter().map(Self::label).collect::<Vec<_>>().join(", ");
            return Err(NoteError::Unsigned(known));
        };
        let checkpoint = Checkpoint::from_text(envelope.text)?;
        if !signers.iter().any(|key| key.name() == checkpoint.origin) {
            return Err(NoteError::Origin { found: checkpoint.origin, signer: first.name().to_owned() });
        }
        Ok(checkpoint)
    }
}
