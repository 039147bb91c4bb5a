# The end of the far end, however it comes; and what it does until then.

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
