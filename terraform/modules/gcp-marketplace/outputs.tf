output "settings" {
  description = "Settings of the server, for its environment. None is a secret."
  value = merge(
    {
      TAILMARKET_PUBLIC_URL   = var.public_url
      TAILMARKET_GCP_AUDIENCE = trimprefix(var.public_url, "https://")
    },
    var.seller_id == null ? {} : { TAILMARKET_GCP_PROVIDER = var.seller_id },
    { for way, subscription in google_pubsub_subscription.events : "TAILMARKET_GCP_PULL_SUBSCRIPTION" => subscription.id if way == "pull" },
    { for way, subscription in google_pubsub_subscription.events : "TAILMARKET_GCP_PUSH_SUBSCRIPTION" => subscription.id if way == "push" },
    contains(local.ways, "push") ? {
      TAILMARKET_GCP_PUSH_AUDIENCE = local.endpoint
      TAILMARKET_GCP_PUSH_ACCOUNT  = google_service_account.push.email
    } : {},
  )
}

output "secrets" {
  description = "Settings that are secret, and where each is kept. Google needs none: accounts are linked and federated."
  value       = {}
}

output "files" {
  description = "Settings that are paths, and what the file there holds. None is a secret."
  value = { for provider in google_iam_workload_identity_pool_provider.platform : "TAILMARKET_GCP_CREDENTIALS_FILE" => jsonencode({
    type                              = "external_account"
    audience                          = "//iam.googleapis.com/${provider.name}"
    subject_token_type                = "urn:ietf:params:oauth:token-type:jwt"
    token_url                         = "https://sts.googleapis.com/v1/token"
    service_account_impersonation_url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/${google_service_account.server.email}:generateAccessToken"
    credential_source                 = { file = var.workload.token_file }
  }) }
}

output "portal" {
  description = "What a person copies into Producer Portal; the README says where."
  value = {
    "Sign up URL"                                              = "${var.public_url}/gcp/register"
    "Login URL"                                                = "${var.public_url}/gcp/register"
    "Link a service account to call the Procurement API"       = google_service_account.server.email
    "Link a service account to subscribe to the Pub/Sub topic" = google_service_account.subscriber.email
    "Service account with the role Service Controller"         = google_service_account.server.email
  }
}

output "identity" {
  description = "As whom the server acts: the linked service account."
  value       = google_service_account.server.email
}

output "dead_letters" {
  description = "Where messages lie that could not be delivered; null where the marketplace keeps them itself."
  value       = google_pubsub_subscription.dead.id
}

output "alarms" {
  description = "The alarms that were made, by what each is about."
  value = merge(
    { "dead letters" = google_monitoring_alert_policy.dead.name },
    { for way, alarm in google_monitoring_alert_policy.oldest : "oldest waiting message, ${way}" => alarm.name },
  )
}
