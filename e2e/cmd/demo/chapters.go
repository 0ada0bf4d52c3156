package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

const (
	manifests = "e2e/cmd/demo/manifests/"
	patience  = "--timeout=90s"
	external  = `jsonpath={.status.loadBalancer.ingress[0].ip}`
)

type chapter struct {
	title string
	tell  func(context.Context, *story) error
}

var chapters = []chapter{
	{"A cluster of three nodes in network namespaces: real kubelets, no cloud", bringUp},
	{"A Service of type LoadBalancer, and nobody to give it an address", pending},
	{"Porchlight is installed with Helm", install},
	{"A pool and an advertisement", pool},
	{"Who answers for the address", whoAnswers},
	{"The owner's link is cut", cut},
	{"A Gateway and two routes", gateway},
	{"HTTPS from a Secret", https},
}

func bringUp(ctx context.Context, s *story) error {
	began := time.Now()
	if _, err := s.run(ctx, s.lab("up", "--nodes", "3", "--install=false")...); err != nil {
		return err
	}
	s.say("Up in %v.", time.Since(began).Round(time.Second))
	_, err := s.kubectl(ctx, "get", "nodes", "-o", "wide")
	return err
}

func pending(ctx context.Context, s *story) error {
	if _, err := s.kubectl(ctx, "apply", "-f", manifests+"hello.yaml"); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, "rollout", "status", "daemonset/hello", patience); err != nil {
		return err
	}
	out, err := s.kubectl(ctx, "get", "svc", "hello")
	if err != nil {
		return err
	}
	return expect(out, "<pending>")
}

func install(ctx context.Context, s *story) error {
	if _, err := s.run(ctx, s.lab("load", "dist/porchlight.tar")...); err != nil {
		return err
	}
	version, err := os.ReadFile("dist/version")
	if err != nil {
		return fmt.Errorf("reading the version that `make images` built: %w", err)
	}
	l, err := lab.Open(s.name)
	if err != nil {
		return err
	}
	if _, err := s.on(ctx, "cp", "bin/tools/helm", "--kubeconfig", l.Kubeconfig(),
		"install", "porchlight", "deploy/chart/porchlight", "--namespace", "porchlight-system", "--create-namespace",
		"--set-string", "image.tag="+strings.TrimSpace(string(version)), "--wait", "--timeout", "3m"); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, "get", "pods", "-n", "porchlight-system", "-o", "wide"); err != nil {
		return err
	}
	s.say("Still no address, but now the Service says why:")
	if _, err := s.kubectl(ctx, "wait", "svc/hello", `--for=jsonpath={.status.conditions[?(@.type=="porchlight.dev/Allocated")].reason}=NoPool`, patience); err != nil {
		return err
	}
	out, err := s.kubectl(ctx, "get", "svc", "hello", "-o", `jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}`)
	if err != nil {
		return err
	}
	return expect(out, "porchlight.dev/Allocated=False NoPool")
}

func pool(ctx context.Context, s *story) error {
	if _, err := s.kubectl(ctx, "apply", "-f", manifests+"pool.yaml"); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, "wait", "svc/hello", `--for=jsonpath={.status.conditions[?(@.type=="porchlight.dev/Announced")].status}=True`, patience); err != nil {
		return err
	}
	out, err := s.kubectl(ctx, "get", "svc", "hello")
	if err != nil {
		return err
	}
	if s.address, err = s.get(ctx, "get", "svc", "hello", "-o", external); err != nil {
		return err
	}
	if err := expect(out, s.address); err != nil {
		return err
	}
	out, err = s.on(ctx, "client", "curl", "-sS", "--max-time", "5", "http://"+s.address+"/welcome")
	if err != nil {
		return err
	}
	return expect(out, `"path": "/welcome"`)
}

var hardware = regexp.MustCompile(`[0-9a-f]{2}(:[0-9a-f]{2}){5}`)

func whoAnswers(ctx context.Context, s *story) error {
	out, err := s.on(ctx, "client", "arping", "-c", "3", "-I", "eth0", s.address)
	if err != nil {
		return err
	}
	mac := hardware.FindString(strings.ToLower(out))
	if mac == "" {
		return fmt.Errorf("nobody answers ARP for %s", s.address)
	}
	s.say("Whose hardware address is that?")
	nodes, err := s.get(ctx, "get", "nodes", "-o", `jsonpath={.items[*].metadata.name}`)
	if err != nil {
		return err
	}
	for _, node := range strings.Fields(nodes) {
		out, err := s.on(ctx, node, "ip", "-br", "link", "show", "eth0")
		if err != nil {
			return err
		}
		if strings.Contains(out, mac) {
			s.owner = node
		}
	}
	if s.owner == "" {
		return fmt.Errorf("%s answers for %s, and is no node's", mac, s.address)
	}
	s.say("%s answers for %s; the speakers say so too:", s.owner, s.address)
	out, err = s.kubectl(ctx, "get", "servicel2status", "-n", "porchlight-system")
	if err != nil {
		return err
	}
	return expect(out, s.owner)
}

func cut(ctx context.Context, s *story) error {
	l, err := lab.Open(s.name)
	if err != nil {
		return err
	}
	s.say("A new connection every 10 ms from the client, while the link of %s is cut:", s.owner)
	gap, err := probe.LongestGap(ctx, l.Dialer("client"), s.address+":80", func() error {
		_, err := s.run(ctx, s.lab("fault", "link-down", s.owner)...)
		return err
	})
	if err != nil {
		return err
	}
	s.say("The longest gap was %v.", gap.Round(time.Millisecond))
	if _, err := s.on(ctx, "client", "curl", "-sS", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code} from %{remote_ip}\n", "http://"+s.address+"/"); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, "get", "servicel2status", "-n", "porchlight-system"); err != nil {
		return err
	}
	s.say("And healed; the address stays where it is.")
	if _, err := s.run(ctx, s.lab("fault", "heal")...); err != nil {
		return err
	}
	_, err = s.kubectl(ctx, "wait", "node", "--all", "--for=condition=Ready", patience)
	return err
}

func gateway(ctx context.Context, s *story) error {
	if _, err := s.kubectl(ctx, "apply", "-f", manifests+"backends.yaml", "-f", manifests+"gateway.yaml"); err != nil {
		return err
	}
	for _, d := range []string{"stable", "canary"} {
		if _, err := s.kubectl(ctx, "rollout", "status", "deployment/"+d, patience); err != nil {
			return err
		}
	}
	if _, err := s.kubectl(ctx, "wait", "gateway/porch", "--for=condition=Programmed", patience); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, "get", "gateway,httproute,svc"); err != nil {
		return err
	}
	var err error
	if s.porch, err = s.get(ctx, "get", "gateway", "porch", "-o", `jsonpath={.status.addresses[0].value}`); err != nil {
		return err
	}
	base := "http://" + s.porch
	s.say("The prefix is rewritten:")
	out, err := s.on(ctx, "client", "curl", "-sS", "--retry", "20", "--retry-delay", "1", "--retry-all-errors", "--fail", "--max-time", "5", base+"/api/users")
	if err != nil {
		return err
	}
	if err := expect(out, `"path": "/v1/users"`); err != nil {
		return err
	}
	s.say("The header picks the canary:")
	out, err = s.on(ctx, "client", "curl", "-sS", "--fail", "--max-time", "5", "-H", "X-Canary: always", base+"/shop")
	if err != nil {
		return err
	}
	if err := expect(out, `"pod": "canary-`); err != nil {
		return err
	}
	s.say("And of 200 requests without it, one in ten:")
	out, err = s.on(ctx, "client", "sh", "-c",
		fmt.Sprintf(`for i in $(seq 200); do curl -sS --fail --max-time 5 %s/shop | grep -o '"pod": "[a-z]*'; done | sort | uniq -c`, base))
	if err != nil {
		return err
	}
	var stable, canary int
	for line := range strings.Lines(out) {
		var n int
		if _, err := fmt.Sscan(line, &n); err != nil {
			return fmt.Errorf("counting the answers: %w", err)
		}
		if strings.Contains(line, "canary") {
			canary = n
		} else {
			stable = n
		}
	}
	// Binomial, n = 200, p = 0.1: five standard deviations are 21.
	if stable+canary != 200 || canary < 1 || canary > 41 {
		return fmt.Errorf("%d answers of stable and %d of canary; want 200 in all, about 20 of canary", stable, canary)
	}
	return nil
}

func https(ctx context.Context, s *story) error {
	dir, err := os.MkdirTemp("", "porchlight-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	crt, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if err := keyPair("porch.example", crt, key); err != nil {
		return fmt.Errorf("making a key pair: %w", err)
	}
	if _, err := s.kubectl(ctx, "create", "secret", "tls", "porch-tls", "--cert", crt, "--key", key); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, "apply", "-f", manifests+"https.yaml"); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, "wait", "gateway/porch", `--for=jsonpath={.status.listeners[?(@.name=="https")].conditions[?(@.type=="Programmed")].status}=True`, patience); err != nil {
		return err
	}
	out, err := s.on(ctx, "client", "curl", "-sS", "--retry", "20", "--retry-delay", "1", "--retry-all-errors", "--fail", "--max-time", "5",
		"--cacert", crt, "--resolve", "porch.example:443:"+s.porch, "https://porch.example/api/secure")
	if err != nil {
		return err
	}
	return expect(out, `"path": "/v1/secure"`)
}

// keyPair writes a self-signed certificate for the host, and its key.
func keyPair(host, crt, key string) error {
	certificate, private, err := cluster.KeyPair(host)
	if err != nil {
		return err
	}
	if err := os.WriteFile(crt, certificate, 0o644); err != nil {
		return err
	}
	return os.WriteFile(key, private, 0o600)
}
