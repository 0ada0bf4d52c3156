package ingest_test

import (
	"pgregory.net/rapid"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// genSession draws what a rule may say of sessions, some of which is refused;
// mostly nothing.
func genSession(t *rapid.T) *gwv1.SessionPersistence {
	if rapid.IntRange(0, 2).Draw(t, "session") != 0 {
		return nil
	}
	out := &gwv1.SessionPersistence{}
	if rapid.Bool().Draw(t, "named") {
		out.SessionName = ptr(rapid.SampledFrom([]string{"s", "x-s", "host"}).Draw(t, "session name"))
	}
	if rapid.Bool().Draw(t, "typed") {
		out.Type = ptr(rapid.SampledFrom([]gwv1.SessionPersistenceType{gwv1.CookieBasedSessionPersistence, gwv1.HeaderBasedSessionPersistence}).Draw(t, "session type"))
	}
	if rapid.IntRange(0, 3).Draw(t, "timed") == 0 {
		out.AbsoluteTimeout = ptr(gwv1.Duration("1h"))
	}
	if rapid.IntRange(0, 3).Draw(t, "configured") == 0 {
		out.CookieConfig = &gwv1.CookieConfig{LifetimeType: ptr(rapid.SampledFrom([]gwv1.CookieLifetimeType{gwv1.SessionCookieLifetimeType, gwv1.PermanentCookieLifetimeType}).Draw(t, "lifetime"))}
	}
	return out
}
