variable "name" {
  type        = string
  description = "Begins the name of everything that is made."
  default     = "tailmarket"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}[a-z0-9]$", var.name))
    error_message = "Write 3 to 16 lower-case letters, digits and hyphens, a letter first and no hyphen last."
  }
}

variable "seller_id" {
  type        = string
  description = "The seller at the marketplace: the publisher id in Partner Center. With null, the server does not compare messages with it."
  default     = null
  validation {
    condition     = var.seller_id == null || can(regex("^[A-Za-z0-9_-]+$", var.seller_id))
    error_message = "Write the publisher id as Partner Center shows it."
  }
}

variable "public_url" {
  type        = string
  description = "Where buyers and the marketplace reach the server: TAILMARKET_PUBLIC_URL."
  validation {
    condition     = can(regex("^https://[^/?#]+$", var.public_url))
    error_message = "Write https and a host, without a path."
  }
}

variable "delivery" {
  type        = set(string)
  description = "How events come in: push (a call to the server). The Microsoft marketplace knows no other way."
  default     = ["push"]
  validation {
    condition     = length(var.delivery) == 1 && contains(var.delivery, "push")
    error_message = "The Microsoft marketplace calls a webhook and has no queue: write push."
  }
}

variable "location" {
  type        = string
  description = "Where what is kept is kept: the region of the vault and of the metrics."
  default     = "eastus"
}

variable "workload" {
  type = object({
    issuer     = string
    subject    = string
    audience   = optional(string)
    token_file = optional(string, "/var/run/secrets/tailmarket/token")
  })
  description = "The server as its platform knows it (an OpenID Connect issuer and subject, such as a Kubernetes service account), so that it needs no key; null when there is none, and the vault makes a certificate."
  default     = null
}

variable "trusted_principals" {
  type        = set(string)
  description = "Who else may act as the server: object ids of users, groups and managed identities, which may read its secrets in the vault."
  default     = []
}

variable "alarm_after_seconds" {
  type        = number
  description = "How long the oldest message may wait. An ended purchase leaves an hour for its last usage."
  default     = 900
  validation {
    condition     = var.alarm_after_seconds >= 60 && var.alarm_after_seconds <= 3600 && var.alarm_after_seconds % 60 == 0
    error_message = "Write whole minutes, at most an hour, in seconds."
  }
}

variable "alarm_targets" {
  type        = set(string)
  description = "Who hears an alarm: ids of action groups."
  default     = []
}

variable "labels" {
  type        = map(string)
  description = "Put on everything that takes them."
  default     = {}
}
