// Request the erasure of everything that a user stored.
//
//	QUEUE_URL=https://sqs... go run ./request_erasure USER_ID [REQUEST_ID]
//
// Prints the request id, with which read_receipt finds the receipt.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// \z and not $, so that a line break at the end is no part of an id.
var (
	userIDs    = regexp.MustCompile(`\A[A-Za-z0-9_.:@+=-]{1,128}\z`)
	requestIDs = regexp.MustCompile(`\A[A-Za-z0-9._:-]{1,128}\z`)
)

type request struct {
	Type        string `json:"type"`
	UserID      string `json:"userId"`
	RequestID   string `json:"requestId"`
	WithdrawnAt string `json:"withdrawnAt"`
	// Set this if users may return under the same id; a repeated message then keeps their new files:
	// EraseBefore string `json:"eraseBefore"`
}

// message checks the ids before sending, because the function can only move a bad message to the dead-letter queue.
func message(queueURL, userID, requestID string, withdrawnAt time.Time) (*sqs.SendMessageInput, error) {
	if !userIDs.MatchString(userID) || userID == "." || userID == ".." {
		return nil, fmt.Errorf("the user id is not 1 to 128 of A-Z a-z 0-9 - _ . : @ + =, or it is . or ..")
	}
	if !requestIDs.MatchString(requestID) {
		return nil, fmt.Errorf("the request id is not 1 to 128 of A-Z a-z 0-9 . _ : -")
	}
	at := withdrawnAt.UTC().Format(time.RFC3339)
	body, err := json.Marshal(request{"user-withdrawn", userID, requestID, at})
	if err != nil {
		return nil, err
	}
	input := &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(string(body))}
	if strings.HasSuffix(queueURL, ".fifo") {
		// One group for each user, so that one failing erasure does not delay others. SQS drops a repetition for five minutes.
		input.MessageGroupId, input.MessageDeduplicationId = aws.String(userID), aws.String(requestID)
	}
	return input, nil
}

func run() int {
	queueURL := os.Getenv("QUEUE_URL")
	if len(os.Args) < 2 || len(os.Args) > 3 || queueURL == "" {
		fmt.Fprintln(os.Stderr, "usage: QUEUE_URL=https://sqs... go run ./request_erasure USER_ID [REQUEST_ID]")
		return 2
	}
	// In a service: store the request id with the user before sending. It must not contain personal data.
	requestID := strings.ToLower(rand.Text())
	if len(os.Args) == 3 {
		requestID = os.Args[2]
	}
	input, err := message(queueURL, os.Args[1], requestID, time.Now())
	if err != nil {
		fmt.Fprintln(os.Stderr, "not sent:", err)
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	settings, err := config.LoadDefaultConfig(ctx)
	if err == nil {
		_, err = sqs.NewFromConfig(settings).SendMessage(ctx, input)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "perhaps not sent: %v. Try again with the request id %s\n", err, requestID)
		return 1
	}
	fmt.Println(requestID)
	return 0
}

func main() { os.Exit(run()) }
