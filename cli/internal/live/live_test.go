package live

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
)

// server answers lists as an API server might.
type server struct {
	client.Reader
	list func(list client.ObjectList, namespace string) error
}

func (s server) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	return s.list(list, o.Namespace)
}

func TestCollect(t *testing.T) {
	o, err := Collect(t.Context(), server{list: func(list client.ObjectList, namespace string) error {
		switch l := list.(type) {
		case *corev1.ServiceList:
			if namespace != "" {
				t.Errorf("Services are listed in namespace %q alone", namespace)
			}
			l.Items = make([]corev1.Service, 3)
		case *v1beta1.IPAddressPoolList:
			if namespace != "here" {
				t.Errorf("IPAddressPools are listed in namespace %q", namespace)
			}
			l.Items = make([]v1beta1.IPAddressPool, 2)
		case *gatewayv1.UDPRouteList:
			return &meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: "UDPRoute"}, SearchedVersions: []string{"v1"}}
		case *corev1.NodeList:
			return apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("not yours"))
		}
		return nil
	}}, "here")
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Services.Items) != 3 || len(o.Pools.Items) != 2 || o.Namespace != "here" {
		t.Errorf("%d Services, %d pools, namespace %s", len(o.Services.Items), len(o.Pools.Items), o.Namespace)
	}
	if len(o.Unread) != 2 || o.Unread[0].Kind != "Node" || o.Unread[0].Missing || o.Unread[1].Kind != "UDPRoute" || !o.Unread[1].Missing {
		t.Errorf("unread: %+v", o.Unread)
	}
}

func TestCollectFails(t *testing.T) {
	_, err := Collect(t.Context(), server{list: func(list client.ObjectList, _ string) error {
		if _, ok := list.(*v1beta1.BGPPeerList); ok {
			return errors.New("connection refused")
		}
		return nil
	}}, "here")
	if err == nil || !strings.Contains(err.Error(), "listing objects of kind BGPPeer: connection refused") {
		t.Errorf("error %v", err)
	}
}

// Every kind that is read has a client's list, or Collect would panic.
func TestKindsCanBeListed(t *testing.T) {
	for _, k := range (&inventory.Objects{}).Kinds() {
		if _, ok := k.List.(client.ObjectList); !ok {
			t.Errorf("%s: %T is no list of a client", k.Name, k.List)
		}
	}
}
