package event_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// asyncAPI is the part of an AsyncAPI 3 document that tells how topics are made and what they carry.
type asyncAPI struct {
	Channels map[string]struct {
		Address string `yaml:"address"`
		Key     string `yaml:"x-key"`
		// TrimmedAfter is how long finished records of a trimmed topic are kept, in milliseconds.
		TrimmedAfter int64 `yaml:"x-trimmed-after-ms"`
		Messages     map[string]struct {
			Ref string `yaml:"$ref"`
		} `yaml:"messages"`
		Bindings struct {
			Kafka struct {
				Partitions int32 `yaml:"partitions"`
				Topic      struct {
					Cleanup   []string `yaml:"cleanup.policy"`
					Retention int64    `yaml:"retention.ms"`
				} `yaml:"topicConfiguration"`
			} `yaml:"kafka"`
		} `yaml:"bindings"`
	} `yaml:"channels"`
	Components struct {
		Messages map[string]struct {
			Name    string `yaml:"name"`
			Payload struct {
				Schema struct {
					Ref string `yaml:"$ref"`
				} `yaml:"schema"`
			} `yaml:"payload"`
		} `yaml:"messages"`
		Schemas struct {
			Headers struct {
				Required []string `yaml:"required"`
			} `yaml:"headers"`
		} `yaml:"schemas"`
	} `yaml:"components"`
}

func readAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "api", "asyncapi.yaml"))
	require.NoError(t, err)
	var doc asyncAPI
	require.NoError(t, yaml.Unmarshal(raw, &doc))
	return doc
}

// topics returns the document's channels as the code describes topics.
func (d asyncAPI) topics(t *testing.T) []event.TopicSpec {
	t.Helper()
	specs := make([]event.TopicSpec, 0, len(d.Channels))
	for name, c := range d.Channels {
		kafka := c.Bindings.Kafka
		require.Len(t, kafka.Topic.Cleanup, 1, name)
		spec := event.TopicSpec{
			Name: c.Address, Partitions: kafka.Partitions, Key: c.Key, Compacted: kafka.Topic.Cleanup[0] == "compact",
			Retention: time.Duration(kafka.Topic.Retention) * time.Millisecond,
		}
		if c.TrimmedAfter > 0 {
			require.EqualValues(t, -1, kafka.Topic.Retention, name)
			spec.Trimmed, spec.Retention = true, time.Duration(c.TrimmedAfter)*time.Millisecond
		}
		for _, m := range c.Messages {
			message, ok := d.Components.Messages[strings.TrimPrefix(m.Ref, "#/components/messages/")]
			require.True(t, ok, "%s refers to %s", name, m.Ref)
			spec.Types = append(spec.Types, message.Name)
		}
		specs = append(specs, sorted(spec))
	}
	return specs
}

func sorted(spec event.TopicSpec) event.TopicSpec {
	spec.Types = slices.Clone(spec.Types)
	slices.Sort(spec.Types)
	return spec
}

func TestAsyncAPIListsEveryTopic(t *testing.T) {
	t.Parallel()
	var want []event.TopicSpec
	for _, spec := range event.Topics() {
		want = append(want, sorted(spec))
	}
	require.ElementsMatch(t, want, readAsyncAPI(t).topics(t))
}

func TestAsyncAPIMessagesAreInTheSchema(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	types := map[string]bool{}
	for _, spec := range event.Topics() {
		for _, typ := range spec.Types {
			types[typ] = true
		}
	}
	for name, m := range doc.Components.Messages {
		require.True(t, types[m.Name], "%s: no topic carries %s", name, m.Name)
		file, message, ok := strings.Cut(m.Payload.Schema.Ref, "#/")
		require.True(t, ok, m.Payload.Schema.Ref)
		schema, err := os.ReadFile(filepath.Join("..", "..", "docs", "api", file))
		require.NoError(t, err)
		require.Contains(t, string(schema), "message "+message+" {")
	}
	require.Len(t, doc.Components.Messages, len(types))
}

func TestAsyncAPIHeadersAreThoseOfARecord(t *testing.T) {
	t.Parallel()
	rec, err := event.Encode("test", &eventpb.Control{JobId: "job-1", Kind: "cancel"})
	require.NoError(t, err)
	var keys []string
	for _, h := range rec.Headers {
		keys = append(keys, h.Key)
	}
	require.ElementsMatch(t, readAsyncAPI(t).Components.Schemas.Headers.Required, keys)
}

// kafkaTopic is a Strimzi resource, see deployments/topics.yaml.
type kafkaTopic struct {
	Metadata struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		Partitions int32             `yaml:"partitions"`
		Config     map[string]string `yaml:"config"`
	} `yaml:"spec"`
}

func TestDeployedTopicsAreThoseInCode(t *testing.T) {
	t.Parallel()
	type topic struct {
		name, policy, retention string
		partitions              int32
	}
	var want, got []topic
	for _, spec := range event.Topics() {
		w := topic{name: spec.Name, partitions: spec.Partitions, policy: "compact"}
		if !spec.Compacted {
			w.policy, w.retention = "delete", strconv.FormatInt(spec.BrokerRetention(), 10)
		}
		want = append(want, w)
	}
	file, err := os.Open(filepath.Join("..", "..", "deployments", "topics.yaml"))
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	for dec := yaml.NewDecoder(file); ; {
		var k kafkaTopic
		err := dec.Decode(&k)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		config := k.Spec.Config
		got = append(got, topic{
			name: k.Metadata.Name, partitions: k.Spec.Partitions, policy: config["cleanup.policy"], retention: config["retention.ms"],
		})
	}
	require.ElementsMatch(t, want, got)
}
