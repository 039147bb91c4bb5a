# Making a release and taking one away: open_release, keep, trim, unpack, seal, all in one go.

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
