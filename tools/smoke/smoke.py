"""Shows step by step that a deployed stack works, and removes everything that it made: `make smoke STACK=name`.

Each step ends as "shown", "not shown" (with the reason, for example a missing permission) or "FAILED". The exit code is
1 if a step failed, 2 if there is no such stack, else 0. Credentials, region and endpoint are those of the AWS CLI.
"""

import argparse
import json
import os
import re
import sys
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

UNKNOWN_OPERATION = ("InvalidAction", "UnknownOperation", "UnknownOperationException", "NotImplemented")
NOTHING_TO_READ = ("NoSuchKey", "404", "NoSuchUpload")
# How long a local cloud, which keeps no history of alarm actions, may take to show one.
LOCAL_HISTORY_SECONDS = 3


class NotShown(Exception):
    """This account, these permissions or this stack do not allow the step."""


class Failed(Exception):
    """The stack does not do what it must."""


def code_of(error):
    return error.response.get("Error", {}).get("Code", "")


def is_denied(error):
    return any(word in code_of(error) for word in ("AccessDenied", "AuthorizationError", "UnauthorizedOperation"))


def permission_of(error):
    """The permission that is missing: AWS names the action in most answers, else the operation has to do."""
    found = re.search(r"not authorized to perform: (\S+)(?: on resource: (\S+))?", str(error))
    if not found:
        return f"the permission for {error.operation_name} is missing"
    return f"permission {found[1]} is missing" + (f" on {found[2]}" if found[2] else "")


def may_match(pattern, text):
    """The patterns are those of Rust, of which Python understands most."""
    try:
        return re.fullmatch(pattern, text)
    except re.error:
        return True


def now():
    return datetime.now(timezone.utc)


class Smoke:
    def __init__(self, stack, user, seconds):
        self.stack, self.seconds = stack, seconds
        self.user = user or f"smoke-test-{uuid.uuid4().hex[:12]}"
        # Below the prefix of this id, nothing may be deleted: the ids differ by one character.
        self.neighbour = self.user + "0"
        self.rows, self.cleanups, self.sent, self.malformed = [], [], False, None
        self.session = boto3.Session()
        self.clients = {}
        self.about = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        self.outputs = {item["OutputKey"]: item["OutputValue"] for item in self.about.get("Outputs", [])}
        self.is_aws = urlsplit(self.client("sqs").meta.endpoint_url).hostname.endswith(
            (".amazonaws.com", ".amazonaws.com.cn")
        )

    def client(self, service):
        if service not in self.clients:
            # A local endpoint has no other host for StartSyncExecution.
            options = {} if service != "stepfunctions" else {"inject_host_prefix": self.is_aws}
            config = Config(
                retries={"mode": "standard", "max_attempts": 4}, connect_timeout=10, read_timeout=60, **options
            )
            self.clients[service] = self.session.client(service, config=config)
        return self.clients[service]

    # ---- The frame

    def step(self, name, action):
        started = time.monotonic()
        try:
            result, text = "shown", action()
        except NotShown as reason:
            result, text = "not shown", str(reason)
        except Failed as fault:
            result, text = "FAILED", str(fault)
        except ClientError as error:
            if is_denied(error):
                result, text = "not shown", permission_of(error)
            elif code_of(error) in UNKNOWN_OPERATION:
                result, text = "not shown", f"this endpoint has no {error.operation_name}"
            else:
                result, text = "FAILED", str(error)
        except BotoCoreError as error:
            result, text = "FAILED", str(error)
        self.rows.append(
            {"step": name, "result": result, "text": text, "seconds": round(time.monotonic() - started, 1)}
        )
        print(f"{result:10} {name}: {text}", flush=True)
        return result == "shown"

    def wait_for(self, what, ask, seconds=None):
        """Asks with growing pauses until the answer is true, and returns it."""
        limit = self.seconds if seconds is None else seconds
        deadline, pause = time.monotonic() + limit, 0.2
        while not (answer := ask()):
            if time.monotonic() > deadline:
                raise Failed(f"waited {limit:g} s, without result, for {what}")
            time.sleep(pause)
            pause = min(pause * 1.5, 5)
        return answer

    def resources(self, kind):
        """Physical ids of the stack's resources of a type, by logical id."""
        answer = self.client("cloudformation").describe_stack_resources(StackName=self.stack)["StackResources"]
        return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in answer if one["ResourceType"] == kind}

    # ---- What is deployed

    def function_settings(self):
        """The function's environment variables."""
        name = self.outputs["FunctionName"]
        environment = self.client("lambda").get_function_configuration(FunctionName=name).get("Environment", {})
        if fault := environment.get("Error"):
            raise NotShown(
                f"the function's settings cannot be read, is kms:Decrypt missing? {fault.get('Message', fault)}"
            )
        return environment["Variables"]

    def find_queues(self, settings):
        sqs = self.client("sqs")
        self.queue = settings["CONTINUATION_QUEUE_URL"]
        # Lambda's own account of the URL may have another host than the one that is asked here.
        self.queue = self.outputs.get("QueueUrl", self.queue)
        attributes = sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn", "RedrivePolicy"])[
            "Attributes"
        ]
        self.queue_arn = attributes["QueueArn"]
        if "RedrivePolicy" not in attributes:
            raise Failed("the queue has no dead-letter queue: what fails is lost when its retention ends")
        self.dead_letter_arn = json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"]
        *_, account, name = self.dead_letter_arn.split(":")
        self.dead_letters = sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]

    def must_listen(self):
        """A stopped stack takes no message: that is no fault of it."""
        name = self.outputs["FunctionName"]
        try:
            mappings = self.client("lambda").list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
        except ClientError as error:
            if is_denied(error):
                return
            raise
        if not mappings:
            raise Failed("the function has no event source mapping: it takes no message from the queue")
        if stopped := [one["State"] for one in mappings if one["State"].startswith("Disab")]:
            raise NotShown(f"the event source mapping is {stopped[0]}: the stack is stopped")

    # ---- Steps

    def accept_settings(self):
        """An empty event is answered without touching anything, but only by a function that could start."""
        name = self.outputs["FunctionName"]
        answer = self.client("lambda").invoke(FunctionName=name, Payload=b'{"Records":[]}')
        payload = answer["Payload"].read().decode(errors="replace")
        if "FunctionError" in answer:
            raise Failed(f"the function cannot start or crashed: {payload[:2000]}")
        if json.loads(payload) != {"batchItemFailures": []}:
            raise Failed(f"expected an answer without failures, got {payload[:2000]}")
        return "the function starts with its settings and answers an empty event"

    def place(self, bucket, prefix):
        """Stores what an erasure has to delete, and returns how many objects, versions, delete markers and uploads."""
        s3 = self.client("s3")
        status = s3.get_bucket_versioning(Bucket=bucket).get("Status")
        for key in ("first", "folder/second", "third with space and \u00fc"):
            s3.put_object(Bucket=bucket, Key=prefix + key, Body=b"smoke test")
        upload = s3.create_multipart_upload(Bucket=bucket, Key=prefix + "unfinished")["UploadId"]
        s3.upload_part(Bucket=bucket, Key=prefix + "unfinished", UploadId=upload, PartNumber=1, Body=b"smoke test")
        if status == "Enabled":
            s3.put_object(Bucket=bucket, Key=prefix + "first", Body=b"a second version")
            s3.delete_object(Bucket=bucket, Key=prefix + "folder/second")
        return status

    def contents(self, bucket, prefix):
        """Everything below a prefix: versions and delete markers (with key and version), and uploads."""
        s3 = self.client("s3")
        found = {"versions": [], "markers": [], "uploads": []}
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            found["versions"] += [(one["Key"], one["VersionId"]) for one in page.get("Versions", [])]
            found["markers"] += [(one["Key"], one["VersionId"]) for one in page.get("DeleteMarkers", [])]
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
            found["uploads"] += [(one["Key"], one["UploadId"]) for one in page.get("Uploads", [])]
        return found

    def must_be_removable(self, bucket):
        try:
            lock = self.client("s3").get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
        except ClientError as error:
            if code_of(error) == "ObjectLockConfigurationNotFoundError":
                return
            raise
        if "Rule" in lock:
            raise NotShown(f"bucket {bucket} locks every new object: synthetic ones could not be removed")

    def prepare_targets(self, settings):
        """Bucket, prefix of the user and prefix of the neighbour, for each target."""
        scopes = dict(pair.split("=", 1) for pair in filter(None, settings.get("SCOPE_IDS", "").split(",")))
        rules = {"USER_ID_PATTERN": "{}", "USER_ID_CHARACTERS": "[{}]*", "USER_ID_LENGTH": ".{{{}}}"}
        for name, rule in rules.items():
            if settings.get(name) and not may_match(rule.format(settings[name]), self.user):
                raise NotShown(f"{name} {settings[name]} does not match {self.user}: give an unused id, ID=...")
        if not settings.get("ERASE_TARGETS"):
            raise NotShown("there are no targets but ERASE_KEYS, which the smoke test does not try")
        targets = []
        for address in settings["ERASE_TARGETS"].split(","):
            bucket, _, template = address.removeprefix("s3://").partition("/")
            for scope in scopes:
                template = template.replace("{" + scope + "}", self.user)
            prefixes = [re.sub(r"\{user_id(:urlencode)?\}", user, template) for user in (self.user, self.neighbour)]
            targets.append((bucket, *prefixes))
        for bucket, *prefixes in targets:
            self.must_be_removable(bucket)
            for prefix in prefixes:
                if any(self.contents(bucket, prefix).values()):
                    raise NotShown(
                        f"something is already below s3://{bucket}/{prefix}: {self.user} is no synthetic user"
                    )
        self.message = {"type": "user-withdrawn", "requestId": self.user}
        for pointer in [settings.get("USER_ID_POINTER") or "/userId", *scopes.values()]:
            if not pointer.startswith("/"):
                raise NotShown(f"the smoke test cannot write a message for the pointer {pointer}")
            *folders, last = pointer[1:].split("/")
            place = self.message
            for folder in folders:
                place = place.setdefault(folder, {})
            place[last] = self.user
        return targets

    def send(self, body):
        more = (
            {"MessageGroupId": self.user, "MessageDeduplicationId": uuid.uuid4().hex}
            if self.queue.endswith(".fifo")
            else {}
        )
        self.client("sqs").send_message(QueueUrl=self.queue, MessageBody=json.dumps(body), **more)

    def read_receipt(self, name):
        place = urlsplit(self.outputs["ReceiptsUri"])
        key = f"{place.path.lstrip('/')}{self.user}/{name}"
        try:
            return json.loads(self.client("s3").get_object(Bucket=place.netloc, Key=key)["Body"].read())
        except ClientError as error:
            if code_of(error) in NOTHING_TO_READ:
                return None
            raise

    def erase(self):
        settings = self.function_settings()
        self.find_queues(settings)
        self.must_listen()
        targets = self.prepare_targets(settings)
        dry_run = settings.get("DRY_RUN") == "true"
        statuses, placed, neighbours = {}, [], []
        for bucket, prefix, neighbour in targets:
            for below in (prefix, neighbour):
                self.cleanups.append(
                    (f"s3://{bucket}/{below}", lambda bucket=bucket, below=below: self.empty(bucket, below))
                )
            statuses[bucket] = self.place(bucket, prefix)
            self.client("s3").put_object(Bucket=bucket, Key=neighbour + "keep", Body=b"smoke test")
            placed.append(self.contents(bucket, prefix))
            neighbours.append(self.contents(bucket, neighbour))
        # Whether receipts can be read at all: without the permission, nothing is sent.
        name = "dry-run.json" if dry_run else "erased.json"
        self.read_receipt(name)
        self.cleanups.append(("the receipts of the synthetic user", self.remove_receipts))
        self.send(self.message)
        self.sent = True
        receipt = self.wait_for(
            f"the receipt {name}: the reason is in the log and in the dead-letter queue",
            lambda: self.read_receipt(name),
        )
        self.sent = False
        left = [self.contents(bucket, prefix) for bucket, prefix, _ in targets]
        if dry_run and left != placed:
            raise Failed(f"a dry run changed something: {placed} before, {left} after")
        if not dry_run and any(any(found.values()) for found in left):
            raise Failed(f"the receipt says erased, and a fresh listing finds {left}")
        if [self.contents(bucket, neighbour) for bucket, _, neighbour in targets] != neighbours:
            raise Failed("an object of another user was changed")
        counts = {kind: sum(len(found[kind]) for found in placed) for kind in ("versions", "markers", "uploads")}
        counted = {
            "versions": receipt["objects"] + receipt["versions"],
            "markers": receipt["deleteMarkers"],
            "uploads": receipt["uploads"],
        }
        if counts != counted:
            raise Failed(f"placed {counts}, and the receipt counts {counted}")
        without = [bucket for bucket, status in statuses.items() if status != "Enabled"]
        what = "{versions} objects and versions, {markers} delete markers, {uploads} uploads".format(**counts)
        done = (
            "counted (DryRun is on), none deleted" if dry_run else f"erased, proven empty at {receipt['provenEmptyAt']}"
        )
        note = f"; no versioning, so no versions and markers tried in {', '.join(without)}" if without else ""
        keys = "; ERASE_KEYS was not tried" if settings.get("ERASE_KEYS") else ""
        sweep = settings.get("LATE_WRITE_SWEEP_SECONDS") or "0"
        later = (
            f"; swept.json will be stored {sweep} s after the proof, and has to be removed by hand"
            if int(sweep)
            else ""
        )
        return f"{what} at {len(targets)} targets {done}, an object of another user kept{note}{keys}{later}"

    def take(self, queue, mark):
        """A message with this mark. What else comes is visible again after ten seconds."""
        answer = self.client("sqs").receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=10, WaitTimeSeconds=1
        )
        return next((one for one in answer.get("Messages", []) if mark in one["Body"]), None)

    def depth(self, queue):
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        attributes = self.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def receive_event(self):
        """Only of a queue that was empty before: the messages of others are for its reader."""
        if self.event_queue_depth is None:
            raise NotShown("the stack has no erased queue (CreateErasedQueue)")
        if self.event_queue_depth:
            raise NotShown(f"the erased queue held {self.event_queue_depth} messages before, which are for its reader")
        queue, sqs = self.outputs["ErasedQueueUrl"], self.client("sqs")
        try:
            event = self.wait_for(
                "the event", lambda: self.take(queue, f"{self.user}/erased.json"), min(self.seconds, 60)
            )
        except Failed as fault:
            raise NotShown(f"{fault} in the erased queue: does a reader take the events?") from fault
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=event["ReceiptHandle"])
        return "the event of the receipt came to the erased queue"

    def reject(self):
        self.find_queues(self.function_settings())
        self.must_listen()
        self.others = self.depth(self.dead_letters)
        self.mark = f"{self.user}-malformed"
        self.send({"type": "smoke-test", "id": self.mark})
        self.cleanups.append(("the malformed message", self.remove_malformed))
        self.malformed = self.wait_for(
            "a malformed message in the dead-letter queue. Without ReportBatchItemFailures in the event source "
            "mapping, Lambda deletes what fails, and requests are lost",
            lambda: self.take(self.dead_letters, self.mark),
        )
        return "a malformed message came to the dead-letter queue, so the mapping has ReportBatchItemFailures"

    def redrive(self):
        if self.others:
            raise NotShown(
                f"the dead-letter queue held {self.others} other messages, which a redrive would move as well"
            )
        sqs = self.client("sqs")
        sqs.change_message_visibility(
            QueueUrl=self.dead_letters, ReceiptHandle=self.malformed["ReceiptHandle"], VisibilityTimeout=0
        )
        sqs.start_message_move_task(SourceArn=self.dead_letter_arn, DestinationArn=self.queue_arn)
        # From here on, its handle is worth nothing.
        self.malformed = None

        def ended():
            task = sqs.list_message_move_tasks(SourceArn=self.dead_letter_arn, MaxResults=1)["Results"][0]
            return task if task["Status"] not in ("RUNNING", "CANCELLING") else None

        task = self.wait_for("the end of the redrive", ended)
        if task["Status"] != "COMPLETED" or task.get("ApproximateNumberOfMessagesMoved", 0) < 1:
            raise Failed(f"the redrive ended as {task['Status']}: {task.get('FailureReason', 'no message was moved')}")
        self.malformed = self.wait_for(
            "the redriven message, rejected again", lambda: self.take(self.dead_letters, self.mark)
        )
        return "the malformed message was moved to the queue, and came to the dead-letter queue again"

    def alarm(self):
        watch = self.client("cloudwatch")
        names = sorted(self.resources("AWS::CloudWatch::Alarm").values())
        if not names:
            raise Failed("the stack has no alarm")
        alarms = watch.describe_alarms(AlarmNames=names)["MetricAlarms"]
        if red := [one["AlarmName"] for one in alarms if one["StateValue"] == "ALARM"]:
            print(f"           in alarm before this test: {', '.join(red)}")
        quiet = [one for one in alarms if one["StateValue"] != "ALARM"]
        if not quiet:
            raise NotShown("every alarm is in state ALARM already")
        chosen = next((one for one in quiet if "ErrorAlarm" in one["AlarmName"]), quiet[0])
        name, began = chosen["AlarmName"], now()
        self.cleanups.append((f"the state of {name}", lambda: self.reset_alarm(chosen)))
        watch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason=f"{self.user}: a test, nothing is wrong")

        def history(kind):
            items = watch.describe_alarm_history(AlarmName=name, HistoryItemType=kind, ScanBy="TimestampDescending")[
                "AlarmHistoryItems"
            ]
            # Some clocks count whole seconds only.
            return [one["HistorySummary"] for one in items if one["Timestamp"].timestamp() >= began.timestamp() - 1]

        if not chosen["AlarmActions"]:
            self.wait_for("the state in the history of the alarm", lambda: history("StateUpdate"))
            raise NotShown(f"{name} has no action: set AlertEmail, SlackChannelId or AlarmTopicArn")
        try:
            actions = self.wait_for(
                "an action in the history of the alarm",
                lambda: history("Action"),
                self.seconds if self.is_aws else LOCAL_HISTORY_SECONDS,
            )
        except Failed as fault:
            if self.is_aws:
                raise
            raise NotShown(f"{name} was forced, and this endpoint keeps no history of actions") from fault
        if faults := [one for one in actions if not one.startswith("Successfully")]:
            raise Failed(f"the alarm notifies nobody: {'; '.join(faults)}")
        return f"{name} was forced, and its history says: {actions[0]}"

    def reset_alarm(self, alarm):
        self.client("cloudwatch").set_alarm_state(
            AlarmName=alarm["AlarmName"], StateValue=alarm["StateValue"], StateReason=f"{self.user}: the test is over"
        )

    def notify(self):
        """Starts the state machine as the rule would: only the function may store a receipt that starts the rule."""
        machine = self.resources("AWS::StepFunctions::StateMachine").get("Teller")
        if not machine:
            raise NotShown("the stack notifies nobody: set AlertEmail, SlackChannelId or AlarmTopicArn")
        place = urlsplit(self.outputs["ReceiptsUri"])
        detail = {
            "bucket": {"name": place.netloc},
            "object": {"key": f"{place.path.lstrip('/')}{self.user}/incomplete-5.json"},
        }
        events, rule = self.client("events"), self.resources("AWS::Events::Rule")["GivenUpRule"]
        event = {
            "id": self.user,
            "account": self.about["StackId"].split(":")[4],
            "region": self.session.region_name,
            "source": "aws.s3",
            "time": "2026-01-01T00:00:00Z",
            "resources": [],
            "detail-type": "Object Created",
            "detail": detail,
        }
        pattern = events.describe_rule(Name=rule)["EventPattern"]
        if not events.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"]:
            raise Failed(f"the rule {rule} would not match the receipt of an erasure that was given up")
        run = self.client("stepfunctions").start_sync_execution(
            stateMachineArn=machine, input=json.dumps({"detail": detail})
        )
        if run["status"] != "SUCCEEDED":
            raise Failed(f"the notification ended as {run['status']}: {run.get('error')}: {run.get('cause')}")
        topic = self.topic()
        subscriptions = self.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        waiting = [one["Protocol"] for one in subscriptions if not one["SubscriptionArn"].startswith("arn:")]
        if waiting or not subscriptions:
            missing = f"not confirmed by: {', '.join(waiting)}" if waiting else "none"
            raise NotShown(f"the notification was published, and the subscriptions of {topic} are {missing}")
        protocols = ", ".join(sorted(one["Protocol"] for one in subscriptions))
        return (
            f"a notification about {self.user} was published to {topic} ({protocols}): ask the team whether it arrived"
        )

    def topic(self):
        given = {one["ParameterKey"]: one.get("ParameterValue") for one in self.about.get("Parameters", [])}
        return given.get("AlarmTopicArn") or self.outputs["AlertTopicArn"]

    # ---- Removing what was made

    def empty(self, bucket, prefix):
        """Only ever below a prefix of a synthetic user that held nothing before."""
        s3, found = self.client("s3"), self.contents(bucket, prefix)
        for key, version in found["versions"] + found["markers"]:
            s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
        for key, upload in found["uploads"]:
            s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)

    def remove_receipts(self):
        place = urlsplit(self.outputs["ReceiptsUri"])
        s3, prefix = self.client("s3"), f"{place.path.lstrip('/')}{self.user}/"
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=place.netloc, Prefix=prefix):
            for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
                s3.delete_object(Bucket=place.netloc, Key=one["Key"], VersionId=one["VersionId"])

    def remove_malformed(self):
        """Never out of the queue itself: receiving there counts a delivery of every real request that comes along."""
        found = self.malformed or self.wait_for(
            "the malformed message: it is still on its way to the dead-letter queue",
            lambda: self.take(self.dead_letters, self.mark),
            min(self.seconds, 15),
        )
        self.client("sqs").delete_message(QueueUrl=self.dead_letters, ReceiptHandle=found["ReceiptHandle"])

    def remove_all(self):
        left, denied = [], []
        for what, remove in reversed(self.cleanups):
            try:
                remove()
            except ClientError as error:
                (denied if is_denied(error) else left).append(
                    f"{what}: {permission_of(error) if is_denied(error) else error}"
                )
            except (Failed, BotoCoreError) as error:
                left.append(f"{what}: {error}")
        if self.sent:
            left.append(f"the request of {self.user}, which is still in the queue or in the dead-letter queue")
        if left:
            raise Failed("not removed: " + "; ".join(left + denied))
        if denied:
            raise NotShown("not removed: " + "; ".join(denied))
        return f"nothing of {self.user} is left"

    # ---- All of it

    def run(self):
        try:
            if self.step("settings", self.accept_settings):
                self.event_queue_depth = None
                if queue := self.outputs.get("ErasedQueueUrl"):
                    try:
                        self.event_queue_depth = self.depth(queue)
                    except ClientError as error:
                        if not is_denied(error):
                            raise
                if self.step("erasure", self.erase):
                    self.step("event", self.receive_event)
                self.step("alarm", self.alarm)
                if self.step("dead letter", self.reject):
                    self.step("redrive", self.redrive)
            else:
                self.step("alarm", self.alarm)
            self.step("notification", self.notify)
        finally:
            self.step("removal", self.remove_all)
        return any(row["result"] == "FAILED" for row in self.rows)

    def report(self, folder, began):
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "stack": self.about["StackId"],
            "endpoint": "AWS" if self.is_aws else self.client("sqs").meta.endpoint_url,
            "startedAt": began.isoformat(timespec="seconds"),
            "finishedAt": now().isoformat(timespec="seconds"),
            "steps": self.rows,
        }
        path = folder / f"{self.stack}-{began:%Y%m%dT%H%M%SZ}"
        path.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
        lines = [f"# Smoke test of {self.stack}", "", *(f"- {name}: {about[name]}" for name in list(about)[:-1]), ""]
        lines += ["| step | result | | seconds |", "|---|---|---|---|"]
        lines += [
            f"| {row['step']} | {row['result']} | {row['text'].replace('|', chr(92) + '|')} | {row['seconds']} |"
            for row in self.rows
        ]
        path.with_suffix(".md").write_text("\n".join(lines) + "\n")
        print(f"\nThe report is in {path}.md and {path.name}.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument("--user", help="id of a user that does not exist, where UserIdPattern demands another form")
    parser.add_argument("--seconds", type=float, default=300, help="how long one wait may take (300)")
    parser.add_argument("--report", type=Path, default=Path("target/smoke"), help="folder of the report (target/smoke)")
    given = parser.parse_args()
    # The AWS CLI and the other SDKs read this variable, boto3 does not.
    if "AWS_REGION" in os.environ:
        os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]
    began = now()
    try:
        smoke = Smoke(given.stack, given.user, given.seconds)
    except (BotoCoreError, ClientError) as error:
        print(f"cannot read the stack {given.stack}: {error}", file=sys.stderr)
        return 2
    try:
        return int(smoke.run())
    finally:
        smoke.report(given.report, began)


if __name__ == "__main__":
    sys.exit(main())
