#!/.yagura/busybox sh
# What udhcpc calls with an address. Where it puts what it learns, the first process reads it.
b=/.yagura/busybox
place=/.yagura/run
case $1 in
bound | renew)
    $b ip addr flush dev "$interface"
    $b ip addr add "$ip/${mask:-24}" dev "$interface"
    for gateway in $router; do $b ip route add default via "$gateway" dev "$interface"; break; done
    [ -s "$place/address" ] || echo "$ip" >"$place/address"
    [ -n "$dns" ] || exit 0
    # The file stays the same: it is mounted over the image's own.
    {
        [ -z "$domain" ] || echo "search $domain"
        for server in $dns; do echo "nameserver $server"; done
    } >"$place/resolv.conf"
    ;;
esac
