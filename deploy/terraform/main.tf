# Deploys a release of erase-user-files as a CloudFormation stack. It uploads the zip file and the template, which
# `make package` writes, to a bucket of yours. docs/install.md explains the steps. Every parameter of the template is a
# variable, see variables.tf.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "release" {
  type        = string
  description = "Path of a release without file extensions: FOLDER/erase-user-files-VERSION-ARCHITECTURE."

  # Both files of one release are for the same architecture.
  validation {
    condition     = fileexists("${var.release}.zip") && fileexists("${var.release}-bucket.yaml")
    error_message = "Terraform did not find both files of the release, RELEASE.zip and RELEASE-bucket.yaml. The value must be FOLDER/erase-user-files-VERSION-ARCHITECTURE."
  }
}

variable "stack_name" {
  type        = string
  default     = "erase-user-files"
  description = "Name of the CloudFormation stack."
}

variable "code_bucket" {
  type        = string
  description = "Name of an existing bucket, in the region of the stack, for the zip file and the template."
}

data "aws_s3_bucket" "code" {
  bucket = var.code_bucket
}

# The key contains the hash, so that CloudFormation updates the stack when the content changes, and a rollback finds the
# former object.
resource "aws_s3_object" "code" {
  bucket = data.aws_s3_bucket.code.id
  key    = "erase-user-files/${filesha256("${var.release}.zip")}/${basename(var.release)}.zip"
  source = "${var.release}.zip"
}

resource "aws_s3_object" "template" {
  bucket = data.aws_s3_bucket.code.id
  key    = "erase-user-files/${filesha256("${var.release}-bucket.yaml")}/${basename(var.release)}-bucket.yaml"
  source = "${var.release}-bucket.yaml"
}

resource "aws_cloudformation_stack" "erase_user_files" {
  # checkov:skip=CKV_AWS_124: Terraform shows the events of a deployment to the operator who runs it.
  name         = var.stack_name
  template_url = "https://${data.aws_s3_bucket.code.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]

  parameters = merge(local.parameters, {
    CodeBucket = aws_s3_object.code.bucket
    CodeKey    = aws_s3_object.code.key
  })
}

output "outputs" {
  description = "The outputs of the stack, for example QueueUrl."
  value       = aws_cloudformation_stack.erase_user_files.outputs
}
