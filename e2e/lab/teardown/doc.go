// Package teardown tests, on the real machine, that a lab comes up, goes down
// and leaves nothing, also when its builder is killed half-way. Its tests have
// the build tag e2e and need root.
package teardown
