"""Request the erasure of everything that a user stored.

    QUEUE_URL=https://sqs... python request_erasure.py USER_ID [REQUEST_ID]

Prints the request id, with which read_receipt.py finds the receipt.
"""

import json
import os
import re
import sys
import uuid
from datetime import datetime, timezone

import boto3
from botocore.exceptions import BotoCoreError, ClientError

USER_ID = re.compile(r"[A-Za-z0-9_.:@+=-]{1,128}")
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_erasure(sqs, queue_url: str, user_id: str, request_id: str, withdrawn_at: datetime) -> str:
    """Sends the message and returns its SQS id. Safe to repeat with the same request id after any error."""
    # Checked before sending, because the function can only move a bad message to the dead-letter queue.
    if not USER_ID.fullmatch(user_id) or user_id in (".", ".."):
        raise ValueError("the user id is not 1 to 128 of A-Z a-z 0-9 - _ . : @ + =, or it is . or ..")
    if not REQUEST_ID.fullmatch(request_id):
        raise ValueError("the request id is not 1 to 128 of A-Z a-z 0-9 . _ : -")
    body = {
        "type": "user-withdrawn",
        "userId": user_id,
        "requestId": request_id,
        "withdrawnAt": withdrawn_at.isoformat(timespec="seconds"),
        # Set this if users may return under the same id; a repeated message then keeps their new files:
        # "eraseBefore": withdrawn_at.isoformat(timespec="seconds"),
    }
    message = {"QueueUrl": queue_url, "MessageBody": json.dumps(body)}
    if queue_url.endswith(".fifo"):
        # One group for each user, so that one failing erasure does not delay others. SQS drops a repetition for five minutes.
        message |= {"MessageGroupId": user_id, "MessageDeduplicationId": request_id}
    return sqs.send_message(**message)["MessageId"]


def main() -> int:
    if len(sys.argv) not in (2, 3) or "QUEUE_URL" not in os.environ:
        print(__doc__, file=sys.stderr)
        return 2
    user_id = sys.argv[1]
    # In a service: store it with the user before sending. It must not contain personal data.
    request_id = sys.argv[2] if len(sys.argv) == 3 else str(uuid.uuid4())
    try:
        request_erasure(boto3.client("sqs"), os.environ["QUEUE_URL"], user_id, request_id, datetime.now(timezone.utc))
    except ValueError as error:
        print(f"not sent: {error}", file=sys.stderr)
        return 2
    except (BotoCoreError, ClientError) as error:
        print(f"perhaps not sent: {error}. Try again with the request id {request_id}", file=sys.stderr)
        return 1
    print(request_id)
    return 0


if __name__ == "__main__":
    sys.exit(main())
