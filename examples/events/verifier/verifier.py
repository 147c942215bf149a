"""Check the signature of a webhook, and put its event into the queue. A Lambda function with a URL: see README.md."""

import base64
import binascii
import hashlib
import hmac
import json
import os
import time

import boto3

# The maximum age of a signature in seconds, as in Svix's own libraries.
TOLERANCE = 300


def mac(key: bytes, content: bytes) -> bytes:
    """Return the HMAC-SHA256 in base64, which both kinds of signature use."""
    if not key:
        raise ValueError("the secret is empty: anyone could sign with it")
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest())


def is_svix(secret: str, headers: dict, body: bytes, now: float) -> bool:
    """https://docs.svix.com/receiving/verifying-payloads/how-manual"""
    sent_at = headers.get("svix-timestamp", "")
    # The check limits how long a recorded request can be sent again.
    if not sent_at.isdecimal() or abs(now - int(sent_at)) > TOLERANCE:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    expected = mac(key, b".".join([headers.get("svix-id", "").encode(), sent_at.encode(), body]))
    # During a rotation of the secret, the header contains several signatures.
    signatures = headers.get("svix-signature", "").split()
    return any(hmac.compare_digest(b"v1," + expected, one.encode()) for one in signatures)


def is_shopify(secret: str, headers: dict, body: bytes) -> bool:
    """https://shopify.dev/docs/apps/build/webhooks/subscribe/https"""
    expected = mac(secret.encode(), body)
    return hmac.compare_digest(expected, headers.get("x-shopify-hmac-sha256", "").encode())


def message(kind: str, secret: str, headers: dict, body: bytes, now: float):
    """Return the message for the queue, or None if the signature is wrong or the body is not JSON."""
    checks = {
        "svix": lambda: is_svix(secret, headers, body, now),
        "shopify": lambda: is_shopify(secret, headers, body),
    }
    if not checks[kind]():
        return None
    try:
        # The message contains the original text, because a parser may change numbers.
        text = body.decode()
        json.loads(text)
    except ValueError:
        return None
    name = headers.get("svix-id") if kind == "svix" else headers.get("x-shopify-webhook-id")
    topic = headers.get("x-shopify-topic", "") if kind == "shopify" else ""
    return f'{{"id":{json.dumps(name)},"topic":{json.dumps(topic)},"event":{text}}}'


def handler(request: dict, _context) -> dict:
    body = request.get("body", "").encode()
    if request.get("isBase64Encoded"):
        try:
            body = base64.b64decode(body, validate=True)
        except binascii.Error:
            return {"statusCode": 401}
    headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
    secret = boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["WEBHOOK_SECRET_ARN"])["SecretString"]
    found = message(os.environ["KIND"], secret, headers, body, time.time())
    if found is None:
        return {"statusCode": 401}
    boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=found)
    return {"statusCode": 202}
