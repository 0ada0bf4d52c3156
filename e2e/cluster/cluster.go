// Package cluster is a lab's cluster as a test sees it: objects are applied
// and awaited through the API, requests are sent from the hosts of the lab.
// What is waited for is an event of the API wherever there is one.
package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// System is the namespace of the installation.
const System = "porchlight-system"

// Patience is how long a test waits for what must come to pass. It bounds a
// failure, it measures nothing.
const Patience = 90 * time.Second

// Cluster is the cluster of a running lab.
type Cluster struct {
	client.WithWatch
	Lab    *lab.Lab
	Config *rest.Config
}

// Scheme has every kind the tests use.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, v1beta1.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install,
	} {
		utilruntime.Must(add(s))
	}
	return s
}

// Open returns the cluster of the lab that the environment variable LAB
// names, or of the checkout's own; the lab must be up.
func Open() (*Cluster, error) {
	l, err := lab.Open(os.Getenv("LAB"))
	if err != nil {
		return nil, fmt.Errorf("opening the lab (is it up? `bin/lab up`): %w", err)
	}
	cfg, err := l.RESTConfig()
	if err != nil {
		return nil, fmt.Errorf("configuration of the lab's API client: %w", err)
	}
	cfg.QPS = -1
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: Scheme()})
	if err != nil {
		return nil, fmt.Errorf("client of the lab's API server: %w", err)
	}
	return &Cluster{WithWatch: c, Lab: l, Config: cfg}, nil
}

// ForTest opens the cluster for a test; where the test fails, the logs that
// matter are printed with it.
func ForTest(t *testing.T) *Cluster {
	t.Helper()
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.explain(t)
		}
	})
	return c
}

// explain prints what a person would look at first after a failure.
func (c *Cluster) explain(t *testing.T) {
	for _, args := range [][]string{
		{"get", "nodes,ippool,l2adv,servicel2status,bgppeer,bgpadv,bgpsession,bgpstatus,gateway,httproute", "-A", "-o", "wide"},
		{"get", "svc,pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		{"logs", "-n", System, "-l", "app.kubernetes.io/name=porchlight", "--all-containers", "--prefix", "--tail=60", "--max-log-requests=30"},
	} {
		out, err := c.Kubectl(args...)
		if err != nil {
			out = err.Error()
		}
		if lines := strings.Split(out, "\n"); len(lines) > 250 {
			out = strings.Join(lines[len(lines)-250:], "\n")
		}
		t.Logf("$ kubectl %s\n%s", strings.Join(args, " "), out)
	}
}

// Kubectl runs kubectl as the administrator and returns what it prints on its
// standard output.
func (c *Cluster) Kubectl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	kubectl, err := c.Lab.Kubectl()
	if err != nil {
		return "", err
	}
	cmd, err := c.Lab.Exec(ctx, lab.HostControlPlane, append([]string{kubectl, "--kubeconfig", c.Lab.Kubeconfig()}, args...)...)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// On runs a command on a host of the lab and returns what it prints on either
// stream.
func (c *Cluster) On(ctx context.Context, host string, command ...string) (string, error) {
	cmd, err := c.Lab.Exec(ctx, host, command...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("on %s: %s: %w\n%s", host, strings.Join(command, " "), err, out)
	}
	return string(out), err
}

// Namespace makes a namespace for the test, which is deleted, with all in it,
// when the test ends.
func (c *Cluster) Namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatalf("making a namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.Background(), ns); err != nil {
			t.Errorf("deleting namespace %s: %v", ns.Name, err)
		}
	})
	return ns.Name
}

// Apply applies the objects of a YAML text, in namespace where they name none,
// and deletes them when the test ends.
func (c *Cluster) Apply(t *testing.T, namespace, text string) {
	t.Helper()
	objects, err := Decode(namespace, text)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if err := c.Put(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Delete(context.Background(), o); client.IgnoreNotFound(err) != nil {
				t.Errorf("deleting %s %s: %v", o.GetKind(), o.GetName(), err)
			}
		})
	}
}

// Refused applies a text that the API server must refuse, and returns why it
// did.
func (c *Cluster) Refused(t *testing.T, namespace, text string) string {
	t.Helper()
	objects, err := Decode(namespace, text)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Put(t.Context(), objects[0])
	if err == nil {
		t.Errorf("the API server took what it should refuse:\n%s", text)
		return ""
	}
	if !apierrors.IsInvalid(err) {
		t.Errorf("applying %s: %v; want a refusal as invalid", objects[0].GetName(), err)
	}
	return err.Error()
}

// Put applies one object as the test's own.
func (c *Cluster) Put(ctx context.Context, o *unstructured.Unstructured) error {
	err := c.WithWatch.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("e2e"), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("applying %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
	}
	return nil
}

// clusterScoped are the kinds that tests apply and that have no namespace.
var clusterScoped = map[string]bool{"Namespace": true, "GatewayClass": true, "Node": true}

// Decode reads the objects of a YAML text; those of namespaced kinds that name
// no namespace get the given one.
func Decode(namespace, text string) ([]*unstructured.Unstructured, error) {
	dec := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	var all []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		if err := dec.Decode(o); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading the YAML of a test: %w", err)
		}
		if len(o.Object) == 0 {
			continue
		}
		if o.GetNamespace() == "" && !clusterScoped[o.GetKind()] {
			o.SetNamespace(namespace)
		}
		all = append(all, o)
	}
}

// Await watches the object, named by its namespace and name, until ok says
// yes of it; ok also sees what was there before. It returns an error that
// describes the last state where that does not happen in Patience.
func (c *Cluster) Await(ctx context.Context, o client.Object, list client.ObjectList, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	key := client.ObjectKeyFromObject(o)
	for {
		if err := c.Get(ctx, key, o); err == nil && ok() {
			return nil
		} else if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			return fmt.Errorf("reading %s: %w", key, err)
		}
		w, err := c.Watch(ctx, list, client.InNamespace(key.Namespace),
			client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", key.Name)})
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("waited %v; last seen: %s", Patience, describe(o))
			}
			return fmt.Errorf("watching %s: %w", key, err)
		}
		for range w.ResultChan() {
			if err := c.Get(ctx, key, o); err == nil && ok() {
				w.Stop()
				return nil
			}
		}
		w.Stop()
		if ctx.Err() != nil {
			return fmt.Errorf("waited %v; last seen: %s", Patience, describe(o))
		}
	}
}

func describe(o client.Object) string {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s/%s status %v", o.GetNamespace(), o.GetName(), m["status"])
}

// Service waits until ok says yes of the Service, and returns it.
func (c *Cluster) Service(t *testing.T, namespace, name, want string, ok func(*corev1.Service) bool) *corev1.Service {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := c.Await(t.Context(), s, &corev1.ServiceList{}, func() bool { return ok(s) }); err != nil {
		t.Fatalf("service %s/%s: want %s: %v", namespace, name, want, err)
	}
	return s
}

// Addresses are the External-IPs of a Service.
func Addresses(s *corev1.Service) []string {
	var all []string
	for _, i := range s.Status.LoadBalancer.Ingress {
		all = append(all, i.IP)
	}
	return all
}

// Condition is true where the condition has that status and reason.
func Condition(conditions []metav1.Condition, kind string, status metav1.ConditionStatus, reason string) bool {
	c := meta.FindStatusCondition(conditions, kind)
	return c != nil && c.Status == status && c.Reason == reason
}

// Eventually tries until try returns nil. It is for what no API event tells,
// such as whether a packet gets through.
func Eventually(t *testing.T, what string, try func(ctx context.Context) error) {
	t.Helper()
	if err := Poll(t.Context(), 100*time.Millisecond, try); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Poll tries at an interval until try returns nil, for as long as Patience.
func Poll(ctx context.Context, interval time.Duration, try func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var last error // what a try said that was not cut off
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v: %w", Patience, last)
		case <-tick.C:
		}
	}
}

// Request is an HTTP request sent from a host of the lab.
type Request struct {
	From    string // host of the lab; client where empty
	URL     string
	Host    string // Host header, and SNI, where it differs from the URL's
	Header  map[string]string
	RootCAs *x509.CertPool // for https
}

// Response is what came back.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Send sends the request on a connection of its own, and follows no redirect.
func (c *Cluster) Send(ctx context.Context, r Request) (Response, error) {
	from := r.From
	if from == "" {
		from = "client"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	transport := &http.Transport{
		DialContext:       c.Lab.Dialer(from),
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: r.RootCAs, ServerName: hostOnly(r.Host)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return Response{}, err
	}
	req.Host = r.Host
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Response{resp.StatusCode, resp.Header, string(body)}, err
}

func hostOnly(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return hostport
}

// Want sends the request until it is answered with the status, and returns
// that answer.
func (c *Cluster) Want(t *testing.T, status int, r Request) Response {
	t.Helper()
	var got Response
	Eventually(t, fmt.Sprintf("GET %s (Host %s) answers %d", r.URL, r.Host, status), func(ctx context.Context) error {
		var err error
		if got, err = c.Send(ctx, r); err != nil {
			return err
		}
		if got.Status != status {
			return fmt.Errorf("status %d: %.300s", got.Status, got.Body)
		}
		return nil
	})
	return got
}
