output "settings" {
  description = "Settings of the server, for its environment. None is a secret."
  value = merge(
    {
      TAILMARKET_PUBLIC_URL              = var.public_url
      TAILMARKET_AZURE_TENANT_ID         = data.azurerm_client_config.this.tenant_id
      TAILMARKET_AZURE_CLIENT_ID         = azuread_application.server.client_id
      TAILMARKET_AZURE_SIGN_IN_CLIENT_ID = azuread_application.sign_in.client_id
    },
    var.seller_id == null ? {} : { TAILMARKET_AZURE_PUBLISHER_ID = var.seller_id },
    var.workload == null ? {} : { TAILMARKET_AZURE_FEDERATED_TOKEN_FILE = var.workload.token_file },
  )
}

output "secrets" {
  description = "Settings that are secret, and where each is kept: secrets in the vault. These are mounted as files, and the settings are their paths."
  value = {
    for app, certificate in azurerm_key_vault_certificate.app :
    app == "server" ? "TAILMARKET_AZURE_CERTIFICATE_FILE" : "TAILMARKET_AZURE_SIGN_IN_CERTIFICATE_FILE" => certificate.versionless_secret_id
  }
}

output "files" {
  description = "Settings that are paths, and what the file there holds. None is a secret."
  value       = {}
}

output "portal" {
  description = "What a person copies into Partner Center; the README says where."
  value = {
    "Landing page URL"                        = "${var.public_url}/azure/register"
    "Connection webhook"                      = "${var.public_url}/azure/events"
    "Microsoft Entra tenant ID"               = data.azurerm_client_config.this.tenant_id
    "Microsoft Entra identity application ID" = azuread_application.server.client_id
  }
}

output "identity" {
  description = "As whom the server acts: the app in the offers' technical configuration."
  value       = azuread_application.server.client_id
}

output "dead_letters" {
  description = "Where messages lie that could not be delivered; null where the marketplace keeps them itself."
  value       = null
}

output "alarms" {
  description = "The alarms that were made, by what each is about."
  value = {
    "oldest waiting message, push" = azurerm_monitor_alert_prometheus_rule_group.waiting.id
    "nobody answers"               = azurerm_monitor_alert_prometheus_rule_group.waiting.id
  }
}
