"""The steps of the smoke test on answers that no local cloud gives: redrives, and the history of an alarm's actions.

botocore checks requests and answers against AWS's own description of the services.
"""

import json
import os
import unittest
from datetime import datetime, timezone

import boto3
from botocore.stub import ANY, Stubber

from smoke import Failed, NotShown, Smoke

os.environ |= {"AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
os.environ.pop("AWS_ENDPOINT_URL", None)
QUEUE, DEAD = "arn:aws:sqs:eu-central-1:123456789012:queue", "arn:aws:sqs:eu-central-1:123456789012:dead"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:alerts"


class OnAws(unittest.TestCase):
    def setUp(self):
        self.smoke = Smoke.__new__(Smoke)
        self.smoke.clients = {}
        self.smoke.stack, self.smoke.user, self.smoke.seconds, self.smoke.is_aws = "tried", "smoke-test-1", 1, True
        self.smoke.session = boto3.Session()
        self.smoke.cleanups, self.smoke.others, self.smoke.mark = [], 0, "smoke-test-1-malformed"
        self.smoke.queue_arn, self.smoke.dead_letter_arn, self.smoke.dead_letters = QUEUE, DEAD, "https://sqs/dead"
        self.smoke.malformed = {"ReceiptHandle": "handle"}

    def answers(self, service, *rows):
        stub = Stubber(self.smoke.client(service))
        for operation, answer, request in rows:
            stub.add_response(operation, answer, request)
        stub.activate()
        self.addCleanup(stub.assert_no_pending_responses)

    def redrive(self, task, *more):
        visible = {"QueueUrl": "https://sqs/dead", "ReceiptHandle": "handle", "VisibilityTimeout": 0}
        self.answers(
            "sqs",
            ("change_message_visibility", {}, visible),
            ("start_message_move_task", {"TaskHandle": "task"}, {"SourceArn": DEAD, "DestinationArn": QUEUE}),
            ("list_message_move_tasks", {"Results": [{"Status": "RUNNING"}]}, {"SourceArn": DEAD, "MaxResults": 1}),
            ("list_message_move_tasks", {"Results": [task]}, {"SourceArn": DEAD, "MaxResults": 1}),
            *more,
        )
        return self.smoke.redrive()

    def test_redrive_is_shown_when_the_message_comes_back(self):
        message = {"Messages": [{"Body": json.dumps({"id": self.smoke.mark}), "ReceiptHandle": "new"}]}
        received = (
            "receive_message",
            message,
            {"QueueUrl": "https://sqs/dead", "MaxNumberOfMessages": 10, "VisibilityTimeout": 10, "WaitTimeSeconds": 1},
        )
        self.assertIn(
            "was moved", self.redrive({"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 1}, received)
        )
        self.assertEqual(self.smoke.malformed["ReceiptHandle"], "new")

    def test_redrive_that_moves_nothing_fails(self):
        with self.assertRaisesRegex(Failed, "COMPLETED: no message was moved"):
            self.redrive({"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 0})

    def test_redrive_that_is_denied_fails_with_its_reason(self):
        with self.assertRaisesRegex(Failed, "FAILED: AccessDenied"):
            self.redrive({"Status": "FAILED", "FailureReason": "AccessDenied"})

    def test_messages_of_others_are_not_redriven(self):
        self.smoke.others = 2
        self.answers("sqs")
        with self.assertRaisesRegex(NotShown, "held 2 other messages"):
            self.smoke.redrive()

    def alarm(self, summaries):
        resources = [
            {
                "LogicalResourceId": "ErrorAlarm",
                "PhysicalResourceId": "tried-ErrorAlarm-1",
                "ResourceType": "AWS::CloudWatch::Alarm",
                "ResourceStatus": "CREATE_COMPLETE",
                "Timestamp": datetime.now(timezone.utc),
            }
        ]
        self.answers(
            "cloudformation", ("describe_stack_resources", {"StackResources": resources}, {"StackName": "tried"})
        )
        alarm = {"AlarmName": "tried-ErrorAlarm-1", "StateValue": "OK", "AlarmActions": [TOPIC]}
        items = [
            {
                "AlarmName": "tried-ErrorAlarm-1",
                "HistoryItemType": "Action",
                "HistorySummary": text,
                "Timestamp": datetime.now(timezone.utc),
            }
            for text in summaries
        ]
        history = {"AlarmName": "tried-ErrorAlarm-1", "HistoryItemType": "Action", "ScanBy": "TimestampDescending"}
        self.answers(
            "cloudwatch",
            ("describe_alarms", {"MetricAlarms": [alarm]}, {"AlarmNames": ["tried-ErrorAlarm-1"]}),
            ("set_alarm_state", {}, {"AlarmName": "tried-ErrorAlarm-1", "StateValue": "ALARM", "StateReason": ANY}),
            ("describe_alarm_history", {"AlarmHistoryItems": items}, history),
        )
        return self.smoke.alarm()

    def test_alarm_with_a_working_action_is_shown(self):
        self.assertIn("Successfully executed", self.alarm([f"Successfully executed action {TOPIC}"]))
        self.assertEqual(len(self.smoke.cleanups), 1)

    def test_alarm_that_may_not_use_the_key_of_the_topic_fails(self):
        with self.assertRaisesRegex(Failed, "notifies nobody: Failed to execute"):
            self.alarm(
                [f'Failed to execute action {TOPIC}. Received error: "CloudWatch Alarms does not have authorization"']
            )

    def notify(self, subscription, matches=True):
        smoke = self.smoke
        smoke.about = {"StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/tried/1", "Parameters": []}
        smoke.outputs = {"ReceiptsUri": "s3://receipts/receipts/", "AlertTopicArn": TOPIC}
        physical = {
            "Teller": (
                "AWS::StepFunctions::StateMachine",
                "arn:aws:states:eu-central-1:123456789012:stateMachine:Teller-1",
            ),
            "GivenUpRule": ("AWS::Events::Rule", "rule"),
        }
        resources = [
            {
                "LogicalResourceId": name,
                "PhysicalResourceId": one[1],
                "ResourceType": one[0],
                "ResourceStatus": "CREATE_COMPLETE",
                "Timestamp": datetime.now(timezone.utc),
            }
            for name, one in physical.items()
        ]
        described = ("describe_stack_resources", {"StackResources": resources}, {"StackName": "tried"})
        self.answers("cloudformation", described, described)
        self.answers(
            "events",
            ("describe_rule", {"EventPattern": "{}"}, {"Name": "rule"}),
            ("test_event_pattern", {"Result": matches}, {"EventPattern": "{}", "Event": ANY}),
        )
        if matches:
            run = {
                "executionArn": "run",
                "startDate": datetime.now(timezone.utc),
                "stopDate": datetime.now(timezone.utc),
                "status": "SUCCEEDED",
            }
            self.answers(
                "stepfunctions", ("start_sync_execution", run, {"stateMachineArn": physical["Teller"][1], "input": ANY})
            )
            self.answers(
                "sns",
                (
                    "list_subscriptions_by_topic",
                    {"Subscriptions": [{"SubscriptionArn": subscription, "Protocol": "email"}]},
                    {"TopicArn": TOPIC},
                ),
            )
        return smoke.notify()

    def test_notification_to_a_confirmed_address_is_shown(self):
        self.assertIn("(email)", self.notify(f"{TOPIC}:1"))

    def test_notification_to_an_unconfirmed_address_is_not_shown(self):
        with self.assertRaisesRegex(NotShown, "not confirmed by: email"):
            self.notify("PendingConfirmation")

    def test_rule_that_does_not_match_fails(self):
        with self.assertRaisesRegex(Failed, "would not match"):
            self.notify("", matches=False)


if __name__ == "__main__":
    unittest.main()
