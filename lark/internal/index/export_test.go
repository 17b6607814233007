package index

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/readers"
	"github.com/larkstream/larkstream/shared/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ended is a run whose items a gateway tells, page by page.
func ended(t *testing.T, items []client.RunItem) (*client.Client, client.Run) {
	t.Helper()
	run := client.Run{ID: "run-1", State: client.RunPartial, Items: len(items)}
	run.Asked.Name, run.Asked.Questions = "Ä & <b>", []string{"tags"}
	for i := range items {
		items[i].Number = i + 1
		switch items[i].State {
		case client.StateSucceeded:
			run.Counts.Succeeded++
		case client.StateFailed:
			run.Counts.Failed++
		}
	}
	return gatewayWith(t, len(items), 7, func(i int) client.RunItem { return items[i] }), run
}

// gatewayWith tells the items of run-1, so many a page.
func gatewayWith(tb testing.TB, items, page int, item func(int) client.RunItem) *client.Client {
	tb.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(client.ModelList{Models: []client.Model{{ID: "nano"}}})
	})
	mux.HandleFunc("GET /v1/runs/run-1/items", func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		to := min(from+page, items)
		var list client.RunItemList
		for i := from; i < to; i++ {
			list.Items = append(list.Items, item(i))
		}
		if to < items {
			next := strconv.Itoa(to)
			list.Next = &next
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	gw, err := client.New(server.URL, server.Client())
	require.NoError(tb, err)
	return gw
}

// tagged is an item of a file with these tags.
func tagged(uri string, fields map[string]string, tg *tags.Tags) client.RunItem {
	return client.RunItem{
		ID: uri, URI: uri, State: client.StateSucceeded, Fields: fields, Bytes: 1234, DurationS: 180.6, Windows: 1, SHA256: strings.Repeat("a", 64),
		Outcomes: []client.Outcome{{ID: uri, Question: "tags", State: "answered", Tags: tg, Model: "nano", Window: client.Window{EndS: 23, HeardS: 23}}},
	}
}

func export(t *testing.T, e Export, run client.Run) Manifest {
	t.Helper()
	m, err := e.Run(t.Context(), run)
	require.NoError(t, err)
	v, err := Verify(t.Context(), e.Gateway, run, nil, e.Dir)
	require.NoError(t, err)
	require.Empty(t, v.Differences)
	return m
}

// TestACollectionForRekordbox is read by Python's own XML reader and by pyrekordbox.
func TestACollectionForRekordbox(t *testing.T) {
	t.Parallel()
	strange := "/music/ä ?#%&+'\"<>/0\u00a0100% \xff.flac"
	gw, run := ended(t, []client.RunItem{
		tagged("file:///music/a%20b.mp3", map[string]string{"title": "Title \"1\" <&>\x01", "artist": "Ärtist", "album": "Album"},
			&tags.Tags{TempoBPM: 128, Key: "F#", Mode: "minor", Genre: "techno"}),
		tagged(source.FileURI(strange), nil, &tags.Tags{Key: "Bb", Mode: "major"}),
		tagged("s3://lib/c.mp3", nil, &tags.Tags{TempoBPM: 90}),
		{ID: "bad", URI: "file:///music/bad.mp3", State: client.StateFailed, Code: "source_missing"},
		tagged("https://example.org/d.mp3", nil, nil),
	})
	out := t.TempDir()
	m := export(t, Export{Gateway: gw, Format: formatRekordbox, Dir: out}, run)
	require.Equal(t, map[string]int{"not a file": 2, "failed": 1}, m.LeftOut)
	require.Len(t, m.Parts, 1)
	require.Equal(t, 2, m.Parts[0].Rows)

	var read struct {
		Entries, Count, Playlist int
		Tracks                   []map[string]any
		Paths, List              []string
		Location                 string
	}
	require.NoError(t, json.Unmarshal(readers.Run(t, `
import json, sys, urllib.parse, xml.etree.ElementTree as ET
from pyrekordbox.rbxml import RekordboxXml
root = ET.parse(sys.argv[1]).getroot()
tracks = root.findall("./COLLECTION/TRACK")
x = RekordboxXml(sys.argv[1])
playlist = x.get_playlist().get_playlists()[0]
wanted = ["TrackID", "Name", "Artist", "Album", "Genre", "Kind", "Size", "TotalTime", "AverageBpm", "Tonality"]
print(json.dumps({"entries": int(root.find("COLLECTION").get("Entries")), "count": x.num_tracks,
  "tracks": [{k: v for k in wanted if (v := x.get_track(i)[k]) is not None} for i in range(x.num_tracks)],
  "paths": [urllib.parse.unquote_to_bytes(t.get("Location").removeprefix("file://localhost")).decode("latin-1") for t in tracks],
  "location": tracks[0].get("Location"), "list": [playlist.name], "playlist": len(playlist.get_tracks())}))
`, filepath.Join(out, "tracks-00000.xml")), &read))
	require.Equal(t, []int{2, 2, 2}, []int{read.Entries, read.Count, read.Playlist})
	require.Equal(t, []map[string]any{
		{
			"TrackID": 1., "Name": "Title \"1\" <&>\uFFFD", "Artist": "Ärtist", "Album": "Album", "Genre": "techno", "Kind": "MP3 File", "Size": 1234., "TotalTime": 181.,
			"AverageBpm": 128., "Tonality": "F#m",
		},
		{"TrackID": 2., "Name": "0\u00a0100% \uFFFD", "Artist": "", "Album": "", "Genre": "", "Kind": "FLAC File", "Size": 1234., "TotalTime": 181., "Tonality": "Bb"},
	}, read.Tracks)
	require.Equal(t, "file://localhost/music/a%20b.mp3", read.Location)
	require.Equal(t, []string{"/music/a b.mp3", latin1(strange)}, read.Paths, "every byte of a path is told")
	require.Equal(t, []string{run.Asked.Name}, read.List)
}

// latin1 makes a character of each byte.
func latin1(text string) string {
	var out strings.Builder
	for _, b := range []byte(text) {
		out.WriteRune(rune(b))
	}
	return out.String()
}

// TestDocumentsForElasticsearch: an action before each document, in files that the bulk API takes, one document for each item, also for those that failed.
func TestDocumentsForElasticsearch(t *testing.T) {
	t.Parallel()
	var items []client.RunItem
	for i := range 40 {
		items = append(items, tagged(fmt.Sprintf("s3://lib/%d ü\n.mp3", i), map[string]string{"title": strings.Repeat("ä\n", 250_000)}, &tags.Tags{TempoBPM: 60 + i, Mood: []string{"calm"}}))
	}
	items = append(items, client.RunItem{ID: "bad", URI: "s3://lib/bad.mp3", State: client.StateFailed, Code: "source_missing"})
	gw, run := ended(t, items)
	out := t.TempDir()
	m := export(t, Export{Gateway: gw, Format: formatElasticsearch, Dir: out, Index: "music-2026"}, run)
	require.Greater(t, len(m.Parts), 2)

	var read struct {
		IDs, Indices, Codes []string
		Tempi               []int
		Files               []int64
	}
	require.NoError(t, json.Unmarshal(readers.Run(t, `
import glob, json, os, sys
out = {"ids": [], "indices": [], "codes": [], "tempi": [], "files": []}
for f in sorted(glob.glob(sys.argv[1] + "/tracks-*.ndjson")):
    out["files"].append(os.path.getsize(f))
    raw = open(f, newline="").read()
    assert raw.endswith("\n")
    lines = raw.split("\n")[:-1]
    for action, source in zip(lines[::2], lines[1::2], strict=True):
        (verb, about), doc = next(iter(json.loads(action).items())), json.loads(source)
        assert verb == "index" and about["_id"] == doc["id"]
        out["ids"].append(about["_id"]); out["indices"].append(about["_index"])
        if "code" in doc: out["codes"].append(doc["code"])
        else: out["tempi"].append(doc["tempo_bpm"])
print(json.dumps(out | {"indices": sorted(set(out["indices"]))}))
`, out), &read))
	require.Len(t, read.IDs, len(items))
	require.Equal(t, items[0].ID, read.IDs[0])
	require.Equal(t, []string{"music-2026"}, read.Indices)
	require.Equal(t, []string{"source_missing"}, read.Codes)
	require.Equal(t, 99, read.Tempi[39])
	for _, size := range read.Files {
		require.Less(t, size, int64(10<<20))
	}
}

func TestWhatCannotBeExportedIsRefused(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]Export{
		"form": {Format: "xls"}, "no index": {Format: "csv", Index: "x"}, "upper case": {Format: formatElasticsearch, Index: "Music"},
		"dash": {Format: formatElasticsearch, Index: "-x"}, "star": {Format: formatElasticsearch, Index: "a*"}, "long": {Format: formatElasticsearch, Index: strings.Repeat("i", 256)},
		"dots": {Format: formatElasticsearch, Index: ".."}, "rows": {Format: "csv", PartRows: -1},
	} {
		require.Error(t, e.Check(), name)
	}
	for _, format := range Formats() {
		require.NoError(t, Export{Format: format}.Check())
	}
}

// TestAnOlderExportLeavesNothing: whoever reads tracks-*.csv reads one export.
func TestAnOlderExportLeavesNothing(t *testing.T) {
	t.Parallel()
	gw, run := ended(t, []client.RunItem{tagged("a", nil, nil), tagged("b", nil, nil), tagged("c", nil, nil)})
	out := t.TempDir()
	e := Export{Gateway: gw, Format: "csv", Dir: out, PartRows: 1}
	export(t, e, run)
	for _, name := range []string{"tracks-mine.csv", "tracks-00009.jsonl", "other-00009.csv"} {
		require.NoError(t, os.WriteFile(filepath.Join(out, name), nil, 0o600))
	}
	e.PartRows = 2
	m := export(t, e, run)
	require.WithinDuration(t, time.Now(), m.Exported, time.Hour)
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.Equal(t, []string{"_manifest.json", "other-00009.csv", "tracks-00000.csv", "tracks-00001.csv", "tracks-00009.jsonl", "tracks-mine.csv", "windows-00000.csv", "windows-00001.csv"}, names)
}
