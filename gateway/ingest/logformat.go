package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The command operators of Envoy's access log, as Envoy 1.40 takes them without
// further formatters:
// https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/advanced/substitution_formatter
// Where the two differ, it is the program that counts: it refuses what it says
// here that it refuses. That is held against it by the tests of package xds.

// operator is what may follow the name of a command operator.
type operator struct {
	// argument says that there may be one, required that there must be.
	argument, required bool
	// length says that there may be a length to cut the value to.
	length bool
	// check refuses an argument, which is empty where there is none; nil: none
	// is refused.
	check func(argument string) error
}

// operators by name; those that take nothing are in bareOperators. It is filled
// in by init, as one of them is made of others.
var operators map[string]operator

func init() {
	header := operator{argument: true, required: true, length: true, check: checkHeaders}
	moment := operator{argument: true, check: checkTimeFormat}
	prefixLength := operator{argument: true}
	state := operator{argument: true, length: true, check: checkFilterState}
	expression := operator{argument: true, length: true, check: checkCEL}
	operators = map[string]operator{
		"REQ": header, "REQUEST_HEADER": header, "RESP": header, "RESPONSE_HEADER": header,
		"TRAILER": header, "RESPONSE_TRAILER": header, "STREAM_INFO_REQ": header,

		"START_TIME": moment, "START_TIME_LOCAL": moment, "EMIT_TIME": moment, "EMIT_TIME_LOCAL": moment,
		"DOWNSTREAM_PEER_CERT_V_START": moment, "DOWNSTREAM_PEER_CERT_V_END": moment,
		"UPSTREAM_PEER_CERT_V_START": moment, "UPSTREAM_PEER_CERT_V_END": moment,

		"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": prefixLength, "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT": prefixLength,
		"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": prefixLength, "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": prefixLength,
		"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": prefixLength, "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": prefixLength,

		// The documentation has a length with all three kinds of metadata.
		"DYNAMIC_METADATA":  {argument: true, required: true, length: true},
		"CLUSTER_METADATA":  {argument: true, required: true},
		"UPSTREAM_METADATA": {argument: true, required: true},
		"METADATA": {argument: true, length: true, check: eachOneOf(
			[]string{"DYNAMIC", "CLUSTER", "ROUTE", "UPSTREAM_HOST", "LISTENER", "LISTENER_FILTER_CHAIN", "VIRTUAL_HOST"},
		)},
		"FILTER_STATE": state, "UPSTREAM_FILTER_STATE": state,

		"PATH": {argument: true, length: true, check: eachOneOf([]string{"", "WQ", "NQ"}, []string{"", "ORIG", "PATH", "ORIG_OR_PATH"})},
		"REQUESTED_SERVER_NAME": {argument: true, check: eachOneOf(
			[]string{"", "SNI_ONLY", "SNI_FIRST", "HOST_FIRST"}, []string{"", "ORIG", "HOST", "ORIG_OR_HOST"},
		)},
		"GRPC_STATUS":           {argument: true, check: oneOf("", "CAMEL_STRING", "SNAKE_STRING", "NUMBER")},
		"QUERY_PARAMS":          {argument: true, length: true, check: oneOf("", "ORIG", "DECODED")},
		"QUERY_PARAM":           {argument: true, required: true, length: true},
		"RESPONSE_CODE_DETAILS": {argument: true},
		"ENVIRONMENT":           {argument: true, required: true, length: true},
		"COMMON_DURATION":       {argument: true, required: true, check: checkDuration},
		"XFCC_VALUE":            {argument: true, length: true, check: checkXFCC},
		"CEL":                   expression, "TYPED_CEL": expression,
		"COALESCE": {argument: true, required: true, length: true, check: checkCoalesce},
	}
	for name := range strings.FieldsSeq(bareOperators) {
		operators[name] = operator{}
	}
}

// bareOperators take neither an argument nor a length.
const bareOperators = `
ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CONNECTION_ID CONNECTION_TERMINATION_DETAILS CUSTOM_FLAGS
DOWNSTREAM_CX_RTT DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID
DOWNSTREAM_DIRECT_LOCAL_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_HANDSHAKE_DURATION
DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS
DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_EMAIL_SAN
DOWNSTREAM_LOCAL_IP_SAN DOWNSTREAM_LOCAL_OTHERNAME_SAN DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_SUBJECT
DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1 DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256
DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_PEER_FINGERPRINT_1
DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256
DOWNSTREAM_PEER_ISSUER_SERIAL DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT
DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_GROUP
DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_WIRE_BYTES_RECEIVED
DOWNSTREAM_WIRE_BYTES_SENT DURATION FILTER_CHAIN_NAME GRPC_STATUS_NUMBER HOSTNAME LISTENER_NAME LOCAL_REPLY_BODY
PACKETS_RETRANSMITTED PROTOCOL REQUEST_DURATION REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE RESPONSE_DURATION
RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION ROUNDTRIP_DURATION
ROUTE_NAME ROUTE_RESOLUTION_COUNT ROUTE_RESOLUTION_TIME_US SPAN_ID STREAM_ID TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT
TRACE_ID UNIQUE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_IDS_ATTEMPTED
UPSTREAM_CONNECTION_POOL_READY_DURATION UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED
UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT UPSTREAM_DETECTED_CLOSE_TYPE UPSTREAM_HEADER_BYTES_RECEIVED
UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME
UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME_WITHOUT_PORT
UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_CLOSE_REASON UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_PORT
UPSTREAM_LOCAL_URI_SAN UPSTREAM_PEER_CERT UPSTREAM_PEER_DNS_SAN UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER
UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID
UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_SERVER_NAME UPSTREAM_TLS_CIPHER UPSTREAM_TLS_GROUP
UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_WIRE_BYTES_RECEIVED
UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME
`

// command is how Envoy finds a command operator, its argument and its length.
// An argument ends where an operator may end, whatever parentheses are in it.
var command = regexp.MustCompile(`^%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%`)

// checkLogFormat refuses a line, or a value of a JSON access log, that Envoy
// would refuse.
func checkLogFormat(format string) error {
	for {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			return nil
		}
		if format = format[i:]; strings.HasPrefix(format, "%%") {
			format = format[2:]
			continue
		}
		found := command.FindStringSubmatch(format)
		if found == nil {
			return fmt.Errorf("%.60q does not begin with a command operator, such as %%PROTOCOL%%; %%%% stands for a percent sign", format)
		}
		if err := checkOperator(found[1], found[2], found[3]); err != nil {
			return fmt.Errorf("%.200q: %w", found[0], err)
		}
		format = format[len(found[0]):]
	}
}

func checkOperator(name, argument, length string) error {
	o, known := operators[name]
	switch _, err := strconv.ParseUint(length, 10, 64); {
	case !known:
		return errors.New("there is no such command operator")
	case length != "" && err != nil:
		return fmt.Errorf("%s is too large a length", length)
	case length != "" && !o.length:
		return fmt.Errorf("%s takes no length", name)
	case argument != "" && !o.argument:
		return fmt.Errorf("%s takes no argument", name)
	case argument == "" && o.required:
		return fmt.Errorf("%s needs an argument", name)
	case o.check == nil:
		return nil
	}
	return o.check(argument)
}

// oneOf refuses an argument that is none of the words.
func oneOf(words ...string) func(string) error {
	return func(argument string) error {
		if slices.Contains(words, argument) {
			return nil
		}
		return fmt.Errorf("%q is not one of %s", argument, strings.Trim(strings.Join(words, ", "), ", "))
	}
}

// eachOneOf refuses an argument of which a part, between colons, is none of the
// words for it. There may be fewer parts, and more.
func eachOneOf(words ...[]string) func(string) error {
	return func(argument string) error {
		parts := strings.Split(argument, ":")
		for i := range min(len(words), len(parts)) {
			if err := oneOf(words[i]...)(parts[i]); err != nil {
				return err
			}
		}
		return nil
	}
}

// checkHeaders wants the name of a header, or two with a question mark between,
// each of which may be missing.
func checkHeaders(argument string) error {
	headers := strings.Split(argument, "?")
	if len(headers) > 2 {
		return errors.New("more than one alternative header is named")
	}
	for _, h := range headers {
		if h != "" && !token(strings.TrimPrefix(h, ":")) {
			return fmt.Errorf("%q is not the name of a header", h)
		}
	}
	return nil
}

// newline is what Envoy takes for the conversion of strftime that is a newline.
var newline = regexp.MustCompile(`%[-_0^#]*[1-9]*[EO]?n`)

func checkTimeFormat(argument string) error {
	if newline.MatchString(argument) {
		return errors.New("the format of the time has a newline")
	}
	return nil
}

func checkFilterState(argument string) error {
	parts := append(strings.Split(argument, ":"), "", "")
	if parts[0] == "" {
		return errors.New("the key is missing")
	}
	if (parts[1] == "FIELD") != (parts[2] != "") {
		return errors.New("FIELD, and nothing else, goes with the name of a field")
	}
	return oneOf("", "PLAIN", "TYPED", "FIELD")(parts[1])
}

func checkDuration(argument string) error {
	switch parts := strings.Split(argument, ":"); len(parts) {
	case 2:
		return nil
	case 3:
		return oneOf("ms", "us", "ns")(parts[2])
	}
	return errors.New("the argument is START:END or START:END:PRECISION")
}

func checkXFCC(argument string) error {
	return oneOf("by", "hash", "cert", "chain", "subject", "uri", "dns")(strings.ToLower(argument))
}

// checkCoalesce wants a JSON object with a list of operators. Envoy 1.40 does
// not refuse JSON that is neither an object nor a list: it ends.
func checkCoalesce(argument string) error {
	var object struct {
		Operators []json.RawMessage `json:"operators"`
	}
	if err := decodeExactly(argument, &object, "operators"); err != nil {
		return err
	}
	if len(object.Operators) == 0 {
		return errors.New(`there are no "operators"`)
	}
	for _, o := range object.Operators {
		if err := checkCoalesced(o); err != nil {
			return err
		}
	}
	return nil
}

// checkCoalesced wants the name of an operator, or one with its argument and
// its length.
func checkCoalesced(o json.RawMessage) error {
	var name string
	if json.Unmarshal(o, &name) == nil && o[0] == '"' {
		return checkOperator(name, "", "")
	}
	var object struct {
		Command   *string `json:"command"`
		Param     *string `json:"param"`
		MaxLength *int64  `json:"max_length"`
	}
	if err := decodeExactly(string(o), &object, "command", "param", "max_length"); err != nil {
		return err
	}
	if object.Command == nil {
		return errors.New(`an operator has no "command"`)
	}
	argument, length := "", ""
	if object.Param != nil {
		if argument = *object.Param; strings.ContainsRune(argument, utf8.RuneError) {
			return errors.New(`"param" has half a surrogate pair`)
		}
	}
	if object.MaxLength != nil {
		if *object.MaxLength <= 0 {
			return errors.New(`"max_length" is not positive`)
		}
		length = strconv.FormatInt(*object.MaxLength, 10)
	}
	return checkOperator(*object.Command, argument, length)
}

// decodeExactly decodes a JSON object whose members are some of these, each once
// at the most, and not null: parsers differ in what they make of others.
func decodeExactly(text string, into any, members ...string) error {
	d := json.NewDecoder(strings.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%.60q is not a JSON object", text)
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return fmt.Errorf("%.60q is not a JSON object", text)
		}
		if !slices.Contains(members, name) || seen[name] {
			return fmt.Errorf("%q is not a member of it, or there twice; it has %s", name, strings.Join(members, ", "))
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return fmt.Errorf("%.60q is not a JSON object: %w", text, err)
		}
		if string(value) == "null" {
			return fmt.Errorf("%q is null", name)
		}
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("%.60q cannot be read: %w", text, err)
	}
	return nil
}

// LogOperators returns the names of the command operators that Envoy has,
// sorted.
func LogOperators() []string { return slices.Sorted(maps.Keys(operators)) }
