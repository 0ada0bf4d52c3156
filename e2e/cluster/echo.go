package cluster

import "fmt"

// Echo is YAML of a workload, a Deployment of one pod or a DaemonSet, whose
// pods have the label app with its name, and answer on port 3000 with what they
// were asked. They ask for processor time, as what is to answer in time must:
// without, they get none for seconds while others on the machine want it.
func Echo(kind, name string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: %[1]s
metadata: {name: %[2]s}
spec:
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/echo-basic:v1.6.0-dev.3
        ports: [{containerPort: 3000}]
        readinessProbe: {tcpSocket: {port: 3000}, periodSeconds: 1}
        resources: {requests: {cpu: 100m}}
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
---
`, kind, name)
}
