#!/bin/bash
# boot.sh NAME DIRECTORY: a real systemd as pid 1 of namespaces of its own, on an overlay of this machine's root; nothing of it is seen outside, and all
# of it ends with this process. Says "booting PID", the pid of systemd as this machine has it.
set -eu
group=/sys/fs/cgroup/unified/$1
mkdir "$group"
echo $$ > "$group/cgroup.procs"
exec unshare --cgroup --pid --mount --uts --ipc --fork --propagation private --kill-child=KILL bash -c '
set -eu
name=$1 dir=$2
mount -t tmpfs tmpfs "$dir"
root=$dir/root
mkdir "$dir/upper" "$dir/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"
mount -t proc proc "$root/proc"
for at in run tmp dev; do mount -t tmpfs tmpfs "$root/$at"; done
chmod 1777 "$root/tmp"
for device in null zero full random urandom tty kvm net/tun; do
  [ -e "/dev/$device" ] || continue
  mkdir -p "$(dirname "$root/dev/$device")"
  : > "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666,mode=620
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -o remount,bind,ro "$root/sys"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
# Nothing of this machine is started, and nothing reaches its devices and settings.
units=$root/etc/systemd/system
rm -rf "$units"/*.wants "$units"/*.requires
: > "$root/etc/fstab"
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-modules-load.service \
  systemd-sysctl.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount \
  systemd-sysusers.service systemd-update-utmp.service systemd-networkd.service systemd-resolved.service systemd-timesyncd.service tmp.mount \
  getty.target systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service; do
  ln -sf /dev/null "$units/$unit"
done
printf "[Unit]\nRequires=sysinit.target dbus.socket\nAfter=sysinit.target dbus.socket\n" > "$units/ferry-test.target"
hostname "$name"
cd "$root"
mkdir -p run/old
pivot_root . run/old
umount -l /run/old
exec env -i container=ferry-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=ferry-test.target --log-target=journal --show-status=0
' bash "$1" "$2"
