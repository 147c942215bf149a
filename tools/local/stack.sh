#!/bin/sh
# Talks to a deployed stack through the AWS CLI, with its standard variables and files:
#   stack.sh send STACK USER_ID            request an erasure; prints the request id
#   stack.sh logs STACK                    the function's log of the last hour
#   stack.sh receipt STACK USER_ID LOCAL   the user's receipts, by the program `local`
set -eu

command=$1
stack=$2

command -v aws >/dev/null || {
    echo "This needs the AWS CLI: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html" >&2
    exit 2
}

output() {
    value=$(aws cloudformation describe-stacks --stack-name "$stack" --output text \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue")
    if [ -z "$value" ] || [ "$value" = None ]; then
        echo "The stack $stack has no output $1." >&2
        exit 2
    fi
    printf '%s' "$value"
}

setting() {
    value=$(aws lambda get-function-configuration --function-name "$1" --output text --query "Environment.Variables.$2")
    [ "$value" = None ] || printf '%s' "$value"
}

case $command in
send)
    queue=$(output QueueUrl)
    # Python writes the JSON, so that no character of the id can change the message.
    body=$(python3 -c 'import json, sys, uuid
print(json.dumps({"type": "user-withdrawn", "userId": sys.argv[1], "requestId": str(uuid.uuid4())}))' "$3")
    # Version 1 of the AWS CLI ignores AWS_ENDPOINT_URL for SQS.
    aws sqs send-message --queue-url "$queue" --message-body "$body" --output text --query MessageId \
        ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} >/dev/null
    printf '%s' "$body" | python3 -c 'import json, sys
print("sent with the request id", json.load(sys.stdin)["requestId"])'
    ;;
logs)
    group=$(output LogGroup)
    aws logs filter-log-events --log-group-name "$group" --start-time "$(($(date +%s) - 3600))000" \
        --output json --query 'events[].message' |
        python3 -c 'import json, sys
for line in json.load(sys.stdin) or []: print(line.rstrip())'
    ;;
receipt)
    function=$(output FunctionName)
    RECEIPTS_URI=$(output ReceiptsUri)
    if [ -z "${RECEIPT_HASH_KEY:-}" ]; then
        secret=$(setting "$function" RECEIPT_HASH_KEY_SECRET)
        if [ -n "$secret" ]; then
            RECEIPT_HASH_KEY=$(aws secretsmanager get-secret-value --secret-id "$secret" --output text --query SecretString)
        else
            RECEIPT_HASH_KEY=$(setting "$function" RECEIPT_HASH_KEY)
        fi
    fi
    # The AWS CLI may have the region from a file that names none for other programs.
    AWS_REGION=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region)}}
    export RECEIPTS_URI RECEIPT_HASH_KEY AWS_REGION
    exec "$4" receipt "$3"
    ;;
*)
    echo "stack.sh: expected send, logs or receipt, not $command" >&2
    exit 2
    ;;
esac
