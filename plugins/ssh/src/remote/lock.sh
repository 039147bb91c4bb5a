# The lock, who watches over it, and the history that its holder writes.

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

# Takes it, or says who has it; makes what it needs to be there. Not for a claim that is forfeited: 76.
lock() {
	base=$1
	meta=$base/.pop-deploy
	if [ -z "$held" ]; then
		claim=$7
		if forfeited; then
			said_in "$meta/forfeited/$claim" forfeited
			return 76
		fi
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
	another_canary "${link#releases/}" "$6"
	[ -z "$5" ] || is_of "$6" "$5" || say "taken"
}

# Says whether release $1, which is live, is a canary that another maker than $2 is to judge.
another_canary() {
	canary=$meta/releases/$1/canary
	[ ! -s "$canary" ] || [ -s "${canary%canary}verified" ] || is_of "$2" "$1" || said_in "$canary" canary
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

# Whether somebody took the lock from the run that this shell is for.
forfeited() { [ -n "$claim" ] && [ -e "$meta/forfeited/$claim" ]; }
# Takes the lock from whoever holds it by claim $1: its own watchman ends it, and no shell gets the lock by that claim again.
# Line $2 says who did that. Where nothing was ever deployed, that one had nothing.
forfeit() {
	meta=$base/.pop-deploy
	[ -d "$meta" ] || return 0
	[ -d "$meta/forfeited" ] || heard mkdir "$meta/forfeited" || return 1
	heard sh -c 'printf "%s\n" "$2" >"$1"' sh "$meta/forfeited/$1" "$2" || return 1
	record "$2" || return 1
	find "$meta/forfeited" -type f -mtime +30 -exec rm -f {} \; 2>/dev/null
	return 0
}

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
			elif [ "$quiet" -gt $((minutes * 30)) ] || overtaken || orphaned || forfeited; then
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
