# Written by `make terraform` from the parameters of template.yaml. Do not edit.

variable "target1_bucket" {
  type        = string
  default     = ""
  description = "Bucket that holds users' files, in any region. Empty if only the files of EraseKey1Pattern are erased."
  nullable    = false
}

variable "target1_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Where one user's files are in it, as users/{user_id}/ or media/user_{user_id}/. {user_id:urlencode} is the percent-encoded id. {tenant_id} and {scope_id} before it need ScopeIds."
  nullable    = false
}

variable "target2_bucket" {
  type        = string
  default     = ""
  description = "A second bucket (or the same with another prefix); empty if there is none."
  nullable    = false
}

variable "target2_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Where one user's files are in the second bucket."
  nullable    = false
}

variable "target3_bucket" {
  type        = string
  default     = ""
  description = "A third bucket; empty if there is none."
  nullable    = false
}

variable "target3_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Where one user's files are in the third bucket."
  nullable    = false
}

variable "target4_bucket" {
  type        = string
  default     = ""
  description = "A fourth bucket; empty if there is none."
  nullable    = false
}

variable "target4_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Where one user's files are in the fourth bucket."
  nullable    = false
}

variable "target5_bucket" {
  type        = string
  default     = ""
  description = "A fifth bucket; empty if there is none."
  nullable    = false
}

variable "target5_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Where one user's files are in the fifth bucket."
  nullable    = false
}

variable "target6_bucket" {
  type        = string
  default     = ""
  description = "A sixth bucket; empty if there is none."
  nullable    = false
}

variable "target6_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Where one user's files are in the sixth bucket."
  nullable    = false
}

variable "target7_bucket" {
  type        = string
  default     = ""
  description = "A seventh bucket; empty if there is none."
  nullable    = false
}

variable "target7_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Where one user's files are in the seventh bucket."
  nullable    = false
}

variable "target8_bucket" {
  type        = string
  default     = ""
  description = "An eighth bucket; empty if there is none."
  nullable    = false
}

variable "target8_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Where one user's files are in the eighth bucket."
  nullable    = false
}

variable "erase_key1_bucket" {
  type        = string
  default     = ""
  description = "Bucket with files that are named after the user, in place of a folder for each; empty if there are none."
  nullable    = false
}

variable "erase_key1_pattern" {
  type        = string
  default     = "avatars/{user_id}"
  description = "The user's files in it - avatars/{user_id} is this one file, avatars/{user_id}.* are the files that begin so. The star is at the end only, behind . - or _, and needs UserIdCharacters or UserIdLength."
  nullable    = false
}

variable "erase_key2_bucket" {
  type        = string
  default     = ""
  description = "A second bucket (or the same with another pattern) with such files; empty if there are none."
  nullable    = false
}

variable "erase_key2_pattern" {
  type        = string
  default     = "avatars/{user_id}"
  description = "The user's files in the second bucket."
  nullable    = false
}

variable "expected_bucket_owner" {
  type        = string
  default     = ""
  description = "Account id that must own the buckets above, or BUCKET=ACCOUNT pairs, comma-separated, where their accounts differ. Guards against a bucket name that a stranger took over. Empty means no check. It does not concern the receipts."
  nullable    = false
}

variable "bypass_governance_retention" {
  type        = bool
  default     = false
  description = "true also erases versions under Object Lock's governance mode. Compliance mode and legal holds keep theirs."
  nullable    = false
}

variable "late_write_sweep_seconds" {
  type        = string
  default     = ""
  description = "Seconds after the proof at which the function checks once more for files that were written late. Empty or 0 means never."
  nullable    = false
}

variable "max_objects" {
  type        = string
  default     = ""
  description = "Object limit - an erasure that meets more objects and versions than this stops as incomplete. Empty means no limit."
  nullable    = false
}

variable "dry_run" {
  type        = bool
  default     = false
  description = "true only lists and counts. The function's role cannot delete then."
  nullable    = false
}

variable "user_id_pattern" {
  type        = string
  default     = ""
  description = "A regular expression that a user id must match as a whole, in addition to the rules that always hold. Empty means no other rule."
  nullable    = false
}

variable "user_id_characters" {
  type        = string
  default     = ""
  description = "The characters that all user ids consist of here, as 0-9 or A-Za-z0-9_ or 0-9a-f-. Other ids are rejected. Empty means no narrower rule."
  nullable    = false
}

variable "user_id_length" {
  type        = string
  default     = ""
  description = "How many characters all user ids have here. Other ids are rejected. Empty means no narrower rule."
  nullable    = false
}

variable "user_id_extra_characters" {
  type        = string
  default     = ""
  description = "Characters that user ids may hold in addition to A-Z a-z 0-9 and - _ . : @ + = as the | of Auth0."
  nullable    = false
}

variable "scope_ids" {
  type        = string
  default     = ""
  description = "Where the ids that {tenant_id} and {scope_id} stand for are in a message, as tenant_id=/tenantId (NAME=POINTER pairs, comma-separated). A message without one of them is rejected."
  nullable    = false
}

variable "sender_principal_arns" {
  type        = string
  default     = ""
  description = "Roles and users (ARNs, comma-separated, also of other accounts) that may send to the queue. Name also the role of the operator who redrives dead letters. Unless AnySenderOfAccount is true, nobody else may send, apart from the function, the topic and the rule."
  nullable    = false
}

variable "withdrawal_topic_arn" {
  type        = string
  default     = ""
  description = "SNS topic, in the stack's region, whose messages go into the queue - who may publish there decides who is erased. If it is of another account, its policy must allow the subscription. Empty means none."
  nullable    = false
}

variable "withdrawal_topic_filter" {
  type        = string
  default     = ""
  description = "SNS filter policy on the message body, where the topic carries other messages, too. Without it, each of them is rejected and becomes a dead letter. For example {\"type\":[\"user-withdrawn\"]}"
  nullable    = false
}

variable "event_pattern" {
  type        = string
  default     = ""
  description = "Event pattern of an EventBridge rule that the stack makes; the events go into the queue. Who may put such events on the bus decides who is erased. For example {\"source\":[\"users\"],\"detail-type\":[\"user-withdrawn\"]}. Empty means no rule."
  nullable    = false
}

variable "event_bus_name" {
  type        = string
  default     = "default"
  description = "Event bus of that rule, in this account and region."
  nullable    = false
}

variable "any_sender_of_account" {
  type        = bool
  default     = false
  description = "true means that IAM policies of this account decide who may send, that is, who is erased."
  nullable    = false
}

variable "existing_queue_arn" {
  type        = string
  default     = ""
  description = "Queue to use instead of a new one, in this region and of this account (alarms see no queue of another). Its owner sets policy, encryption, a visibility timeout of six times FunctionTimeout, and a dead-letter queue after five receives or more. Set on a live stack, the stack's own queue stays, with its messages, and nothing receives them. The policy of a queue that a deleted stack left allows that stack's function to send, and no other."
  nullable    = false
}

variable "existing_dead_letter_queue_name" {
  type        = string
  default     = ""
  description = "Name of the dead-letter queue of ExistingQueueArn, in this account, for its alarms. Empty means that there are none."
  nullable    = false
}

variable "message_match" {
  type        = string
  default     = ""
  description = "What a message of another format must hold, as /type=user.deleted (1 to 4 POINTER=VALUE pairs, comma-separated). Empty means that only user-withdrawn messages are accepted."
  nullable    = false
}

variable "user_id_pointer" {
  type        = string
  default     = ""
  description = "Where the user id is in a message, as a JSON pointer (RFC 6901), or as a JSONPath query (RFC 9535) that begins with $. Empty means the function's default, /userId."
  nullable    = false
}

variable "request_id_pointer" {
  type        = string
  default     = ""
  description = "Where the sender's own id of the request is in a message of MessageMatch, as a JSON pointer. Empty means that it has none."
  nullable    = false
}

variable "withdrawn_at_pointer" {
  type        = string
  default     = ""
  description = "Where the time of the withdrawal (RFC 3339) is in such a message. Empty means that it has none."
  nullable    = false
}

variable "erase_before_pointer" {
  type        = string
  default     = ""
  description = "Where eraseBefore (RFC 3339) is in such a message - files modified at or after it are kept. Empty means that it has none."
  nullable    = false
}

variable "receipts_bucket" {
  type        = string
  default     = ""
  description = "Existing bucket, in the stack's region, for a receipt of every erasure, best with versioning and EventBridge on. Empty means that the stack makes one. Set on a live stack, redelivered messages no longer find their receipts and erase again. The policy of a bucket that a deleted stack left allows that stack's function to write, and no other."
  nullable    = false
}

variable "receipts_prefix" {
  type        = string
  default     = "receipts/"
  description = "Where receipts go in that bucket - never inside a target."
  nullable    = false
}

variable "expected_receipts_owner" {
  type        = string
  default     = ""
  description = "Account id that must own ReceiptsBucket. Empty means no check. The bucket that the stack makes is always checked against the account of the stack."
  nullable    = false
}

variable "receipts_sse" {
  type        = string
  default     = ""
  description = "Encryption that the function requests with every receipt, for a bucket whose policy denies PutObject without the header x-amz-server-side-encryption. Empty means no header - S3 then encrypts as the bucket is configured."
  nullable    = false

  validation {
    condition     = contains(["", "AES256", "aws:kms"], var.receipts_sse)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "receipts_kms_key_id" {
  type        = string
  default     = ""
  description = "ARN of the KMS key that the function requests with every receipt; needs ReceiptsSse aws:kms. Empty means that S3 takes the key aws/s3 of the account."
  nullable    = false
}

variable "receipts_lock_days" {
  type        = string
  default     = ""
  description = "Days for which Object Lock keeps every receipt in the stack's own bucket. Empty means no lock. Once on, it cannot be taken off the bucket."
  nullable    = false
}

variable "receipts_lock_mode" {
  type        = string
  default     = "GOVERNANCE"
  description = "Whether somebody with s3:BypassGovernanceRetention may delete a locked receipt, or nobody at all."
  nullable    = false

  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.receipts_lock_mode)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "receipt_hash_key_secret_arn" {
  type        = string
  default     = ""
  description = "Existing secret of Secrets Manager that holds the key of the hash that stands for the user id in receipts and logs. Empty means that the stack makes one with a random key. With another key, old receipts are no longer found."
  nullable    = false
}

variable "create_erased_queue" {
  type        = bool
  default     = false
  description = "true makes a queue for the user service that receives S3's event for the receipt of every user who is erased."
  nullable    = false
}

variable "alert_email" {
  type        = string
  default     = ""
  description = "E-mail address that is notified of alarms and of erasures that were given up. AWS asks it to confirm once. Empty means none."
  nullable    = false
}

variable "create_alert_topic" {
  type        = bool
  default     = false
  description = "true makes the topic for alarms also without AlertEmail. alerts-slack.yaml connects its output AlertTopicArn with a channel."
  nullable    = false
}

variable "alarm_topic_arn" {
  type        = string
  default     = ""
  description = "Existing SNS topic of this region to use instead of a new one. Its policy and key must let CloudWatch publish, and let IAM decide for the role that the stack makes. Without any topic, alarms only show in CloudWatch."
  nullable    = false
}

variable "oldest_erasure_days" {
  type        = number
  default     = 20
  description = "Age in days at which an unfinished erasure is an alarm. The law usually leaves a month."
  nullable    = false

  validation {
    condition     = contains([1, 2, 3, 5, 7, 10, 14, 20, 25], var.oldest_erasure_days)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "runbook_url" {
  type        = string
  default     = "docs/runbook.md"
  description = "Where your team finds docs/runbook.md, best as an https URL. Alarms and the dashboard name its headings."
  nullable    = false
}

variable "function_timeout" {
  type        = number
  default     = 300
  description = "Seconds that one invocation may take. A failed message comes back after at most six times as long."
  nullable    = false

  validation {
    condition     = contains([3, 5, 10, 30, 60, 120, 180, 300, 600, 900], var.function_timeout)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "maximum_concurrency" {
  type        = number
  default     = 2
  description = "Invocations that the queue may cause at the same time. MaxDeletesPerSecond counts for each of them."
  nullable    = false
}

variable "max_deletes_per_second" {
  type        = string
  default     = ""
  description = "Keys that one execution environment deletes per second at most. Empty means the function's default, 3500."
  nullable    = false
}

variable "max_in_flight_batches" {
  type        = string
  default     = ""
  description = "DeleteObjects requests that are under way concurrently, at most. Empty means the function's default, 8."
  nullable    = false
}

variable "handoff_reserve_ms" {
  type        = string
  default     = ""
  description = "Milliseconds kept back at the end of an invocation for sending the continuation. Empty means the function's default."
  nullable    = false
}

variable "max_idle_hops" {
  type        = string
  default     = ""
  description = "Invocations in a row that delete nothing, then the erasure ends as incomplete. Empty means the function's default, 3."
  nullable    = false
}

variable "paused" {
  type        = bool
  default     = false
  description = "true is the emergency stop - the queue no longer starts the function, and its role cannot delete. Messages wait (ten days at most)."
  nullable    = false
}

variable "function_memory" {
  type        = number
  default     = 256
  description = "Memory of the function in MB. The work waits for the network, so more hardly makes it faster."
  nullable    = false
}

variable "log_level" {
  type        = string
  default     = "INFO"
  description = "Least level of the function's log lines; it has none below INFO. Hops that end well are INFO, what is left or fails is WARN or ERROR; metrics come always."
  nullable    = false

  validation {
    condition     = contains(["INFO", "WARN"], var.log_level)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "log_retention_days" {
  type        = number
  default     = 30
  description = "Days that the function's log lines are kept."
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "Must be one of the values that the template allows."
  }
}

variable "kms_key_arn" {
  type        = string
  default     = ""
  description = "KMS key for queues, logs, receipts, the hash key, settings and the alert topic. Its policy must let the services in: see the comment at KmsKeyArn in the template. Empty means keys of AWS."
  nullable    = false
}

variable "existing_kms_key_arns" {
  type        = string
  default     = ""
  description = "KMS keys (ARNs, comma-separated) of ExistingQueueArn, ReceiptsBucket and ReceiptHashKeySecretArn, where these have keys of their own. Empty means none."
  nullable    = false
}

variable "permissions_boundary_arn" {
  type        = string
  default     = ""
  description = "Permissions boundary of every role that the stack makes. Empty means none."
  nullable    = false
}

variable "code_signing_config_arn" {
  type        = string
  default     = ""
  description = "Code signing configuration that the function's code must satisfy. Empty means none."
  nullable    = false
}

variable "vpc_subnet_ids" {
  type        = string
  default     = ""
  description = "Subnets for the function (comma-separated), with a way to S3, SQS and Secrets Manager by endpoints or NAT. Empty means no VPC, which is enough for all three."
  nullable    = false
}

variable "vpc_security_group_ids" {
  type        = string
  default     = ""
  description = "Security groups for the function in these subnets (comma-separated); it only makes outgoing connections, by HTTPS."
  nullable    = false
}

variable "s3_force_path_style" {
  type        = string
  default     = ""
  description = "true for local servers, which do not know a bucket by its host name."
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
