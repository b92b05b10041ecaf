#!/bin/sh
# Prepares a machine for its first boot of this release, which embeds the tools of the machine's cloud: nothing is downloaded.
# Flatcar's postinst of this release runs it, on the release that is to be replaced.
#
#   oem-sysext-postinst ID USR OEM    where the new /usr and the OEM partition are mounted
#
# The slot that runs must find what it needs if the machine goes back to it: its image and the marker stay. The marker also makes a later
# update to a release without embedded tools ask for their payload.
set -u

id=$1 usr=$2 oem=$3
marker=$oem/sysext/active-oem-$id
image=share/flatcar/oem-sysext/oem-$id.raw

# version_of USR: prints VERSION of a release
version_of() { (. "$1/lib/os-release" && printf '%s' "${VERSION-}"); }

# was_before LIST: whether the machine has files of the time before there were OEM images, which Flatcar lists by cloud
was_before() {
	while read -r path; do
		case $path in /oem/?*) [ ! -e "$oem${path#/oem}" ] || return 0 ;; esac
	done <"$1"
	return 1
}

# Images of the release that the update has overwritten.
running=$(version_of /usr)
for file in "$oem/sysext/oem-$id"-*.raw "/etc/flatcar/oem-sysext/oem-$id"-*.raw; do
	case ${file##*/} in "oem-$id-$running.raw" | "oem-$id-initial.raw") continue ;; esac
	[ ! -f "$file" ] && [ ! -L "$file" ] || rm -f "$file"
done

# Both slots have images now: Flatcar's initramfs may remove what the machine had before.
list=$usr/share/flatcar/oems/$id
if [ -e "/usr/$image" ] && [ -f "$list" ] && [ ! -e "$marker" ] && was_before "$list"; then
	mkdir -p "$oem/sysext" && : >"$oem/sysext/migrate-oem-$id" && : >"$marker"
fi

# An initramfs in the kernel looks for an image of this name and downloads it otherwise. The link leads to the one in /usr.
if [ -e "$marker" ] && [ ! -e "$usr/lib/flatcar/bootengine.img" ]; then
	ln -sfn "../../usr/$image" "$oem/sysext/oem-$id-$(version_of "$usr").raw" ||
		echo "oem-$id may be downloaded: cannot link it below $oem/sysext" >&2
fi
exit 0
