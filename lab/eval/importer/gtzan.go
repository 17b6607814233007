package importer

import (
	"path/filepath"
	"slices"
	"strings"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/eval"
)

var gtzanGenres = []string{"blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"}

// gtzan (Tzanetakis and Cook, 2002) lies as GENRE/GENRE.00000.au in genres/, or as wav in genres_original/ in the copies that circulate. One of these,
// jazz.00054.wav, cannot be decoded in the copies: lark eval leaves it out and says so.
func gtzan(c *collection) error {
	root := "."
	for _, dir := range []string{"genres", "genres_original", "Data/genres_original"} {
		if c.First(dir) != "" {
			root = dir
			break
		}
	}
	for _, genre := range gtzanGenres {
		dir := c.First(root + "/" + genre)
		if dir == "" {
			c.Skip("genres without a folder", genre)
			continue
		}
		names, err := collect.Files(dir, "")
		if err != nil {
			return err
		}
		for _, name := range names {
			ending := filepath.Ext(name)
			if slices.Contains(collect.Endings, strings.ToLower(ending)) {
				c.add(strings.TrimSuffix(name, ending), filepath.Join(dir, name), eval.Labels{Genre: genre, GenreChoices: gtzanGenres})
			}
		}
	}
	return nil
}
