# What files hold and look like: hashes, digests of a tree, and stamps that vouch for what was read.

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
	find . ! -path . -fprintf "$1" "$looks" \( -type f -links +1 -newer "$tmp/opened" -fprint "$2" , \
		-type f -printf 'f %m %s %p\0' -o -type l -printf 'l %l %p\0' -o -printf '%y %m %p\0' \) |
		LC_ALL=C sort -z | hash
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
