"""Refuses a dependency under a licence that isn't on the list.

Reads `cargo metadata` on standard input; evaluates SPDX expressions: one side of an OR is enough, an AND needs both.
"""

import json
import re
import sys

ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

# The licence covers that crate's own files, which are used unchanged, through `abi_stable`.
EXCEPTIONS = {("generational-arena", "MPL-2.0")}


def allowed(expression):
    # Older crates write `MIT/Apache-2.0` for OR.
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def either():
        result = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = both() or result
        return result

    def both():
        result = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = one() and result
        return result

    def one():
        token = tokens.pop(0)
        if token == "(":
            result = either()
            tokens.pop(0)
            return result
        if tokens and tokens[0] == "WITH":
            token = f"{token} WITH {tokens[1]}"
            del tokens[:2]
        return token in ALLOWED

    return either()


packages = json.load(sys.stdin)["packages"]
refused = [
    p
    for p in packages
    if (p["name"], p["license"]) not in EXCEPTIONS and not (p["license"] and allowed(p["license"]))
]
for package in refused:
    print(f"`{package['name']} {package['version']}` is under `{package['license']}`, which isn't on the list")
print(f"licences: {len(packages) - len(refused)} of {len(packages)} packages are fine")
sys.exit(1 if refused else 0)
