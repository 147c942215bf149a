// Wait for the result of an erasure. Exits with 0 if everything is erased, and with 1 if it is not, or if that is unknown.
//
//     RECEIPTS_URI=s3://BUCKET/receipts/ RECEIPT_HASH_KEY=... npx tsx read_receipt.ts REQUEST_ID USER_ID [SECONDS]
//
// Polls the bucket or, with RECEIPT_EVENTS_QUEUE_URL, waits for S3's events in a queue that EventBridge fills.

import { createHmac } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { GetObjectCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

/** What is used here of schemas/receipt.json. */
interface Receipt {
  version: number;
  outcome: "erased" | "swept" | "dry-run" | "incomplete";
  user: string;
  reason?: string;
  provenEmptyAt?: string;
  objects: number;
  versions: number;
  bytes: number;
}

/** A receipt, checked to be about this user. */
async function read(s3: S3Client, bucket: string, key: string, userId: string, hashKey: string): Promise<Receipt> {
  const answer = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
  const receipt: Receipt = JSON.parse((await answer.Body?.transformToString()) ?? "");
  if (receipt.version !== 1) {
    throw new Error(`the receipt's format is ${receipt.version}, and this reads 1`);
  }
  if (receipt.user !== createHmac("sha256", hashKey).update(userId).digest("hex")) {
    throw new Error("the receipt is about another user, or RECEIPT_HASH_KEY is another");
  }
  return receipt;
}

/** New receipts, by polling once a second. Needs s3:ListBucket, and also finds a receipt whose event was lost. */
async function* keysInBucket(s3: S3Client, bucket: string, folder: string): AsyncGenerator<string | undefined> {
  const seen = new Set<string>();
  for (;;) {
    const listed = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: folder }));
    const found = (listed.Contents ?? []).map((item) => item.Key ?? "").filter((key) => !seen.has(key));
    found.forEach((key) => seen.add(key));
    yield* found;
    yield undefined; // So that the caller can look at the clock.
    await sleep(1000);
  }
}

/** New receipts, from "Object Created" events as S3 sends them to EventBridge, whose keys are not URL-encoded. */
async function* keysOfEvents(sqs: SQSClient, queueUrl: string, folder: string): AsyncGenerator<string | undefined> {
  for (;;) {
    const received = await sqs.send(new ReceiveMessageCommand({ QueueUrl: queueUrl, WaitTimeSeconds: 5 }));
    for (const message of received.Messages ?? []) {
      const key: string = JSON.parse(message.Body ?? "").detail.object.key;
      if (key.startsWith(folder)) {
        yield key;
        // Deleted last: SQS redelivers an event that failed. A service reads every event, and finds the user by the request id.
        await sqs.send(new DeleteMessageCommand({ QueueUrl: queueUrl, ReceiptHandle: message.ReceiptHandle }));
      }
    }
    yield undefined;
  }
}

async function main(): Promise<number> {
  const [requestId, userId, seconds = "60"] = process.argv.slice(2);
  const { RECEIPTS_URI: uri, RECEIPT_HASH_KEY: hashKey, RECEIPT_EVENTS_QUEUE_URL: events } = process.env;
  if (requestId === undefined || userId === undefined || uri === undefined || hashKey === undefined) {
    console.error("usage: RECEIPTS_URI=... RECEIPT_HASH_KEY=... npx tsx read_receipt.ts REQUEST_ID USER_ID [SECONDS]");
    return 2;
  }
  const [place, deadline] = [new URL(uri), Date.now() + Number(seconds) * 1000];
  // With the slash, because r-1 must not find the receipts of r-10.
  const [bucket, folder] = [place.hostname, `${place.pathname.slice(1)}${requestId}/`];
  const s3 = new S3Client({});
  const source = events ? keysOfEvents(new SQSClient({}), events, folder) : keysInBucket(s3, bucket, folder);
  try {
    for await (const key of source) {
      if (key !== undefined) {
        const receipt = await read(s3, bucket, key, userId, hashKey);
        if (receipt.provenEmptyAt !== undefined) {
          const things = `${receipt.objects + receipt.versions} objects and versions, ${receipt.bytes} bytes`;
          console.log(`${receipt.outcome}: ${things}, proven empty at ${receipt.provenEmptyAt}`);
          return 0;
        }
        // The function retries; after its last attempt the operator has to act, and erased.json may follow later.
        console.log(`${receipt.outcome}: ${receipt.reason ?? "nothing was deleted"}`);
      }
      if (Date.now() > deadline) {
        console.error(`no proof within ${seconds} s: look at the dead-letter queue`);
        return 1;
      }
    }
  } catch (error) {
    console.error(`not known: ${error}`);
  }
  return 1;
}

process.exitCode = await main();
