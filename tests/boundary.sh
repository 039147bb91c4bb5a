#!/bin/sh
# The tests of the boundary, where the `unsafe` is, under AddressSanitizer and under valgrind: `boundary.sh TARGET_DIR`.
set -eu

target_dir=$1
host=$(rustc -vV | sed -n 's/^host: //p')

skip() {
	echo "skipped: $1"
	[ -z "${POP_DEPLOY_NO_SKIP:-}" ]
}

# Not leaks: a panic's payload is forgotten on purpose (its drop may panic again), and libraries are never unloaded.
address_sanitizer() {
	RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
		rustup run nightly cargo test --locked -p pop-deploy-plugin-api --lib \
		--target "$host" --target-dir "$target_dir/nightly" -- ffi::
}

# The whole workspace's tests are built already, with other features than those of one package.
valgrind_memcheck() {
	runner=CARGO_TARGET_$(printf %s "$host" | tr 'a-z-' 'A-Z_')_RUNNER
	env "$runner=valgrind --quiet --error-exitcode=99" \
		cargo test --locked --workspace --lib -- ffi::
}

if rustup run nightly rustc --version >/dev/null 2>&1; then
	echo "Boundary under AddressSanitizer"
	address_sanitizer
else
	skip "no nightly toolchain for AddressSanitizer"
fi

if command -v valgrind >/dev/null; then
	echo "Boundary under valgrind"
	valgrind_memcheck
else
	skip "no valgrind"
fi
