#!/usr/bin/env bash
# A virtual machine with Debian 12 as it is installed: its own kernel, cgroup v2 and nothing else, systemd, a disk that
# forgets what was not flushed. What boot.sh's machines, which share the kernel, cannot show is tried here, by hand:
#
#   vm.sh image FOLDER         makes the machine's disk in FOLDER (3 GiB; debootstrap, mke2fs and qemu-img; as root)
#   vm.sh boot FOLDER          boots it in the background, and waits for its ssh
#   vm.sh ssh FOLDER COMMAND   runs a command on it
#   vm.sh cut FOLDER           takes its power away
#   vm.sh fresh FOLDER         forgets all that was written since `image`
#   vm.sh try FOLDER DEB       boots a fresh one, installs a package, and prints what holds
#   vm.sh snap FOLDER SNAP     the same with a snap, classic or strict, below snapd and a base that are made of Debian's
#                              packages (snaps.sh)
#
# Without /dev/kvm it takes minutes. KNARR_VM_PORT (default 2222) is where its ssh is reached on this machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
verb=${1:?image, boot, ssh, cut, fresh, try or snap} folder=$(realpath -m "${2:?a folder}")
shift 2
port=${KNARR_VM_PORT:-2222}

# Where this machine has its own packages from.
mirror() {
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' 2>/dev/null | head -n 1
}

# What a node needs is in apt's cache: there is no network on the machine. busybox is what pods run.
image() {
  mkdir -p "$folder"
  local tree=$folder/tree mirror
  mirror=$(mirror)
  rm -rf "$tree"
  debootstrap --variant=minbase --include="adduser,busybox-static,ca-certificates,dbus,iproute2,jq,linux-image-amd64,\
openssh-server,procps,quota,systemd-sysv,udev,zstd" bookworm "$tree" ${mirror:+"$mirror"} >"$folder/image.log"
  chroot "$tree" sh -ec 'apt-get update -qq
    apt-get install -y -qq --no-install-recommends --download-only apparmor containerd conntrack nftables runc snapd' >>"$folder/image.log"
  echo 'APT::Install-Recommends "false";' >"$tree/etc/apt/apt.conf.d/tests"
  echo '/dev/vda / ext4 defaults,prjquota 0 1' >"$tree/etc/fstab"
  echo debian >"$tree/etc/hostname"
  echo '127.0.0.1 localhost debian' >"$tree/etc/hosts"
  printf '[Match]\nName=en*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n' >"$tree/etc/systemd/network/en.network"
  chroot "$tree" systemctl -q enable systemd-networkd systemd-networkd-wait-online ssh
  for unit in apt-daily.timer apt-daily-upgrade.timer man-db.timer; do ln -sf /dev/null "$tree/etc/systemd/system/$unit"; done
  [ -e "$folder/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$folder/key"
  install -D -m 0600 "$folder/key.pub" "$tree/root/.ssh/authorized_keys"
  # Without it the kernel mounts no file system with quotas.
  echo quota_v2 >>"$tree/etc/initramfs-tools/modules"
  chroot "$tree" update-initramfs -u >>"$folder/image.log"
  cp "$tree"/boot/vmlinuz-* "$folder/kernel"
  cp "$tree"/boot/initrd.img-*-amd64 "$folder/initrd"
  rm -f "$folder/base.img"
  truncate -s 8G "$folder/base.img"
  # Volumes' sizes can be limited: projects have quotas.
  mke2fs -q -t ext4 -O project,quota -E quotatype=prjquota -d "$tree" "$folder/base.img"
  # What each project uses has not been counted yet; 1 says that something was mended.
  e2fsck -fy "$folder/base.img" >>"$folder/image.log" 2>&1 || [ $? -eq 1 ]
  rm -rf "$tree"
  fresh
}

# qcow2 keeps in its process what belongs to writes that the machine did not flush: they are lost with it.
fresh() {
  qemu-img create -q -f qcow2 -b base.img -F raw "$folder/disk.qcow2"
}

boot() {
  # Emulated, the processor's own clock and few of its later inventions are what is quick.
  local machine=(-accel tcg,thread=multi -machine pc,hpet=off -cpu Westmere)
  [ -w /dev/kvm ] && grep -qE 'vmx|svm' /proc/cpuinfo && machine=(-accel kvm -cpu host)
  rm -f "$folder/console.log"
  qemu-system-x86_64 "${machine[@]}" -smp 2 -m 3G -display none -vga none -daemonize -pidfile "$folder/pid" \
    -serial "file:$folder/console.log" -kernel "$folder/kernel" -initrd "$folder/initrd" \
    -append 'root=/dev/vda rw rootflags=prjquota console=ttyS0 tsc=reliable mitigations=off panic=1' \
    -drive "file=$folder/disk.qcow2,format=qcow2,if=virtio,cache=writeback" \
    -netdev "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:$port-:22" -device virtio-net-pci,netdev=net
  up
}

# Waits until somebody could log in.
up() {
  for _ in $(seq 600); do
    grep -q ' login:' "$folder/console.log" && guest true && return
    sleep 1
  done
  echo "it does not come up; see $folder/console.log" >&2
  return 1
}

guest() {
  ssh -q -i "$folder/key" -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o ConnectTimeout=10 -o ControlMaster=auto -o "ControlPath=$folder/ssh" -o ControlPersist=60 root@127.0.0.1 "$@"
}

cut() {
  local pid
  pid=$(cat "$folder/pid")
  kill -KILL "$pid"
  # Only then is its disk free again.
  while grep -qs '^State:.[^Z]' "/proc/$pid/status"; do sleep 0.1; done
  rm -f "$folder/pid" "$folder/ssh"
}

# holds WHAT SCRIPT: runs a script on the machine until it succeeds, for two minutes, and prints whether it did.
failed=0
holds() {
  local told
  if told=$(guest 'cat >/root/check; export KUBECONFIG=/root/.kube/config
      while [ $SECONDS -lt 120 ]; do bash -ec ". /root/functions; . /root/check" >/root/told 2>&1 && exit; sleep 2; done
      tail -n 5 /root/told; exit 1' <<<"$2"); then
    echo "ok    $1"
  else
    echo "FAIL  $1: $told"
    failed=1
  fi
}

# A fresh machine with kubectl and what checks are made of.
machine() {
  local kubectl
  kubectl=${KNARR_TOOLS:-$("$here/tools.sh" kubectl)}/kubectl
  [ ! -e "$folder/pid" ] || cut 2>/dev/null || true
  fresh
  boot
  guest 'cat >/usr/local/bin/kubectl; chmod +x /usr/local/bin/kubectl' <"$kubectl"
  guest 'cat >/root/functions' <<'END'
PATH=$PATH:/snap/bin
# A node that keeps its things elsewhere than usual has a name of its own.
groups=$(echo /sys/fs/cgroup/kubepods*)
# The group of a pod, and the one of its container.
group() { find $groups -type d -name "pod$(kubectl get pod "$1" -o 'jsonpath={.metadata.uid}')"; }
of() { cat "$(group "$1")/$(kubectl get pod "$1" -o 'jsonpath={.status.containerStatuses[0].containerID}' | cut -d/ -f3)/$2"; }
# The processes of pods.
processes() { find $groups -name cgroup.procs -exec cat {} + | sort; }
ready() { kubectl wait --for=condition=Ready "pod/$1" --timeout=5s; }
# busybox as docker.io/library/busybox:latest.
image() {
  cd "$(mktemp -d)" && mkdir -p root/bin root/tmp && cp /bin/busybox root/bin/
  busybox --list | grep -vx busybox | xargs -I{} ln -s busybox root/bin/{}
  tar -C root -cf layer.tar .
  printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(sha256sum layer.tar | cut -d' ' -f1)" >config.json
  echo '[{"Config":"config.json","RepoTags":["docker.io/library/busybox:latest"],"Layers":["layer.tar"]}]' >manifest.json
  tar -cf image.tar manifest.json config.json layer.tar && knarr images import image.tar
}
# pod NAME RESOURCES SCRIPT
pod() {
  kubectl create -f - <<POD
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "$1"}, "spec": {"terminationGracePeriodSeconds": 1, "restartPolicy": "$4",
 "containers": [{"name": "a", "image": "busybox", "imagePullPolicy": "Never", "command": ["sh", "-c", "$3"], "resources": $2}]}}
POD
}
# MIB that the pod `writer` is to write into its volume.
write() { kubectl exec writer -- dd if=/dev/zero of=/data/x bs=1M count="$1" 2>&1 || true; }
resize() {
  kubectl patch pod "$1" --subresource resize -p \
    "{\"spec\": {\"containers\": [{\"name\": \"a\", \"resources\": {\"limits\": {\"memory\": \"$2\"}}}]}}"
}
END
}

try() {
  machine
  guest 'cat >/root/knarr.deb' <"$1"
  guest 'apt-get install -y /root/knarr.deb' >"$folder/install.log" 2>&1
  holds 'the service runs' 'systemctl is-active knarr'
  holds 'nothing is missing' 'knarr check'
  holds 'the node is ready' 'knarr status --wait-ready --timeout 100; mkdir -p /root/.kube; knarr config >/root/.kube/config'
  guest '. /root/functions; image' >"$folder/image-import.log"
  guest ". /root/functions
    pod limited '{\"requests\": {\"cpu\": \"50m\", \"memory\": \"10Mi\"}, \"limits\": {\"cpu\": \"200m\", \"memory\": \"64Mi\"}}' \
      'echo hello; dd if=/dev/zero of=/dev/shm/x bs=1M count=40; sleep 100000' Always
    pod busy '{\"limits\": {\"cpu\": \"100m\", \"memory\": \"32Mi\"}}' 'while :; do :; done' Always
    pod open '{}' 'sleep 100000' Always
    pod greedy '{\"limits\": {\"memory\": \"32Mi\"}}' 'sleep 1000 & tail -c 200m /dev/zero' Never" >/dev/null
  holds 'pods run' 'for pod in limited busy open; do ready $pod; done'
  holds 'add-ons run' 'test "$(kubectl -n kube-system get pods --no-headers | grep -c " 1/1 *Running ")" = 2'
  holds 'limits are in force' 'test "$(of limited memory.max) $(of limited cpu.max)" = "67108864 20000 100000"
    test "$(cat $(group limited)/memory.max) $(cat $(group limited)/cpu.max)" = "67108864 20000 100000"'
  holds 'containers do not swap and end as a whole' 'test "$(of open memory.swap.max) $(of open memory.oom.group)" = "0 1"'
  holds 'who takes too much is OOMKilled' 'kubectl get pod greedy -o "jsonpath={.status.containerStatuses[0].state.terminated.reason}" |
    grep -x OOMKilled'
  holds 'a limit below what is used is refused' 'resize limited 20Mi; kubectl get events | grep "ResizeError.*limited"
    test "$(of limited memory.max)" = 67108864; resize limited 64Mi'
  holds 'pods use what they may' 'sleep 6; kubectl get --raw "/api/v1/nodes/$(hostname)/proxy/stats/summary" |
    jq -e ".pods[] | select(.podRef.name == \"busy\") | .cpu.usageNanoCores > 7e7 and .cpu.usageNanoCores < 13e7"'
  holds 'exec and logs work' 'kubectl exec open -- true; kubectl logs limited | grep hello'
  guest 'kubectl create -f -' >/dev/null <<'END'
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: a, image: busybox, imagePullPolicy: Never, command: [sleep, "100000"], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
END
  holds 'a volume is as large as its claim' 'ready writer; kubectl exec writer -- df -P /data | grep " 16384 "
    repquota -Pn / | grep "^#18[0-9]\{8\} .* 16384 "'
  # ext4 says EDQUOT where XFS says ENOSPC. The directory counts, too.
  holds 'a volume takes no more than its size' 'write 40 | grep "Disk quota exceeded"
    test "$(kubectl exec writer -- stat -c %s /data/x)" = $((16 * 1048576 - 4096))'
  holds 'a volume grows with its claim' 'kubectl patch pvc data -p "{\"spec\": {\"resources\": {\"requests\": {\"storage\": \"32Mi\"}}}}"
    kubectl exec writer -- df -P /data | grep " 32768 "; write 24 | grep "24+0 records out"; write 40 | grep "Disk quota exceeded"'
  holds 'nothing is left of a volume' 'kubectl delete --ignore-not-found pod/writer pvc/data; test -z "$(kubectl get pv -o name)"
    test "$(repquota -Pn / | grep "^#" | cut -d" " -f1)" = "#0"; test -z "$(ls /var/lib/knarr/storage)"'
  # udev, which only a machine of its own has, looks at every new link.
  holds 'pods know the MAC of their way out' 'for space in /run/netns/*; do
      index=$(ip -n ${space##*/} -o link show eth0 | sed "s/.*@if\([0-9]*\):.*/\1/")
      ip -n ${space##*/} neigh show 169.254.1.1 | grep -q "$(ip -o link | sed -n "s/^$index: .*link.ether \([^ ]*\).*/\1/p")"
    done; kubectl exec open -- nc -w 5 10.152.183.1 443 </dev/null'
  holds 'a restart keeps pods' 'processes >/root/before; systemctl restart knarr; knarr status --wait-ready --timeout 100
    processes | diff /root/before -'
  holds 'systemd keeps to its own groups' 'systemctl daemon-reload; systemctl set-property --runtime ssh.service CPUWeight=50
    grep -w cpuset /sys/fs/cgroup/cgroup.subtree_control; systemctl restart systemd-networkd; kubectl exec open -- nc -w 5 10.152.183.1 443 </dev/null'
  holds 'stopping leaves no group' 'knarr stop; test ! -e $groups'
  holds 'starting brings pods back' 'knarr start; for pod in limited busy open; do ready $pod; done'
  guest 'kubectl create configmap last' >/dev/null
  cut
  boot
  holds 'nothing acknowledged is lost with the power' 'kubectl get configmap last'
  holds 'pods are back after it' 'knarr status --wait-ready --timeout 100; for pod in limited busy open; do ready $pod; done'
  holds 'a purge leaves nothing' 'apt-get purge -y knarr; test ! -e $groups; test ! -e /var/lib/knarr
    test -z "$(ip link | grep knarr)$(nft list ruleset | grep knarr)"'
  return "$failed"
}

# A refresh is another revision of the same file here. The first revision is removed with the second refresh.
snap() {
  local confinement made
  confinement=$(unsquashfs -cat "$1" meta/snap.yaml | sed -n 's/^confinement: //p')
  [ -e "$folder/core24_1_all.snap" ] || "$here/snaps.sh" "$folder" "$(mirror)" 2>"$folder/snaps.log"
  machine
  for made in "$folder"/{snapd,core24}_1_all.snap "$1"; do
    guest "cat >/root/$(basename "$made" | cut -d_ -f1).snap" <"$made"
  done
  guest "echo 'refresh() { snap install --dangerous $([ "$confinement" = strict ] || echo --classic) /root/knarr.snap; }' >>/root/functions"
  guest '. /root/functions
    mkdir -p /etc/systemd/system/snapd.service.d
    printf "[Service]\nEnvironment=SNAP_REEXEC=0\n" >/etc/systemd/system/snapd.service.d/own.conf
    apt-get install -y apparmor snapd && snap wait system seed.loaded
    for name in snapd core24; do snap install --dangerous /root/$name.snap; done
    refresh
    for plug in $(snap connections knarr | awk "\$3 == \"-\" { print \$2 }"); do snap connect $plug; done
    snap debug confinement; snap connections knarr' >"$folder/install.log" 2>&1
  holds 'the service runs' 'snap services knarr | grep -w active'
  holds 'nothing is missing' 'knarr check'
  holds 'the node is ready' 'knarr status --wait-ready --timeout 100; mkdir -p /root/.kube; knarr config >/root/.kube/config'
  # A confined snap has a /tmp of its own.
  guest '. /root/functions; TMPDIR=/var/snap/knarr/common image; pod open "{}" "echo hello; sleep 100000" Always' \
    >"$folder/image-import.log"
  holds 'a pod runs' 'ready open'
  holds 'exec and logs work' 'kubectl exec open -- true; kubectl logs open | grep hello'
  guest '. /root/functions; processes >/root/before'
  for made in first second; do
    holds "a $made refresh keeps pods" 'refresh; knarr status --wait-ready --timeout 100; kubectl exec open -- true
      processes | diff /root/before -'
  done
  holds 'a setting reaches the server' 'snap set knarr flags.node-label=a=b
    kubectl get node -l a=b -o name | grep node'
  holds 'one that is none is refused' '! snap set knarr flags.v=3; ! snap get knarr flags.v'
  holds 'stopping leaves no group' 'knarr stop; test ! -e $groups'
  holds 'starting brings pods back' 'knarr start; ready open'
  guest '. /root/functions; kubectl create configmap last' >/dev/null
  cut
  boot
  holds 'nothing acknowledged is lost with the power' 'kubectl get configmap last'
  holds 'pods are back after it' 'knarr status --wait-ready --timeout 100; ready open'
  holds 'removing leaves nothing' 'snap remove --purge knarr; test ! -e $groups; test ! -e /var/snap/knarr
    test -z "$(ip link | grep knarr)$(mount | grep knarr)$(pgrep knarr)$(pgrep containerd)$(getent group knarr)"'
  return "$failed"
}

case "$verb" in
image | boot | cut | fresh) "$verb" ;;
ssh) guest "$@" ;;
try | snap) "$verb" "${1:?a package}" ;;
*) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
