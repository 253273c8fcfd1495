# Three accounts, because they need different things: the server sells, the
# subscriber only ever makes the subscriptions, and push only signs them.

resource "google_service_account" "server" {
  account_id   = "${var.name}-server"
  display_name = "tailmarket: the server"
  description  = "Approves purchases and reports usage. Producer Portal links it; no role can replace that."
}

resource "google_service_account" "subscriber" {
  account_id   = "${var.name}-subscriber"
  display_name = "tailmarket: subscribes to the marketplace's topic"
  description  = "Producer Portal links it, and Terraform makes the subscriptions as it."
}

resource "google_service_account" "push" {
  account_id   = "${var.name}-push"
  display_name = "tailmarket: signs pushes"
  description  = "Who the server expects in the token of a push. It may do nothing."
}

# Exactly what the server does in this project; the rest comes with the portal's links.
resource "google_pubsub_subscription_iam_member" "server_pulls" {
  for_each = { for way, subscription in google_pubsub_subscription.events : way => subscription.name if way == "pull" }

  subscription = each.value
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.server.member
}

resource "google_project_iam_member" "subscriber" {
  project = data.google_project.this.project_id
  role    = "roles/pubsub.editor"
  member  = google_service_account.subscriber.member
}

resource "google_service_account_iam_member" "subscriber_acts_as_push" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.subscriber.member
}

resource "google_service_account_iam_member" "agent_signs_pushes" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.agent

  depends_on = [google_project_service.needed] # the agent comes with the service
}

resource "google_service_account_iam_member" "trusted" {
  for_each = var.trusted_principals

  service_account_id = google_service_account.server.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.key
}

# The server's platform vouches for it, so that no key of an account exists.

resource "google_iam_workload_identity_pool" "platform" {
  count = var.workload == null ? 0 : 1

  workload_identity_pool_id = "${var.name}-pool"
  display_name              = "tailmarket"
  description               = "Where the server runs."

  depends_on = [google_project_service.needed]
}

resource "google_iam_workload_identity_pool_provider" "platform" {
  count = var.workload == null ? 0 : 1

  workload_identity_pool_id          = google_iam_workload_identity_pool.platform[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "${var.name}-platform"
  display_name                       = "tailmarket"
  attribute_mapping                  = { "google.subject" = "assertion.sub" }
  attribute_condition                = "assertion.sub == '${var.workload.subject}'"

  oidc {
    issuer_uri        = var.workload.issuer
    allowed_audiences = compact([var.workload.audience]) # none means the provider's own name
  }
}

resource "google_service_account_iam_member" "workload" {
  count = var.workload == null ? 0 : 1

  service_account_id = google_service_account.server.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principal://iam.googleapis.com/${google_iam_workload_identity_pool.platform[0].name}/subject/${var.workload.subject}"
}
