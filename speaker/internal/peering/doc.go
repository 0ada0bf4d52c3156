// Package peering keeps the BGP sessions of a node. One goroutine owns the
// plan (speaker/bgp); each peer has a goroutine that connects, runs the state
// machine of the session (speaker/bgp/session) and writes. What the plan
// changes goes to the sessions as differences: a session that is up is not
// touched by anything but a change of its own parameters.
//
// Nothing listens: the speaker opens every connection, and a router that
// connects by itself is refused by the kernel.
package peering
