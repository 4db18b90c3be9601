//! Start, watch and end the processes of services, so that nothing of them stays behind.
//!
//! [`Containment::Groups`] is the strong way: each resource in a control group of its own (module
//! [`crate::cgroup`]). What has left its group is found by its session, its parents and the marker
//! ([`Census`]). Where the kernel does not let us have them (inside most containers and user
//! namespaces) there is [`Containment::Marked`]: each resource in a session of its own, and a marker
//! in its environment, which descendants inherit; to end it, `/proc` is searched for the marker and
//! for the sessions until nothing is found. That is **weaker**: a process that clears its environment
//! *and* leaves its session escapes, one that forks fast enough may survive a round, and looking takes
//! tens of milliseconds, or as long as a file system hangs that one of all processes is started from. The guard
//! says so ([`crate::shared::Promises`]).
//!
//! A process starts with no descriptor of ours, an empty signal mask, default signal actions, an
//! ordinary scheduling class and a clean environment. It is watched by a pidfd (pidfd_open(2)), which
//! means this very process and never a later one with its number, and which also works for a process
//! that a former daemon started. Nothing here ties its life to the daemon's: services live on while
//! the daemon is restarted, and are reaped by the guard then.

mod census;
mod escaped;
mod relaunch;
mod search;
pub(crate) mod watch;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use crate::cgroup::{Group, Tree};
use crate::shared::Permit;
use crate::sys;

pub use census::{CENSUS_MAX, Census, Evidence, Found, Groups, Owner, Reach};
pub(crate) use escaped::Escaped;
use escaped::{Judged, SILENCE_MAX, Wanted};
pub use relaunch::{
    OpenFiles, Reaped, Relaunch, become_subreaper, hang_up, has_ended, interrupt_stop,
    is_single_threaded, kill, kill_group, raise_open_files, reap, terminate,
};
pub use search::{Search, search};

/// The environment variable that marks a service's processes: `TREE/SERVICE/RESOURCE/`.
pub const MARKER: &str = "MAINSTAY_UNIT";
/// Where programs are found when nothing else is said.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How the processes of services are kept together.
#[derive(Clone, Debug)]
pub enum Containment {
    /// By control groups.
    Groups(Tree),
    /// By sessions and a marker in the environment: weaker.
    Marked {
        /// The name that the tree would have; the marker begins with it.
        tree: String,
        /// Why there are no control groups, as an error number.
        refusal: i32,
    },
}

/// A program to run as a resource.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// The program and its arguments.
    pub command: &'a [String],
    /// Where it runs; `None`: `/`.
    pub directory: Option<&'a str>,
    /// Its environment, besides PATH and the marker.
    pub environment: &'a [(String, String)],
    /// Whom it runs as; `None`: as this process.
    pub user: Option<&'a str>,
    /// Where its output goes.
    pub output: Output<'a>,
}

/// Where the output of a service goes.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// To this process's standard error.
    Inherit,
    /// Appended to a file; keep it bounded by [`trim_log`].
    File(&'a Path),
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is nothing to run.
    #[error("the command is empty")]
    EmptyCommand,
    /// The machine does not know the user.
    #[error("there is no user {0} on this machine")]
    UnknownUser(String),
    /// Something of this resource still runs.
    #[error("processes of this resource still run: {0:?}")]
    Occupied(Vec<u32>),
    /// The service lost its right to run while it was being started.
    #[error("the service may not run here any more")]
    NotPermitted,
    /// A step failed.
    #[error("cannot {operation} {object}: {source}")]
    Io {
        /// The step.
        operation: &'static str,
        /// What it was about.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It is gone and somebody else was told how (an adopted process, kernel before 6.15).
    Unknown,
}

impl Exit {
    /// From the encoding of wait(2).
    #[must_use]
    pub fn from_wait(status: i32) -> Exit {
        match status & 0x7f {
            0 => Exit::Code(status >> 8 & 0xff),
            signal => Exit::Signal(signal),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "ended with code {code}"),
            Exit::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Exit::Unknown => write!(f, "ended"),
        }
    }
}

fn failed<'a>(
    operation: &'static str,
    object: impl Into<String> + 'a,
) -> impl FnOnce(io::Error) -> SpawnError + 'a {
    move |source| SpawnError::Io { operation, object: object.into(), source }
}

impl Containment {
    /// Control groups if the kernel lets us have them, else marked sessions. `tree` is from
    /// [`crate::cgroup::tree_name`].
    #[must_use]
    pub fn open(tree: &str) -> Containment {
        match Tree::open(tree) {
            Ok(tree) => Containment::Groups(tree),
            Err(error) => Containment::Marked {
                tree: tree.to_owned(),
                refusal: error.raw_os_error().unwrap_or(libc::EIO),
            },
        }
    }

    /// The control group of a service, for its description in the shared memory.
    #[must_use]
    pub fn group_path(&self, service: &str) -> Option<PathBuf> {
        match self {
            Containment::Groups(tree) => Some(tree.service(service).path().to_owned()),
            Containment::Marked { .. } => None,
        }
    }

    /// Starts a program as a resource of a service. Waits until the program is loaded (so that
    /// "no such file" is an error here), hence for a worker thread, not for the loop.
    ///
    /// # Errors
    /// When it cannot be started; then nothing of it runs.
    pub fn spawn(
        &self,
        service: &str,
        resource: &str,
        program: &Program<'_>,
    ) -> Result<Process, SpawnError> {
        self.start(service, resource, program, None)
    }

    /// As [`Containment::spawn`], if the service still may run when the new process is in its control
    /// group, so that none starts that the guard has already killed. **The way for all services that
    /// are under the guard.**
    ///
    /// # Errors
    /// [`SpawnError::NotPermitted`] when it may not, and as [`Containment::spawn`].
    pub fn spawn_permitted(
        &self,
        service: &str,
        resource: &str,
        program: &Program<'_>,
        permit: &Permit,
    ) -> Result<Process, SpawnError> {
        self.start(service, resource, program, Some(permit.clone()))
    }

    /// Makes a program that only works for a resource, as `mount` does, start among the resource's
    /// processes and in a session of its own, so that it is found by the next life of a daemon that dies.
    /// Others of the resource may be there. It does not start (`ECANCELED`) when the permit is over.
    ///
    /// # Errors
    /// When the control group cannot be made or opened.
    pub fn enclose(
        &self,
        service: &str,
        resource: &str,
        command: &mut Command,
        permit: Option<&Permit>,
    ) -> io::Result<()> {
        let group = match self {
            Containment::Groups(tree) => {
                let group = tree.service(service).child(resource);
                group.create()?;
                Some(group.entrance()?)
            }
            Containment::Marked { .. } => None,
        };
        command.env(MARKER, self.marker(service, Some(resource)));
        let entry = sys::Entry { group, user: None, permit: permit.cloned() };
        sys::enter_before_exec(command, entry);
        Ok(())
    }

    fn start(
        &self,
        service: &str,
        resource: &str,
        program: &Program<'_>,
        permit: Option<Permit>,
    ) -> Result<Process, SpawnError> {
        let (name, arguments) = program.command.split_first().ok_or(SpawnError::EmptyCommand)?;
        let occupants = self
            .pids(service, Some(resource))
            .map_err(failed("look for processes of", resource))?;
        if !occupants.is_empty() {
            return Err(SpawnError::Occupied(occupants));
        }
        let mut command = Command::new(name);
        command.args(arguments).env_clear().current_dir(program.directory.unwrap_or("/"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()));
        let user = match program.user {
            None => None,
            Some(user) => {
                let unknown = || SpawnError::UnknownUser(user.to_owned());
                let name = CString::new(user).map_err(|_| unknown())?;
                let account = sys::account(&name).map_err(failed("look up user", user))?;
                let account = account.ok_or_else(unknown)?;
                command.env("HOME", &account.home).env("USER", user).env("LOGNAME", user);
                Some(account)
            }
        };
        command.envs(program.environment.iter().map(|(name, value)| (name, value)));
        command.env(MARKER, self.marker(service, Some(resource)));
        command.stdin(Stdio::null());
        let (out, err) = match program.output {
            Output::Inherit => {
                let copy = || {
                    rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)
                        .map_err(|error| failed("copy", "standard error")(error.into()))
                };
                (Stdio::from(copy()?), Stdio::from(copy()?))
            }
            Output::File(path) => {
                let log = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
                let log = log.map_err(failed("open", path.display().to_string()))?;
                let copy = log.try_clone().map_err(failed("copy", path.display().to_string()))?;
                (Stdio::from(log), Stdio::from(copy))
            }
        };
        command.stdout(out).stderr(err);
        let group = match self {
            Containment::Groups(tree) => {
                let group = tree.service(service).child(resource);
                let path = group.path().display().to_string();
                group.create().map_err(failed("make control group", path.clone()))?;
                Some(group.entrance().map_err(failed("open control group", path))?)
            }
            Containment::Marked { .. } => None,
        };
        sys::enter_before_exec(&mut command, sys::Entry { group, user, permit });
        let child = command.spawn().map_err(|error| match error.raw_os_error() {
            Some(libc::ECANCELED) => SpawnError::NotPermitted,
            _ => failed("start", name.as_str())(error),
        })?;
        let pid = child.id();
        // Dropping a std child neither ends nor reaps it; from here on the pidfd is the handle.
        drop(child);
        // It is our child and nobody has reaped it, so the number is still its own.
        let adopted = Process::open(pid).map_err(failed("watch", name))?;
        let process = adopted.expect("a child that was not reaped can be watched");
        self.remember(service, resource, &process);
        Ok(process)
    }

    /// Remembers the first process of a resource that a former life of this program has started: who is of its
    /// session is of the resource.
    pub fn remember(&self, service: &str, resource: &str, process: &Process) {
        if let Containment::Groups(tree) = self {
            tree.escaped.remember(service, resource, (process.pid, process.started));
        }
    }

    /// Sends SIGTERM to all processes of a service, or of one resource; with control groups to those in the group
    /// before anything is asked. Who does not say in a moment whether it belongs to it is left out, and who is asked
    /// after it: [`Containment::is_empty`] tells.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn terminate(&self, service: &str, resource: Option<&str>) -> io::Result<()> {
        let Containment::Groups(tree) = self else {
            for pid in self.pids(service, resource)? {
                signal(pid, Signal::TERM)?;
            }
            return Ok(());
        };
        let wanted = self.wanted(tree, service, resource);
        // While their parents are there.
        let seen = tree.escaped.remember_left(&wanted).map(drop);
        for pid in group_of(tree, service, resource).pids()? {
            signal(pid, Signal::TERM)?;
        }
        seen.and(tree.escaped.find(&wanted, Found::terminate).map(drop))
    }

    /// Ends all processes of a service, or of one resource. They are gone when
    /// [`Containment::is_empty`] says so.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self, service: &str, resource: Option<&str>) -> io::Result<()> {
        match self {
            Containment::Groups(tree) => {
                let wanted = self.wanted(tree, service, resource);
                // While their parents are there.
                let seen = tree.escaped.remember_left(&wanted);
                group_of(tree, service, resource).kill()?;
                tree.escaped.kill(&wanted)?;
                // Who only may belong to it: `Containment::is_empty` tells.
                seen?.map_or(Ok(()), |silent| Err(silent.error()))
            }
            Containment::Marked { .. } => {
                let marker = self.marker(service, resource);
                // Each round finds what the former one's victims had started meanwhile.
                for _ in 0..search::ROUNDS_MAX {
                    if search(&Search { marker: Some(&marker), sessions: &[], kill: true })? == 0 {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Whether nothing of a service, or of one resource, lives. With control groups no process is waited for longer
    /// than a moment: one that does not say whose it is may belong to it, and after some time that is an error.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn is_empty(&self, service: &str, resource: Option<&str>) -> io::Result<bool> {
        match self {
            Containment::Groups(tree) => {
                if !group_of(tree, service, resource).is_empty()? {
                    return Ok(false);
                }
                let wanted = self.wanted(tree, service, resource);
                let Judged { found, silent } = tree.escaped.find(&wanted, |_| Ok(()))?;
                match silent.filter(|_| found.is_empty()) {
                    None => Ok(found.is_empty()),
                    Some(silent) if crate::clock::boottime().since(silent.since) < SILENCE_MAX => {
                        Ok(false)
                    }
                    Some(silent) => Err(silent.error()),
                }
            }
            Containment::Marked { .. } => Ok(self.pids(service, resource)?.is_empty()),
        }
    }

    /// The living processes of a service, or of one resource.
    ///
    /// # Errors
    /// When they cannot be listed; also when none is known, and one does not say for some time whose it is.
    pub fn pids(&self, service: &str, resource: Option<&str>) -> io::Result<Vec<u32>> {
        match self {
            Containment::Groups(tree) => {
                let mut pids = group_of(tree, service, resource).pids()?;
                let wanted = self.wanted(tree, service, resource);
                let Judged { found, silent } = tree.escaped.find_patiently(&wanted)?;
                pids.extend(found.iter().map(|found| found.pid));
                match silent.filter(|_| pids.is_empty()) {
                    None => Ok(pids),
                    Some(silent) => Err(silent.error()),
                }
            }
            Containment::Marked { .. } => search::pids(&self.marker(service, resource)),
        }
    }

    /// Removes the control groups of a service, or of one resource, after its processes are gone.
    ///
    /// # Errors
    /// `EBUSY` while something lives in them.
    pub fn remove(&self, service: &str, resource: Option<&str>) -> io::Result<()> {
        match self {
            Containment::Groups(tree) => {
                tree.escaped.forget(service, resource);
                group_of(tree, service, resource).remove()
            }
            Containment::Marked { .. } => Ok(()),
        }
    }

    /// A handle that reports when the resource's group becomes empty, for a loop; `None` where there
    /// are no control groups (then ask [`Containment::is_empty`] now and then).
    ///
    /// # Errors
    /// When the group does not exist.
    pub fn watch(
        &self,
        service: &str,
        resource: &str,
    ) -> io::Result<Option<crate::cgroup::Handle>> {
        match self {
            Containment::Groups(tree) => tree.service(service).child(resource).handle().map(Some),
            Containment::Marked { .. } => Ok(None),
        }
    }

    /// Ends everything that any daemon of this node ever started here, and says how many services (or
    /// processes, where there are no control groups, and of those that have left theirs) that were. They are
    /// gone when [`Containment::nothing_left`] says so. Looks at all processes of the machine, and so may wait
    /// for one of them; what can be found without that is killed before.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill_all(&self) -> io::Result<usize> {
        self.kill_reached(true)
    }

    /// As [`Containment::kill_all`], of what is below this process and its parent: with control groups no
    /// other process is waited for.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill_descendants(&self) -> io::Result<usize> {
        self.kill_reached(false)
    }

    fn kill_reached(&self, everyone: bool) -> io::Result<usize> {
        match self {
            Containment::Groups(tree) => {
                let mut alive = 0;
                for group in tree.groups()? {
                    alive += usize::from(!group.is_empty()?);
                }
                let wanted = self.wanted_all(tree, everyone);
                // While their parents are there.
                let seen = tree.escaped.remember_left(&wanted);
                tree.all().kill()?;
                let (killed, silent) = tree.escaped.kill(&wanted)?;
                match seen?.or(silent) {
                    None => Ok(alive + killed),
                    Some(silent) => Err(silent.error()),
                }
            }
            Containment::Marked { tree, .. } => {
                let marker = format!("{tree}/");
                let mut found = 0;
                for _ in 0..search::ROUNDS_MAX {
                    match search(&Search { marker: Some(&marker), sessions: &[], kill: true })? {
                        0 => break,
                        count => found = found.max(count),
                    }
                }
                Ok(found)
            }
        }
    }

    /// Whether nothing that any daemon of this node started lives.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn nothing_left(&self) -> io::Result<bool> {
        match self {
            Containment::Groups(tree) => {
                if !tree.all().is_empty()? {
                    return Ok(false);
                }
                let wanted = self.wanted_all(tree, true);
                let Judged { found, silent } = tree.escaped.find_patiently(&wanted)?;
                match silent.filter(|_| found.is_empty()) {
                    None => Ok(found.is_empty()),
                    Some(silent) => Err(silent.error()),
                }
            }
            Containment::Marked { tree, .. } => {
                let marker = format!("{tree}/");
                Ok(search(&Search { marker: Some(&marker), sessions: &[], kill: false })? == 0)
            }
        }
    }

    /// Removes the groups of all services that are gone; the tree itself stays.
    ///
    /// # Errors
    /// `EBUSY` while something lives in one.
    pub fn remove_all(&self) -> io::Result<()> {
        match self {
            Containment::Groups(tree) => {
                for group in tree.groups()? {
                    group.remove()?;
                }
                Ok(())
            }
            Containment::Marked { .. } => Ok(()),
        }
    }

    /// Removes the groups of all services, and then the tree: nothing of this node runs any more, and
    /// nothing of it is left in the kernel.
    ///
    /// # Errors
    /// `EBUSY` while something lives in one.
    pub fn dissolve(&self) -> io::Result<()> {
        match self {
            Containment::Groups(tree) => tree.all().remove(),
            Containment::Marked { .. } => Ok(()),
        }
    }

    fn wanted(&self, tree: &Tree, service: &str, resource: Option<&str>) -> Wanted {
        Wanted {
            tree: tree.name().to_owned(),
            of: Some((service.to_owned(), resource.map(str::to_owned))),
            mark: self.marker(service, resource),
            everyone: false,
        }
    }

    /// All of the tree.
    fn wanted_all(&self, tree: &Tree, everyone: bool) -> Wanted {
        let mark = format!("{}/", tree.name());
        Wanted { tree: tree.name().to_owned(), of: None, mark, everyone }
    }

    /// The marker of a resource's processes, or the beginning of that of all of a service's.
    #[must_use]
    pub fn marker(&self, service: &str, resource: Option<&str>) -> String {
        let tree = match self {
            Containment::Groups(tree) => tree.name(),
            Containment::Marked { tree, .. } => tree.as_str(),
        };
        service_marker(tree, service) + &resource.map_or(String::new(), |r| format!("{r}/"))
    }
}

fn group_of(tree: &Tree, service: &str, resource: Option<&str>) -> Group {
    let group = tree.service(service);
    resource.map_or(group.clone(), |resource| group.child(resource))
}

/// Signals the process that has this number now; one that is gone is no error. Asks nobody.
fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let sent = pidfd_open(number, PidfdFlags::empty())
        .and_then(|descriptor| pidfd_send_signal(&descriptor, signal));
    match sent {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The beginning of the marker of all processes of a service.
#[must_use]
pub fn service_marker(tree: &str, service: &str) -> String {
    format!("{tree}/{service}/")
}

/// A process that is watched.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    started: u64,
    descriptor: OwnedFd,
}

impl Process {
    /// Watches the process with this number; `None` when there is none.
    ///
    /// # Errors
    /// When the process or the machine has no file descriptor left.
    pub fn open(pid: u32) -> io::Result<Option<Process>> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let descriptor = match pidfd_open(number, PidfdFlags::NONBLOCK) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Read after the descriptor was opened: if it names a later process now, adoption notices.
        let started = started(pid)?.unwrap_or(0);
        Ok(Some(Process { pid, started, descriptor }))
    }

    /// Watches the process that had this number and this start; `None` when it is gone.
    ///
    /// # Errors
    /// When the process or the machine has no file descriptor left.
    pub fn adopt(pid: u32, started: u64) -> io::Result<Option<Process>> {
        Ok(Process::open(pid)?.filter(|process| process.started == started))
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it started, in the kernel's ticks since the machine did.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started
    }

    /// Sends SIGTERM; a process that is gone is no error.
    ///
    /// # Errors
    /// When we may not.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGKILL; a process that is gone is no error.
    ///
    /// # Errors
    /// When we may not.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How it ended; `None` while it runs. Reaps it if it is a child of ours.
    ///
    /// # Errors
    /// Never in a correct program.
    pub fn exit(&self) -> io::Result<Option<Exit>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(self.descriptor.as_fd()), options) {
            Ok(None) => Ok(None),
            Ok(Some(status)) => {
                Ok(Some(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => Exit::Unknown,
                }))
            }
            // Not our child, or reaped already: the descriptor still says whether it ended.
            Err(rustix::io::Errno::CHILD) if self.ended()? => {
                let status = sys::exit_by_descriptor(self.descriptor.as_fd());
                Ok(Some(status.ok().flatten().map_or(Exit::Unknown, Exit::from_wait)))
            }
            Err(rustix::io::Errno::CHILD | rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn ended(&self) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut [PollFd::new(&self.descriptor, PollFlags::IN)], Some(&now))? > 0)
    }
}

impl AsFd for Process {
    /// Readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// When the process with this number started, in ticks; `None` when there is none.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn started(pid: u32) -> io::Result<Option<u64>> {
    Ok(stat(pid)?.and_then(|text| search::stat_field(&text, 22)))
}

/// `/proc/PID/stat`; `None` when there is no such process.
fn stat(pid: u32) -> io::Result<Option<Vec<u8>>> {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The number of its parent: another one than before when that has ended.
    pub parent: u32,
    /// By a signal or a debugger.
    pub is_stopped: bool,
}

/// What the process with this number does; `None` when there is none.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn state(pid: u32) -> io::Result<Option<State>> {
    let Some(text) = stat(pid)? else { return Ok(None) };
    let is_stopped = matches!(search::stat_state(&text), Some(b'T' | b't'));
    let parent = search::stat_field(&text, 4).and_then(|parent| u32::try_from(parent).ok());
    Ok(parent.map(|parent| State { parent, is_stopped }))
}

/// Keeps a log that somebody appends to at or below about `limit` bytes: the newer half is kept as
/// `PATH.1` and the file is emptied in place, because its writer has it open. True if it did.
///
/// # Errors
/// When the files cannot be read or written.
pub fn trim_log(path: &Path, limit: u64) -> io::Result<bool> {
    let mut log = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let length = log.metadata()?.len();
    if length <= limit {
        return Ok(false);
    }
    log.seek(SeekFrom::Start(length - limit / 2))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    let mut kept = File::create(name)?;
    io::copy(&mut Read::by_ref(&mut log).take(limit), &mut kept)?;
    kept.flush()?;
    log.set_len(0)?;
    Ok(true)
}
