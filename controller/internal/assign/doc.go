// Package assign puts the decisions of the allocator into effect: it tells the
// core what the API server says, and the API server what the core decides.
//
// A [Term] is one time of leading. It begins with a fresh, consistent read of
// pools, namespaces and Services, has the core adopt every recorded address,
// and then follows the watches. One goroutine owns the core and what is known
// of each Service (owner.go); reflectors post to it (watch.go), and writers
// carry out what it wants (writer.go). Nothing survives a term: the API is the
// only memory.
//
// While it is in doubt whether this replica still leads, nothing is written:
// what is due waits, and is made at once when the doubt is over. That may take
// as long as it likes. Nobody else wrote meanwhile, or the term would have
// ended, and what users did is told by the watches, which read everything anew
// where they were away for too long.
//
// A write is one patch of our own fields, conditional on the version of the
// Service that it was decided for. A former leader that is late therefore
// changes nothing that its successor has written.
//
// +kubebuilder:rbac:groups="",resources=services;namespaces,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=services/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=ipaddresspools,verbs=list;watch
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=ipaddresspools/status,verbs=patch
package assign
