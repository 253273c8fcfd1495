output "settings" {
  description = "The server's environment."
  value       = merge(module.aws.settings)
}
