# Runs in the guest, as root, when all units have been started. Prints a vm.Report.
# Below /run/vm are the lists of what is asked: units, paths and files, one a line.
# shellcheck shell=sh
set -eu

state=$(systemctl is-system-running --wait || true)
read -r seconds _ </proc/uptime
target=$(systemctl is-active multi-user.target || true)
failed=$(systemctl --failed --plain --no-legend | cut -d ' ' -f 1)
# With extensions merged there are two mounts; the release's own is below.
usr=$(findmnt --noheadings --output SOURCE --mountpoint /usr | head -n 1)
verity=$(veritysetup status usr | sed -n 's/^ *status: *//p')
merged=$(cat /usr/.systemd-sysext/extensions 2>/dev/null || true)
extensions=$(ls /usr/lib/extension-release.d 2>/dev/null || true)
# Embedded images are told by their inodes, below what is merged: the path that the kernel has for one is as its mount was then.
backing=$({
	stat --format='%Hd:%Ld %i %n' /run/oem/images/* /run/oem/images/*.v/* 2>/dev/null || true
	echo
	losetup --noheadings --raw --output BACK-MAJ:MIN,BACK-INO,BACK-FILE
} | awk '!NF { devices = 1; next } !devices { image[$1, $2] = $3; next } { print ($1, $2) in image ? image[$1, $2] : $3 }')
virt=$(systemd-detect-virt --vm || true)
linked=$(journalctl --boot --quiet --output=cat --identifier=oem-sysext || true)
# With emulated processors starting a program takes long, so there are few: none for a field, one for all units.
dmi=$(cd /sys/class/dmi/id && for field in *; do
	if [ -f "$field" ] && read -r value <"$field" 2>/dev/null; then printf '%s %s\n' "$field" "$value"; fi
done)

units=$(xargs --no-run-if-empty --delimiter='\n' systemctl is-active </run/vm/units | paste -d ' ' /run/vm/units -)
there=$(while read -r path; do
	if [ -e "$path" ] || [ -L "$path" ]; then echo "$path"; fi
done </run/vm/paths)
# What the dynamic linker says of each ELF file. Those that need no linker make it fail, which is fine.
programs=$(LC_ALL=C bash -c 'while read -r file; do read -r -N 4 magic <"$file" && [ "$magic" = $'"'"'\x7fELF'"'"' ] && echo "$file"; done' </run/vm/files || true)
for linker in /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.*; do [ ! -e "$linker" ] || break; done
unresolved=$(echo "$programs" | while read -r program; do
	echo "$program:"
	LD_TRACE_LOADED_OBJECTS=1 "$linker" "$program" 2>/dev/null || true
done | awk '/:$/ { program = $0 } / => not found/ { print program, $1 }')

jq --null-input \
	--arg state "$state" --arg target "$target" --arg failed "$failed" --arg usr "$usr" --arg verity "$verity" \
	--arg merged "$merged" --arg extensions "$extensions" --arg backing "$backing" --arg linked "$linked" \
	--arg virt "$virt" --arg dmi "$dmi" --arg units "$units" --arg there "$there" \
	--arg programs "$programs" --arg unresolved "$unresolved" --argjson seconds "$seconds" --argjson soak "${soak:-null}" --argjson foreign "${foreign:-null}" --rawfile release /usr/lib/os-release \
	'def lines: split("\n") | map(select(. != ""));
	def pairs: lines | map(split(" ") | {(.[0]): (.[1:] | join(" "))}) | add // {};
	{
		state: $state, multi_user: $target, failed: ($failed | lines), usr: $usr, verity: $verity, merged: ($merged | lines),
		extensions: ($extensions | lines), backing: ($backing | lines), linked: $linked, virt: $virt, dmi: ($dmi | pairs),
		units: ($units | pairs), there: ($there | lines), programs: ($programs | lines | length), unresolved: ($unresolved | lines),
		os_release: ($release | lines | map(split("=") | {(.[0]): (.[1:] | join("=") | ltrimstr("\"") | rtrimstr("\""))}) | add),
		seconds: $seconds, soak: $soak, foreign: $foreign
	}'
