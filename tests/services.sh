#!/bin/sh
# Installs the programs that tests need, where that is allowed: `services.sh PROGRAM=PACKAGE…`.
set -eu

PATH="$PATH:/usr/sbin:/sbin"
wanted=
for pair in "$@"; do
	command -v "${pair%%=*}" >/dev/null || wanted="$wanted ${pair#*=}"
done
[ -n "$wanted" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	export DEBIAN_FRONTEND=noninteractive
	# A policy of 101 keeps the package from starting a server.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	# Word splitting is meant: each word is a package.
	# shellcheck disable=SC2086
	if apt-get -qq update && apt-get -qq install -y --no-install-recommends $wanted >/dev/null; then
		exit 0
	fi
fi

echo "not there, and not to be installed from here:$wanted; what needs them is skipped"
[ -z "${POP_DEPLOY_NO_SKIP:-}" ]
