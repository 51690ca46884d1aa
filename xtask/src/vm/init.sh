#!/bin/busybox sh
# The first process of the guest: makes a small but complete Linux, runs /command, says how it ended, and powers off.
# The lines that begin with "=== geophone vm:" are read by the host.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=dumb RUST_BACKTRACE=1 RUST_LIB_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t securityfs securityfs /sys/kernel/security
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname geophone-vm
stty -onlcr 2>/dev/null
# From here on the console belongs to the command; what the kernel has to say is looked at in the end.
grep -q geophone.debug /proc/cmdline || dmesg -n 1
cd /root
echo "=== geophone vm: begin $(uname -r)"
sh /command </dev/null
status=$?
sync
dmesg | grep -E 'WARNING: |BUG: |Oops' | sed 's/^/=== geophone vm: kernel /'
echo "=== geophone vm: end $status"
poweroff -f
