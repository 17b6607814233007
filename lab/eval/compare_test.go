package eval

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A model that hears and one that always says the same, beside each other.
func TestCompare(t *testing.T) {
	t.Parallel()
	dir := eightClips(t)
	tasks := []string{TaskKey, TaskMetre, TaskGrounding}
	good, err := Run(t.Context(), hearing(t), Config{Set: dir, Seed: 1, Tasks: tasks})
	require.NoError(t, err)
	deaf := &fake{answer: func(string, string) string { return "C major" }}
	bad, err := Run(t.Context(), deaf, Config{Set: dir, Seed: 1, Tasks: []string{TaskKey}})
	require.NoError(t, err)
	reports := []NamedReport{{"good", good}, {"bad", bad}}
	c, err := Compare(reports)
	require.NoError(t, err)
	require.Equal(t, good.Order, names(c.Rows))
	key := c.Rows[0]
	require.Equal(t, TaskKey, key.Name)
	require.Equal(t, []Figure{good.Summary[TaskKey], bad.Summary[TaskKey]}, []Figure{*key.Figures[0], *key.Figures[1]})
	require.Equal(t, good.Summary[TaskKey].Constant, key.Constant)
	lower := 0
	for _, i := range bad.Items {
		if i.Score < 1 {
			lower++
		}
	}
	require.Equal(t, []Change{{}, {Lower: lower}}, key.Changes)
	require.Positive(t, lower)
	metre := c.Rows[2]
	require.Equal(t, TaskMetre, metre.Name)
	require.Nil(t, metre.Figures[1], "the other was not asked")
	require.Empty(t, metre.Cell(1))

	var table, page bytes.Buffer
	WriteComparison(&table, c)
	require.Contains(t, table.String(), "| task | metric | good (95 %) | bad (95 %) | constant answer | engine/mir |")
	require.Contains(t, table.String(), ", +0 -")
	require.NoError(t, WriteComparisonPage(&page, c))
	require.Contains(t, page.String(), "Does good hear the audio?")
	require.NotContains(t, page.String(), "Does bad hear")

	_, err = Compare(reports[:1])
	require.ErrorContains(t, err, "two reports or more")
	_, err = Compare([]NamedReport{{"x", good}, {"x", bad}})
	require.ErrorContains(t, err, "NAME=FILE")
	other, err := Run(t.Context(), deaf, Config{Set: dir, Seed: 1, Tasks: []string{TaskKey}, Limit: 3})
	require.NoError(t, err)
	_, err = Compare([]NamedReport{{"good", good}, {"fewer", other}})
	require.ErrorContains(t, err, "good and fewer were asked other questions about key")
	_, err = ReadReport(filepath.Join(dir, SetFile))
	require.ErrorContains(t, err, "no report of lark eval")
}

func names(rows []Row) (out []string) {
	for _, r := range rows {
		out = append(out, r.Name)
	}
	return out
}
