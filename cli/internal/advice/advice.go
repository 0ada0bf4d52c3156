// Package advice says what to do about each reason: one sentence, in one place,
// for every report of the command.
package advice

import "github.com/porchlight-lb/porchlight/internal/reason"

// For returns what a person may do about the reason: a sentence that names no
// object, since whoever prints it does. It is empty for a reason that is not
// known, and for those that tell of no trouble.
func For(r reason.Reason) string {
	if s, ok := ours[r]; ok {
		return s
	}
	return gatewayAPI[r]
}

// ours has every reason of package reason. Those that tell of no trouble have
// no sentence.
var ours = map[reason.Reason]string{
	reason.Allocated: "",
	reason.Announced: "",
	reason.Ready:     "",
	reason.Available: "",

	reason.NoPool:               "Create an IPAddressPool with autoAssign that admits the Service's namespace and labels, or name a pool in the annotation porchlight.dev/address-pool.",
	reason.PoolNotFound:         "Create the IPAddressPool in the installation's namespace, or correct the name that refers to it.",
	reason.PoolExhausted:        "Add addresses to the pool, or delete Services that no longer need theirs; who waits is served at once, oldest first.",
	reason.PoolDraining:         "Take drain off the pool, or have the Service ask for another one.",
	reason.AddressNotInPool:     "Ask for an address that a pool has and does not exclude, or add the address to a pool.",
	reason.AddressInUse:         "Ask for another address, or give both Services one porchlight.dev/allow-shared-ip key and ports of their own.",
	reason.SharingRefused:       "Give the Services that share an address the same key, different ports and, with externalTrafficPolicy Local, the same selector.",
	reason.FamilyUnavailable:    "Add addresses of the missing family to a pool that admits the Service, or change its ipFamilyPolicy.",
	reason.NamespaceNotAdmitted: "Add the namespace to the pool's serviceAllocation, or use a pool that admits it.",
	reason.InvalidRequest:       "Correct the addresses that the Service asks for: the annotation porchlight.dev/loadBalancerIPs and spec.loadBalancerIP must be IP addresses of its families, and agree.",

	reason.Overlap:          "Take the shared addresses out of one of the two pools; the older one keeps working until then.",
	reason.InvalidAddresses: "Write the addresses as CIDR prefixes or ranges, each once, and leave some that are not excluded.",
	reason.InvalidSelector:  "Correct the label selector: In and NotIn need values, Exists and DoesNotExist take none.",
	reason.Exhausted:        "Add addresses to the pool before the next Service asks for one.",

	reason.NoAdvertisement:  "Create an L2Advertisement or a BGPAdvertisement that selects the pool and the Service.",
	reason.NoEligibleNode:   "Make one node fit: ready, with a speaker that runs, and selected by the advertisement; porchlight explain svc says what each lacks.",
	reason.AllNodesExcluded: "Remove the label node.kubernetes.io/exclude-from-external-load-balancers from a node, or run the speakers with --ignore-exclude-lb.",
	reason.NoLocalEndpoint:  "Run a ready pod of the Service on a node that may announce, or set externalTrafficPolicy to Cluster.",
	reason.NoSubnet:         "Use addresses of a subnet that a node's interface has, name the interfaces in the L2Advertisement, or announce the pool over BGP.",
	reason.NoEndpoints:      "Make a pod ready that the Service's selector matches.",
	reason.NoSession:        "Bring a BGP session up: see the last error of the session, the peer's address, its ASN and its password.",
	reason.AddressConflict:  "Find the host that has the address, by the MAC address in the speakers' logs, and take the address from it or out of the pool.",

	reason.NotOwner:           "Nothing is wrong: another node answers, and this one takes over if it goes.",
	reason.NodeExcluded:       "Remove the label node.kubernetes.io/exclude-from-external-load-balancers from the node if it should announce.",
	reason.NodeNotReady:       "Find out why the node is not ready, or take the out-of-service taint off it: kubectl describe node.",
	reason.NetworkUnavailable: "Find out why the node's CNI has not set up its network: kubectl describe node.",
	reason.NodeDraining:       "Wait until the node's speaker, which ends and hands its addresses over, is back, or see why its pod does not run.",
	reason.SelectorMismatch:   "Change the nodeSelectors of the advertisement, or the labels of the node, if it should announce.",
	reason.SpeakerDown:        "Find out why the node has no speaker that the others hear: its pod, its logs, and the gossip port (7947, TCP and UDP) between the nodes.",
	reason.ProxyUnhealthy:     "Find out why kube-proxy on the node does not answer its health check.",
	reason.ProxyBehind:        "Look at kube-proxy's logs on the node, and whether it reaches the API server: it does not forward the address.",

	reason.BFDProfileNotFound:  "Create the BFDProfile in the installation's namespace, or correct the peer's bfdProfile.",
	reason.SecretNotFound:      "Create the Secret in the installation's namespace, or correct the peer's passwordSecret.",
	reason.SecretInvalid:       "Make it a Secret of type kubernetes.io/basic-auth whose password has 1 to 80 bytes.",
	reason.DuplicatePeer:       "Delete one of the two peers, or give them different nodeSelectors.",
	reason.VRFNotFound:         "Make the VRF on the node, or limit the peer to the nodes that have it by nodeSelectors.",
	reason.InterfaceNotFound:   "Correct the peer's interface, or limit the peer to the nodes that have it by nodeSelectors.",
	reason.NoDefaultGateway:    "Give the node a default route of the session's family, or name the peer's address.",
	reason.PeerNotFound:        "Create the BGPPeer in the installation's namespace, or correct the advertisement's peers.",
	reason.CommunityNotFound:   "Name the community in a Community object, or write its numbers.",
	reason.AggregationTooShort: "Make the aggregation length no shorter than the pool's prefixes.",
	reason.LocalPrefConflict:   "Give the advertisements of one prefix to one peer the same localPref.",

	reason.EnvoysNotReady:       "Find out why the fleet's pods are not ready: porchlight logs envoy.",
	reason.AccessLogRefused:     "Correct the command operator in the EnvoyFleet's spec.accessLog that the message names.",
	reason.ConfigurationRefused: "Undo the last change that the Envoys' message is about, and report it: what is accepted should not be refused.",

	reason.ServiceRefused: "Correct what the message names: labels and annotations are those of the Gateway's spec.infrastructure and of the EnvoyFleet's spec.service.",

	reason.DefaultScope:   "",
	reason.TooManyParents: "Have fewer default Gateways, or have the route name the Gateways that it is for.",

	reason.CertificateExpiring:    "Renew the certificate, or see why whoever renews it does not: the Secret is named in the message.",
	reason.CertificateExpired:     "Put a certificate that is valid into the Secret that is named in the message.",
	reason.CertificateNotYetValid: "Put a certificate that is valid into the Secret that is named in the message, or set the clock of the node that the gateway runs on.",

	reason.CACertificateExpiring:    "Add the CA certificate that follows it to the ConfigMap that is named in the message, and have certificates signed by that one.",
	reason.CACertificateExpired:     "Put a CA certificate that is valid into the ConfigMap that is named in the message, and take the one that has expired out.",
	reason.CACertificateNotYetValid: "Wait, if another one is valid until then; or else put one that is into the ConfigMap that is named in the message, or set the clock of the node that the gateway runs on.",

	reason.NotInstalled:    "Install it: helm upgrade --install porchlight, or kubectl apply -k config/default.",
	reason.ProgramNotReady: "See why its pods do not run: kubectl describe pod, and porchlight logs.",
	reason.VersionSkew:     "Finish the upgrade, so that all programs are of one release.",
	reason.StrictARPOff:    "Set ipvs.strictARP to true in the configuration of kube-proxy, and restart it.",
	reason.NotReported:     "See whether the program that writes it runs, and what it logs: porchlight logs.",
	reason.NotReadable:     "Ask for the right to list this kind; without it, this report says nothing about it.",
	reason.NotOurs:         "Make it a Service of type LoadBalancer, or a Gateway, whose class is this installation's, or ask whoever serves its class.",
	reason.NotFound:        "Create the object, or correct the name that refers to it.",
}

// gatewayAPI has the reasons of the Gateway API's conditions that tell of
// trouble.
var gatewayAPI = map[reason.Reason]string{
	"AddressNotAssigned":            "See why the Gateway's Service has no address: porchlight explain gateway.",
	"AddressNotUsable":              "Ask for an address in spec.addresses that a pool has and nobody else holds.",
	"BackendNotFound":               "Create the Service, or correct the route's backendRefs.",
	"Conflicted":                    "Delete one of the policies that have the same target: the older one counts.",
	"HostnameConflict":              "Give each listener of the port a hostname of its own.",
	"IncompatibleFilters":           "Take one of the filters that exclude each other out of the rule.",
	"Invalid":                       "Correct what the message names.",
	"InvalidCACertificateKind":      "Refer to a ConfigMap for CA certificates.",
	"InvalidCACertificateRef":       "Create the ConfigMap that is named in the message, with CA certificates in PEM in its key ca.crt.",
	"InvalidCertificateRef":         "Create the Secret of type kubernetes.io/tls that the listener names, with a certificate and its key.",
	"InvalidKind":                   "Refer to a kind that is supported here: for a backend, a Service, for CA certificates a ConfigMap.",
	"InvalidParameters":             "Correct the parametersRef: an EnvoyFleet, with its namespace.",
	"InvalidRouteKinds":             "Allow only route kinds that the listener's protocol can carry.",
	"ListenersNotValid":             "Correct the listeners that are said to be invalid.",
	"NoMatchingListenerHostname":    "Give the route a hostname that the listener covers, or change the listener's.",
	"NoMatchingParent":              "Correct the route's parentRefs: the Gateway, its sectionName and its port.",
	"NoResources":                   "See why the fleet's Envoys do not run: porchlight logs envoy.",
	"NoValidCACertificate":          "Create one of the ConfigMaps that caCertificateRefs names, with CA certificates in PEM in its key ca.crt.",
	"NotAllowed":                    "Allow ListenerSets of its namespace in the Gateway's allowedListeners.",
	"NotAllowedByListeners":         "Allow the route's namespace and kind in the listener's allowedRoutes.",
	"NotReconciled":                 "See whether the gateway runs, and what it logs: porchlight logs gateway.",
	"Pending":                       "Wait for it, or see what the gateway logs: porchlight logs gateway.",
	"PortUnavailable":               "Use another port for the listener.",
	"ProtocolConflict":              "Give listeners of one port the same protocol.",
	"RefNotPermitted":               "Create a ReferenceGrant in the namespace of what is referred to.",
	"TargetNotFound":                "Correct the policy's targetRefs: the Service, and the name of its port.",
	"UnsupportedAddress":            "Ask for addresses of type IPAddress.",
	"UnsupportedProtocol":           "Use a protocol that is supported here.",
	"UnsupportedValue":              "Use a value that is supported here; the message names it.",
	"UnsupportedVersion":            "Install the Gateway API's CRDs of the release that this version was made for.",
	"UnresolvedRefs":                "Correct the references that the message names.",
	"UnsupportedProtocolForBackend": "Use an appProtocol that is supported here on the Service's port.",
}
