// Request the erasure of everything that a user stored.
//
//     QUEUE_URL=https://sqs... npx tsx request_erasure.ts USER_ID [REQUEST_ID]
//
// Prints the request id, with which read_receipt.ts finds the receipt.

import { randomUUID } from "node:crypto";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

class BadRequest extends Error {}

/** Sends the message and returns its SQS id. Safe to repeat with the same request id after any error. */
export async function requestErasure(
  sqs: SQSClient,
  queueUrl: string,
  request: { userId: string; requestId: string; withdrawnAt: Date },
): Promise<string | undefined> {
  const { userId, requestId, withdrawnAt } = request;
  // Checked before sending, because the function can only move a bad message to the dead-letter queue.
  if (!/^[A-Za-z0-9_.:@+=-]{1,128}$/.test(userId) || userId === "." || userId === "..") {
    throw new BadRequest("the user id is not 1 to 128 of A-Z a-z 0-9 - _ . : @ + =, or it is . or ..");
  }
  if (!/^[A-Za-z0-9._:-]{1,128}$/.test(requestId)) {
    throw new BadRequest("the request id is not 1 to 128 of A-Z a-z 0-9 . _ : -");
  }
  const body = {
    type: "user-withdrawn",
    userId,
    requestId,
    withdrawnAt: withdrawnAt.toISOString(),
    // Set this if users may return under the same id; a repeated message then keeps their new files:
    // eraseBefore: withdrawnAt.toISOString(),
  };
  // One group for each user, so that one failing erasure does not delay others. SQS drops a repetition for five minutes.
  const fifo = queueUrl.endsWith(".fifo") ? { MessageGroupId: userId, MessageDeduplicationId: requestId } : {};
  const sent = await sqs.send(
    new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: JSON.stringify(body), ...fifo }),
  );
  return sent.MessageId;
}

async function main(): Promise<number> {
  // In a service: store the request id with the user before sending. It must not contain personal data.
  const [userId, requestId = randomUUID()] = process.argv.slice(2);
  const queueUrl = process.env.QUEUE_URL;
  if (userId === undefined || queueUrl === undefined) {
    console.error("usage: QUEUE_URL=https://sqs... npx tsx request_erasure.ts USER_ID [REQUEST_ID]");
    return 2;
  }
  try {
    await requestErasure(new SQSClient({}), queueUrl, { userId, requestId, withdrawnAt: new Date() });
  } catch (error) {
    if (error instanceof BadRequest) {
      console.error(`not sent: ${error.message}`);
      return 2;
    }
    console.error(`perhaps not sent: ${error}. Try again with the request id ${requestId}`);
    return 1;
  }
  console.log(requestId);
  return 0;
}

process.exitCode = await main();
