// Package watch is the gateway's loop: it watches the API, translates what it
// sees whenever something has changed, gives the fleets' snapshots to the xDS
// server, and hands what is to be written to the tasks of the leader. One
// goroutine does all of it; events only leave a mark of what they touched, so
// that however many there are, what is queued is translated once.
package watch
