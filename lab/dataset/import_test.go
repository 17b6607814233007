package dataset

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/dataset/facts"
)

// lay writes a collection: files by path.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

// imported imports and returns the clips by id, in their order.
func imported(t *testing.T, name string, files map[string]string) ([]Clip, ImportResult) {
	t.Helper()
	out := t.TempDir()
	result, err := Import(name, lay(t, files), out, 1)
	require.NoError(t, err)
	s, err := Open(out)
	require.NoError(t, err)
	require.Equal(t, []string{name}, s.Names)
	return clipsOf(t, s, name), result
}

func clipsOf(t *testing.T, s *Set, name string) []Clip {
	t.Helper()
	var out []Clip
	for c, err := range s.Clips(name) {
		require.NoError(t, err)
		require.NoError(t, c.check())
		if c.Missing == "" {
			require.FileExists(t, s.Path(c))
		}
		out = append(out, c)
	}
	return out
}

func TestImportMusicCaps(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "musiccaps", map[string]string{
		"musiccaps-public.csv": "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval\n" +
			"-0Gj8-vB1q4,30,40,\"/m/0140xf\",\"['low quality', \"\"singer's ballad\"\"]\",\"A sad, slow song.\",4,False,True\n" +
			"gone,10,20,/m/1,\"['jazz']\",Gone.,1,False,False\n" +
			"odd,20,10,/m/1,[],Odd.,1,False,False\n" +
			",,,,,,,,\n" +
			"-0Gj8-vB1q4,30,40,x,[],Twice.,4,False,True\n",
		"wav/[-0Gj8-vB1q4]-[30-40].wav": "x",
	})
	require.Len(t, clips, 2)
	c := clips[0]
	require.Equal(t, "musiccaps/-0Gj8-vB1q4-30", c.ID)
	require.Equal(t, Span{0, 10}, c.Span, "the file holds the clip alone")
	require.Equal(t, splitTest, c.Split)
	require.Equal(t, facts.Labels{Tags: []string{"low quality", "singer's ballad"}, Captions: []string{"A sad, slow song."}}, c.Labels)
	var source map[string]string
	require.NoError(t, json.Unmarshal(c.Source, &source))
	require.Equal(t, "False", source["is_balanced_subset"], "the collection's own fields stay")
	require.Contains(t, clips[1].Missing, "cannot be had")
	require.Equal(t, splitTrain, clips[1].Split)
	require.Equal(t, map[string]int{collect.BadRow: 2, collect.Twice: 1}, result.Skipped)
	require.Equal(t, 1, result.Missing)
}

func TestImportYouTube8M(t *testing.T) {
	t.Parallel()
	clips, _ := imported(t, "youtube8m-mtc", map[string]string{
		"train.csv": "video_id,start,end,text\nabc,100.5,110.5,\"Calm, with a piano\"\n", "test.csv": "\ufeffvideo_id,start,end,text\nxyz,5,15,Loud\n", "audio/xyz.wav": "x",
	})
	require.Len(t, clips, 2)
	require.NotEmpty(t, clips[0].Missing)
	require.Equal(t, []string{"Loud"}, clips[1].Labels.Captions)
	require.Equal(t, splitTest, clips[1].Split)
	require.Contains(t, clips[1].Licence, "non-commercial")
}

func TestImportMusicNet(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "musicnet", map[string]string{
		"musicnet_metadata.csv": "id,composer,composition,movement,ensemble,source,transcriber,catalog_name,seconds\n" +
			"1727,Schubert,Piano Quintet in A major,2. Andante,Piano Quintet,European Archive,x,OP114,65\n" +
			"1759,Schubert,Sonata,1,Solo Piano,x,x,x,long\n",
		"train_data/1727.wav": "x",
		"train_labels/1727.csv": "start_time,end_time,instrument,note,start_beat,end_beat,note_value\n" +
			"0,44100,1,60,0,1,Quarter\n1301000,1345050,41,67,0,1,Quarter\n1301000,1345050,99,67,0,1,Quarter\nx,1,1,60,0,1,Quarter\n",
	})
	require.Len(t, clips, 2, "every full 30 s")
	require.Equal(t, Span{30, 55}, clips[1].Span)
	require.Equal(t, []string{"violin"}, clips[1].Labels.Instruments)
	require.Equal(t, []facts.Note{{Start: 0, End: 0.5, Pitch: 67}}, clips[1].Labels.Notes["violin"], "times are those of the clip")
	require.Equal(t, "Piano Quintet", clips[0].Labels.Ensemble)
	require.Equal(t, "1727", clips[0].Track)
	require.Equal(t, 2, result.Skipped["notes that cannot be read"])
	require.Equal(t, 1, result.Skipped[collect.BadRow])
}

func TestImportFMA(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "fma", map[string]string{
		"fma_metadata/tracks.csv": ",artist,artist,set,set,track,track,track,track,track,track\n" +
			",id,name,split,subset,duration,genre_top,genres_all,license,title,tags\n" +
			"track_id,,,,,,,,,,\n" +
			"2,1,AWOL,training,small,168,Hip-Hop,\"[21, 15]\",Attribution-NonCommercial-ShareAlike 3.0 International,Food,\"['loud']\"\n" +
			"3,1,AWOL,test,full,300,,[],,Electric Ave,[]\n" +
			"x,1,AWOL,test,full,300,,[],,Odd,[]\n",
		"fma_metadata/genres.csv":  "genre_id,#tracks,parent,title,top_level\n15,1,0,Electronic,15\n21,1,0,Hip-Hop,21\n",
		"fma_small/000/000002.mp3": "x", "fma_full/000/000003.mp3": "",
	})
	require.Len(t, clips, 2)
	require.Equal(t, []string{"Hip-Hop", "Electronic"}, clips[0].Labels.Genres)
	require.Equal(t, Span{0, 25}, clips[0].Span, "files of the small sizes hold 30 s")
	require.Equal(t, "Attribution-NonCommercial-ShareAlike 3.0 International", clips[0].Licence)
	require.Equal(t, "the audio file is empty", clips[1].Missing)
	require.Equal(t, Span{30, 55}, clips[1].Span, "a long test track is heard from its second 30 on")
	require.Equal(t, "not stated", clips[1].Licence)
	require.Equal(t, map[string]int{collect.BadRow: 1}, result.Skipped)
}

func TestImportJamendo(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "mtg-jamendo", map[string]string{
		"data/autotagging.tsv": "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n" +
			"track_0000948\tartist_000087\talbum_000149\t48/948.mp3\t212.7\tgenre---hiphop\tinstrument---electricguitar\tmood/theme---happy\n" +
			"track_0000950\tartist_000087\talbum_000149\t50/950.mp3\tx\tgenre---rock\nshort\n",
		"data/raw.meta.tsv":                        "TRACK_ID\tARTIST_ID\tALBUM_ID\tTRACK_NAME\tARTIST_NAME\tALBUM_NAME\tRELEASEDATE\tURL\ntrack_0000948\ta\tb\tAlone\tBand\tDisc\t2004\tu\n",
		"data/splits/split-0/autotagging-test.tsv": "TRACK_ID\ntrack_0000948\tx\n",
		"audio_licenses.txt":                       "48/948.mp3: http://creativecommons.org/licenses/by-nc-sa/2.5/\n",
		"48/948.low.mp3":                           "x",
	})
	require.Len(t, clips, 1)
	require.Equal(t, facts.Labels{Genres: []string{"hip hop"}, Instruments: []string{"electric guitar"}, Moods: []string{"happy"}, Title: "Alone", Artist: "Band", Album: "Disc"}, clips[0].Labels)
	require.Equal(t, "CC-BY-NC-SA-2.5", clips[0].Licence)
	require.Equal(t, splitTest, clips[0].Split)
	require.Equal(t, "artist_000087", clips[0].Artist)
	require.Equal(t, 2, result.Skipped[collect.BadRow])
}

func TestImportMagnaTagATune(t *testing.T) {
	t.Parallel()
	clips, _ := imported(t, "magnatagatune", map[string]string{
		"annotations_final.csv": "\"clip_id\"\t\"no voice\"\t\"guitar\"\t\"classical\"\t\"slow\"\t\"mp3_path\"\n\"2\"\t\"1\"\t\"1\"\t\"1\"\t\"0\"\t\"f/american_bach.mp3\"\n\"6\"\t\"0\"\t\"0\"\t\"0\"\t\"1\"\t\"c/other.mp3\"\n",
		"clip_info_final.csv":   "clip_id\ttrack_number\ttitle\tartist\talbum\turl\tsegmentStart\tsegmentEnd\toriginal_url\tmp3_path\n2\t1\tGavotte\tAmerican Bach\tCantatas\tu\t30\t59\tu\tf/american_bach.mp3\n",
		"f/american_bach.mp3":   "x",
	})
	require.Len(t, clips, 2)
	require.Equal(t, facts.Labels{Title: "Gavotte", Artist: "American Bach", Album: "Cantatas", Genres: []string{"classical"}, Instruments: []string{"guitar"}, Tags: []string{"no voice"}}, clips[0].Labels)
	require.Equal(t, splitTest, clips[0].Split)
	require.Equal(t, splitValidation, clips[1].Split)
	require.NotEmpty(t, clips[1].Missing)
}

func TestImportSyntheticAndFolders(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "synthetic", map[string]string{
		"manifest.jsonl": `{"file":"train00000.wav","tempo_bpm":90.5,"key":"Eb","mode":"minor","metre":"3/4","families":["piano","bass"],"drums":false}` + "\n{}\n" +
			`{"file":"../../out.wav","tempo_bpm":90}` + "\n",
		"train00000.wav": "x", "train00000.json": `{"tempo_bpm":90.5,"key":"Eb","mode":"minor","metre":"3/4","families":["piano","bass"],"drums":false,"groove":"Waltz1","chords":[[0,1,"Ebm"]]}`,
	})
	require.Len(t, clips, 2)
	require.Empty(t, clips[1].Audio, "a file outside the folder is not looked at")
	require.NotEmpty(t, clips[1].Missing)
	require.Equal(t, "Eb minor", clips[0].Labels.Key)
	require.Equal(t, "Waltz1", clips[0].Artist)
	require.False(t, *clips[0].Labels.Drums)
	require.Equal(t, 1, result.Skipped[collect.BadRow])

	clips, result = imported(t, "folder", map[string]string{"game/licence.txt": "GPL-2\nmore", "game/a.ogg": "x", "game/sub/b.MP3": "x", "other/c.wav": "x"})
	require.Len(t, clips, 2)
	require.Equal(t, "GPL-2", clips[1].Licence)
	require.Equal(t, 1, result.Skipped["without licence.txt"])
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	_, err := Import("spotify", t.TempDir(), t.TempDir(), 1)
	require.ErrorContains(t, err, "no collection that can be imported; there are fma, folder")
	_, err = Import("fma", "/nowhere", t.TempDir(), 1)
	require.ErrorContains(t, err, "is no folder")
	out := t.TempDir()
	_, err = Import("musiccaps", lay(t, map[string]string{"musiccaps-public.csv": "ytid\nx\n"}), out, 1)
	require.ErrorContains(t, err, "has no column start_s")
	require.NoDirExists(t, filepath.Join(out, "musiccaps"), "nothing half done stays")
	_, err = Open(out)
	require.ErrorContains(t, err, "lark dataset import")
}

// The same import again gives the same file.
func TestImportIsRepeatable(t *testing.T) {
	t.Parallel()
	var csv strings.Builder
	csv.WriteString("TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n")
	for i := range 200 {
		csv.WriteString("t" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + "\ta\tb\tp.mp3\t200\tgenre---rock\n")
	}
	from, out := lay(t, map[string]string{"autotagging.tsv": csv.String()}), t.TempDir()
	read := func(seed uint64) string {
		_, err := Import("mtg-jamendo", from, out, seed)
		require.NoError(t, err)
		raw, err := os.ReadFile(filepath.Join(out, "mtg-jamendo", clipsFile))
		require.NoError(t, err)
		return string(raw)
	}
	first := read(1)
	require.Equal(t, first, read(1))
	require.NotEqual(t, first, read(2), "the seed decides which tracks are heard from the beginning")
	early := strings.Count(first, `"span":{"start":0,`)
	require.InDelta(t, 40, early, 20, "a fifth of long training tracks")
}
