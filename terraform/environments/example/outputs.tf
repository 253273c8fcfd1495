output "settings" {
  description = "The server's environment."
  value       = merge(module.aws.settings, module.gcp.settings, module.azure.settings)
}

output "secrets" {
  description = "The secret part of the server's environment, by where each secret is kept."
  value       = merge(module.aws.secrets, module.gcp.secrets, module.azure.secrets)
}

output "files" {
  description = "Files that the server reads, by the setting that holds their path."
  value       = merge(module.aws.files, module.gcp.files, module.azure.files)
}

output "portal" {
  description = "What to copy into each vendor's portal."
  value       = { aws = module.aws.portal, gcp = module.gcp.portal, azure = module.azure.portal }
}

output "identity" {
  description = "As whom the server acts at each cloud."
  value       = { aws = module.aws.identity, gcp = module.gcp.identity, azure = module.azure.identity }
}

output "dead_letters" {
  description = "Where undeliverable messages lie."
  value       = { aws = module.aws.dead_letters, gcp = module.gcp.dead_letters }
}

output "alarms" {
  description = "The alarms of each cloud."
  value       = { aws = module.aws.alarms, gcp = module.gcp.alarms, azure = module.azure.alarms }
}
