import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.S3Object;
import software.amazon.awssdk.services.sqs.SqsClient;
import software.amazon.awssdk.services.sqs.model.Message;

/**
 * Wait for the result of an erasure. Exits with 0 if everything is erased, and with 1 if it is not, or if that is unknown.
 *
 * <pre>RECEIPTS_URI=s3://BUCKET/receipts/ RECEIPT_HASH_KEY=... java -cp 'target/lib/*' ReadReceipt.java REQUEST_ID USER_ID [SECONDS]</pre>
 *
 * Polls the bucket or, with RECEIPT_EVENTS_QUEUE_URL, waits for S3's events in a queue that EventBridge fills.
 */
public class ReadReceipt {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** Not the receipt of this erasure: it must never be reported as one. */
    static class WrongReceipt extends Exception {
        WrongReceipt(String message) {
            super(message);
        }
    }

    private final S3Client s3;
    private final SqsClient sqs;
    private final String bucket;
    private final String folder;
    private final String userId;
    private final String hashKey;
    private final Set<String> seen = new HashSet<>();

    ReadReceipt(S3Client s3, SqsClient sqs, URI receipts, String requestId, String userId, String hashKey) {
        this.s3 = s3;
        this.sqs = sqs;
        this.bucket = receipts.getHost();
        // With the slash, because r-1 must not find the receipts of r-10.
        this.folder = receipts.getPath().substring(1) + requestId + "/";
        this.userId = userId;
        this.hashKey = hashKey;
    }

    /** A receipt, checked to be about this user. */
    JsonNode read(String key) throws IOException, GeneralSecurityException, WrongReceipt {
        JsonNode receipt = JSON.readTree(s3.getObjectAsBytes(get -> get.bucket(bucket).key(key)).asByteArray());
        if (receipt.path("version").asInt() != 1) {
            throw new WrongReceipt("the receipt's format is " + receipt.path("version") + ", and this reads 1");
        }
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(hashKey.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
        byte[] hash = mac.doFinal(userId.getBytes(StandardCharsets.UTF_8));
        if (!HexFormat.of().formatHex(hash).equals(receipt.path("user").asText())) {
            throw new WrongReceipt("the receipt is about another user, or RECEIPT_HASH_KEY is another");
        }
        return receipt;
    }

    /** New receipts of one poll. Needs s3:ListBucket, and also finds a receipt whose event was lost. */
    List<String> listed() throws InterruptedException {
        List<String> keys = new ArrayList<>();
        for (S3Object object : s3.listObjectsV2(list -> list.bucket(bucket).prefix(folder)).contents()) {
            if (seen.add(object.key())) {
                keys.add(object.key());
            }
        }
        if (keys.isEmpty()) {
            Thread.sleep(1000);
        }
        return keys;
    }

    /** Whether a receipt says that everything is erased; prints what it says. */
    boolean isErased(String key) throws IOException, GeneralSecurityException, WrongReceipt {
        JsonNode receipt = read(key);
        String outcome = receipt.path("outcome").asText();
        if (receipt.has("provenEmptyAt")) {
            System.out.printf(
                    "%s: %d objects and versions, %d bytes, proven empty at %s%n",
                    outcome,
                    receipt.path("objects").asLong() + receipt.path("versions").asLong(),
                    receipt.path("bytes").asLong(),
                    receipt.path("provenEmptyAt").asText());
            return true;
        }
        // The function retries; after its last attempt the operator has to act, and erased.json may follow later.
        System.out.printf("%s: %s%n", outcome, receipt.path("reason").asText("nothing was deleted"));
        return false;
    }

    boolean await(String eventsQueue, double seconds) throws Exception {
        long deadline = System.nanoTime() + (long) (seconds * 1e9);
        while (System.nanoTime() < deadline) {
            if (eventsQueue == null) {
                for (String key : listed()) {
                    if (isErased(key)) {
                        return true;
                    }
                }
                continue;
            }
            // "Object Created" events as S3 sends them to EventBridge, whose keys are not URL-encoded.
            for (Message event : sqs.receiveMessage(r -> r.queueUrl(eventsQueue).waitTimeSeconds(5)).messages()) {
                String key = JSON.readTree(event.body()).at("/detail/object/key").asText();
                if (key.startsWith(folder)) {
                    boolean isErased = isErased(key);
                    // Deleted last: SQS redelivers an event that failed. A service reads every event, and finds the user
                    // by the request id.
                    sqs.deleteMessage(d -> d.queueUrl(eventsQueue).receiptHandle(event.receiptHandle()));
                    if (isErased) {
                        return true;
                    }
                }
            }
        }
        System.err.printf("no proof within %s s: look at the dead-letter queue%n", (long) seconds);
        return false;
    }

    public static void main(String[] arguments) throws Exception {
        String uri = System.getenv("RECEIPTS_URI");
        String hashKey = System.getenv("RECEIPT_HASH_KEY");
        if (arguments.length < 2 || arguments.length > 3 || uri == null || hashKey == null) {
            System.err.println(
                    "usage: RECEIPTS_URI=... RECEIPT_HASH_KEY=... java ReadReceipt.java REQUEST_ID USER_ID [SECONDS]");
            System.exit(2);
        }
        double seconds = arguments.length == 3 ? Double.parseDouble(arguments[2]) : 60;
        // Local servers do not support bucket names in host names.
        boolean isPathStyle = System.getenv("AWS_ENDPOINT_URL") != null;
        boolean isErased = false;
        try (S3Client s3 = S3Client.builder().forcePathStyle(isPathStyle).build();
                SqsClient sqs = SqsClient.create()) {
            ReadReceipt reader = new ReadReceipt(s3, sqs, URI.create(uri), arguments[0], arguments[1], hashKey);
            isErased = reader.await(System.getenv("RECEIPT_EVENTS_QUEUE_URL"), seconds);
        } catch (SdkException | IOException | WrongReceipt error) {
            System.err.println("not known: " + error.getMessage());
        }
        System.exit(isErased ? 0 : 1);
    }
}
