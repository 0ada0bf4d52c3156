// Package kube is the speaker's way to the API server: a client for each group
// of kinds that it reads or writes. They know no other kinds, speak protobuf
// where the server does, and are not throttled.
package kube

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
)

// Clients of the API server, by group.
type Clients struct {
	Core, Discovery, Events, Porchlight rest.Interface
}

// Scheme knows the kinds that the speaker reads and writes. All of Kubernetes
// would be two megabytes on every node.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	s.AddKnownTypes(corev1.SchemeGroupVersion,
		&corev1.Service{}, &corev1.ServiceList{}, &corev1.Node{}, &corev1.NodeList{},
		&corev1.Pod{}, &corev1.PodList{}, &corev1.Secret{}, &corev1.SecretList{})
	s.AddKnownTypes(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
	s.AddKnownTypes(eventsv1.SchemeGroupVersion, &eventsv1.Event{}, &eventsv1.EventList{})
	for _, gv := range []schema.GroupVersion{corev1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion, eventsv1.SchemeGroupVersion} {
		metav1.AddToGroupVersion(s, gv)
	}
	utilruntime.Must(v1beta1.AddToScheme(s))
	return s
}

// New makes the clients.
func New(config *rest.Config, transport *http.Client, scheme *runtime.Scheme) (*Clients, error) {
	codecs := serializer.NewCodecFactory(scheme).WithoutConversion()
	var c Clients
	for _, g := range []struct {
		client *rest.Interface
		group  schema.GroupVersion
		path   string
		own    bool // the server speaks JSON alone about kinds of ours
	}{
		{&c.Core, corev1.SchemeGroupVersion, "/api", false},
		{&c.Discovery, discoveryv1.SchemeGroupVersion, "/apis", false},
		{&c.Events, eventsv1.SchemeGroupVersion, "/apis", false},
		{&c.Porchlight, v1beta1.GroupVersion, "/apis", true},
	} {
		config := rest.CopyConfig(config)
		config.GroupVersion, config.APIPath, config.NegotiatedSerializer = &g.group, g.path, codecs
		if !g.own {
			config.ContentType = runtime.ContentTypeProtobuf
			config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
		}
		client, err := rest.RESTClientForConfigAndClient(config, transport)
		if err != nil {
			return nil, fmt.Errorf("making the client of API %s: %w", g.group, err)
		}
		*g.client = client
	}
	return &c, nil
}
