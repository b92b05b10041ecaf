#!/bin/sh
# Decides for systemd-sysext.service whether there is anything to merge. There is not (status 1) where the initramfs has merged all that
# the machine has, and all of it is of this release, whose images cannot have changed since: systemd-sysext would open each of them
# twice to find that. Whatever else there is, systemd-sysext has to look at.
#
# Where there is nothing, /run/oem-sysext.unchanged says so to oem-setup.service, as udev has started with all rules then.
# What the initramfs has linked is in /run/oem-sysext.initrd, by /usr/lib/flatcar/oem-sysext-link: a name and a target in each line.
set -u

rm -f /run/oem-sysext.unchanged
merged=' ' count=0
{ while read -r name; do merged="$merged$name " count=$((count + 1)); done </usr/.systemd-sysext/extensions; } 2>/dev/null || exit 0
linked=0
{ while read -r name target; do
	case $merged in *" $name "*) ;; *) exit 0 ;; esac
	# shellcheck disable=SC3013 # every shell that boots a system has it
	[ "/run/extensions/$name.raw" -ef "$target" ] || exit 0
	linked=$((linked + 1))
done </run/oem-sysext.initrd; } 2>/dev/null || exit 0
set -- /run/extensions/*
[ "$count" -eq "$linked" ] && [ $# -eq "$linked" ] || exit 0
for path in /etc/extensions/* /var/lib/extensions/* /var/lib/extensions.mutable; do
	[ ! -e "$path" ] && [ ! -L "$path" ] || exit 0
done
: >/run/oem-sysext.unchanged
exit 1
