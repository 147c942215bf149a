import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import java.util.regex.Pattern;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.services.sqs.SqsClient;
import software.amazon.awssdk.services.sqs.model.SendMessageRequest;

/**
 * Request the erasure of everything that a user stored.
 *
 * <pre>QUEUE_URL=https://sqs... java -cp 'target/lib/*' RequestErasure.java USER_ID [REQUEST_ID]</pre>
 *
 * Prints the request id, with which ReadReceipt finds the receipt.
 */
public class RequestErasure {
    private static final Pattern USER_ID = Pattern.compile("[A-Za-z0-9_.:@+=-]{1,128}");
    private static final Pattern REQUEST_ID = Pattern.compile("[A-Za-z0-9._:-]{1,128}");

    /** The message; safe to send again with the same request id after any error. */
    static SendMessageRequest message(String queueUrl, String userId, String requestId, Instant withdrawnAt)
            throws Exception {
        // Checked before sending, because the function can only move a bad message to the dead-letter queue.
        if (!USER_ID.matcher(userId).matches() || userId.equals(".") || userId.equals("..")) {
            throw new IllegalArgumentException(
                    "the user id is not 1 to 128 of A-Z a-z 0-9 - _ . : @ + =, or it is . or ..");
        }
        if (!REQUEST_ID.matcher(requestId).matches()) {
            throw new IllegalArgumentException("the request id is not 1 to 128 of A-Z a-z 0-9 . _ : -");
        }
        Map<String, String> body = new LinkedHashMap<>();
        body.put("type", "user-withdrawn");
        body.put("userId", userId);
        body.put("requestId", requestId);
        body.put("withdrawnAt", withdrawnAt.truncatedTo(ChronoUnit.SECONDS).toString());
        // Set "eraseBefore" if users may return under the same id; a repeated message then keeps their new files.
        SendMessageRequest.Builder message = SendMessageRequest.builder()
                .queueUrl(queueUrl)
                .messageBody(new ObjectMapper().writeValueAsString(body));
        if (queueUrl.endsWith(".fifo")) {
            // One group for each user, so that one failing erasure does not delay others. SQS drops a repetition for
            // five minutes.
            message.messageGroupId(userId).messageDeduplicationId(requestId);
        }
        return message.build();
    }

    static int run(String[] arguments) throws Exception {
        String queueUrl = System.getenv("QUEUE_URL");
        if (arguments.length < 1 || arguments.length > 2 || queueUrl == null) {
            System.err.println("usage: QUEUE_URL=https://sqs... java RequestErasure.java USER_ID [REQUEST_ID]");
            return 2;
        }
        // In a service: store the request id with the user before sending. It must not contain personal data.
        String requestId = arguments.length == 2 ? arguments[1] : UUID.randomUUID().toString();
        SendMessageRequest message;
        try {
            message = message(queueUrl, arguments[0], requestId, Instant.now());
        } catch (IllegalArgumentException error) {
            System.err.println("not sent: " + error.getMessage());
            return 2;
        }
        try (SqsClient sqs = SqsClient.create()) {
            sqs.sendMessage(message);
        } catch (SdkException error) {
            System.err.printf(
                    "perhaps not sent: %s. Try again with the request id %s%n", error.getMessage(), requestId);
            return 1;
        }
        System.out.println(requestId);
        return 0;
    }

    public static void main(String[] arguments) throws Exception {
        System.exit(run(arguments));
    }
}
