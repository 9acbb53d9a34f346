#!/.yagura/busybox sh
# What udhcpc calls with an address.
b=/.yagura/busybox
case $1 in
bound | renew)
    $b ip addr flush dev "$interface"
    $b ip addr add "$ip/${mask:-24}" dev "$interface"
    for gateway in $router; do $b ip route add default via "$gateway" dev "$interface"; break; done
    : >/etc/resolv.conf
    for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
    ;;
esac
