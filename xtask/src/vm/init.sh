#!/bin/busybox sh
# The first process of a machine. It makes what an init system makes (the file systems that
# systemd mounts, at the same places), mounts the machine's own disk, gives the harness a shell on
# a virtio port, and lets the disk's machine.sh do the rest.
/bin/busybox --install -s /bin
export PATH=/sbin:/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# The kernel asks /sbin/modprobe for all other modules itself, or the program under test does.
for module in virtio_pci virtio_blk virtio_net virtio_console; do modprobe $module; done
mount -t ext4 /dev/vda /disk || echo "machine: its disk cannot be mounted"
chown -R 0:0 /disk
mkdir -p /disk/etc/mainstay
mount --bind /disk/etc/mainstay /etc/mainstay
mount --bind /disk/var /var
hostname "$(cat /disk/name)"
ip link set lo up

# Starts the cluster manager as a service unit with Restart=on-failure would.
supervise() {
  (
    touch /run/mainstay.log
    # Not straight to the console: nobody shall wait for a serial port.
    tail -n +1 -f /run/mainstay.log >/dev/console &
    while :; do
      mainstay run >>/run/mainstay.log 2>&1
      status=$?
      echo "machine: mainstay run ended with $status" >/dev/console
      [ $status = 0 ] && break
      sleep 1
    done
  ) &
}

. /disk/machine.sh

# The port can be opened once only, so all have the same descriptor. A pipe, so that the shell does
# not take itself for interactive. Without a reader at the other end `cat` ends at once.
port=$(echo /dev/vport*p1)
exec 3<>"$port"
echo "machine: $(hostname) is up"
while :; do
  cat <&3 | sh >&3 2>&1
  sleep 1
done
