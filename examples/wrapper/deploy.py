#!/usr/bin/env python3
"""Takes a deployment through all its decisions by `--json` alone: `deploy.py [ARGUMENT…]`.

Whatever is to be decided comes as an event with a question and its options; each option has the arguments to call with next.
Here the answers are option values on standard input, one a line; a real wrapper asks whoever is in charge.
"""

import json
import subprocess
import sys


def run(arguments):
    """Runs the program; gives the decision that it left open, if any, and its exit code."""
    decision = None
    program = subprocess.Popen(["pop-deploy", *arguments], stdout=subprocess.PIPE, text=True)
    for line in program.stdout:
        event = json.loads(line)
        if event["type"] == "plan":
            print(f"{event['target']}: {event['plan']['summary']}")
        elif event["type"] in ("decision.required", "decision.offered"):
            decision = event
    return decision, program.wait()


def ask(decision):
    """Asks; gives the arguments to go on with, or nothing where this was the end."""
    answer = sys.stdin.readline().strip() or decision["default"]
    print(f"{decision['header']}: {decision['question']} {answer}", flush=True)
    return next(option["arguments"] for option in decision["options"] if option["value"] == answer)


arguments = ["execute", "--json", *sys.argv[1:]]
while arguments:
    decision, code = run(arguments)
    arguments = ask(decision) if decision else None
sys.exit(code)
