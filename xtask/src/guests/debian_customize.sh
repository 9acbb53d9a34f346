# Run by mmdebstrap with the new system's folder and HOSTNAME set: a guest that comes up quickly, with root's password empty.
set -eu
root=$1
echo "$HOSTNAME" >"$root/etc/hostname"
echo "127.0.0.1 localhost $HOSTNAME" >"$root/etc/hosts"
echo "/dev/vda / ext4 defaults,noatime 0 0" >"$root/etc/fstab"
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"
: >"$root/etc/machine-id"
: >"$root/etc/motd"
: >"$root/etc/issue"
mkdir -p "$root/etc/systemd/system/getty.target.wants" "$root/etc/systemd/system.conf.d" "$root/etc/systemd/journald.conf.d"
ln -sf /lib/systemd/system/serial-getty@.service "$root/etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service"
# "guest.autologin" on the kernel's command line gives a shell in the login prompt's place.
mkdir -p "$root/etc/systemd/system/serial-getty@ttyS0.service.d"
printf '[Unit]\nConditionKernelCommandLine=!guest.autologin\n' >"$root/etc/systemd/system/serial-getty@ttyS0.service.d/guest.conf"
sed -e '/^ExecStart=/s/agetty /agetty --autologin root /' -e 's/%[iI]/ttyS0/g' \
    -e '/^\[Unit\]/a ConditionKernelCommandLine=guest.autologin' \
    "$root/lib/systemd/system/serial-getty@.service" >"$root/etc/systemd/system/guest-shell.service"
ln -sf /etc/systemd/system/guest-shell.service "$root/etc/systemd/system/getty.target.wants/guest-shell.service"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
rm -f "$root/etc/systemd/system/getty.target.wants/getty@tty1.service"
rm -f "$root/etc/systemd/system/timers.target.wants/"*
# Nothing here is wanted in a guest that lives for a minute on an emulated processor.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-tmpfiles-clean.timer systemd-timesyncd.service systemd-networkd.service \
    systemd-journal-flush.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    systemd-random-seed.service systemd-pstore.service systemd-binfmt.service systemd-machine-id-commit.service \
    systemd-udev-settle.service getty-static.service systemd-ask-password-wall.path systemd-ask-password-console.path \
    kmod-static-nodes.service modprobe@.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount \
    dev-mqueue.mount proc-sys-fs-binfmt_misc.automount systemd-remount-fs.service systemd-modules-load.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
printf '[Manager]\nDefaultTimeoutStopSec=15s\nDefaultTimeoutStartSec=300s\nDefaultDeviceTimeoutSec=300s\n' >"$root/etc/systemd/system.conf.d/guest.conf"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=4M\n' >"$root/etc/systemd/journald.conf.d/guest.conf"
rm -rf "$root/var/lib/apt/lists/"* "$root/var/cache/apt/"* "$root/var/log/"*.log "$root/boot/"*
