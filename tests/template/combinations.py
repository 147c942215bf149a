"""What the template becomes for every combination of its optional parameters. `make validate` runs it.

No linter evaluates conditions together: that a resource which is not made is referred to shows only in a deployment. So
this translates the template as SAM does, evaluates its conditions and rules for every combination of what may be given,
and checks references and limits. Some combinations it writes to a folder, for the linters that come after it.
"""

import itertools
import json
import re
import sys
from pathlib import Path

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ACCOUNT, REGION = "123456789012", "eu-central-1"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/erase/1",
    # CloudFormation takes 128, but the Slack channel's configuration takes no more with the region's name in it.
    "AWS::StackName": "e" * 113,
    "AWS::URLSuffix": "amazonaws.com",
}
NOTHING = object()
# As long as the template lets it be.
LONGEST = {
    **{f"Target{n}Prefix": lambda length: "p" * (length - 11) + "/{user_id}/" for n in range(1, 5)},
    "ReceiptsPrefix": lambda length: "r" * (length - 1) + "/",
    "UserIdPattern": lambda length: "u" * length,
    "UserIdPointer": lambda length: "/" + "u" * (length - 1),
}

# What one parameter, or a group of them, may be. The first of each is the default.
CHOICES = {
    "targets": [
        {"Target1Bucket": "photos"},
        {f"Target{n}Bucket": str(n) * 63 for n in range(1, 5)} | {f"Target{n}Prefix": LONGEST for n in range(1, 5)},
    ],
    "dry run": [{}, {"DryRun": "true"}, {"BypassGovernanceRetention": "true"}],
    "queue": [
        {},
        {"SenderPrincipalArns": f"arn:aws:iam::{ACCOUNT}:role/user-service,arn:aws:iam::210987654321:role/operator"},
        {"WithdrawalTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:withdrawn"},
        {
            "SenderPrincipalArns": f"arn:aws:iam::{ACCOUNT}:role/user-service",
            "WithdrawalTopicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:withdrawn",
        },
        {"ExistingQueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:withdrawn"},
        {
            "ExistingQueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:withdrawn.fifo",
            "ExistingDeadLetterQueueName": "withdrawn-dead.fifo",
        },
    ],
    "receipts": [
        {},
        {
            "ReceiptsLockDays": "365",
            "ReceiptsLockMode": "COMPLIANCE",
            "ReceiptsSse": "aws:kms",
            "ReceiptsKmsKeyId": KEY,
        },
        {
            "ReceiptsBucket": "r" * 63,
            "ReceiptsPrefix": LONGEST,
            "ReceiptsSse": "aws:kms",
            # Longer than any that there is: the longest names of a partition and of a region, and a key of several regions.
            "ReceiptsKmsKeyId": f"arn:aws-us-gov:kms:ap-southeast-1:{ACCOUNT}:key/mrk-0123456789abcdef0123456789abcdef",
            "ExpectedReceiptsOwner": "210987654321",
        },
        {"ReceiptsBucket": "receipts", "ReceiptsPrefix": ""},
        {"ReceiptsBucket": "receipts", "ReceiptsSse": "AES256"},
    ],
    "erased queue": [{}, {"CreateErasedQueue": "true"}],
    "alerts": [
        {},
        {"AlertEmail": "team@example.org"},
        {"SlackWorkspaceId": "T0123ABCD", "SlackChannelId": "C0123ABCD"},
        {"AlertEmail": "team@example.org", "SlackWorkspaceId": "T0123ABCD", "SlackChannelId": "C0123ABCD"},
        {"AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"},
        {
            "AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms",
            "AlertEmail": "team@example.org",
            "SlackWorkspaceId": "T0123ABCD",
            "SlackChannelId": "C0123ABCD",
        },
    ],
    "key": [{}, {"KmsKeyArn": KEY}],
    "boundary": [{}, {"PermissionsBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/boundary"}],
    "network": [{}, {"VpcSubnetIds": "subnet-01234567,subnet-12345678", "VpcSecurityGroupIds": "sg-01234567"}],
    "settings": [
        {},
        {
            "ExpectedBucketOwner": ACCOUNT,
            "LateWriteSweepSeconds": "1209600",
            "MaxObjects": "18446744073709551615",
            "UserIdPattern": LONGEST,
            "UserIdPointer": LONGEST,
            "ReceiptHashKey": "k" * 256,
            "MaxDeletesPerSecond": "4294967295",
            "MaxInFlightBatches": "100",
            "HandoffReserveMs": "900000",
            "MaxIdleHops": "1000",
            "S3ForcePathStyle": "false",
        },
    ],
}
# These change no more than names and texts in places of their own: their defaults and their others, together.
PLAIN = ["targets", "dry run", "boundary", "settings"]

# What the rules must refuse.
REFUSED = [
    {"SlackWorkspaceId": "T0123ABCD"},
    {"SlackChannelId": "C0123ABCD"},
    {"VpcSubnetIds": "subnet-01234567"},
    {"VpcSecurityGroupIds": "sg-01234567"},
    CHOICES["queue"][4] | CHOICES["queue"][1],
    CHOICES["queue"][4] | CHOICES["queue"][2],
    {"ExistingDeadLetterQueueName": "withdrawn-dead"},
    {"ReceiptsBucket": "receipts", "ReceiptsLockDays": "1"},
    {"ReceiptsKmsKeyId": KEY},
    {"ReceiptsKmsKeyId": KEY, "ReceiptsSse": "AES256"},
]


# What the pattern or the list of values of a parameter must reject.
IMPOSSIBLE = [
    {"ReceiptsSse": "aws:kms:dsse"},
    {"ReceiptsKmsKeyId": f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/receipts"},
    {"ReceiptsKmsKeyId": "01234567-89ab-cdef-0123-456789abcdef"},
    {"ExpectedReceiptsOwner": "12345678901"},
]


class Wrong(Exception):
    """The template does not hold."""


class Resolver:
    """Evaluates what parameters decide. What only a deployment knows, such as a queue's URL, is either left as it is,
    for the linters, or made up, in a form that counts for limits."""

    def __init__(self, template, parameters, made_up):
        self.template, self.made_up = template, made_up
        known = template["Parameters"]
        self.parameters = {name: str(about["Default"]) for name, about in known.items() if "Default" in about}
        for name, value in parameters.items():
            self.parameters[name] = LONGEST[name](known[name]["MaxLength"]) if value is LONGEST else value
        self.conditions = {}
        self.resources = {}

    def check_parameters(self):
        for name, about in self.template["Parameters"].items():
            value = self.parameters[name]
            allowed = [str(one) for one in about.get("AllowedValues", [value])]
            fits = re.fullmatch(about.get("AllowedPattern", ".*"), value) and len(value) <= about.get("MaxLength", 4096)
            if value not in allowed or not fits:
                raise Wrong(f"{name} cannot be {value!r}")

    def is_refused(self):
        for rule in self.template["Rules"].values():
            if "RuleCondition" not in rule or self.holds(rule["RuleCondition"]):
                if not all(self.holds(one["Assert"]) for one in rule["Assertions"]):
                    return True
        return False

    def holds(self, condition):
        if isinstance(condition, str):
            if condition not in self.conditions:
                self.conditions[condition] = self.holds(self.template["Conditions"][condition])
            return self.conditions[condition]
        (kind, about), = condition.items()
        if kind == "Condition":
            return self.holds(about)
        if kind == "Fn::Equals":
            return self.resolve(about[0]) == self.resolve(about[1])
        if kind == "Fn::Not":
            return not self.holds(about[0])
        return {"Fn::And": all, "Fn::Or": any}[kind](self.holds(one) for one in about)

    def resolve(self, node):
        if isinstance(node, list):
            return [one for one in map(self.resolve, node) if one is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (kind, about), = node.items()
            if kind == "Ref" or kind.startswith("Fn::"):
                return getattr(self, kind.split("::")[-1].lower())(about)
        resolved = {name: self.resolve(value) for name, value in node.items()}
        return {name: value for name, value in resolved.items() if value is not NOTHING}

    def ref(self, name):
        if name == "AWS::NoValue":
            return NOTHING
        return self.known(name) if self.is_known(name) else self.of_resource({"Ref": name}, name, "Ref")

    def getatt(self, about):
        name, attribute = about if isinstance(about, list) else about.split(".", 1)
        return self.of_resource({"Fn::GetAtt": [name, attribute]}, name, attribute)

    def sub(self, about):
        text, given = about if isinstance(about, list) else (about, {})
        given = {name: self.resolve(value) for name, value in given.items()}
        left = {}

        def replace(match):
            name = match.group(1)
            if name in given:
                value = given[name]
            elif self.is_known(name):
                value = self.known(name)
            else:
                value = self.getatt(name) if "." in name else self.ref(name)
            if isinstance(value, dict):
                left[name.replace(".", "")] = value
                return "${" + name.replace(".", "") + "}"
            return str(value)

        text = re.sub(r"\$\{([^!}]+)\}", replace, text)
        return {"Fn::Sub": [text, left]} if left else text

    def join(self, about):
        separator, parts = about[0], self.resolve(about[1])
        whole = all(isinstance(part, str) for part in parts)
        return separator.join(parts) if whole else {"Fn::Join": [separator, parts]}

    def split(self, about):
        text = self.resolve(about[1])
        return text.split(about[0]) if isinstance(text, str) else {"Fn::Split": [about[0], text]}

    def select(self, about):
        return self.resolve(about[1])[int(about[0])]

    def findinmap(self, about):
        name, first, second = self.resolve(about)
        return self.template["Mappings"][name][first][second]

    def __getattr__(self, name):
        if name == "if":
            return lambda about: self.resolve(about[1] if self.holds(about[0]) else about[2])
        raise AttributeError(name)

    def is_known(self, name):
        return name in self.parameters or name in PSEUDO

    def known(self, name):
        return self.parameters[name] if name in self.parameters else PSEUDO[name]

    def of_resource(self, reference, name, attribute):
        if name not in self.resources:
            raise Wrong(f"{name} is referred to, and not made")
        if not self.made_up:
            return reference
        kind = self.resources[name]
        # CloudFormation shortens the stack's name where a name may not be longer.
        longest = {"AWS::SQS::Queue": 80, "AWS::S3::Bucket": 63, "AWS::SNS::Topic": 256}
        physical = "n" * longest.get(kind, 64)
        if kind == "AWS::SQS::Queue" and attribute == "Ref":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{physical}"
        if kind == "AWS::SNS::Topic" and attribute == "Ref":
            return f"arn:aws:sns:{REGION}:{ACCOUNT}:{physical}"
        if attribute != "Arn":
            return physical
        if kind == "AWS::S3::Bucket":
            return f"arn:aws:s3:::{physical}"
        # What stands before the name in an ARN, where that is more than the service of the resource's type.
        before = {"AWS::KMS::Key": ("kms", "key/"), "AWS::StepFunctions::StateMachine": ("states", "stateMachine:")}
        service, prefix = before.get(kind, (kind.split("::")[1].lower(), ""))
        return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{prefix}{physical}"

    def stack(self):
        """The template without conditions, as CloudFormation would carry it out."""
        made = {
            name: about
            for name, about in self.template["Resources"].items()
            if "Condition" not in about or self.holds(about["Condition"])
        }
        self.resources = {name: about["Type"] for name, about in made.items()}
        stack = {"AWSTemplateFormatVersion": "2010-09-09", "Description": self.template["Description"], "Resources": {}}
        for name, about in made.items():
            about = {key: value for key, value in about.items() if key not in ("Condition", "Metadata")}
            stack["Resources"][name] = self.resolve(about)
        for machine in of_kind(stack, "AWS::StepFunctions::StateMachine").values():
            put_into_definition(machine)
        outputs = self.template["Outputs"].items()
        stack["Outputs"] = {
            name: self.resolve({key: value for key, value in about.items() if key != "Condition"})
            for name, about in outputs
            if "Condition" not in about or self.holds(about["Condition"])
        }
        return stack


def of_kind(stack, kind):
    return {name: about["Properties"] for name, about in stack["Resources"].items() if about["Type"] == kind}


def put_into_definition(machine):
    """Does what CloudFormation does with a definition, as far as the values are known: it escapes nothing."""
    given = machine["DefinitionSubstitutions"]
    for name in [name for name, value in given.items() if isinstance(value, str)]:
        machine["DefinitionString"] = machine["DefinitionString"].replace("${" + name + "}", given.pop(name))


def size(document):
    return len(json.dumps(document, separators=(",", ":")))


def check(stack):
    """Limits that no linter knows, with everything as long as it can be."""
    for name, role in of_kind(stack, "AWS::IAM::Role").items():
        # All inline policies of a role together, without white space:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
        length = sum(size(policy["PolicyDocument"]) for policy in role.get("Policies", []))
        if length > 10_240:
            raise Wrong(f"the policies of {name} have {length} characters")
        largest["characters in the policies of a role, of 10,240"].add(length)
    for name, function in of_kind(stack, "AWS::Lambda::Function").items():
        # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
        length = size(function["Environment"]["Variables"])
        if length > 4_096:
            raise Wrong(f"the environment of {name} has {length} bytes")
        largest["bytes in the environment of the function, of 4,096"].add(length)
        # The stack's own bucket is in the stack's account, whichever account owns the targets.
        owner = function["Environment"]["Variables"]["EXPECTED_RECEIPTS_OWNER"]
        if "Receipts" in stack["Resources"] and owner != ACCOUNT:
            raise Wrong(f"{name} expects the receipts' bucket to belong to {owner!r}")
    for name, alarm in of_kind(stack, "AWS::CloudWatch::Alarm").items():
        if len(alarm["AlarmDescription"]) > 1_024:
            raise Wrong(f"the description of {name} is too long")
        check_metrics(name, alarm.get("Metrics", []))
    for dashboard in of_kind(stack, "AWS::CloudWatch::Dashboard").values():
        json.loads(dashboard["DashboardBody"])
    for name, machine in of_kind(stack, "AWS::StepFunctions::StateMachine").items():
        json.loads(machine["DefinitionString"])
        if "${" in machine["DefinitionString"]:
            raise Wrong(f"{name} uses what it has not defined")
    if size(stack) > 1_000_000:
        raise Wrong("the template is longer than CloudFormation takes from S3")
    largest["bytes in the template as it is carried out, of 1,000,000"].add(size(stack))


def check_metrics(name, metrics):
    """What CloudWatch asks of an alarm over several metrics: one expression that it watches, over others of the list."""
    if not metrics:
        return
    watched = [one for one in metrics if one["ReturnData"]]
    if len(watched) != 1 or "Expression" not in watched[0]:
        raise Wrong(f"{name} watches {len(watched)} results, and not one expression")
    given = {one["Id"] for one in metrics if "MetricStat" in one}
    # Functions are in capitals.
    used = set(re.findall(r"\b[a-z]\w*", watched[0]["Expression"]))
    if used != given:
        raise Wrong(f"{name} computes with {sorted(used)}, and has {sorted(given)}")


largest = {
    name: set()
    for name in (
        "characters in the policies of a role, of 10,240",
        "bytes in the environment of the function, of 4,096",
        "bytes in the template as it is carried out, of 1,000,000",
    )
}


def combinations():
    free = [name for name in CHOICES if name not in PLAIN]
    for chosen in itertools.product(*(CHOICES[name] for name in free)):
        together = {name: value for one in chosen for name, value in one.items()}
        for plain in (0, 1, -1):
            yield together | {name: value for group in PLAIN for name, value in CHOICES[group][plain].items()}


# For the linters: together, they have everything that is made, and every way to do without it.
NAMED = {
    "defaults": {name: 0 for name in CHOICES},
    "everything": {
        "targets": 1, "dry run": 2, "queue": 3, "receipts": 1, "erased queue": 1, "alerts": 3, "key": 1, "boundary": 1,
        "network": 1, "settings": 1,
    },
    "everything-else": {
        "targets": 0, "dry run": 1, "queue": 5, "receipts": 3, "erased queue": 1, "alerts": 5, "key": 0, "boundary": 0,
        "network": 0, "settings": 0,
    },
    "own-key-for-alerts": {
        "targets": 0, "dry run": 0, "queue": 1, "receipts": 0, "erased queue": 1, "alerts": 1, "key": 0, "boundary": 0,
        "network": 0, "settings": 0,
    },
}


def main(template_file, folder):
    template = yaml_parse(Path(template_file).read_text())
    # `sam package` puts the code's address here.
    template["Resources"]["Function"]["Properties"]["CodeUri"] = "s3://code/function.zip"
    template = transform(template, {"Target1Bucket": "photos"}, None)
    count = 0
    for parameters in combinations():
        resolver = Resolver(template, parameters, made_up=True)
        try:
            resolver.check_parameters()
            if resolver.is_refused():
                raise Wrong("a rule refuses it")
            check(resolver.stack())
        except Exception as error:
            given = {name: "the longest" if value is LONGEST else value for name, value in parameters.items()}
            raise SystemExit(f"{template_file}: {type(error).__name__}: {error}, with {given}") from error
        count += 1
    for parameters in REFUSED:
        if not Resolver(template, {"Target1Bucket": "photos"} | parameters, made_up=True).is_refused():
            raise SystemExit(f"{template_file}: no rule refuses {parameters}")
    for parameters in IMPOSSIBLE:
        try:
            Resolver(template, {"Target1Bucket": "photos"} | parameters, made_up=True).check_parameters()
        except Wrong:
            continue
        raise SystemExit(f"{template_file}: a parameter can be what it must not be: {parameters}")
    for name, choices in NAMED.items():
        parameters = {key: value for group, n in choices.items() for key, value in CHOICES[group][n].items()}
        for kind, made_up in (("linted", False), ("resolved", True)):
            file = Path(folder) / kind / f"{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(Resolver(template, parameters, made_up).stack(), indent=1))
    rejected = len(REFUSED) + len(IMPOSSIBLE)
    print(f"{count:,} combinations of parameters hold, {rejected} are rejected as they should be. At most:")
    for what, lengths in largest.items():
        print(f"  {max(lengths):,} {what}")


if __name__ == "__main__":
    main(*sys.argv[1:])
