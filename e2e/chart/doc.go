// Package chart checks the Helm chart as it renders, without a cluster: names,
// what each switch leaves out, and that every pod has no more rights than its
// program needs.
package chart
