# What the Microsoft marketplace knows the seller by: two app registrations, each with
# its service principal, and a vault. There is no queue to make: Microsoft calls the
# server, and repeats a call that was not answered for eight hours.

data "azurerm_client_config" "this" {}

data "azuread_client_config" "this" {}

locals {
  graph_id  = "00000003-0000-0000-c000-000000000000"
  user_read = "e1fe6dd8-ba31-4d61-89e7-88639da4683d"

  apps = {
    server  = azuread_application.server.id
    sign-in = azuread_application.sign_in.id
  }

  # Put on by names alone there.
  tags = [for key, value in var.labels : "${key}:${value}"]
}

# The app in the offers' technical configuration: it calls the fulfilment and metering
# APIs, and is the audience of the tokens that the webhook checks. A publisher uses one
# for all offers.
resource "azuread_application" "server" {
  display_name     = "${var.name} server"
  sign_in_audience = "AzureADMyOrg"
  owners           = [data.azuread_client_config.this.object_id]
  tags             = local.tags

  api {
    requested_access_token_version = 2 # of the webhook's tokens; unset, it is 1 until somebody clicks
  }
}

# Tokens of an app without one break policy 1000.4, and Microsoft refuses them.
resource "azuread_service_principal" "server" {
  client_id                    = azuread_application.server.client_id
  app_role_assignment_required = false
  owners                       = [data.azuread_client_config.this.object_id]
}

# The app by which buyers sign in on the landing page: work, school and personal
# accounts, and nothing that an administrator would have to consent to.
resource "azuread_application" "sign_in" {
  display_name     = "${var.name} sign-in"
  sign_in_audience = "AzureADandPersonalMicrosoftAccount"
  owners           = [data.azuread_client_config.this.object_id]
  tags             = local.tags

  api {
    requested_access_token_version = 2 # that audience takes no other
  }

  web {
    homepage_url  = var.public_url
    redirect_uris = ["${var.public_url}/azure/signed-in"]
  }

  required_resource_access {
    resource_app_id = local.graph_id
    resource_access {
      id   = local.user_read
      type = "Scope"
    }
  }
}

resource "azuread_service_principal" "sign_in" {
  client_id                    = azuread_application.sign_in.client_id
  app_role_assignment_required = false
  owners                       = [data.azuread_client_config.this.object_id]
}

resource "azurerm_resource_group" "this" {
  name     = "${var.name}-marketplace"
  location = var.location
  tags     = var.labels
}

resource "azurerm_key_vault" "this" {
  name                       = "${var.name}-${substr(sha256(data.azurerm_client_config.this.subscription_id), 0, 6)}" # unique in the world
  resource_group_name        = azurerm_resource_group.this.name
  location                   = var.location
  tenant_id                  = data.azurerm_client_config.this.tenant_id
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  purge_protection_enabled   = true
  soft_delete_retention_days = 90
  tags                       = var.labels
}
