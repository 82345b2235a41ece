//! The keeper thread: prepares the next segment before it is needed, and looks once a second whether the live segment
//! is still the file that its name leads to.

use super::shared::Shared;
use super::sync::lock;
use crate::audit::disk::segment::Prepared;
use crate::audit::error::FileError;
use crate::audit::record::draft::Draft;
use crate::audit::record::entry::Entry;
use crate::audit::record::event::{Event, Outcome};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

pub(in crate::audit) struct Keeper<T> {
    shared: Arc<Shared<T>>,
    directory: PathBuf,
    segment_bytes: u64,
    /// The last attempt to prepare a segment failed.
    failing: bool,
    looked: Instant,
}

impl<T> Keeper<T> {
    /// Prepares segments in `directory`.
    pub(in crate::audit) fn new(shared: Arc<Shared<T>>, directory: PathBuf, segment_bytes: u64) -> Self {
        Self { shared, directory, segment_bytes, failing: false, looked: Instant::now() }
    }

    /// Runs until the log is closed or fails.
    pub(in crate::audit) fn run(mut self) {
        while self.go_on() {
            self.prepare();
            let next = lock(&self.shared.next);
            // Between two attempts after a failure it waits as well; a rotation ends the wait.
            let wait = !next.stop && (next.prepared.is_some() || self.failing);
            if wait {
                drop(self.shared.keep.wait_timeout(next, SECOND).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Looks at the live segment when it is time; `false` when the thread must end.
    fn go_on(&mut self) -> bool {
        if lock(&self.shared.next).stop || self.shared.poisoned().is_some() {
            return false;
        }
        if self.looked.elapsed() >= SECOND {
            self.looked = Instant::now();
            let checked = lock(&self.shared.live).check();
            if let Err(why) = checked {
                self.shared.poison(&why);
                return false;
            }
        }
        true
    }

    /// Prepares the next segment if there is none.
    pub(in crate::audit) fn prepare(&mut self) {
        if lock(&self.shared.next).prepared.is_some() {
            return;
        }
        let (directory, bytes) = (self.directory.clone(), self.segment_bytes);
        match Prepared::make(&directory, bytes, &mut || self.go_on()) {
            Ok(None) => {}
            Ok(Some(prepared)) => {
                lock(&self.shared.next).prepared = Some(prepared);
                self.shared.space.prepared();
                if std::mem::take(&mut self.failing) {
                    tracing::info!("there is space for the audit log's next segment again");
                    self.record(Event::DiskRecovered, Outcome::Success, None);
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &FileError) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(%error, "the audit log's next segment cannot be prepared; trying every second");
            self.record(Event::DiskFull, Outcome::Failure, Some(&error.source.to_string()));
        }
    }

    /// Records a change if the emergency reserve allows, without waiting for the disk.
    fn record(&self, event: Event, outcome: Outcome, reason: Option<&str>) {
        let draft = Draft { reason, ..Draft::new(event, outcome) };
        let sent = Entry::plain(&draft).map_err(Into::into).and_then(|e| self.shared.send(e, false, None));
        if let Err(error) = sent {
            tracing::warn!(%error, "a change of the disk's state was not recorded");
        }
    }
}
