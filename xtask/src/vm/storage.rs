//! A disk that machines share as in a rack: a target of the kernel (LIO, over iSCSI) on one machine,
//! an initiator with a name of its own on each of the others.
//!
//! It is the kernel's own implementation of SCSI with persistent reservations (SPC-4, 5.14; the
//! kernel's Documentation/target), set up through configfs as `targetcli` would. The target keeps
//! reservations in a file when asked to (and every kernel's initiator asks), and refuses them
//! where it cannot write that: hence the directory. To the others the disk is /dev/sda; an ext4 is on it
//! to begin with.

use lab::spec;

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
