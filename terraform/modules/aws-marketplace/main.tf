# The marketplace's events, from AWS's bus to the server. Everything is pinned to
# the one region that has them, whatever region the provider is set to.

data "aws_caller_identity" "seller" {
  lifecycle {
    postcondition {
      condition     = var.seller_id == null || self.account_id == var.seller_id
      error_message = "These credentials are not of the seller's account: AWS sends the events there, and answers no other account."
    }
  }
}

locals {
  pull = contains(var.delivery, "pull")
  push = contains(var.delivery, "push")

  keep_seconds     = 14 * 24 * 3600 # the longest a queue keeps a message
  event_key_header = "x-api-key"
}

# A rule for each way in, so that each has metrics of its own. The pattern names no
# detail-type: a new one shall wait for its handler and not vanish.
resource "aws_cloudwatch_event_rule" "marketplace" {
  for_each = var.delivery

  name          = "${var.name}-${each.key}"
  description   = "What AWS Marketplace says of agreements and licences."
  region        = var.location
  event_pattern = jsonencode({ source = ["aws.agreement-marketplace"] })
  tags          = var.labels
}

# What could not be delivered, by either way, and what the server refused for too long.
resource "aws_sqs_queue" "dead" {
  name                      = "${var.name}-dead"
  region                    = var.location
  message_retention_seconds = local.keep_seconds
  sqs_managed_sse_enabled   = true # EventBridge needs no permission on a key for it
  tags                      = var.labels
}

resource "aws_sqs_queue_policy" "dead" {
  queue_url = aws_sqs_queue.dead.url
  region    = var.location
  policy    = data.aws_iam_policy_document.dead.json
}

data "aws_iam_policy_document" "dead" {
  statement {
    sid       = "Rules"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.dead.arn]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [for rule in aws_cloudwatch_event_rule.marketplace : rule.arn]
    }
  }
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  count = local.pull ? 1 : 0

  queue_url = aws_sqs_queue.dead.url
  region    = var.location
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.events[0].arn]
  })
}

# By pull: a rule fills a queue, and the server empties it.

resource "aws_sqs_queue" "events" {
  count = local.pull ? 1 : 0

  name                       = "${var.name}-events"
  region                     = var.location
  message_retention_seconds  = local.keep_seconds
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = 120 # longer than the server takes for one message
  sqs_managed_sse_enabled    = true
  tags                       = var.labels

  # The server shows a message that it could not take again after a second, then two,
  # four, and so on up to ten minutes. A count that suits other readers would bury
  # events in a short outage; this one, the highest there is, lasts for a week.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 1000
  })
}

resource "aws_sqs_queue_policy" "events" {
  count = local.pull ? 1 : 0

  queue_url = aws_sqs_queue.events[0].url
  region    = var.location
  policy    = data.aws_iam_policy_document.events[0].json
}

# The server takes what lies in this queue for genuine: only the rule may write, and
# those in this account whom their own policies allow to.
data "aws_iam_policy_document" "events" {
  count = local.pull ? 1 : 0

  statement {
    sid       = "Rule"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.events[0].arn]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.marketplace["pull"].arn]
    }
  }
}

resource "aws_cloudwatch_event_target" "queue" {
  count = local.pull ? 1 : 0

  rule      = aws_cloudwatch_event_rule.marketplace["pull"].name
  region    = var.location
  target_id = "queue"
  arn       = aws_sqs_queue.events[0].arn

  dead_letter_config {
    arn = aws_sqs_queue.dead.arn
  }

  depends_on = [aws_sqs_queue_policy.events, aws_sqs_queue_policy.dead]
}

# By push: a rule calls the server. EventBridge signs nothing; the key in a header is
# the only proof that a call is genuine.

data "aws_secretsmanager_random_password" "event_key" {
  count = local.push ? 1 : 0

  region              = var.location
  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "event_key" {
  count = local.push ? 1 : 0

  name        = "${var.name}-event-key"
  description = "TAILMARKET_AWS_EVENT_KEY: proves that a call comes from the seller's EventBridge."
  region      = var.location
  tags        = var.labels
}

resource "aws_secretsmanager_secret_version" "event_key" {
  count = local.push ? 1 : 0

  secret_id     = aws_secretsmanager_secret.event_key[0].id
  region        = var.location
  secret_string = data.aws_secretsmanager_random_password.event_key[0].random_password

  lifecycle {
    ignore_changes = [secret_string] # another word comes with each reading; the first stays
  }
}

resource "aws_cloudwatch_event_connection" "server" {
  count = local.push ? 1 : 0

  name               = var.name
  description        = "How EventBridge proves itself to the server."
  region             = var.location
  authorization_type = "API_KEY"

  auth_parameters {
    api_key {
      key   = local.event_key_header
      value = aws_secretsmanager_secret_version.event_key[0].secret_string
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "server" {
  count = local.push ? 1 : 0

  name                             = var.name
  description                      = "The server's door for events."
  region                           = var.location
  connection_arn                   = aws_cloudwatch_event_connection.server[0].arn
  invocation_endpoint              = "${var.public_url}/aws/events"
  http_method                      = "POST"
  invocation_rate_limit_per_second = 20
}

resource "aws_cloudwatch_event_target" "server" {
  count = local.push ? 1 : 0

  rule      = aws_cloudwatch_event_rule.marketplace["push"].name
  region    = var.location
  target_id = "server"
  arn       = aws_cloudwatch_event_api_destination.server[0].arn
  role_arn  = aws_iam_role.caller[0].arn

  dead_letter_config {
    arn = aws_sqs_queue.dead.arn
  }

  retry_policy {
    maximum_event_age_in_seconds = 86400
    maximum_retry_attempts       = 185
  }

  depends_on = [aws_iam_role_policy.caller, aws_sqs_queue_policy.dead]
}

resource "aws_iam_role" "caller" {
  count = local.push ? 1 : 0

  name               = "${var.name}-caller"
  description        = "EventBridge, calling the server."
  assume_role_policy = data.aws_iam_policy_document.caller_trust[0].json
  tags               = var.labels
}

data "aws_iam_policy_document" "caller_trust" {
  count = local.push ? 1 : 0

  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.seller.account_id]
    }
  }
}

resource "aws_iam_role_policy" "caller" {
  count = local.push ? 1 : 0

  name   = "call-the-server"
  role   = aws_iam_role.caller[0].id
  policy = data.aws_iam_policy_document.caller[0].json
}

data "aws_iam_policy_document" "caller" {
  count = local.push ? 1 : 0

  statement {
    actions   = ["events:InvokeApiDestination"]
    resources = [aws_cloudwatch_event_api_destination.server[0].arn]
  }
}
