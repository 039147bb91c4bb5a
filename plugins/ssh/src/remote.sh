# The far end of a connection: one shell a host, fed with requests, one a line, which it evaluates.
#
# It answers on standard output, `+ ID text` for what a request says, `> ID` for each frame of its body that was taken,
# `! ID` when no more of that need come, and `= ID status` for its end. It is its own watchman:
# when its input ends, or, between requests, nothing was heard of the other end for a minute, it ends what it started and
# lets go of the lock. POSIX sh; from coreutils or BusyBox come dd, mkfifo, stat, xargs and the like. Requests come quoted;
# `$nl` is how a line end stands in them.

nl='
'
id=0 base= tmp= mine= broken= held= watch= hashing= reading= stamping= leader= parent=
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

# For much to read: OpenSSL uses the processor's own instructions where coreutils may not, but takes long to start.
hurry() {
	have openssl || return 0
	case $(openssl dgst -sha256 -r </dev/null 2>/dev/null) in e3b0c442*) reading=openssl ;; esac
}

# The hash of the input, and more after it.
hash() {
	case $hashing in
	openssl) openssl dgst -sha256 -r ;;
	sha256sum) sha256sum ;;
	*) shasum -a 256 ;;
	esac
}
# Whether a digest of ours is this one.
is() { case $1 in "$2 "*) ;; *) return 1 ;; esac }

# What a release's files looked like when they were last known to be right: no write leaves that the same. Not the
# folder itself, which a rename touches.
looks='%i %s %m %T@ %C@ %p\0'
# The same without what links to a file that come or go change.
lasting='%i %s %m %T@ %p\0'
# Always in a shell of its own: of the files in folder $1, what `find` is told to print.
stamps() {
	cd "$1" || exit
	shift
	exec find . ! -path . "$@"
}
# The same, at the end of a pipe: whether what comes is what a file holds.
same_as() {
	if have cmp; then exec cmp -s - "$1"; fi
	[ "$(hash)" = "$(hash <"$1")" ]
}
can_stamp() {
	if [ -z "$stamping" ]; then
		stamping=no
		! find / -prune -printf '' 2>/dev/null || stamping=yes
	fi
	[ "$stamping" = yes ]
}
# What follows the name has `find` print something more.
pristine() {
	seen=$1
	known=$base/.pop-deploy/releases/$1/stamps
	[ -s "$known" ] || return 1
	shift
	stamps "$base/releases/$seen" "$@" -printf "$looks" 2>/dev/null | same_as "$known"
}
# Whether nothing but the time of the last change of some is another, as when a link to a file came or went: a deployment
# that failed, somebody's backup. They are read again all the same.
linked_only() {
	[ -s "$base/.pop-deploy/releases/$1/stamps" ] || return 1
	[ "$(stamps "$base/releases/$1" -printf "$looks" 2>/dev/null | timeless | hash)" = "$(timeless <"$base/.pop-deploy/releases/$1/stamps" | hash)" ]
}
timeless() { tr '\000' '\n' | sed 's/^\([^ ]* [^ ]* [^ ]* [^ ]*\) [^ ]* /\1 /'; }

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
	while [ ! -e "$there" ] && [ ! -L "$there" ]; do
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
	if [ -w "$there" ] && [ -x "$there" ]; then say "writable"; else say "user $(id -un 2>/dev/null)"; fi
	room "$there"
	for wanted; do
		case $wanted in
		*/) [ ! -e "$base/shared/$wanted" ] || [ -d "$base/shared/$wanted" ] || say "unshared $wanted" ;;
		*) [ -f "$base/shared/$wanted" ] || say "unshared $wanted" ;;
		esac
	done
	[ "$there" = "$base" ] || return 0
	for inner in releases .pop-deploy shared; do
		[ ! -e "$base/$inner" ] || [ -w "$base/$inner" ] || say "unwritable $inner"
	done
	# Which release it leads to is seen without a process.
	seen=
	for entry in "$base/releases"/*; do
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
	for entry in "$base/releases"/* "$base/releases"/.[!.]*; do
		case ${entry##*/} in *"$nl"*) continue ;; esac
		[ ! -e "$entry" ] || say "release ${entry##*/}"
	done
	heads
	said_in "$base/.pop-deploy/owner" owner
	holder
	return 0
}

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

# The first line of each release's manifest, and when it was verified.
heads() {
	for meta in "$base"/.pop-deploy/releases/*; do
		if [ -f "$meta/manifest" ] && IFS= read -r line <"$meta/manifest"; then
			say "head $line"
			if [ -f "$meta/verified" ] && IFS= read -r line <"$meta/verified"; then
				say "verified $line ${meta##*/}"
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

# --- The lock ---

# Who holds it, if anybody does.
holder() {
	meta=$base/.pop-deploy
	if have flock; then
		[ -s "$meta/lock" ] && [ -r "$meta/lock" ] || return 0
		(
			exec 8<"$meta/lock"
			flock -n -s 8 8<&8 || sed "s/^/+ $id holder /" "$meta/lock" >&3
		)
	elif [ -d "$meta/lock.d" ] && ! expired; then
		say "holder $(cat "$meta"/lock.d/*/holder 2>/dev/null)"
	fi
}

# Takes it, or says who has it; makes what it needs to be there.
lock() {
	base=$1
	meta=$base/.pop-deploy
	if [ -z "$held" ]; then
		if [ ! -d "$base/releases" ] || [ ! -d "$meta/releases" ]; then
			heard mkdir -p "$base/releases" "$meta/releases" || return 1
		fi
		if have flock; then
			# A redirection of `exec` that fails would end this shell.
			[ -w "$meta/lock" ] || heard sh -c ': >>"$1"' sh "$meta/lock" || return 1
			exec 9>>"$meta/lock"
			if ! flock -n 9 9>&9; then
				exec 9>&-
				holder
				return 75
			fi
			# The holder before may have taken the file away: who comes now would lock another one.
			if [ -e /dev/fd/9 ] && ! [ "$meta/lock" -ef /dev/fd/9 ]; then
				exec 9>&-
				return 75
			fi
			held=file
			# Somebody who died left what he said.
			[ ! -s "$meta/lock" ] || true >"$meta/lock"
			printf '%s\n' "$2" >&9
		else
			lock_folder "$2" || return
			held=folder
		fi
		tmp=$meta/tmp-$$
		[ ! -d "$tmp" ] || rm -rf "$tmp"
		tried mkdir "$tmp" || return 1
		watchman
	fi
	[ -e "$meta/owner" ] || heard sh -c 'printf "%s\n" "$1" >"$2"' sh "$3" "$meta/owner" || return 1
	said_in "$meta/owner" owner
	current "$4"
	[ -z "$5" ] || is_of "$6" "$5" || say "taken"
}

# Whether a release is of this maker, or not there.
is_of() {
	[ -d "$base/releases/$2" ] || return 0
	[ -f "$base/.pop-deploy/releases/$2/manifest" ] || return 1
	IFS= read -r line <"$base/.pop-deploy/releases/$2/manifest"
	case $line in *"\"maker\":\"$1\""*) ;; *) return 1 ;; esac
}

# Where there is no flock: a folder, which only one can make, and in it one of the holder's own, with a heartbeat. So who
# comes too late, having been stopped for long, finds nothing of the next holder's to take away or to keep alive.
lock_folder() {
	lock=$meta/lock.d mine=$meta/lock.d/$mark
	if [ -d "$lock" ] && expired; then
		say "expired $(cat "$lock"/*/holder 2>/dev/null)"
		for place in "$lock"/*; do
			! abandoned "$place" || rm -rf "$place"
		done
		rmdir "$lock" 2>/dev/null
	fi
	if ! mkdir "$lock" 2>/dev/null; then
		if [ -d "$lock" ]; then
			holder
			return 75
		fi
		heard mkdir "$lock" || return 1
	fi
	if ! mkdir "$mine" 2>/dev/null; then
		# Taken for abandoned in between.
		[ -d "$lock" ] || return 75
		heard mkdir "$mine" || {
			rmdir "$lock" 2>/dev/null
			return 1
		}
	fi
	printf '%s\n' "$1" >"$mine/holder"
	# Two that took it for abandoned may have met: each looks only once it is in there itself.
	for place in "$lock"/*; do
		[ "$place" = "$mine" ] || {
			leave_folder
			return 75
		}
	done
}
# The last one out takes it away; it stays as long as somebody is in there.
leave_folder() {
	rm -rf "$mine"
	rmdir "${mine%/*}" 2>/dev/null
}
# Whether whoever has it is gone, or went before he was in it.
expired() {
	for place in "$base/.pop-deploy/lock.d"/*; do
		[ -e "$place" ] || place=${place%/*}
		abandoned "$place" || return 1
	done
}
# Its own watchman comes first. Who died before the first beat left the folder.
abandoned() {
	last=$1/beat
	asked "$1"
	[ -e "$last" ] || last=$1
	[ -n "$(find "$last" -prune -mmin "+$((minutes + 1))" 2>/dev/null)" ]
}
# Whether another has taken it: there were reasons to think that nobody is here.
overtaken() { [ "$held" = folder ] && [ ! -d "$mine" ]; }

unlock() {
	[ -z "$watch" ] || kill "$watch" 2>/dev/null
	watch=
	[ -z "$tmp" ] || rm -rf "$tmp"
	tmp=
	case $held in
	file)
		[ "$1" = gone ] || true >"$base/.pop-deploy/lock"
		exec 9>&-
		;;
	folder) leave_folder ;;
	esac
	held=
}

at_work() { [ -s "$tmp/patience" ] && read -r minutes <"$tmp/patience" && [ "$minutes" = work ]; }
# Whether whoever started the shell is gone: it served the connection.
orphaned() { [ -n "$parent" ] && read -r _ _ _ now _ <"/proc/$$/stat" && [ "$now" != "$parent" ]; } 2>/dev/null

# Ends everything should the other end be gone without the connection saying so, or the shell itself. It counts its naps: a
# clock may be set.
watchman() {
	beat
	true >"$tmp/seen"
	(
		nap= quiet=0
		trap '[ -z "$nap" ] || kill "$nap"; exit' TERM
		while :; do
			sleep 2 &
			nap=$!
			wait "$nap"
			! at_work || beat
			if [ "$tmp/beat" -nt "$tmp/seen" ] || [ ! -e "$tmp/seen" ]; then
				true >"$tmp/seen"
				quiet=0
			fi
			quiet=$((quiet + 1))
			asked "$tmp"
			if ! kill -s 0 $$ 2>/dev/null; then
				# What is in the file by now may be the next holder's.
				[ "$held" != file ] || held=
				finish
			elif [ "$quiet" -gt $((minutes * 30)) ] || overtaken || orphaned; then
				finish
			fi
		done
	) </dev/null >/dev/null 2>&1 3>&- 9>&- &
	watch=$!
}

# Takes back what `lock` made at a base where nothing was ever deployed, and lets go of it.
unmake() {
	meta=$base/.pop-deploy
	if [ -n "$(ls -A "$meta/releases" 2>/dev/null)" ]; then
		unlock
		return 0
	fi
	# As long as it is held: afterwards it may be another's.
	rm -f "$meta/owner"
	[ "$held" != file ] || rm -f "$meta/lock"
	unlock gone
	# Whatever isn't empty stays.
	find "$base/shared" -depth -type d -exec rmdir {} \; 2>/dev/null
	rmdir "$meta/releases" "$meta" "$base/releases" "$base" 2>/dev/null
	[ -d "$base" ] || say "unmade"
}

record() { tried append "$1" "$base/.pop-deploy/history.jsonl"; }
append() { printf '%s\n' "$1" >>"$2"; }
# A thousand lines are history enough; many are cut off at once, so that this is rare.
shorten() {
	file=$base/.pop-deploy/history.jsonl
	[ -f "$file" ] && [ "$(wc -l <"$file")" -gt 1200 ] || return 0
	heard sh -c 'tail -n 1000 "$1" >"$2" && mv "$2" "$1"' sh "$file" "$tmp/history"
}

# --- Making a release: open_release, keep, trim, unpack, seal, all in one go ---

# What comes after the release is the one to begin with and the digest of its tree, then folders that are shared.
open_release() {
	release=$1 from=$2 tree=$3 full=1 opened=1
	new=$base/releases/.tmp-$release
	if [ -e "$base/releases/$release" ]; then
		say "taken"
		return 1
	fi
	drop "$new"
	[ ! -d "$base/.pop-deploy/releases/$release" ] || heard rm -rf "$base/.pop-deploy/releases/$release" || return
	true >"$tmp/opened"
	shift 3
	for wanted; do
		[ -d "$base/shared/$wanted" ] || heard mkdir -p "$base/shared/$wanted" || return 1
	done
	if [ -z "$from" ]; then
		heard mkdir "$new"
		return
	fi
	if pristine "$from"; then
		full=
	elif can_stamp && ! linked_only "$from"; then
		say "touched"
	fi
	if ! link_all "$base/releases/$from" && ! copy_all "$base/releases/$from"; then
		# Somebody else's files in there may be unreadable, and would be in the way of each deployment.
		is "$(tree_digest "$base/releases/$from" "$base/.pop-deploy/releases/$from")" "$tree" || return 65
		return 1
	fi
	# A link in a folder's place would have all that follows work elsewhere.
	if [ -n "$full" ] && ! is "$(tree_digest "$new" "$base/.pop-deploy/releases/$from")" "$tree"; then
		return 65
	fi
	# For root, who owns `/`, there is nothing to open.
	if [ -O / ] && [ -w "$new" ]; then
		opened=
	else
		heard find "$new" -type d -exec chmod u+rwx {} +
	fi
}
# Some kernels let nobody link to files of others (`fs.protected_hardlinks`), some file systems know no links.
link_all() { cp -al "$1" "$new" 2>/dev/null; }
copy_all() {
	full=1
	drop "$new" && heard cp -a "$1" "$new" && say "copied"
}

# Takes away a release or what there is of one, and before it what is said of it in $2. Its folders may be read-only; its
# files' modes are those of others, too.
drop() {
	[ -d "$1" ] || return 0
	heard find "$1" -type d ! -perm -700 -exec chmod u+rwx {} + && heard rm -rf ${2:+"$2"} "$1"
}

# A body of $1 bytes into lists of this session: names and sizes follow.
keep() {
	total=$1
	shift
	{ take "$total" || kill -s TERM $$; } | {
		heard keep_each "$@"
		status=$?
		cat >/dev/null
		exit "$status"
	}
}
keep_each() {
	mkdir -p "$tmp/lists" || return
	while [ $# -gt 0 ]; do
		take "$2" >"$tmp/lists/$1" && [ "$(wc -c <"$tmp/lists/$1")" -eq "$2" ] || {
			echo "can't write $tmp/lists/$1: is there no space left?"
			return 1
		}
		shift 2
	done
}

# Takes files and then folders, from within outwards, out of the linked copy. 65: a folder holds what the release never had.
trim() { heard trim_in "$1" "$2" || return 65; }
trim_in() {
	cd "$new" && named_in "$tmp/lists/$1" rm -f && named_in "$tmp/lists/$2" rmdir
}
# The same for a few files.
trim_named() {
	for name; do
		shift
		set -- "$@" "$new/$name"
	done
	tried rm -f "$@" || return 65
}

# Runs a command with the names in list $1. They come through a pipe: BusyBox runs tools of its own in a copy of `xargs`,
# which, when it goes, sets a file back to where it had used it, so that names come twice, or their ends alone.
named_in() {
	names=$1
	shift
	cat "$names" | xargs -0 -r "$@"
}

# Says that no more of a body need come. It is read to its end all the same.
enough() { printf '! %s\n' "$id" >&3; }

# An archive into the release, and lists with it.
unpack() {
	frames | {
		heard tar -xpof - -C "$new"
		status=$?
		[ "$status" = 0 ] || enough
		# Usually nothing is left; more than a bit only after a failure.
		if [ "$status" = 0 ]; then
			while IFS= read -r _; do :; done
		else
			cat >/dev/null
		fi
		exit "$status"
	}
}

# Where there is no tar.
unpack_folders() { (cd "$new" && heard named_in "$tmp/lists/made" mkdir -p); }
unpack_file() {
	frames | {
		heard write_file "$new/$1" "$2"
		status=$?
		[ "$status" = 0 ] || enough
		cat >/dev/null
		exit "$status"
	}
}
write_file() { cat >"$1" && chmod "$2" "$1"; }
unpack_twin() { heard ln "$new/$2" "$new/$1"; }
unpack_link() { heard ln -s "$2" "$new/$1"; }

# The names of a release, as its lists in folder $2 have them, and what there is in folder $1: as one digest each.
tree_digest() {
	{
		cd "$1" && find . -print0 | tr -dc '\000' | wc -c | tr -dc '0-9\n'
		[ ! -s "$2/folders" ] || named_in "$2/folders" stat -c '%f'
		[ ! -s "$2/files" ] || named_in "$2/files" stat -c '%f %s'
		[ ! -s "$2/links" ] || named_in "$2/links" -n 1 readlink
	} 2>&1 | hash
}
# The same of this folder, told by GNU's tools, which need no lists and fewer processes; writes the stamps to $1, and to $2
# which files that are linked from another release were written since this one was opened.
walk_digest() {
	find . ! -path . -fprintf "$1" "$looks" \( -type f -links +1 -newer "$tmp/opened" -fprint "$2" , -type f -printf 'f %m %s %p\0' -o -type l -printf 'l %l %p\0' \
		-o -printf '%y %m %p\0' \) | LC_ALL=C sort -z | hash
}
content_digest() { content "$1" "$2" | hash; }
# GNU writes a backslash before the hash of a strange name, BusyBox the rest of a name with a line end on a line of its own.
content() {
	{
		cd "$1" || exit
		case $reading in
		openssl) named_in "$2" openssl dgst -sha256 -r ;;
		sha256sum) named_in "$2" sha256sum ;;
		*) named_in "$2" shasum -a 256 ;;
		esac
	} 2>&1 | sed -n 's/^\\\{0,1\}\([0-9a-f]\{64\}\)[ *].*/\1/p'
}

# Compares what is there with what was sent; only then does the release get its name. 65: another tree, 66: other contents.
# After the digests of the tree, twice, of what is new and of everything come the bytes of these two. In the background.
seal() {
	meta=$base/.pop-deploy/releases/$release
	if [ -d "$new/.pop-deploy-$release" ]; then
		tried mv "$new/.pop-deploy-$release" "$meta" || return
	else
		tried mv "$tmp/lists" "$meta" || return
	fi
	cd "$new" && set_modes || return
	# The disk and the processor work at the same time.
	sync -f . 2>/dev/null &
	flushing=$!
	compare "$@"
	same=$?
	wait "$flushing" || flush_all || return
	[ "$same" = 0 ] || return "$same"
	tried mv "$new" "$base/releases/$release"
}
compare() {
	is "$(walk_digest "$meta/stamps" "$tmp/written" 2>/dev/null)" "$2" || is "$(tree_digest . "$meta")" "$1" || return 65
	if [ -n "$full" ] || [ -s "$tmp/written" ]; then
		[ "$6" -lt "$much" ] || hurry
		is "$(content_digest . "$meta/files")" "$4" || return 66
	elif [ -s "$meta/fresh" ] && ! quick_compare "$5"; then
		[ "$5" -lt "$much" ] || hurry
		is "$(content_digest . "$meta/fresh")" "$3" || return 66
	fi
}
# So many bytes are read faster by what takes longer to start.
much=8000000
# One process instead of four, for names that everybody writes alike.
quick_compare() {
	[ "$hashing" = sha256sum ] && [ "$1" -lt "$much" ] && [ -s "$meta/sums" ] || return
	sha256sum -c "$meta/sums" >/dev/null 2>&1
}
set_modes() {
	lists=new-mode
	[ -z "$opened" ] || lists=mode
	for list in "$meta/$lists"-*; do
		[ ! -s "$list" ] || heard named_in "$list" chmod "${list##*-}" || return
	done
}
# What is written must outlast a power cut before anything leads there. Older tools know no single file system. Not tried
# twice: the second time would hide what the first one met.
flush_all() {
	have sync || return 0
	case $(sync --help 2>&1) in
	*-f*)
		say "sync: the disk didn't take everything"
		return 1
		;;
	*) sync ;;
	esac
}

# Takes a release away again, however far it came; never the live one, nor another maker's.
unstage() {
	if ! is_of "$2" "$1"; then
		say "nothing"
		return 0
	fi
	current
	if [ "$link" = "releases/$1" ]; then
		say "live"
		return 1
	fi
	[ -d "$base/releases/$1" ] || [ -d "$base/releases/.tmp-$1" ] || say "nothing"
	discard "$1"
}
discard() {
	drop "$base/releases/.tmp-$1" || return
	if [ -d "$base/releases/$1" ]; then
		heard mv "$base/releases/$1" "$base/releases/.tmp-$1" &&
			drop "$base/releases/.tmp-$1" "$base/.pop-deploy/releases/$1"
	else
		heard rm -rf "$base/.pop-deploy/releases/$1"
	fi
}

# Compares a release with its lists: 65 another tree, 66 other contents, 67 not there.
check() {
	meta=$base/.pop-deploy/releases/$1
	[ -d "$base/releases/$1" ] && [ -f "$meta/files" ] || return 67
	# What looks the same to the last bit of its times needs no other look.
	if [ "$4" = quick ] && pristine "$1"; then return 0; fi
	# Before anything is read: what is written meanwhile must look another later. They only save time.
	stamped=
	if [ -n "$held" ] && can_stamp && (stamps "$base/releases/$1" -printf "$looks" >"$tmp/stamps") 2>/dev/null; then
		stamped=1
	fi
	is "$(tree_digest "$base/releases/$1" "$meta")" "$2" || return 65
	hurry
	is "$(content_digest "$base/releases/$1" "$meta/files")" "$3" || return 66
	[ -z "$stamped" ] || mv -f "$tmp/stamps" "$meta/stamps" 2>/dev/null || true
}
# What a release holds by now, to tell which file it is.
list_content() { content "$base/releases/$1" "$base/.pop-deploy/releases/$1/files" | sed "s/^/+ $id /" >&3; }

# --- Going live ---

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
	line=$1
	shift
	check "$@" || return
	vouch "$1" "$line" || return 73
}
# Writes down that a release is good. One that bears the mark already goes live all the same: a full disk is what a rollback
# may be the cure for.
vouch() {
	verified "$1" && record "$2" && return
	[ -s "$base/.pop-deploy/releases/$1/verified" ] && say "unwritten"
}
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

# --- Commands of the user's ---

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

# What a command started that was told to end doesn't outlive it for long.
end_group() {
	kill -s 0 -- "-$1" 2>/dev/null || return 0
	sleep 1
	kill -s KILL -- "-$1" 2>/dev/null
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
			kill -s "$1" -- "-$group" 2>/dev/null || signal_family "$1" "$group"
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

finish() {
	trap '' TERM HUP INT PIPE
	if [ -n "$leader" ]; then kill -s TERM 0; else signal_family TERM $$; fi
	if [ -n "$tmp" ]; then
		signal TERM
		for second in 1 2; do
			[ -n "$running" ] || break
			sleep 1
			signal 0
		done
		signal KILL
	fi
	unlock
	if [ -n "$leader" ]; then kill -s KILL 0; else signal_family KILL $$; fi
	exit
}

bye() {
	unlock
	printf '= %s 0\n' "$1" >&3
	exit
}

# PIPE: who answers a connection that is gone must not go without tidying up.
trap finish TERM HUP PIPE
printf '\n%s\n' "$mark" >&3
while IFS= read -r line; do eval "$line"; done
finish
#end
