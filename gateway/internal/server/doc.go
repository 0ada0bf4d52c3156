// Package server is the xDS server: it accepts the streams of the fleets'
// Envoys over mutual TLS and drives one ads.Session for each. What an Envoy is
// given depends on the fleet that its certificate names and on nothing that it
// says of itself.
package server
