//! From a device to a mounted file system; each refusal names the place and the mend.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base::Instant;
use engine::{Act, Check};
use os::shared::Permit;

use super::super::writers::question;
use super::super::writers::run::{Fault, Inbox};
use super::{Mount, Trace};

/// Between two lines about the progress of a check.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

// Exit codes of fsck (fsck(8)): sums of these.
const CORRECTED: i32 = 1;
const REBOOT: i32 = 2;

impl Mount {
    pub(super) fn mount(
        &mut self,
        act: &Act,
        permit: Option<&Permit>,
        inbox: &mut Inbox,
    ) -> Result<(), Fault> {
        let what = self.what.clone();
        let until = act.deadline;
        let device = self.find_device()?;
        self.trace = Trace::of(&what, None);
        self.look_at_directory()?;
        self.look_for_claims(&device, until, inbox)?;
        self.look_at_kind(&device, until, inbox)?;
        self.check(&device, permit, until, inbox)?;
        let mut command = Command::new("mount");
        command.arg("-t").arg(&what.filesystem);
        if !what.options.is_empty() {
            command.arg("-o").arg(&what.options);
        }
        command.arg("--").arg(&device).arg(&what.directory);
        let ended = self.desk.run_inside(&mut command, permit, until, inbox, &mut |_| {})?;
        let (device, directory) = (device.display(), what.directory.display());
        if ended.code != Some(0) {
            return Err(format!(
                "could not be mounted on {directory}: {}; `dmesg` may say more",
                ended.why()
            )
            .into());
        }
        let table = os::mount::table().map_err(|error| format!("after mounting: {error}"))?;
        let mounted = what.mounted(&table, &self.trace);
        self.trace = Trace { shown: mounted.as_ref().map(|mount| mount.device), ..self.trace };
        match mounted {
            None => Err(format!("{device} was mounted and is not on {directory}").into()),
            Some(mount) if mount.is_read_only() && !what.is_read_only() => Err(format!(
                "{device} could be mounted read-only alone: it is write-protected (`blockdev --getro \
                 {device}`) or has errors"
            )
            .into()),
            Some(_) => Ok(()),
        }
    }

    fn find_device(&self) -> Result<PathBuf, Fault> {
        let (named, path) = (&self.what.device, self.what.device());
        match os::mount::number(&path) {
            Ok(_) => Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!(
                "{named} is not on this machine: are its cable, its target and its multipath there \
                 (`lsblk -f`)?"
            )
            .into()),
            Err(error) => Err(format!("{named} cannot be used: {error}").into()),
        }
    }

    fn look_at_directory(&self) -> Result<(), Fault> {
        let directory = &self.what.directory;
        let shown = directory.display();
        // Before anything in it is touched: what is mounted there may hang.
        let table = os::mount::table().map_err(|error| error.to_string())?;
        if let Some(mount) = os::mount::on(&table, directory) {
            return Err(match self.what.mounted(&table, &self.trace) {
                Some(_) => format!(
                    "is mounted on {shown} already, and not by this node's agent: take it out of \
                     /etc/fstab (or add `noauto`) and unmount it"
                ),
                None => format!(
                    "on {shown} there is {} ({}): unmount it, or choose another directory",
                    mount.source, mount.filesystem
                ),
            }
            .into());
        }
        match fs::read_dir(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(format!("there is no directory {shown}: `mkdir -p {shown}`").into())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                Err(format!("{shown} is no directory").into())
            }
            Err(error) => Err(format!("{shown} cannot be read: {error}").into()),
            Ok(mut entries) => match entries.next() {
                None => Ok(()),
                Some(_) => Err(format!(
                    "{shown} is not empty: what is in it would be hidden by the mount; move it away"
                )
                .into()),
            },
        }
    }

    /// Whoever else uses the device on this machine.
    fn look_for_claims(
        &mut self,
        device: &Path,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<(), Fault> {
        let shown = device.display();
        let number = os::mount::number(device).map_err(|error| error.to_string())?;
        let table = os::mount::table().map_err(|error| error.to_string())?;
        if let Some(other) = table.iter().find(|mount| mount.device == number) {
            let at = other.directory.display();
            return Err(format!("{shown} is mounted on {at} already: unmount it there").into());
        }
        if !self.is_free(device, until, inbox)? {
            return Err(format!(
                "{shown} is in use on this machine: by a volume group, a RAID, a mount that was \
                 detached, or one of another namespace (`lsblk {shown}`, `lsns -t mnt`)"
            )
            .into());
        }
        Ok(())
    }

    /// Whether the kernel has given up the device.
    pub(super) fn is_free(
        &mut self,
        device: &Path,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<bool, Fault> {
        let ended = self.desk.ask("free", device, until, inbox)?;
        match ended.code {
            Some(0) => Ok(true),
            Some(question::NO) => Ok(false),
            _ => Err(format!("{}: {}", device.display(), ended.why()).into()),
        }
    }

    fn look_at_kind(
        &mut self,
        device: &Path,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<(), Fault> {
        let mut command = Command::new("blkid");
        command.args(["-p", "-o", "value", "-s", "TYPE", "--"]).arg(device);
        let ended = self.desk.run(&mut command, until, inbox)?;
        let (wanted, found) = (&self.what.filesystem, ended.output.trim());
        let shown = device.display();
        if found.is_empty() {
            return Err(format!(
                "{shown} holds no file system that blkid knows: if it is new, `mkfs.{wanted} {shown}` on \
                 one node"
            )
            .into());
        }
        if found != wanted {
            return Err(format!(
                "{shown} holds {found}, and the configuration says `filesystem = \"{wanted}\"`: one of the \
                 two is wrong"
            )
            .into());
        }
        Ok(())
    }

    fn check(
        &mut self,
        device: &Path,
        permit: Option<&Permit>,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<(), Fault> {
        let kind = self.what.filesystem.clone();
        let program = format!("fsck.{kind}");
        let always = match self.what.check {
            Check::Never => return Ok(()),
            Check::Auto => false,
            Check::Always => true,
        };
        if !is_installed(&program) {
            return match always {
                false => Ok(()),
                true => Err(format!(
                    "{program} is not on this machine: install it, or `check = \"never\"`"
                )
                .into()),
            };
        }
        let mut command = Command::new(&program);
        if matches!(kind.as_str(), "ext2" | "ext3" | "ext4") {
            // e2fsck(8): repair what needs no thought, and say on the output how far it is.
            command.args(["-p", "-C", "1"]);
            if always {
                command.arg("-f");
            }
        } else {
            command.arg("-a");
        }
        command.arg(device);
        let began = os::clock::boottime();
        let say = self.desk.speaker();
        let mut said_at = began;
        let mut progress = |line: &str| {
            let now = os::clock::boottime();
            if let (true, Some(step)) = (now.since(said_at) >= PROGRESS_INTERVAL, step(line)) {
                said_at = now;
                say(&format!("{step}, after {} s", now.since(began).as_secs()));
            }
        };
        let ended = self.desk.run_inside(&mut command, permit, until, inbox, &mut progress)?;
        let took = os::clock::boottime().since(began);
        let shown = device.display();
        match ended.code {
            Some(0) if took < PROGRESS_INTERVAL => Ok(()),
            Some(0) => {
                say(&format!("{program} {shown}: all is well, after {} s", took.as_secs()));
                Ok(())
            }
            Some(CORRECTED) => {
                say(&format!("{program} {shown}: errors were corrected"));
                Ok(())
            }
            Some(code) if code & !(CORRECTED | REBOOT) == 0 => Err(format!(
                "{program} {shown}: errors were corrected, and it asks for a restart of the machine"
            )
            .into()),
            _ => Err(format!(
                "{program} {shown} has found what it does not repair by itself ({}): run \
                 `{program} {shown}` by hand, on this node alone, then `mainstay service clear {}`",
                last_line(&ended.output).unwrap_or_else(|| ended.why()),
                self.desk.service()
            )
            .into()),
        }
    }
}

fn last_line(text: &str) -> Option<String> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}

fn is_installed(program: &str) -> bool {
    ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .iter()
        .any(|directory| Path::new(directory).join(program).exists())
}

/// `1 34 200 /dev/sda1`: the pass of e2fsck, how much of it is done, and of how much.
pub(super) fn step(line: &str) -> Option<String> {
    let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
    let (pass, at, of) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    let percent = at.saturating_mul(100).checked_div(of)?;
    Some(format!("fsck: pass {pass}, {percent} %"))
}
