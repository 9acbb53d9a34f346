#!/bin/sh
# Runs what the seed disk says, once for each instance id: "early" before the network, "late" after it. In a clone, "clone"
# runs what a disk says that was put into the running machine.
set -u
stage=$1
state=/var/lib/first-boot
seed=/run/first-boot

say() { echo "first-boot: $*"; }

# What is told is a tar archive on the virtio disk with this serial number; no file system has to be mounted.
unpack() {
    for disk in /sys/block/vd*; do
        device=/dev/${disk##*/}
        if [ "$(cat "$disk/serial" 2>/dev/null)" = "$1" ]; then
            mkdir -p -m 700 "$seed"
            tar -xf "$device" -C "$seed" --no-same-owner && return 0
            say "what is on $device cannot be read"
        fi
    done
    return 1
}

if [ "$stage" = clone ]; then
    seed=/run/first-boot-clone
    unpack clone-identity || exit 0
    sh "$seed/clone"
    status=$?
    rm -rf "$seed"
    # Whoever made the clone waits for this.
    printf done | dd of="$device" conv=notrunc,fsync status=none
    exit "$status"
fi

if [ "$stage" = early ]; then
    unpack cidata || exit 0
    if [ "$(cat "$state/instance-id" 2>/dev/null)" = "$(cat "$seed/instance-id")" ]; then
        rm -rf "$seed"
        exit 0
    fi
    rm -rf "$state"
    mkdir -p "$state"
fi
[ -d "$seed" ] || exit 0

# With a card, late steps want it to have its address; without one there is nothing to wait for.
online() {
    [ "$(ls /sys/class/net)" != lo ] || return 0
    /lib/systemd/systemd-networkd-wait-online --timeout=60 || say "no network after 60 s; going on without"
}

# Written last: a first boot that was cut off is done again.
finish() {
    cp "$seed/instance-id" "$state/instance-id"
    rm -rf "$seed"
}

status=0
if [ -f "$seed/$stage" ]; then
    [ "$stage" = early ] || online
    sh "$seed/$stage" || { status=$?; say "$stage: some steps failed"; }
fi
if [ "$stage" = late ]; then
    finish
    say done
elif [ ! -f "$seed/late" ]; then
    finish
fi
exit "$status"
