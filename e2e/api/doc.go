// Package api checks objects against CustomResourceDefinitions as the API
// server does, in the process: schema, defaults and CEL rules. It needs no
// cluster, so a rule's message is known a second after the rule is written; the
// suite allocation feeds the same tables to a real API server.
package api
