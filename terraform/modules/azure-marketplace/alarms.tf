# What waits, waits at Microsoft, which tells nobody its age: it calls about once a
# minute while the answer is an error, and gives up after eight hours ("Implement a
# webhook on the SaaS service", 2022). So the server's own metrics alarm: errors that do
# not stop, and a server that is not there to count them.

locals {
  duration = "PT${var.alarm_after_seconds / 60}M"
}

resource "azurerm_monitor_workspace" "metrics" {
  name                = var.name
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = var.labels
}

resource "azurerm_monitor_alert_prometheus_rule_group" "waiting" {
  name                = "${var.name}-waiting"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  description         = "Messages of the Microsoft marketplace that wait."
  scopes              = [azurerm_monitor_workspace.metrics.id]
  rule_group_enabled  = true
  interval            = "PT1M"
  tags                = var.labels

  rule {
    alert      = "${var.name}-oldest-waiting"
    expression = "sum(increase(tailmarket_webhook_answers_total{marketplace=\"azure\", status=~\"5..\"}[5m])) > 0"
    for        = local.duration
    severity   = 1
    annotations = {
      summary = "A message of the Microsoft marketplace is refused again and again. After eight hours its operation fails."
    }
    dynamic "action" {
      for_each = var.alarm_targets
      content {
        action_group_id = action.value
      }
    }
    alert_resolution {
      auto_resolved   = true
      time_to_resolve = "PT10M"
    }
  }

  rule {
    alert      = "${var.name}-nobody-answers"
    expression = "absent(tailmarket_build_info)"
    for        = local.duration
    severity   = 0
    annotations = {
      summary = "No server sends its metrics. If none answers either, every message waits at Microsoft."
    }
    dynamic "action" {
      for_each = var.alarm_targets
      content {
        action_group_id = action.value
      }
    }
    alert_resolution {
      auto_resolved   = true
      time_to_resolve = "PT10M"
    }
  }
}
