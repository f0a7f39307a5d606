#!/usr/bin/env bash
# Boots a folder with Debian as a machine whose service manager is systemd: boot.sh FOLDER NAME, as root, within the
# network namespace that is to be the machine's. Its processes, mounts, host name and cgroups (NAME below each hierarchy)
# are its own; it ends with this process' child, and nothing of it is left then but the folder and empty cgroups.
set -euo pipefail
folder=$1 name=$2

hierarchies=(/sys/fs/cgroup)
[ -e /sys/fs/cgroup/cgroup.controllers ] || hierarchies=(/sys/fs/cgroup/*/)
for hierarchy in "${hierarchies[@]}"; do
  own=$hierarchy/$name
  mkdir -p "$own"
  if [ -e "$own/cpuset.cpus" ] && [ ! -e "$own/cgroup.controllers" ]; then
    cat "$hierarchy/cpuset.cpus" >"$own/cpuset.cpus"
    cat "$hierarchy/cpuset.mems" >"$own/cpuset.mems"
    echo 1 >"$own/cgroup.clone_children"
  fi
  echo $$ >"$own/cgroup.procs"
done

exec unshare --cgroup --ipc --mount --pid --uts --fork --kill-child --propagation private bash -euc '
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount -t cgroup2 cgroup2 sys/fs/cgroup
else
  mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup
  for hierarchy in /sys/fs/cgroup/*/; do
    hierarchy=$(basename "$hierarchy")
    mkdir "sys/fs/cgroup/$hierarchy"
    case "$hierarchy" in
    unified) mount -t cgroup2 cgroup2 "sys/fs/cgroup/$hierarchy" ;;
    systemd) mount -t cgroup -o none,name=systemd cgroup "sys/fs/cgroup/$hierarchy" ;;
    *) mount -t cgroup -o "$hierarchy" cgroup "sys/fs/cgroup/$hierarchy" ;;
    esac
  done
fi
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
pivot_root . mnt
mount --make-rprivate /
umount -l /mnt
mount --make-rshared /
exec chroot . /usr/bin/env -i container=knarr PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --log-target=console systemd.unit=multi-user.target
' - "$folder"
