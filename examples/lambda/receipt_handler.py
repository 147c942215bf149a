"""A Lambda function that records the results of erasures, triggered by the receipts bucket through EventBridge.

    pattern of the rule: {"source": ["aws.s3"], "detail-type": ["Object Created"],
                          "detail": {"bucket": {"name": ["BUCKET"]}, "object": {"key": [{"wildcard": "receipts/*/*.json"}]}}}

Settings: RECEIPT_HASH_KEY (the stack's), and TABLE, a DynamoDB table with the partition key requestId, in which your
service stores the userId before it sends the request. The role needs s3:GetObject on the receipts, and
dynamodb:GetItem and dynamodb:UpdateItem on the table. An exception makes Lambda retry the event.
"""

import hashlib
import hmac
import json
import os

import boto3
from botocore.exceptions import ClientError

# The states in which a result may still change a user's record: a later event never overwrites "erased".
OPEN = "attribute_not_exists(erasure) OR erasure <> :erased"


def pseudonym(user_id: str, hash_key: str) -> str:
    return hmac.new(hash_key.encode(), user_id.encode(), hashlib.sha256).hexdigest()


def state_of(receipt: dict, user_id: str, hash_key: str) -> str:
    """The state to store for this user, after the checks that the message contract asks for."""
    if receipt["version"] != 1:
        raise ValueError(f"the receipt has version {receipt['version']}, and this program reads version 1")
    if not hmac.compare_digest(receipt["user"], pseudonym(user_id, hash_key)):
        raise ValueError("the receipt is about another user, or RECEIPT_HASH_KEY differs")
    if receipt["outcome"] in ("erased", "swept"):
        # Nothing was ever stored under this id: a person has to compare the id with the keys.
        return "check-id" if receipt.get("foundNothing") else "erased"
    # A dry run is not an erasure, and an incomplete one is retried.
    return {"incomplete": "incomplete", "dry-run": "requested"}.get(receipt["outcome"], "unknown")


def handler(event: dict, _context, s3=None, table=None) -> str | None:
    s3 = s3 or boto3.client("s3")
    table = table or boto3.resource("dynamodb").Table(os.environ["TABLE"])
    bucket, key = event["detail"]["bucket"]["name"], event["detail"]["object"]["key"]
    request_id = key.split("/")[-2]
    item = table.get_item(Key={"requestId": request_id}, ConsistentRead=True).get("Item")
    if item is None:
        raise LookupError(f"no request {request_id} is stored: was the request id saved before the message was sent?")
    receipt = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    state = state_of(receipt, item["userId"], os.environ["RECEIPT_HASH_KEY"])
    try:
        table.update_item(
            Key={"requestId": request_id},
            UpdateExpression="SET erasure = :state, receipt = :receipt, verifiedAt = :at",
            ConditionExpression=OPEN,
            ExpressionAttributeValues={
                ":state": state,
                ":receipt": f"s3://{bucket}/{key}",
                ":at": receipt.get("provenEmptyAt"),
                ":erased": "erased",
            },
        )
    except ClientError as error:
        # Events have no order and may be repeated: the user is already recorded as erased.
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return None
    return state
