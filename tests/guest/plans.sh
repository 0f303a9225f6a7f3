# What the kernel guest does: sh -e plans.sh PLAN, run by init. A failing command ends the plan.
# Markers (GT-...) go to the second serial line, everything else to the first.

pool=tank
volume=/run/zonepool/mnt/$pool/vol
table=/tmp/table

say() {
    echo "$@" >/dev/ttyS1
}

load() { # MODULE [PARAMETER...]: with what it needs
    [ -e "/lib/load/$1" ] || return 0 # built in
    while read -r module; do
        name=${module%.ko}
        # /sys/module has it once it is there, with _ for -
        [ -e "/sys/module/$(echo "$name" | tr - _)" ] && continue
        if [ "$name" = "$1" ]; then
            shift
            insmod "/lib/modules/$module" "$@"
            return
        fi
        insmod "/lib/modules/$module"
    done <"/lib/load/$1"
}

# Drivers find their disks after insmod returns; a disk is there once its zones have been counted.
has_zones() { # DISK
    [ -b "/dev/$1" ] && [ "$(cat "/sys/block/$1/queue/nr_zones")" -gt 0 ]
}

wait_for() { # DISK
    until_there "disk $1" has_zones "$1"
}

zns() {
    load nvme
    wait_for nvme0n1
}

# Conventional zones in front, capacity below size, 512-byte blocks.
nullb() {
    load configfs
    load null_blk nr_devices=0
    grep -q /sys/kernel/config /proc/mounts || mount -t configfs none /sys/kernel/config
    nullb=/sys/kernel/config/nullb/nullb0
    mkdir $nullb
    for setting in blocksize=512 size=120 memory_backed=1 zoned=1 zone_size=2 zone_capacity=1 zone_nr_conv=4 \
                   zone_max_open=8 zone_max_active=10 power=1; do
        echo "${setting#*=}" >"$nullb/${setting%=*}"
    done
    wait_for nullb0
}

# An SMR disk: no limit of active zones.
smr() {
    load sd_mod
    load scsi_debug zbc=host-managed dev_size_mb=72 sector_size=4096 zone_size_mb=2 zone_nr_conv=3 zone_max_open=8 delay=0
    wait_for sda
}

daemon_start() {
    mkdir -p /run/zonepool
    : >/tmp/zonepoold.conf
    zonepoold --config /tmp/zonepoold.conf --foreground &
    daemon=$!
    until_there "the daemon's answer" zonepool daemon status
}

until_there() { # WHAT COMMAND...
    what=$1
    shift
    for n in $(seq 600); do
        "$@" >/dev/null 2>&1 && return
        usleep 50000
    done
    say "GT-FATAL waited in vain for $what"
    return 1
}

daemon_stop() {
    kill $daemon
    wait $daemon
}

stamped() { # WHAT: prints stamp's last line; what it says on the way are markers
    stamp $volume $table "$1" | tee /tmp/stamp.out >/dev/ttyS1
    tail -1 /tmp/stamp.out | grep -E 'GT-DONE|GT-VERIFIED .* err=0'
}

refused() { # TEXT COMMAND...
    text=$1
    shift
    ! "$@" >/tmp/refused 2>&1
    grep "$text" /tmp/refused || { say "GT-ERR not refused with '$text': $*: $(tail -1 /tmp/refused)"; return 1; }
}

# One pool: filled, overwritten twice, verified; then once more after an import that recovers.
exercise() { # NAME SIZE DEVICE...
    name=$1 size=$2
    shift 2
    say "GT-BEGIN $name"
    devices=
    for device in "$@"; do devices="$devices --device /dev/$device"; done
    refused "zones and limits are its own" zonepool pool create $pool --device "/dev/$1,zone=1M"
    zonepool pool create $pool $devices
    refused "is in use by pool $pool" zonepool pool create other --overwrite --device "/dev/$1"
    zonepool volume create $pool/vol "$size"
    truncate -s 4M $table
    stamped create
    stamped fill
    stamped overwrite
    stamped overwrite
    stamped verify
    # A killed daemon: the next one recovers from the devices alone.
    kill -9 $daemon
    wait $daemon || :
    daemon_start
    until_there "the pool" test -e $volume
    result=$(stamped verify)
    zonepool volume delete $pool/vol
    zonepool pool export $pool
    refused "of its zones are written" zonepool pool create other --device "/dev/$1"
    zonepool pool destroy $pool $(for device in "$@"; do echo "/dev/$device"; done)
    say "GT-PASS $name $result"
}

plan_kinds() {
    zns
    nullb
    smr
    say "GT-BEGIN rules"
    zbd_rules zns /dev/nvme0n1 >/dev/ttyS1
    zbd_rules null_blk /dev/nullb0 $nullb >/dev/ttyS1
    zbd_rules smr /dev/sda >/dev/ttyS1
    say "GT-PASS rules"
    # The zones that the rules wore out are good again in a new device.
    echo 0 >$nullb/power
    rmdir $nullb
    nullb
    daemon_start
    exercise zns 32M nvme0n1
    exercise null_blk 32M nullb0
    exercise smr 32M sda
    exercise mixed 80M nvme0n1 nullb0 sda
    daemon_stop
}

# Memory of the emulator that a reset leaves alone: the second BAR of its shared-memory device.
kept_memory() {
    for device in /sys/bus/pci/devices/*; do
        [ "$(cat "$device/vendor" "$device/device" | tr '\n' ' ')" = "0x1af4 0x1110 " ] || continue
        echo 1 >"$device/enable"
        echo "$device/resource2"
    done
}

# Runs until the host resets the machine; then again, from the start. The devices say which time it is.
plan_resets() {
    table=$(kept_memory)
    zns
    daemon_start
    if zonepool pool scan /dev/nvme0n1 | grep -w $pool; then
        zonepool pool import $pool /dev/nvme0n1
        until_there "the volume" test -e $volume
        say "$(stamped verify)"
    else
        zonepool pool create $pool --device /dev/nvme0n1
        zonepool volume create $pool/vol 32M
        stamped create
        stamped fill
        say GT-FILLED
    fi
    stamp $volume $table storm >/dev/ttyS1
}

"plan_$1"
