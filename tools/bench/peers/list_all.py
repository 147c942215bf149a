"""The way of many a blog post: all keys are listed, and then deleted, 1,000 at a time."""

import sys

import boto3

endpoint, bucket, prefix = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint)
keys = []
for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
    keys += [{"Key": item["Key"]} for item in page.get("Contents", [])]
for start in range(0, len(keys), 1000):
    s3.delete_objects(Bucket=bucket, Delete={"Objects": keys[start : start + 1000]})
