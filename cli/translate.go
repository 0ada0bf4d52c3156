package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/porchlight-lb/porchlight/cli/internal/paint"
	"github.com/porchlight-lb/porchlight/cli/internal/translate"
)

func translateCommand(c *cluster) *cobra.Command {
	var files []string
	var output string
	cmd := &cobra.Command{
		Use:   "translate -f FILE",
		Short: "Say offline what the gateway would make of manifests",
		Long: `Translate manifests of the Gateway API, by the very code of the gateway and without
a cluster: into the configuration of its Envoys, which is printed on standard output,
and the statuses of the objects, of which a report is printed on standard error.

What only a cluster can tell is assumed: that the class porchlight, its fleet and the
namespaces are there, that each Gateway has an address, and that the Envoys have
acknowledged what they are given. Services, Secrets, EndpointSlices and
ReferenceGrants must be among the manifests. Certificates and keys are not printed.

Exit code: 0 where everything is accepted, 2 where something is not, 1 where nothing
could be translated.`,
		Example: `  porchlight translate -f ./manifests > envoy.yaml
  porchlight translate -f gateway.yaml -f routes.yaml -o report
  kubectl get gateways,httproutes,services,endpointslices,referencegrants -A -o yaml | porchlight translate -f - -o status`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			documents, err := readManifests(cmd.InOrStdin(), files)
			if err != nil {
				return err
			}
			result, err := translate.Run(documents, c.namespace, time.Now())
			if err != nil {
				return err
			}
			switch output {
			case "envoy":
				if err := result.WriteEnvoy(cmd.OutOrStdout()); err != nil {
					return err
				}
				err = result.WriteReport(cmd.ErrOrStderr(), paint.Choose(c.color, cmd.ErrOrStderr(), os.Getenv))
			case "status":
				err = result.WriteStatuses(cmd.OutOrStdout())
			case "report":
				err = result.WriteReport(cmd.OutOrStdout(), c.paint(cmd))
			default:
				return fmt.Errorf("--output %q: want envoy, status or report", output)
			}
			if err != nil {
				return fmt.Errorf("writing the report: %w", err)
			}
			if result.Trouble() {
				return troubleError("not everything is accepted; the report says what and why")
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file of manifests, folder of such files, or - for standard input; may be given several times")
	cmd.Flags().StringVarP(&output, "output", "o", "envoy", "what to print on standard output: envoy, the configuration; status, the statuses; report, the report alone")
	if err := cmd.MarkFlagRequired("filename"); err != nil {
		panic(err) // the flag is defined above
	}
	complete(cmd, "output", "envoy", "status", "report")
	return cmd
}
