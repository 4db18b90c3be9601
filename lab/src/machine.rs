//! A machine with power: what a node is between power-on and power-off.
//!
//! It has a network namespace (interfaces, addresses, sockets), a pid namespace (killing its first
//! process kills all at once, as pulling the plug does), a mount namespace with its own `/run`, a
//! host name, and a control group where there are any. Its root directory is not part of it: that
//! is the disk, and survives.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};

use crate::cgroup::NodeGroup;
use crate::enter;
use crate::namespace::Namespace;
use crate::processes::{self, Process};
use crate::sys::{self, InitPlan};
use crate::wait;

/// The log of everything that the node's programs print, in its root directory.
pub(crate) const LOG: &str = "daemon.log";

/// A machine that is on.
pub(crate) struct Machine {
    pub(crate) namespace: Namespace,
    init: Pid,
    handle: OwnedFd,
    group: Option<NodeGroup>,
    guard: Option<Child>,
    others: Vec<Child>,
    /// The plug was pulled: its number may belong to somebody else by now.
    ended: bool,
    /// False where the kernel refuses a sysfs of its own: programs see the interfaces of outside.
    pub(crate) has_own_sysfs: bool,
}

impl Machine {
    /// Switches it on: no cable is laid yet, nothing runs.
    pub(crate) fn power_on(name: &str, root: &Path) -> Result<Self> {
        let run = root.join("run");
        empty_directory(&run)?;
        // The lab's own directory stays visible at its place below the node's /run.
        let lab = Path::new(enter::DIRECTORY);
        let below_run = lab.strip_prefix("/run").expect("the lab's directory is below /run");
        fs::create_dir_all(run.join(below_run))?;
        let sys = run.join(".sys");
        fs::create_dir_all(&sys)?;
        let group = match enter::group() {
            Some(group) => Some(NodeGroup::create(&group, name)?),
            None => None,
        };
        let namespace = Namespace::create()?;
        let group_plan = match &group {
            Some(group) => Some((group.procs(), c_path(&group.path)?, c_path(&group.mount)?)),
            None => None,
        };
        let plan = InitPlan {
            run: c_path(&run)?,
            lab: c_path(lab)?,
            class_net: c_path(&sys.join("class/net"))?,
            virtual_net: c_path(&sys.join("devices/virtual/net"))?,
            sys: c_path(&sys)?,
            host_name: CString::new(name)?,
            group: group_plan,
        };
        let (init, has_own_sysfs) = namespace.run(|| {
            sys::start_init(&plan).map_err(|(step, error)| {
                anyhow::Error::new(error).context(format!("switching {name} on ({step:?})"))
            })
        })?;
        drop(plan);
        let handle = pidfd_open(init, PidfdFlags::empty()).context("holding the node")?;
        Ok(Self {
            namespace,
            init,
            handle,
            group,
            guard: None,
            others: Vec::new(),
            ended: false,
            has_own_sysfs,
        })
    }

    /// Everything in it ends at once; returns when the kernel has taken it all away. Interfaces
    /// stay until their cables are taken away or this is dropped.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.ended = true;
        kill_process(self.init, Signal::KILL).context("pulling the plug")?;
        // Its first process only goes after our own children in there are reaped.
        for child in self.guard.iter_mut().chain(&mut self.others) {
            child.wait().context("waiting for a program of the node")?;
        }
        wait::until("the processes of the node to be gone", wait::KERNEL, || {
            waitpid(Some(self.init), WaitOptions::NOHANG).context("waiting for the node")
        })?;
        self.group.take().map_or(Ok(()), |group| group.remove())
    }

    fn spawn(&self, command: &mut Command) -> Result<Child> {
        for name in enter::PRIVATE {
            command.env_remove(name);
        }
        let group = self.group.as_ref().map(NodeGroup::procs);
        sys::spawn_inside(command, self.handle.as_fd(), group)
            .with_context(|| format!("starting {:?}", command.get_program()))
    }

    /// Starts a program that stays, with its output in the node's log.
    fn spawn_logged(&self, root: &Path, arguments: &[&str]) -> Result<Child> {
        let Some((program, rest)) = arguments.split_first() else { bail!("no program given") };
        let path = root.join(LOG);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.spawn(&mut command)
    }

    /// Starts the guard, which starts the daemon.
    pub(crate) fn start_guard(&mut self, root: &Path, program: &str) -> Result<()> {
        if self.guard()?.is_some() {
            bail!("the daemon is running already");
        }
        let root_text = root.to_str().context("the root directory is not text")?;
        self.guard = Some(self.spawn_logged(root, &[program, "--root", root_text, "run"])?);
        Ok(())
    }

    /// Starts something else that stays until the machine is switched off or it ends by itself.
    pub(crate) fn start_other(&mut self, root: &Path, arguments: &[&str]) -> Result<i32> {
        let child = self.spawn_logged(root, arguments)?;
        let pid = child.id() as i32;
        self.others.push(child);
        Ok(pid)
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Output> {
        let Some((program, rest)) = arguments.split_first() else { bail!("no program given") };
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn(&mut command)?.wait_with_output().context("waiting for a program")
    }

    /// The guard, while it lives.
    pub(crate) fn guard(&mut self) -> Result<Option<i32>> {
        let Some(child) = &mut self.guard else { return Ok(None) };
        if child.try_wait().context("looking at the guard")?.is_some() {
            self.guard = None;
            return Ok(None);
        }
        Ok(Some(child.id() as i32))
    }

    /// The daemon, while it lives.
    pub(crate) fn daemon(&mut self) -> Result<Option<i32>> {
        let Some(guard) = self.guard()? else { return Ok(None) };
        Ok(processes::daemon_of(&processes::all()?, guard).map(|process| process.pid))
    }

    /// All processes of the machine but its first.
    pub(crate) fn processes(&mut self) -> Result<Vec<Process>> {
        let all = processes::all()?;
        let ours: Vec<i32> =
            self.guard.iter().chain(&self.others).map(|child| child.id() as i32).collect();
        let mut list: Vec<Process> =
            all.iter().filter(|process| ours.contains(&process.pid)).cloned().collect();
        let mut roots = ours;
        roots.push(self.init.as_raw_nonzero().get());
        list.extend(processes::descendants(&all, &roots));
        Ok(list)
    }

    /// Signals everything but its first process at once.
    pub(crate) fn signal_everything(&mut self, signal: Signal) -> Result<()> {
        sys::kill_all_inside(self.handle.as_fd(), signal).context("signalling a whole node")?;
        self.others.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.ended {
            // The lab is being dismantled; what cannot be waited for dies with its pid namespace.
            let _ = self.end();
        }
    }
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).context("a path with a zero byte")
}

fn empty_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("emptying {}", path.display())),
    }
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))
}
