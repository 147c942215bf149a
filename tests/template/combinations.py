"""What the template becomes for every combination of its optional parameters. `make validate` runs it.

No linter evaluates conditions together: that a resource which is not made is referred to shows only in a deployment. So
this translates the template as SAM does, evaluates its conditions and rules for every combination of what may be given,
and checks references and limits. Some combinations it writes to a folder, for the linters that come after it.
"""

import itertools
import json
import re
import sys
import tomllib
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
    "AWS::StackName": "e" * 128,
    "AWS::URLSuffix": "amazonaws.com",
}
NOTHING = object()
TARGETS, FILES = range(1, 9), range(1, 3)


def repeated(before, after=""):
    """Makes a text of a given length."""
    return lambda length: before + "x" * (length - len(before + after)) + after


# As long as the template allows.
LONGEST = {
    **{f"Target{n}Prefix": repeated("", "/{user_id}/") for n in TARGETS},
    **{f"EraseKey{n}Pattern": repeated("", "/{user_id}.*") for n in FILES},
    "ExistingKmsKeyArns": lambda length: ",".join([KEY] * (length // (len(KEY) + 1))),
    "ExpectedBucketOwner": lambda length: ",".join(["b" * 51 + "=" + ACCOUNT] * (length // 65)),
    "MessageMatch": repeated("/type="),
    "ReceiptHashKeySecretArn": repeated(f"arn:aws-us-gov:secretsmanager:us-gov-west-1:{ACCOUNT}:secret:", "-AbCdEf"),
    "ReceiptsPrefix": repeated("", "/"),
    "ScopeIds": repeated("tenant_id=/x,scope_id=/"),
    "UserIdCharacters": repeated(""),
    "UserIdExtraCharacters": repeated("|"),
    "UserIdPattern": repeated(""),
    **{f"{name}Pointer": repeated("/") for name in ("UserId", "RequestId", "WithdrawnAt", "EraseBefore")},
}

SENDERS = f"arn:aws:iam::{ACCOUNT}:role/user-service,arn:aws:iam::210987654321:role/operator"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:withdrawn"
FILTER, PATTERN = '{"type":["user-withdrawn"]}', '{"detail-type":["user-withdrawn"]}'

# What one parameter, or a group of them, may be. The first of each is the default.
CHOICES = {
    "targets": [
        {"Target1Bucket": "photos"},
        {"EraseKey1Bucket": "avatars", "EraseKey1Pattern": "{tenant_id}/{user_id}"},
        {
            "Target1Bucket": "photos",
            "Target1Prefix": "tenants/{tenant_id}/teams/{scope_id}/user_{user_id:urlencode}-files/2026/",
            "Target8Bucket": "raw",
            "Target8Prefix": "user_id={user_id}/",
            "EraseKey2Bucket": "avatars",
            "EraseKey2Pattern": "profile-{user_id:urlencode}-*",
        },
        {f"Target{n}Bucket": str(n) * 63 for n in TARGETS} | {f"Target{n}Prefix": LONGEST for n in TARGETS}
        | {f"EraseKey{n}Bucket": str(n) * 63 for n in FILES} | {f"EraseKey{n}Pattern": LONGEST for n in FILES},
    ],
    "dry run": [{}, {"DryRun": "true"}, {"Paused": "true"}, {"BypassGovernanceRetention": "true"}],
    "queue": [
        {"AnySenderOfAccount": "true"},
        {"SenderPrincipalArns": SENDERS},
        {"WithdrawalTopicArn": TOPIC},
        {"WithdrawalTopicArn": TOPIC, "WithdrawalTopicFilter": FILTER, "SenderPrincipalArns": SENDERS},
        {"EventPattern": PATTERN},
        {"EventPattern": PATTERN, "EventBusName": "aws.partner/auth0.com/1", "WithdrawalTopicArn": TOPIC,
         "AnySenderOfAccount": "true", "SenderPrincipalArns": SENDERS},
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
            "ReceiptsKmsKeyId": f"arn:aws-us-gov:kms:ap-southeast-1:{ACCOUNT}:key/mrk-{'0123456789abcdef' * 2}",
            "ExpectedReceiptsOwner": "210987654321",
        },
        {"ReceiptsBucket": "receipts", "ReceiptsPrefix": ""},
        {"ReceiptsBucket": "receipts", "ReceiptsSse": "AES256"},
    ],
    "erased queue": [{}, {"CreateErasedQueue": "true"}],
    "hash key": [{}, {"ReceiptHashKeySecretArn": LONGEST}],
    "alerts": [
        {},
        {"AlertEmail": "team@example.org"},
        {"CreateAlertTopic": "true"},
        {"AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"},
        {"AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms", "AlertEmail": "team@example.org"},
    ],
    "key": [{}, {"KmsKeyArn": KEY}],
    "existing keys": [{}, {"ExistingKmsKeyArns": LONGEST}],
    "boundary": [
        {},
        {
            "PermissionsBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
            "CodeSigningConfigArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:code-signing-config:csc-0123456789abcdef0",
        },
    ],
    "network": [{}, {"VpcSubnetIds": "subnet-01234567,subnet-12345678", "VpcSecurityGroupIds": "sg-01234567"}],
    "settings": [
        {},
        {
            "ExpectedBucketOwner": LONGEST,
            "LateWriteSweepSeconds": "1209600",
            "MaxObjects": "18446744073709551615",
            "UserIdPattern": LONGEST,
            "UserIdCharacters": LONGEST,
            "UserIdExtraCharacters": LONGEST,
            "UserIdLength": "128",
            "ScopeIds": LONGEST,
            "MessageMatch": LONGEST,
            "UserIdPointer": LONGEST,
            "RequestIdPointer": LONGEST,
            "WithdrawnAtPointer": LONGEST,
            "EraseBeforePointer": LONGEST,
            "MaxDeletesPerSecond": "4294967295",
            "MaxInFlightBatches": "100",
            "HandoffReserveMs": "900000",
            "MaxIdleHops": "1000",
            "S3ForcePathStyle": "false",
        },
    ],
}
# These change no more than names and texts in places of their own: their defaults and their others, together.
PLAIN = ["targets", "dry run", "boundary", "hash key", "existing keys", "settings"]

SENDER = {"AnySenderOfAccount": "true"}
# What the rules must reject, each with a bucket and, if it says nothing of one, a sender.
REJECTED = [
    {"VpcSubnetIds": "subnet-01234567"},
    {"VpcSecurityGroupIds": "sg-01234567"},
    {"AnySenderOfAccount": "false"},
    CHOICES["queue"][6] | CHOICES["queue"][0],
    CHOICES["queue"][6] | CHOICES["queue"][1],
    CHOICES["queue"][6] | CHOICES["queue"][2],
    CHOICES["queue"][6] | CHOICES["queue"][4],
    {"ExistingDeadLetterQueueName": "withdrawn-dead"},
    {"WithdrawalTopicFilter": FILTER},
    {"EventBusName": "users"},
    {"ReceiptsBucket": "receipts", "ReceiptsLockDays": "1"},
    {"ExpectedReceiptsOwner": ACCOUNT},
    {"ReceiptsKmsKeyId": KEY},
    {"ReceiptsKmsKeyId": KEY, "ReceiptsSse": "AES256"},
    {"AlarmTopicArn": TOPIC, "CreateAlertTopic": "true"},
    {"Target1Bucket": ""},
    {"Target1Bucket": "", "Target2Bucket": "photos", "EraseKey2Bucket": "photos"},
]

# What the pattern or the list of values of a parameter must reject.
IMPOSSIBLE = [
    {"ReceiptsSse": "aws:kms:dsse"},
    {"ReceiptsKmsKeyId": f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/receipts"},
    {"ReceiptsKmsKeyId": "01234567-89ab-cdef-0123-456789abcdef"},
    {"ExpectedReceiptsOwner": "12345678901"},
    {"ReceiptsLockDays": "36501"},
    {"ReceiptsLockDays": "0"},
    {"ReceiptHashKeySecretArn": "hash-key"},
    {"ReceiptHashKeySecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:hash-key"},
    {"ExistingKmsKeyArns": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/*"},
    *({"SenderPrincipalArns": f"arn:aws:iam::{ACCOUNT}:{who}"} for who in ("root", "role/*", "role/a?", "role/${x}")),
    *({"ExpectedBucketOwner": text} for text in ("12345678901", "photos", f"a-b={ACCOUNT},", f"{ACCOUNT},{ACCOUNT}")),
    *({"UserIdExtraCharacters": text} for text in ("/", "\\", '"', "<", ">", "{", "}", "%", " ", "é")),
    *({"ScopeIds": text} for text in ("tenant_id", "tenant_id=tenantId", "org_id=/orgId", "tenant_id=/a,")),
    {"UserIdLength": "0"},
    {"MessageMatch": "type=x"},
    {"EventPattern": "user-withdrawn"},
    *({"Target1Prefix": text} for text in (
        "users/", "users/{user_id}", "{user_id}/{tenant_id}/", "/{user_id}/", "a//{user_id}/", "{user_id}{user_id}/",
        "{tenant_id}{user_id}/", "{user_id}/{user_id}/", "*/{user_id}/", "{org_id}/{user_id}/", "{tenant_id}/",
        "a,b/{user_id}/", "{user_id:lower}/", "$/{user_id}/", "a?/{user_id}/",
    )),
    *({"EraseKey1Pattern": text} for text in (
        "avatars/", "avatars/{user_id}/", "avatars/{user_id}*", "avatars/*-{user_id}", "avatars/{user_id}.*.jpg",
        "avatars/{user_id}-**", "avatars/*", "{tenant_id}", "{user_id}/{tenant_id}",
    )),
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

    def is_rejected(self):
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
        if kind == "AWS::SecretsManager::Secret":
            return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{physical}-AbCdEf"
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
    if not given:
        del machine["DefinitionSubstitutions"]


def size(document):
    return len(json.dumps(document, separators=(",", ":")))


def check(stack):
    """What no linter knows: limits, with everything as long as it can be, and what the function's role may do."""
    check_role(stack)
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
    for name, topic in of_kind(stack, "AWS::SNS::Topic").items():
        # https://docs.aws.amazon.com/sns/latest/api/API_SetTopicAttributes.html
        if len(topic.get("DisplayName", "")) > 100:
            raise Wrong(f"the display name of {name} is too long")
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


def check_role(stack):
    """The function's role reaches below each pattern of its settings, and nowhere else."""
    (function,) = of_kind(stack, "AWS::Lambda::Function").values()
    (mapping,) = of_kind(stack, "AWS::Lambda::EventSourceMapping").values()
    settings = function["Environment"]["Variables"]
    listed, deleted = [], []
    for setting in ("ERASE_TARGETS", "ERASE_KEYS"):
        for uri in filter(None, settings[setting].split(",")):
            bucket, pattern = re.fullmatch("s3://([^/]+)/(.*)", uri).groups()
            pattern = re.sub(r"\{[^}]*\}", "?*", pattern)
            # A star is asked for by its beginning; the one of ?* stays.
            listed.append((f"arn:aws:s3:::{bucket}", re.sub(r"(?<!\?)\*$", "", pattern)))
            deleted.append(f"arn:aws:s3:::{bucket}/{pattern}" + ("*" if setting == "ERASE_TARGETS" else ""))
    (policy,) = of_kind(stack, "AWS::IAM::Role")["FunctionRole"]["Policies"]
    statements = {one["Sid"]: one for one in policy["PolicyDocument"]["Statement"]}
    may_list = [one for sid, one in statements.items() if sid.startswith("List")]
    found = [(one["Resource"], one["Condition"]["StringLike"]["s3:prefix"]) for one in may_list]
    if found != listed:
        raise Wrong(f"the role may list {found}, and the settings need {listed}")
    if sorted(set(statements["LookIntoTargets"]["Resource"])) != sorted({bucket for bucket, _ in listed}):
        raise Wrong("the role may look into other buckets than those of the settings")
    may_erase = settings["DRY_RUN"] == "false" and mapping["Enabled"]
    found = statements["Erase"]["Resource"] if "Erase" in statements else None
    if found != (deleted if may_erase else None):
        raise Wrong(f"the role may delete {found}, and the settings need {deleted if may_erase else None}")


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
        for plain in range(4):
            chosen = (CHOICES[group][min(plain, len(CHOICES[group]) - 1)] for group in PLAIN)
            yield together | {name: value for one in chosen for name, value in one.items()}


# For the linters: together, they have everything that is made, and every way to do without it.
NAMED = {
    "defaults": {},
    "everything": {
        "targets": 3, "dry run": 3, "queue": 3, "receipts": 1, "erased queue": 1, "alerts": 1, "key": 1,
        "existing keys": 1, "boundary": 1, "network": 1, "settings": 1,
    },
    "everything-else": {
        "targets": 1, "dry run": 1, "queue": 7, "receipts": 3, "erased queue": 1, "hash key": 1, "alerts": 4,
    },
    "own-key-for-alerts": {"targets": 2, "queue": 5, "erased queue": 1, "alerts": 2},
}


def complete(parameters):
    """Parameters with what no stack can do without: something to erase, and somebody who may send."""
    decides = {"AnySenderOfAccount", "ExistingQueueArn"} & set(parameters)
    return {"Target1Bucket": "photos"} | ({} if decides else SENDER) | parameters


def of_example(file):
    """The parameters of `samconfig.example.toml`."""
    settings = tomllib.loads(Path(file).read_text())["default"]["deploy"]["parameters"]
    return dict(one.split("=", 1) for one in settings["parameter_overrides"])


def main(template_file, samconfig_file, folder):
    template = yaml_parse(Path(template_file).read_text())
    # `sam package` puts the code's address here.
    template["Resources"]["Function"]["Properties"]["CodeUri"] = "s3://code/function.zip"
    template = transform(template, {"Target1Bucket": "photos"}, None)
    count = 0
    for parameters in (of_example(samconfig_file), *combinations()):
        resolver = Resolver(template, parameters, made_up=True)
        try:
            resolver.check_parameters()
            if resolver.is_rejected():
                raise Wrong("a rule rejects it")
            check(resolver.stack())
        except Exception as error:
            given = {name: "the longest" if value is LONGEST else value for name, value in parameters.items()}
            raise SystemExit(f"{template_file}: {type(error).__name__}: {error}, with {given}") from error
        count += 1
    for parameters in REJECTED:
        if not Resolver(template, complete(parameters), made_up=True).is_rejected():
            raise SystemExit(f"{template_file}: no rule rejects {parameters}")
    for parameters in IMPOSSIBLE:
        try:
            Resolver(template, complete(parameters), made_up=True).check_parameters()
        except Wrong:
            continue
        raise SystemExit(f"{template_file}: a parameter can be what it must not be: {parameters}")
    for name, choices in NAMED.items():
        chosen = (CHOICES[group][choices.get(group, 0)] for group in CHOICES)
        parameters = {key: value for one in chosen for key, value in one.items()}
        for kind, made_up in (("linted", False), ("resolved", True)):
            file = Path(folder) / kind / f"{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(Resolver(template, parameters, made_up).stack(), indent=1))
    rejected = len(REJECTED) + len(IMPOSSIBLE)
    print(f"{count:,} combinations of parameters hold, {rejected} are rejected as they should be. At most:")
    for what, lengths in largest.items():
        print(f"  {max(lengths):,} {what}")


if __name__ == "__main__":
    main(*sys.argv[1:])
