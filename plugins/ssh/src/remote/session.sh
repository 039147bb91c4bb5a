# The far end of a connection: one shell a host, fed with requests, one a line, which it evaluates.
#
# It answers on standard output, `+ ID text` for what a request says, `> ID` for each frame of its body that was taken,
# `! ID` when no more of that need come, and `= ID status` for its end. It is its own watchman:
# when its input ends, when whoever started it is gone, or when nothing was heard of the other end for longer than it has
# patience, it ends what it started and lets go of the lock. POSIX sh; from coreutils or BusyBox come dd, mkfifo, stat, xargs and the like. Requests come quoted;
# `$nl` is how a line end stands in them.

nl='
'
id=0 base= tmp= mine= claim= broken= held= watch= hashing= reading= stamping= leader= parent=
exec 3>&1

have() { command -v "$1" >/dev/null 2>&1; }
say() { printf '+ %s %s\n' "$id" "$*" >&3; }

# Who started this shell, and whether it leads its group: only then is that ours to signal as a whole.
if [ -r /proc/$$/stat ]; then
	IFS=' ' read -r _ _ _ parent group _ </proc/$$/stat
	[ "$group" = $$ ] && leader=1
fi

# One line of a request each: `fg ID function words`; what follows a failure in a chain is skipped.
fresh() { broken=; }
fg() {
	id=$1
	shift
	case $1 in
	unpack | unpack_file | keep | show_manifest) patience 10 ;;
	*) patience work ;;
	esac
	if [ -z "$broken" ]; then
		"$@"
		status=$?
	else
		skipped "$@"
		status=125
	fi
	patience 1
	[ "$status" = 0 ] || broken=1
	printf '= %s %s\n' "$id" "$status" >&3
}
# What is skipped has a body all the same.
skipped() {
	case $1 in
	unpack | unpack_file) frames | cat >/dev/null ;;
	keep) take "$2" | cat >/dev/null ;;
	esac
}

# A function of ours in the background, so that this shell goes on listening.
bg() {
	id=$1
	shift
	if [ -n "$broken" ]; then
		printf '= %s 125\n' "$id" >&3
		return
	fi
	(
		"$@"
		printf '= %s %s\n' "$id" "$?" >&3
	) </dev/null 9>&- &
}

# Runs a command of ours; says the last lines that it wrote, and keeps its status. No file: the disk may be full.
heard() {
	words=$("$@" 2>&1)
	status=$?
	[ -z "$words" ] || printf '%s\n' "$words" | tail -n 6 | while IFS= read -r line; do say "$line"; done
	return "$status"
}
# The same for what may be tried twice: only what fails is listened to, which takes a process more.
tried() { "$@" >/dev/null 2>&1 || heard "$@"; }

# Runs a command with the names in list $1. They come through a pipe: BusyBox runs tools of its own in a copy of `xargs`,
# which, when it goes, sets a file back to where it had used it, so that names come twice, or their ends alone.
named_in() {
	names=$1
	shift
	cat "$names" | xargs -0 -r "$@"
}

# Exactly so many bytes of the input: `head -c` of BusyBox takes more than it gives, `dd` alone gives up early.
take() {
	if [ "$exact" = head ]; then
		head -c "$1"
		return
	fi
	if [ "$1" -le 4194304 ]; then
		[ "$1" = 0 ] || dd bs="$1" count=1 iflag=fullblock 2>/dev/null
		return
	fi
	dd bs=65536 count=$(($1 / 65536)) iflag=fullblock 2>/dev/null || return
	[ $(($1 % 65536)) = 0 ] || dd bs=$(($1 % 65536)) count=1 iflag=fullblock 2>/dev/null
}

# A body: sizes and bytes in turn, with a z before the size where gzip made them, until a dot; anything else means that the
# other end gave up. It goes into a pipe whose reader reads to the end, for what isn't taken would be read as requests;
# should that fail, all is over.
frames() {
	while IFS= read -r size; do
		case $size in
		beat) beat ;;
		z*)
			take "${size#z}" | gzip -dc || {
				kill -s TERM $$
				return
			}
			;;
		'' | *[!0-9]*) return ;;
		*) take "$size" || {
			kill -s TERM $$
			return
		} ;;
		esac
		printf '> %s\n' "$id" >&3
	done
}

beat() {
	[ -z "$tmp" ] || true 2>/dev/null >"$tmp/beat"
	[ "$held" != folder ] || true 2>/dev/null >"$mine/beat"
}

# How many minutes of silence are too many from here on. While a request is done no beat is heard, nor in the midst of a
# frame, which takes long on a slow wire. What is all work of this machine's has no end of its own: the watchman beats.
# Written in place: ext4 writes a file out to the disk each time it is emptied and filled.
patience() {
	[ -d "$tmp" ] || return 0
	beat
	printf '%-4s\n' "$1" 2>/dev/null 1<>"$tmp/patience"
	[ "$held" != folder ] || printf '%-4s\n' "$1" 2>/dev/null 1<>"$mine/patience"
}
# How many minutes that is in folder $1.
asked() {
	minutes=
	[ ! -s "$1/patience" ] || read -r minutes <"$1/patience"
	case $minutes in '' | *[!0-9]*) minutes=1 ;; esac
}

# What every connection begins with, for one that is made again has no survey: the base, and the tools to work with.
arrive() {
	base=$1
	if [ -z "$exact" ] && [ "$(printf abcdef | {
		head -c 3 >/dev/null
		cat
	})" = def ]; then
		exact=head
	fi
	if have sha256sum; then
		hashing=sha256sum
	elif have openssl; then
		hashing=openssl
	elif have shasum; then
		hashing=shasum
	fi
	reading=$hashing
}
