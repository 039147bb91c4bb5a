# Going live: where `current` leads, what is approved, and what goes then.

# Has `current` lead to $2 if it leads to $1; empty stands for absent. 67: it is something else; 68: it does already.
# Until `settled`, a restart is due wherever it went: whoever finds it there must know.
point() {
	current "$1"
	if [ -z "$link" ] && [ -e "$base/current" ]; then return 67; fi
	due=$base/.pop-deploy/restart-due
	if [ "$link" = "$2" ]; then
		[ ! -e "$due" ] || say "due"
		return 68
	fi
	[ "$link" = "$1" ] || return 67
	if [ -z "$2" ]; then
		heard rm -f "$base/current" "$due"
		return
	fi
	case $2 in
	releases/*) [ -d "$base/$2" ] || {
		say "$2 isn't there"
		return 1
	} ;;
	esac
	next=$base/.pop-deploy/next-$$
	[ ! -L "$next" ] || rm -f "$next"
	[ "$3" != restart ] || true 2>/dev/null >"$due"
	tried ln -s "$2" "$next" && replace "$next" "$base/current"
}
settled() { rm -f "$base/.pop-deploy/restart-due"; }

# A rename over a link to a folder: plain `mv` would move into that folder. When it fails, which way there is is tried out,
# so that an error is one.
replace() {
	! mv -Tf "$1" "$2" 2>/dev/null || return 0
	for way in -Tf -hf; do
		rm -rf "$tmp/way"
		mkdir -p "$tmp/way/folder" && ln -s folder "$tmp/way/link" && ln -s elsewhere "$tmp/way/next"
		if mv "$way" "$tmp/way/next" "$tmp/way/link" 2>/dev/null && [ "$(readlink "$tmp/way/link")" = elsewhere ]; then
			heard mv "$way" "$1" "$2"
			return
		fi
	done
	say "gap"
	heard rm -f "$2" && heard mv "$1" "$2"
}

verified() { tried now "$base/.pop-deploy/releases/$1/verified"; }
now() {
	if [ -s "$1" ]; then
		date +%s >"$1.new" && mv -f "$1.new" "$1" || {
			rm -f "$1.new"
			return 1
		}
	else
		date +%s >"$1"
	fi
}
# Compares as `check` does, and only then writes down that it is good, with the line for the history.
approve() {
	line=$1 lacking=$2
	shift 2
	check "$@" || return
	vouch "$1" "$line" "$lacking" || return 73
}
# Writes down that a release is good, and which hosts don't have it, before it counts. One that bears the mark already goes
# live all the same: a full disk is what a rollback may be the cure for.
vouch() {
	lacks "$1" "$3" && verified "$1" && record "$2" && return
	[ -s "$base/.pop-deploy/releases/$1/verified" ] && say "unwritten"
}
lacks() {
	without=$base/.pop-deploy/releases/$1/lacking
	if [ -n "$2" ]; then
		tried note "$2" "$without"
	else
		[ ! -e "$without" ] || heard rm -f "$without"
	fi
}
note() { printf '%s\n' "$1" >"$2"; }
# Writes down beside a release that it is a canary's, to be judged by somebody. Counts until it is verified, or not live.
opened() { tried note "$2" "$base/.pop-deploy/releases/$1/canary"; }
unverified() { rm -f "$base/.pop-deploy/releases/$1/verified"; }

# Removes releases, and what runs that died left. That moves the times of the files that they share with the live one.
tidy() {
	live=$1
	shift
	whole=
	for left in "$base/releases"/.tmp-*; do
		[ ! -d "$left" ] || set -- "$@" "${left##*/}"
	done
	if [ $# -gt 0 ]; then
		! pristine "$live" -fprintf "$tmp/before" "$lasting" || whole=1
		current "releases/$live"
		shorten || return
	fi
	for old; do
		case $old in
		.tmp-*)
			drop "$base/releases/$old" || return
			say "leftover $old"
			;;
		*)
			[ "$link" != "releases/$old" ] || continue
			discard "$old" || return
			say "removed $old"
			;;
		esac
	done
	for left in "$base/.pop-deploy"/tmp-* "$base/.pop-deploy/releases"/*; do
		[ -d "$left" ] && [ "$left" != "$tmp" ] && [ ! -d "$base/releases/${left##*/}" ] || continue
		drop "$left" || return
		say "leftover ${left##*/}"
	done
	# What was written meanwhile isn't vouched for.
	if [ -n "$whole" ] && stamps "$base/releases/$live" -fprintf "$tmp/stamps" "$looks" -printf "$lasting" | same_as "$tmp/before"; then
		mv -f "$tmp/stamps" "$base/.pop-deploy/releases/$live/stamps" 2>/dev/null || true
	fi
}
