//! The guard: the small parent process that makes a dead, stuck or stopped daemon safe.
//!
//! A cluster that moves a service after a fixed time needs somebody on the old node who ends it in
//! that time, whatever became of the daemon. That is this process and nothing else: it is the parent
//! of the daemon, the reaper of all orphans, and it looks at the memory that both share
//! ([`os::shared`]). For each service that the daemon has started there is an entry with an absolute
//! deadline, which the daemon pushes as long as its lease is good. **When the deadline is over the
//! guard ends the service**: kills its control group, removes its addresses, and watches until nothing
//! is left. It decides nothing else and asks nobody.
//!
//! For service addresses the kernel does the same by itself, also when the guard is stopped or dead:
//! the guard puts the [lease gate](os::gate) on all interfaces before it starts a daemon, puts it back
//! where somebody takes it away, and removes it when it ends in order.
//!
//! The loop is one thread; behind it is [one](network) for what waits for the kernel's lock on the
//! network configuration, which a driver whose device hangs may hold for long, one for the lock on
//! [control groups](groups), and two that [look](outside) at all processes for those that have left their groups
//! (where there are none, [one](marks) for those that only their environment gives away). **Rule:** whatever these
//! wait for, processes are killed at their deadline; at the start, too, what a former guard
//! left is killed before the network is asked anything.
//!
//! - *The daemon dies*: its services run on. It is started again, at once the first time and with
//!   growing pauses when it keeps dying; it finds the entries and adopts what runs. Only if it cannot
//!   be back in time does a deadline end a service.
//! - *The daemon is stopped or starved*: it is not dead, and nothing is done about it; the deadlines
//!   are.
//! - *Nothing of a dead daemon runs any more and it will not be back within a second*: the guard sends
//!   the frames that the daemon sealed in advance, by which its peers know that this life is over, and
//!   need not wait.
//! - *The guard is told to end* (SIGTERM, SIGINT): the daemon is told to leave in an orderly way, and
//!   what is still there after a bounded time is ended. A second signal shortens the wait.
//! - *The guard itself is killed*: nobody enforces deadlines any more. No death signal is tied to it,
//!   because a killed daemon would leave its services without *any* supervisor; instead the daemon
//!   watches the guard's process and, when it ends, stops its services and leaves, in an orderly way
//!   and with its lease still good. What a double fault (guard and daemon killed) leaves is ended by
//!   the next guard before it starts a daemon: all processes, and all service addresses of the
//!   configuration that it finds on an interface. Until then, and where no guard can start because
//!   there is no usable configuration, only the addresses end by themselves, each with its lifetime
//!   in the kernel: the lease in whole seconds and at most two more. Processes stay until a guard
//!   starts.
//! - *The daemon asks for a watchdog*: [a thread of its own](watchdog) arms it, and feeds it in turns of the loop,
//!   while evidence is fresh or no storage service is here. It is what ends a storage service on a machine
//!   on which nothing else can be believed any more.
//! - *The daemon cannot use its configuration*: it has said why, and is not started again, because it
//!   would say the same. What runs keeps the rest of its lease; then the guard ends with the same
//!   code.
//!
//! After its start the loop allocates nothing, waits for no disk, no log reader and no lock, has its
//! memory locked and runs in a real-time class, as far as the kernel allows; what it does not allow is
//! written into the shared memory for `mainstay status` to say.
//!
//! Exit codes: 0 left in order; 1 something had to be killed at the end; 2 something could not be
//! ended, or a storage service has not confirmed that it has; 64 the daemon says that its configuration is wrong.

mod entries;
mod escaped;
mod groups;
mod log;
mod marks;
mod network;
mod outside;
mod watchdog;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base::Instant;
use os::event::{Events, Interest, Poll, Timer, Token};
use os::gate::{Gate, GateError};
use os::lock::{Heir, Lock, LockError};
use os::netlink::Netlink;
use os::notify::Init;
use os::process::{Containment, Exit, Process, Relaunch, raise_open_files};
use os::shared::{DaemonSide, GUARD_TICK, Gated, GuardSide, Promises};
use os::signal::{Signal, Signals};

use entries::Entries;
use log::{Line, say};
use network::Network;
use watchdog::{Former, Watchdog};

/// Real-time priority of the guard; the daemon's loop must be below.
pub const PRIORITY: u8 = 60;
/// The first pause before a start of a daemon that keeps dying early, doubled with each.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A daemon that lived this long has recovered: the next death is a first one again. As long as
/// it takes to be a member, so that only a daemon that dies of its own start is made to wait:
/// waiting costs the services their lease.
const RECOVERED: Duration = Duration::from_millis(250);
/// Deaths in a row, each soon after the start, before the next start waits.
const QUICK_RESTARTS: u32 = 2;
/// A daemon that will not be back before this is said goodbye for.
const GOODBYE_AFTER: Duration = Duration::from_secs(1);
/// How long stale services of a former guard may take to be gone.
const LEFTOVERS_BUDGET: Duration = Duration::from_secs(10);
/// How long everything may take to be gone at the end.
const FINISH_BUDGET: Duration = Duration::from_secs(10);
/// What a service manager gives the guard beyond its own budgets.
const INIT_MARGIN: Duration = Duration::from_secs(15);
/// How long a former guard or its daemon may take to be gone before this one is refused.
const LOCK_BUDGET: Duration = Duration::from_secs(5);
/// A daemon that is stopped for as long is not one that is traced, which stops again and again.
const STOPPED_MIN: Duration = Duration::from_millis(500);
/// How often its lock is tried meanwhile.
const LOCK_TICK: Duration = Duration::from_millis(20);
/// How often stale services of a former guard are looked at.
const LEFTOVERS_TICK: Duration = Duration::from_millis(5);
/// Files that the guard has open beside those of control groups.
const OPEN_FILES: u64 = 256;
/// Exit code when something could not be ended, or is not known to have ended.
const UNENDED: u8 = 2;
/// Exit code of a daemon whose configuration or command line is wrong (EX_USAGE).
const USAGE: u8 = 64;

const SIGNALS: Token = Token(0);
const TIMER: Token = Token(1);
const BELL: Token = Token(2);

/// What the guard is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemon's program; `/proc/self/exe` is this one.
    pub program: PathBuf,
    /// Its arguments, the first being its own name. `--shared-fd NUMBER` is added.
    pub arguments: Vec<OsString>,
    /// The name of this node's control groups: [`os::cgroup::tree_name`].
    pub tree: String,
    /// The file that allows one guard per node.
    pub lock: PathBuf,
    /// Where it is written that a watchdog is armed: gone after a start of the machine.
    pub armed: PathBuf,
    /// All service addresses of the configuration: none of them may be here when a daemon is
    /// started for the first time.
    pub addresses: BTreeSet<IpAddr>,
    /// How long a killed service may take to be gone before that is an alarm, until the daemon says.
    pub release_budget: Duration,
    /// How long an orderly leave may take, until the daemon says.
    pub leave_budget: Duration,
}

/// The daemon's end of the shared memory, from the number after `--shared-fd`. Once per process.
///
/// # Errors
/// When the number is not a guard's memory, or the guard is not this process's parent.
pub fn attach(number: i32) -> anyhow::Result<DaemonSide> {
    let mut side = DaemonSide::inherit(number)
        .context("this daemon must be started by its guard: mainstay run")?;
    if let Err(error) = side.name_itself() {
        eprintln!(
            "mainstay: the lock's file cannot be written ({error}): if the guard were killed and this \
             daemon stopped, the next guard would not know it"
        );
    }
    Ok(side)
}

/// Is the guard until it is told to end, or the daemon ends for good.
///
/// Must be called before the process starts a thread.
///
/// # Errors
/// When the guard cannot be set up: another one runs, stale services do not die, or the kernel
/// refuses what cannot be done without.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    // Before the signals are ours: who waits here can be interrupted.
    let lock = take_lock(&options.lock)?;
    let wanted = [Signal::Terminate, Signal::Interrupt, Signal::Hangup, Signal::Child];
    let signals = Signals::block(&wanted).context("cannot listen for signals")?;
    os::process::become_subreaper().context("cannot become the reaper of orphans")?;
    let mut containment = Containment::open(&options.tree);
    let own = options.lock.with_file_name("cgroup");
    let mut is_mounted = false;
    if let Containment::Marked { .. } = containment {
        match os::cgroup::mount_privately(&own) {
            Ok(()) => {
                is_mounted = true;
                containment = Containment::open(&options.tree);
            }
            // Said with the promises: this machine has no control groups for us.
            Err(error) => say!("cannot mount the control groups for this node alone: {error}"),
        }
    }
    // First the kills; then what a former guard left open is closed; then there is time to wait.
    let leftovers = in_time(&containment, Containment::kill_all)
        .context("cannot end services of a former guard")?;
    let (gate, gated) = open_gate(options);
    await_leftovers(&containment, leftovers)?;
    remove_leftovers(&known_addresses(options, gate.as_ref()));

    let shared = GuardSide::create().context("cannot make the memory shared with the daemon")?;
    shared.set_lock(lock.number());
    shared.set_leftovers(leftovers as u64);
    let mut arguments = options.arguments.clone();
    arguments.extend(["--shared-fd".into(), shared.number().to_string().into()]);
    let mut inherit = vec![shared.number(), shared.bell().number(), lock.number()];
    if let Some(descriptors) = gate.as_ref().and_then(Gate::descriptors) {
        let numbers = descriptors.map(|descriptor| descriptor.as_raw_fd());
        shared.set_gate(numbers);
        inherit.extend(numbers);
    }
    let mut relaunch = Relaunch::new(&options.program, arguments, inherit)
        .context("cannot prepare the start of the daemon")?;
    let (may, former) = raise_open_files(groups::OPEN_FILES + OPEN_FILES)
        .context("cannot raise the limit of open files")?;
    relaunch.limit_open_files(former);
    if may.current < groups::OPEN_FILES + OPEN_FILES {
        say!("only {} files may be open here; promises are weaker with many services", may.current);
    }
    let shared = Arc::new(shared);
    let revoker = gate.as_ref().map(Gate::revoker);
    // From here on there are two threads. It is started before this one gets its class and its memory.
    let network = Network::start(shared.clone(), gate)?;
    let entries = Entries::new(&containment, &options.tree, network, revoker, &shared)?;
    // Everything of a former guard is gone: its watchdog may be fed again.
    let former = Former::read(&options.armed);
    let watchdog = Watchdog::start(shared.clone(), &options.armed, former)?;

    let poll = Poll::new()?;
    let timer = Timer::new()?;
    poll.add(&signals, SIGNALS, Interest::Read)?;
    poll.add(&timer, TIMER, Interest::Read)?;
    poll.add(shared.bell(), BELL, Interest::Read)?;

    let locked = os::realtime::lock_memory();
    let real_time = os::realtime::round_robin(PRIORITY);
    os::realtime::touch_stack::<{ 128 << 10 }>();
    for refused in [&locked, &real_time].into_iter().filter_map(|result| result.as_ref().err()) {
        say!("{}; promises are weaker", refused.reason);
    }
    if let Containment::Marked { refusal, .. } = containment {
        say!("no control groups here (error {refusal}); services are kept together by marks only");
    }
    shared.set_promises(Promises {
        contained: match containment {
            Containment::Groups(_) => Ok(()),
            Containment::Marked { refusal, .. } => Err(refusal),
        },
        real_time: real_time.map_err(|refused| refused.errno),
        locked: locked.map_err(|refused| refused.errno),
        gated,
    });

    let init = Init::of_this_process().unwrap_or_else(|error| {
        say!("the service manager that started this cannot be told anything: {error}");
        Init::nobody()
    });
    init.tell("READY=1\nSTATUS=the guard is ready, the daemon starts");
    let mut guard = Guard {
        init,
        shared,
        relaunch,
        entries,
        watchdog,
        daemon: Daemon::Dead { restart: Some(Instant::ZERO) },
        pause: Duration::ZERO,
        early_deaths: 0,
        restarts: 0,
        refused: false,
        leave: None,
        finish: None,
        said_goodbye: true,
        release_budget: options.release_budget,
        leave_budget: options.leave_budget,
    };
    let mut events = Events::with_capacity(8);
    let code = loop {
        let now = os::clock::boottime();
        if let Some(code) = guard.turn(now) {
            break code;
        }
        timer.set(Some(guard.wake(now)));
        poll.wait(&mut events, None)?;
        timer.take();
        guard.shared.bell().take();
        while let Some(signal) = signals.take() {
            guard.signal(signal, os::clock::boottime());
        }
        while let Some(reaped) = os::process::reap() {
            guard.reaped(reaped, os::clock::boottime());
        }
    };
    // It stops the device, or says why it stays armed.
    guard.watchdog.end();
    if code != UNENDED {
        // Nothing is left to be killed: now there is time to wait for the network.
        guard.entries.into_network().end();
        // Everything is over, and what is left are empty directories: no reason for another code.
        if let Err(error) = containment.dissolve() {
            say!("cannot remove the control groups (error {})", error.raw_os_error().unwrap_or(0));
        }
        if is_mounted && let Err(error) = os::cgroup::unmount_private(&own) {
            say!("cannot unmount the control groups (error {})", error.raw_os_error().unwrap_or(0));
        }
    }
    Ok(ExitCode::from(code))
}

/// Puts the service addresses under the kernel's gate, closed. Where that cannot be it is said now, and
/// with the promises.
fn open_gate(options: &Options) -> (Option<Gate>, Gated) {
    match Gate::open(&options.tree, &options.addresses) {
        Ok(gate) => {
            if gate.was_there() {
                say!("found the lease gate of a former guard: closed it");
            }
            let gated = match gate.sets() {
                None => Gated::Programs,
                Some(refused) => {
                    let programs = refused.map_or(0, GateError::errno);
                    let why = refused.map(ToString::to_string).unwrap_or_default();
                    say!("the lease gate is one of nftables: no programs ({why})");
                    Gated::Sets { programs }
                }
            };
            (Some(gate), gated)
        }
        Err(error) => {
            let (programs, sets) = error.both();
            say!("no lease gate: {:#}; promises are weaker", anyhow::Error::from(error));
            (None, Gated::Nothing { programs, sets })
        }
    }
}

/// Removes the service addresses that a former guard and its daemon left when both were killed.
/// One that stays is said so, runs out by itself, and is removed by the daemon as soon as it looks.
fn remove_leftovers(addresses: &BTreeSet<IpAddr>) {
    let look = || -> anyhow::Result<_> {
        let mut netlink = Netlink::open()?;
        let interfaces = netlink.interfaces()?;
        Ok((netlink, interfaces))
    };
    let (mut netlink, interfaces) = match look() {
        Ok(found) => found,
        Err(error) => {
            return say!("cannot look for service addresses of a former guard: {error:#}");
        }
    };
    for interface in interfaces {
        for seen in interface.addresses.iter().filter(|seen| addresses.contains(&seen.address)) {
            let (address, name) = (seen.address, &interface.name);
            match netlink.remove_address(interface.index, address, seen.prefix) {
                Ok(()) => say!("removed {address} from {name}: a former guard had left it"),
                Err(error) => {
                    let errno = error.errno().unwrap_or(0);
                    say!("{address} on {name}, from a former guard, stays (error {errno})");
                }
            }
        }
    }
}

/// All service addresses that may be here: those of the configuration, and those that it had when a
/// former guard knew it.
fn known_addresses(options: &Options, gate: Option<&Gate>) -> BTreeSet<IpAddr> {
    let mut all = options.addresses.clone();
    match gate.map(Gate::addresses) {
        Some(Ok(known)) => all.extend(known),
        Some(Err(error)) => say!("cannot list the addresses under the lease gate: {error}"),
        None => {}
    }
    all
}

/// What a look at all processes says. It may wait for one of them for ever: then that is an error, and the
/// thread that waits goes with this process. What is in control groups was killed before.
fn in_time<T: Send + 'static>(
    containment: &Containment,
    look: fn(&Containment) -> std::io::Result<T>,
) -> anyhow::Result<T> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let containment = containment.clone();
    let thread = std::thread::Builder::new().name("leftovers".into()).spawn(move || {
        // Whoever asked has given up when this is too late.
        let _too_late = sender.send(look(&containment));
    })?;
    let found = receiver.recv_timeout(LEFTOVERS_BUDGET);
    let found = found.with_context(|| {
        format!(
            "the look at all processes for what a former guard has left did not end within \
             {LEFTOVERS_BUDGET:?}: one of them cannot be looked at, as when its disk or network file \
             system does not answer. `ps -eo pid,stat,comm` shows such a one with D: end what it waits \
             for, or restart this machine"
        )
    })??;
    // Programs can be relaunched by a process with one thread only.
    anyhow::ensure!(thread.join().is_ok(), "the look at all processes ended by a fault");
    let poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    let until = os::clock::boottime() + LEFTOVERS_BUDGET;
    while !os::process::is_single_threaded()? {
        anyhow::ensure!(
            os::clock::boottime() < until,
            "a thread that looks at all processes still waits for one after {LEFTOVERS_BUDGET:?}: `ps -eo pid,stat,comm` \
             shows such a one with D: end what it waits for, or restart this machine"
        );
        poll.wait(&mut events, Some(LEFTOVERS_TICK))?;
    }
    Ok(found)
}

/// Waits until what a former guard of this node left running, and was killed, is gone: nobody has the
/// right to run it.
fn await_leftovers(containment: &Containment, count: usize) -> anyhow::Result<()> {
    let poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    let until = os::clock::boottime() + LEFTOVERS_BUDGET;
    let look = || in_time(containment, Containment::nothing_left);
    while !look().context("cannot look for services of a former guard")? {
        anyhow::ensure!(
            os::clock::boottime() < until,
            "services of a former guard were killed and are not gone after {LEFTOVERS_BUDGET:?}; \
             a process in uninterruptible sleep needs its device back, or this node a reset"
        );
        poll.wait(&mut events, Some(LEFTOVERS_TICK))?;
    }
    containment.remove_all().context("cannot remove the control groups of a former guard")?;
    if count > 0 {
        say!("ended {count} services that a former guard had left running");
    }
    Ok(())
}

/// Takes the lock of this node. What was killed or told to end a moment ago may still hold it: it
/// gets [`LOCK_BUDGET`] to be gone. A daemon of a former guard that runs ends its services by itself, when their
/// lease is over; one that is stopped would never, so it is ended.
fn take_lock(path: &Path) -> anyhow::Result<Lock> {
    let own = format!("mainstay guard, process {}", std::process::id());
    let poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    let until = os::clock::boottime() + LOCK_BUDGET;
    let (mut is_told, mut stopped_since) = (false, None);
    loop {
        let (held, daemon) = match Lock::take(path, &own) {
            Err(held @ LockError::Held { daemon, .. }) if os::clock::boottime() < until => {
                (held, daemon)
            }
            Err(held @ LockError::Held { .. }) => {
                return Err(held).context("another mainstay runs on this node");
            }
            taken => return Ok(taken?),
        };
        if !is_told {
            say!("{held}; waiting up to {LOCK_BUDGET:?} for its end");
            is_told = true;
        }
        let stopped = match daemon.map_or(Ok(None), stopped_orphan) {
            Ok(stopped) => stopped,
            Err(error) => {
                say!("the daemon of a former guard cannot be looked at: {error}");
                None
            }
        };
        let now = os::clock::boottime();
        match (stopped, stopped_since) {
            (None, _) => stopped_since = None,
            (Some(_), None) => stopped_since = Some(now),
            (Some(daemon), Some(since)) if now.since(since) >= STOPPED_MIN => {
                let pid = daemon.pid();
                daemon.kill().context("cannot end the stopped daemon of a former guard")?;
                say!("the daemon of a former guard, process {pid}, is stopped: it was ended");
            }
            (Some(_), Some(_)) => {}
        }
        poll.wait(&mut events, Some(LOCK_TICK))?;
    }
}

/// A daemon that has lost its guard, if it is stopped.
fn stopped_orphan(daemon: Heir) -> std::io::Result<Option<Process>> {
    let Some(process) = Process::adopt(daemon.pid, daemon.started)? else { return Ok(None) };
    let state = os::process::state(daemon.pid)?;
    let is_one = state.is_some_and(|state| state.parent != daemon.guard && state.is_stopped);
    Ok(is_one.then_some(process))
}

#[derive(Clone, Copy, Debug)]
enum Daemon {
    Running {
        pid: u32,
        since: Instant,
    },
    /// `None`: it is not started again.
    Dead {
        restart: Option<Instant>,
    },
}

/// Why and until when everything is being ended.
#[derive(Clone, Copy, Debug)]
struct Finish {
    code: u8,
    until: Instant,
}

struct Guard {
    init: Init,
    shared: Arc<GuardSide>,
    relaunch: Relaunch,
    entries: Entries,
    watchdog: Watchdog,
    daemon: Daemon,
    /// Before the next restart.
    pause: Duration,
    early_deaths: u32,
    restarts: u64,
    /// The daemon refuses its configuration: the end, as soon as no service has a lease any more.
    refused: bool,
    /// Told to end: how long the daemon may take to leave.
    leave: Option<Instant>,
    finish: Option<Finish>,
    /// For the daemon that died last.
    said_goodbye: bool,
    release_budget: Duration,
    leave_budget: Duration,
}

impl Guard {
    /// Does what is due; the exit code when all is done.
    fn turn(&mut self, now: Instant) -> Option<u8> {
        let release = self.shared.release_budget().unwrap_or(self.release_budget);
        // First the deadlines, before anything else can take time.
        let all = self.finish.is_some();
        self.entries.enforce(&self.shared, now, all, release);
        self.watchdog.turn(&self.shared, now);
        self.shared.tick(now);
        if self.refused && !all && self.entries.is_none_held(&self.shared) {
            self.finish(now, USAGE);
        }

        match self.daemon {
            Daemon::Running { pid, .. } => {
                if self.leave.is_some_and(|until| now >= until) {
                    say!("the daemon did not leave in time: killing it");
                    self.leave = Some(Instant::FAR);
                    self.note_kill(os::process::kill(pid));
                }
            }
            Daemon::Dead { restart: Some(restart) } if now >= restart => self.start(now),
            Daemon::Dead { restart } => {
                let is_away = restart.is_none_or(|restart| restart.since(now) >= GOODBYE_AFTER);
                // A storage service that did not confirm its stop may be mounted still.
                let clean = !self.shared.sight().storage;
                let may = !self.said_goodbye && is_away && clean;
                if may && self.entries.nothing_left(&self.shared, self.finish.is_some()) {
                    self.say_goodbye();
                }
            }
        }
        self.finished(now)
    }

    /// When to look again, at the latest.
    fn wake(&self, now: Instant) -> Instant {
        let mut wake = now + GUARD_TICK;
        wake = wake.min(self.entries.next_deadline());
        if self.entries.is_something_dying() || self.finish.is_some() {
            wake = wake.min(now + self.entries.dying_tick());
        }
        if let Daemon::Dead { restart: Some(restart) } = self.daemon {
            wake = wake.min(restart);
        }
        if let (Some(leave), Daemon::Running { .. }) = (self.leave, self.daemon) {
            wake = wake.min(leave);
        }
        wake
    }

    fn signal(&mut self, signal: Signal, now: Instant) {
        let running = match self.daemon {
            Daemon::Running { pid, .. } => Some(pid),
            Daemon::Dead { .. } => None,
        };
        match signal {
            Signal::Terminate | Signal::Interrupt => match (running, self.leave) {
                (Some(pid), None) => {
                    say!("told to end: the daemon leaves");
                    self.entries.forget_kills();
                    let budget = self.shared.leave_budget().unwrap_or(self.leave_budget);
                    self.leave = Some(now + budget);
                    self.tell_stopping(budget);
                    self.note_kill(os::process::terminate(pid));
                    // One that somebody stopped must hear it too.
                    self.note_kill(os::process::interrupt_stop(pid));
                }
                (Some(_), Some(_)) => self.leave = self.leave.map(|until| until.min(now)),
                (None, _) => {
                    say!("told to end, and there is no daemon: ending all services");
                    self.leave = Some(now);
                    self.tell_stopping(Duration::ZERO);
                    self.finish(now, 0);
                }
            },
            Signal::Hangup => {
                if let Some(pid) = running {
                    self.note_kill(os::process::hang_up(pid));
                }
            }
            // The loop reaps in every turn.
            Signal::Child | Signal::User1 => {}
        }
    }

    /// The service manager ends what is left when a stop takes longer than it was told: never before the
    /// guard itself has given up.
    fn tell_stopping(&self, leave: Duration) {
        use std::fmt::Write;
        let budget = leave + FINISH_BUDGET + INIT_MARGIN;
        let mut line = Line::new();
        let written = write!(
            line,
            "STOPPING=1\nSTATUS=services leave, for {} s at most\nEXTEND_TIMEOUT_USEC={}",
            leave.as_secs(),
            budget.as_micros()
        );
        written.expect("three short lines");
        if !self.init.tell(line.text()) {
            say!("the service manager does not listen how long this stop may take");
        }
    }

    /// A child ended: the daemon, or an orphan that nobody waits for.
    fn reaped(&mut self, reaped: os::process::Reaped, now: Instant) {
        let Daemon::Running { pid, since } = self.daemon else { return };
        if pid != reaped.pid {
            return;
        }
        let exit = Exit::from_wait(reaped.status);
        let lived = now.since(since);
        self.said_goodbye = false;
        self.entries.daemon_died();
        self.daemon = Daemon::Dead { restart: None };
        if self.leave.is_some() || exit == Exit::Code(0) {
            say!("the daemon (process {pid}) {exit}");
            let code = u8::from(exit != Exit::Code(0));
            self.finish(now, code);
            return;
        }
        if exit == Exit::Code(USAGE.into()) {
            let leased = if self.entries.is_none_held(&self.shared) {
                ""
            } else {
                "; services run on for the rest of their lease"
            };
            say!(
                "the daemon (process {pid}) cannot use its configuration, see above{leased}; \
                 mend it, then start again: mainstay run"
            );
            self.refused = true;
            return;
        }
        self.early_deaths = if lived >= RECOVERED { 0 } else { self.early_deaths + 1 };
        self.pause = if self.early_deaths <= QUICK_RESTARTS {
            Duration::ZERO
        } else {
            (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX)
        };
        let pause = self.pause;
        self.restarts += 1;
        self.shared.set_restarts(self.restarts, reaped.status);
        self.daemon = Daemon::Dead { restart: Some(now + pause) };
        say!(
            "the daemon (process {pid}) {exit} after {} s; services run on within their lease; \
             starting it again in {} ms",
            lived.as_secs(),
            pause.as_millis()
        );
    }

    fn start(&mut self, now: Instant) {
        match self.relaunch.start() {
            Ok(pid) => self.daemon = Daemon::Running { pid, since: now },
            Err(error) => {
                self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                let errno = error.raw_os_error().unwrap_or(0);
                say!("cannot start the daemon (error {errno}); again in {:?}", self.pause);
                self.daemon = Daemon::Dead { restart: Some(now + self.pause) };
            }
        }
    }

    /// From now on everything is ended, whatever its deadline.
    fn finish(&mut self, now: Instant, code: u8) {
        self.daemon = Daemon::Dead { restart: None };
        if self.leave.is_none() {
            self.entries.forget_kills();
        }
        self.finish.get_or_insert(Finish { code, until: now + FINISH_BUDGET });
        let release = self.shared.release_budget().unwrap_or(self.release_budget);
        self.entries.enforce(&self.shared, now, true, release);
        self.entries.kill_rest();
    }

    fn finished(&mut self, now: Instant) -> Option<u8> {
        let finish = self.finish?;
        let stays = self.shared.sight().storage;
        if (self.said_goodbye || stays) && self.entries.nothing_left(&self.shared, true) {
            let killed = u8::from(self.entries.has_killed());
            let stays = if stays { UNENDED } else { 0 };
            return Some(finish.code.max(killed).max(stays));
        }
        if now >= finish.until {
            say!("processes of services are still there after {FINISH_BUDGET:?}; leaving them");
            return Some(UNENDED);
        }
        None
    }

    /// Tells the peers that the life of the dead daemon is over.
    fn say_goodbye(&mut self) {
        let mut failures = 0;
        let count = self.shared.goodbyes(|source, destination, frame| {
            failures += u32::from(!send(source, destination, frame));
        });
        self.said_goodbye = true;
        if count > 0 {
            say!("said goodbye for the dead daemon in {count} frames, {failures} not sent");
        }
    }

    fn note_kill(&self, result: std::io::Result<()>) {
        // ESRCH: it ended at this moment, and the next turn reaps it.
        if let Err(error) = result {
            let errno = error.raw_os_error().unwrap_or(0);
            say!("a signal to the daemon was refused (error {errno})");
        }
    }
}

/// Sends one datagram from `source`, or from any address if that one is not here now.
fn send(source: SocketAddr, destination: SocketAddr, frame: &[u8]) -> bool {
    let any: IpAddr = match destination {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut other_port = source;
    other_port.set_port(0);
    [source, other_port, SocketAddr::new(any, 0)].into_iter().any(|from| {
        UdpSocket::bind(from).is_ok_and(|socket| {
            socket.set_nonblocking(true).is_ok() && socket.send_to(frame, destination).is_ok()
        })
    })
}
