# Runs what an update runs, from the slot that was written, and keeps what it says.
# shellcheck shell=bash
mkdir -p /run/new
mount -o ro,rescue=nologreplay /dev/disk/by-partlabel/USR-B /run/new
status=0
said=$(bash /run/new/postinst /dev/disk/by-partlabel/USR-B 2>&1) || status=$?
umount /run/new
update=$(jq --null-input --argjson status "$status" --arg said "$said" '{status: $status, said: $said}')
