#!/bin/busybox sh
# First process of a guest: loads the virtio drivers, then either starts the system on the disk that root=
# names, or runs a script and powers off, or gives a shell. The script comes from the kernel's command line
# (GUEST_SCRIPT=<base64>) or from a disk whose serial number is "script".
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=linux
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
for module in /modules/*.ko; do insmod "$module"; done

argument() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

root=$(argument root)
if [ -n "$root" ]; then
    for _ in 1 2 3 4 5 6 7 8 9 10; do [ -b "$root" ] || sleep 0.2; done
    mkdir -p /mnt/root
    if mount -t ext4 "$root" /mnt/root; then
        for folder in proc sys dev; do mount --move "/$folder" "/mnt/root/$folder"; done
        exec switch_root /mnt/root /sbin/init
    fi
    echo "cannot mount $root"
fi

script=
if [ -n "$(argument GUEST_SCRIPT)" ]; then
    argument GUEST_SCRIPT | base64 -d >/tmp/script && script=/tmp/script
else
    for disk in /sys/block/vd*; do
        if [ "$(cat "$disk/serial" 2>/dev/null)" = script ]; then
            tr -d '\0' <"/dev/${disk##*/}" >/tmp/script && script=/tmp/script
        fi
    done
fi

mkdir -p /etc/acpi/PWRF
printf '#!/bin/sh\npoweroff -f\n' >/etc/acpi/PWRF/00000080
chmod +x /etc/acpi/PWRF/00000080
acpid -l /dev/null -p /run/acpid.pid
ip link set lo up

echo "GUEST READY"
if [ -n "$script" ]; then
    sh "$script"
    echo "GUEST SCRIPT ENDED $?"
    poweroff -f
fi
setsid cttyhack sh
poweroff -f
