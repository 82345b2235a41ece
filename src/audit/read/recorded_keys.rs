//! The keys that the log's own records name: what the signer knows of a key that its token lacks.

use crate::audit::record::event::Event;
use crate::audit::record::view::RecordView;

/// A key as the log tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedKey {
    /// `CKA_LABEL`.
    pub label: String,
    /// `SubjectPublicKeyInfo` in DER.
    pub spki: Vec<u8>,
    /// When it was first activated (RFC 3339), among the records that were read; `None` if it was not.
    pub activated: Option<String>,
}

/// Each key once, in the order in which they were last held. Where a label was given to two keys, both stand here, and the
/// last one had it last.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedKeys(Vec<RecordedKey>);

impl RecordedKeys {
    /// Takes note of a record with the public half of a key.
    pub(in crate::audit) fn see(&mut self, view: &RecordView<'_>, spki: Vec<u8>) {
        let Some(label) = view.key_label.as_deref() else { return };
        let before = self.0.iter().position(|key| key.label == label && key.spki == spki);
        if before.is_some() && Event::KeyRemembered.is(&view.event) {
            return;
        }
        let activated = Event::KeyActivated.is(&view.event).then(|| view.time.to_string());
        let key = match before.map(|place| self.0.remove(place)) {
            Some(key) => RecordedKey { activated: key.activated.or(activated), ..key },
            None => RecordedKey { label: label.to_owned(), spki, activated },
        };
        self.0.push(key);
    }

    /// All of them.
    pub(super) fn into_vec(self) -> Vec<RecordedKey> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(keys: &mut RecordedKeys, event: &str, time: &str, label: &str, spki: &[u8]) {
        let zeros = "0".repeat(64);
        let record = format!(
            r#"{{"v":2,"origin":"o","seq":0,"prev":"{zeros}","time":"{time}","mono":1,"node":"n","boot":"b",
            "event":"{event}","outcome":"success","key_label":"{label}"}}"#
        );
        keys.see(&RecordView::parse(record.as_bytes()).unwrap(), spki.to_vec());
    }

    #[test]
    fn a_key_stands_once_with_its_first_activation_and_the_last_one_that_was_held_stands_last() {
        let mut keys = RecordedKeys::default();
        for (event, time, label, spki) in [
            ("key-found", "t0", "a-es256-1", b"A"),
            ("key-activated", "t1", "a-es256-1", b"A"),
            ("key-activated", "t2", "a-es256-1", b"B"),
            ("key-activated", "t3", "a-es256-1", b"A"),
            ("key-remembered", "t4", "a-es256-1", b"B"),
            ("key-remembered", "t5", "a-es256-2", b"C"),
        ] {
            see(&mut keys, event, time, label, spki);
        }
        let found: Vec<_> = keys.into_vec().into_iter().map(|key| (key.spki, key.activated)).collect();
        let time = |text: &str| Some(text.to_owned());
        assert_eq!(found, [(b"B".to_vec(), time("t2")), (b"A".to_vec(), time("t1")), (b"C".to_vec(), None)]);
    }
}
