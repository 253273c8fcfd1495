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
  description = "The seller at the marketplace: the partner id that Google assigned, usually the listing project's id. With null, only what Producer Portal asks for is made."
  default     = null
  validation {
    condition     = var.seller_id == null || can(regex("^[A-Za-z0-9][A-Za-z0-9._-]*$", var.seller_id))
    error_message = "Write the partner id that Google assigned."
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
  description = "How events come in: pull (a subscription that the server reads), push (a call to the server), or both while one replaces the other."
  default     = ["pull"]
  validation {
    condition     = length(var.delivery) > 0 && length(setsubtract(var.delivery, ["pull", "push"])) == 0
    error_message = "Write pull, push or both."
  }
}

variable "location" {
  type        = string
  description = "Where what is kept is kept: the region of dead letters."
  default     = "us-central1"
}

variable "workload" {
  type = object({
    issuer     = string
    subject    = string
    audience   = optional(string)
    token_file = optional(string, "/var/run/secrets/tailmarket/token")
  })
  description = "The server as its platform knows it (an OpenID Connect issuer and subject, such as a Kubernetes service account), so that it needs no key; null when there is none."
  default     = null
}

variable "trusted_principals" {
  type        = set(string)
  description = "Who else may act as the server, such as serviceAccount:… or user:…."
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
  description = "Who hears an alarm: names of notification channels, projects/…/notificationChannels/…."
  default     = []
}

variable "labels" {
  type        = map(string)
  description = "Put on everything that takes them."
  default     = {}
}
