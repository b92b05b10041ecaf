# Runs in the guest, as root, when all units have been started. Prints a release.Trial.
# shellcheck shell=sh
set -eu

state=$(systemctl is-system-running --wait || true)
merged=$(cat /usr/.systemd-sysext/extensions 2>/dev/null || true)
failed=$(systemctl --failed --plain --no-legend | cut -d ' ' -f 1)
virt=$(systemd-detect-virt --vm || true)
units=$(while read -r unit; do
	printf '%s %s\n' "$unit" "$(systemctl is-active "$unit" || true)"
done <"$CREDENTIALS_DIRECTORY/vm.units")
dmi=$(cd /sys/class/dmi/id && for field in *; do
	if [ -f "$field" ]; then printf '%s %s\n' "$field" "$(cat "$field" 2>/dev/null || true)"; fi
done)
read -r seconds _ </proc/uptime

jq --null-input \
	--arg state "$state" --arg merged "$merged" --arg failed "$failed" --arg virt "$virt" --arg units "$units" --arg dmi "$dmi" \
	--argjson seconds "$seconds" \
	'def lines: split("\n") | map(select(. != ""));
	def pairs: lines | map(split(" ") | {(.[0]): (.[1:] | join(" "))}) | add // {};
	{
		state: $state, merged: ($merged | lines), failed: ($failed | lines), virt: $virt,
		units: ($units | pairs), dmi: ($dmi | pairs), seconds: $seconds
	}'
