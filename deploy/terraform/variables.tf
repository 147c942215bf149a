# Written by `make terraform` from the parameters of template.yaml. Do not edit.

variable "target1_bucket" {
  type        = string
  description = "Bucket that holds users' files."
  nullable    = false
}

variable "target1_prefix" {
  type        = string
  default     = "{user_id}/"
  description = "Where one user's files are in it, for example users/{user_id}/ - the id must be a whole folder name."
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

variable "expected_bucket_owner" {
  type        = string
  default     = ""
  description = "Account id that must own the targets' buckets; guards against a bucket name that a stranger took over. Empty means no check. It does not concern the bucket of the receipts."
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
  description = "Seconds after the proof at which the function comes back once for files that were written late. Empty or 0 means never."
  nullable    = false
}

variable "max_objects" {
  type        = string
  default     = ""
  description = "Fuse - an erasure that meets more objects and versions than this stops as incomplete. Empty means no limit."
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
  description = "A regular expression that a user id must match as a whole, beside the rules that always hold. Empty means no other rule."
  nullable    = false
}

variable "user_id_pointer" {
  type        = string
  default     = ""
  description = "Where the user id stands in a message, as a JSON pointer (RFC 6901). Empty means the function's default, /userId."
  nullable    = false
}

variable "sender_principal_arns" {
  type        = string
  default     = ""
  description = "Roles and users (ARNs, comma-separated, other accounts' too) that alone may send to the queue, beside the function; also whoever redrives dead letters. Empty means that IAM policies of this account decide."
  nullable    = false
}

variable "withdrawal_topic_arn" {
  type        = string
  default     = ""
  description = "SNS topic of the user service whose messages go into the queue; its policy must allow the subscription. Empty means none."
  nullable    = false
}

variable "existing_queue_arn" {
  type        = string
  default     = ""
  description = "Queue to use instead of a new one, in this region. Its owner sets policy, encryption, a visibility timeout of six times FunctionTimeout, and a dead-letter queue after five receives or more."
  nullable    = false
}

variable "existing_dead_letter_queue_name" {
  type        = string
  default     = ""
  description = "Name of the dead-letter queue of ExistingQueueArn, in this account, for its alarms. Empty means that there are none."
  nullable    = false
}

variable "receipts_bucket" {
  type        = string
  default     = ""
  description = "Existing bucket for a receipt of every erasure, best with versioning and EventBridge on. Empty means that the stack makes one."
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

variable "receipt_hash_key" {
  type        = string
  default     = ""
  description = "Secret key of the hash that stands for the user id in receipts and logs. With another key, old receipts are no longer found."
  nullable    = false
  sensitive   = true
}

variable "create_erased_queue" {
  type        = bool
  default     = false
  description = "true makes a queue for the user service, into which S3's event comes for the receipt of every user who is erased."
  nullable    = false
}

variable "alert_email" {
  type        = string
  default     = ""
  description = "E-mail address that hears of alarms and of erasures that were given up. AWS asks it to confirm once. Empty means none."
  nullable    = false
}

variable "slack_workspace_id" {
  type        = string
  default     = ""
  description = "Slack workspace that hears of the same. Somebody must have authorised it once, in the console of Amazon Q Developer in chat applications."
  nullable    = false
}

variable "slack_channel_id" {
  type        = string
  default     = ""
  description = "Slack channel for it. An account can connect a channel only once; a second stack takes the output AlertTopicArn of the first as its AlarmTopicArn."
  nullable    = false
}

variable "alarm_topic_arn" {
  type        = string
  default     = ""
  description = "Existing SNS topic to use instead of a new one. Its policy and key must let CloudWatch publish, and let IAM decide for the role that the stack makes. Without it, an address and a channel, alarms only show in CloudWatch."
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
  description = "Where your team finds docs/runbook.md, best as an https URL. Alarms and the dashboard link to its headings."
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
  description = "DeleteObjects requests that are under way at once, at most. Empty means the function's default, 8."
  nullable    = false
}

variable "handoff_reserve_ms" {
  type        = string
  default     = ""
  description = "Milliseconds kept back at the end of an invocation for handing over to the next. Empty means the function's default."
  nullable    = false
}

variable "max_idle_hops" {
  type        = string
  default     = ""
  description = "Invocations in a row that delete nothing, then the erasure ends as incomplete. Empty means the function's default, 3."
  nullable    = false
}

variable "function_memory" {
  type        = number
  default     = 256
  description = "Memory of the function in MB. The work waits for the network, so more hardly makes it faster."
  nullable    = false
}

variable "architecture" {
  type        = string
  default     = "arm64"
  description = "Instruction set of the function."
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Must be one of the values that the template allows."
  }
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
  description = "KMS key for queues, logs, receipts, settings and the alert topic. Its policy must let the services in: see the comment at KmsKeyArn in the template. Empty means keys of AWS."
  nullable    = false
}

variable "permissions_boundary_arn" {
  type        = string
  default     = ""
  description = "Permissions boundary of every role that the stack makes. Empty means none."
  nullable    = false
}

variable "vpc_subnet_ids" {
  type        = string
  default     = ""
  description = "Subnets for the function (comma-separated), with a way to S3 and SQS by endpoints or NAT. Empty means no VPC, which is enough for both."
  nullable    = false
}

variable "vpc_security_group_ids" {
  type        = string
  default     = ""
  description = "Security groups for the function in these subnets (comma-separated); it only calls out, by HTTPS."
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
    ExpectedBucketOwner         = var.expected_bucket_owner
    BypassGovernanceRetention   = var.bypass_governance_retention
    LateWriteSweepSeconds       = var.late_write_sweep_seconds
    MaxObjects                  = var.max_objects
    DryRun                      = var.dry_run
    UserIdPattern               = var.user_id_pattern
    UserIdPointer               = var.user_id_pointer
    SenderPrincipalArns         = var.sender_principal_arns
    WithdrawalTopicArn          = var.withdrawal_topic_arn
    ExistingQueueArn            = var.existing_queue_arn
    ExistingDeadLetterQueueName = var.existing_dead_letter_queue_name
    ReceiptsBucket              = var.receipts_bucket
    ReceiptsPrefix              = var.receipts_prefix
    ExpectedReceiptsOwner       = var.expected_receipts_owner
    ReceiptsSse                 = var.receipts_sse
    ReceiptsKmsKeyId            = var.receipts_kms_key_id
    ReceiptsLockDays            = var.receipts_lock_days
    ReceiptsLockMode            = var.receipts_lock_mode
    ReceiptHashKey              = var.receipt_hash_key
    CreateErasedQueue           = var.create_erased_queue
    AlertEmail                  = var.alert_email
    SlackWorkspaceId            = var.slack_workspace_id
    SlackChannelId              = var.slack_channel_id
    AlarmTopicArn               = var.alarm_topic_arn
    OldestErasureDays           = var.oldest_erasure_days
    RunbookUrl                  = var.runbook_url
    FunctionTimeout             = var.function_timeout
    MaximumConcurrency          = var.maximum_concurrency
    MaxDeletesPerSecond         = var.max_deletes_per_second
    MaxInFlightBatches          = var.max_in_flight_batches
    HandoffReserveMs            = var.handoff_reserve_ms
    MaxIdleHops                 = var.max_idle_hops
    FunctionMemory              = var.function_memory
    Architecture                = var.architecture
    LogLevel                    = var.log_level
    LogRetentionDays            = var.log_retention_days
    KmsKeyArn                   = var.kms_key_arn
    PermissionsBoundaryArn      = var.permissions_boundary_arn
    VpcSubnetIds                = var.vpc_subnet_ids
    VpcSecurityGroupIds         = var.vpc_security_group_ids
    S3ForcePathStyle            = var.s3_force_path_style
  }
}
