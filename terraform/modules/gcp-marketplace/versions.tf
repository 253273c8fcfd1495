terraform {
  required_version = ">= 1.9"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
      # Google lets only the account that Producer Portal linked subscribe to its topic.
      configuration_aliases = [google.linked]
    }
  }
}
