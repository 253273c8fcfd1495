# A seller on all three marketplaces. Copy this folder; state holds one secret (the
# key of AWS's event connection), so keep it where few may read it.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }
}

provider "aws" {
  region              = "us-east-1"
  allowed_account_ids = [var.aws_seller_account]
}

module "aws" {
  source = "../../modules/aws-marketplace"

  seller_id     = var.aws_seller_account
  public_url    = var.public_url
  workload      = var.workload
  alarm_targets = var.aws_alarm_topics
}
