# The server in the seller's account. AWS answers its marketplace calls to no other.

locals {
  issuer_host = var.workload == null ? null : trimprefix(var.workload.issuer, "https://")
  audience    = var.workload == null ? null : coalesce(var.workload.audience, "sts.amazonaws.com")
}

resource "aws_iam_role" "server" {
  name               = "${var.name}-server"
  description        = "tailmarket: claims, agreements and usage of this seller's listings."
  assume_role_policy = data.aws_iam_policy_document.server_trust.json
  tags               = var.labels

  lifecycle {
    precondition {
      condition     = var.workload != null || length(var.trusted_principals) > 0
      error_message = "Nobody could be the server: set workload, trusted_principals or both."
    }
  }
}

data "aws_iam_policy_document" "server_trust" {
  dynamic "statement" {
    for_each = aws_iam_openid_connect_provider.platform
    content {
      sid     = "Workload"
      actions = ["sts:AssumeRoleWithWebIdentity"]
      principals {
        type        = "Federated"
        identifiers = [statement.value.arn]
      }
      condition {
        test     = "StringEquals"
        variable = "${local.issuer_host}:sub"
        values   = [var.workload.subject]
      }
      condition {
        test     = "StringEquals"
        variable = "${local.issuer_host}:aud"
        values   = [local.audience]
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.trusted_principals) > 0 ? [var.trusted_principals] : []
    content {
      sid     = "Principals"
      actions = ["sts:AssumeRole"]
      principals {
        type        = "AWS"
        identifiers = statement.value
      }
      condition {
        test     = "StringEquals"
        variable = "sts:ExternalId"
        values   = [var.name]
      }
    }
  }
}

resource "aws_iam_openid_connect_provider" "platform" {
  count = var.workload == null ? 0 : 1

  url            = var.workload.issuer
  client_id_list = [local.audience]
  tags           = var.labels
}

resource "aws_iam_role_policy" "server" {
  name   = "sell"
  role   = aws_iam_role.server.id
  policy = data.aws_iam_policy_document.server.json
}

# Exactly the calls that internal/marketplace/aws makes; a test compares the two.
data "aws_iam_policy_document" "server" {
  statement {
    sid = "Marketplace"
    actions = [
      "aws-marketplace:BatchMeterUsage",
      "aws-marketplace:DescribeAgreement",
      "aws-marketplace:GetAgreementEntitlements",
      "aws-marketplace:GetEntitlements",
      "aws-marketplace:ResolveCustomer",
      "aws-marketplace:SearchAgreements",
    ]
    resources = ["*"] # none of them takes a resource
  }

  dynamic "statement" {
    for_each = aws_sqs_queue.events
    content {
      sid = "Queue"
      actions = [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:ReceiveMessage",
      ]
      resources = [statement.value.arn]
    }
  }
}
