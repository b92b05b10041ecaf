# Runs in the guest before ask.sh, as root: refreshes with one foreign image after the other in place, and sets foreign to what
# each of these did and what the command oem-sysext says of the image, a list of vm.Attempt. What was merged before is merged again in the end.
# In /run/vm are their names and policies (foreign), one a line, and the images, NAME.raw.
# shellcheck shell=sh
set -eu

foreign=$(while read -r name policy; do
	mkdir -p /run/extensions
	cp "/run/vm/$name.raw" "/run/extensions/$name.raw"
	status=0
	systemd-sysext ${policy:+--image-policy="$policy"} refresh >&2 || status=$?
	cp /run/oem-sysext.decided /run/vm/decided
	printf '%s\t-\ton\tit was put there\n' "$name" >>/run/oem-sysext.decided
	why=$(oem-sysext | grep "^$name ") || true
	cp /run/vm/decided /run/oem-sysext.decided
	jq --null-input --arg name "$name" --argjson status "$status" --arg why "$why" --arg merged "$(cat /usr/.systemd-sysext/extensions 2>/dev/null || true)" \
		'{name: $name, status: $status, why: $why, merged: ($merged | split("\n") | map(select(. != "")))}'
	rm "/run/extensions/$name.raw"
	systemd-sysext refresh >&2
done </run/vm/foreign | jq --slurp .)
