//! The watchdog that the guard feeds, and when it does not.
//!
//! What may be fed and when is decided by [`base::feeding`]; this is the rest: the request of the daemon, a
//! thread that talks to the device, and the words that tell what came of it.
//!
//! Intuition: a driver may block for seconds (a management board behind a slow bus), and no kill may wait
//! for it. So the loop only orders, in its ordinary turn, and a thread carries out. **Rule:** one order
//! is one feeding. A loop that hangs orders nothing, and a thread that hangs feeds nothing: each of them
//! alone lets the machine be reset. The thread looks at the evidence itself, just before it touches the
//! device and just after: an order that has waited too long is not carried out, and a feeding that was held
//! up on the way, because somebody stopped this process in between, is mended by a shorter timeout. To set that can
//! be held up as well, so it looks again, three times at most; if the machine would still be reset too
//! late, that is told, and stands in the status until the next feeding.
//!
//! That a device is armed is written to a file before it is opened. A guard that finds that file takes the
//! device over ([`Former`]): the former one was killed, the timer runs, and nobody else would feed it. By
//! then the processes that the former guard had left are gone, else the new one has ended with an error; and
//! it waits until a daemon has looked for file systems that are still mounted and has ended them. If that takes
//! too long the machine is reset, as it must be.
//!
//! A device may turn out to be of no use when it has been opened, and a driver with `nowayout` lets nobody stop
//! it then. It is **held**: fed in turns of the loop, on no evidence, because nobody counts on it (the request
//! is refused, and told so), and unfed it would reset a machine that is well.
//!
//! It is stopped when the guard ends, if nothing of a storage service is left. A service that did not
//! confirm its stop, perhaps with a file system still mounted, leaves it armed.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use base::Instant;
use base::feeding::{Act, Feeding, Outcome, Reason, Sight};
use os::event::{Bell, Events, Interest, Poll, Token};
use os::shared::{GuardSide, WatchdogRequest};
use os::watchdog::{Step, WatchdogError};
use rustix::fs::{Mode, OFlags};

use super::log::say;

/// Real-time priority of the thread: as the network's, below the loop's.
const PRIORITY: u8 = 55;
const _: () = assert!(PRIORITY < super::PRIORITY);
/// Bytes of its stack, and how much of that is touched at the start.
const STACK: usize = 256 << 10;
const TOUCHED: usize = 64 << 10;
const BELL: Token = Token(0);
/// So often a feeding that came through too late is made shorter.
const MENDS: u32 = 3;

// What the thread is to do at its end: the word `end`.
const GO_ON: u8 = 0;
const END: u8 = 1;

// Orders, below their numbers.
const ARM: u64 = 0;
const FEED: u64 = 1;
const HOLD: u64 = 2;
/// Bits of the order that say which.
const KINDS: u32 = 2;

// Results; the timeout is in a word of its own.
const ARMED: u8 = 0;
const FED: u8 = 1;
const NOT_FED: u8 = 2;
const REFUSED: u8 = 3;
/// It might not be armed at this moment: no answer to a request.
const NOT_NOW: u8 = 4;
/// It is refused, and runs all the same.
const HELD: u8 = 5;

/// Why a device was not armed, and with which timeout it runs all the same, if it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    error: WatchdogError,
    runs: Option<Duration>,
}

impl From<WatchdogError> for Refused {
    fn from(error: WatchdogError) -> Refused {
        Refused { error, runs: None }
    }
}

/// What of a watchdog the thread needs. A trait, because the tests have none.
pub(super) trait Device: Sized + Send {
    /// Opens it, unless it is held, and sets its timeout.
    fn arm(&mut self, path: &CStr, wanted: Duration, least: Duration) -> Result<Duration, Refused>;
    /// Feeds it.
    fn feed(&mut self) -> Result<(), WatchdogError>;
    /// Sets its timeout and feeds it.
    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, WatchdogError>;
    /// Whether there is one that could be fed.
    fn is_open(&self) -> bool;
    /// Stops it.
    fn disarm(&mut self) -> Result<(), WatchdogError>;
}

/// The kernel's.
#[derive(Default)]
struct Real(Option<os::watchdog::Watchdog>);

impl Real {
    fn open(&mut self) -> &mut os::watchdog::Watchdog {
        self.0.as_mut().expect("only what is armed is fed")
    }
}

impl Device for Real {
    fn arm(&mut self, path: &CStr, wanted: Duration, least: Duration) -> Result<Duration, Refused> {
        let armed = match self.0.take() {
            Some(held) => held.arm_again(wanted, least),
            None => os::watchdog::Watchdog::arm(path, wanted, least),
        };
        match armed {
            Ok(watchdog) => Ok(self.0.insert(watchdog).timeout()),
            Err(os::watchdog::Refused { error, running }) => {
                self.0 = running;
                Err(Refused { error, runs: self.0.as_ref().map(os::watchdog::Watchdog::timeout) })
            }
        }
    }

    fn feed(&mut self) -> Result<(), WatchdogError> {
        self.open().feed()
    }

    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, WatchdogError> {
        self.open().set_timeout(timeout)?;
        Ok(self.open().timeout())
    }

    fn is_open(&self) -> bool {
        self.0.is_some()
    }

    fn disarm(&mut self) -> Result<(), WatchdogError> {
        self.0.take().map_or(Ok(()), os::watchdog::Watchdog::disarm)
    }
}

/// The device that a former guard had armed and not stopped.
pub(super) struct Former(WatchdogRequest);

impl Former {
    /// Reads what a former guard wrote down. `None`: nothing, or the machine was started anew since.
    pub(super) fn read(record: &Path) -> Option<Former> {
        let text = match fs::read_to_string(record) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                say!("cannot read which watchdog a former guard had armed: {error}");
                return None;
            }
        };
        let former = parse(&text);
        if former.is_none() {
            say!("{}: does not say which watchdog a former guard had armed", record.display());
        }
        let former = former?;
        match os::watchdog::describe(path(&former.0)) {
            // Stopped, or the machine was started anew since: no reason to start it.
            Ok(description) if description.active == Some(false) => None,
            Ok(_) | Err(_) => Some(former),
        }
    }
}

fn path(request: &WatchdogRequest) -> &Path {
    Path::new(OsStr::from_bytes(request.device().to_bytes()))
}

/// `DEVICE`, a line end, the timeout in whole seconds.
fn parse(text: &str) -> Option<Former> {
    let (device, seconds) = text.trim_end().rsplit_once('\n')?;
    let timeout = Duration::from_secs(seconds.parse().ok()?);
    // Whatever its timeout is, it runs.
    WatchdogRequest::new(device, timeout, Duration::ZERO).map(Former)
}

/// What both threads see.
struct Desk {
    bell: Bell,
    /// Number of the order above one bit that says which.
    ordered: AtomicU64,
    answered: AtomicU64,
    result: AtomicU8,
    timeout: AtomicU64,
    end: AtomicU8,
}

/// Looks at what feeding depends on, as it is now.
type Look = Arc<dyn Fn() -> Sight + Send + Sync>;

/// The loop's end of it.
pub(super) struct Watchdog {
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
    sight: Look,
    feeding: Feeding,
    /// The request that is being answered; 0: the former guard's.
    request: Option<u64>,
    former: bool,
    reason: Reason,
    held: Option<Held>,
}

/// A device that is of no use and must be fed.
#[derive(Clone, Copy, Debug)]
struct Held {
    interval: Duration,
    next: Instant,
    is_busy: bool,
}

impl Watchdog {
    /// Starts the thread. With a former guard's device that is taken over in the first turns.
    pub(super) fn start(
        shared: Arc<GuardSide>,
        record: &Path,
        former: Option<Former>,
    ) -> anyhow::Result<Watchdog> {
        let seen = shared.clone();
        Watchdog::start_with(
            shared,
            record,
            former,
            Real::default(),
            Arc::new(move || seen.sight()),
        )
    }

    fn start_with(
        shared: Arc<GuardSide>,
        record: &Path,
        former: Option<Former>,
        device: impl Device + 'static,
        sight: Look,
    ) -> anyhow::Result<Watchdog> {
        let desk = Arc::new(Desk {
            bell: Bell::new()?,
            ordered: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            result: AtomicU8::new(NOT_NOW),
            timeout: AtomicU64::new(0),
            end: AtomicU8::new(GO_ON),
        });
        let poll = Poll::new()?;
        poll.add(&desk.bell, BELL, Interest::Read)?;
        let is_former = former.is_some();
        let worker = Worker {
            desk: desk.clone(),
            shared,
            sight: sight.clone(),
            device,
            former: former.map(|former| former.0),
            record: CString::new(record.as_os_str().as_bytes()).context("a path with a zero")?,
            armed: None,
            held: None,
            shortened: false,
            failing: false,
            overdue: None,
            late: 0,
        };
        let thread = std::thread::Builder::new()
            .name("watchdog".into())
            .stack_size(STACK)
            .spawn(move || worker.run(&poll))
            .context("cannot start a thread")?;
        let (feeding, reason) = (Feeding::new(), Reason::Clean);
        let request = is_former.then_some(0);
        Ok(Watchdog {
            desk,
            thread,
            sight,
            feeding,
            request,
            former: is_former,
            reason,
            held: None,
        })
    }

    /// Takes what came of the last order, and orders what is due.
    pub(super) fn turn(&mut self, shared: &GuardSide, now: Instant) {
        self.take_result(shared, now);
        if self.request.is_none() && !self.feeding.is_busy() {
            self.request = shared.watchdog_request().map(|request| request.number);
        }
        if let Some(number) = self.request {
            if self.feeding.timeout().is_some() {
                // There is one already; which timeout it has stands in the memory.
                shared.answer_watchdog(number);
                self.request = None;
            } else {
                self.feeding.want();
            }
        }
        let sight = (self.sight)();
        self.say_reason(Feeding::reason(now, &sight), now.since(sight.evidence));
        if self.held.is_some_and(|held| held.is_busy) {
            return;
        }
        match self.feeding.turn(now, &sight) {
            Some(Act::Arm) => self.order(ARM),
            Some(Act::Feed) => self.order(FEED),
            None => self.hold(now),
        }
    }

    /// Has what is held fed, when that is due.
    fn hold(&mut self, now: Instant) {
        let is_free = !self.feeding.is_busy();
        let Some(held) = self.held.as_mut().filter(|held| is_free && now >= held.next) else {
            return;
        };
        (held.is_busy, held.next) = (true, now + held.interval);
        self.order(HOLD);
    }

    fn order(&self, kind: u64) {
        let number = (self.desk.ordered.load(Ordering::Relaxed) >> KINDS) + 1;
        self.desk.ordered.store(number << KINDS | kind, Ordering::Release);
        self.desk.bell.ring();
    }

    fn take_result(&mut self, shared: &GuardSide, now: Instant) {
        let ordered = self.desk.ordered.load(Ordering::Relaxed);
        if self.desk.answered.load(Ordering::Acquire) != ordered {
            return;
        }
        if let Some(held) = self.held.as_mut().filter(|held| held.is_busy) {
            held.is_busy = false;
            return;
        }
        if !self.feeding.is_busy() {
            return;
        }
        let result = self.desk.result.load(Ordering::Relaxed);
        let timeout = Duration::from_nanos(self.desk.timeout.load(Ordering::Relaxed));
        match result {
            ARMED => self.held = None,
            HELD => {
                let interval = base::feeding::interval(timeout);
                self.held = Some(Held { interval, next: now + interval, is_busy: false });
            }
            _ => {}
        }
        let outcome = match result {
            ARMED => Outcome::Armed(timeout),
            FED => Outcome::Fed,
            NOT_FED => Outcome::NotFed,
            _ => Outcome::Off,
        };
        self.feeding.done(now, outcome);
        if matches!(result, ARMED | REFUSED | HELD)
            && let Some(number) = self.request.take()
            && !std::mem::take(&mut self.former)
        {
            shared.answer_watchdog(number);
        }
    }

    /// Says when it is fed no more, and when it is again.
    fn say_reason(&mut self, reason: Reason, age: Duration) {
        let before = std::mem::replace(&mut self.reason, reason);
        let Some(timeout) = self.feeding.timeout() else { return };
        let is_fed = |reason| matches!(reason, Reason::Clean | Reason::Fresh);
        match (is_fed(before), is_fed(reason)) {
            (true, false) if reason == Reason::Killed => say!(
                "the watchdog is not fed: a storage service was killed and is not confirmed to be gone; \
                 this machine is reset within {timeout:?} unless that changes"
            ),
            (true, false) => say!(
                "the watchdog is not fed: a storage service is here and the last evidence of a \
                 majority is {} ms old; this machine is reset within {timeout:?} unless that changes",
                age.as_millis()
            ),
            (false, true) => say!("the watchdog is fed again"),
            _ => {}
        }
    }

    /// Ends the thread and waits for it. The device is stopped if nothing of a storage service is left
    /// and else stays armed.
    pub(super) fn end(self) {
        self.desk.end.store(END, Ordering::Release);
        self.desk.bell.ring();
        if self.thread.join().is_err() {
            say!("the thread for the watchdog ended by a fault");
        }
    }
}

struct Worker<D> {
    desk: Arc<Desk>,
    shared: Arc<GuardSide>,
    sight: Look,
    device: D,
    former: Option<WatchdogRequest>,
    record: CString,
    /// While it is armed: what was asked for, and the timeout that everybody counts on.
    armed: Option<(WatchdogRequest, Duration)>,
    /// What is of no use and cannot be stopped, and its timeout.
    held: Option<(WatchdogRequest, Duration)>,
    /// Its timeout is shorter than that for now.
    shortened: bool,
    failing: bool,
    /// It was fed too late, and that could not be mended.
    overdue: Option<WatchdogError>,
    /// How often it was fed too late.
    late: u64,
}

impl<D: Device> Worker<D> {
    fn run(mut self, poll: &Poll) {
        // Where it is refused, the loop is refused too, and has said so.
        let _said = os::realtime::round_robin(PRIORITY);
        os::realtime::touch_stack::<TOUCHED>();
        let mut events = Events::with_capacity(1);
        loop {
            self.desk.bell.take();
            self.obey();
            if self.desk.end.load(Ordering::Acquire) != GO_ON {
                return self.end();
            }
            if let Err(error) = poll.wait(&mut events, None) {
                // Nothing can be waited for: then nothing is fed, and the machine is reset if it must be.
                panic!("epoll of the guard's watchdog thread: {error}");
            }
        }
    }

    /// Carries out the order that is not answered yet.
    fn obey(&mut self) {
        let ordered = self.desk.ordered.load(Ordering::Acquire);
        if ordered == self.desk.answered.load(Ordering::Relaxed) {
            return;
        }
        let kind = ordered & ((1 << KINDS) - 1);
        let sight = (self.sight)();
        let result = if kind == HOLD {
            self.feed_held()
        } else if Feeding::may(os::clock::boottime(), &sight) {
            let evidence = sight.evidence;
            if kind == ARM { self.arm(evidence) } else { self.feed(evidence) }
        } else if kind == ARM {
            NOT_NOW
        } else {
            NOT_FED
        };
        self.desk.result.store(result, Ordering::Relaxed);
        self.desk.answered.store(ordered, Ordering::Release);
        self.shared.bell().ring();
    }

    fn arm(&mut self, evidence: Instant) -> u8 {
        let former = self.former.take();
        let adopted = former.is_some();
        let Some(request) = former.or_else(|| self.shared.watchdog_request()) else {
            return NOT_NOW;
        };
        let device = request.device().to_str().unwrap_or("?");
        let armed = match &self.held {
            Some((held, _)) if held.device() != request.device() => {
                Err(Refused { error: WatchdogError { step: Step::Other, errno: 0 }, runs: None })
            }
            _ => self
                .write_record(&request)
                .map_err(Refused::from)
                .and_then(|()| self.device.arm(request.device(), request.timeout, request.least)),
        };
        match armed {
            Ok(timeout) => {
                let now = os::clock::boottime();
                self.armed = Some((request, timeout));
                self.held = None;
                self.desk.timeout.store(timeout.as_nanos() as u64, Ordering::Relaxed);
                self.shared.set_watchdog_fed(now);
                self.shared.set_watchdog_armed(&request, timeout, adopted);
                let found = if adopted { "taken over from a former guard" } else { "armed" };
                say!(
                    "watchdog {device}: {found}; this machine is reset {timeout:?} after its last \
                     feeding"
                );
                self.mend_if_late(evidence, timeout);
                ARMED
            }
            Err(Refused { error, runs: Some(timeout) }) => {
                self.shared.set_watchdog_held(error, timeout);
                self.desk.timeout.store(timeout.as_nanos() as u64, Ordering::Relaxed);
                self.held = Some((request, timeout));
                say!(
                    "watchdog {device}: {error}; IT RUNS AND NOBODY CAN STOP IT (nowayout): it is fed \
                     as long as mainstay runs, nothing else rests on it, and this machine is reset \
                     {timeout:?} after mainstay has ended"
                );
                HELD
            }
            Err(Refused { error, runs: None }) => {
                // One that was held could be stopped this time: then nothing is left to feed.
                if !self.device.is_open() {
                    self.held = None;
                    self.remove_record();
                }
                self.shared.set_watchdog_error(error);
                if adopted {
                    say!(
                        "watchdog {device}: a former guard had armed it and it cannot be taken over: \
                         {error}; if its timer still runs, this machine is reset"
                    );
                } else {
                    say!("watchdog {device}: {error}");
                }
                REFUSED
            }
        }
    }

    /// Whatever the evidence is: nobody counts on it.
    fn feed_held(&mut self) -> u8 {
        if self.held.is_none() {
            return NOT_FED;
        }
        match self.device.feed() {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    say!("the watchdog takes feedings again");
                }
                FED
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    say!("the watchdog: {error}; this machine is reset when that lasts");
                }
                NOT_FED
            }
        }
    }

    fn feed(&mut self, evidence: Instant) -> u8 {
        let Some((_, timeout)) = self.armed else { return NOT_FED };
        let fed = if self.shortened {
            self.device.set_timeout(timeout).inspect(|_| self.shortened = false)
        } else {
            self.device.feed().map(|()| timeout)
        };
        match fed {
            Ok(in_force) => {
                self.shared.set_watchdog_fed(os::clock::boottime());
                if std::mem::take(&mut self.failing) {
                    say!("the watchdog takes feedings again");
                }
                if self.overdue.take().is_some() {
                    say!("the watchdog is fed in time again");
                }
                self.mend_if_late(evidence, in_force);
                FED
            }
            Err(error) => {
                self.shared.set_watchdog_feed_error(error);
                if !std::mem::replace(&mut self.failing, true) {
                    say!("the watchdog: {error}; this machine is reset when that lasts");
                }
                NOT_FED
            }
        }
    }

    /// If the evidence on which the device was fed had become too old by the time at which that came
    /// through: makes the timeout shorter by as much, until the next feeding.
    fn mend_if_late(&mut self, evidence: Instant, mut in_force: Duration) {
        let Some((_, timeout)) = self.armed else { return };
        let (mut late, mut refused) = (None, None);
        for mends in 0.. {
            let mut sight = (self.sight)();
            // A daemon that has none any more takes nothing back of what was known.
            sight.evidence = sight.evidence.max(evidence);
            let now = os::clock::boottime();
            let Some(overdue) = Feeding::overdue(now, &sight, timeout, in_force) else { break };
            late.get_or_insert(overdue.by);
            let Some(shorter) = overdue.shorter.filter(|_| mends < MENDS) else {
                return self.tell_late(overdue.by, refused);
            };
            self.shortened = true;
            match self.device.set_timeout(shorter) {
                Ok(taken) => in_force = taken,
                Err(error) => refused = Some(error),
            }
        }
        let Some(late) = late else { return };
        let count = self.count_late();
        say!(
            "the watchdog was fed {} ms too late ({count} times so far): it resets this machine in \
             {in_force:?} unless evidence comes",
            late.as_millis()
        );
    }

    fn count_late(&mut self) -> u64 {
        self.late += 1;
        self.shared.set_watchdog_late(self.late);
        self.late
    }

    /// The machine would be reset later than the others count on, and it cannot be helped.
    fn tell_late(&mut self, by: Duration, refused: Option<WatchdogError>) {
        let count = self.count_late();
        let errno = refused.map_or(0, |error| error.errno);
        let overdue = WatchdogError { step: Step::Late, errno };
        self.overdue = Some(overdue);
        self.shared.set_watchdog_feed_error(overdue);
        say!(
            "the watchdog was fed too late ({count} times so far), and no shorter timeout helps: without \
             evidence this machine is reset {} ms later than the others expect",
            by.as_millis()
        );
        if let Some(error) = refused {
            say!("the watchdog: {error}");
        }
    }

    /// Nothing is left to be killed: from here on there is time, and memory.
    fn end(mut self) {
        if let Some((_, timeout)) = self.held {
            // Fed once more, for whoever starts the next guard.
            self.feed_held();
            return say!(
                "the watchdog runs on, because its driver lets nobody stop it (nowayout): this machine \
                 is reset within {timeout:?} unless mainstay is started again"
            );
        }
        let Some((request, timeout)) = self.armed else { return };
        if !Feeding::may_disarm(&(self.sight)()) {
            return say!(
                "a storage service has not confirmed its stop: the watchdog stays armed and resets \
                 this machine within {timeout:?}"
            );
        }
        if let Err(error) = self.device.disarm() {
            return say!("the watchdog: {error}: this machine is reset within {timeout:?}");
        }
        let description = os::watchdog::describe(path(&request));
        if description.is_ok_and(|description| description.active == Some(true)) {
            return say!(
                "the watchdog runs on, because its driver lets nobody stop it (nowayout): this machine \
                 is reset within {timeout:?} unless mainstay is started again"
            );
        }
        self.remove_record();
        say!("the watchdog is stopped: nothing of a storage service is here");
    }

    /// Without an allocation: the next guard must know even if this one dies in the next moment.
    fn write_record(&self, request: &WatchdogRequest) -> Result<(), WatchdogError> {
        let failed = |errno: rustix::io::Errno| WatchdogError {
            step: Step::Record,
            errno: errno.raw_os_error(),
        };
        let mut text = Text { bytes: [0; TEXT], length: 0 };
        let seconds = request.timeout.as_millis().div_ceil(1000);
        let device = request.device().to_str().unwrap_or_default();
        let written = std::fmt::Write::write_fmt(&mut text, format_args!("{device}\n{seconds}\n"));
        written.map_err(|_| failed(rustix::io::Errno::NAMETOOLONG))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.record.as_c_str(), flags, Mode::from(0o644));
        let file = file.map_err(failed)?;
        let bytes = &text.bytes[..text.length];
        match rustix::io::write(&file, bytes).map_err(failed)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(failed(rustix::io::Errno::NOSPC)),
        }
    }

    fn remove_record(&self) {
        match rustix::fs::unlink(self.record.as_c_str()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => say!(
                "cannot remove the note that the watchdog is armed (error {})",
                errno.raw_os_error()
            ),
        }
    }
}

/// Bytes of the record.
const TEXT: usize = os::watchdog::PATH_MAX + 32;

struct Text {
    bytes: [u8; TEXT],
    length: usize,
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let place = self.bytes.get_mut(self.length..self.length + text.len());
        place.ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
