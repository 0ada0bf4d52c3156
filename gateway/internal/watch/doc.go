// Package watch is the gateway's loop: it watches the API, tells translation
// what has changed, gives the fleets' snapshots to the xDS server, and hands
// what is to be written to the tasks of the leader. One goroutine does all of
// it; events only queue the newest state of their object, so that however many
// there are, what is queued is translated once.
package watch
