package blob

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3Options is what an s3:// URL and the environment say about a bucket.
type s3Options struct {
	bucket, endpoint, region, profile string
	secure, anonymous                 bool
	lookup                            minio.BucketLookupType
	silence                           time.Duration // see s3Silence
}

// parseS3 reads s3://bucket?endpoint=URL&region=NAME&profile=NAME&use_path_style=BOOL&disable_https=BOOL&anonymous=BOOL&timeout=DURATION.
// Region and endpoint fall back to the environment variables of the AWS tools.
func parseS3(u *url.URL) (s3Options, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return s3Options{}, errors.New("the URL's parameters are not well formed")
	}
	if u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return s3Options{}, errors.New("an s3:// URL names a bucket and nothing else before its parameters")
	}
	opts := s3Options{
		bucket: u.Host, secure: true, silence: s3Silence,
		region:   cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
		endpoint: cmp.Or(os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), "s3.amazonaws.com"),
	}
	for name, values := range query {
		if err := opts.set(name, values[0]); err != nil {
			return s3Options{}, err
		}
	}
	return opts, opts.splitEndpoint()
}

func (o *s3Options) set(name, value string) error {
	var err error
	switch name {
	case "endpoint":
		o.endpoint = value
	case "region":
		o.region = value
	case "profile":
		o.profile = value
	case "anonymous":
		o.anonymous, err = strconv.ParseBool(value)
	case "timeout":
		if o.silence, err = time.ParseDuration(value); err != nil || o.silence <= 0 {
			return fmt.Errorf("parameter timeout is a duration such as 30s, not %q", value)
		}
	case "disable_https":
		var plain bool
		plain, err = strconv.ParseBool(value)
		o.secure = !plain
	case "use_path_style":
		var path bool
		path, err = strconv.ParseBool(value)
		o.lookup = map[bool]minio.BucketLookupType{true: minio.BucketLookupPath, false: minio.BucketLookupDNS}[path]
	default:
		return fmt.Errorf("parameter %q is not one of endpoint, region, profile, use_path_style, disable_https, anonymous, timeout", name)
	}
	if err != nil {
		return fmt.Errorf("parameter %s is true or false, not %q", name, value)
	}
	return nil
}

// splitEndpoint takes the scheme off the endpoint; a scheme comes before disable_https.
func (o *s3Options) splitEndpoint() error {
	scheme, host, ok := strings.Cut(o.endpoint, "://")
	if !ok {
		return nil
	}
	if scheme != "http" && scheme != "https" {
		return errors.New("the endpoint is not an http:// or https:// URL")
	}
	o.endpoint, o.secure = strings.TrimSuffix(host, "/"), scheme == "https"
	return nil
}

// credentials come, in this order, from the environment, the AWS tools' credentials file, and the role of the pod, task or machine.
func (o *s3Options) credentials(transport *http.Transport) *credentials.Credentials {
	if o.anonymous {
		return credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
	}
	sources := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{Profile: o.profile}}
	if o.profile != "" {
		sources = sources[1:]
	}
	if disabled, _ := strconv.ParseBool(os.Getenv("AWS_EC2_METADATA_DISABLED")); !disabled {
		sources = append(sources, &credentials.IAM{Client: &http.Client{Transport: transport}, Region: o.region})
	}
	return credentials.New(&firstSource{sources: sources})
}

// firstSource asks sources of credentials in turn. The library's own chain falls back to none at all, which a server
// answers with "access denied"; firstSource says what is missing.
type firstSource struct {
	sources []credentials.Provider
	current credentials.Provider
}

// RetrieveWithCredContext implements credentials.Provider.
func (f *firstSource) RetrieveWithCredContext(ctx *credentials.CredContext) (credentials.Value, error) {
	var faults []error
	for _, source := range f.sources {
		value, err := source.RetrieveWithCredContext(ctx)
		if err == nil && value.AccessKeyID != "" && value.SecretAccessKey != "" {
			f.current = source
			return value, nil
		}
		faults = append(faults, err)
	}
	return credentials.Value{}, fmt.Errorf("no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write ~/.aws/credentials, "+
		"run under a role, or add anonymous=true to the URL of a public bucket: %w", errors.Join(faults...))
}

// Retrieve implements credentials.Provider.
func (f *firstSource) Retrieve() (credentials.Value, error) { return f.RetrieveWithCredContext(nil) }

// IsExpired implements credentials.Provider.
func (f *firstSource) IsExpired() bool { return f.current == nil || f.current.IsExpired() }
