//! Children in namespaces: the lab itself, the first process of each node, its programs.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, move_mount,
    open_tree, unmount,
};
use rustix::process::{Pid, Signal};

/// What a child was doing when it failed; the number travels through a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Clone = 1,
    UserMap,
    Execute,
    ControlGroup,
    Proc,
    Run,
    SharedMemory,
    Interfaces,
    HostName,
    Unknown,
}

impl Step {
    fn from_number(number: u8) -> Self {
        use Step::*;
        [Clone, UserMap, Execute, ControlGroup, Proc, Run, SharedMemory, Interfaces, HostName]
            .into_iter()
            .find(|step| *step as u8 == number)
            .unwrap_or(Unknown)
    }
}

/// A failed start: the step and the kernel's reason.
type Failure = (Step, io::Error);

/// How to start a program as the first process of new namespaces.
pub(crate) struct NamespacePlan {
    /// `CLONE_NEW…`
    pub(crate) flags: c_int,
    /// `0 <user> 1` and `0 <group> 1`, when a user namespace is among them.
    pub(crate) maps: Option<(CString, CString)>,
    pub(crate) program: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
}

/// Like fork, with namespaces. The child must only do what is safe in a signal handler.
fn clone_child(flags: c_int) -> io::Result<Option<Pid>> {
    // SAFETY: without CLONE_VM and CLONE_THREAD this is fork(2): the child has its own copy of all
    // memory and continues here on its own copy of the stack (stack argument 0).
    let answer =
        unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0usize, 0usize, 0usize, 0) };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

/// Ends a child without running the parent's exit functions.
fn leave(status: c_int) -> ! {
    // SAFETY: _exit(2) ends the process and touches nothing in it.
    unsafe { libc::_exit(status) }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

fn confess(report: RawFd, step: Step, error: Errno) -> ! {
    let mut bytes = [step as u8, 0, 0, 0, 0];
    bytes[1..].copy_from_slice(&error.raw_os_error().to_ne_bytes());
    // SAFETY: writes five bytes of a live array; who started us holds the other end.
    unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
    leave(126)
}

/// Waits until the child has executed its program (or says that it is up), or why it has not.
fn hear(report: OwnedFd, pid: Pid) -> Result<Pid, Failure> {
    let mut bytes = [0u8; 5];
    match rustix::io::retry_on_intr(|| rustix::io::read(&report, &mut bytes)) {
        Ok(0) | Ok(1) => Ok(pid),
        Ok(_) => {
            wait_for(pid).ok();
            let number = i32::from_ne_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
            Err((Step::from_number(bytes[0]), io::Error::from_raw_os_error(number)))
        }
        Err(error) => Err((Step::Unknown, error.into())),
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Starts a program as the first process of new namespaces; it is killed when the calling thread
/// ends. Returns when the program has been executed.
pub(crate) fn start_program(plan: &NamespacePlan) -> Result<Pid, Failure> {
    let arguments = pointers(&plan.arguments);
    let environment = pointers(&plan.environment);
    let (hearing, report) = pipe().map_err(|e| (Step::Clone, e))?;
    match clone_child(plan.flags).map_err(|e| (Step::Clone, e))? {
        Some(pid) => {
            drop(report);
            hear(hearing, pid)
        }
        None => {
            let report = report.as_raw_fd();
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            if let Some((users, groups)) = &plan.maps {
                // An ordinary user may map a group only after giving up setgroups(2)
                // (user_namespaces(7)).
                for (file, text) in [
                    (c"/proc/self/setgroups", c"deny"),
                    (c"/proc/self/uid_map", users.as_c_str()),
                    (c"/proc/self/gid_map", groups.as_c_str()),
                ] {
                    if let Err(error) = write_file(file, text) {
                        confess(report, Step::UserMap, error);
                    }
                }
            }
            // SAFETY: all three are null-terminated and live in the parent's copied memory.
            unsafe {
                libc::execve(plan.program.as_ptr(), arguments.as_ptr(), environment.as_ptr())
            };
            confess(report, Step::Execute, last_error())
        }
    }
}

fn last_error() -> Errno {
    // SAFETY: __errno_location points at this thread's errno as long as the thread lives.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

fn write_file(path: &CStr, text: &CStr) -> Result<(), Errno> {
    use rustix::fs::{Mode, OFlags};
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.to_bytes()).map(drop)
}

/// What the first process of a node sets up for it: all paths exist already.
pub(crate) struct InitPlan<'a> {
    /// Directory that becomes `/run` of the node.
    pub(crate) run: CString,
    /// The lab's directory (below `/run`), which stays visible there.
    pub(crate) lab: CString,
    /// Where a fresh sysfs goes, from which the interfaces are taken.
    pub(crate) sys: CString,
    pub(crate) class_net: CString,
    pub(crate) virtual_net: CString,
    pub(crate) host_name: CString,
    /// `cgroup.procs` of the node's control group, the group itself, and where version 2 is mounted.
    pub(crate) group: Option<(BorrowedFd<'a>, CString, CString)>,
}

/// Starts the first process of a node in new pid, mount, ipc and uts namespaces and in the network
/// namespace of the calling thread. It reaps orphans and does nothing else; when it is killed the
/// kernel kills everything in the node at once (pid_namespaces(7)).
///
/// Returns its pid and whether the node's sysfs shows its own interfaces (some kernels refuse a
/// fresh sysfs in a user namespace).
pub(crate) fn start_init(plan: &InitPlan<'_>) -> Result<(Pid, bool), Failure> {
    let (hearing, report) = pipe().map_err(|e| (Step::Clone, e))?;
    let (hearing_sys, report_sys) = pipe().map_err(|e| (Step::Clone, e))?;
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    match clone_child(flags).map_err(|e| (Step::Clone, e))? {
        Some(pid) => {
            drop((report, report_sys));
            let pid = hear(hearing, pid)?;
            let mut fresh = [0u8; 1];
            let answer = rustix::io::retry_on_intr(|| rustix::io::read(&hearing_sys, &mut fresh));
            Ok((pid, answer == Ok(1) && fresh[0] == 1))
        }
        None => {
            if let Err((step, error)) = furnish(plan, report_sys.as_fd()) {
                confess(report.as_raw_fd(), step, error);
            }
            // SAFETY: closes descriptors only; this process uses none from here on. The report
            // pipes are among them: their end tells the parent that the node is up.
            unsafe { libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32) };
            reap_for_ever()
        }
    }
}

fn furnish(plan: &InitPlan<'_>, report_sys: BorrowedFd<'_>) -> Result<(), (Step, Errno)> {
    let at = |step: Step| move |error: Errno| (step, error);
    let none = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // The group first: a control group namespace takes the group of its creation as its root.
    let mut tree = None;
    if let Some((procs, group, _)) = &plan.group {
        rustix::io::write(procs, b"0").map_err(at(Step::ControlGroup))?;
        // SAFETY: unshares the control group namespace of this single-threaded process only.
        if unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } != 0 {
            return Err((Step::ControlGroup, last_error()));
        }
        tree = Some(clone_tree(group, Step::ControlGroup)?);
    }
    mount(c"proc", c"/proc", c"proc", none, None::<&CStr>).map_err(at(Step::Proc))?;
    if let (Some(tree), Some((_, _, place))) = (&tree, &plan.group) {
        // In a user namespace the inherited mount is locked in place; ours then covers it.
        match unmount(place, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err((Step::ControlGroup, error)),
        }
        put_tree(tree, place, Step::ControlGroup)?;
    }
    let lab = clone_tree(&plan.lab, Step::Run)?;
    mount_bind(&plan.run, c"/run").map_err(at(Step::Run))?;
    put_tree(&lab, &plan.lab, Step::Run)?;
    match mount(c"tmpfs", c"/dev/shm", c"tmpfs", MountFlags::NOSUID, Some(c"mode=1777")) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err((Step::SharedMemory, error)),
    }
    // Not every kernel lets a user namespace have a sysfs of its own; netlink works everywhere.
    let fresh = mount(c"sysfs", &plan.sys, c"sysfs", none, None::<&CStr>).is_ok();
    if fresh {
        mount_bind(&plan.class_net, c"/sys/class/net").map_err(at(Step::Interfaces))?;
        mount_bind(&plan.virtual_net, c"/sys/devices/virtual/net").map_err(at(Step::Interfaces))?;
        unmount(&plan.sys, UnmountFlags::DETACH).map_err(at(Step::Interfaces))?;
    }
    rustix::io::write(report_sys, &[u8::from(fresh)]).map_err(at(Step::Interfaces))?;
    rustix::system::sethostname(plan.host_name.to_bytes()).map_err(at(Step::HostName))
}

fn clone_tree(path: &CStr, step: Step) -> Result<OwnedFd, (Step, Errno)> {
    // With what is mounted below: the shared disk.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(rustix::fs::CWD, path, flags).map_err(|error| (step, error))
}

fn put_tree(tree: &OwnedFd, path: &CStr, step: Step) -> Result<(), (Step, Errno)> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, c"", rustix::fs::CWD, path, flags).map_err(|error| (step, error))
}

fn reap_for_ever() -> ! {
    // SAFETY: a signal set on this stack; blocking, waiting for and reaping children of this
    // single-threaded process.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"lab-node".as_ptr());
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_SETMASK, &set, ptr::null_mut());
        loop {
            while libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) > 0 {}
            libc::sigwaitinfo(&set, ptr::null_mut());
        }
    }
}

/// Starts `command` in the namespaces of a node's first process (and in its control group).
pub(crate) fn spawn_inside(
    command: &mut Command,
    init: BorrowedFd<'_>,
    group: Option<BorrowedFd<'_>>,
) -> io::Result<Child> {
    let (init, group) = (init.as_raw_fd(), group.map(|fd| fd.as_raw_fd()));
    let enter = move || {
        if let Some(group) = group {
            // SAFETY: one byte of a static string to a descriptor that the spawning thread holds.
            if unsafe { libc::write(group, b"0".as_ptr().cast(), 1) } != 1 {
                return Err(io::Error::last_os_error());
            }
        }
        let mut flags =
            libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNET;
        if group.is_some() {
            flags |= libc::CLONE_NEWCGROUP;
        }
        set_namespaces(init, flags)
    };
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(enter) };
    // The pid namespace is that of the *next* children of a thread, hence a thread of its own.
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            set_namespaces(init, libc::CLONE_NEWPID)?;
            command.spawn()
        });
        worker.join().expect("the spawning thread does not panic")
    })
}

fn set_namespaces(init: RawFd, flags: c_int) -> io::Result<()> {
    // SAFETY: moves this thread into namespaces that a pidfd names; no memory is involved.
    if unsafe { libc::setns(init, flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to everything in a node except its first process, at once.
pub(crate) fn kill_all_inside(init: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let number = signal.as_raw();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            set_namespaces(init.as_raw_fd(), libc::CLONE_NEWPID)?;
            match clone_child(0)? {
                Some(pid) => match wait_for(pid)? {
                    0 => Ok(()),
                    error => Err(io::Error::from_raw_os_error(error)),
                },
                None => {
                    // SAFETY: in a pid namespace -1 means everything in it but the first process
                    // and the caller (kill(2)).
                    let answer = unsafe { libc::kill(-1, number) };
                    let empty = answer != 0 && last_error() == Errno::SRCH;
                    leave(if answer == 0 || empty { 0 } else { last_error().raw_os_error() })
                }
            }
        });
        worker.join().expect("the killing thread does not panic")
    })
}

/// Waits for the end of a child: its exit status, or 128 plus the signal that ended it.
pub(crate) fn wait_for(pid: Pid) -> io::Result<i32> {
    use rustix::process::{WaitOptions, waitpid};
    loop {
        match rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()))? {
            Some((_, status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => return Ok(code),
                (_, Some(signal)) => return Ok(128 + signal),
                _ => continue,
            },
            None => continue,
        }
    }
}

/// A process that outlives us for a moment and removes what the kernel would leave behind.
pub(crate) struct Janitor {
    pid: Pid,
    /// Nobody writes to it: its closing, by whatever end we meet, is the signal.
    leash: Option<OwnedFd>,
}

impl Janitor {
    /// Lets go and waits until everything is removed.
    pub(crate) fn dismiss(mut self) -> io::Result<i32> {
        self.leash = None;
        wait_for(self.pid)
    }
}

/// Starts the janitor of a control group: `work` is called until it says that all is gone.
///
/// `work` runs in a forked child: it must not allocate or lock.
pub(crate) fn start_janitor(work: &dyn Fn() -> bool) -> io::Result<Janitor> {
    let (waiting, leash) = pipe()?;
    match clone_child(0)? {
        Some(pid) => Ok(Janitor { pid, leash: Some(leash) }),
        None => {
            drop(leash);
            // SAFETY: a session of its own and ignored signals, so that neither Ctrl-C nor a
            // closed terminal ends it; then a read into a live byte until the end of the pipe.
            unsafe {
                libc::setsid();
                libc::prctl(libc::PR_SET_NAME, c"lab-janitor".as_ptr());
                for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
                    libc::signal(signal, libc::SIG_IGN);
                }
                let mut byte = 0u8;
                let end = waiting.as_raw_fd();
                while libc::read(end, (&raw mut byte).cast(), 1) < 0 && last_error() == Errno::INTR
                {
                }
                for _ in 0..3000 {
                    if work() {
                        leave(0);
                    }
                    libc::usleep(10_000);
                }
            }
            leave(1)
        }
    }
}
