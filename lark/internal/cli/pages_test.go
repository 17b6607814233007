package cli

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachOf(t *testing.T) {
	t.Parallel()
	next := "second"
	pages := map[string][]int{"": {1, 2}, next: {3}}
	var asked []string
	page := func(cursor string) ([]int, *string, error) {
		asked = append(asked, cursor)
		if cursor == "" {
			return pages[""], &next, nil
		}
		return pages[cursor], nil, nil
	}
	var seen []int
	require.NoError(t, eachOf(page, func(n int) error {
		seen = append(seen, n)
		return nil
	}))
	require.Equal(t, []int{1, 2, 3}, seen)
	require.Equal(t, []string{"", "second"}, asked)

	asked = nil
	require.NoError(t, eachOf(page, func(int) error { return errEnough }))
	require.Equal(t, []string{""}, asked, "no page is read for nothing")
	broken := errors.New("broken")
	require.ErrorIs(t, eachOf(page, func(int) error { return broken }), broken)
	require.ErrorIs(t, eachOf(func(string) ([]int, *string, error) { return nil, nil, broken }, func(int) error { return nil }), broken)
}
