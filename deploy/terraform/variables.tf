# Written by `make terraform` from the parameters of template.yaml. Do not edit.

variable "target1_bucket" {
  type        = string
  default     = ""
  description = "Name of the bucket that contains the users' files, in any region. Empty means that only the files of EraseKey1Pattern are erased."
  nullable    = false
}

variable "target1_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Prefix of one user's files in Target1Bucket, for example users/{user_id}/ or media/user_{user_id}/. The function inserts the user id for {user_id}, or the percent-encoded user id for {user_id:urlencode}. The placeholders {tenant_id} and {scope_id} must come before it and need ScopeIds."
  nullable    = false
}

variable "target2_bucket" {
  type        = string
  default     = ""
  description = "Name of a second bucket, or of the same bucket with another prefix. Empty means none."
  nullable    = false
}

variable "target2_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Prefix of one user's files in Target2Bucket. The syntax is that of Target1Prefix."
  nullable    = false
}

variable "target3_bucket" {
  type        = string
  default     = ""
  description = "Name of a third bucket. Empty means none."
  nullable    = false
}

variable "target3_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Prefix of one user's files in Target3Bucket. The syntax is that of Target1Prefix."
  nullable    = false
}

variable "target4_bucket" {
  type        = string
  default     = ""
  description = "Name of a fourth bucket. Empty means none."
  nullable    = false
}

variable "target4_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Prefix of one user's files in Target4Bucket. The syntax is that of Target1Prefix."
  nullable    = false
}

variable "target5_bucket" {
  type        = string
  default     = ""
  description = "Name of a fifth bucket. Empty means none."
  nullable    = false
}

variable "target5_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Prefix of one user's files in Target5Bucket. The syntax is that of Target1Prefix."
  nullable    = false
}

variable "target6_bucket" {
  type        = string
  default     = ""
  description = "Name of a sixth bucket. Empty means none."
  nullable    = false
}

variable "target6_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Prefix of one user's files in Target6Bucket. The syntax is that of Target1Prefix."
  nullable    = false
}

variable "target7_bucket" {
  type        = string
  default     = ""
  description = "Name of a seventh bucket. Empty means none."
  nullable    = false
}

variable "target7_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Prefix of one user's files in Target7Bucket. The syntax is that of Target1Prefix."
  nullable    = false
}

variable "target8_bucket" {
  type        = string
  default     = ""
  description = "Name of an eighth bucket. Empty means none."
  nullable    = false
}

variable "target8_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Prefix of one user's files in Target8Bucket. The syntax is that of Target1Prefix."
  nullable    = false
}

variable "erase_key1_bucket" {
  type        = string
  default     = ""
  description = "Name of a bucket in which files, not folders, are named after the user. Empty means none."
  nullable    = false
}

variable "erase_key1_pattern" {
  type        = string
  default     = "avatars/{user_id}"
  description = "Keys of one user's files in EraseKey1Bucket. avatars/{user_id} is one file; avatars/{user_id}.* is every file whose key begins with the text before the star. A star is allowed at the end only, after . - or _, and needs UserIdCharacters or UserIdLength."
  nullable    = false
}

variable "erase_key2_bucket" {
  type        = string
  default     = ""
  description = "Name of a second bucket with such files, or of the same bucket with another pattern. Empty means none."
  nullable    = false
}

variable "erase_key2_pattern" {
  type        = string
  default     = "avatars/{user_id}"
  description = "Keys of one user's files in EraseKey2Bucket. The syntax is that of EraseKey1Pattern."
  nullable    = false
}

variable "expected_bucket_owner" {
  type        = string
  default     = ""
  description = "Account id (12 digits) that must own the buckets of all targets, or comma-separated BUCKET=ACCOUNT pairs if the buckets belong to different accounts. S3 denies every request to a bucket that another account owns. Empty means no check. ExpectedReceiptsOwner is the same check for the receipts."
  nullable    = false
}

variable "bypass_governance_retention" {
  type        = bool
  default     = false
  description = "If true, the function also deletes versions that Object Lock retains in governance mode. It cannot delete versions in compliance mode or under a legal hold."
  nullable    = false
}

variable "late_write_sweep_seconds" {
  type        = string
  default     = ""
  description = "Seconds after the verification at which the function checks once more and deletes files that were written late. At most 1209600 (14 days). Empty or 0 means no such check."
  nullable    = false
}

variable "max_objects" {
  type        = string
  default     = ""
  description = "Object limit. An erasure that finds more objects and versions than this number stops with the outcome incomplete. Empty means no limit."
  nullable    = false
}

variable "dry_run" {
  type        = bool
  default     = false
  description = "If true, the function lists and counts but does not delete, and its role has no permission to delete."
  nullable    = false
}

variable "user_id_pattern" {
  type        = string
  default     = ""
  description = "Regular expression that must match the whole user id. It applies in addition to the function's own rules. Empty means no additional rule."
  nullable    = false
}

variable "user_id_characters" {
  type        = string
  default     = ""
  description = "The only characters that your user ids contain, for example 0-9 or A-Za-z0-9_ or 0-9a-f-. The function rejects every other id. Empty means no additional rule."
  nullable    = false
}

variable "user_id_length" {
  type        = string
  default     = ""
  description = "Number of characters of every user id. The function rejects every other id. Empty means no additional rule."
  nullable    = false
}

variable "user_id_extra_characters" {
  type        = string
  default     = ""
  description = "Characters that user ids may contain in addition to A-Z a-z 0-9 and - _ . : @ + = (for example | for Auth0). Empty means no additional characters."
  nullable    = false
}

variable "scope_ids" {
  type        = string
  default     = ""
  description = "Comma-separated NAME=POINTER pairs, for example tenant_id=/tenantId. Each JSON pointer locates in a message the id that replaces {tenant_id} or {scope_id}. The function rejects a message without one of these ids. Empty means that no prefix uses these placeholders."
  nullable    = false
}

variable "sender_principal_arns" {
  type        = string
  default     = ""
  description = "Comma-separated ARNs of the roles and users, of any account, that may send messages to the queue. Include the role of the operator who redrives dead-letter messages. Unless AnySenderOfAccount is true, only these, the function, the topic and the rule may send. Empty means no role or user."
  nullable    = false
}

variable "withdrawal_topic_arn" {
  type        = string
  default     = ""
  description = "ARN of an SNS topic in the stack's region. The stack subscribes the queue to it, so every principal that may publish to the topic can request the erasure of any user. If the topic belongs to another account, its policy must allow the subscription. Empty means no topic."
  nullable    = false
}

variable "withdrawal_topic_filter" {
  type        = string
  default     = ""
  description = "SNS filter policy on the message body, for a topic that also carries other messages. For example {\"type\":[\"user-withdrawn\"]}. Empty means no filter - the function then rejects every other message, which moves to the dead-letter queue."
  nullable    = false
}

variable "event_pattern" {
  type        = string
  default     = ""
  description = "Event pattern of an EventBridge rule that the stack creates; the rule sends the events to the queue. For example {\"source\":[\"users\"],\"detail-type\":[\"user-withdrawn\"]}. Every principal that may put such events on the bus can request the erasure of any user. Empty means no rule."
  nullable    = false
}

variable "event_bus_name" {
  type        = string
  default     = "default"
  description = "Name of the event bus for the rule of EventPattern, in the stack's account and region."
  nullable    = false
}

variable "any_sender_of_account" {
  type        = bool
  default     = false
  description = "If true, every principal to which an IAM policy of this account grants sqs:SendMessage may send, and can request the erasure of any user."
  nullable    = false
}

variable "existing_queue_arn" {
  type        = string
  default     = ""
  description = "ARN of an existing queue to use instead of a new one. It must be in the stack's region and account, because alarms cannot read the metrics of another account. Its owner configures the policy, the encryption, a visibility timeout of at least six times FunctionTimeout, and a dead-letter queue with a maxReceiveCount of at least 5. If you set this parameter on a running stack, CloudFormation keeps the stack's former queue with its messages, but no function receives them. If the queue remains from a deleted stack, first change its policy, which allows only the function of that stack to send. Empty means that the stack creates a queue."
  nullable    = false
}

variable "existing_dead_letter_queue_name" {
  type        = string
  default     = ""
  description = "Name of the dead-letter queue of ExistingQueueArn, in the stack's account and region. The stack creates alarms for it. Empty means no such alarms."
  nullable    = false
}

variable "message_match" {
  type        = string
  default     = ""
  description = "One to four comma-separated POINTER=VALUE pairs that identify a request in another format, for example /type=user.deleted. Empty means that the function accepts only user-withdrawn messages."
  nullable    = false
}

variable "user_id_pointer" {
  type        = string
  default     = ""
  description = "Location of the user id in a message - a JSON pointer (RFC 6901), or a JSONPath query (RFC 9535) that begins with $. Empty means the function's default, /userId."
  nullable    = false
}

variable "request_id_pointer" {
  type        = string
  default     = ""
  description = "JSON pointer to the sender's request id in a message that MessageMatch identifies. Empty means that the function uses the SQS message id."
  nullable    = false
}

variable "withdrawn_at_pointer" {
  type        = string
  default     = ""
  description = "JSON pointer to the time of the withdrawal (RFC 3339) in such a message. Empty means that the message contains no such time."
  nullable    = false
}

variable "erase_before_pointer" {
  type        = string
  default     = ""
  description = "JSON pointer to eraseBefore (RFC 3339) in such a message. The function keeps files that were last modified at or after this time. Empty means that such a message has no eraseBefore."
  nullable    = false
}

variable "receipts_bucket" {
  type        = string
  default     = ""
  description = "Name of an existing bucket for the receipts, in the stack's region. Enable versioning on it, and EventBridge if you use AlertEmail, CreateAlertTopic, AlarmTopicArn or CreateErasedQueue. If you change this parameter on a running stack, the function does not find the earlier receipts, so a redelivered message erases again. If the bucket remains from a deleted stack, first change its policy, which allows only the function of that stack to write. Empty means that the stack creates a bucket."
  nullable    = false
}

variable "receipts_prefix" {
  type        = string
  default     = "receipts/"
  description = "Prefix of all receipts in the receipts bucket, with a slash at the end. It must be outside every target. Empty means the whole bucket."
  nullable    = false
}

variable "expected_receipts_owner" {
  type        = string
  default     = ""
  description = "Account id (12 digits) that must own ReceiptsBucket. Empty means no check. For a bucket that the stack creates, the function always checks that the stack's account owns it."
  nullable    = false
}

variable "receipts_sse" {
  type        = string
  default     = ""
  description = "Encryption that the function requests for every receipt. Needed if the bucket's policy denies PutObject without the header x-amz-server-side-encryption. Empty means no header - S3 then uses the bucket's default encryption."
  nullable    = false

  validation {
    condition     = contains(["", "AES256", "aws:kms"], var.receipts_sse)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "receipts_kms_key_id" {
  type        = string
  default     = ""
  description = "ARN of the KMS key that the function requests for every receipt. It needs aws:kms as ReceiptsSse. Empty means that S3 uses the account's key aws/s3 if ReceiptsSse is aws:kms."
  nullable    = false
}

variable "receipts_lock_days" {
  type        = string
  default     = ""
  description = "Days for which Object Lock retains every receipt in the bucket that the stack creates. Empty means no Object Lock. After Object Lock is enabled on a bucket, S3 cannot disable it."
  nullable    = false
}

variable "receipts_lock_mode" {
  type        = string
  default     = "GOVERNANCE"
  description = "Retention mode of ReceiptsLockDays. GOVERNANCE lets principals with s3:BypassGovernanceRetention delete a locked receipt; COMPLIANCE lets no one delete it."
  nullable    = false

  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.receipts_lock_mode)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "receipt_hash_key_secret_arn" {
  type        = string
  default     = ""
  description = "ARN of an existing secret of Secrets Manager with the key of the hash that replaces the user id in receipts and logs. If you change the key, the hash of a user no longer matches earlier receipts. Empty means that the stack creates a secret with a random key."
  nullable    = false
}

variable "create_erased_queue" {
  type        = bool
  default     = false
  description = "If true, the stack creates a queue for your user service. The queue receives the S3 event for the receipt of every completed erasure."
  nullable    = false
}

variable "alert_email" {
  type        = string
  default     = ""
  description = "E-mail address for alarms and for notifications of erasures that could not be completed. AWS sends one message to this address, in which the recipient must confirm the subscription. Empty means no e-mail."
  nullable    = false
}

variable "create_alert_topic" {
  type        = bool
  default     = false
  description = "If true, the stack creates an SNS topic for alarms also without AlertEmail. The template alerts-slack.yaml connects the topic (output AlertTopicArn) to a Slack channel."
  nullable    = false
}

variable "alarm_topic_arn" {
  type        = string
  default     = ""
  description = "ARN of an existing SNS topic, in the stack's region, to use instead of a new one. The policies of the topic and of its KMS key must allow CloudWatch to publish, and must let IAM policies of this account grant the same to a role that the stack creates. Empty means no existing topic. Without any topic, alarms are visible only in CloudWatch."
  nullable    = false
}

variable "oldest_erasure_days" {
  type        = number
  default     = 20
  description = "Age in days at which an unfinished erasure starts an alarm. The law usually allows one month."
  nullable    = false

  validation {
    condition     = contains([1, 2, 3, 5, 7, 10, 14, 20, 25], var.oldest_erasure_days)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "runbook_url" {
  type        = string
  default     = "docs/runbook.md"
  description = "Location of docs/runbook.md for your team, preferably an https URL. Alarms link to its headings, and the dashboard links to the page."
  nullable    = false
}

variable "function_timeout" {
  type        = number
  default     = 300
  description = "Maximum duration of one invocation in seconds. SQS redelivers a failed message after at most six times as long."
  nullable    = false

  validation {
    condition     = contains([3, 5, 10, 30, 60, 120, 180, 300, 600, 900], var.function_timeout)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "maximum_concurrency" {
  type        = number
  default     = 2
  description = "Maximum number of concurrent invocations that the queue starts. MaxDeletesPerSecond applies to each of them."
  nullable    = false
}

variable "max_deletes_per_second" {
  type        = string
  default     = ""
  description = "Maximum number of keys that one execution environment deletes per second. 0 means no limit. Empty means the function's default, 3500."
  nullable    = false
}

variable "max_in_flight_batches" {
  type        = string
  default     = ""
  description = "Maximum number of concurrent DeleteObjects requests, 1 to 100. Empty means the function's default, 8."
  nullable    = false
}

variable "handoff_reserve_ms" {
  type        = string
  default     = ""
  description = "Milliseconds reserved at the end of an invocation for the receipt, the continuation and the response. Empty means the function's default, 1000 or 1% of the invocation's time, whichever is more."
  nullable    = false
}

variable "max_idle_hops" {
  type        = string
  default     = ""
  description = "Number of consecutive invocations without a deletion after which an erasure ends as incomplete. Empty means the function's default, 3."
  nullable    = false
}

variable "paused" {
  type        = bool
  default     = false
  description = "Emergency stop. If true, the queue does not start the function, and the function's role has no permission to delete. Messages wait in the queue, for at most ten days."
  nullable    = false
}

variable "function_memory" {
  type        = number
  default     = 256
  description = "Memory of the function in MB. The function mostly waits for S3, so more memory hardly makes it faster."
  nullable    = false
}

variable "log_level" {
  type        = string
  default     = "INFO"
  description = "Lowest level of the log lines that are stored. The function logs normal progress at INFO, and remaining files and failures at WARN or ERROR. Lambda stores metrics at every level."
  nullable    = false

  validation {
    condition     = contains(["INFO", "WARN"], var.log_level)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "log_retention_days" {
  type        = number
  default     = 30
  description = "Days for which CloudWatch Logs keeps the function's log lines."
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "kms_key_arn" {
  type        = string
  default     = ""
  description = "ARN of the KMS key for queues, logs, receipts, the hash key, settings and the alert topic. The key's policy must allow the AWS services that the comment at KmsKeyArn in the template lists. Empty means keys that AWS owns or manages."
  nullable    = false
}

variable "existing_kms_key_arns" {
  type        = string
  default     = ""
  description = "Comma-separated ARNs of the KMS keys that encrypt ExistingQueueArn, ReceiptsBucket and ReceiptHashKeySecretArn. Empty means that they need no permission on a key."
  nullable    = false
}

variable "permissions_boundary_arn" {
  type        = string
  default     = ""
  description = "ARN of the permissions boundary for every role that the stack creates. Empty means none."
  nullable    = false
}

variable "code_signing_config_arn" {
  type        = string
  default     = ""
  description = "ARN of the code signing configuration that Lambda checks the function's code against. Empty means none."
  nullable    = false
}

variable "vpc_subnet_ids" {
  type        = string
  default     = ""
  description = "Comma-separated ids of the function's subnets. They must reach S3, SQS and Secrets Manager, through endpoints or NAT. Empty means no VPC; the function then reaches all three services."
  nullable    = false
}

variable "vpc_security_group_ids" {
  type        = string
  default     = ""
  description = "Comma-separated ids of the function's security groups in these subnets. The function makes only outgoing connections, by HTTPS. Empty means no VPC."
  nullable    = false
}

variable "s3_force_path_style" {
  type        = string
  default     = ""
  description = "If true, requests name the bucket in the path and not in the host name, which some other S3 servers need. Empty means false."
  nullable    = false

  validation {
    condition     = contains(["", "true", "false"], var.s3_force_path_style)
    error_message = "Must be one of the values that the template allows."
  }
}

locals {
  parameters = {
    Target1Bucket               = var.target1_bucket
    Target1Prefix               = var.target1_prefix
    Target2Bucket               = var.target2_bucket
    Target2Prefix               = var.target2_prefix
    Target3Bucket               = var.target3_bucket
    Target3Prefix               = var.target3_prefix
    Target4Bucket               = var.target4_bucket
    Target4Prefix               = var.target4_prefix
    Target5Bucket               = var.target5_bucket
    Target5Prefix               = var.target5_prefix
    Target6Bucket               = var.target6_bucket
    Target6Prefix               = var.target6_prefix
    Target7Bucket               = var.target7_bucket
    Target7Prefix               = var.target7_prefix
    Target8Bucket               = var.target8_bucket
    Target8Prefix               = var.target8_prefix
    EraseKey1Bucket             = var.erase_key1_bucket
    EraseKey1Pattern            = var.erase_key1_pattern
    EraseKey2Bucket             = var.erase_key2_bucket
    EraseKey2Pattern            = var.erase_key2_pattern
    ExpectedBucketOwner         = var.expected_bucket_owner
    BypassGovernanceRetention   = var.bypass_governance_retention
    LateWriteSweepSeconds       = var.late_write_sweep_seconds
    MaxObjects                  = var.max_objects
    DryRun                      = var.dry_run
    UserIdPattern               = var.user_id_pattern
    UserIdCharacters            = var.user_id_characters
    UserIdLength                = var.user_id_length
    UserIdExtraCharacters       = var.user_id_extra_characters
    ScopeIds                    = var.scope_ids
    SenderPrincipalArns         = var.sender_principal_arns
    WithdrawalTopicArn          = var.withdrawal_topic_arn
    WithdrawalTopicFilter       = var.withdrawal_topic_filter
    EventPattern                = var.event_pattern
    EventBusName                = var.event_bus_name
    AnySenderOfAccount          = var.any_sender_of_account
    ExistingQueueArn            = var.existing_queue_arn
    ExistingDeadLetterQueueName = var.existing_dead_letter_queue_name
    MessageMatch                = var.message_match
    UserIdPointer               = var.user_id_pointer
    RequestIdPointer            = var.request_id_pointer
    WithdrawnAtPointer          = var.withdrawn_at_pointer
    EraseBeforePointer          = var.erase_before_pointer
    ReceiptsBucket              = var.receipts_bucket
    ReceiptsPrefix              = var.receipts_prefix
    ExpectedReceiptsOwner       = var.expected_receipts_owner
    ReceiptsSse                 = var.receipts_sse
    ReceiptsKmsKeyId            = var.receipts_kms_key_id
    ReceiptsLockDays            = var.receipts_lock_days
    ReceiptsLockMode            = var.receipts_lock_mode
    ReceiptHashKeySecretArn     = var.receipt_hash_key_secret_arn
    CreateErasedQueue           = var.create_erased_queue
    AlertEmail                  = var.alert_email
    CreateAlertTopic            = var.create_alert_topic
    AlarmTopicArn               = var.alarm_topic_arn
    OldestErasureDays           = var.oldest_erasure_days
    RunbookUrl                  = var.runbook_url
    FunctionTimeout             = var.function_timeout
    MaximumConcurrency          = var.maximum_concurrency
    MaxDeletesPerSecond         = var.max_deletes_per_second
    MaxInFlightBatches          = var.max_in_flight_batches
    HandoffReserveMs            = var.handoff_reserve_ms
    MaxIdleHops                 = var.max_idle_hops
    Paused                      = var.paused
    FunctionMemory              = var.function_memory
    LogLevel                    = var.log_level
    LogRetentionDays            = var.log_retention_days
    KmsKeyArn                   = var.kms_key_arn
    ExistingKmsKeyArns          = var.existing_kms_key_arns
    PermissionsBoundaryArn      = var.permissions_boundary_arn
    CodeSigningConfigArn        = var.code_signing_config_arn
    VpcSubnetIds                = var.vpc_subnet_ids
    VpcSecurityGroupIds         = var.vpc_security_group_ids
    S3ForcePathStyle            = var.s3_force_path_style
  }
}
