#!/.yagura/busybox sh
# First process of a machine made of an OCI image: what a container finds made, the network, then the image's command.
b=/.yagura/busybox
for folder in proc sys dev run tmp etc; do [ -d "/$folder" ] || $b mkdir -p "/$folder"; done
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev 2>/dev/null
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts devpts /dev/pts
$b mount -t tmpfs -o mode=1777 shm /dev/shm
$b mount -t tmpfs -o mode=755 run /run
$b ip link set lo up
for card in /sys/class/net/*; do
    card=${card##*/}
    [ "$card" != lo ] || continue
    $b ip link set "$card" up
    $b udhcpc -q -n -t 5 -i "$card" -s /.yagura/dhcp >/dev/null 2>&1 || echo "yagura: no address for $card"
done
. /.yagura/command
if [ -n "$user" ]; then
    set -- $b start-stop-daemon -S -q -c "$user${group:+:$group}" -x $b -- env -i "$@"
else
    set -- $b env -i "$@"
fi
$b setsid $b cttyhack "$@"
echo "yagura: the image's command ended with $?"
$b sync
$b poweroff -f
