output "settings" {
  description = "Settings of the server, for its environment. None is a secret."
  value = merge(
    {
      TAILMARKET_PUBLIC_URL         = var.public_url
      TAILMARKET_AWS_REGION         = var.location
      TAILMARKET_AWS_SELLER_ACCOUNT = data.aws_caller_identity.seller.account_id
    },
    { for queue in aws_sqs_queue.events : "TAILMARKET_AWS_QUEUE_URL" => queue.url },
    local.push ? { TAILMARKET_AWS_EVENT_KEY_HEADER = local.event_key_header } : {},
    var.workload == null ? {} : {
      AWS_ROLE_ARN                = aws_iam_role.server.arn
      AWS_WEB_IDENTITY_TOKEN_FILE = var.workload.token_file
    },
  )
}

output "secrets" {
  description = "Settings that are secret, and where each is kept: ARNs in Secrets Manager."
  value       = { for secret in aws_secretsmanager_secret.event_key : "TAILMARKET_AWS_EVENT_KEY" => secret.arn }
}

output "files" {
  description = "Settings that are paths, and what the file there holds. None is a secret."
  value       = {}
}

output "portal" {
  description = "What a person copies into AWS Marketplace Management Portal; the README says where."
  value = {
    "Fulfillment URL" = "${var.public_url}/aws/register"
  }
}

output "identity" {
  description = "As whom the server acts: the role in the seller's account."
  value       = aws_iam_role.server.arn
}

output "dead_letters" {
  description = "Where messages lie that could not be delivered; null where the marketplace keeps them itself."
  value       = aws_sqs_queue.dead.url
}

output "alarms" {
  description = "The alarms that were made, by what each is about."
  value = merge(
    { "dead letters" = aws_cloudwatch_metric_alarm.dead.arn },
    { for alarm in aws_cloudwatch_metric_alarm.oldest : "oldest waiting message, pull" => alarm.arn },
    { for alarm in aws_cloudwatch_metric_alarm.refused : "oldest refused message, pull" => alarm.arn },
    { for alarm in aws_cloudwatch_metric_alarm.retried : "oldest waiting message, push" => alarm.arn },
    { for key, alarm in aws_cloudwatch_metric_alarm.lost : "lost message, ${key}" => alarm.arn },
  )
}
