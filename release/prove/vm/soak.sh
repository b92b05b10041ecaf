# Runs in the guest before ask.sh, as root: refreshes what is merged again and again, and sets soak to a vm.Soak.
# In /run/vm are how often (refreshes) and the files that are asked for (files), the first one of an extension and the last one of the base.
# shellcheck shell=sh
set -eu

# Since systemd 260 a refresh that finds nothing new does nothing.
refresh='systemd-sysext refresh'
if systemd-sysext --help | grep -q -e --always-refresh; then refresh="$refresh --always-refresh=yes"; fi

# Sets used to the time that processors worked since the kernel's start, and all to all of their time.
busy() {
	read -r _ user nice system idle wait irq softirq _ </proc/stat
	used=$((user + nice + system + irq + softirq)) all=$((used + idle + wait))
}

# A program that starts while refreshes run takes its libraries from one generation of /usr after the other, and keeps the images
# of all of them in use while it runs: Azure's agent those of four. So all that the machine starts is to have started: not
# just its units, but until a quarter of the processors' time at most is used, or for five minutes.
udevadm settle || true
systemctl is-system-running --wait >/dev/null || true
rested=no
for _ in $(seq 60); do
	busy
	used_before=$used all_before=$all
	sleep 5
	busy
	if [ $(((used - used_before) * 4)) -le $((all - all_before)) ]; then rested=yes; break; fi
done
[ "$rested" = yes ] || echo 'the machine does not come to rest; refreshing all the same' >&2

# What each processor keeps of freed memory for itself counts as used: up to 20 MiB, sometimes.
echo 1000000 >/proc/sys/vm/percpu_pagelist_high_fraction

sample() {
	udevadm control --reload # udevd has the list of modules of some generation, of this one then
	sync
	echo 3 >/proc/sys/vm/drop_caches
	echo "$1 $(wc -l </proc/self/mountinfo) $(losetup --noheadings --output NAME | wc -l) $(
		# MemAvailable leaves out up to half of the page cache, so it depends on how much of what was dropped is back. The most of
		# five seconds, since workers of udev and children of an agent run for some of them.
		for _ in 1 2 3 4 5; do
			sleep 1
			awk '/^(MemFree|Active\(file\)|Inactive\(file\)):/ { kib += $2 } END { print kib }' /proc/meminfo
		done | sort -n | tail -n 1
	)"
}

# Looks for both files without a pause. It starts no program, so nothing of /usr keeps it from looking.
# shellcheck disable=SC2016 # variables of that shell
watch='
looks=0 away=0 gone=0 since=
while [ ! -e /run/vm/watched ]; do
	looks=$((looks + 1))
	[ -e "$2" ] || away=$((away + 1))
	now=${EPOCHREALTIME/./}
	if [ -e "$1" ]; then since=; else
		: "${since:=$now}"
		[ $((now - since)) -le "$gone" ] || gone=$((now - since))
	fi
done
echo "$looks $away $gone"'
bash -c "$watch" watch "$(head -n 1 /run/vm/files)" "$(tail -n 1 /run/vm/files)" >/run/vm/looks &

cycle=0
read -r cycles </run/vm/refreshes
while [ "$cycle" -lt "$cycles" ]; do
	cycle=$((cycle + 1))
	$refresh >/dev/null 2>&1 || { echo "refresh $cycle failed: $($refresh 2>&1)" >&2; exit 1; }
	if [ "$cycle" -eq 10 ]; then # enough was seen, and looking takes one processor
		: >/run/vm/watched
		wait
	fi
	if [ $((cycle % 10)) -eq 0 ]; then
		sample "$cycle"
		echo "refreshed $cycle of $cycles times" >&2
	fi
done >/run/vm/samples

soak=$(jq --null-input --rawfile samples /run/vm/samples --rawfile looks /run/vm/looks \
	'def numbers: split("\n") | map(select(. != "") | split(" ") | map(tonumber));
	($looks | numbers[0]) as [$looks, $away, $gone] |
	{
		samples: ($samples | numbers | map({refreshes: .[0], mounts: .[1], devices: .[2], available_kib: .[3]})),
		looks: $looks, away: $away, gone_microseconds: $gone
	}')
