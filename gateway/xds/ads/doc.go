// Package ads is one Envoy's stream of the incremental aggregated discovery
// service as a state machine: requests and snapshots in, responses and reports
// out. The caller does the I/O, and owns the Session alone.
//
// # Make before break
//
// A snapshot replaces the one before at once; what is still on its way of an
// older one is waited for, what was not sent yet never is. Work goes through
// stages, and a stage is entered when all before it are acknowledged:
//
//  1. clusters, new and changed
//  2. their endpoints
//  3. secrets
//  4. listeners
//  5. route configurations
//  6. removals: listeners, route configurations, secrets, endpoints, clusters
//
// Two facts about Envoy make that less simple than it reads. A cluster that is
// new or changed warms until its endpoints arrive, and its acknowledgement
// comes before: so listeners wait for the subscription to a new cluster's
// endpoints and for their acknowledgement, and the endpoints of a changed
// cluster are sent again although they are the same. And a listener that is
// new warms until its route configuration arrives, so nothing is removed
// before that one is subscribed to and acknowledged.
//
// # Refusals
//
// A response that the client refuses is halved until the resources that it
// refuses stand alone. Those are reported and are not sent again in that
// version; the client keeps its last good version of them, and what that one
// names is not removed. Everything else goes on.
//
// The protocol is described at
// https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol.
package ads
