# A seller on all three marketplaces. Copy this folder, or the calls that are wanted.
# State holds one secret when AWS pushes (the key of its event connection): keep it
# where few may read it.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
    azuread = {
      source  = "hashicorp/azuread"
      version = "~> 3.7"
    }
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.55"
    }
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
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
  workload      = local.workload
  alarm_targets = var.aws_alarm_topics
  labels        = local.labels
}

provider "google" {
  project = var.gcp_project
}

# Terraform as the account that Producer Portal linked. It is made by the first apply,
# in which gcp_partner is null and nothing asks for it.
provider "google" {
  alias                       = "linked"
  project                     = var.gcp_project
  impersonate_service_account = "tailmarket-subscriber@${var.gcp_project}.iam.gserviceaccount.com"
}

module "gcp" {
  source = "../../modules/gcp-marketplace"
  providers = {
    google        = google
    google.linked = google.linked
  }

  seller_id     = var.gcp_partner
  public_url    = var.public_url
  workload      = local.workload
  alarm_targets = var.gcp_alarm_channels
  labels        = local.labels
}

provider "azuread" {
  tenant_id = var.azure_tenant
}

provider "azurerm" {
  subscription_id = var.azure_subscription
  features {}
}

module "azure" {
  source = "../../modules/azure-marketplace"

  seller_id     = var.azure_publisher
  public_url    = var.public_url
  workload      = local.workload
  alarm_targets = var.azure_alarm_groups
  labels        = local.labels
}

locals {
  labels = { app = "tailmarket", environment = "example" }

  # One identity and one token for three clouds.
  workload = {
    issuer   = var.workload_issuer
    subject  = var.workload_subject
    audience = "tailmarket"
  }
}
