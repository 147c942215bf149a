"""Wait for the result of an erasure. Exits with 0 if everything is erased, and with 1 if it is not, or if that is unknown.

    RECEIPTS_URI=s3://BUCKET/receipts/ RECEIPT_HASH_KEY=... python read_receipt.py REQUEST_ID USER_ID [SECONDS]

Polls the bucket or, with RECEIPT_EVENTS_QUEUE_URL, waits for S3's events in a queue that EventBridge fills.
"""

import hashlib
import hmac
import json
import os
import sys
import time
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError


class WrongReceipt(Exception):
    """Not the receipt of this erasure: it must never be reported as one."""


def read(s3, bucket: str, key: str, user_id: str, hash_key: str) -> dict:
    """A receipt, checked to be about this user."""
    receipt = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    if receipt["version"] != 1:
        raise WrongReceipt(f"its format is {receipt['version']}, and this reads 1")
    pseudonym = hmac.new(hash_key.encode(), user_id.encode(), hashlib.sha256).hexdigest()
    if receipt["user"] != pseudonym:
        raise WrongReceipt("it is about another user, or RECEIPT_HASH_KEY is another")
    return receipt


def keys_in_bucket(s3, bucket: str, folder: str):
    """New receipts, by polling once a second. Needs s3:ListBucket, and also finds a receipt whose event was lost."""
    seen = set()
    while True:
        found = {item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix=folder).get("Contents", [])}
        # None, so that the caller can look at the clock.
        yield from sorted(found - seen) or [None]
        seen |= found
        time.sleep(1)


def keys_of_events(sqs, queue_url: str, folder: str):
    """New receipts, from "Object Created" events as S3 sends them to EventBridge, whose keys are not URL-encoded."""
    while True:
        for message in sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=5).get("Messages", []):
            key = json.loads(message["Body"])["detail"]["object"]["key"]
            if key.startswith(folder):
                yield key
                # Deleted last: SQS redelivers an event that failed. A service reads every event, and finds the user by the request id.
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        yield None


def main() -> int:
    if len(sys.argv) not in (3, 4) or not {"RECEIPTS_URI", "RECEIPT_HASH_KEY"} <= os.environ.keys():
        print(__doc__, file=sys.stderr)
        return 2
    (request_id, user_id), seconds = sys.argv[1:3], float(sys.argv[3] if len(sys.argv) == 4 else 60)
    place, deadline = urlsplit(os.environ["RECEIPTS_URI"]), time.monotonic() + seconds
    # With the slash, because r-1 must not find the receipts of r-10.
    s3, folder = boto3.client("s3"), f"{place.path.lstrip('/')}{request_id}/"
    events = os.environ.get("RECEIPT_EVENTS_QUEUE_URL")
    source = keys_of_events(boto3.client("sqs"), events, folder) if events else keys_in_bucket(s3, place.netloc, folder)
    try:
        for key in source:
            if key:
                receipt = read(s3, place.netloc, key, user_id, os.environ["RECEIPT_HASH_KEY"])
                if "provenEmptyAt" in receipt:
                    things = f"{receipt['objects'] + receipt['versions']} objects and versions, {receipt['bytes']} bytes"
                    print(f"{receipt['outcome']}: {things}, proven empty at {receipt['provenEmptyAt']}")
                    return 0
                # The function retries; after its last attempt the operator has to act, and erased.json may follow later.
                print(f"{receipt['outcome']}: {receipt.get('reason', 'nothing was deleted')}", flush=True)
            if time.monotonic() > deadline:
                print(f"no proof within {seconds:g} s: look at the dead-letter queue", file=sys.stderr)
                return 1
    except (BotoCoreError, ClientError, WrongReceipt, KeyError, ValueError) as error:
        print(f"not known: {error!r}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
