//! A disk that machines share as in a rack: a target of the kernel (LIO, over iSCSI) on one machine,
//! an initiator with a name of its own on each of the others.
//!
//! It is the kernel's own implementation of SCSI with persistent reservations (SPC-4, 5.14; the
//! kernel's Documentation/target), set up through configfs as `targetcli` would. The target keeps
//! reservations in a file when asked to (and every kernel's initiator asks), and refuses them
//! where it cannot write that: hence the directory. To the others the disk is /dev/sda; an ext4 is on it
//! to begin with.
//!
//! What a machine writes is told by its console, as it happens: each file system has a cache of its own,
//! and whoever mounted the disk before another one wrote to it will never read that. The word goes
//! through the kernel's log, whose lines are out before the one who says them goes on.

use anyhow::{Result, ensure};
use lab::spec;

use super::arrivals::Span;
use super::console::Line;
use super::scene::secs;

/// The number of the machine that has the target.
pub(crate) const TARGET: u8 = 3;
/// What the disk is called on the other machines.
pub(crate) const DEVICE: &str = "/dev/sda";

const NAME: &str = "iqn.2026-01.test.mainstay:disk";
/// The network that it is reached over.
const NETWORK: u8 = 1;
/// Bytes of the disk.
const SIZE: u32 = 32 << 20;

/// Lines of `machine.sh` of machine `id`.
pub(crate) fn script(id: u8) -> String {
    if id == TARGET { target() } else { initiator(id) }
}

fn initiator_name(id: u8) -> String {
    format!("iqn.2026-01.test.mainstay:n{id}")
}

fn target() -> String {
    let allowed = |id: u8| {
        let name = initiator_name(id);
        format!("mkdir -p $t/acls/{name}/lun_0; ln -s $t/lun/lun_0 $t/acls/{name}/lun_0/disk\n")
    };
    format!(
        "mkdir -p /etc/target/pr\n\
         modprobe configfs; mount -t configfs configfs /sys/kernel/config\n\
         modprobe target_core_file; modprobe iscsi_target_mod\n\
         c=/sys/kernel/config/target/core/fileio_0/disk\n\
         mkdir -p $c\n\
         truncate -s {SIZE} /disk/lun; mkfs.ext4 -q -F /disk/lun\n\
         echo fd_dev_name=/disk/lun,fd_dev_size={SIZE} >$c/control\n\
         echo 1 >$c/enable\n\
         t=/sys/kernel/config/target/iscsi/{NAME}/tpgt_1\n\
         mkdir -p $t/np/{}:3260 $t/lun/lun_0\n\
         ln -s $c $t/lun/lun_0/disk\n\
         echo 0 >$t/attrib/authentication\n\
         {}{}echo 1 >$t/enable\n",
        spec::node_address(NETWORK, TARGET),
        allowed(1),
        allowed(2),
    )
}

/// Lines of `machine.sh` that make `/disk/writer.sh`. That writes by `command`, in which `$name` is the
/// machine and `$n` the number of the write, again and again, and tells each beginning and end. When it is
/// started again it counts on.
pub(crate) fn writer(command: &str) -> String {
    format!(
        "cat >/disk/writer.sh <<'END'\n\
         name=$(hostname); n=$(cat /run/number || echo 0)\n\
         while :; do\n\
         \x20 n=$((n + 1)); echo $n >/run/number\n\
         \x20 echo \"<4>{WRITE}$n begins\" >/dev/kmsg\n\
         \x20 if {command} 2>>/run/errors; then end=good; else end=bad; fi\n\
         \x20 echo \"<4>{WRITE}$n is $end\" >/dev/kmsg\n\
         \x20 usleep 100000\n\
         done\n\
         END\n"
    )
}

/// A line of the writer's in a file of the disk; on the disk when that ends well.
pub(crate) const LINE: &str = "echo $name $n | dd of=/mnt/lines oflag=append conv=notrunc,fsync";

/// Lines of `machine.sh` that have the check of the file system, which is before every mount, told.
pub(crate) fn told_checks() -> String {
    format!(
        "mv /sbin/fsck.ext4 /sbin/e2fsck\n\
         cat >/sbin/fsck.ext4 <<'END'\n\
         #!/bin/sh\n\
         echo '<4>{CHECK}' >/dev/kmsg\n\
         exec /sbin/e2fsck \"$@\"\n\
         END\n\
         chmod 755 /sbin/fsck.ext4\n"
    )
}

/// Words of a machine that begins to use the disk: the check may write to it already.
pub(crate) const CHECK: &str = "storage: fsck.ext4 begins";
const WRITE: &str = "storage: write ";

/// A write, as the console of its machine tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Counted by the writer.
    pub(crate) number: u64,
    /// When it began.
    pub(crate) began: Span,
    /// Whether it succeeded, and when that was known; nothing when the machine ended before.
    pub(crate) ended: Option<(bool, Span)>,
}

impl Write {
    /// Whether it is over, and that well or not.
    pub(crate) fn is(&self, good: bool) -> bool {
        self.ended.is_some_and(|(was_good, _)| was_good == good)
    }
}

/// The writes that these lines of a console tell, in their order.
///
/// # Errors
/// When they do not make sense.
pub(crate) fn writes(lines: &[Line]) -> Result<Vec<Write>> {
    let mut writes: Vec<Write> = Vec::new();
    for line in lines {
        // The half of a line of somebody else may be in front.
        let Some((_, words)) = line.text.split_once(WRITE) else { continue };
        let (number, what) = words.split_once(' ').unwrap_or((words, ""));
        let number = number.parse()?;
        let good = match what {
            "begins" => {
                writes.push(Write { number, began: line.came, ended: None });
                continue;
            }
            "is good" => true,
            "is bad" => false,
            _ => anyhow::bail!("no word of a writer: {}", line.whole),
        };
        let last = writes.last_mut().filter(|last| last.number == number && last.ended.is_none());
        ensure!(last.is_some(), "a write has ended that did not begin: {}", line.whole);
        if let Some(last) = last {
            last.ended = Some((good, line.came));
        }
    }
    Ok(writes)
}

/// Numbers of the writes that succeeded.
pub(crate) fn good(writes: &[Write]) -> Vec<u64> {
    writes.iter().filter(|write| write.is(true)).map(|write| write.number).collect()
}

/// Demands that `first` had written for the last time when another machine began to use the disk; when
/// the last good write was known to be one.
///
/// # Errors
/// What was otherwise.
pub(crate) fn demand_end(first: &str, writes: &[Write], used: Span) -> Result<Span> {
    for write in writes {
        ensure!(
            write.began.is_before(used),
            "write {} of {first} began when another machine had used the disk for {} s",
            write.number,
            secs(write.began.by.saturating_sub(used.after))
        );
    }
    let last = writes.iter().rev().find_map(|write| write.ended.filter(|(good, _)| *good));
    let Some((_, last)) = last else { anyhow::bail!("no write of {first} succeeded") };
    ensure!(
        last.is_before(used),
        "the last good write of {first} ended when another machine had used the disk for {} s",
        secs(last.by.saturating_sub(used.after))
    );
    Ok(last)
}

/// Demands that no write of `first` succeeded that began after its disk was taken, that none succeeded
/// after one had failed, and that it did try; how many failed.
///
/// # Errors
/// What was otherwise.
pub(crate) fn demand_loss(first: &str, writes: &[Write], taken: Span) -> Result<usize> {
    ensure!(!good(writes).is_empty(), "no write of {first} succeeded before its disk was taken");
    let later = || writes.iter().filter(|write| taken.is_before(write.began));
    if let Some(write) = later().find(|write| write.is(true)) {
        anyhow::bail!(
            "write {} of {first} began {} s after its disk was taken, and succeeded",
            write.number,
            secs(write.began.after - taken.by)
        );
    }
    let mut failed = writes.iter().skip_while(|write| !write.is(false));
    if let Some(write) = failed.find(|write| write.is(true)) {
        anyhow::bail!("write {} of {first} succeeded after one had failed", write.number);
    }
    let bad = later().filter(|write| write.is(false)).count();
    ensure!(bad > 0, "{first} did not try to write after its disk was taken");
    Ok(bad)
}

/// Demands of a file of lines (`n1 7`) that those of the one stand before those of the other, and that
/// no good one of the first is missing; how many there are of each.
///
/// # Errors
/// What was otherwise.
pub(crate) fn demand_order(
    lines: &str,
    (first, good): (&str, &[u64]),
    second: &str,
) -> Result<(usize, usize)> {
    let all: Vec<(&str, &str)> = lines.lines().filter_map(|line| line.split_once(' ')).collect();
    ensure!(all.len() == lines.lines().count(), "a line is no name and number: {lines}");
    let change = all.iter().position(|(name, _)| *name != first).unwrap_or(all.len());
    let (one, other) = all.split_at(change);
    ensure!(!one.is_empty() && !other.is_empty(), "one of them wrote nothing: {lines}");
    ensure!(other.iter().all(|(name, _)| *name == second), "they wrote in turns: {lines}");
    for number in good {
        let number = number.to_string();
        ensure!(
            one.iter().any(|(_, line)| *line == number),
            "line {number} of {first} was written, and {second} does not have it: {lines}"
        );
    }
    Ok((one.len(), other.len()))
}

/// Logs in as soon as the target is there. The machine goes on when the disk is there.
fn initiator(id: u8) -> String {
    let (own, portal) = (initiator_name(id), spec::node_address(NETWORK, TARGET));
    format!(
        "modprobe iscsi_tcp; modprobe sd_mod\n\
         for turn in $(seq 100); do\n\
         \x20 iscsistart -i {own} -t {NAME} -g 1 -a {portal} >>/run/iscsi.log 2>&1 && break\n\
         \x20 sleep 1\n\
         done\n\
         for turn in $(seq 100); do [ -b {DEVICE} ] && break; sleep 0.2; done\n"
    )
}

#[cfg(test)]
mod tests;
