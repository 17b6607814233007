package event

import "strings"

// Lanes of work. Interactive work never waits behind bulk work: each work stage reads a topic for each lane, and starts bulk records while
// interactive ones leave it free.
const (
	LaneInteractive = "interactive"
	LaneBulk        = "bulk"
)

// Lanes lists every lane.
func Lanes() []string { return []string{LaneInteractive, LaneBulk} }

const (
	topicEnd = ".v1"
	bulkEnd  = ".bulk" + topicEnd
)

// InLane is the topic that carries a lane's records of what topic carries: lark.jobs.v1 or lark.jobs.bulk.v1. topic may be of either lane.
func InLane(topic, lane string) string {
	base := topic
	if name, bulk := strings.CutSuffix(topic, bulkEnd); bulk {
		base = name + topicEnd
	}
	if lane != LaneBulk {
		return base
	}
	return strings.TrimSuffix(base, topicEnd) + bulkEnd
}

// LaneOf is the lane of a topic. What no lane divides, such as answers, counts as interactive.
func LaneOf(topic string) string {
	if strings.HasSuffix(topic, bulkEnd) {
		return LaneBulk
	}
	return LaneInteractive
}

// InLanes is the topic in every lane.
func InLanes(topic string) []string {
	var out []string
	for _, lane := range Lanes() {
		out = append(out, InLane(topic, lane))
	}
	return out
}

// laneName is the lane that an option stands for.
func laneName(option string) string {
	if option == LaneBulk {
		return LaneBulk
	}
	return LaneInteractive
}
