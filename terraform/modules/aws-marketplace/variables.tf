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
  description = "The seller at the marketplace: the 12-digit account that published the listings. With null, whichever account the credentials are of."
  default     = null
  validation {
    condition     = var.seller_id == null || can(regex("^[0-9]{12}$", var.seller_id))
    error_message = "Write the seller's 12-digit AWS account id."
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
  description = "How events come in: pull (a queue that the server reads), push (a call to the server), or both while one replaces the other."
  default     = ["pull"]
  validation {
    condition     = length(var.delivery) > 0 && length(setsubtract(var.delivery, ["pull", "push"])) == 0
    error_message = "Write pull, push or both."
  }
}

variable "location" {
  type        = string
  description = "Where what is kept is kept. AWS Marketplace sends events in one region only."
  default     = "us-east-1"
  validation {
    condition     = var.location == "us-east-1"
    error_message = "AWS Marketplace sends its events in us-east-1 and nowhere else."
  }
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
  description = "Who else may act as the server: ARNs of roles, also of other accounts. They name the external id, which is var.name."
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
  description = "Who hears an alarm: ARNs of SNS topics in us-east-1."
  default     = []
}

variable "labels" {
  type        = map(string)
  description = "Put on everything that takes them."
  default     = {}
}
