package index

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/source"
)

func read(t *testing.T, src Source) (items []client.NewItem, bad []Bad, left Left) {
	t.Helper()
	left, err := src.Read(t.Context(), func(it client.NewItem) error {
		items = append(items, it)
		return nil
	}, func(b Bad) { bad = append(bad, b) })
	require.NoError(t, err)
	return items, bad, left
}

func put(t *testing.T, path, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestManifestsOfEveryForm(t *testing.T) {
	t.Parallel()
	dir, digest := t.TempDir(), strings.Repeat("ab", 32)
	uri := source.FileURI(filepath.Join(dir, "a b.mp3"))
	want := []client.NewItem{
		{ID: "1", URI: uri, SHA256: digest, Fields: map[string]string{"title": "Ä, \"B\"", "year": "1999"}},
		{ID: "s3://lib/c.mp3", URI: "s3://lib/c.mp3"},
	}
	csvText := "\xef\xbb\xbfID,uri,SHA256,title,year\r\n1,a b.mp3," + digest + ",\"Ä, \"\"B\"\"\",1999\r\n,s3://lib/c.mp3,,,\r\n"
	jsonText := `{"id":"1","uri":"a b.mp3","sha256":"` + digest + `","title":"Ä, \"B\"","year":1999}` + "\n\n" + `{"path":"s3://lib/c.mp3"}`
	parquetFile := filepath.Join(dir, "m.parquet")
	type row struct {
		ID     string `parquet:"id,optional"`
		URI    string `parquet:"uri"`
		SHA256 string `parquet:"sha256,optional"`
		Title  string `parquet:"title,optional"`
		Year   string `parquet:"year,optional"`
	}
	require.NoError(t, parquet.WriteFile(parquetFile, []row{{"1", "a b.mp3", digest, "Ä, \"B\"", "1999"}, {URI: "s3://lib/c.mp3"}}))
	for _, src := range []Source{
		{Name: put(t, filepath.Join(dir, "m.csv"), csvText)}, {Name: put(t, filepath.Join(dir, "m.jsonl"), jsonText)}, {Name: parquetFile},
	} {
		items, bad, _ := read(t, src)
		require.Empty(t, bad, src.Name)
		require.Equal(t, want, items, src.Name)
	}
	items, _, _ := read(t, Source{Name: "-", Input: strings.NewReader("\n  " + strings.ReplaceAll(jsonText, "a b.mp3", uri))})
	require.Equal(t, want, items, "JSON lines on standard input")
	items, _, _ = read(t, Source{Name: "-", Input: strings.NewReader("uri\ns3://lib/c.mp3\n")})
	require.Equal(t, want[1:], items, "CSV on standard input")
}

func TestBadLinesAreToldAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	text := "{\n" + `{"id":"x"}` + "\n" + `{"uri":"ftp://a/b"}` + "\n" + `{"uri":"s3://a/b","sha256":"zz"}` + "\n" + `{"uri":"` + strings.Repeat("x", maxLine) + `"}` + "\n" +
		`{"uri":"s3://a/b","note":"` + strings.Repeat("n", 600) + `"}` + "\n" + `{"uri":"s3://a/good"}` + "\n"
	items, bad, _ := read(t, Source{Name: "-", Input: strings.NewReader(text)})
	require.Len(t, items, 1)
	var lines []int
	for _, b := range bad {
		lines = append(lines, b.Line)
		require.NotEmpty(t, b.Reason)
	}
	require.Equal(t, []int{1, 2, 3, 4, 5, 6}, lines)

	items, bad, _ = read(t, Source{Name: "-", Input: strings.NewReader("id,uri\n1,\n2,s3://a/b\n3\n4,\"s3://a/c\n")})
	require.Equal(t, []string{"2"}, []string{items[0].ID})
	require.NotEmpty(t, bad)

	_, err := Source{Name: "-", Input: strings.NewReader("\xff\xfei\x00d\x00")}.Read(t.Context(), nil, nil)
	require.ErrorContains(t, err, "UTF-16")
	_, err = Source{Name: "-", Input: strings.NewReader("title,artist\n")}.Read(t.Context(), nil, nil)
	require.ErrorContains(t, err, "no column uri or path")
	_, err = Source{Name: filepath.Join(t.TempDir(), "none.csv")}.Read(t.Context(), nil, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAFolderIsWalked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a.mp3", "Sub/ü.FLAC", "cover.jpg", ".git/x.mp3"} {
		put(t, filepath.Join(dir, name), "x")
	}
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "dangling.ogg")))
	require.NoError(t, os.Symlink(".", filepath.Join(dir, "loop")))
	items, _, left := read(t, Source{Name: dir})
	var got []string
	for _, it := range items {
		got = append(got, it.ID)
	}
	require.Equal(t, []string{"Sub/%C3%BC.FLAC", "a.mp3", "dangling.ogg"}, got)
	require.Equal(t, Left{".jpg": 1, "": 1}, left, "what is left out is told")
}

func TestASampleIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	f := Filling{Share: 0.1, Seed: 7}
	n := 0
	for i := range 20_000 {
		id := string(rune('a'+i%26)) + strings.Repeat("x", i%7) + string(rune(i))
		again := f.taken(id)
		require.Equal(t, again, f.taken(id))
		if f.taken(id) {
			n++
		}
	}
	require.InDelta(t, 2000, n, 300)
	require.True(t, Filling{}.taken("x"))
}

func FuzzManifest(f *testing.F) {
	for _, seed := range []string{"id,uri\n1,a\n", `{"uri":"s3://a/b"}`, "\xef\xbb\xbf", "uri\n\"", "{\"uri\":{\"a\":[1]}}\n", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = Source{Name: "-", Input: strings.NewReader(text)}.Read(t.Context(), func(it client.NewItem) error {
			if checkItem(it) != nil {
				t.Errorf("item %+v would be refused", it)
			}
			return nil
		}, func(Bad) {})
	})
}
