//! What an event loop is made of: readiness, absolute timers, and queues that wake it.
//!
//! The loop itself belongs to the program; it has the same shape everywhere: wait, drain what is
//! ready with a bound per turn, feed the state machine, carry out its outputs, set the timer to the
//! state machine's deadline. Readiness is level-triggered, so whatever a bounded turn left over is
//! reported again at once and no wake-up can be lost.
//!
//! Timers are absolute on `CLOCK_BOOTTIME` (timerfd_create(2)): a deadline that is already over fires
//! at once, and a loop that was late does not become later.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use base::Instant;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// What a loop calls one of its sources; comes back with its readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What to wait for on a source. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read.
    Read,
    /// Something to read, or room to write.
    ReadWrite,
    /// Out-of-band change, as `cgroup.events` reports it.
    Urgent,
}

/// One source that has something to say.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The source.
    pub token: Token,
    /// Reading will not block.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// An error is pending; on a UDP socket: its error queue is not empty.
    pub error: bool,
    /// The other end is gone.
    pub hangup: bool,
    /// An out-of-band change happened.
    pub urgent: bool,
}

/// The set of sources that one loop waits for.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
}

/// Room for what one wait returns; reused, so that waiting does not allocate.
pub struct Events {
    buffer: Vec<epoll::Event>,
}

impl Events {
    /// Room for `capacity` sources per wait; more are reported by the next one.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Events {
        assert!(capacity > 0, "a wait must be able to return something");
        Events { buffer: Vec::with_capacity(capacity) }
    }

    /// What the last wait returned.
    pub fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        self.buffer.iter().map(|event| {
            let flags = event.flags;
            Ready {
                token: Token(event.data.u64()),
                readable: flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
                error: flags.contains(epoll::EventFlags::ERR),
                hangup: flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::RDHUP),
                urgent: flags.contains(epoll::EventFlags::PRI),
            }
        })
    }
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Interest::Read => epoll::EventFlags::IN,
            Interest::ReadWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
            Interest::Urgent => epoll::EventFlags::PRI,
        }
    }
}

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// When the process or the machine has no file descriptor left.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Waits for `source` from now on. It leaves the set by [`Poll::remove`] or when it is closed.
    ///
    /// # Errors
    /// When the source is already in the set or cannot be waited for (plain files).
    pub fn add(&self, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(token.0), interest.flags())?)
    }

    /// Changes what is waited for on `source`.
    ///
    /// # Errors
    /// When the source is not in the set.
    pub fn modify(&self, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.0);
        Ok(epoll::modify(&self.epoll, source, data, interest.flags())?)
    }

    /// Waits for `source` no longer.
    ///
    /// # Errors
    /// When the source is not in the set.
    pub fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Waits until a source is ready or `timeout` is over (`None`: for ever); fills `events`.
    /// A signal ends the wait with nothing.
    ///
    /// # Errors
    /// Never in a correct program.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.buffer.clear();
        let timeout = timeout.map(timespec);
        let spare = rustix::buffer::spare_capacity(&mut events.buffer);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// A timer for one absolute moment on `CLOCK_BOOTTIME`.
#[derive(Debug)]
pub struct Timer {
    descriptor: OwnedFd,
}

impl Timer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// When the process or the machine has no file descriptor left.
    pub fn new() -> io::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Timer { descriptor: timerfd_create(TimerfdClockId::Boottime, flags)? })
    }

    /// Becomes readable at `moment` (at once if that is over), or never (`None`). Replaces what was
    /// set, and what had fired and was not read.
    ///
    /// # Panics
    /// When the kernel refuses a valid time, which it does not.
    pub fn set(&self, moment: Option<Instant>) {
        // Zero would disarm; the first nanosecond of a machine is long over anyway.
        let nanos = match moment {
            None => 0,
            Some(moment) => moment.as_nanos().clamp(1, i64::MAX as u64),
        };
        let value = timespec(Duration::from_nanos(nanos));
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: value };
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::ABSTIME, &once)
            .expect("an absolute time within range is accepted");
    }

    /// Takes the firing; false if the timer has not fired.
    pub fn take(&self) -> bool {
        let mut count = [0_u8; 8];
        rustix::io::read(&self.descriptor, &mut count).is_ok()
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A bell: any thread or process that has it can wake the loop that waits for it.
#[derive(Clone, Debug)]
pub struct Bell {
    descriptor: Arc<OwnedFd>,
}

impl Bell {
    /// A silent bell.
    ///
    /// # Errors
    /// When the process or the machine has no file descriptor left.
    pub fn new() -> io::Result<Bell> {
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Bell { descriptor: Arc::new(descriptor) })
    }

    /// The bell behind a descriptor that another process handed over.
    #[must_use]
    pub fn from_descriptor(descriptor: OwnedFd) -> Bell {
        Bell { descriptor: Arc::new(descriptor) }
    }

    /// The number of the descriptor, for a child that inherits it.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }

    /// Makes the bell readable. Rings that nobody has taken yet count as one.
    pub fn ring(&self) {
        match rustix::io::write(&*self.descriptor, &1_u64.to_ne_bytes()) {
            // AGAIN: the counter is full, so it is readable already.
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => panic!("an eventfd refuses a one: {error}"),
        }
    }

    /// Silences the bell; false if it was silent.
    pub fn take(&self) -> bool {
        let mut count = [0_u8; 8];
        rustix::io::read(&*self.descriptor, &mut count).is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The sending end of a [`queue`]; clone it for more senders.
#[derive(Debug)]
pub struct Sender<T> {
    channel: mpsc::SyncSender<T>,
    bell: Bell,
}

/// The receiving end of a [`queue`]: readable while something may be in it.
#[derive(Debug)]
pub struct Receiver<T> {
    channel: mpsc::Receiver<T>,
    bell: Bell,
}

/// Why an item was not taken; it comes back.
#[derive(Debug, thiserror::Error)]
pub enum SendError<T> {
    /// The queue holds as many items as it may.
    #[error("the queue is full")]
    Full(T),
    /// The receiver is gone.
    #[error("the receiver is gone")]
    Closed(T),
}

/// A queue of at most `capacity` items between threads, which wakes the receiver's loop.
///
/// # Errors
/// When the process or the machine has no file descriptor left.
pub fn queue<T>(capacity: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    assert!(capacity > 0, "a queue without room would make senders wait");
    let bell = Bell::new()?;
    let (sender, receiver) = mpsc::sync_channel(capacity);
    Ok((Sender { channel: sender, bell: bell.clone() }, Receiver { channel: receiver, bell }))
}

impl<T> Sender<T> {
    /// Puts `item` into the queue and wakes the receiver; never waits.
    ///
    /// # Errors
    /// When the queue is full or the receiver is gone; the item comes back.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.channel.try_send(item).map_err(|error| match error {
            mpsc::TrySendError::Full(item) => SendError::Full(item),
            mpsc::TrySendError::Disconnected(item) => SendError::Closed(item),
        })?;
        self.bell.ring();
        Ok(())
    }

    /// Puts `item` into the queue, waiting for room: for worker threads, never for a loop.
    ///
    /// # Errors
    /// When the receiver is gone; the item comes back.
    pub fn send_waiting(&self, item: T) -> Result<(), SendError<T>> {
        self.channel.send(item).map_err(|mpsc::SendError(item)| SendError::Closed(item))?;
        self.bell.ring();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { channel: self.channel.clone(), bell: self.bell.clone() }
    }
}

impl<T> Receiver<T> {
    /// Silences the bell. Call it before draining: what is sent later rings again.
    pub fn silence(&self) {
        self.bell.take();
    }

    /// The oldest item, if there is one. Stop at a bound per turn and [`Receiver::ring`] for the rest.
    pub fn take(&self) -> Option<T> {
        self.channel.try_recv().ok()
    }

    /// Wakes the own loop again, for items that this turn left in the queue.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Waits for the oldest item: for worker threads. `None` when all senders are gone.
    pub fn wait(&self) -> Option<T> {
        self.channel.recv().ok()
    }
}

impl<T> AsFd for Receiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
