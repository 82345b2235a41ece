//! Writes records into the active segment: the state that only one thread may have.

use crate::audit::disk::frame::{self, BATCH_HEADER, BATCH_MAX, BatchHeader, FRAME_HEADER};
use crate::audit::disk::header::{Header, Remains};
use crate::audit::disk::segment::{Active, Prepared};
use crate::audit::error::FileError;
use crate::audit::record::encoding::{HEAD_MAX, Head, HeadForm, Times};
use crate::audit::record::entry::{Covered, Entry};
use crate::audit::settings::LogSettings;
use crate::audit::tree::{Edge, Hash, leaf_hash};
use crate::clock::{Clock, Mark, Timestamp};
use crate::random;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where the log stands: what the next record, batch and segment follow.
pub(in crate::audit) struct Place {
    /// The tree over all records so far.
    pub(in crate::audit) edge: Edge,
    /// Leaf hash of the last record.
    pub(in crate::audit) prev: Hash,
    /// Time of the last record.
    pub(in crate::audit) time: Timestamp,
    /// What the last record tells of the clock.
    pub(in crate::audit) mark: Option<Mark>,
    /// Number of the next batch.
    pub(in crate::audit) batch: u64,
}

impl Place {
    /// Before the first record.
    pub(in crate::audit) const fn start() -> Self {
        Self { edge: Edge::new(), prev: [0; 32], time: Timestamp::from_unix_nanos(0), mark: None, batch: 0 }
    }

    /// A header for the segment of `bytes` bytes, in blocks of `block`, that begins here.
    pub(in crate::audit) fn header(
        &self,
        origin: &str,
        index: u64,
        bytes: u64,
        block: u64,
        remains: Option<Remains>,
    ) -> Header {
        Header {
            origin: origin.to_owned(),
            bytes,
            index,
            batch: self.batch,
            block,
            remains,
            id: random::bytes(),
            prev: self.prev,
            edge: self.edge.clone(),
        }
    }
}

/// Gathers records into a batch and appends it to the active segment.
pub(in crate::audit) struct Pen {
    origin: String,
    directory: PathBuf,
    segment: Active,
    form: HeadForm,
    times: Times,
    edge: Edge,
    prev: Hash,
    batch: u64,
    /// The batch that is being gathered: room for its header, then frames.
    buffer: Vec<u8>,
    /// Where its records lie in the buffer.
    records: Vec<Range<usize>>,
    /// One record before its frame is known.
    record: Vec<u8>,
}

impl Pen {
    /// `segment` is the active one, in `directory`, and ends where `place` is.
    pub(in crate::audit) fn new(
        settings: &LogSettings,
        clock: Clock,
        directory: &Path,
        segment: Active,
        place: Place,
    ) -> Self {
        let mut pen = Self {
            origin: settings.origin.clone(),
            directory: directory.to_path_buf(),
            segment,
            form: HeadForm::new(&settings.origin, &settings.node, settings.sources.boot_id()),
            times: Times::new(clock, place.time),
            edge: place.edge,
            prev: place.prev,
            batch: place.batch,
            buffer: Vec::new(),
            records: Vec::new(),
            record: Vec::with_capacity(HEAD_MAX),
        };
        pen.begin();
        pen
    }

    /// Reads the clock for the records that follow.
    pub(in crate::audit) fn tick(&mut self) {
        self.times.advance();
    }

    /// Whether the batch that is being gathered can take the entry as well.
    pub(in crate::audit) fn fits(&self, entry: &Entry) -> bool {
        let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        let after = self.buffer.len().saturating_add(FRAME_HEADER).saturating_add(size);
        after <= BATCH_MAX && (after as u64).next_multiple_of(self.segment.block()) <= self.segment.left()
    }

    /// Adds a record to the batch and returns its sequence. Nothing is written yet; the entry must fit.
    pub(in crate::audit) fn put(&mut self, entry: &Entry) -> u64 {
        let seq = self.edge.size();
        let sha256 = match &entry.covers {
            Some(Covered::Jws(digest)) => Some(digest.as_bytes()),
            _ => None,
        };
        let head = Head {
            seq,
            prev: &self.prev,
            time: self.times.text(),
            mono: self.times.mono(),
            aside: self.times.aside(),
            sha256,
        };
        self.record.clear();
        self.form.write(&head, &entry.draft, &mut self.record);
        let payload = &entry.payload;
        // Lengths that fit a batch fit four bytes, so there is always a header.
        let header = frame::write_header(seq, &self.record, &payload.0);
        self.buffer.extend_from_slice(&header.unwrap_or([0; FRAME_HEADER]));
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(&self.record);
        self.records.push(begin..self.buffer.len());
        self.buffer.extend_from_slice(&payload.0);
        self.prev = leaf_hash(&self.record);
        self.edge.push(self.prev);
        seq
    }

    /// Writes the batch and returns when it is durable. After an error nothing may be written any more.
    pub(in crate::audit) fn flush(&mut self) -> Result<(), FileError> {
        let length = self.buffer.len() - BATCH_HEADER;
        let header = BatchHeader {
            number: self.batch,
            first: self.edge.size() - self.records.len() as u64,
            frames: u32::try_from(self.records.len()).unwrap_or(u32::MAX),
            length: u32::try_from(length).unwrap_or(u32::MAX),
            segment: self.segment.id(),
        };
        for (to, from) in self.buffer.iter_mut().zip(header.encode()) {
            *to = from;
        }
        let block = usize::try_from(self.segment.block()).unwrap_or(BATCH_MAX);
        self.buffer.resize(self.buffer.len().next_multiple_of(block), 0);
        self.segment.append(&self.buffer)?;
        self.batch += 1;
        Ok(())
    }

    /// The records of the batch, exact bytes, in order.
    pub(in crate::audit) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().filter_map(|r| self.buffer.get(r.clone()))
    }

    /// How many records the batch has.
    pub(in crate::audit) fn gathered(&self) -> usize {
        self.records.len()
    }

    /// Begins the next batch; what was gathered is forgotten.
    pub(in crate::audit) fn begin(&mut self) {
        // One large batch must not keep its memory for good.
        if self.buffer.capacity() > BATCH_MAX / 4 {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        self.buffer.resize(BATCH_HEADER, 0);
        self.records.clear();
    }

    /// Goes on in the next segment. Nothing may be gathered.
    pub(super) fn rotate(&mut self, prepared: Prepared) -> Result<(), FileError> {
        let place = Place {
            edge: self.edge.clone(),
            prev: self.prev,
            time: Timestamp::from_unix_nanos(0),
            mark: None,
            batch: self.batch,
        };
        let header =
            place.header(&self.origin, self.segment.index() + 1, prepared.bytes, self.segment.block(), None);
        let mut next = prepared.inscribe(&header)?;
        // From here on the log has one more segment; a crash before leaves the one before as the last.
        next.put_in_place(&self.directory, self.edge.size())?;
        self.segment = next;
        Ok(())
    }

    pub(in crate::audit) const fn segment(&self) -> &Active {
        &self.segment
    }

    pub(in crate::audit) const fn segment_mut(&mut self) -> &mut Active {
        &mut self.segment
    }

    /// The tree over all records that were put.
    pub(in crate::audit) const fn edge(&self) -> &Edge {
        &self.edge
    }
}
