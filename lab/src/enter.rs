//! Into the lab: the program starts itself again inside namespaces of its own.
//!
//! The outermost process only waits. The one inside is the first process of a new pid namespace and
//! dies with the outermost one (`PR_SET_PDEATHSIG`), and with it dies everything that it started:
//! when the first process of a pid namespace ends, the kernel kills the rest (pid_namespaces(7)),
//! and mounts and network namespaces go with their last user. All files are on a tmpfs that only
//! exists inside. So Ctrl-C and kill -9 need no clean-up code, except for control groups
//! (`cgroup.rs`).
//!
//! root keeps its user namespace: control groups, locked memory and real-time classes then work as
//! on a machine. Others get a user namespace in which they are root, where the kernel allows it.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Signal, getegid, geteuid, getpid};

use crate::cgroup::LabGroup;
use crate::sys::{self, NamespacePlan, Step};

/// The directory of the lab, on a tmpfs that only exists inside; a node's root is below it.
pub const DIRECTORY: &str = "/run/lab";

const INSIDE: &str = "MAINSTAY_LAB_INSIDE";
const GROUP: &str = "MAINSTAY_LAB_GROUP";
/// Environment that is ours alone and that no program in the lab inherits.
pub(crate) const PRIVATE: [&str; 2] = [INSIDE, GROUP];

/// True in a process that [`enter`] started: only there may a [`crate::Lab`] be built.
pub fn is_inside() -> bool {
    getpid().as_raw_nonzero().get() == 1 && std::env::var_os(INSIDE).is_some()
}

/// Goes inside: the caller's program is executed again with the same arguments in fresh
/// namespaces, where this function returns. Outside it does not return, except with an error: the
/// process ends with the exit status of the one inside.
///
/// # Errors
/// When the kernel refuses, with the remedy in the text.
pub fn enter() -> Result<()> {
    if is_inside() { furnish() } else { std::process::exit(outermost()?) }
}

/// The control group of the lab, when there is one.
pub(crate) fn group() -> Option<std::path::PathBuf> {
    std::env::var_os(GROUP).map(Into::into)
}

fn outermost() -> Result<i32> {
    let group = LabGroup::create()?;
    let (leash, held) = rustix::pipe::pipe()?;
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::CLOEXEC)?;
    let mut plan = NamespacePlan {
        flags: libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS,
        maps: None,
        program: c_string(std::env::current_exe().context("our own program")?.into_os_string())?,
        arguments: std::env::args_os().map(c_string).collect::<Result<_>>()?,
        environment: std::env::vars_os()
            .filter(|(name, _)| !PRIVATE.iter().any(|ours| name == ours))
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                c_string(name)
            })
            .collect::<Result<_>>()?,
    };
    plan.environment.push(variable(INSIDE, leash.as_raw_fd().to_string().as_ref())?);
    if let Some(group) = &group {
        plan.environment.push(variable(GROUP, group.path.as_os_str())?);
    }
    let started = start(&mut plan);
    drop(leash);
    let status = match started {
        Ok(pid) => sys::wait_for(pid).context("waiting for the lab"),
        Err((step, error)) => Err(refusal(step, &error)),
    };
    drop(held);
    if let Some(group) = group {
        group.remove()?;
    }
    status
}

/// As root without a user namespace first; a root without its powers (a container's) is treated
/// like everybody else.
fn start(plan: &mut NamespacePlan) -> Result<rustix::process::Pid, (Step, std::io::Error)> {
    if geteuid().is_root() {
        match sys::start_program(plan) {
            Err((Step::Clone, error)) if error.raw_os_error() == Some(libc::EPERM) => {}
            other => return other,
        }
    }
    let map = |id: u32| CString::new(format!("0 {id} 1")).expect("digits have no zero byte");
    plan.flags |= libc::CLONE_NEWUSER;
    plan.maps = Some((map(geteuid().as_raw()), map(getegid().as_raw())));
    sys::start_program(plan)
}

/// What the kernel refused and what to do about it.
fn refusal(step: Step, error: &std::io::Error) -> anyhow::Error {
    let setting = |name: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(name))
            .map(|text| text.trim().to_owned())
            .ok()
    };
    let is = |name: &str, value: &str| setting(name).as_deref() == Some(value);
    let remedy = if step == Step::Execute {
        "the program must stay where it was started from, readable for this user"
    } else if is("kernel/unprivileged_userns_clone", "0") {
        "run it as root (sudo), or allow it: sudo sysctl kernel.unprivileged_userns_clone=1"
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "run it as root (sudo), or allow it: \
         sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    } else if is("user/max_user_namespaces", "0") {
        "run it as root (sudo), or allow it: sudo sysctl user.max_user_namespaces=15000"
    } else if error.raw_os_error() == Some(libc::ENOSPC) {
        "too many namespaces: sudo sysctl user.max_user_namespaces=15000"
    } else {
        "run it as root (sudo); in a container, start that with --privileged"
    };
    let doing = match step {
        Step::Clone => "the kernel does not let this user make namespaces",
        Step::UserMap => "the kernel does not let this user be root in a namespace of its own",
        _ => "the lab could not be started",
    };
    anyhow::anyhow!("{doing} ({error})\n  remedy: {remedy}")
}

fn c_string(text: OsString) -> Result<CString> {
    CString::new(text.into_vec()).context("an argument or variable with a zero byte")
}

fn variable(name: &str, value: &std::ffi::OsStr) -> Result<CString> {
    let mut entry = OsString::from(format!("{name}="));
    entry.push(value);
    c_string(entry)
}

/// Inside: private mounts, a `/proc` of this pid namespace, an empty `/run`, a loopback interface.
fn furnish() -> Result<()> {
    if Path::new(DIRECTORY).join(".inside").exists() {
        return Ok(());
    }
    hold_leash()?;
    let denied = "the lab may not mount; run it as root (sudo)";
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context(denied)?;
    mount("proc", "/proc", "proc", safe | MountFlags::NOEXEC, None::<&std::ffi::CStr>)
        .context("mounting /proc")
        .context(denied)?;
    mount("tmpfs", "/run", "tmpfs", safe, Some(c"mode=0755")).context(denied)?;
    fs::create_dir(DIRECTORY).context("making the directory of the lab")?;
    fs::write(Path::new(DIRECTORY).join(".inside"), "")?;
    rustix::system::sethostname(b"lab").context("setting the host name")?;
    crate::netlink::RouteSocket::open()?.set_up("lo", true)
}

/// The signal of the outermost process's death is lost if it dies while we are being executed, and
/// some changes of credentials clear it: so ask for it again, then look whether it is still there.
fn hold_leash() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let number: i32 = std::env::var(INSIDE)
        .ok()
        .and_then(|text| text.parse().ok())
        .with_context(|| format!("{INSIDE} is set by the lab itself and must be a number"))?;
    let leash = sys::take_descriptor(number);
    let mut entries = [PollFd::new(&leash, PollFlags::IN)];
    let now = crate::clock::timespec(std::time::Duration::ZERO);
    poll(&mut entries, Some(&now)).context("looking at the leash")?;
    if entries[0].revents().contains(PollFlags::HUP) {
        bail!("the lab was ended while it was starting");
    }
    Ok(())
}
