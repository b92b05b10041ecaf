#!/bin/sh
# Makes one program that knows all words. What it writes to $OUT is the content of the image.
set -eu
mkdir -p "$OUT/usr/bin"
{
	echo '#!/bin/sh'
	while read -r word; do
		echo "echo '$word from $ARCH'"
	done <"$SOURCES/usr/share/hello/words"
} >"$OUT/usr/bin/hello"
chmod 755 "$OUT/usr/bin/hello"
