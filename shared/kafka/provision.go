package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/larkstream/larkstream/shared/event"
)

const (
	provisionTimeout = 30 * time.Second
	leaderPoll       = 50 * time.Millisecond
)

// Provision makes the topics that do not exist yet, with explicit retention or compaction, and waits until every partition
// has a leader. It leaves existing topics as they are, because their settings are the operator's, but for the partitions of those that are to grow.
func Provision(ctx context.Context, c Config, topics []event.TopicSpec) error {
	client, err := NewClient(c, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, provisionTimeout)
	defer cancel()

	admin := kadm.NewClient(client)
	have, err := admin.ListTopics(ctx, names(topics)...)
	if err != nil {
		return unreachable(c, err)
	}
	for _, t := range topics {
		if have.Has(t.Name) {
			err = grow(ctx, admin, t, len(have[t.Name].Partitions))
		} else {
			err = create(ctx, admin, t)
		}
		if err != nil {
			return err
		}
	}
	return waitForLeaders(ctx, admin, topics)
}

func create(ctx context.Context, admin *kadm.Client, t event.TopicSpec) error {
	// -1: the broker's own default replication factor.
	resp, err := admin.CreateTopic(ctx, t.Partitions, -1, topicConfig(t), t.Name)
	if err == nil {
		err = resp.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("creating topic %s: %w", t.Name, err)
	}
	return nil
}

// grow adds partitions to a topic that is to have more than it has. Several instances may do it at once.
func grow(ctx context.Context, admin *kadm.Client, t event.TopicSpec, has int) error {
	if !t.Grow || has >= int(t.Partitions) {
		return nil
	}
	resp, err := admin.UpdatePartitions(ctx, int(t.Partitions), t.Name)
	if err == nil {
		err = resp[t.Name].Err
	}
	if err != nil && !errors.Is(err, kerr.InvalidPartitions) { // another instance was faster
		return fmt.Errorf("growing topic %s from %d to %d partitions: %w", t.Name, has, t.Partitions, err)
	}
	return nil
}

// topicConfig is explicit on every topic, because brokers differ in their defaults and the embedded
// one applies retention and compaction only to topics that ask for them.
func topicConfig(t event.TopicSpec) map[string]*string {
	set := func(v string) *string { return &v }
	if t.Compacted {
		return map[string]*string{
			"cleanup.policy": set("compact"), "delete.retention.ms": set(millis(24 * time.Hour)),
			"retention.ms": set(strconv.FormatInt(t.BrokerRetention(), 10)),
		}
	}
	out := map[string]*string{"cleanup.policy": set("delete"), "retention.ms": set(strconv.FormatInt(t.BrokerRetention(), 10))}
	if t.Bytes > 0 {
		out["retention.bytes"] = set(strconv.FormatInt(t.Bytes, 10))
	}
	return out
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func waitForLeaders(ctx context.Context, admin *kadm.Client, topics []event.TopicSpec) error {
	tick := time.NewTicker(leaderPoll)
	defer tick.Stop()
	for {
		missing, err := withoutLeader(ctx, admin, topics)
		if err == nil && missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the leader of topic %s: %w", missing, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

func withoutLeader(ctx context.Context, admin *kadm.Client, topics []event.TopicSpec) (string, error) {
	have, err := admin.ListTopics(ctx, names(topics)...)
	if err != nil {
		return "", err
	}
	for _, t := range topics {
		detail := have[t.Name]
		if detail.Err != nil || len(detail.Partitions) == 0 {
			return t.Name, nil
		}
		for _, p := range detail.Partitions {
			if p.Leader < 0 {
				return t.Name, nil
			}
		}
	}
	return "", nil
}

// TopicID is the id that Kafka gave a topic when it was made, in base64: two topics of the same name have different ids.
func TopicID(ctx context.Context, c Config, topic string) (string, error) {
	client, err := NewClient(c, nil)
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	have, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err != nil {
		return "", unreachable(c, err)
	}
	detail := have[topic]
	if detail.Err != nil {
		return "", fmt.Errorf("asking for the id of topic %s: %w", topic, detail.Err)
	}
	return detail.ID.String(), nil
}

func names(topics []event.TopicSpec) []string {
	out := make([]string, len(topics))
	for i, t := range topics {
		out[i] = t.Name
	}
	return out
}

// Lag gives, for each topic with commits of the group, the number of records that are not committed yet. It is empty for a
// group that does not exist.
func Lag(ctx context.Context, c Config, group string) (map[string]int64, error) {
	client, err := NewClient(c, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	lags, err := kadm.NewClient(client).Lag(ctx, group)
	if err != nil {
		return nil, unreachable(c, err)
	}
	described, ok := lags[group]
	if !ok {
		return map[string]int64{}, nil
	}
	if err := described.Error(); errors.Is(err, kerr.GroupIDNotFound) {
		return map[string]int64{}, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading lag of group %s: %w", group, err)
	}
	out := make(map[string]int64)
	for topic, partitions := range described.Lag {
		for _, p := range partitions {
			out[topic] += max(0, p.Lag)
		}
	}
	return out, nil
}
