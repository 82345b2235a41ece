//! What verification takes from one record.

use super::{Finding, Kind};
use crate::audit::RecordView;
use crate::audit::tree::Hash;
use crate::clock::Timestamp;

/// The members of a record that verification needs.
pub(super) struct Facts {
    pub(super) sequence: u64,
    pub(super) prev: Hash,
    pub(super) time: Timestamp,
    pub(super) event: String,
    pub(super) kid: Option<String>,
    pub(super) alg: Option<String>,
    pub(super) purpose: Option<String>,
    /// Base64; only in key records.
    pub(super) spki: Option<String>,
    /// SHA-256 of the released answer or token.
    pub(super) released: Option<Hash>,
    pub(super) checkpoint: Option<(u64, Hash)>,
    /// Digests of the gateway's and the signer's configuration, if the record has both.
    pub(super) configurations: Option<(Hash, Hash)>,
}

impl Facts {
    /// Reads a record of the log `origin`.
    pub(super) fn read(record: &[u8], origin: &str) -> Result<Self, Finding> {
        let malformed = |why: String| Finding::new(Kind::RecordMalformed, why);
        let view = RecordView::parse(record).map_err(|why| malformed(why.to_string()))?;
        if view.origin != origin {
            let message = format!("expected a record of the log {origin:?}, found one of {:?}", view.origin);
            return Err(Finding::new(Kind::OriginMismatch, message));
        }
        let time = Timestamp::parse(&view.time).ok_or_else(|| {
            malformed(format!("the time {:?} is not RFC 3339 in UTC with nine digits", view.time))
        })?;
        Ok(Self {
            sequence: view.seq,
            prev: view.prev.0,
            time,
            event: view.event.into_owned(),
            kid: view.kid.map(Into::into),
            alg: view.alg.map(Into::into),
            purpose: view.purpose.map(Into::into),
            spki: view.spki.map(Into::into),
            released: view.sha256.map(|digest| digest.0),
            configurations: view.config_sha256.zip(view.signer_config_sha256).map(|(g, s)| (g.0, s.0)),
            checkpoint: view.checkpoint.map(|checkpoint| (checkpoint.size, checkpoint.root.0)),
        })
    }

    /// SHA-256 of the released answer or token, if any.
    pub(super) const fn released(&self) -> Option<&Hash> {
        self.released.as_ref()
    }
}
