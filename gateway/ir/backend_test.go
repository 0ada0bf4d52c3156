package ir_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// A private key gets into no log, error or dump, however it is printed.
func TestPrivateKeyHidesItself(t *testing.T) {
	c := ir.Certificate{Key: ir.PrivateKey("hunter2")}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, c), fmt.Sprintf(verb, &c), fmt.Sprintf(verb, c.Key))
	}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("certificate", "certificate", c, "key", c.Key)
	shown = append(shown, string(j), string(y), log.String())
	for _, s := range shown {
		for _, secret := range []string{"hunter2", "68756e74657232", "aHVudGVyMg", "104 117 110"} {
			if strings.Contains(s, secret) {
				t.Errorf("%q shows the key", s)
			}
		}
	}
}
