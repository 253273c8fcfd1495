variable "public_url" {
  type        = string
  description = "Where buyers and marketplaces reach the server."
}

variable "workload" {
  type = object({
    issuer   = string
    subject  = string
    audience = string
  })
  description = "The server as its platform knows it; one token serves all three clouds."
}

variable "aws_seller_account" {
  type        = string
  description = "The account that published the listings on AWS Marketplace."
}

variable "aws_alarm_topics" {
  type        = set(string)
  description = "SNS topics that hear alarms, in us-east-1."
  default     = []
}
