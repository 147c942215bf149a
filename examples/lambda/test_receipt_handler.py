"""Tests of the handler without AWS: python -m unittest"""

import io
import json
import os
import unittest

from botocore.exceptions import ClientError
from receipt_handler import handler, pseudonym

KEY = "an-example-key-of-your-own"
EVENT = {"detail": {"bucket": {"name": "receipts"}, "object": {"key": "receipts/r-1/erased.json"}}}


class S3:
    def __init__(self, receipt):
        self.receipt = receipt

    def get_object(self, Bucket, Key):
        assert (Bucket, Key) == ("receipts", "receipts/r-1/erased.json")
        return {"Body": io.BytesIO(json.dumps(self.receipt).encode())}


class Table:
    """One item, with the condition of the handler."""

    def __init__(self, item):
        self.item = item

    def get_item(self, Key, ConsistentRead):
        return {"Item": self.item} if self.item and Key == {"requestId": "r-1"} else {}

    def update_item(self, ExpressionAttributeValues, **_):
        if self.item.get("erasure") == "erased":
            raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "UpdateItem")
        self.item["erasure"] = ExpressionAttributeValues[":state"]


def receipt(**changes):
    found = {"version": 1, "outcome": "erased", "user": pseudonym("u-123", KEY), "provenEmptyAt": "2026-11-23T09:52:00Z"}
    return found | changes


class ReceiptHandler(unittest.TestCase):
    def setUp(self):
        os.environ["RECEIPT_HASH_KEY"] = KEY
        self.item = {"userId": "u-123"}

    def run_with(self, receipt):
        return handler(EVENT, None, S3(receipt), Table(self.item))

    def test_records_each_outcome(self):
        self.assertEqual(self.run_with(receipt(outcome="dry-run")), "requested")
        self.assertEqual(self.run_with(receipt(outcome="incomplete")), "incomplete")
        self.assertEqual(self.run_with(receipt(foundNothing=True)), "check-id")
        self.assertEqual(self.run_with(receipt()), "erased")
        self.assertEqual(self.item["erasure"], "erased")

    def test_an_old_event_never_changes_erased(self):
        self.run_with(receipt())
        self.assertIsNone(self.run_with(receipt(outcome="incomplete")))
        self.assertEqual(self.item["erasure"], "erased")

    def test_rejects_what_is_not_about_the_user(self):
        for wrong in (receipt(user="0" * 64), receipt(version=2)):
            with self.assertRaises(ValueError):
                self.run_with(wrong)
        with self.assertRaises(LookupError):
            handler(EVENT, None, S3(receipt()), Table(None))
        self.assertNotIn("erasure", self.item)

    def test_the_hash_is_that_of_the_contract(self):
        self.assertEqual(pseudonym("u-123", KEY), "2b6b977a6e50040d1952de886e1f2f6585e01129cbc55b80f9c9ab0d8d860c96")


if __name__ == "__main__":
    unittest.main()
