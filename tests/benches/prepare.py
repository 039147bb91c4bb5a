"""What `execute --action prepare` does, as a script: the yardstick of its start-up time."""

import json
import os
import subprocess
import sys
from datetime import datetime


def git(directory, *args):
    done = subprocess.run(["git", *args], cwd=directory, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


directory = os.path.realpath(sys.argv[1])
with open(os.path.join(directory, ".claude", "popkit", "deploy.json"), encoding="utf-8") as file:
    config = json.load(file)

targets = config["targets"]
name = next((name for name, target in targets.items() if target.get("primary")), None)
successes = [
    record for record in config["history"] if record["target"] == name and record["status"] == "success"
]
last = successes[0] if successes else None

report = {
    "operation": "prepare_deployment",
    "directory": directory,
    "timestamp": datetime.now().isoformat(),
    "success": True,
    "target": name,
    "target_config": targets[name],
    "version": git(directory, "describe", "--tags", "--abbrev=0"),
    "commit_sha": git(directory, "rev-parse", "HEAD"),
    "last_deployment": last,
    "rollback_version": last["version"] if last else None,
    "project_name": config["project_name"],
    "ci_provider": config.get("ci", {}).get("provider"),
}
print(json.dumps(report, indent=2))
