#!/bin/sh
# Shows the extensions that this release has embedded, which of them were enabled at this boot, which are active, and why.
#
# What was decided is in /run/oem-sysext.decided, by /usr/lib/flatcar/oem-sysext-link. What is active, systemd-sysext says itself, and why it
# leaves an image out, too: it is asked to merge once more where nobody else sees it.
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

# refusal NAME: sets refusal to what systemd-sysext says of an image that it does not merge
refusal() {
	if [ -z "${said+x}" ]; then
		said=$(SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console unshare --mount systemd-sysext --no-reload refresh 2>&1 || :)
	fi
	refusal='' last=''
	while read -r line; do
		case $line in
		*"'$1'"*ignoring* | *"'$1'"*deployed* | *"'$1'"*'does not'* | *"'$1'"*'API level'*) refusal=$line ;;
		*ailed* | *olicy* | *ignature*) last=$line ;;
		esac
	done <<-end
		$said
	end
	refusal=${refusal:-${last:-"systemd-sysext does not say why; see journalctl -u systemd-sysext"}}
}

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
	case $active in *" $name "* | *" $name-embedded "*) is=yes ;; esac
	case $enabled$is in
	yesno) refusal "$name" && why="$why; linked, but not merged: $refusal" ;;
	noyes) why="$why; what is active is not this release's" ;;
	esac
	row "$name" "$version" yes "$enabled" "$is" "$why"
done <"$decided"
for name in $active; do
	case $embedded in *" ${name%-embedded} "*) ;; *) row "$name" - no - yes "the user's own" ;; esac
done
