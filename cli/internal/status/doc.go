// Package status says in one screen how an installation is: Summarize makes a
// Report of its objects, and a Report writes itself as text, JSON or YAML.
package status
