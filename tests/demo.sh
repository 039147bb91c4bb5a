#!/bin/sh
# Deploys this project's own documentation to a temporary web root: `demo.sh TARGET_DIR`, from the top of the project.
set -eu

target_dir=$(cd "$1" && pwd)
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

PATH="$target_dir/release:$PATH"
export HOME="$project/home"
unset CLAUDE_PLUGIN_DATA POP_DEPLOY_PLUGIN_PATH XDG_CACHE_HOME XDG_DATA_HOME

say() { printf '\n== %s\n' "$*"; }

run() {
	printf '\n$ pop-deploy %s\n' "$*"
	pop-deploy "$@" >output || { cat output; exit 1; }
	# Of thousands of files, a few show what the list is like.
	awk '/^  [-+~] / { if (++files > 6) next } /^  … and / { print "  … and the others"; next } { print }' output
}

show() {
	if [ -e www/current/index.html ]; then
		printf '\nA visitor reads: %s\n' "$(sed -n 's/.*<h1>\(.*\)<\/h1>.*/\1/p' www/current/index.html)"
	else
		printf '\nA visitor finds nothing yet.\n'
	fi
}

front_page() {
	printf '<!doctype html>\n<title>Documentation</title>\n<h1>%s</h1>\n<p><a href="pop_deploy_plugin_api/index.html">API</a></p>\n' \
		"$1" >public/index.html
}

say "A project: $(find "$target_dir/doc" -type f | wc -l) files of documentation, in a temporary folder"
mkdir -p "$project/.pop-deploy"
cp -R "$target_dir/doc" "$project/public"
cd "$project"
front_page "Version 1: the API of plugins"
# Excluded: rustdoc's lock, and pages of dependencies whose names differ in case only.
cat >.pop-deploy/deploy.json <<'JSON'
{
  "version": "1.0",
  "project_name": "documentation",
  "targets": {
    "docs": {
      "type": "static-site",
      "enabled": true,
      "primary": true,
      "config": { "source": "public", "dir": "www", "exclude": [".lock", "macro.*.html", "quite_yet"] }
    }
  },
  "history": []
}
JSON

say "Dry run: what would happen"
run execute --dry-run --version 1.0.0
show

say "Version 1 goes live"
run execute --yes --version 1.0.0
show

say "Version 2: a notice on every page about errors, a new page, one page fewer"
front_page "Version 2: the API of plugins, with a mistake"
for page in public/pop_deploy_plugin_api/*Error*.html; do
	sed 's/<body[^>]*>/&<p>Errors are new in version 2.<\/p>/' "$page" >page.new
	mv page.new "$page"
done
printf '<!doctype html>\n<title>New</title>\n<h1>New in version 2</h1>\n' >public/new.html
rm public/help.html
run execute --yes --version 2.0.0
show

say "Oops: back to version 1"
run rollback --yes
show

say "What happened"
run history
