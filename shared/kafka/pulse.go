package kafka

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Pulse notes when a client last had an answer from a broker. A member of a consumer group has one at least every second.
type Pulse struct{ last atomic.Int64 }

var _ kgo.HookBrokerRead = (*Pulse)(nil)

// NewPulse makes a Pulse that counts from now. It goes into the client's options with kgo.WithHooks.
func NewPulse() *Pulse {
	p := &Pulse{}
	p.last.Store(time.Now().UnixNano())
	return p
}

// OnBrokerRead is called by the client with each answer.
func (p *Pulse) OnBrokerRead(_ kgo.BrokerMetadata, _ int16, _ int, _, _ time.Duration, err error) {
	if err == nil {
		p.last.Store(time.Now().UnixNano())
	}
}

// Silence is how long no broker has answered.
func (p *Pulse) Silence() time.Duration { return max(0, time.Since(time.Unix(0, p.last.Load()))) }
