# What the host says of itself before anything is planned.

# Everything that a plan needs; changes nothing. After the base comes whether to show the manifest of what is live, and
# the shared files and folders that are to be there.
survey() {
	base=$1 whole=$2
	shift 2
	say "exact $exact"
	say "hash $hashing"
	for tool in tar gzip flock setsid mkfifo xargs find; do
		! have "$tool" || say "tool $tool"
	done
	say "clock $(date +%s)"
	there=$base
	until exists "$there"; do
		there=${there%/*}
		there=${there:-/}
	done
	if [ ! -d "$there" ]; then
		say "base blocked"
	elif [ "$there" = "$base" ]; then
		say "base there"
	else
		say "base missing"
	fi
	if [ -w "$there" ] && [ -x "$there" ]; then say "writable"; else say_user; fi
	room "$there"
	for wanted; do
		case $wanted in
		*/)
			# With the `/`, a file or a link to nowhere isn't there at all.
			exists "$base/shared/${wanted%/}" && [ ! -d "$base/shared/$wanted" ] && say "unshared $wanted"
			;;
		*) [ -f "$base/shared/$wanted" ] || say "unshared $wanted" ;;
		esac
	done
	[ "$there" = "$base" ] || return 0
	for inner in releases .pop-deploy shared; do
		[ ! -e "$base/$inner" ] || [ -w "$base/$inner" ] || {
			say "unwritable $inner"
			say_user
		}
	done
	# Which of them is live is seen without a process.
	seen=
	for entry in "$base/releases"/* "$base/releases"/.[!.]*; do
		case ${entry##*/} in *"$nl"*) continue ;; esac
		[ ! -e "$entry" ] || say "release ${entry##*/}"
		[ ! -L "$entry" ] && [ "$base/current" -ef "$entry" ] 2>/dev/null && seen=releases/${entry##*/}
	done
	current "$seen"
	case $link in
	releases/*/* | releases/ | *"$nl"*) ;;
	releases/*)
		live=${link#releases/}
		[ -d "$base/current/" ] || say "dangling"
		if [ "$whole" = whole ] && [ -f "$base/.pop-deploy/releases/$live/manifest" ]; then
			sed "s/^/+ $id entry /" "$base/.pop-deploy/releases/$live/manifest" >&3
		fi
		;;
	esac
	heads
	[ ! -e "$base/.pop-deploy/restart-due" ] || say "due"
	said_in "$base/.pop-deploy/owner" owner
	holder
	return 0
}

exists() { [ -e "$1" ] || [ -L "$1" ]; }
say_user() { say "user $(id -un 2>/dev/null || id -u)"; }

# The first line of a file, if there is one.
said_in() {
	[ ! -s "$1" ] || ! IFS= read -r line <"$1" || say "$2 $line"
}

# How much room there is. File systems without a size, or that make inodes as they go, have none in all.
room() {
	if space=$(stat -f -c '%S %b %a %c %d' "$1" 2>/dev/null); then
		say "tool stat"
		set -- $space
		[ "$2" = 0 ] || say "free $(($1 * $3 / 1024))"
		[ "$4" = 0 ] || say "inodes $5"
		return
	fi
	[ -z "$(stat -c %s / 2>/dev/null)" ] || say "tool stat"
	df -Pk "$1" 2>/dev/null | {
		read -r _ && read -r _ total _ free _ && [ "$total" != 0 ] && say "free $free"
	}
	df -Pi "$1" 2>/dev/null | {
		read -r _ && read -r _ total _ free _ && [ "$total" != 0 ] && say "inodes $free"
	}
}

# The first line of each release's manifest, when it was verified, and which hosts don't have it. Of one that wasn't, whose
# canary it is.
heads() {
	for meta in "$base"/.pop-deploy/releases/*; do
		if [ -f "$meta/manifest" ] && IFS= read -r line <"$meta/manifest"; then
			say "head $line"
			if [ -f "$meta/verified" ] && IFS= read -r line <"$meta/verified"; then
				say "verified $line ${meta##*/}"
				said_in "$meta/lacking" "lacking ${meta##*/}"
			else
				said_in "$meta/canary" "canary ${meta##*/}"
			fi
		fi
	done
}

# Says what `current` is, and keeps where it leads. A guess that is right spares a process.
current() {
	link=
	if [ -L "$base/current" ]; then
		if [ -n "$1" ] && [ "$base/current" -ef "$base/$1" ] 2>/dev/null; then
			link=$1
		else
			link=$(readlink "$base/current")
		fi
		case $link in
		*"$nl"*) say "current strange" ;;
		*) say "current link $link" ;;
		esac
	elif [ -d "$base/current" ]; then
		say "current folder"
	elif [ -e "$base/current" ]; then
		say "current file"
	else
		say "current absent"
	fi
}

# Whether it leads to $1: 67 if not.
leads_to() {
	current "$1"
	[ "$link" = "$1" ] || return 67
}

show_manifest() { sed "s/^/+ $id /" "$base/.pop-deploy/releases/$1/manifest" >&3; }
