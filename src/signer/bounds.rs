//! Limits for auditors: exports in an hour, and one deadline over many reads and writes.

use crate::clock;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Exports in an hour, of all auditors and of one account: at most 6 MB of the log in a day.
pub(super) const EXPORTS: usize = 60;
pub(super) const EXPORTS_OF_ONE: usize = 12;
const HOUR: Duration = Duration::from_secs(3_600);

/// Exports of the last hour, with time and account.
#[derive(Default)]
pub(super) struct Budget(VecDeque<(u64, u32)>);

impl Budget {
    /// Counts one export of `uid` at `now` (monotonic nanoseconds), or returns the time until the next one is allowed.
    pub(super) fn take(&mut self, uid: u32, now: u64) -> Result<(), Duration> {
        let age = |made: u64| Duration::from_nanos(now.saturating_sub(made));
        while self.0.front().is_some_and(|(made, _)| age(*made) >= HOUR) {
            self.0.pop_front();
        }
        // The limit is free again one hour after the export that reached it.
        let own = self.0.iter().rev().filter(|(_, other)| *other == uid).nth(EXPORTS_OF_ONE - 1);
        let all = self.0.iter().rev().nth(EXPORTS - 1);
        if let Some((made, _)) = own.into_iter().chain(all).max() {
            return Err(HOUR.saturating_sub(age(*made)));
        }
        self.0.push_back((now, uid));
        Ok(())
    }
}

/// A stream whose reads and writes share one deadline, so that a caller cannot extend it byte by byte.
pub(super) struct Within<'a> {
    stream: &'a UnixStream,
    began: u64,
    time: Duration,
}

impl<'a> Within<'a> {
    pub(super) fn of(stream: &'a UnixStream, time: Duration) -> Self {
        Self { stream, began: clock::monotonic_nanos(), time }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.time.saturating_sub(clock::since(self.began)) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Within<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(to)
    }
}

impl Write for Within<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    #[test]
    fn exports_of_one_account_and_of_all_are_bounded_within_each_hour() {
        let mut budget = Budget::default();
        let mut at = |minute: u64, uid| budget.take(uid, minute * MINUTE).map_err(|wait| wait.as_secs() / 60);
        for minute in 0..EXPORTS_OF_ONE as u64 {
            assert_eq!(at(minute, 1_000), Ok(()));
        }
        assert_eq!(at(20, 1_000), Err(40), "the first one is an hour old then");
        assert_eq!(at(59, 1_000), Err(1));
        assert_eq!(at(60, 1_000), Ok(()));
        assert_eq!(at(60, 1_000), Err(1), "the second one comes a minute later");
        for uid in 1_001..1_005 {
            for _ in 0..EXPORTS_OF_ONE {
                assert_eq!(at(60, uid), Ok(()));
            }
        }
        assert_eq!(at(60, 1_006), Err(1), "an account without any export waits for the places of all");
        assert_eq!(at(61, 1_006), Ok(()));
        assert_eq!(at(200, 1_006), Ok(()));
        assert_eq!(budget.0.len(), 1, "nothing is kept beyond its hour");
    }

    #[test]
    fn a_deadline_holds_over_all_reads_and_writes_together() {
        let (here, mut there) = UnixStream::pair().unwrap();
        // Single bytes would restart a timeout for each read.
        let trickle = std::thread::spawn(move || {
            while there.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let mut all = vec![0; 1 << 20];
        let ended = Within::of(&here, Duration::from_millis(200)).read_exact(&mut all).unwrap_err();
        assert!(matches!(ended.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{ended}");
        drop(here);
        trickle.join().unwrap();
        // A caller that reads nothing is cut off too.
        let (here, _there) = UnixStream::pair().unwrap();
        let ended = Within::of(&here, Duration::from_millis(200)).write_all(&all).unwrap_err();
        assert!(matches!(ended.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{ended}");
    }
}
