variable "public_url" {
  type        = string
  description = "Where buyers and marketplaces reach the server, such as https://sell.example.com."
}

variable "workload_issuer" {
  type        = string
  description = "Who vouches for the server: the OpenID Connect issuer of the platform it runs on."
}

variable "workload_subject" {
  type        = string
  description = "The server as its platform names it, such as system:serviceaccount:tailmarket:server."
}

variable "aws_seller_account" {
  type        = string
  description = "The account that published the listings on AWS Marketplace."
}

variable "aws_alarm_topics" {
  type        = set(string)
  description = "SNS topics in us-east-1 that hear alarms."
  default     = []
}

variable "gcp_project" {
  type        = string
  description = "The project in which the server's accounts and subscriptions are made."
}

variable "gcp_partner" {
  type        = string
  description = "The partner id that Google assigned; null until Producer Portal has linked the accounts."
  default     = null
}

variable "gcp_alarm_channels" {
  type        = set(string)
  description = "Notification channels that hear alarms."
  default     = []
}

variable "azure_tenant" {
  type        = string
  description = "The publisher's directory."
}

variable "azure_subscription" {
  type        = string
  description = "The Azure subscription that pays for the vault and the metrics."
}

variable "azure_publisher" {
  type        = string
  description = "The publisher id in Partner Center."
  default     = null
}

variable "azure_alarm_groups" {
  type        = set(string)
  description = "Action groups that hear alarms."
  default     = []
}
