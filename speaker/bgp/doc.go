// Package bgp plans what a node announces over BGP: from addresses,
// advertisements, peers, communities and the state of the nodes to the paths
// that each peer of this node shall have. A Planner takes events through Step;
// what is different afterwards comes out of Changes. It does no I/O, keeps no
// clock and takes no lock; the same state reached on any way gives the same
// paths.
//
// A change in one address touches the prefixes of that address and no others.
// An aggregate is announced as long as one address in it is to be.
//
// Each peer has paths of its own, since an advertisement may be for some peers
// only: what differs between two peers is never a matter of filtering.
package bgp
