package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// repairTime is how long the repair of a broker may take. It asks for the offsets of a dozen groups.
const repairTime = 10 * time.Second

// repair sets back the offsets of groups that lie beyond the end of a log. A machine that loses its power may lose the records that it wrote last and keep the
// offsets of groups that had read these records. New records take the places of the lost ones, and a group whose offset lies behind them would never read them. No
// record is written and no member joins a group while the repair lasts.
func (b *Broker) repair(log *slog.Logger) error {
	held := b.cluster.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: -1},
		kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.CoordinatorLoadInProgress, Count: -1},
	)
	defer held.Remove()
	ctx, cancel := context.WithTimeout(context.Background(), repairTime)
	defer cancel()
	client, err := NewClient(Config{Brokers: []string{b.addr}}, log)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	groups, err := admin.ListGroups(ctx)
	if err != nil {
		return fmt.Errorf("listing groups: %w", err)
	}
	var faults []error
	for _, group := range groups.Groups() {
		faults = append(faults, setBack(ctx, admin, group, log))
	}
	return errors.Join(faults...)
}

// setBack sets back the offsets of one group.
func setBack(ctx context.Context, admin *kadm.Client, group string, log *slog.Logger) error {
	commits, err := commitsOf(ctx, admin, group)
	if err != nil || len(commits) == 0 {
		return err
	}
	ends, err := admin.ListEndOffsets(ctx, slices.Collect(maps.Keys(commits))...)
	if err != nil {
		return fmt.Errorf("reading the ends of the topics of group %s: %w", group, err)
	}
	back := make(kadm.Offsets)
	commits.Each(func(c kadm.OffsetResponse) {
		end, ok := ends.Lookup(c.Topic, c.Partition)
		if c.Err != nil || !ok || end.Err != nil || c.At <= end.Offset {
			return
		}
		log.Warn("the broker's log ends before the offset of a group, as after a power cut: records that were acknowledged are lost; the offset is set back",
			slog.String("group", group), slog.String("topic", c.Topic), slog.Int("partition", int(c.Partition)), slog.Int64("offset", c.At), slog.Int64("end", end.Offset))
		back.AddOffset(c.Topic, c.Partition, end.Offset, -1)
	})
	if len(back) == 0 {
		return nil
	}
	if err := admin.CommitAllOffsets(ctx, group, back); err != nil {
		return fmt.Errorf("setting back the offsets of group %s: %w", group, err)
	}
	return nil
}
