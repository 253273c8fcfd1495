# How the server proves that it is the apps: its platform vouches for it, or else the
# vault makes a certificate whose key never passes through Terraform.

resource "azuread_application_federated_identity_credential" "workload" {
  for_each = var.workload == null ? {} : local.apps

  application_id = each.value
  display_name   = "${var.name}-workload"
  description    = "Where the server runs."
  issuer         = var.workload.issuer
  subject        = var.workload.subject
  audiences      = [coalesce(var.workload.audience, "api://AzureADTokenExchange")]
}

resource "azurerm_key_vault_certificate" "app" {
  for_each = var.workload == null ? local.apps : {}

  name         = "${var.name}-${each.key}"
  key_vault_id = azurerm_key_vault.this.id
  tags         = var.labels

  certificate_policy {
    issuer_parameters {
      name = "Self"
    }
    key_properties {
      key_type   = "RSA"
      key_size   = 3072
      exportable = true
      reuse_key  = false
    }
    secret_properties {
      content_type = "application/x-pem-file" # what TAILMARKET_AZURE_CERTIFICATE_FILE and …_SIGN_IN_… hold
    }
    x509_certificate_properties {
      subject            = "CN=${var.name}-${each.key}"
      validity_in_months = 12
      key_usage          = ["digitalSignature"]
      extended_key_usage = ["1.3.6.1.5.5.7.3.2"] # client authentication
    }
    # An expired certificate stops fulfilment and metering alike. A new version must be
    # put into the app by a person's apply, so the vault writes to its contacts.
    lifetime_action {
      action {
        action_type = "EmailContacts"
      }
      trigger {
        days_before_expiry = 30
      }
    }
  }

  depends_on = [azurerm_role_assignment.maker]
}

resource "azuread_application_certificate" "app" {
  for_each = azurerm_key_vault_certificate.app

  application_id = local.apps[each.key]
  type           = "AsymmetricX509Cert"
  encoding       = "hex"
  value          = each.value.certificate_data
  start_date     = each.value.certificate_attribute[0].not_before
  end_date       = each.value.certificate_attribute[0].expires

  lifecycle {
    create_before_destroy = true # the old one serves until the new one does
  }
}

resource "azurerm_role_assignment" "maker" {
  scope                = azurerm_key_vault.this.id
  role_definition_name = "Key Vault Certificates Officer"
  principal_id         = data.azurerm_client_config.this.object_id
}

resource "azurerm_role_assignment" "reader" {
  for_each = var.trusted_principals

  scope                = azurerm_key_vault.this.id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = each.key
}
