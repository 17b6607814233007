package cli

import (
	"encoding/json"
	"errors"
)

// errEnough ends a walk over pages.
var errEnough = errors.New("enough was shown")

// eachOf shows what a list of the gateway has, page by page. page returns the things of the page at a cursor, and the cursor of the next page, nil at the end; show may
// end the walk with errEnough.
func eachOf[T any](page func(cursor string) (things []T, next *string, err error), show func(T) error) error {
	for cursor := ""; ; {
		things, next, err := page(cursor)
		if err != nil {
			return err
		}
		for _, t := range things {
			if err := show(t); errors.Is(err, errEnough) {
				return nil
			} else if err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
		cursor = *next
	}
}

// showing shows a thing as text, or as one JSON object on a line.
func showing[T any](a *app, asJSON bool, text func(T)) func(T) error {
	return func(t T) error {
		if asJSON {
			return json.NewEncoder(a.Out).Encode(t)
		}
		text(t)
		return nil
	}
}
