#!/bin/sh
# Shows the extensions that this release has embedded, which of them were enabled at this boot, which are active, and why.
#
# What was decided is in /run/oem-sysext.decided, by /usr/lib/flatcar/oem-sysext-link. What is active, systemd-sysext says itself.
set -uf

case ${1-} in
'' | status) ;;
*)
	echo "usage: oem-sysext [status]: shows which embedded extensions are enabled and active, and why not" >&2
	exit 2
	;;
esac

decided=/run/oem-sysext.decided
active=' '
if [ -r /usr/.systemd-sysext/extensions ]; then
	while read -r name || [ -n "$name" ]; do active="$active$name " name=''; done </usr/.systemd-sysext/extensions
fi
row() { printf '%-24s %-14s %-8s %-8s %-7s %s\n' "$@"; }

if ! [ -r "$decided" ]; then
	echo "nothing was decided at this boot: oem-sysext-link.service did not run, see systemctl status oem-sysext-link" >&2
	exit 1
fi
row EXTENSION VERSION EMBEDDED ENABLED ACTIVE WHY
embedded=' '
tab=$(printf '\t')
while IFS=$tab read -r name version state why; do
	embedded="$embedded$name "
	enabled=no
	[ "$state" = on ] && enabled=yes
	is=no
	case $active in *" $name "*) is=yes ;; esac
	case $enabled$is in
	yesno) why="$why; linked, but not merged: see journalctl -u systemd-sysext" ;;
	noyes) why="$why; what is active is not this release's" ;;
	esac
	row "$name" "$version" yes "$enabled" "$is" "$why"
done <"$decided"
for name in $active; do
	case $embedded in *" $name "*) ;; *) row "$name" - no - yes "the user's own" ;; esac
done
