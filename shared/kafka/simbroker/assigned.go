package simbroker

import "fmt"

// Describe tells who has which partitions of a group, for a seed that leaves records behind.
func (b *Broker) Describe(group string) []string {
	info := b.cluster.GroupInfo(group)
	if info == nil {
		return []string{group + ": no such group"}
	}
	out := []string{fmt.Sprintf("%s is %s", group, info.State)}
	for _, m := range info.Members {
		out = append(out, fmt.Sprintf("%s has %v", m.ClientID, m.Assignment))
	}
	return out
}
