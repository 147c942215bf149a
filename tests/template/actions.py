"""Whether every action of the policies in deploy/policies/ exists, and every wildcard stands for some. `make validate`
runs it: IAM takes a misspelt action, which then allows nothing."""

import fnmatch
import json
import sys
from pathlib import Path

from policy_sentry.querying.actions import get_actions_for_service


def main(*files):
    wrong = []
    for file in files:
        for statement in json.loads(Path(file).read_text())["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            for action in actions:
                known = [one.lower() for one in get_actions_for_service(action.split(":")[0])]
                if not fnmatch.filter(known, action.lower()):
                    wrong.append(f"{file}: {statement['Sid']}: {action} does not exist")
    if wrong or not files:
        raise SystemExit("\n".join(wrong) or "which policies?")
    print(f"The actions of {len(files)} policies exist.")


if __name__ == "__main__":
    main(*sys.argv[1:])
