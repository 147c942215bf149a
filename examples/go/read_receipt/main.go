// Wait for the result of an erasure. Exits with 0 if everything is erased, and with 1 if it is not, or if that is unknown.
//
//	RECEIPTS_URI=s3://BUCKET/receipts/ RECEIPT_HASH_KEY=... go run ./read_receipt REQUEST_ID USER_ID [SECONDS]
//
// Polls the bucket or, with RECEIPT_EVENTS_QUEUE_URL, waits for S3's events in a queue that EventBridge fills.
package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// The fields of schemas/receipt.json that this program uses.
type receipt struct {
	Version       int    `json:"version"`
	Outcome       string `json:"outcome"`
	User          string `json:"user"`
	Reason        string `json:"reason"`
	ProvenEmptyAt string `json:"provenEmptyAt"`
	Objects       int64  `json:"objects"`
	Versions      int64  `json:"versions"`
	Bytes         int64  `json:"bytes"`
}

type reader struct {
	s3               *s3.Client
	sqs              *sqs.Client
	bucket, folder   string
	userID, hashKey  string
	eventsQueue      string
	seen             map[string]bool
}

// read returns a receipt that is about this user.
func (r *reader) read(ctx context.Context, key string) (receipt, error) {
	var found receipt
	object, err := r.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(r.bucket), Key: aws.String(key)})
	if err != nil {
		return found, err
	}
	defer object.Body.Close()
	if err := json.NewDecoder(object.Body).Decode(&found); err != nil {
		return found, err
	}
	if found.Version != 1 {
		return found, fmt.Errorf("the receipt's format is %d, and this reads 1", found.Version)
	}
	mac := hmac.New(sha256.New, []byte(r.hashKey))
	mac.Write([]byte(r.userID))
	if found.User != hex.EncodeToString(mac.Sum(nil)) {
		return found, fmt.Errorf("the receipt is about another user, or RECEIPT_HASH_KEY is another")
	}
	return found, nil
}

// listed handles new receipts of a poll. It needs s3:ListBucket, and also finds a receipt whose event was lost.
func (r *reader) listed(ctx context.Context, handle func(string) (bool, error)) (bool, error) {
	page, err := r.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(r.bucket), Prefix: aws.String(r.folder)})
	if err != nil {
		return false, err
	}
	for _, item := range page.Contents {
		key := aws.ToString(item.Key)
		if r.seen[key] {
			continue
		}
		r.seen[key] = true
		if done, err := handle(key); done || err != nil {
			return done, err
		}
	}
	time.Sleep(time.Second)
	return false, nil
}

// announced handles receipts of "Object Created" events as S3 sends them to EventBridge, whose keys are not URL-encoded.
func (r *reader) announced(ctx context.Context, handle func(string) (bool, error)) (bool, error) {
	received, err := r.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(r.eventsQueue), WaitTimeSeconds: 5})
	if err != nil {
		return false, err
	}
	for _, message := range received.Messages {
		var event struct {
			Detail struct {
				Object struct{ Key string }
			}
		}
		if err := json.Unmarshal([]byte(aws.ToString(message.Body)), &event); err != nil {
			return false, err
		}
		if !strings.HasPrefix(event.Detail.Object.Key, r.folder) {
			continue
		}
		done, err := handle(event.Detail.Object.Key)
		if err != nil {
			return false, err
		}
		// Deleted last: SQS redelivers an event that failed. A service reads every event, and finds the user by the request id.
		_, err = r.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: aws.String(r.eventsQueue), ReceiptHandle: message.ReceiptHandle})
		if done || err != nil {
			return done, err
		}
	}
	return false, nil
}

func (r *reader) wait(ctx context.Context, seconds float64) (bool, error) {
	deadline := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	handle := func(key string) (bool, error) {
		found, err := r.read(ctx, key)
		if err != nil {
			return false, err
		}
		if found.ProvenEmptyAt != "" {
			fmt.Printf("%s: %d objects and versions, %d bytes, proven empty at %s\n",
				found.Outcome, found.Objects+found.Versions, found.Bytes, found.ProvenEmptyAt)
			return true, nil
		}
		// The function retries; after its last attempt the operator has to act, and erased.json may follow later.
		if found.Reason == "" {
			found.Reason = "nothing was deleted"
		}
		fmt.Printf("%s: %s\n", found.Outcome, found.Reason)
		return false, nil
	}
	for time.Now().Before(deadline) {
		poll := r.listed
		if r.eventsQueue != "" {
			poll = r.announced
		}
		if done, err := poll(ctx, handle); done || err != nil {
			return done, err
		}
	}
	fmt.Fprintf(os.Stderr, "no proof within %g s: look at the dead-letter queue\n", seconds)
	return false, nil
}

func run() int {
	uri, hashKey := os.Getenv("RECEIPTS_URI"), os.Getenv("RECEIPT_HASH_KEY")
	if len(os.Args) < 3 || len(os.Args) > 4 || uri == "" || hashKey == "" {
		fmt.Fprintln(os.Stderr, "usage: RECEIPTS_URI=... RECEIPT_HASH_KEY=... go run ./read_receipt REQUEST_ID USER_ID [SECONDS]")
		return 2
	}
	seconds := 60.0
	if len(os.Args) == 4 {
		parsed, err := strconv.ParseFloat(os.Args[3], 64)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		seconds = parsed
	}
	ctx := context.Background()
	place, err := url.Parse(uri)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "not known:", err)
		return 1
	}
	r := &reader{
		// Local servers do not support bucket names in host names.
		s3:  s3.NewFromConfig(settings, func(o *s3.Options) { o.UsePathStyle = os.Getenv("AWS_ENDPOINT_URL") != "" }),
		sqs: sqs.NewFromConfig(settings),
		// With the slash, because r-1 must not find the receipts of r-10.
		bucket: place.Host, folder: strings.TrimPrefix(place.Path, "/") + os.Args[1] + "/",
		userID: os.Args[2], hashKey: hashKey,
		eventsQueue: os.Getenv("RECEIPT_EVENTS_QUEUE_URL"), seen: map[string]bool{},
	}
	done, err := r.wait(ctx, seconds)
	if err != nil {
		fmt.Fprintln(os.Stderr, "not known:", err)
	}
	if done && err == nil {
		return 0
	}
	return 1
}

func main() { os.Exit(run()) }
