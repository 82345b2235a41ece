//! Distributes the asks of all gateways to the signing threads. The gateways' sockets are the only queue.
//!
//! A readable socket wakes one thread, which takes its share of the waiting asks and arms the socket again before it
//! processes them, so that the socket wakes the next thread. The sockets' buffers bound the number of waiting asks; a
//! gateway with more keeps them to itself.

use super::connection::{Connection, Share};
use crate::door::frame::{self, FrameError};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Epoll's data of [`Inbox::end`]; sockets are numbered from 1.
const END: u64 = 0;

/// Epoll's data of [`Inbox::handed`].
const HANDED: u64 = u64::MAX;

/// Asks from one socket, at least one.
pub(super) struct Asks {
    pub connection: Arc<Connection>,
    frames: Vec<u8>,
}

impl Asks {
    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.frames.as_slice();
        std::iter::from_fn(move || {
            let ask = frame::first(rest).ok().flatten()?;
            rest = rest.get(4 + ask.len()..).unwrap_or_default();
            Some(ask)
        })
    }

    /// The one with this number, from 0.
    pub(super) fn only(&self, number: usize) -> Option<Self> {
        let ask = self.iter().nth(number)?;
        let mut frames = u32::try_from(ask.len()).ok()?.to_le_bytes().to_vec();
        frames.extend_from_slice(ask);
        Some(Self { connection: Arc::clone(&self.connection), frames })
    }
}

/// Result of [`Inbox::take`].
pub(super) enum Taken {
    /// Asks to process.
    Asks(Asks),
    /// No asks at the moment.
    Nothing,
    /// The inbox is closed and empty.
    End,
    /// Epoll failed.
    Broken(Errno),
}

/// Whether [`Inbox::take`] blocks.
#[derive(Clone, Copy)]
pub(super) enum TakeMode {
    /// Return at once.
    Poll,
    /// Wait for asks.
    Block,
}

/// Wakes one thread once when the socket becomes readable.
const ONCE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ONESHOT);

/// The sockets of the gateways.
pub(super) struct Inbox {
    sockets: OwnedFd,
    /// Readable once the inbox is closed and empty; wakes every thread.
    end: OwnedFd,
    /// Counts the asks handed over between threads.
    handed: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<u64, Open>,
    last: u64,
    closed: bool,
    /// Asks handed over by another thread, each alone.
    handed: VecDeque<Asks>,
}

struct Open {
    connection: Arc<Connection>,
    /// Receives the result of reading.
    ended: SyncSender<Result<(), FrameError>>,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let sockets = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let end = eventfd(0, flags)?;
        epoll::add(&sockets, &end, EventData::new_u64(END), EventFlags::IN)?;
        let handed = eventfd(0, flags | EventfdFlags::SEMAPHORE)?;
        epoll::add(&sockets, &handed, EventData::new_u64(HANDED), EventFlags::IN)?;
        Ok(Self { sockets, end, handed, state: Mutex::default() })
    }

    /// Takes asks from this socket until its peer shuts down writing, or until [`Self::close`]; then the receiver gets
    /// the result.
    pub(super) fn add(&self, connection: &Arc<Connection>) -> io::Result<Receiver<Result<(), FrameError>>> {
        let (ended, hears) = sync_channel(1);
        let mut state = self.state();
        if state.closed {
            let _ = ended.try_send(Ok(()));
            return Ok(hears);
        }
        state.last += 1;
        let name = state.last;
        state.open.insert(name, Open { connection: Arc::clone(connection), ended });
        let added = epoll::add(&self.sockets, connection.stream(), EventData::new_u64(name), ONCE);
        if added.is_err() {
            state.open.remove(&name);
        }
        drop(state);
        Ok(added.map(|()| hears)?)
    }

    /// The next asks of any gateway, in turn.
    pub(super) fn take(&self, mode: TakeMode, share: Share) -> Taken {
        loop {
            let mut found = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
            let timeout = match mode {
                TakeMode::Poll => Some(&Timespec { tv_sec: 0, tv_nsec: 0 }),
                TakeMode::Block => None,
            };
            match epoll::wait(&self.sockets, &mut found, timeout) {
                Ok(0) => return Taken::Nothing,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Taken::Broken(error),
            }
            let name = found.map(|event| event.data.u64())[0];
            if name == END || name == HANDED {
                match (self.take_handed(), mode) {
                    (Some(ask), _) => return Taken::Asks(ask),
                    // Asks that were taken from a socket are answered before the end.
                    (None, _) if name == END => return Taken::End,
                    (None, TakeMode::Poll) => return Taken::Nothing,
                    (None, TakeMode::Block) => continue,
                }
            }
            // One thread owns the socket until it is armed again (EPOLLONESHOT).
            let Some(connection) = self.state().open.get(&name).map(|o| Arc::clone(&o.connection)) else {
                continue;
            };
            let read = connection.read_asks(share);
            let armed = match read {
                Ok(_) => epoll::modify(&self.sockets, connection.stream(), EventData::new_u64(name), ONCE),
                Err(_) => Ok(()),
            };
            match (read, armed) {
                (Ok(Some(frames)), Ok(())) => return Taken::Asks(Asks { connection, frames }),
                // A gateway that sends an ask byte by byte must not delay the thread's other work.
                (Ok(None), Ok(())) if matches!(mode, TakeMode::Poll) => return Taken::Nothing,
                (Ok(None), Ok(())) => {}
                (Err(None), _) => self.remove(name, Ok(())),
                (Err(Some(error)), _) => self.remove(name, Err(error)),
                (Ok(_), Err(error)) => self.remove(name, Err(io::Error::from(error).into())),
            }
        }
    }

    /// Hands an ask to another thread.
    pub(super) fn hand(&self, ask: Asks) {
        self.state().handed.push_back(ask);
        // Fails only after 2^64 - 2 writes.
        let _ = rustix::io::write(&self.handed, &1_u64.to_ne_bytes());
    }

    fn take_handed(&self) -> Option<Asks> {
        // Each unit of the count wakes one thread; the last ask goes to one of them.
        let _ = rustix::io::read(&self.handed, &mut [0; 8]);
        self.state().handed.pop_front()
    }

    /// Takes only asks that were sent already; afterwards every thread gets [`Taken::End`].
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for open in state.open.values() {
            open.connection.read_no_more();
        }
        self.end_if_done(&state);
    }

    fn remove(&self, name: u64, how: Result<(), FrameError>) {
        let mut state = self.state();
        if let Some(open) = state.open.remove(&name) {
            let _ = epoll::delete(&self.sockets, open.connection.stream());
            // The receiver may be gone.
            let _ = open.ended.try_send(how);
        }
        self.end_if_done(&state);
    }

    fn end_if_done(&self, state: &State) {
        if state.closed && state.open.is_empty() {
            // Fails only after 2^64 - 2 writes.
            let _ = rustix::io::write(&self.end, &1_u64.to_ne_bytes());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::message::MAX_FRAME;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    type Ended = Receiver<Result<(), FrameError>>;

    fn gateway(inbox: &Inbox) -> (UnixStream, Ended) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ended = inbox.add(&Connection::new(ours, 0).unwrap()).unwrap();
        (theirs, ended)
    }

    fn ask(gateway: &mut UnixStream, what: u64) {
        frame::write_one(gateway, &what).unwrap();
    }

    const ONE: Share = Share { most: 1, threads: 2 };

    fn all(found: Taken) -> Vec<u64> {
        match found {
            Taken::Asks(asks) => asks.iter().map(|ask| serde_json::from_slice(ask).unwrap()).collect(),
            Taken::Nothing => panic!("nothing"),
            Taken::End | Taken::Broken(_) => panic!("the end"),
        }
    }

    fn taken(found: Taken) -> u64 {
        let asks = all(found);
        assert_eq!(asks.len(), 1);
        asks[0]
    }

    #[test]
    fn asks_of_one_write_are_shared_by_all_threads() {
        let inbox = Arc::new(Inbox::new().unwrap());
        let (mut gateway, _ended) = gateway(&inbox);
        let (tell, told) = std::sync::mpsc::channel();
        let both = Arc::new(std::sync::Barrier::new(2));
        for _ in 0..2 {
            let (inbox, tell, both) = (Arc::clone(&inbox), tell.clone(), Arc::clone(&both));
            std::thread::spawn(move || {
                let ask = taken(inbox.take(TakeMode::Block, ONE));
                // A barrier: a thread that keeps the socket while it works hangs the test.
                both.wait();
                tell.send(ask).unwrap();
            });
        }
        let mut bytes = Vec::new();
        for n in [1_u64, 2] {
            frame::append(&mut bytes, &n).unwrap();
        }
        gateway.write_all(&bytes).unwrap();
        let mut asks: Vec<u64> =
            (0..2).map(|_| told.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
        asks.sort_unstable();
        assert_eq!(asks, [1, 2]);
    }

    #[test]
    fn an_ask_in_pieces_is_taken_when_it_is_complete() {
        let inbox = Inbox::new().unwrap();
        let (mut gateway, _ended) = gateway(&inbox);
        let mut bytes = Vec::new();
        frame::append(&mut bytes, &7_u64).unwrap();
        frame::append(&mut bytes, &"x".repeat(1000)).unwrap();
        frame::append(&mut bytes, &8_u64).unwrap();
        let mut found = Vec::new();
        for byte in bytes {
            gateway.write_all(&[byte]).unwrap();
            if let Taken::Asks(asks) = inbox.take(TakeMode::Poll, ONE) {
                found.extend(asks.iter().map(<[u8]>::len));
            }
        }
        assert_eq!(found, [1, 1002, 1]);
    }

    #[test]
    fn a_thread_takes_its_share_of_the_waiting_asks() {
        let inbox = Inbox::new().unwrap();
        let (mut gateway, _ended) = gateway(&inbox);
        let takes = |most, threads| all(inbox.take(TakeMode::Poll, Share { most, threads }));
        (0..10).for_each(|n| ask(&mut gateway, n));
        assert_eq!(takes(16, 2), [0], "nobody knows yet how long they are");
        assert_eq!(takes(16, 2), [1, 2, 3, 4], "half of those that wait");
        assert_eq!(takes(2, 2), [5, 6], "not more than it may");
        assert_eq!(takes(16, 2), [7]);
        assert_eq!(takes(16, 2), [8]);
        assert_eq!(takes(16, 2), [9], "the last goes to any thread");
        assert!(matches!(inbox.take(TakeMode::Poll, Share { most: 16, threads: 2 }), Taken::Nothing));
        (0..3).for_each(|n| ask(&mut gateway, n));
        assert_eq!(takes(16, 8), [0], "there are more threads than asks");
        assert_eq!(takes(0, 0), [1], "a share is never nothing");
        assert_eq!(takes(16, 1), [2]);
    }

    #[test]
    fn a_share_ends_where_an_ask_begins_that_has_not_come_or_is_longer_than_the_others() {
        let inbox = Inbox::new().unwrap();
        let (mut gateway, _ended) = gateway(&inbox);
        let share = Share { most: 16, threads: 1 };
        let long = "x".repeat(40_000);
        let mut bytes = Vec::new();
        for text in ["first", "a", "b", &long, "c", "d"] {
            frame::append(&mut bytes, &text).unwrap();
        }
        let (first, last) = bytes.split_at(bytes.len() - 1);
        gateway.write_all(first).unwrap();
        let take = || match inbox.take(TakeMode::Poll, share) {
            Taken::Asks(asks) => asks.iter().map(<[u8]>::len).collect(),
            _ => Vec::new(),
        };
        assert_eq!(take(), [7]);
        assert_eq!(take(), [3, 3]);
        assert_eq!(take(), [long.len() + 2]);
        assert_eq!(take(), [3]);
        assert!(take().is_empty(), "the last has not come as a whole");
        gateway.write_all(last).unwrap();
        assert_eq!(take(), [3]);
    }

    #[test]
    fn after_a_long_ask_a_share_is_not_all_that_wait() {
        let inbox = Inbox::new().unwrap();
        let (mut gateway, _ended) = gateway(&inbox);
        let share = Share { most: 4, threads: 2 };
        let take = || match inbox.take(TakeMode::Poll, share) {
            Taken::Asks(asks) => asks.iter().count(),
            _ => 0,
        };
        frame::write_one(&gateway, &"x".repeat(40_000)).unwrap();
        (0..50).for_each(|_| frame::write_one(&gateway, &"x".repeat(400)).unwrap());
        assert_eq!(take(), 1);
        let takes: Vec<_> = std::iter::from_fn(|| Some(take()).filter(|taken| *taken > 0)).collect();
        assert!(takes.iter().all(|taken| *taken <= 10), "{takes:?}");
        assert!(takes.iter().skip(1).take(5).all(|taken| *taken <= 5), "{takes:?}");
        assert_eq!(takes.iter().sum::<usize>(), 50);
        ask(&mut gateway, 1);
        assert_eq!(take(), 1);
    }

    #[test]
    fn gateways_take_turns() {
        let inbox = Inbox::new().unwrap();
        let (mut one, _ended) = gateway(&inbox);
        let (mut other, _ended_too) = gateway(&inbox);
        for n in 0..10 {
            ask(&mut one, n);
        }
        ask(&mut other, 100);
        let first: Vec<u64> = (0..3).map(|_| taken(inbox.take(TakeMode::Poll, ONE))).collect();
        assert!(first.contains(&100), "{first:?}");
    }

    #[test]
    fn a_frame_that_is_too_long_ends_its_own_connection_alone() {
        let inbox = Inbox::new().unwrap();
        let (mut bad, ended) = gateway(&inbox);
        let (mut good, _ended) = gateway(&inbox);
        bad.write_all(&u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes()).unwrap();
        assert!(matches!(inbox.take(TakeMode::Poll, ONE), Taken::Nothing));
        assert!(matches!(ended.recv().unwrap(), Err(FrameError::TooLong(_))));
        ask(&mut good, 1);
        assert_eq!(taken(inbox.take(TakeMode::Poll, ONE)), 1);
    }

    #[test]
    fn asks_sent_before_a_gateway_shuts_down_writing_are_all_read() {
        let inbox = Inbox::new().unwrap();
        let (mut gateway, ended) = gateway(&inbox);
        ask(&mut gateway, 1);
        gateway.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(taken(inbox.take(TakeMode::Poll, ONE)), 1);
        assert!(ended.try_recv().is_err());
        assert!(matches!(inbox.take(TakeMode::Poll, ONE), Taken::Nothing));
        assert!(matches!(ended.recv().unwrap(), Ok(())));
    }

    #[test]
    fn a_closed_inbox_is_emptied_first_and_then_ends_for_every_thread() {
        let inbox = Arc::new(Inbox::new().unwrap());
        let (mut gateway, ended) = gateway(&inbox);
        for n in 0..3 {
            ask(&mut gateway, n);
        }
        inbox.close();
        assert!(frame::write_one(&gateway, &9_u64).is_err(), "nothing more is taken");
        assert_eq!([(); 3].map(|()| taken(inbox.take(TakeMode::Block, ONE))), [0, 1, 2]);
        let threads = [(); 3].map(|()| {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || matches!(inbox.take(TakeMode::Block, ONE), Taken::End))
        });
        assert!(threads.into_iter().all(|t| t.join().unwrap()));
        assert!(matches!(ended.recv().unwrap(), Ok(())));
        let (_late, ended) = self::gateway(&inbox);
        assert!(matches!(ended.recv().unwrap(), Ok(())));
    }
}
