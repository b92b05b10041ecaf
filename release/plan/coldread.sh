# Mounts the image $1 at $2 and prints how many microseconds it takes to read all its files once, $3 times.
# Nothing of them is in a cache: the kernel's caches are dropped before each read. The mount ends with this process.
set -eu
for _ in $(seq "$3"); do
	mount -o loop,ro "$1" "$2"
	sync
	echo 3 > /proc/sys/vm/drop_caches
	find "$2" -maxdepth 0 -exec cat /dev/null {} + > /dev/null 2>&1 || true # the programs are in the cache again
	start=$(date +%s%N)
	find "$2" -type f -exec cat {} + > /dev/null
	end=$(date +%s%N)
	echo $(((end - start) / 1000))
	umount "$2"
done
