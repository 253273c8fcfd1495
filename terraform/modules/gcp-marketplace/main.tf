# The marketplace's events, from Google's topic in Google's project to the server.

data "google_project" "this" {}

locals {
  ways     = var.seller_id == null ? toset([]) : var.delivery
  topic    = "projects/cloudcommerceproc-prod/topics/${coalesce(var.seller_id, "unknown")}"
  endpoint = "${var.public_url}/gcp/events"
  keep     = "${31 * 24 * 3600}s" # the longest a subscription keeps a message

  # Pub/Sub itself, when it forwards dead letters and signs pushes.
  agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_project_service" "needed" {
  for_each = toset([
    "cloudcommerceprocurement.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "servicecontrol.googleapis.com",
    "servicemanagement.googleapis.com",
    "sts.googleapis.com",
  ])

  service            = each.key
  disable_on_destroy = false # others in the project may need it too
}

# A subscription for each way in. Replacing one loses what waits in it.
resource "google_pubsub_subscription" "events" {
  for_each = local.ways
  provider = google.linked

  name    = "${var.name}-${each.key}"
  project = data.google_project.this.project_id
  topic   = local.topic
  labels  = var.labels

  ack_deadline_seconds       = 60 # a push must be answered within it, too
  message_retention_duration = local.keep

  expiration_policy {
    ttl = "" # never: a quiet month must not delete it
  }

  # Pulled messages that the server hands back wait like refused pushes. A hundred
  # tries, the most there are, then last for some 16 hours; a message only hints, and
  # the server's sweep reads what a dead letter was about.
  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead.id
    max_delivery_attempts = 100
  }

  dynamic "push_config" {
    for_each = each.key == "push" ? [local.endpoint] : []
    content {
      push_endpoint = push_config.value
      oidc_token {
        service_account_email = google_service_account.push.email
        audience              = push_config.value
      }
    }
  }

  depends_on = [
    google_project_iam_member.subscriber,
    google_service_account_iam_member.subscriber_acts_as_push,
    google_service_account_iam_member.agent_signs_pushes,
  ]
}

# What the server refused for too long. The topic alone would forget it.
resource "google_pubsub_topic" "dead" {
  name   = "${var.name}-dead"
  labels = var.labels

  message_storage_policy {
    allowed_persistence_regions = [var.location]
  }

  depends_on = [google_project_service.needed]
}

resource "google_pubsub_subscription" "dead" {
  name                       = "${var.name}-dead"
  topic                      = google_pubsub_topic.dead.id
  message_retention_duration = local.keep
  labels                     = var.labels

  expiration_policy {
    ttl = ""
  }
}

# Without these two, Pub/Sub keeps delivering what it should put aside.
resource "google_pubsub_topic_iam_member" "agent_writes_dead" {
  topic  = google_pubsub_topic.dead.name
  role   = "roles/pubsub.publisher"
  member = local.agent
}

resource "google_pubsub_subscription_iam_member" "agent_takes_events" {
  for_each = google_pubsub_subscription.events

  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.agent
}
