# Commands of the user's.

# One in a group of its own, so that it can be ended with all that it started, and a daemon that it leaves lives on.
run() {
	id=$1 folder=$2
	shift 2
	if [ -n "$broken" ]; then
		printf '= %s 125\n' "$id" >&3
		return
	fi
	pipe=$tmp/out.$id
	if ! heard mkfifo "$pipe"; then
		printf '= %s 126\n' "$id" >&3
		return
	fi
	(
		trap : TERM
		relay <"$pipe" >/dev/null 2>&1 &
		exec 5>"$pipe"
		rm -f "$pipe"
		(
			trap - TERM
			cd "$folder" || exit 126
			if have setsid; then exec setsid "$@"; fi
			exec "$@"
		) </dev/null >&5 2>&1 3>&- 5>&- &
		group=$!
		echo "$group" >"$tmp/group.$id"
		while :; do
			wait "$group"
			status=$?
			kill -0 "$group" 2>/dev/null || break
		done
		[ ! -e "$tmp/stopped.$id" ] || end_group "$group"
		rm -f "$tmp/group.$id" "$tmp/stopped.$id"
		printf '%s %s\n' "$mark" "$status" >&5
	) </dev/null 9>&- &
}

# What a command started that was told to end doesn't outlive it for long. BusyBox takes no `--`, and
# dash no group after `-s` without one: the old way suits both.
end_group() {
	kill -0 "-$1" 2>/dev/null || return 0
	sleep 1
	kill -KILL "-$1" 2>/dev/null
}

# Passes lines on until the command has ended. What a daemon says later nobody hears, but the pipe stays open for it, even
# when the connection is gone.
relay() {
	while IFS= read -r line || [ -n "$line" ]; do
		case $line in
		*"$mark "*)
			rest=${line%%"$mark "*}
			[ -z "$rest" ] || say "$rest"
			set -- "$id" "${line##*"$mark "}"
			# In a session of its own before anybody may end this one.
			! have setsid || exec setsid sh -c 'printf "= %s %s\n" "$@" >&3; exec cat 3>&-' sh "$@"
			printf '= %s %s\n' "$@" >&3
			exec 3>/dev/null
			;;
		*) say "$line" ;;
		esac
	done
}

# Sends a signal to every command that runs.
signal() {
	running=
	for file in "$tmp"/group.*; do
		if [ -f "$file" ] && read -r group <"$file" && [ -n "$group" ]; then
			running=1
			[ "$1" = 0 ] || true 2>/dev/null >"$tmp/stopped.${file##*.}"
			kill "-$1" "-$group" 2>/dev/null || signal_family "$1" "$group"
		fi
	done
}

# Where there is no group to signal: a process and all that descends from it.
signal_family() {
	# Word splitting is meant: each word is a process.
	# shellcheck disable=SC2046
	kill -s "$1" $(descendants "$2") "$2" 2>/dev/null
}
# Looked up once: whoever looks is a descendant, too.
descendants() {
	everybody=$({ ps -A -o ppid= -o pid= || ps -o ppid,pid; } 2>/dev/null)
	children "$1"
}
children() {
	echo "$everybody" | while read -r parent child; do
		[ "$parent" != "$1" ] || {
			echo "$child"
			children "$child"
		}
	done
}
