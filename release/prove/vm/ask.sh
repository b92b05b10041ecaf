# Runs in the guest, as root, when all units have been started. Prints a vm.Report.
# Below /run/vm are the lists of what is asked: units, paths, files and commands, one a line.
# With emulated processors starting a program takes long, so what the shell can do itself it does.
# shellcheck shell=bash
set -eu
shopt -s nullglob
export LC_ALL=C # read counts bytes

udevadm settle || true # a device may start a unit, and is in no order with those that others start
state=$(systemctl is-system-running --wait || true)
read -r seconds _ </proc/uptime
mapfile -t names </run/vm/units
mapfile -t states < <(systemctl is-active multi-user.target "${names[@]}")
units=$(for i in "${!names[@]}"; do echo "${names[i]} ${states[i + 1]}"; done)
failed=$(systemctl --failed --plain --no-legend)
# With extensions merged there are two mounts; the release's own is below.
usr=$(findmnt --noheadings --output SOURCE --mountpoint /usr || true)
usr=${usr%%$'\n'*}
verity=$(veritysetup status usr || true)
if [[ $verity =~ status:\ +([a-z]+) ]]; then verity=${BASH_REMATCH[1]}; fi
merged=$(cat /usr/.systemd-sysext/extensions 2>/dev/null || true)
extensions=(/usr/lib/extension-release.d/*)
# Embedded images are told by their inodes, below what is merged: the path that the kernel has for one is as its mount was then.
declare -A known
images=(/run/oem/images/* /run/oem/images/*.v/*)
if [ ${#images[@]} -gt 0 ]; then
	while read -r device inode image; do known[$device $inode]=$image; done < <(stat --format='%Hd:%Ld %i %n' "${images[@]}")
fi
backing=$(losetup --noheadings --raw --output BACK-MAJ:MIN,BACK-INO,BACK-FILE | while read -r device inode file _; do
	echo "${known[$device $inode]:-$file}"
done)
# What the base's own /usr brings: images that every machine merges, the default /etc, the second stage of the initramfs.
own=$(
	for image in /usr/share/flatcar/etc/extensions/*.raw /usr/lib/confexts/*.raw /usr/lib/flatcar/bootengine.img; do
		name=${image##*/}
		if [ -e "$image" ]; then echo "${name%.raw} $(readlink -f "$image")"; fi
	done
)
virt=$(systemd-detect-virt --vm || true)
linked=$(journalctl --boot --quiet --output=cat --identifier=oem-sysext || true)
classic=$(journalctl --boot --quiet --output=cat --unit=initrd-setup-root-after-ignition.service || true)
dmi=$(cd /sys/class/dmi/id && for field in *; do
	if [ -f "$field" ] && read -r value <"$field" 2>/dev/null; then printf '%s %s\n' "$field" "$value"; fi
done)

mapfile -t paths </run/vm/paths
there=$(for path in "${paths[@]}"; do
	if [ -e "$path" ] || [ -L "$path" ]; then echo "$path"; fi
done)
mapfile -t files </run/vm/files
programs=()
for file in "${files[@]}"; do
	if read -r -N 4 magic <"$file" && [ "$magic" = $'\x7fELF' ]; then programs+=("$file"); fi
done 2>/dev/null
# What the dynamic linker says of each ELF file. Those that need no linker make it fail, which is fine.
linkers=(/lib64/ld-linux-*.so.* /lib/ld-linux-*.so.*)
unresolved=$(for program in "${programs[@]}"; do
	echo "$program:"
	LD_TRACE_LOADED_OBJECTS=1 "${linkers[0]}" "$program" 2>/dev/null || true
done | while read -r line; do
	case $line in
	*:) program=$line ;;
	*' => not found'*) echo "$program ${line%% *}" ;;
	esac
done)

# What operators call. It comes last, since it may change the machine.
mapfile -t commands </run/vm/commands
ran=$(for command in "${commands[@]}"; do
	said=$(timeout 300 sh -c "$command" </dev/null 2>&1) && status=0 || status=$?
	jq --null-input --compact-output --argjson status "$status" --arg said "${said:0:65536}" '$ARGS.named'
done | jq --slurp .)

jq --null-input \
	--arg state "$state" --arg target "${states[0]}" --arg failed "$failed" --arg usr "$usr" --arg verity "$verity" \
	--arg merged "$merged" --arg extensions "$(printf '%s\n' "${extensions[@]##*/}")" --arg backing "$backing" --arg own "$own" --arg linked "$linked" --arg classic "$classic" \
	--arg virt "$virt" --arg dmi "$dmi" --arg units "$units" --arg there "$there" \
	--argjson programs "${#programs[@]}" --arg unresolved "$unresolved" --argjson seconds "$seconds" \
	--argjson ran "$ran" --argjson soak "${soak:-null}" --argjson foreign "${foreign:-null}" --argjson update "${update:-null}" --rawfile release /usr/lib/os-release \
	'def lines: split("\n") | map(select(. != ""));
	def pairs: lines | map(split(" ") | {(.[0]): (.[1:] | join(" "))}) | add // {};
	{
		state: $state, multi_user: $target, failed: ($failed | lines | map(split(" ")[0])), usr: $usr, verity: $verity,
		merged: ($merged | lines), extensions: ($extensions | lines), backing: ($backing | lines), own: ($own | pairs), linked: $linked, classic: $classic, virt: $virt,
		dmi: ($dmi | pairs), units: ($units | pairs), there: ($there | lines), programs: $programs, unresolved: ($unresolved | lines),
		os_release: ($release | lines | map(split("=") | {(.[0]): (.[1:] | join("=") | ltrimstr("\"") | rtrimstr("\""))}) | add),
		ran: $ran, seconds: $seconds, soak: $soak, foreign: $foreign, update: $update
	}'
