// Package status says in one screen how an installation is: Collect reads the
// objects, Summarize makes a Report of them, and a Report writes itself as text
// or JSON. Only Collect talks to the API server.
package status
