#!/bin/sh
# Builds what the inputs of action.yml ask for, below the workspace, and sets its outputs.
set -eu
checkout=$(cd "$(dirname "$0")/../../.." && pwd)
output=${GITHUB_WORKSPACE:?}/_output
case $PROFILE in
*/*) PROFILE=$(realpath "$PROFILE") ;; # of the workspace
esac
export PROFILE OUTPUT="$output" CACHE="${CACHE:-$GITHUB_WORKSPACE/.cache}"

# mage TARGET...: as root, with the settings, which sudo drops otherwise.
mage() {
	if [ "$(id -u)" -eq 0 ]; then
		"$checkout/scripts/mage" "$@"
	else
		sudo --preserve-env=ARCH,BASE,CACHE,DEBIAN_MIRROR,DEBIAN_SECURITY_MIRROR,FORMAT,GITHUB_STEP_SUMMARY,LOCKED,OUTPUT,PROFILE,VERSION \
			"$checkout/scripts/mage" "$@"
	fi
}

if [ -n "$PLATFORM" ]; then
	mage build:platform "$PLATFORM"
	printf 'directory=%s\nversion=\n' "$output/images/$ARCH" >>"$GITHUB_OUTPUT"
	exit
fi
# Its report goes into the job's summary, and the manifest says which version it is.
FORMAT=json
export FORMAT
mage ci:combine >"$output.json"
version=$(sed -n 's/^  "version": "\([^"]*\)",$/\1/p' "$output.json")
rm "$output.json"
printf 'directory=%s\nversion=%s\n' "$output/$version/$ARCH" "$version" >>"$GITHUB_OUTPUT"
