// Package config owns the settings: their names, their defaults, and the one
// check that lists every problem at once.
//
// A setting is a field of Config. Its names follow mechanically from the
// field's path: AWS.QueueURL is TAILMARKET_AWS_QUEUE_URL in the environment
// and aws.queue_url in the optional YAML file. The environment wins over the
// file, the file over the default; with none set, the program starts.
//
// A secret never stands in the file. It comes from the environment (NAME),
// from a file that NAME_FILE points to, or from the variable that NAME_ENV
// names; it is read once, and every way of printing it is masked.
//
// What settings mean is left to others: internal/app turns them into adapters,
// drivers and listeners.
//
// The invariant that would cost money: a misspelt or half-filled setting stops
// the start. A seller whose account or key was ignored in silence would grant
// paid networks and bill nobody.
package config
