package xds

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// corsFilter is the filter whose policy stands in routes; without one it does
// nothing.
const corsFilter = "envoy.filters.http.cors"

func corsPolicy(c *ir.CORS) *corsv3.CorsPolicy {
	out := &corsv3.CorsPolicy{
		AllowMethods:     strings.Join(c.Methods, ", "),
		AllowHeaders:     strings.Join(c.Headers, ", "),
		ExposeHeaders:    strings.Join(c.Expose, ", "),
		MaxAge:           strconv.Itoa(int(c.MaxAge / time.Second)),
		AllowCredentials: wrapperspb.Bool(c.Credentials),
		// A preflight request that is not granted ends here too.
		ForwardNotMatchingPreflights: wrapperspb.Bool(false),
	}
	for _, o := range c.Origins {
		m := &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: o}}
		if strings.Contains(o, "*") {
			expr := strings.ReplaceAll(regexp.QuoteMeta(o), `\*`, ".*")
			m.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: expr}}
		}
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, m)
	}
	return out
}

// retryOn are the failures after which a request is sent again, whatever the
// codes: no connection, one that broke, and no answer in time.
const retryOn = "connect-failure,refused-stream,reset"

// maxBackoffs bounds the growth of the pause between attempts, in first pauses.
const maxBackoffs = 10

// retryPolicy of a route; r may be nil, where there is only a timeout.
func retryPolicy(r *ir.Retry, perTry time.Duration) *routev3.RetryPolicy {
	out := &routev3.RetryPolicy{}
	if perTry > 0 {
		out.PerTryTimeout = durationpb.New(perTry)
	}
	if r == nil {
		return out
	}
	out.RetryOn = retryOn
	out.NumRetries = wrapperspb.UInt32(r.Attempts)
	if len(r.Codes) > 0 {
		out.RetryOn += ",retriable-status-codes"
		out.RetriableStatusCodes = r.Codes
	}
	if r.Backoff > 0 {
		longest := r.Backoff
		if longest <= math.MaxInt64/maxBackoffs {
			longest *= maxBackoffs
		}
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(r.Backoff), MaxInterval: durationpb.New(longest),
		}
	}
	return out
}
