package ask

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/gateway/client"
)

// errWindows is what every error of ParseWindows wraps.
var errWindows = errors.New("windows are auto, all, or spans like 30-55 or 1:30-1:55, separated by commas")

// ParseWindows reads which windows of a track to hear: auto, all, or spans start-end in seconds or minutes:seconds,
// separated by commas.
func ParseWindows(text string) (plan string, spans []client.Span, err error) {
	switch text {
	case "", client.PlanAuto:
		return client.PlanAuto, nil, nil
	case client.PlanAll:
		return client.PlanAll, nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, ok := strings.Cut(strings.TrimSpace(part), "-")
		if !ok {
			return "", nil, fmt.Errorf("reading window %q: %w", part, errWindows)
		}
		start, err := parseTime(from)
		if err != nil {
			return "", nil, fmt.Errorf("reading window %q: %w", part, err)
		}
		end, err := parseTime(to)
		if err != nil {
			return "", nil, fmt.Errorf("reading window %q: %w", part, err)
		}
		if end <= start {
			return "", nil, fmt.Errorf("reading window %q: its end is not after its start", part)
		}
		spans = append(spans, client.Span{StartS: start, EndS: end})
	}
	return client.PlanExplicit, spans, nil
}

// Heard is the text for ParseWindows of a plan (auto, all or explicit) and of the spans of plan explicit. Either may be empty, as in the API.
func Heard(plan, spans string) (string, error) {
	switch plan {
	case "", client.PlanExplicit:
		if plan != "" && spans == "" {
			return "", errors.New("plan explicit needs spans, such as 30-55,1:30-1:55")
		}
		return spans, nil
	case client.PlanAuto, client.PlanAll:
		if spans != "" {
			return "", fmt.Errorf("spans belong to plan explicit, not to %s", plan)
		}
		return plan, nil
	}
	return "", fmt.Errorf("plan %.40q is not known: it is auto, all or explicit", plan)
}

// parseTime reads seconds, minutes:seconds or hours:minutes:seconds.
func parseTime(text string) (float64, error) {
	parts := strings.Split(strings.TrimSpace(text), ":")
	if len(parts) > 3 {
		return 0, errWindows
	}
	total := 0.0
	for i, part := range parts {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || v < 0 || math.IsInf(v, 0) || math.IsNaN(v) {
			return 0, errWindows
		}
		if i > 0 && v >= 60 || i < len(parts)-1 && v != math.Trunc(v) {
			return 0, errWindows
		}
		total = 60*total + v
	}
	return total, nil
}

// clock prints seconds as m:ss, with a decimal where there is one.
func clock(seconds float64) string {
	tenths := int64(math.Round(seconds * 10))
	text := fmt.Sprintf("%d:%02d", tenths/600, tenths/10%60)
	if tenths%10 != 0 {
		text += fmt.Sprintf(".%d", tenths%10)
	}
	return text
}
