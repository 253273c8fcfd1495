# Age is what alarms: a queue may be long and healthy, or short and stuck.

locals {
  minutes = var.alarm_after_seconds / 60
}

resource "aws_cloudwatch_metric_alarm" "oldest" {
  count = local.pull ? 1 : 0

  alarm_name          = "${var.name}-oldest-waiting"
  alarm_description   = "A marketplace event has waited ${local.minutes} minutes. Is the server up, and may it read the queue?"
  region              = var.location
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.events[0].name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = var.alarm_after_seconds
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching" # an idle queue tells nothing
  alarm_actions       = var.alarm_targets
  ok_actions          = var.alarm_targets
  tags                = var.labels
}

# SQS leaves a message that was received three times out of that age ("Available
# CloudWatch metrics for Amazon SQS", 2026). What the server refuses shows by being
# received, minute after minute, more often than it is deleted.
resource "aws_cloudwatch_metric_alarm" "refused" {
  count = local.pull ? 1 : 0

  alarm_name          = "${var.name}-oldest-refused"
  alarm_description   = "The server has received a marketplace event for ${local.minutes} minutes and cannot take it. Its log says why."
  region              = var.location
  evaluation_periods  = local.minutes
  threshold           = 3
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_targets
  ok_actions          = var.alarm_targets
  tags                = var.labels

  metric_query {
    id          = "refused"
    label       = "received and not deleted"
    expression  = "FILL(received, 0) - FILL(deleted, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { received = "NumberOfMessagesReceived", deleted = "NumberOfMessagesDeleted" }
    content {
      id = metric_query.key
      metric {
        namespace   = "AWS/SQS"
        metric_name = metric_query.value
        dimensions  = { QueueName = aws_sqs_queue.events[0].name }
        stat        = "Sum"
        period      = 60
      }
    }
  }
}

# EventBridge tells no age of what it holds back itself; that it tries again and
# again is the sign of it.
resource "aws_cloudwatch_metric_alarm" "retried" {
  count = local.push ? 1 : 0

  alarm_name          = "${var.name}-oldest-retried"
  alarm_description   = "EventBridge has called the server again and again for ${local.minutes} minutes. Is it up, and does it know the event key?"
  region              = var.location
  namespace           = "AWS/Events"
  metric_name         = "RetryInvocationAttempts"
  dimensions          = { RuleName = aws_cloudwatch_event_rule.marketplace["push"].name }
  statistic           = "Sum"
  period              = var.alarm_after_seconds
  evaluation_periods  = 1
  threshold           = 2
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_targets
  ok_actions          = var.alarm_targets
  tags                = var.labels
}

resource "aws_cloudwatch_metric_alarm" "dead" {
  alarm_name          = "${var.name}-dead-letters"
  alarm_description   = "Marketplace events lie where nobody reads them. Mend the cause, then start the dead-letter queue's redrive."
  region              = var.location
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_targets
  ok_actions          = var.alarm_targets
  tags                = var.labels
}

resource "aws_cloudwatch_metric_alarm" "lost" {
  for_each = aws_cloudwatch_event_rule.marketplace

  alarm_name          = "${each.value.name}-lost"
  alarm_description   = "EventBridge could not even keep an event as a dead letter: it is gone. The server's sweep of agreements finds what it was about."
  region              = var.location
  namespace           = "AWS/Events"
  metric_name         = "InvocationsFailedToBeSentToDlq"
  dimensions          = { RuleName = each.value.name }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_targets
  tags                = var.labels
}
