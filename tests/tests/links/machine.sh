#!/usr/bin/env bash
# The tests of links in a virtual machine, for computers whose kernel has no netem, or where you are not root.
# Boots a Debian kernel in QEMU (software emulation). Its only disk is an archive in memory with the programs under
# test and the libraries they need. KVM is not used: where it is offered but does not work, machines hang. Takes two
# or three minutes. Needs Debian with the packages qemu-system-x86, busybox-static and iproute2. Installs nothing and
# needs no root.
set -euo pipefail
cd "$(dirname "$0")/../../.."
readonly LIMIT=900 # seconds for the machine, from its start to its end

missing() {
  echo "SKIPPED, NOTHING WAS CHECKED: a machine for bad lines needs $1" >&2
  exit 0
}
for program in qemu-system-x86_64 busybox ip tc apt-get dpkg-deb; do
  command -v "$program" >/dev/null || missing "$program"
done
test "$(uname -m)" = x86_64 || missing "an x86-64 processor"

# What is tested.
cargo build --release --locked
cargo test --release --locked --test links --no-run
test=$(cargo test --release --locked --test links --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
test=$(realpath "$test")
built=$(dirname "$(dirname "$test")")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The newest Debian kernel for virtual machines; a downloaded one is kept.
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p') || true
mkdir -p "$built/machine"
{ test -n "$kernel" && (cd "$built/machine" && apt-get download -q "$kernel"); } || missing "Debian's linux-image-cloud-amd64"
dpkg-deb -x "$(ls -t "$built/machine/${kernel}"_*.deb | head -n 1)" "$work/kernel"

# The archive: the programs, at the same paths as here, and the libraries that they link.
disk=$work/disk
mkdir -p "$disk"/{bin,dev,proc,sys,tmp,run,modules}
cp "$(command -v busybox)" "$disk/bin/busybox"
for program in "$test" "$built/coordinator" "$built/site-agent" "$(command -v ip)" "$(command -v tc)"; do
  echo "$program"
  ldd "$program" | grep -o '/[^ ]*'
done | sort -u | xargs cp -L --parents -t "$disk"
number=0 # Modules are loaded in this order: each needs only those before it.
for module in llc stp bridge veth sch_netem sch_ingress cls_u32 act_gact; do
  number=$((number + 1))
  cp "$(find "$work/kernel" -name "$module.ko*")" "$disk/modules/$number-$module.ko"
done

# The init script. If it fails, the machine stops. Nothing is mounted over /tmp, because the programs may be there.
cat >"$disk/init" <<INIT
#!/bin/busybox sh
set -e
export PATH=$(dirname "$(command -v ip)"):$(dirname "$(command -v tc)"):/bin
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t tmpfs run /run
for module in /modules/*; do busybox insmod \$module; done
cd /tmp
ended=0
$test || ended=\$?
echo "the tests ended with \$ended"
busybox poweroff -f
INIT
chmod +x "$disk/init"
(cd "$disk" && find . | busybox cpio -o -H newc) >"$work/disk.cpio"

timeout --kill-after=10 "$LIMIT" qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1G -nodefaults -no-user-config \
  -display none -no-reboot -chardev "stdio,id=console,signal=off,logfile=$work/console" -serial chardev:console \
  -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/disk.cpio" -append "console=ttyS0 quiet panic=-1" </dev/null &
machine=$!
# In the background: if this script is stopped while it waits, the trap stops the machine too.
trap 'kill "$machine" 2>/dev/null || true; rm -rf "$work"' EXIT
wait "$machine" || { echo "the machine did not come to its end within $LIMIT seconds" >&2; exit 1; }
grep -q "^the tests ended with 0" "$work/console" || { echo "the machine failed, or a federation in it" >&2; exit 1; }
if grep -q SKIPPED "$work/console"; then
  echo "the machine lacks what bad lines need" >&2
  exit 1
fi
