package xds

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// accessLogs is what a listener's filters write; none where l is nil.
func accessLogs(l *ir.AccessLog) []*accesslogv3.AccessLog {
	if l == nil {
		return nil
	}
	file := &filev3.FileAccessLog{Path: l.Path}
	switch {
	case len(l.JSON) > 0:
		object := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(l.JSON))}
		for name, value := range l.JSON {
			object.Fields[name] = structpb.NewStringValue(value)
		}
		file.AccessLogFormat = &filev3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: object},
		}}
	case l.Text != "":
		file.AccessLogFormat = &filev3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: l.Text + "\n"},
			}},
		}}
	}
	return []*accesslogv3.AccessLog{{
		Name:       "file",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(file)},
	}}
}
