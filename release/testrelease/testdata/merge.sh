#!/bin/sh
# Merges sets of images with the base's own systemd-sysext, one set after the other, with the base as the root file system.
# Runs in a mount namespace of its own, so nothing has to be undone.
#
#   merge.sh WORK BASE_USR    WORK/SET/*.raw are the images, WORK/SET/sums the files that must then be in /usr
#
# Prints for each set its name and what systemd says is merged.
set -eu
work=$1 base=$2
root=$work/root
mkdir -p "$root"
mount --make-rprivate /
mount -t tmpfs tmpfs "$root"
cd "$root"
mkdir usr proc sys dev run etc tmp var opt
for name in bin sbin lib lib64; do ln -s "usr/$name" "$name"; done
mount --bind "$base" usr
mount -o remount,bind,ro usr
mount -t proc proc proc
mount -t sysfs sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
cp -r usr/share/flatcar/etc/. etc/
mkdir -p run/extensions
mount --make-rshared "$root"

for set in "$work"/*/; do
	[ "$set" != "$root/" ] || continue
	cp "$set"/*.raw run/extensions/
	cp "$set/sums" tmp/sums
	chroot . systemd-sysext merge --no-reload >&2
	merged=$(cat usr/.systemd-sysext/extensions 2>/dev/null || true)
	if [ -n "$merged" ]; then chroot . sha256sum --quiet --strict --check /tmp/sums >&2; fi
	printf '%s: %s\n' "$(basename "$set")" "$(echo $merged)"
	chroot . systemd-sysext unmerge --no-reload >&2
	rm run/extensions/*
done
