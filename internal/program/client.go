package program

import (
	"context"
	"fmt"
	"os"

	"github.com/porchlight-lb/porchlight/internal/version"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/metrics"
)

// Cluster is the way to the API server: that of the pod or, where it is set, of
// the file that KUBECONFIG names. Clients are not throttled: the API server has
// priority and fairness for that.
func Cluster() (*rest.Config, error) {
	read := rest.InClusterConfig
	if path := os.Getenv("KUBECONFIG"); path != "" {
		read = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", path) }
	}
	config, err := read()
	if err != nil {
		return nil, fmt.Errorf("configuration of the Kubernetes client: %w", err)
	}
	config.QPS = -1
	config.UserAgent = "porchlight/" + version.Version
	return config, nil
}

// answers counts what the API server answered.
type answers struct{ *prometheus.CounterVec }

// Increment implements metrics.ResultMetric.
func (a answers) Increment(_ context.Context, code, method, host string) {
	a.WithLabelValues(code, method, host).Inc()
}

// countAnswers registers rest_client_requests_total, under the name that other
// programs of Kubernetes give it.
func countAnswers(registry prometheus.Registerer) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rest_client_requests_total", Help: "Answers of the API server, by status code, method and host.",
	}, []string{"code", "method", "host"})
	registry.MustRegister(total)
	metrics.Register(metrics.RegisterOpts{RequestResult: answers{total}})
}
