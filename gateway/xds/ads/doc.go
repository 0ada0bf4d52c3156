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
//  1. clusters, endpoints and secrets, new and changed
//  2. scopes and route configurations, new and changed, of a client that has
//     asked for scopes
//  3. listeners, new and changed, and what a client asks for because of them
//  4. removals: listeners, scopes, route configurations, secrets, endpoints,
//     clusters, one type after the other
//
// Within the first three stages the types go side by side, because Envoy makes
// them depend on each other: a cluster that is new or changed warms until its
// endpoints and secrets arrive, and while a cluster warms a running Envoy does
// not acknowledge it. One that is starting acknowledges it at once, so the
// stage also waits for the subscription to the endpoints of each new cluster.
// The endpoints of a changed cluster are not asked for again; they follow the
// cluster unasked, although they are the same. A listener warms until its route
// configuration arrives, if it is the first that needs scopes; one that comes
// later does not wait, so it comes last. Nothing is removed before the route
// configurations of new listeners are subscribed to and acknowledged.
//
// A client that comes back names what it has of each type in any order, and its
// clusters not before all of them are warm; which of them are not it does not
// say. So it gets all endpoints again, and nothing that needs clusters before it
// has named those.
//
// # Tables
//
// A client loads a whole route configuration for a change of one virtual host.
// So there are two of them for a table. A small table is in the first alone. Of a
// large one the first has the virtual hosts that have changed since the other,
// the rest, was sent, and leads to the rest for all others. Once many have
// changed, the rest is sent anew, after the first and never with it; meanwhile
// the first has all that differs from the rest that the client has, so that with
// either rest the table is served as it should be. Where that is not possible,
// because a wildcard or very many have changed, the rest is sent before the
// first. When it is acknowledged, nothing is looked at before it any more but
// what has changed since. Which virtual hosts are where is a matter of the
// stream, and not of the snapshot.
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
