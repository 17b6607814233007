package stage_test

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

// A stage that answers windows. The second record cannot be answered, however often it is tried: its question ends as
// failed with the code that the handler gives.
func ExampleRunner() {
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: testLog()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = broker.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg := kafka.Config{Brokers: []string{broker.Addr()}}
	if err := kafka.Provision(ctx, cfg, event.Topics()); err != nil {
		fmt.Println(err)
		return
	}
	producer, err := kafka.NewProducer(cfg, kafka.Deps{Log: testLog()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = producer.Close(context.Background()) }()

	runner, err := stage.New(stage.Config{Stage: "encoder", Topics: []string{event.TopicWindows}}, stage.Deps{
		Kafka: cfg, Producer: producer, Log: testLog(),
		Handle: func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
			if rec.Get(event.HeaderSubject) == "silent" {
				return nil, stage.Permanent(event.CodeAudioTooShort, errors.New("nothing to hear"))
			}
			return answer(rec)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()

	outcomes := make(chan *eventpb.Outcome)
	_, wait := kafka.Tail(ctx, cfg, event.TopicAnswers, kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		if outcome, err := event.DecodeAs[*eventpb.Outcome](rec); err == nil {
			outcomes <- outcome
		}
	})
	for _, job := range []string{"song", "silent"} {
		rec, err := event.Encode("chunker", window(job, job, 0, 1))
		if err == nil {
			err = producer.Publish(ctx, rec)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		outcome := <-outcomes
		fmt.Printf("%s %s %q %q\n", outcome.GetJobId(), outcome.GetState(), outcome.GetAnswer(), outcome.GetError().GetCode())
	}
	cancel() // the runner drains
	fmt.Println(<-ended, wait())
	// Output:
	// song STATE_ANSWERED "yes" ""
	// silent STATE_FAILED "" "audio_too_short"
	// <nil> <nil>
}
