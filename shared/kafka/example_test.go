package kafka_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// A broker inside the process, a topic, a record, and a reader of all that the topic holds.
func Example() {
	log := slog.New(slog.DiscardHandler)
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: log})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = broker.Close() }()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg := kafka.Config{Brokers: []string{broker.Addr()}}
	if err := kafka.Provision(ctx, cfg, []event.TopicSpec{{Name: "tracks", Partitions: 2, Retention: time.Hour}}); err != nil {
		fmt.Println(err)
		return
	}
	producer, err := kafka.NewProducer(cfg, kafka.Deps{Log: log})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = producer.Close(context.Background()) }()
	if err := producer.Publish(ctx, event.Record{Topic: "tracks", Key: "abc", Value: []byte("a song")}); err != nil {
		fmt.Println(err)
		return
	}

	caughtUp, wait := kafka.Tail(ctx, cfg, "tracks", kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		fmt.Println(rec.Key, string(rec.Value))
	})
	<-caughtUp
	cancel()
	fmt.Println(wait())
	// Output:
	// abc a song
	// <nil>
}
