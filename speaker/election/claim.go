package election

import (
	"cmp"
	"net/netip"
)

// Phase is what the holder of a claim does about it. The order of the values
// is part of the order of claims.
type Phase uint8

const (
	// Released: nobody answers; the holder gave the address up.
	Released Phase = iota
	// Deferred: the holder heard another host answer on the segment, does not
	// answer itself, and watches whether that host goes on.
	Deferred
	// Offered: the holder answers, and asks To to take the address.
	Offered
	// Held: the holder answers.
	Held
)

// Cause is why a claim was written. It is a metric label.
type Cause string

// Causes of a claim.
const (
	// CauseNew: the address had no holder before.
	CauseNew Cause = "New"
	// CauseDied: the holder is not a live member.
	CauseDied Cause = "OwnerDied"
	// CauseIneligible: the holder may not announce any more, or drains.
	CauseIneligible Cause = "OwnerIneligible"
	// CauseReleased: the holder gave the address up.
	CauseReleased Cause = "Released"
	// CauseRebalance: the holder had more than its share.
	CauseRebalance Cause = "Rebalance"
	// CauseFailback: the advertisement asks for the preferred node.
	CauseFailback Cause = "Failback"
	// CauseReassert: the holder was taken for dead by a part of the cluster
	// that was cut off from it, and no larger than its own.
	CauseReassert Cause = "Reassert"
	// CauseFenced: two nodes answered, and this claim says who stopped.
	CauseFenced Cause = "Fenced"
	// CauseRestart: the speaker restarted before anybody missed it.
	CauseRestart Cause = "Restart"
)

// Causes are all causes, in the order of the wire: an index is a byte there.
var Causes = [...]Cause{CauseNew, CauseDied, CauseIneligible, CauseReleased, CauseRebalance, CauseFailback, CauseReassert, CauseFenced, CauseRestart}

// Claim says who holds an address.
type Claim struct {
	Address netip.Addr
	// Term counts the claims of an address, from 1.
	Term uint64
	// Node is the holder, in the run that wrote the claim. A claim of an earlier
	// run than the node's present one is void: nobody answers because of it,
	// however late it comes.
	Node string
	Run  uint64
	// Phase is what the holder does.
	Phase Phase
	// To is the node that an Offered claim asks to take over.
	To string
	// Weight is how many live members the holder saw when it wrote the claim.
	Weight int
	Cause  Cause
}

// Beats is the order of the claims of one address. It is total on differing
// claims, hence Merge is commutative, associative and idempotent.
func (c Claim) Beats(o Claim) bool {
	return cmp.Or(
		cmp.Compare(c.Term, o.Term),
		compareBool(c.Phase != Released, o.Phase != Released),
		cmp.Compare(c.Weight, o.Weight),
		cmp.Compare(o.Node, c.Node),
		cmp.Compare(c.Run, o.Run),
		cmp.Compare(c.Phase, o.Phase),
		cmp.Compare(c.To, o.To),
		cmp.Compare(c.Cause, o.Cause),
	) > 0
}

// Merge returns the claim that stands.
func Merge(a, b Claim) Claim {
	if b.Beats(a) {
		return b
	}
	return a
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
