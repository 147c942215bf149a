"""The usual loop: a page is listed and deleted, until there is none. Keys that were refused come again with the next."""

import sys

import boto3

endpoint, bucket, prefix = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint)
while True:
    page = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents")
    if not page:
        break
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": item["Key"]} for item in page], "Quiet": True})
