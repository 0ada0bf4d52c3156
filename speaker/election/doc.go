// Package election decides which node answers for each address on the layer 2
// segments of a cluster. It is the core of the speaker: an Election is the
// state machine of one node, events go in through Step, and what is to be done
// comes out of Ready. It does no I/O, keeps no clock and takes no lock.
//
// Owners are recorded as claims. A Claim is a register of one address that only
// grows: Merge keeps the one that Beats the other, so that all nodes that have
// seen the same claims, in any order and any number of times, agree. A claim is
// superseded by one with a higher term, which whoever takes the address writes.
// What nodes tell each other is claims and, per node, its NodeState, which that
// node alone writes.
//
// A claim stands while the run of the speaker lasts that wrote it, and a run is a
// number that a node's starts count up. What comes late from a run that ended
// changes nothing, and a speaker that restarted before anybody missed it is
// the first to take its addresses again. Numbers come from a clock; where that
// went back, the node learns of its higher number from the others and goes
// beyond it.
//
// The properties that the package keeps; invariants_test.go states each exactly,
// with its settle time, and TestSimulation checks them at every step:
//
//  1. After membership is quiet for the settle time, every announceable address
//     has exactly one owner in each segment. The node that ranks first for an
//     orphan claims it at once; the others do one after the other, so that a
//     difference between their views delays an owner but never prevents one.
//  2. Two owners that can hear each other's announcements resolve it within 2 s,
//     gossip or none (fence.go).
//  3. Ownership is sticky. A claim stands while its holder lives and is
//     eligible. A node that takes part again after a cut yields to those who
//     took over from it, and those whom it believed dead keep theirs. Nodes that
//     differ about who is eligible do not take it from each other for ever.
//  4. Load is bounded: no node owns more than 1.25 × the mean, rounded up, plus
//     one (place.go, move.go), as far as its addresses may be elsewhere.
//  5. A planned move is make-before-break: the holder answers until it sees the
//     claim of its successor, and a successor announces before it tells.
//  6. Services that share an address have one owner: claims are per address, and
//     only a node that may announce it for all of them is eligible.
//  7. Explain says of every node that was not chosen why.
//  8. A node does not answer for an address that its service proxy does not know.
//     One that is new to all proxies has an owner at once, as any other; one that
//     others may know is not taken.
package election
