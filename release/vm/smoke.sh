# Runs in the guest, as root, when all units have been started. Prints a vm.Report.
# shellcheck shell=sh
set -eu

state=$(systemctl is-system-running --wait || true)
target=$(systemctl is-active multi-user.target || true)
failed=$(systemctl --failed --plain --no-legend | cut -d ' ' -f 1)
# With extensions merged there are two mounts; the release's own is below.
usr=$(findmnt --noheadings --output SOURCE --mountpoint /usr | head -n 1)
verity=$(veritysetup status usr | sed -n 's/^ *status: *//p')
merged=$(cat /usr/.systemd-sysext/extensions 2>/dev/null || true)
read -r seconds _ </proc/uptime

jq --null-input \
	--arg state "$state" --arg target "$target" --arg failed "$failed" --arg usr "$usr" --arg verity "$verity" \
	--arg merged "$merged" --argjson seconds "$seconds" --rawfile release /usr/lib/os-release \
	'def lines: split("\n") | map(select(. != ""));
	{
		state: $state, multi_user: $target, failed: ($failed | lines), usr: $usr, verity: $verity, merged: ($merged | lines),
		os_release: ($release | lines | map(split("=") | {(.[0]): (.[1:] | join("=") | ltrimstr("\"") | rtrimstr("\""))}) | add),
		seconds: $seconds
	}'
