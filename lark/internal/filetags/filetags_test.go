package filetags

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lark/internal/readers"
)

// audio is what stands for the frames of an MP3: it begins as one does, and holds what a careless program takes for a tag.
var audio = slices.Concat([]byte{0xff, 0xfb, 0x90, 0x64}, bytes.Repeat([]byte("ID3\x04\x00TBPM fLaC\xff\xfb"), 5000))

// picture stands for a cover.
var picture = append([]byte("\x00image/png\x00\x03\x00"), bytes.Repeat([]byte{0xff, 0xe0, 0}, 3000)...)

var wanted = Values{Tempo: {"128"}, Key: {"F#m"}, Genre: {"drum and bass"}, Mood: {"dark", "tense"}, Instruments: {"drums", "bass"}, Metre: {"4/4"}, Description: {"Größe – 大きい"}}

// rawFrame is a frame as it lies in a tag.
func rawFrame(version byte, id string, data []byte) []byte {
	size := putSyncsafe(len(data))
	if version == 3 {
		size = binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	}
	return slices.Concat([]byte(id), size, []byte{0, 0}, data)
}

func tag(version byte, pad int, frames ...[]byte) []byte {
	body := append(slices.Concat(frames...), make([]byte, pad)...)
	return slices.Concat([]byte{'I', 'D', '3', version, 0, 0}, putSyncsafe(len(body)), body)
}

func block(kind byte, last bool, body []byte) []byte {
	if last {
		kind |= blockLast
	}
	return slices.Concat([]byte{kind}, putBlockSize(len(body)), body)
}

func comments(vendor string, all ...string) []byte {
	out := append(binary.LittleEndian.AppendUint32(nil, uint32(len(vendor))), vendor...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(all)))
	for _, c := range all {
		out = append(binary.LittleEndian.AppendUint32(out, uint32(len(c))), c...)
	}
	return out
}

// others are the parts of each file that must stay as they are.
func others(version byte) [][]byte {
	return [][]byte{
		rawFrame(version, "TIT2", []byte("\x03Titel ü")), rawFrame(version, "APIC", picture), rawFrame(version, "TXXX", []byte("\x00MOODS\x00of others")),
		rawFrame(version, "PRIV", []byte("owner\x00\xff\x00\xff\xe0")), rawFrame(version, "COMM", []byte("\x01eng\xff\xfe\x00\x00\xff\xfeh\x00i\x00")),
	}
}

// files are whole files by name, with what of them must be found again.
func files() map[string]struct {
	file  []byte
	parts [][]byte
} {
	type sample = struct {
		file  []byte
		parts [][]byte
	}
	all := map[string]sample{"bare.mp3": {audio, [][]byte{audio}}}
	for version, name := range map[byte]string{3: "v3", 4: "v4"} {
		o := others(version)
		old := rawFrame(version, "TBPM", []byte("\x0090"))
		again := rawFrame(version, "TBPM", []byte("\x0091"))
		key := rawFrame(version, "TXXX", []byte("\x01\xff\xfem\x00e\x00t\x00r\x00e\x00\x00\x00\xff\xfe3\x00/\x004\x00"))
		parts := append(slices.Clone(o), audio)
		all[name+"-room.mp3"] = sample{slices.Concat(tag(version, 600, o[0], old, o[1], o[2], again, o[3], key, o[4]), audio), parts}
		all[name+"-full.mp3"] = sample{slices.Concat(tag(version, 0, old, o[0], o[1], o[2], o[3], o[4]), audio), parts}
		all[name+"-long.mp3"] = sample{slices.Concat(tag(version, 0, rawFrame(version, "TCON", append([]byte{0}, bytes.Repeat([]byte("x"), 4000)...)), slices.Concat(o...)), audio), parts}
	}
	info, seek, cover := block(0, false, make([]byte, 34)), block(3, false, make([]byte, 36)), block(6, false, picture)
	had := comments("maker 1.0", "TITLE=Titel ü", "bpm=90", "MOODS=of others", "BPM=91", "COMMENT=a=b", "noequals")
	all["some.flac"] = sample{slices.Concat([]byte("fLaC"), info, seek, block(4, false, had), cover, block(1, true, make([]byte, 100)), audio), [][]byte{info, seek, cover, comments("maker 1.0")[:13], audio}}
	all["end.flac"] = sample{slices.Concat([]byte("fLaC"), info, cover, block(4, true, had), audio), [][]byte{info, cover, []byte("COMMENT=a=b"), []byte("noequals"), audio}}
	all["none.flac"] = sample{slices.Concat([]byte("fLaC"), block(0, true, make([]byte, 34)), audio), [][]byte{audio}}
	all["id3.flac"] = sample{slices.Concat(tag(4, 0, others(4)...), []byte("fLaC"), info, block(4, true, had), audio), append(others(4), audio)}
	return all
}

func sumOf(b []byte) string {
	return hex.EncodeToString(func() []byte { s := sha256.Sum256(b); return s[:] }())
}

// TestOnlyTheWantedTagsChange: all fields get their values, every other part is there byte for byte, the file keeps its mode and time, and becomes what it was.
func TestOnlyTheWantedTagsChange(t *testing.T) {
	t.Parallel()
	for name, sample := range files() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), name)
			require.NoError(t, os.WriteFile(path, sample.file, 0o640))
			when := time.Date(2001, 2, 3, 4, 5, 6, 789000000, time.UTC)
			require.NoError(t, os.Chtimes(path, when, when))
			link := filepath.Join(t.TempDir(), "link")
			require.NoError(t, os.Symlink(path, link))

			shown, err := Write(t.Context(), link, maps.Clone(wanted), sumOf(sample.file), false, nil)
			require.NoError(t, err)
			require.False(t, shown.Written)
			same, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(sample.file, same), "only to show writes nothing")

			listPath := filepath.Join(t.TempDir(), "list")
			list, err := OpenList(listPath)
			require.NoError(t, err)
			done, err := Write(t.Context(), link, maps.Clone(wanted), sumOf(sample.file), false, list)
			require.NoError(t, err)
			require.True(t, done.Written)
			require.Equal(t, shown.New, done.New)
			written, err := os.ReadFile(path)
			require.NoError(t, err)
			for i, part := range sample.parts {
				require.True(t, bytes.Contains(written, part), "part %d", i)
			}
			require.True(t, bytes.HasSuffix(written, audio))
			f, err := plan(bytes.NewReader(written), int64(len(written)), wanted)
			require.NoError(t, err)
			require.Equal(t, wanted, f.have)
			require.Empty(t, f.edits, "what is there is not written again")
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, "-rw-r-----", info.Mode().String())
			require.True(t, info.ModTime().Equal(when))

			// Once more with another value: the list knows the file. Then everything back, also by a list that breaks off.
			again, err := Write(t.Context(), path, Values{Tempo: {"64"}}, sumOf(sample.file), false, list)
			require.NoError(t, err)
			require.Equal(t, []any{Values{Tempo: {"64"}}, true}, []any{again.New, again.Written})
			missing, err := Write(t.Context(), path, Values{Tempo: {"65"}, Metre: {"3/4"}}, sumOf(sample.file), true, list)
			require.NoError(t, err)
			require.Empty(t, missing.New)
			_, err = list.file.WriteString(`{"path":"half`)
			require.NoError(t, err)
			require.NoError(t, list.Close())
			list, err = OpenList(listPath)
			require.NoError(t, err)
			require.NoError(t, list.Backward(func(e Entry) error {
				undone, err := Undo(t.Context(), e)
				require.True(t, undone)
				return err
			}))
			require.NoError(t, list.Close())
			back, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(sample.file, back))
			left, err := os.ReadDir(filepath.Dir(path))
			require.NoError(t, err)
			require.Len(t, left, 1, "no temporary file stays")
		})
	}
}

// TestWhatCannotBeWrittenSaysWhy, and stays as it is.
func TestWhatCannotBeWrittenSaysWhy(t *testing.T) {
	t.Parallel()
	good := slices.Concat(tag(4, 0, rawFrame(4, "TIT2", []byte("\x03x"))), audio)
	unsynced, extended := slices.Clone(good), slices.Clone(good)
	unsynced[3], unsynced[5], extended[5] = 3, unsyncFlag, extendedFlag
	for name, c := range map[string]struct {
		file []byte
		why  string
	}{
		"ogg": {[]byte("OggS\x00\x02aaaaaaaaaaaa"), "Ogg"}, "mp4": {[]byte("\x00\x00\x00\x20ftypM4A aaaa"), "MP4"}, "wav": {[]byte("RIFFaaaaWAVEfmt "), "WAV"},
		"aac": {[]byte("\xff\xf1\x50\x80aaaaaaaaaaaa"), "neither"}, "empty": {nil, "neither"}, "v2": {slices.Concat([]byte("ID3\x02\x00\x00\x00\x00\x00\x00"), audio), "ID3v2.2"},
		"unsynced": {unsynced, "unsynchronised"}, "extended": {extended, "extended"}, "half": {[]byte("ID3\x04\x00\x00\x00\x00\x7f\x00aaaa"), "ends with its ID3 tag"},
		"junk": {slices.Concat(tag(4, 0, []byte("abcdefghijklmn")), audio), "damaged"}, "flac": {[]byte("fLaC\x00\x00\x00\x22aaaaaaaaa"), "breaks off"},
		"comments": {slices.Concat([]byte("fLaC"), block(0, false, make([]byte, 34)), block(4, true, []byte("\xff\xff\xff\xffxxxx"))), "damaged"},
	} {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, c.file, 0o600))
		_, err := Write(t.Context(), path, maps.Clone(wanted), sumOf(c.file), false, nil)
		require.ErrorContains(t, err, c.why, name)
	}
	path := filepath.Join(t.TempDir(), "a.mp3")
	require.NoError(t, os.WriteFile(path, good, 0o600))
	list, err := OpenList(filepath.Join(t.TempDir(), "list"))
	require.NoError(t, err)
	defer func() { require.NoError(t, list.Close()) }()
	_, err = Write(t.Context(), path, maps.Clone(wanted), sumOf(audio), false, list)
	require.ErrorIs(t, err, ErrChanged)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Write(stopped, path, maps.Clone(wanted), sumOf(good), false, list)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, os.Link(path, path+"2"))
	_, err = Write(t.Context(), path, maps.Clone(wanted), sumOf(good), false, list)
	require.ErrorIs(t, err, ErrNotSupported)
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 2)
	require.Empty(t, list.after)
	_, err = Undo(t.Context(), Entry{Path: path + "2", Before: "a", After: "b"})
	require.Error(t, err)
}

func TestKeysInNotationOfID3(t *testing.T) {
	t.Parallel()
	for in, want := range map[[2]string]string{
		{"A", "minor"}: "Am", {"F#", "minor"}: "F#m", {"Bb", "major"}: "Bb", {"C", "major"}: "C", {"C", ""}: "", {"", "major"}: "", {"H", "major"}: "", {"C minor", "major"}: "",
	} {
		require.Equal(t, want, KeyName(in[0], in[1]))
	}
}

// TestOthersReadTheTags: mutagen tags a real MP3 and a real FLAC as people do, and reads after us what we have written and that all else is the same.
func TestOthersReadTheTags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	song, err := os.ReadFile(filepath.Join("..", "..", "..", "models", "demo", "larksong.mp3"))
	require.NoError(t, err)
	for _, name := range []string{"v3.mp3", "v4.mp3", "none.mp3"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), song, 0o600))
	}
	flac, err := os.ReadFile(filepath.Join("testdata", "tone.flac"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.flac"), flac, 0o600))
	script, err := os.ReadFile(filepath.Join("testdata", "read.py"))
	require.NoError(t, err)
	readers.Run(t, string(script), "tag", dir)
	var before, after map[string]map[string]any
	require.NoError(t, json.Unmarshal(readers.Run(t, string(script), "read", dir), &before))
	list, err := OpenList(filepath.Join(t.TempDir(), "list"))
	require.NoError(t, err)
	defer func() { require.NoError(t, list.Close()) }()
	for name := range before {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		c, err := Write(t.Context(), filepath.Join(dir, name), maps.Clone(wanted), sumOf(raw), false, list)
		require.NoError(t, err, name)
		require.True(t, c.Written)
	}
	require.NoError(t, json.Unmarshal(readers.Run(t, string(script), "read", dir), &after))
	require.Len(t, after, 4)
	for name, b := range before {
		a := after[name]
		for field, values := range wanted {
			text := strings.Join(values, "; ")
			require.Equal(t, text, a[string(field)], "%s: %s", name, field)
		}
		for _, same := range []string{"others", "audio", "length"} {
			require.Equal(t, b[same], a[same], "%s: %s", name, same)
		}
	}
}

// FuzzPlan: whatever a file holds, its edits lie inside of it and in order, and the edited file has the values and needs no more edits.
func FuzzPlan(f *testing.F) {
	for _, sample := range files() {
		f.Add(sample.file[:min(len(sample.file), 20_000)])
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := plan(bytes.NewReader(file), int64(len(file)), wanted)
		if err != nil {
			return
		}
		at := int64(0)
		for _, e := range got.edits {
			require.True(t, e.At >= at && e.Len >= 0 && e.At+e.Len <= int64(len(file)))
			at = e.At + e.Len
		}
		var out bytes.Buffer
		require.NoError(t, copyEdited(&out, bytes.NewReader(file), got.edits))
		again, err := plan(bytes.NewReader(out.Bytes()), int64(out.Len()), wanted)
		require.NoError(t, err)
		require.Empty(t, again.edits)
	})
}
