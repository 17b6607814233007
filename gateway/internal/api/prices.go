package api

import (
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

// Prices make an amount of what an outcome has cost. Without a Currency there are none.
type Prices struct {
	Currency                                             string
	AudioSecond, EncoderSecond, PromptToken, OutputToken float64
}

// Amount is what a cost is worth.
func (p Prices) Amount(c store.Cost) float64 {
	return p.AudioSecond*c.AudioS + p.EncoderSecond*c.EncoderS + p.PromptToken*float64(c.PromptTokens) + p.OutputToken*float64(c.OutputTokens)
}

func (p Prices) of(c store.Cost) client.Cost {
	v := client.Cost{AudioS: c.AudioS, EncoderS: c.EncoderS, PromptTokens: c.PromptTokens, OutputTokens: c.OutputTokens}
	if p.Currency != "" {
		amount := p.Amount(c)
		v.Amount, v.Currency = &amount, p.Currency
	}
	return v
}
