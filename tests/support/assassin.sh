#!/bin/sh
# Stands in for `docker` and for a proxy's reload: does what it is asked, but kills the run (its worker, or the host above
# that) when the turn of that command has come.
here=${0%/*}
program=${0##*/}

strike() {
	worker=$PPID
	host=$(cut -d ' ' -f 4 "/proc/$worker/stat")
	echo "$program $*" >"$here/struck"
	case $(cat "$here/victim") in
	Host) kill -9 "$host" ;;
	Worker) kill -9 "$worker" ;;
	esac
	exit 137
}

run() {
	case $program in
	reload) "$@" ;;
	*) PATH="${PATH#"$here":}" docker "$@" ;;
	esac
}

turns=$(cat "$here/turns")
case $(cat "$here/aim"):$program:$1:$2 in
Everything:docker:build:* | Everything:docker:push:* | Everything:docker:tag:* | Everything:docker:run:* | \
	Everything:docker:start:* | Everything:docker:stop:* | Everything:docker:rm:* | Everything:docker:update:* | \
	*:docker:service:create | *:docker:service:update | *:docker:service:rm | *:reload:*)
	[ "$turns" = 0 ] || echo $((turns - 1)) >"$here/turns"
	if [ "$turns" = 1 ]; then
		[ "$(cat "$here/when")" = Before ] || run "$@"
		strike "$@"
	fi
	;;
esac
run "$@"
