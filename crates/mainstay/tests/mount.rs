//! File systems on a real block device, mounted and unmounted by a real daemon: the way there, what keeps
//! it in use, what becomes of it, and each refusal with its place and mend.

mod script;

use script::{Spaces, run};

/// One node, one service: a file system on a loop device and a process that works in it.
const BEGINNING: &str = r#"
mkdir a mnt
truncate -s 64M disk
disk=$(losetup --find --show disk 2>/dev/null) || { say "no loop device"; exit 0; }
release() { stop; umount -l $PWD/mnt 2>/dev/null || true; losetup -d $disk; }
trap release EXIT
mkfs.ext4 -q -L $(basename $PWD | tr -dc a-zA-Z0-9 | head -c 12) $disk
ip link set lo up
ip addr add 10.77.0.1/24 dev lo
"$M" --root a init --name demo --node-name n1 --address 10.77.0.1/24 --detection fast
cat >>a/etc/mainstay/cluster.toml <<EOF

[[service]]
name = "db"
nodes = ["n1"]
start_timeout = "20s"
stop_timeout = "4s"
[[service.resource]]
name = "data"
kind = "mount"
device = "$disk"
directory = "$PWD/mnt"
filesystem = "ext4"
[[service.resource]]
name = "server"
kind = "process"
command = ["/bin/sh", "-c", "echo \$\$ >$PWD/server.pid; cd $PWD/mnt && while :; do date >>written; sleep 0.1; done"]
EOF
m() { "$M" --root $PWD/a "$@"; }
is() { m status --json | tr -d ' \n' | grep -q "\"name\":\"db\",\"state\":\"$1\""; }
mounted() { grep -q " $PWD/mnt ext4 " /proc/mounts; }
not_mounted() { ! mounted; }
why() { m why db; }
said() { why | grep -q "$1"; }
journal() { grep -q "$1" a.log; }
# apply SED: another configuration, then a start.
apply() {
  sed "$1" a/etc/mainstay/cluster.toml >new.toml
  m config apply new.toml --yes >/dev/null 2>&1 || m config apply new.toml
  m service start db >/dev/null 2>&1 || true
}
"#;

const WORKS: &str = r#"
run a; guard=$!
wait_for is running
mounted && say "mounted"
test -s mnt/written && say "written to"
m bound --json | grep -q '"class": *"storage"' && say "of class storage"

server=$(head -1 server.pid)
kill -9 $(cat /proc/$guard/task/$guard/children)
wait_for journal "starting it again"
wait_for is running
test "$(head -1 server.pid)" = "$server" && mounted && say "adopted by the next daemon"

mount -o remount,ro $PWD/mnt
wait_for said "has become read-only"
wait_for is running
grep " $PWD/mnt ext4 rw" /proc/mounts >/dev/null && say "mounted anew after it became read-only"

(cd mnt && exec sh -c 'trap "" TERM; while :; do sleep 0.2; done') & deaf=$!
m service stop db
wait_for is stopped
not_mounted && say "unmounted"
kill -0 $deaf 2>/dev/null || say "the deaf user was killed"
journal "told to end (SIGTERM): $deaf (sh), which works in it" && say "told first"
journal "is killed: $deaf" && say "then killed"

m service start db
wait_for is running
umount -l $PWD/mnt
wait_for said "is not mounted on"
say "a mount that vanished was noticed"
"#;

#[test]
fn a_file_system_is_mounted_watched_adopted_and_unmounted_with_its_users() {
    let Some(said) = run(Spaces::NetAndMounts, &format!("{BEGINNING}{WORKS}")) else { return };
    if said.output.contains("no loop device") {
        println!("skipped, no loop devices here");
        return;
    }
    said.has(&[
        "== mounted",
        "== written to",
        "== of class storage",
        "== adopted by the next daemon",
        "== mounted anew after it became read-only",
        "== unmounted",
        "== the deaf user was killed",
        "== told first",
        "== then killed",
        "== a mount that vanished was noticed",
    ]);
}

const REFUSED: &str = r#"
touch mnt/in-the-way
run a
wait_for said "is not empty"
why | grep -o 'data /.*is not empty.*move it away' | tail -1
rm mnt/in-the-way
m service clear db >/dev/null
wait_for is running
m service stop db
wait_for is stopped

apply 's/filesystem = "ext4"/filesystem = "xfs"/'
wait_for said "holds ext4, and the configuration says"
say "another kind of file system"
apply 's|directory = ".*"|directory = "/srv/no/such/directory"|; s/filesystem = "xfs"/filesystem = "ext4"/'
wait_for said 'mkdir -p /srv/no/such/directory'
say "no directory"
apply "s|directory = \".*\"|directory = \"$PWD/mnt\"|; s|device = \".*\"|device = \"/dev/disk/by-id/not-there\"|"
wait_for said "by-id/not-there is not on this machine"
say "no device"
mkdir other
mount $disk $PWD/other
apply "s|device = \".*\"|device = \"$disk\"|"
wait_for journal "is mounted on $PWD/other already: unmount it there"
say "mounted elsewhere"
# This machine writes to it: no other may start it, either.
wait_for is broken-unsafe
say "and kept from others"
umount $PWD/other
unshare --mount sh -c "mount $disk $PWD/other && touch there && sleep 600" & elsewhere=$!
wait_for test -e there
m service clear db >/dev/null 2>&1 || true
wait_for said "the kernel has not given up"
say "mounted in another namespace"
kill $(cat /proc/$elsewhere/task/$elsewhere/children) $elsewhere 2>/dev/null || true
free() { "$M" ask-storage free $disk; }
wait_for free
dd if=/dev/zero of=$disk bs=1M count=8 conv=fsync 2>/dev/null
m service clear db >/dev/null 2>&1 || true
wait_for said "holds no file system"
say "no file system"
not_mounted && say "and never mounted"
"#;

#[test]
fn each_refusal_names_the_place_and_the_mend() {
    let Some(said) = run(Spaces::NetAndMounts, &format!("{BEGINNING}{REFUSED}")) else { return };
    if said.output.contains("no loop device") {
        println!("skipped, no loop devices here");
        return;
    }
    said.has(&[
        "is not empty: what is in it would be hidden by the mount; move it away",
        "== another kind of file system",
        "== no directory",
        "== no device",
        "== mounted elsewhere",
        "== and kept from others",
        "== mounted in another namespace",
        "== no file system",
        "== and never mounted",
    ]);
}

const HELD: &str = r#"
run a
wait_for is running
# Nobody can be signalled in it, and it stays: a mount of another namespace, made from ours.
unshare --mount --propagation private sh -c "touch there; sleep 600" & copy=$!
wait_for test -e there
m service stop db
stuck() { is broken-unsafe; }
wait_for stuck
said "the kernel has not given up" && say "unmounted here is not given up"
not_mounted && say "though nobody sees it here"
kill $(cat /proc/$copy/task/$copy/children) $copy 2>/dev/null || true
m service clear db >/dev/null
wait_for is stopped
say "free once nothing has it"
"#;

#[test]
fn what_the_kernel_has_not_given_up_keeps_its_holder() {
    let Some(said) = run(Spaces::NetAndMounts, &format!("{BEGINNING}{HELD}")) else { return };
    if said.output.contains("no loop device") {
        println!("skipped, no loop devices here");
        return;
    }
    said.has(&[
        "== unmounted here is not given up",
        "== though nobody sees it here",
        "== free once nothing has it",
    ]);
}

const CRASHED: &str = r#"
# Ends the daemon alone; its guard starts the next one.
lives=0
crash() {
  lives=$((lives + 1))
  kill -9 $(cat /proc/$guard/task/$guard/children)
  wait_for again
}
again() { test "$(grep -c "starting it again" a.log)" -ge $lives; }
forgotten() { journal "runs nothing of it"; }
free() { "$M" ask-storage free $disk; }
run a; guard=$!
wait_for is running
unshare --mount --propagation private sh -c "touch there; sleep 600" & copy=$!
wait_for test -e there
m service stop db
wait_for is broken-unsafe
crash
wait_for journal "db/data: is not mounted, but $disk is in use on this machine"
wait_for said "the kernel has not given up"
wait_for is broken-unsafe
forgotten || say "what was detached is held by the next daemon"
kill $(cat /proc/$copy/task/$copy/children) $copy 2>/dev/null || true
wait_for free
m service clear db >/dev/null
# A cluster of one that dies forgets that it was to be stopped.
wait_for is running
say "and freed when the kernel has given it up"
m service stop db
wait_for is stopped

mount -t tmpfs none /usr/local/sbin
cat >/usr/local/sbin/fsck.ext4 <<EOF
#!/bin/sh
test -e $PWD/quick && exit 0
echo \$\$ >$PWD/fsck.pid
exec sleep 600
EOF
chmod +x /usr/local/sbin/fsck.ext4
m service start db >/dev/null
wait_for test -s fsck.pid
touch quick
crash
wait_for is running
kill -0 $(cat fsck.pid) 2>/dev/null || say "a check that went on was ended first"
mounted && ! forgotten && say "and it runs again"
"#;

#[test]
fn what_a_dead_daemon_left_of_a_mount_is_held_or_ended_by_the_next() {
    let Some(said) = run(Spaces::NetAndMounts, &format!("{BEGINNING}{CRASHED}")) else { return };
    if said.output.contains("no loop device") {
        println!("skipped, no loop devices here");
        return;
    }
    said.has(&[
        "== what was detached is held by the next daemon",
        "== and freed when the kernel has given it up",
        "== a check that went on was ended first",
        "== and it runs again",
    ]);
}

const NAMELESS: &str = r#"
name=/dev/shm/$(basename $PWD)
trap 'release; rm -f $name' EXIT
name() { ln -s $disk $name; }
free() { "$M" ask-storage free $disk; }
name
sed -i "s|device = \".*\"|device = \"$name\"|" a/etc/mainstay/cluster.toml
run a; guard=$!
wait_for is running
unshare --mount --propagation private sh -c "touch there; sleep 600" & copy=$!
wait_for test -e there
rm $name
m service stop db
wait_for is broken-unsafe
said "the kernel has not given up" && say "without its name it is not taken for gone"
not_mounted && say "though it was unmounted here"
kill $(cat /proc/$copy/task/$copy/children) $copy 2>/dev/null || true
wait_for free
m service clear db >/dev/null
wait_for is stopped
say "found free by its number"

name
m service start db >/dev/null
wait_for is running
rm $name
kill -9 $(cat /proc/$guard/task/$guard/children)
wait_for journal "starting it again"
wait_for is running
m service stop db
wait_for is stopped
not_mounted && free && say "unmounted by a daemon that never knew the name"
"#;

#[test]
fn a_device_that_loses_its_name_is_known_by_its_number() {
    let Some(said) = run(Spaces::NetAndMounts, &format!("{BEGINNING}{NAMELESS}")) else { return };
    if said.output.contains("no loop device") {
        println!("skipped, no loop devices here");
        return;
    }
    said.has(&[
        "== without its name it is not taken for gone",
        "== though it was unmounted here",
        "== found free by its number",
        "== unmounted by a daemon that never knew the name",
    ]);
}

const DROPPED: &str = r#"
crash() {
  lives=$((lives + 1))
  kill -9 $(cat /proc/$guard/task/$guard/children)
  wait_for again
}
lives=0
again() { test "$(grep -c "starting it again" a.log)" -ge $lives; }
free() { "$M" ask-storage free $disk; }
run a; guard=$!
wait_for is running
ls a/run/mainstay/writing | grep -qx db:data && say "on record"
# The mount is taken out of the configuration; what runs stays until the next start.
cp a/etc/mainstay/cluster.toml whole.toml
awk 'BEGIN { RS = "\\[\\[service.resource\\]\\]"; ORS = "" } NR == 1 { print; next } !/kind = "mount"/ { print "[[service.resource]]" $0 }' whole.toml >new.toml
grep -c 'kind = "mount"' new.toml || say "taken out"
m config apply new.toml --yes >/dev/null 2>&1 || m config apply new.toml
mounted && say "and still mounted"
crash
wait_for is running
mounted && say "found by the next daemon"
m service stop db
wait_for is stopped
not_mounted && free && say "and unmounted with its service"
test -z "$(ls a/run/mainstay/writing)" && say "off the record"

# The whole service goes, and the daemon dies before its mount is unmounted.
m config apply whole.toml --yes >/dev/null 2>&1 || m config apply whole.toml
m service start db >/dev/null 2>&1 || true
wait_for mounted
wait_for is running
(cd mnt && exec sh -c 'trap "" TERM; while :; do sleep 0.2; done') & deaf=$!
sed '/^\[\[service\]\]/,$d' whole.toml >none.toml
m config apply none.toml --yes >/dev/null 2>&1 || m config apply none.toml
wait_for journal "told to end (SIGTERM): $deaf"
crash
mounted && say "it was mounted when the daemon died"
wait_for not_mounted
wait_for free
say "a service that was removed leaves no mount"
gone() { test -z "$(ls a/run/mainstay/writing)"; }
wait_for gone
say "nor a record"
"#;

#[test]
fn a_mount_that_the_configuration_lost_is_known_after_a_crash_and_unmounted() {
    let Some(said) = run(Spaces::NetAndMounts, &format!("{BEGINNING}{DROPPED}")) else { return };
    if said.output.contains("no loop device") {
        println!("skipped, no loop devices here");
        return;
    }
    said.has(&[
        "== on record",
        "== taken out",
        "== and still mounted",
        "== found by the next daemon",
        "== and unmounted with its service",
        "== off the record",
        "== it was mounted when the daemon died",
        "== a service that was removed leaves no mount",
        "== nor a record",
    ]);
}
