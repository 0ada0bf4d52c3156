// Package version says which build this is.
package version

// Version is the release, or the git description of the tree it was built
// from; the build stamps it.
var Version = "devel"
