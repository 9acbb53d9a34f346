# Run by mmdebstrap with the new system's folder: a server that boots from the one disk it has.
set -eu
root=$1
echo localhost >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
echo "/dev/vda / ext4 defaults,noatime,discard 0 1" >"$root/etc/fstab"
# What starts this kernel takes its command line from here.
mkdir -p "$root/etc/kernel"
echo "root=/dev/vda ro console=ttyS0 quiet tsc=reliable no_timer_check" >"$root/etc/kernel/cmdline"
# Each instance has an identity of its own, and keys of its own.
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root"/etc/ssh/ssh_host_*
chroot "$root" systemctl --quiet enable systemd-networkd.service serial-getty@ttyS0.service
if [ -e "$root/lib/systemd/system/systemd-resolved.service" ]; then
    chroot "$root" systemctl --quiet enable systemd-resolved.service
fi
if [ -e "$root/usr/lib/first-boot/run" ]; then
    chroot "$root" systemctl --quiet enable first-boot.service first-boot-late.service
fi
chroot "$root" systemctl --quiet set-default multi-user.target
# No screen, no swap, no RAID, no logical volumes: what looks for them only costs time.
chroot "$root" systemctl --quiet mask getty@tty1.service getty-static.service systemd-pstore.service \
    e2scrub_reap.service systemd-ask-password-wall.path systemd-ask-password-console.path
# What differs from one build to the next. apt's own files are mmdebstrap's to clean up, and so is /tmp: its settings
# for the apt of the host are there.
rm -rf "$root/var/log/"*.log "$root/var/log/apt/"* "$root/var/cache/ldconfig/aux-cache" \
    "$root/var/cache/debconf/"*-old "$root/var/lib/dpkg/"*-old "$root/var/lib/systemd/catalog/database" "$root"/etc/*-
rm -f "$root/vmlinuz.old" "$root/initrd.img.old"
