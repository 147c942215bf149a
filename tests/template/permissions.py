"""Whether the policies of the template's stacks can mean what they say. `make validate` runs it.

IAM takes a statement that can never hold: an action that does not exist, a bucket's ARN where the action is about
objects, a condition on a key that the action does not know. What AWS documents of each action, policy_sentry knows.
"""

import json
import re
import sys
from functools import lru_cache
from pathlib import Path

from policy_sentry.querying.actions import get_action_data, get_actions_for_service

# Needs all resources: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
ON_EVERYTHING = {"LetLambdaJoinVpc"}


def as_list(value):
    return value if isinstance(value, list) else [value]


@lru_cache(None)
def rows(action):
    """What AWS documents of an action: a row for each type of resource."""
    service, name = action.split(":")
    found = get_action_data(service, name)
    return found[service] if found else []


def is_known(action):
    if not action.endswith("*"):
        return bool(rows(action))
    return any(known.lower().startswith(action[:-1].lower()) for known in get_actions_for_service(action.split(":")[0]))


def fits(resource, row):
    """Whether a resource of a policy is of the type of this row. Its own wildcards count as letters, but for the one
    that stands for all streams of a log group."""
    documented = re.escape(row["resource_arn_format"]).replace(re.escape("${BucketName}"), "[^/:]+")
    documented = re.sub(r"\\\$\\\{[^}]+\}", ".+", documented)
    texts = [resource, re.sub(r":\*$", ":log-stream:*", resource)]
    return any(re.fullmatch(documented, text) for text in texts)


def is_among(key, documented):
    """Whether a condition's key is documented, where the end of some is free, as of kms:EncryptionContext:."""
    return any(key.startswith(one.split("${")[0]) if "${" in one else key == one for one in documented)


def unknown_keys(statement):
    """A condition on a key that the action does not know holds never, or always."""
    keys = {key for about in statement.get("Condition", {}).values() for key in about}
    return [
        f"{action} does not know {key}"
        for key in keys
        if not key.startswith("aws:")
        for action in as_list(statement["Action"])
        if not any(is_among(key, row["condition_keys"]) for row in rows(action))
    ]


def faults(statement):
    actions, resources = as_list(statement["Action"]), as_list(statement["Resource"])
    unknown = [action for action in actions if not is_known(action)]
    if unknown:
        return [f"{action} does not exist" for action in unknown]
    found = [] if any("*" in action for action in actions) else unknown_keys(statement)
    if statement["Effect"] == "Deny":
        return found
    found += [f"{action} is a wildcard" for action in actions if "*" in action]
    if "*" in resources and statement["Sid"] not in ON_EVERYTHING:
        found.append("it is about every resource")
    for action in actions:
        if not any(fits(resource, row) for row in rows(action) for resource in resources):
            found.append(f"{action} is about no such resource")
    for resource in resources:
        if not any(fits(resource, row) for action in actions for row in rows(action)):
            found.append(f"{resource} is nothing for these actions")
    return found


def policies(stack):
    for name, about in stack["Resources"].items():
        properties = about["Properties"]
        if about["Type"] == "AWS::IAM::Role":
            for policy in properties.get("Policies", []):
                yield name, policy["PolicyDocument"], True
        for key in ("PolicyDocument", "KeyPolicy"):
            if key in properties:
                yield name, properties[key], False


def main(*files):
    count, wrong = 0, []
    for file in files:
        for name, policy, is_of_role in policies(json.loads(Path(file).read_text())):
            for statement in policy["Statement"]:
                count += 1
                if is_of_role:
                    found = faults(statement)
                else:
                    actions = as_list(statement["Action"])
                    found = [f"{action} does not exist" for action in actions if not is_known(action)]
                    found = found or unknown_keys(statement)
                wrong += [f"{file}: {name}, {statement['Sid']}: {fault}" for fault in found]
    if wrong:
        raise SystemExit("\n".join(wrong))
    if not count:
        raise SystemExit("there are no policies")
    print(f"{count} statements of policies can hold.")


if __name__ == "__main__":
    main(*sys.argv[1:])
