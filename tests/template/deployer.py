"""Whether the policy of a deployer has every permission that the resources of the template's stacks need, as AWS
documents them in the schemas of the resource types, which cfn-lint brings along. `make validate` runs it."""

import json
import re
import sys
from pathlib import Path

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

# What the schemas name, and the template does not use.
NOT_USED = re.compile(
    r"s3tables:|s3files:|elasticfilesystem:|firehose:|s3:REST\.|"
    r"s3:.*(Abac|Analytics|CORS|Cors|Inventory|Logging|Metadata|Metrics|Replication|Tiering|Website|Accelerate|ObjectAcl|BucketAcl)|"
    # These two are no permissions of IAM: PutEncryptionConfiguration and PutLifecycleConfiguration decide.
    r"s3:(DeleteBucketEncryption|DeleteBucketLifecycle)$|"
    r"s3:DeleteObject$|s3:ListAllMyBuckets$|"
    r"iam:(AttachRolePolicy|DetachRolePolicy|CreateServiceLinkedRole)$|"
    r"kms:(CreateGrant|Decrypt|Encrypt|GenerateDataKey|DisableKey|EnableKey)$|"
    r"lambda:(.*(ScalingConfig|CapacityProvider|RuntimeAlias|LayerVersion)|PublishVersion$)|"
    r"logs:.*(DataProtectionPolicy|IndexPolic|LogDelivery|ResourcePolic|BearerToken|DeletionProtection)|"
    r"sns:.*DataProtectionPolicy|"
    r"secretsmanager:(.*Region|GetSecretValue$)|"
    # Only for a function in a VPC, and for alerts in Slack: docs/install.md says so.
    r"ec2:|chatbot:"
)
HANDLERS = ("create", "read", "update", "delete")


def permissions(kind):
    handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema["handlers"]
    needed = {action for handler in HANDLERS for action in handlers.get(handler, {}).get("permissions", [])}
    return {action for action in needed if not NOT_USED.match(action)}


def as_list(value):
    return value if isinstance(value, list) else [value]


def main(policy, *stacks):
    statements = json.loads(Path(policy).read_text())["Statement"]
    allowed = [action for one in statements for action in as_list(one["Action"])]
    pattern = re.compile("|".join(re.escape(action).replace(r"\*", ".*") for action in allowed))
    kinds = {one["Type"] for stack in stacks for one in json.loads(Path(stack).read_text())["Resources"].values()}
    wrong = [
        f"{kind} needs {action}"
        for kind in sorted(kinds)
        for action in sorted(permissions(kind))
        if not pattern.fullmatch(action)
    ]
    if wrong or not kinds:
        raise SystemExit(f"{policy} is not enough:\n" + "\n".join(wrong))
    print(f"{policy} is enough for {len(kinds)} types of resources.")


if __name__ == "__main__":
    main(*sys.argv[1:])
