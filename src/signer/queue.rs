//! Asks that wait for a signing thread: bounded in number and in bytes.

use super::worker::Job;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Asks that may wait for a signing thread; more are refused at once.
const MAX_QUEUE: usize = 4096;

/// Bytes of the asks that may wait. Honest ones have a few kilobytes; a gateway that is not itself must not fill the
/// memory of the process that holds the keys.
const MAX_QUEUE_BYTES: usize = 64 << 20;

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Threads that sleep until there is a job; waking nobody is a call into the system too.
    idle: usize,
}

/// Asks in the order of their arrival.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    closed: AtomicBool,
}

impl Queue {
    /// Adds what arrived together; gives back what found no place.
    pub(super) fn put(&self, jobs: &mut Vec<Job>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = 0;
        for job in jobs.iter() {
            if waiting.jobs.len() + room >= MAX_QUEUE || waiting.bytes + job.bytes.len() > MAX_QUEUE_BYTES {
                break;
            }
            waiting.bytes += job.bytes.len();
            room += 1;
        }
        waiting.jobs.extend(jobs.drain(..room));
        let wanted = waiting.idle.min(room);
        drop(waiting);
        for _ in 0..wanted {
            self.wake.notify_one();
        }
    }

    /// The next one; `None` when the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                waiting.bytes -= job.bytes.len();
                return Some(job);
            }
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            waiting.idle += 1;
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.idle -= 1;
        }
    }

    pub(super) fn close(&self) {
        let _waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(true, Ordering::Release);
        self.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Connection;
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    fn jobs(connection: &Arc<Connection>, count: usize, bytes: usize) -> Vec<Job> {
        (0..count).map(|_| Job { connection: Arc::clone(connection), bytes: vec![0; bytes] }).collect()
    }

    #[test]
    fn the_queue_is_bounded_in_number_and_in_bytes() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let connection = Connection::new(ours).unwrap();
        let queue = Queue::default();
        let mut many = jobs(&connection, MAX_QUEUE + 3, 1);
        queue.put(&mut many);
        assert_eq!(many.len(), 3, "the rest is refused by whoever reads them");
        for _ in 0..MAX_QUEUE {
            assert!(queue.take().is_some());
        }
        let mut large = jobs(&connection, 66, 1 << 20);
        queue.put(&mut large);
        assert_eq!(large.len(), 2);
        drop(queue.take());
        queue.put(&mut large);
        assert_eq!(large.len(), 1, "what was taken makes room");
        queue.close();
        assert_eq!(std::iter::from_fn(|| queue.take()).count(), 64, "a closed queue is emptied first");
        connection.close();
    }
}
