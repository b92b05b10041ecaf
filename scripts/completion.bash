# Completes the targets of scripts/mage and their arguments, once this is sourced by bash; by zsh after
# "autoload -U +X bashcompinit && bashcompinit".
#
# Targets are those that were compiled last, so there are none before the first run. What has no list of its own is a file.
# shellcheck shell=bash

_scripts_mage() {
	local top=${1%/*}/.. line=${COMP_LINE:0:$COMP_POINT} targets values='' cur words
	# Words are split here: to bash, a target with a colon is three.
	line=${line#*scripts/mage }
	cur=${line##* }
	# shellcheck disable=SC2206 # zsh reads no arrays, and the words are names
	words=(${line% *})
	[ "$line" != "$cur" ] || words=()
	while [ "${words[0]-}" = -v ] || [ "${words[0]-}" = -h ]; do words=("${words[@]:1}"); done

	case ${words[0]-}/${#words[@]} in
	/0)
		# shellcheck disable=SC2012 # they are named by digests
		targets=$(ls -t "$top"/.cache/mage/*/mage 2>/dev/null | head -n 1)
		[ -z "$targets" ] || values=$("$targets" -l | sed -n 's/^  \([A-Za-z:]*\).*/\1/p')
		;;
	build:platform/1 | initrd:platform/1 | platform:boot/1 | prove:platform/1 | prove:soak/1) values=$(_scripts_mage_names "$top"/platforms/*.yaml) ;;
	platform:parity/1 | prove:fleet/1 | prove:rollback/2 | prove:downgrade/2 | prove:tamper/2) values="all $(_scripts_mage_names "$top"/platforms/*.yaml)" ;;
	prove:rollback/1 | prove:downgrade/1 | prove:tamper/1 | release:publish/1) values=$(_scripts_mage_names "$top"/_output/[0-9]*) ;;
	recipe:diff/1 | recipe:show/1 | recipe:try/1) values=$(_scripts_mage_names "$top"/recipes/*/recipe.yaml) ;;
	ci:bump/1 | recipe:bump/1 | recipe:lock/1) values="all $(_scripts_mage_names "$top"/recipes/*/recipe.yaml)" ;;
	fit:explain/1) values=$(_scripts_mage_names "$top"/platforms/*.yaml | sed 's/^/oem-/') ;;
	compose/1) values=$(_scripts_mage_names "$top"/release/profiles/*.yaml) ;;
	esac
	# shellcheck disable=SC2207 # no value has a blank
	COMPREPLY=($(compgen -W "$values" -- "$cur"))
	# Bash replaces only what is behind the last colon.
	case ${COMP_WORDBREAKS-} in *:*) COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*:}"}"}") ;; esac
}

# _scripts_mage_names FILE...: what the files are called, without .yaml; recipes like their directories.
_scripts_mage_names() {
	local file
	for file; do
		file=${file%/recipe.yaml}
		file=${file##*/}
		case $file in *'*'*) ;; *) printf '%s\n' "${file%.yaml}" ;; esac
	done
}

complete -o default -F _scripts_mage scripts/mage ./scripts/mage
