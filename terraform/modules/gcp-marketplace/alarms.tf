# Age is what alarms: a subscription may hold much and be healthy, or little and be stuck.

locals {
  minutes = var.alarm_after_seconds / 60
}

resource "google_monitoring_alert_policy" "oldest" {
  for_each = google_pubsub_subscription.events

  display_name          = "${each.value.name}: oldest waiting message"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = var.alarm_targets
  user_labels           = var.labels

  conditions {
    display_name = "A message has waited ${local.minutes} minutes"
    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"pubsub_subscription\"",
        "resource.labels.subscription_id = \"${each.value.name}\"",
        "metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = var.alarm_after_seconds
      duration        = "0s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "A marketplace event waits. Is the server up, and does it take ${each.key == "push" ? "pushes at ${local.endpoint}" : "messages from this subscription"}?"
  }

  depends_on = [google_project_service.needed]
}

resource "google_monitoring_alert_policy" "dead" {
  display_name          = "${google_pubsub_subscription.dead.name}: dead letters"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = var.alarm_targets
  user_labels           = var.labels

  conditions {
    display_name = "A message lies where nobody reads it"
    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"pubsub_subscription\"",
        "resource.labels.subscription_id = \"${google_pubsub_subscription.dead.name}\"",
        "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The server refused an event a hundred times. Mend the cause; its sweep of entitlements finds what the event was about; then acknowledge the letter."
  }

  depends_on = [google_project_service.needed]
}
