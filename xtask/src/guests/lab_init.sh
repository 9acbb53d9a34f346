#!/bin/busybox sh
# First process of the lab's machine: puts a scratch layer over the host's file system, which arrives
# read-only by 9p, and starts the lab's agent on top of it. /lab came with this archive.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
npt=$(sed -n 's/.*lab\.npt=\([01]\).*/\1/p' /proc/cmdline)
for module in /modules/*.ko; do
    case $module in
    *kvm_amd.ko) insmod "$module" npt="${npt:-1}" ;;
    *) insmod "$module" ;;
    esac || echo "LAB NOTE cannot load $module"
done
mkdir -p /mnt/host /mnt/scratch /mnt/root
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=1048576 host /mnt/host || echo "LAB NOTE no host files"
mount -t tmpfs -o size=90%,mode=755 tmpfs /mnt/scratch
mkdir -p /mnt/scratch/upper /mnt/scratch/work
mount -t overlay -o lowerdir=/mnt/host,upperdir=/mnt/scratch/upper,workdir=/mnt/scratch/work overlay /mnt/root
cd /mnt/root || exec sh
for folder in proc sys dev; do
    mkdir -p "$folder"
    mount --move "/$folder" "$folder"
done
mkdir -p dev/pts dev/shm tmp run
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o size=90%,mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs run
mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir -p run/lab/host
# The host's files once more, for what tmpfs hides above.
mount --bind /mnt/host run/lab/host
cp -a /lab/. run/lab/
exec switch_root /mnt/root /run/lab/start
