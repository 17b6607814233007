package topic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	ours "github.com/larkstream/larkstream/shared/kafka"
)

const (
	clientID = "lark-topic"
	// requestTimeout bounds each request, so that a broker that is away is told and not waited for.
	requestTimeout = 10 * time.Second
	// shownTopics bounds how many topics an error lists.
	shownTopics = 60
)

// cluster is a connection to the brokers.
type cluster struct {
	brokers   []string
	security  ours.Security
	transport *kafka.Transport
	client    *kafka.Client
}

func connect(brokers []string, security ours.Security) (*cluster, error) {
	if err := security.Validate(); err != nil {
		return nil, err
	}
	secure, err := security.TLSConfig()
	if err != nil {
		return nil, err
	}
	transport := &kafka.Transport{ClientID: clientID, DialTimeout: requestTimeout / 2, MetadataTTL: time.Second, TLS: secure}
	if mechanism := security.Login(); mechanism != nil {
		transport.SASL = login{mechanism}
	}
	return &cluster{
		brokers: brokers, security: security, transport: transport,
		client: &kafka.Client{Addr: kafka.TCP(brokers...), Transport: transport, Timeout: requestTimeout},
	}, nil
}

// login is a mechanism of the pipeline's client in the form that this client takes.
type login struct{ ours.Mechanism }

var _ sasl.Mechanism = login{}

// Start begins a login.
func (l login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	session, first, err := l.Authenticate(ctx, "")
	return challenges(func(answer []byte) (bool, []byte, error) { return session.Challenge(answer) }), first, err
}

// challenges answers what the broker says until the login is done.
type challenges func(answer []byte) (done bool, next []byte, err error)

// Next answers once.
func (c challenges) Next(_ context.Context, answer []byte) (bool, []byte, error) { return c(answer) }

func (c *cluster) close() { c.transport.CloseIdleConnections() }

func (c *cluster) unreachable(err error) error {
	err = fmt.Errorf("reaching Kafka at %s (KAFKA_BROKERS and --brokers name another): %w", strings.Join(c.brokers, ", "), err)
	if remedy := c.security.Remedy(err); remedy != "" {
		return fmt.Errorf("%w; %s", err, remedy)
	}
	return err
}

// partitions lists the partitions of a topic.
func (c *cluster) partitions(ctx context.Context, topic string) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	meta, err := c.client.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return nil, c.unreachable(err)
	}
	var names []string
	for _, t := range meta.Topics {
		if t.Name != topic {
			names = append(names, t.Name)
			continue
		}
		if t.Error != nil {
			return nil, fmt.Errorf("asking for topic %s: %w", topic, t.Error)
		}
		var out []int
		for _, p := range t.Partitions {
			out = append(out, p.ID)
		}
		slices.Sort(out)
		return out, nil
	}
	slices.Sort(names)
	return nil, fmt.Errorf("topic %s does not exist at %s; there are: %s", topic, strings.Join(c.brokers, ", "), list(names))
}

func list(names []string) string {
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > shownTopics:
		return strings.Join(names[:shownTopics], ", ") + fmt.Sprintf(" and %d more", n-shownTopics)
	}
	return strings.Join(names, ", ")
}

// bounds are the first offset of a partition and the one after the last.
type bounds struct{ first, last int64 }

func (c *cluster) bounds(ctx context.Context, topic string, partitions []int) (map[int]bounds, error) {
	var requests []kafka.OffsetRequest
	for _, p := range partitions {
		requests = append(requests, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
	}
	listed, err := c.offsets(ctx, topic, requests)
	if err != nil {
		return nil, err
	}
	out := make(map[int]bounds)
	for _, p := range listed {
		out[p.Partition] = bounds{p.FirstOffset, p.LastOffset}
	}
	return out, nil
}

// resolve finds the position in each partition.
func (c *cluster) resolve(ctx context.Context, topic string, at Position, limits map[int]bounds) (map[int]int64, error) {
	out := make(map[int]int64)
	var requests []kafka.OffsetRequest
	for p, limit := range limits {
		switch at.kind {
		case earliest:
			out[p] = limit.first
		case latest:
			out[p] = limit.last
		case atOffset:
			out[p] = min(max(at.offset, limit.first), limit.last)
		case atTime:
			out[p] = limit.last // where no record is that young
			requests = append(requests, kafka.TimeOffsetOf(p, at.at))
		}
	}
	if len(requests) == 0 {
		return out, nil
	}
	listed, err := c.offsets(ctx, topic, requests)
	if err != nil {
		return nil, err
	}
	for _, p := range listed {
		for offset := range p.Offsets {
			if offset >= 0 {
				out[p.Partition] = min(offset, limits[p.Partition].last)
			}
		}
	}
	return out, nil
}

func (c *cluster) offsets(ctx context.Context, topic string, requests []kafka.OffsetRequest) ([]kafka.PartitionOffsets, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: requests}})
	if err != nil {
		return nil, c.unreachable(err)
	}
	var faults []error
	for _, p := range resp.Topics[topic] {
		if p.Error != nil {
			faults = append(faults, fmt.Errorf("asking for the offsets of partition %d: %w", p.Partition, p.Error))
		}
	}
	return resp.Topics[topic], errors.Join(faults...)
}
