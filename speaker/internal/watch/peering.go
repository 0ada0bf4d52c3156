package watch

import (
	"iter"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
)

// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=bgppeers;bgpadvertisements;bfdprofiles;communities;bgpsessionstates,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=porchlight-system,resources=secrets,verbs=list;watch

// Peering is what the API says of BGP. Objects are kept as they were read: they
// are few.
type Peering struct {
	Peers          map[string]*Peer
	Advertisements map[string]*v1beta1.BGPAdvertisementSpec
	Profiles       map[string]*v1beta1.BFDProfileSpec
	Communities    map[string]*v1beta1.CommunitySpec
	// Passwords are the Secrets of type kubernetes.io/basic-auth.
	Passwords map[string]*Password
	// Sessions are by object.
	Sessions map[string]*Session
}

// Peer is a BGPPeer. One of the same name that comes after it has another UID.
type Peer struct {
	UID types.UID
	v1beta1.BGPPeerSpec
}

// Password is what a Secret has under the key password; empty where it has
// none.
type Password struct{ Value string }

func (Password) String() string { return "[redacted]" }

// Session says whether a node's session to a peer is up, and of one that is not,
// why. Where the node does not even try, it is Idle, and Error is the reason, a
// colon, and more words. PeerUID is empty where an earlier version wrote it.
type Session struct {
	Node, Peer string
	PeerUID    types.UID
	Up, Idle   bool
	Error      string
}

func newPeering() Peering {
	return Peering{
		Peers: map[string]*Peer{}, Advertisements: map[string]*v1beta1.BGPAdvertisementSpec{},
		Profiles: map[string]*v1beta1.BFDProfileSpec{}, Communities: map[string]*v1beta1.CommunitySpec{},
		Passwords: map[string]*Password{}, Sessions: map[string]*Session{},
	}
}

// peering follows a kind of which little is kept, by name.
func peering[O interface {
	runtime.Object
	metav1.Object
}, S any](w *Watch, api rest.Interface, resource string, object O, all map[string]*S, summarize func(O) *S) kind[O, *S] {
	set := func(name string, s *S) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if put(all, name, s, func(a, b *S) bool { return equality.Semantic.DeepEqual(a, b) }) {
			w.tell(Change{Peering: true})
		}
	}
	return kind[O, *S]{
		client: api, resource: resource, namespace: w.namespace, object: object,
		summarize: func(o O) (*S, bool) { return summarize(o), true },
		set:       func(n types.NamespacedName, s *S) { set(n.Name, s) },
		remove:    func(n types.NamespacedName) { set(n.Name, nil) },
		known:     func() iter.Seq[types.NamespacedName] { return named(w.namespace, maps.Keys(all)) },
	}
}

func (w *Watch) bgppeers(api rest.Interface) kind[*v1beta1.BGPPeer, *Peer] {
	return peering(w, api, "bgppeers", &v1beta1.BGPPeer{}, w.state.Peering.Peers, func(o *v1beta1.BGPPeer) *Peer {
		return &Peer{o.UID, o.Spec}
	})
}

func (w *Watch) bgpadvertisements(api rest.Interface) kind[*v1beta1.BGPAdvertisement, *v1beta1.BGPAdvertisementSpec] {
	return peering(w, api, "bgpadvertisements", &v1beta1.BGPAdvertisement{}, w.state.Peering.Advertisements, func(o *v1beta1.BGPAdvertisement) *v1beta1.BGPAdvertisementSpec {
		spec := o.Spec
		return &spec
	})
}

func (w *Watch) bfdprofiles(api rest.Interface) kind[*v1beta1.BFDProfile, *v1beta1.BFDProfileSpec] {
	return peering(w, api, "bfdprofiles", &v1beta1.BFDProfile{}, w.state.Peering.Profiles, func(o *v1beta1.BFDProfile) *v1beta1.BFDProfileSpec {
		spec := o.Spec
		return &spec
	})
}

func (w *Watch) communities(api rest.Interface) kind[*v1beta1.Community, *v1beta1.CommunitySpec] {
	return peering(w, api, "communities", &v1beta1.Community{}, w.state.Peering.Communities, func(o *v1beta1.Community) *v1beta1.CommunitySpec {
		spec := o.Spec
		return &spec
	})
}

func (w *Watch) passwords(api rest.Interface) kind[*corev1.Secret, *Password] {
	k := peering(w, api, "secrets", &corev1.Secret{}, w.state.Peering.Passwords, func(o *corev1.Secret) *Password {
		return &Password{string(o.Data[corev1.BasicAuthPasswordKey])}
	})
	k.fields = fields.OneTermEqualSelector("type", string(corev1.SecretTypeBasicAuth)).String()
	return k
}

func (w *Watch) sessions(api rest.Interface) kind[*v1beta1.BGPSessionState, *Session] {
	return peering(w, api, "bgpsessionstates", &v1beta1.BGPSessionState{}, w.state.Peering.Sessions, func(o *v1beta1.BGPSessionState) *Session {
		s := &Session{
			Node: o.Status.Node, Peer: o.Status.Peer, PeerUID: o.Status.PeerUID,
			Up: o.Status.State == v1beta1.SessionEstablished, Idle: o.Status.State == v1beta1.SessionIdle,
		}
		if !s.Up { // else it tells of an earlier one
			s.Error = o.Status.LastError
		}
		return s
	})
}
